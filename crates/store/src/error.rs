//! Why a store did not do what was asked: whose fault it is, whether to ask again, and one sentence without content.

use std::path::PathBuf;

use commonwatt_core::lease::Fenced;
use commonwatt_core::turn::{Epoch, TurnId};

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Whoever made the change: it contradicts what is stored.
    Callers,
    /// Whoever runs the daemon: keys, files, a second process, a full disk.
    Operators,
    /// The disk, or what lies on it.
    Disks,
}

/// Whether asking again can help. Every change is idempotent, so asking again never harms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The same answer would come.
    Never,
    /// As it is, in a moment.
    Soon,
    /// When the store has been opened anew, or the operator has done something.
    WhenMended,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such session.
    #[error("there is no such session")]
    UnknownSession,
    /// A parent, head, link, response, journal or handoff names a turn that the session does not have.
    #[error("the session has no turn {0}")]
    UnknownTurn(TurnId),
    /// No journal is open for that call.
    #[error("no partial answer is under way for this call")]
    UnknownJournal,
    /// Somebody else holds the session now.
    #[error("the session is held by `{holder}` since epoch {}", epoch.0)]
    Fenced {
        /// Who holds it.
        holder: String,
        /// Since which epoch.
        epoch: Epoch,
    },
    /// The change claims an epoch that was never given.
    #[error("the session is at epoch {}, and no later one was given yet", .0.0)]
    EpochNotGiven(Epoch),
    /// The session was erased.
    #[error("the session was erased")]
    Erased,
    /// The principal has another session of this name.
    #[error("another session of the same principal has this name")]
    NameTaken,
    /// Something of this id exists already and is not the same.
    #[error("another {what} has this id already")]
    Conflict {
        /// What has it.
        what: &'static str,
    },
    /// A blob's bytes do not have the hash it was given with.
    #[error("the bytes of a blob do not have its SHA-256")]
    WrongHash,
    /// Past a bound.
    #[error("{what} of {found} is past the bound of {max}")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// The queue of the writer is full.
    #[error("the store has more to write than its queue holds")]
    Busy,
    /// The store was closed before this was written.
    #[error("the store is closed")]
    Closed,
    /// The file has reached the size it may have, or the disk is full.
    #[error("there is no room left for the store's file")]
    Full,
    /// The node key is not the one the store was made with.
    #[error("the node key does not open this store: it was made with another")]
    WrongNodeKey,
    /// The database was written by a later version of the program.
    #[error("the store is of version {found}, and this program knows versions up to {known}: use a newer program")]
    Newer {
        /// Its version.
        found: u32,
        /// The last one known.
        known: u32,
    },
    /// A migration that was applied is not the one this program has.
    #[error("the store's migration {version} is not the one this program has: it was made by a changed program")]
    Altered {
        /// Which one.
        version: u32,
    },
    /// Another process has the store open.
    #[error("another process has the store `{}` open: a store has one daemon", .0.display())]
    InUse(PathBuf),
    /// The file is something else.
    #[error("`{}` is not a store of Commonwatt", .0.display())]
    NotAStore(PathBuf),
    /// A backup would overwrite something.
    #[error("`{}` exists already: a backup overwrites nothing", .0.display())]
    Exists(PathBuf),
    /// What was read is not what was written.
    #[error("the store is damaged: {what} cannot be read")]
    Damaged {
        /// What.
        what: &'static str,
    },
    /// The disk or the operating system refused. What was being written may have been written all the same.
    #[error("the store's disk failed: {what}")]
    Disk {
        /// In the words of SQLite or of the system.
        what: String,
    },
}

impl StoreError {
    /// Who can mend it.
    #[must_use]
    pub fn whose(&self) -> Whose {
        match self {
            Self::UnknownSession
            | Self::UnknownTurn(_)
            | Self::UnknownJournal
            | Self::Fenced { .. }
            | Self::EpochNotGiven(_)
            | Self::Erased
            | Self::NameTaken
            | Self::Conflict { .. }
            | Self::WrongHash
            | Self::TooLarge { .. } => Whose::Callers,
            Self::Busy
            | Self::Closed
            | Self::Full
            | Self::WrongNodeKey
            | Self::Newer { .. }
            | Self::Altered { .. }
            | Self::InUse(_)
            | Self::NotAStore(_)
            | Self::Exists(_) => Whose::Operators,
            Self::Damaged { .. } | Self::Disk { .. } => Whose::Disks,
        }
    }

    /// Whether to ask again.
    #[must_use]
    pub fn again(&self) -> Again {
        match self {
            Self::UnknownSession
            | Self::UnknownTurn(_)
            | Self::UnknownJournal
            | Self::Fenced { .. }
            | Self::EpochNotGiven(_)
            | Self::Erased
            | Self::NameTaken
            | Self::Conflict { .. }
            | Self::WrongHash
            | Self::TooLarge { .. } => Again::Never,
            Self::Busy | Self::Disk { .. } => Again::Soon,
            Self::Closed
            | Self::Full
            | Self::WrongNodeKey
            | Self::Newer { .. }
            | Self::Altered { .. }
            | Self::InUse(_)
            | Self::NotAStore(_)
            | Self::Exists(_)
            | Self::Damaged { .. } => Again::WhenMended,
        }
    }
}

impl From<Fenced> for StoreError {
    fn from(fenced: Fenced) -> Self {
        match fenced {
            Fenced::Over { holder, epoch } => Self::Fenced { holder: holder.0.to_string(), epoch },
            Fenced::NotBegun { asked: _, epoch } => Self::EpochNotGiven(epoch),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    /// SQLite's word for the fault, never its message: a message may quote what was written.
    fn from(error: rusqlite::Error) -> Self {
        let Some(fault) = error.sqlite_error() else { return Self::Damaged { what: "a row" } };
        if fault.code == rusqlite::ErrorCode::DiskFull {
            return Self::Full;
        }
        if fault.code == rusqlite::ErrorCode::DatabaseCorrupt {
            return Self::Damaged { what: "its file" };
        }
        Self::Disk { what: rusqlite::ffi::code_to_str(fault.extended_code).to_owned() }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk { what: error.kind().to_string() }
    }
}

/// The thread that does the work is gone, which happens only when the store is closed.
pub(crate) fn closed<E>(_: E) -> StoreError {
    StoreError::Closed
}
