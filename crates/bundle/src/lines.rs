//! A session as lines of JSON: first the session, then its turns, one item a line.
//!
//! ```text
//! {"branches":{},"created_ms":1,"head":"…","id":"s1","root":"…","salt":"…","title":"Bread"}
//! {"id":"…","item":{"content":[{"text":"Hello","type":"input_text"}],"role":"user","type":"message"},
//!  "parent":"…","party":"user","state":"complete"}
//! ```
//!
//! What is not known is not there. The items of a turn stand one after the other and repeat what is known of the turn, so that
//! its canonical form can be made from its lines alone; a turn without items is one line without `item`. Each line is what
//! RFC 8785 makes of it: a reader writes what it has read and compares.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::turn::{SessionId, TurnId};
use serde_json::{Map, Value};

use crate::bad::{BadBundle, Wrong};
use crate::bundle::{Session, StoredTurn, TurnState};
use crate::jcs;
use crate::seal::hex;

/// Writes a session that holds together (see [`crate::check`]).
pub(crate) fn write(file: &str, session: &Session) -> Result<Vec<u8>, BadBundle> {
    let too_large = || BadBundle::new(file, Wrong::Form("a time is beyond 2⁵³−1 milliseconds".to_owned()));
    let mut out = jcs::bytes(&head_line(session)).ok_or_else(too_large)?;
    out.push(b'\n');
    for stored in in_order(&session.turns) {
        for line in turn_lines(stored).ok_or_else(|| BadBundle::new(file, Wrong::Id(stored.id)))? {
            out.extend_from_slice(&jcs::bytes(&line).ok_or_else(too_large)?);
            out.push(b'\n');
        }
    }
    Ok(out)
}

/// Reads a session. Whether it holds together is not looked at yet, nor whether it is written as [`write()`] would.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Session, BadBundle> {
    let form = |number: usize, what: &str| BadBundle::new(file, Wrong::Form(format!("line {number}: {what}")));
    let text = std::str::from_utf8(bytes).map_err(|_| BadBundle::new(file, Wrong::Form("not UTF-8".to_owned())))?;
    let mut session = None;
    let mut groups: Vec<(TurnId, Vec<Value>)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let value: Value = serde_json::from_str(line).map_err(|_| form(number, "no JSON"))?;
        if session.is_none() {
            let (read, root) = session_of(&value).ok_or_else(|| form(number, "not the line of a session"))?;
            if root != read.root() {
                return Err(BadBundle::new(file, Wrong::Root));
            }
            session = Some(read);
            continue;
        }
        let id = id_at(&value, "id").ok_or_else(|| form(number, "not the line of a turn"))?;
        match groups.last_mut().filter(|(last, _)| *last == id) {
            Some((_, lines)) => lines.push(value),
            None => groups.push((id, vec![value])),
        }
    }
    let mut session = session.ok_or_else(|| form(1, "not the line of a session"))?;
    for (id, lines) in groups {
        let unread =
            || BadBundle::new(file, Wrong::Form(format!("the turn {id} lacks a member, or one is of the wrong kind")));
        session.turns.push(stored(id, lines).ok_or_else(unread)?);
    }
    Ok(session)
}

/// The number of the first line in which the two differ.
pub(crate) fn first_difference(left: &[u8], right: &[u8]) -> usize {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right);
    1 + same.filter(|(byte, _)| **byte == b'\n').count()
}

/// Each turn after its parent; of those that could come next, the oldest, then the one with the least id.
pub(crate) fn in_order(turns: &[StoredTurn]) -> Vec<&StoredTurn> {
    let ids: BTreeMap<TurnId, ()> = turns.iter().map(|stored| (stored.id, ())).collect();
    let mut children: BTreeMap<TurnId, Vec<usize>> = BTreeMap::new();
    let mut ready = BinaryHeap::new();
    let key = |at: usize, stored: &StoredTurn| Reverse((stored.made_ms, stored.id, at));
    for (at, stored) in turns.iter().enumerate() {
        match parent_of(&stored.canonical).filter(|parent| ids.contains_key(parent)) {
            Some(parent) => children.entry(parent).or_default().push(at),
            None => ready.push(key(at, stored)),
        }
    }
    let mut ordered = Vec::with_capacity(turns.len());
    while let Some(Reverse((_, id, at))) = ready.pop() {
        ordered.extend(turns.get(at));
        for child in children.remove(&id).unwrap_or_default() {
            ready.extend(turns.get(child).map(|stored| key(child, stored)));
        }
    }
    ordered
}

fn parent_of(canonical: &[u8]) -> Option<TurnId> {
    let value: Value = serde_json::from_slice(canonical).ok()?;
    id_at(&value, "parent")
}

