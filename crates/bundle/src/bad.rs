//! What is wrong with a bundle, and which of its files is.

use commonwatt_core::turn::TurnId;
use commonwatt_wire::turns::BadTurn;

use crate::seal::PublicKey;

/// A bundle that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}` {wrong}")]
pub struct BadBundle {
    /// The file of the bundle that is wrong, or `the end` for what stands behind the last one.
    pub file: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl BadBundle {
    pub(crate) fn new(file: &str, wrong: Wrong) -> Self {
        Self { file: shown(file), wrong }
    }
}

/// What is wrong with a file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The source failed.
    #[error("could not be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// The bytes end too soon.
    #[error("is cut short")]
    CutShort,
    /// It should stand here.
    #[error("is missing")]
    Missing,
    /// The manifest does not list it.
    #[error("is not in the manifest, so nobody vouches for it")]
    Extra,
    /// A name that a bundle cannot hold, such as one that leads out of the folder into which it is unpacked.
    #[error("is not a name that a bundle may hold")]
    Name,
    /// Larger than the reader takes in.
    #[error("is too large: {what} may be at most {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// Its entry in the archive has a header that this format does not write.
    #[error("has a damaged header in the archive")]
    Header,
    /// Bytes that are neither a file nor the end of the archive.
    #[error("has bytes behind it that belong to nothing")]
    Padding,
    /// It is not what was signed or listed.
    #[error("does not have the SHA-256 that was signed")]
    Hash,
    /// There is no signature.
    #[error("is missing: the bundle is not signed")]
    Unsigned,
    /// The signature is not by the key that it names.
    #[error("is not a signature by the key that it names")]
    Signature,
    /// Somebody else signed than was expected.
    #[error("is by {0}, not by the signer who was expected")]
    Signer(PublicKey),
    /// A newer Commonwatt wrote it.
    #[error("has format version {0}; this Commonwatt reads version 1")]
    Version(u64),
    /// It says the same in other bytes than the format prescribes, or it says something else altogether.
    #[error("is not written as the format prescribes: {0}")]
    Form(String),
    /// A turn's id is not the hash of what was said.
    #[error("has the turn {0}, and that is not the hash of what it says")]
    Id(TurnId),
    /// A turn that nobody can read.
    #[error("has the turn {turn}: {bad}")]
    Turn {
        /// Which.
        turn: TurnId,
        /// Why not.
        bad: BadTurn,
    },
    /// A turn stands there twice.
    #[error("has the turn {0} twice")]
    Twice(TurnId),
    /// A turn whose parent is not there.
    #[error("has the turn {turn}, but not its parent {parent}")]
    Parent {
        /// Which.
        turn: TurnId,
        /// What it follows.
        parent: TurnId,
    },
    /// A head that is not there.
    #[error("has the head {0}, but no such turn")]
    Head(TurnId),
    /// The root is not the hash of the salt.
    #[error("has a root that is not the hash of its salt")]
    Root,
    /// A blob that no turn names.
    #[error("is named by no turn")]
    Unnamed,
    /// A session stands there twice.
    #[error("stands there twice")]
    SessionTwice,
}

/// A name from a stranger, fit for a message.
fn shown(name: &str) -> String {
    // No name of ours is longer; more would flood a log.
    const SHOWN_MAX: usize = 120;
    name.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect()
}
