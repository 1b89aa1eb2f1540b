//! Readers of what other systems export.
//!
//! Each makes sessions of turns, with every branch that the source has, and names what it could not carry in
//! [`Imported::skipped`]. Three rules hold for all:
//!
//! * **Seals are left behind.** A provider takes sealed thinking back only from the account to which it gave it; what was
//!   thought is carried, the seal is named.
//! * **What a source calls its own is told in plain words or named.** No dialect of ours knows its private shapes.
//! * **What one party says in one go is one turn**, however many records the source made of it.

mod archive;
mod grow;
mod json;
mod loss;

pub mod chatgpt;
pub mod claude;
pub mod letta;

use commonwatt_core::turn::{Turn, TurnId};
use commonwatt_wire::turns::Canonical;

use crate::bundle::TurnState;

/// Bytes that are read of an export, and of an archive when it is unpacked. The largest known, of somebody who exported
/// three years of daily use, has 400 MiB without its images.
pub const EXPORT_BYTES_MAX: u64 = 1 << 30;

/// What was found in an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its sessions, in the order in which they stand there.
    pub sessions: Vec<ImportedSession>,
    /// What could not be carried, each kind once, in plain words.
    pub skipped: Vec<String>,
}

/// A conversation from another system.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedSession {
    /// What the source calls it by.
    pub source_id: Option<String>,
    /// What people call it.
    pub title: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub created_ms: Option<u64>,
    /// When it last changed.
    pub updated_ms: Option<u64>,
    /// The salt that the caller gave for it.
    pub salt: [u8; 32],
    /// From which its turns grow.
    pub root: TurnId,
    /// The turn at which its reader stood; the root where nothing was said.
    pub head: TurnId,
    /// Its turns, each after its parent.
    pub turns: Vec<ImportedTurn>,
}

/// A turn from another system.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedTurn {
    /// What was said.
    pub turn: Turn,
    /// Its form, id and attachments.
    pub canonical: Canonical,
    /// Whether it was said to its end.
    pub state: TurnState,
    /// When it was said.
    pub made_ms: Option<u64>,
    /// The model that said it, as the source calls it.
    pub model: Option<String>,
}

/// An export that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImport {
    /// Neither JSON of this system nor an archive with it.
    #[error("not an export of {0}: {1}")]
    NotThis(&'static str, String),
    /// An archive that cannot be unpacked.
    #[error("the archive cannot be unpacked: {0}")]
    Archive(String),
    /// More than is taken in.
    #[error("the export is too large: it may have {EXPORT_BYTES_MAX} bytes, unpacked")]
    TooLarge,
}

/// Gives a salt of 32 random bytes for each session: the same words in two sessions must not have the same id.
pub type Salts<'a> = dyn FnMut() -> [u8; 32] + 'a;