fn head_line(session: &Session) -> Value {
    let mut line = Map::new();
    let branches = session.branches.iter().map(|(name, head)| (name.clone(), head.to_string().into()));
    line.insert("branches".into(), Value::Object(branches.collect()));
    insert(&mut line, "created_ms", session.created_ms.map(Value::from));
    insert(&mut line, "data_class", session.data_class.clone().map(Value::from));
    line.insert("head".into(), session.head.to_string().into());
    line.insert("id".into(), session.id.to_string().into());
    insert(&mut line, "meta", meta_value(&session.meta));
    insert(&mut line, "name", session.name.clone().map(Value::from));
    line.insert("root".into(), session.root().to_string().into());
    line.insert("salt".into(), hex(&session.salt).into());
    insert(&mut line, "title", session.title.clone().map(Value::from));
    insert(&mut line, "updated_ms", session.updated_ms.map(Value::from));
    Value::Object(line)
}

/// The session of a first line, without turns, and the root that the line states.
fn session_of(line: &Value) -> Option<(Session, TurnId)> {
    let branches = line.get("branches")?.as_object()?.iter();
    let branches = branches.map(|(name, head)| Some((name.clone(), head.as_str()?.parse().ok()?)));
    let TurnId(salt) = id_at(line, "salt")?;
    let session = Session {
        id: SessionId(Arc::from(line.get("id")?.as_str()?)),
        name: string_at(line, "name"),
        title: string_at(line, "title"),
        salt,
        head: id_at(line, "head")?,
        branches: branches.collect::<Option<_>>()?,
        created_ms: line.get("created_ms").and_then(Value::as_u64),
        updated_ms: line.get("updated_ms").and_then(Value::as_u64),
        data_class: string_at(line, "data_class"),
        meta: meta_of(line)?,
        turns: Vec::new(),
    };
    Some((session, id_at(line, "root")?))
}

/// The lines of a turn; `None` where its canonical form is none.
fn turn_lines(stored: &StoredTurn) -> Option<Vec<Value>> {
    let mut said: Value = serde_json::from_slice(&stored.canonical).ok()?;
    let mut common = Map::new();
    if let Some(dialect) = said.get("dialect") {
        let mut binding = Map::from_iter([("dialect".to_owned(), dialect.clone())]);
        insert(&mut binding, "deployment", stored.by.clone().map(Value::from));
        insert(&mut binding, "model", stored.model.clone().map(Value::from));
        common.insert("binding".into(), Value::Object(binding));
    }
    insert(&mut common, "by", stored.by.clone().map(Value::from));
    common.insert("id".into(), stored.id.to_string().into());
    insert(&mut common, "made_ms", stored.made_ms.map(Value::from));
    insert(&mut common, "meta", meta_value(&stored.meta));
    insert(&mut common, "model", stored.model.clone().map(Value::from));
    common.insert("parent".into(), said.get("parent")?.clone());
    common.insert("party".into(), said.get("party")?.clone());
    common.insert("state".into(), stored.state.word().into());
    let Value::Array(items) = said.get_mut("items")?.take() else { return None };
    if items.is_empty() {
        return Some(vec![Value::Object(common)]);
    }
    let line = |item: Value| {
        let mut line = common.clone();
        line.insert("item".into(), item);
        Value::Object(line)
    };
    Some(items.into_iter().map(line).collect())
}

/// The turn of these lines. Its id is taken as it stands.
fn stored(id: TurnId, mut lines: Vec<Value>) -> Option<StoredTurn> {
    let items = lines.iter_mut().filter_map(|line| line.get_mut("item").map(Value::take)).collect();
    let first = lines.first()?;
    let mut said = Map::new();
    insert(&mut said, "dialect", first.pointer("/binding/dialect").cloned());
    said.insert("items".into(), Value::Array(items));
    said.insert("parent".into(), first.get("parent")?.clone());
    said.insert("party".into(), first.get("party")?.clone());
    said.insert("v".into(), 1.into());
    Some(StoredTurn {
        id,
        canonical: Bytes::from(jcs::bytes(&Value::Object(said))?),
        state: TurnState::from_word(first.get("state")?.as_str()?)?,
        made_ms: first.get("made_ms").and_then(Value::as_u64),
        by: string_at(first, "by"),
        model: string_at(first, "model"),
        meta: meta_of(first)?,
    })
}

fn insert(line: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        line.insert(name.to_owned(), value);
    }
}

fn string_at(line: &Value, name: &str) -> Option<String> {
    line.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn id_at(line: &Value, name: &str) -> Option<TurnId> {
    line.get(name)?.as_str()?.parse().ok()
}

fn meta_value(meta: &BTreeMap<String, String>) -> Option<Value> {
    let members = meta.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    (!meta.is_empty()).then(|| Value::Object(members.collect()))
}

fn meta_of(line: &Value) -> Option<BTreeMap<String, String>> {
    let Some(meta) = line.get("meta") else { return Some(BTreeMap::new()) };
    meta.as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
