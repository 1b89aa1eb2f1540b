//! The canonical form of a turn, and its hash: `docs/reference/turns.md`, with test vectors.
//!
//! ```text
//! {"items":[{"content":[{"text":"Hello","type":"input_text"}],"role":"user","type":"message"}],
//!  "parent":"5d41…","party":"user","v":1}
//! ```
//!
//! JSON by RFC 8785 (JCS): members sorted, no white space, the shortest escapes. It holds no number but `v`, and what is
//! JSON in another dialect stands in it as a string, so that no two programs can differ in how they write it. The items
//! are those of the Responses API. Whatever is large (the bytes of an image, a document) stands as its SHA-256 and
//! travels beside the turn.

mod read;
mod write;

use bytes::Bytes;
use commonwatt_core::call::{Item, Part, ToolCall};
use commonwatt_core::turn::{Turn, TurnId};
use sha2::{Digest, Sha256};

pub use read::{BadTurn, attachments_of, read_turn};

use crate::Dialect;

/// A turn as it is stored, exported and hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Its id: SHA-256 of `bytes`.
    pub id: TurnId,
    /// The canonical form.
    pub bytes: Bytes,
    /// What stands in it as a hash.
    pub attachments: Vec<Attachment>,
}

/// Something large that a turn names by its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// What it is.
    pub bytes: Bytes,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attachment({}, {} bytes)", hex(&self.sha256), self.bytes.len())
    }
}

/// JSON of a foreign dialect that is longer than this many bytes is an attachment.
const INLINE_MAX: usize = 4_096;

/// The form and the id of a turn.
#[must_use]
pub fn canonical(turn: &Turn) -> Canonical {
    let (bytes, attachments) = write::turn(turn);
    Canonical { id: TurnId(sha256(&bytes)), bytes: bytes.into(), attachments }
}

/// Where a session with this salt begins: the parent of its first turns.
#[must_use]
pub fn root(salt: &[u8; 32]) -> TurnId {
    let mut hasher = Sha256::new();
    hasher.update(b"commonwatt session v1\n");
    hasher.update(salt);
    TurnId(hasher.finalize().into())
}

/// The id of the turn whose canonical form these bytes are.
#[must_use]
pub fn id_of(canonical: &[u8]) -> TurnId {
    TurnId(sha256(canonical))
}

/// The items of a turn as far as they mean something in `dialect`: what only another understands is left out and named
/// in `lossy`.
#[must_use]
pub fn localised(turn: Turn, dialect: Dialect, lossy: &mut Vec<String>) -> Vec<Item> {
    if turn.dialect.is_empty() || turn.dialect == dialect.word() {
        return turn.items;
    }
    let mut lose = |name: String| {
        if !lossy.contains(&name) {
            lossy.push(name);
        }
    };
    let mut items = Vec::with_capacity(turn.items.len());
    for item in turn.items {
        match item {
            Item::Opaque(kind, _) => lose(format!("item `{kind}`")),
            Item::Field(name, _) => lose(name),
            Item::Reasoning(reasoning) if reasoning.is_sealed() => lose("sealed reasoning".to_owned()),
            Item::ToolCall(call) => items.push(Item::ToolCall(ToolCall { signature: None, ..call })),
            Item::Message { role, content } => {
                items.push(Item::Message { role, content: shared_parts(content, &mut lose) });
            }
            Item::ToolOutput { call_id, content, is_error } => {
                items.push(Item::ToolOutput { call_id, content: shared_parts(content, &mut lose), is_error });
            }
            Item::Reasoning(_) => items.push(item),
        }
    }
    items
}

fn shared_parts(parts: Vec<Part>, lose: &mut impl FnMut(String)) -> Vec<Part> {
    let mut shared = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Opaque(kind, _) => lose(format!("content block `{kind}`")),
            Part::Field(name, _) => lose(name),
            Part::Text(_) | Part::Image(_) | Part::Refusal(_) => shared.push(part),
        }
    }
    shared
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hex(hash: &[u8; 32]) -> String {
    TurnId(*hash).to_string()
}

#[cfg(test)]
mod tests;
