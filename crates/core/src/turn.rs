//! The turn graph: a conversation as turns that are never rewritten.
//!
//! A turn is what one party said. Its id is the hash of its canonical form, which names its parent, so an id stands for
//! everything said up to it. A session is a head; editing or regenerating an earlier turn makes a branch. The canonical
//! form and its hash are `commonwatt_wire::turns`, documented with test vectors in `docs/reference/turns.md`.
//!
//! Every session begins at a root of its own: the hash of a random salt. So equal words in two sessions have different
//! ids, and when the salt is erased with its session, the ids that remain tell nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::call::Item;

/// A turn's id: SHA-256 of its canonical form. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TurnId(pub [u8; 32]);

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnId({self})")
    }
}

/// An id that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a turn's id is 64 hexadecimal digits")]
pub struct NotATurnId;

impl FromStr for TurnId {
    type Err = NotATurnId;

    fn from_str(text: &str) -> Result<Self, NotATurnId> {
        let mut id = [0; 32];
        if text.len() != 64 {
            return Err(NotATurnId);
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NotATurnId)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotATurnId);
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotATurnId)?;
        }
        Ok(Self(id))
    }
}

/// A session's id, unique in time and space (UUIDv7 as text).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Arc<str>);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who holds a session: rises by one with each handoff. Whoever writes with an older one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// Who said a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The operator of the application, within the conversation.
    System,
    /// The person or program that asks.
    User,
    /// A model.
    Model,
    /// A function of the client's, with its results.
    Tool,
}

impl Party {
    /// Every party.
    pub const ALL: [Self; 4] = [Self::System, Self::User, Self::Model, Self::Tool];

    /// Its word in the canonical form and in storage.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Model => "model",
            Self::Tool => "tool",
        }
    }

    /// The party that this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|party| party.word() == word)
    }
}

/// What one party said.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The turn before it, or the root of its session.
    pub parent: TurnId,
    /// Who said it.
    pub party: Party,
    /// The dialect whose opaque parts and fields the items may hold, by its word.
    pub dialect: &'static str,
    /// What was said.
    pub items: Vec<Item>,
}
