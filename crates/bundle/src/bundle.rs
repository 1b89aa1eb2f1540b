//! What a bundle holds, and how much of it is taken in.

use std::collections::BTreeMap;

use bytes::Bytes;
use commonwatt_core::turn::{SessionId, TurnId};
use commonwatt_wire::turns;

/// What turns name by hash: SHA-256 → bytes.
pub type Blobs = BTreeMap<[u8; 32], Bytes>;

/// Sessions that are taken along.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// The name of the node that made it.
    pub issuer: String,
    /// When it was made, in seconds since 1970.
    pub made_unix_s: u64,
    /// The sessions.
    pub sessions: Vec<Session>,
    /// What their turns name by hash, and nothing else.
    pub blobs: Blobs,
}

/// One session with every branch of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id: letters, digits, `-` and `_`, at most 64 of them.
    pub id: SessionId,
    /// What a client calls it.
    pub name: Option<String>,
    /// What people call it.
    pub title: Option<String>,
    /// From which its root is made.
    pub salt: [u8; 32],
    /// Its last turn, or its root.
    pub head: TurnId,
    /// Other heads by name.
    pub branches: BTreeMap<String, TurnId>,
    /// When it began, in milliseconds since 1970; `None` where nobody knows.
    pub created_ms: Option<u64>,
    /// When it last changed.
    pub updated_ms: Option<u64>,
    /// The class of its data, as policy names it.
    pub data_class: Option<String>,
    /// What else is known of it.
    pub meta: BTreeMap<String, String>,
    /// Its turns: each after its parent; of those that could come next, the oldest, then the one with the least id.
    pub turns: Vec<StoredTurn>,
}

impl Session {
    /// The parent of its first turns.
    #[must_use]
    pub fn root(&self) -> TurnId {
        turns::root(&self.salt)
    }
}

/// A turn with what is known of it beside what was said.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTurn {
    /// SHA-256 of the canonical form.
    pub id: TurnId,
    /// The canonical form.
    pub canonical: Bytes,
    /// Whether it was said to its end.
    pub state: TurnState,
    /// When it was said, in milliseconds since 1970; `None` where nobody knows.
    pub made_ms: Option<u64>,
    /// The deployment that said it.
    pub by: Option<String>,
    /// The model that said it.
    pub model: Option<String>,
    /// What else is known of it.
    pub meta: BTreeMap<String, String>,
}

/// Whether a turn was said to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnState {
    /// It was.
    Complete,
    /// It was cut off, and nobody went on with it.
    Unfinished,
}

impl TurnState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Complete, Self::Unfinished];

    /// Its word in a bundle.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unfinished => "unfinished",
        }
    }

    /// The state that this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// How much a reader takes in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of the manifest, which is read before anybody has vouched for it.
    pub manifest_bytes: u64,
    /// Files beside the manifest and its signature.
    pub files: usize,
    /// Turns of all sessions together.
    pub turns: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A bundle is held in memory, and while it is checked its sessions are there three times.
            bytes: 256 << 20,
            // The longest session seen in coding agents has 20 MiB; the largest image a provider takes has 20.
            file_bytes: 64 << 20,
            // A file has 180 bytes in the manifest: enough for all that may be there.
            manifest_bytes: 8 << 20,
            // Ten times the sessions of a busy year, or as many images.
            files: 32_768,
            // 256 MiB of the shortest turns would be 600,000; people who talk all day make 50,000 a year.
            turns: 262_144,
        }
    }
}
