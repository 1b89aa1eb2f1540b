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

use crate::call::{Item, Role};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// A conversation as what each party said, in order: everything a model said in one go is one utterance, and so is each
/// message and each result of a function.
#[must_use]
pub fn utterances(items: Vec<Item>) -> Vec<(Party, Vec<Item>)> {
    let mut said: Vec<(Party, Vec<Item>)> = Vec::new();
    for item in items {
        let party = party(&item);
        match (said.last_mut(), party) {
            // A field belongs to the item before it.
            (Some((_, items)), None) => items.push(item),
            (Some((Party::Model, items)), Some(Party::Model)) => items.push(item),
            (_, Some(party)) => said.push((party, vec![item])),
            // A field before any item belongs to nothing.
            (None, None) => {}
        }
    }
    said
}

/// Whose item it is; `None` for a field.
fn party(item: &Item) -> Option<Party> {
    Some(match item {
        Item::Message { role: Role::System, .. } => Party::System,
        Item::Message { role: Role::User, .. } => Party::User,
        Item::Message { role: Role::Assistant, .. } | Item::Reasoning(_) | Item::ToolCall(_) => Party::Model,
        Item::ToolOutput { .. } => Party::Tool,
        // What Responses calls `…_call_output` the client has sent; other items of its own a model has made.
        Item::Opaque(kind, _) if kind.ends_with("_output") => Party::Tool,
        Item::Opaque(..) => Party::Model,
        Item::Field(..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Part, RawJson, Reasoning, ToolCall};

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = TurnId(std::array::from_fn(|at| at as u8));
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<TurnId>(), Err(NotATurnId), "{wrong}");
        }
    }

    #[test]
    fn what_a_model_says_in_one_go_is_one_turn_and_each_result_is_its_own() {
        let message = |role| Item::Message { role, content: vec![Part::Text("x".into())] };
        let output = || Item::ToolOutput { call_id: "a".into(), content: Vec::new(), is_error: false };
        let mark = || Item::Field("cache_control".into(), RawJson("{}".into()));
        let said = utterances(vec![
            mark(),
            message(Role::System),
            message(Role::User),
            mark(),
            message(Role::User),
            Item::Reasoning(Reasoning::default()),
            message(Role::Assistant),
            Item::ToolCall(ToolCall::default()),
            output(),
            output(),
            Item::Opaque("web_search_call".into(), RawJson("{}".into())),
            message(Role::Assistant),
        ]);
        let told: Vec<(Party, usize)> = said.iter().map(|(party, items)| (*party, items.len())).collect();
        assert_eq!(
            told,
            [
                (Party::System, 1),
                (Party::User, 2),
                (Party::User, 1),
                (Party::Model, 3),
                (Party::Tool, 1),
                (Party::Tool, 1),
                (Party::Model, 2)
            ]
        );
    }
}
