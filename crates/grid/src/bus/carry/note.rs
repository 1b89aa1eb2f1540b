//! What is known of sessions and turns beside what was said, where the store and a bundle write it differently.

use std::collections::BTreeMap;

use bytes::Bytes;
use commonwatt_bundle::{Session as Carried, StoredTurn, TurnState};
use commonwatt_core::turn::TurnId;
use commonwatt_store::{Session, State};
use serde_json::{Map, Value};

/// What the store has no place for: when a session began elsewhere, its other heads, what else is known of it. It lies
/// beside the session's root, sealed like it, and goes when the session is erased.
///
/// ```text
/// {"branches":{"first try":"…"},"created_ms":1,"head":"…","meta":{"project":"bakery"},"turns":4,"updated_ms":9}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) created_ms: Option<u64>,
    /// When it last changed, as long as it stands as it arrived.
    pub(super) updated_ms: Option<u64>,
    /// Where it stood when it had arrived, and with how many turns. Once it stands elsewhere, the store knows better.
    pub(super) stood: Option<(TurnId, u64)>,
    pub(super) branches: BTreeMap<String, TurnId>,
    pub(super) meta: BTreeMap<String, String>,
}

impl Note {
    /// The note of a session; of one that began here, what the store knows.
    pub(super) fn or_of(note: Option<Self>, session: &Session) -> Self {
        note.unwrap_or_else(|| Self { created_ms: Some(session.created_ms), ..Self::default() })
    }

    pub(super) fn carried(self, session: &Session, salt: [u8; 32], turns: Vec<StoredTurn>) -> Carried {
        let is_as_it_came = self.stood == Some((session.head, session.turns));
        Carried {
            id: session.id.clone(),
            name: session.name.clone(),
            title: session.title.clone(),
            salt,
            head: session.head,
            branches: self.branches,
            created_ms: self.created_ms,
            updated_ms: if is_as_it_came { self.updated_ms } else { Some(session.updated_ms) },
            data_class: session.data_class.clone(),
            meta: self.meta,
            turns,
        }
    }

    pub(super) fn bytes(&self) -> Bytes {
        let mut note = Map::new();
        let branches = self.branches.iter().map(|(name, turn)| (name.clone(), turn.to_string().into()));
        note.insert("branches".to_owned(), Value::Object(branches.collect()));
        note.extend(self.created_ms.map(|ms| ("created_ms".to_owned(), ms.into())));
        if let Some((head, turns)) = &self.stood {
            note.insert("head".to_owned(), head.to_string().into());
            note.insert("turns".to_owned(), (*turns).into());
        }
        note.insert("meta".to_owned(), strings(&self.meta));
        note.extend(self.updated_ms.map(|ms| ("updated_ms".to_owned(), ms.into())));
        Value::Object(note).to_string().into()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let note: Value = serde_json::from_slice(bytes).ok()?;
        let number = |name: &str| note.get(name).and_then(Value::as_u64);
        let turn = |value: &Value| value.as_str()?.parse::<TurnId>().ok();
        let branches = note.get("branches")?.as_object()?.iter();
        let meta = note.get("meta")?.as_object()?.iter();
        Some(Self {
            created_ms: number("created_ms"),
            updated_ms: number("updated_ms"),
            stood: note.get("head").and_then(turn).zip(number("turns")),
            branches: branches.map(|(name, head)| Some((name.clone(), turn(head)?))).collect::<Option<_>>()?,
            meta: meta.map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect::<Option<_>>()?,
        })
    }
}

/// What is known of a turn, as a bundle has it: names and texts. `None` where it is no JSON object.
pub(super) fn meta(stored: &[u8]) -> Option<BTreeMap<String, String>> {
    if stored.is_empty() {
        return Some(BTreeMap::new());
    }
    let Value::Object(members) = serde_json::from_slice(stored).ok()? else { return None };
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    Some(members.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// The same as the store has it: counts are numbers there.
pub(super) fn stored_meta(meta: &BTreeMap<String, String>) -> Bytes {
    if meta.is_empty() {
        return Bytes::new();
    }
    let value = |text: &String| match text.parse::<u64>() {
        Ok(number) if number.to_string() == *text => Value::from(number),
        Ok(_) | Err(_) => Value::from(text.as_str()),
    };
    let members = meta.iter().map(|(name, text)| (name.clone(), value(text)));
    Value::Object(members.collect()).to_string().into()
}

fn strings(texts: &BTreeMap<String, String>) -> Value {
    Value::Object(texts.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect())
}

pub(super) fn carried_state(state: State) -> TurnState {
    match state {
        State::Complete => TurnState::Complete,
        State::Unfinished => TurnState::Unfinished,
    }
}

pub(super) fn stored_state(state: TurnState) -> State {
    match state {
        TurnState::Complete => State::Complete,
        TurnState::Unfinished => State::Unfinished,
    }
}
