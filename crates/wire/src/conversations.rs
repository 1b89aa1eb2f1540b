//! The Conversations API of OpenAI: what is asked of a conversation, and how it is shown. Its items are in
//! [`items`](crate::items).
//!
//! ```text
//! POST /v1/conversations             {"items":[{"role":"user","content":"hi"}],"metadata":{"topic":"x"}}
//! {"id":"conv_…","object":"conversation","created_at":1800000000,"metadata":{"topic":"x"}}
//! ```

use bytes::Bytes;
use commonwatt_core::call::{Item, RawJson};

use crate::Dialect;
use crate::emit::Object;
use crate::history::decode_message;
use crate::request::BadInput;
use crate::tape::{Kind, Tape, View};

/// What a conversation is begun with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewConversation {
    /// What was said before.
    pub items: Vec<Item>,
    /// What its owner notes beside it: an object of strings.
    pub metadata: RawJson,
}

/// Pairs of metadata, letters of a name, letters of a value: as many as OpenAI takes.
const PAIRS_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 512;

/// Reads the body of `POST /v1/conversations`; an empty one asks for an empty conversation.
///
/// # Errors
/// [`BadInput`] when it is not of that form.
pub fn read_new_conversation(body: &Bytes) -> Result<NewConversation, BadInput> {
    let mut tape = Tape::default();
    let body: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let root = read_object(&mut tape, body)?;
    let items = match root.get("items").filter(|items| !items.is_null()) {
        Some(items) => read_items(&items)?,
        None => Vec::new(),
    };
    Ok(NewConversation { items, metadata: read_metadata(root.get("metadata"))? })
}

/// Reads the body of `POST /v1/conversations/{id}`: the metadata from now on.
///
/// # Errors
/// [`BadInput`] when it is not of that form.
pub fn read_conversation_update(body: &Bytes) -> Result<RawJson, BadInput> {
    let mut tape = Tape::default();
    let metadata = read_object(&mut tape, body)?.get("metadata");
    if metadata.is_none() {
        return Err(BadInput::field("metadata", "an object of strings"));
    }
    read_metadata(metadata)
}

/// Reads the body of `POST /v1/conversations/{id}/items`.
///
/// # Errors
/// [`BadInput`] when it is not of that form, or holds nothing.
pub fn read_new_items(body: &Bytes) -> Result<Vec<Item>, BadInput> {
    let mut tape = Tape::default();
    let items = read_object(&mut tape, body)?.get("items").ok_or_else(|| BadInput::field("items", "a list"))?;
    let items = read_items(&items)?;
    if items.is_empty() { Err(BadInput::field("items", "a list with something in it")) } else { Ok(items) }
}

fn read_object<'a>(tape: &'a mut Tape, body: &'a [u8]) -> Result<View<'a>, BadInput> {
    let root = tape.read(body).map_err(|error| BadInput::syntax(error, body))?;
    if root.kind() == Kind::Object { Ok(root) } else { Err(BadInput::new("the body must be a JSON object")) }
}

fn read_items(list: &View<'_>) -> Result<Vec<Item>, BadInput> {
    if list.kind() != Kind::Array {
        return Err(BadInput::field("items", "a list"));
    }
    let mut items = Vec::new();
    for item in list.items() {
        items.extend(decode_message(Dialect::OpenAiResponses, item.raw().as_bytes())?);
    }
    Ok(items)
}

fn read_metadata(metadata: Option<View<'_>>) -> Result<RawJson, BadInput> {
    let Some(metadata) = metadata.filter(|metadata| !metadata.is_null()) else {
        return Ok(RawJson(Bytes::from_static(b"{}")));
    };
    if metadata.kind() != Kind::Object {
        return Err(BadInput::field("metadata", "an object of strings"));
    }
    let mut out = Vec::new();
    let mut written = Object::open(&mut out);
    for (count, (name, value)) in metadata.members().enumerate() {
        if count == PAIRS_MAX {
            return Err(BadInput::field("metadata", &format!("an object of at most {PAIRS_MAX} pairs")));
        }
        let value = value.string().ok_or_else(|| BadInput::field("metadata", "an object of strings"))?;
        if name.chars().count() > NAME_CHARS_MAX || value.chars().count() > VALUE_CHARS_MAX {
            let must = format!("names of at most {NAME_CHARS_MAX} and values of at most {VALUE_CHARS_MAX} letters");
            return Err(BadInput::field("metadata", &must));
        }
        written.string(&name, &value);
    }
    written.close();
    Ok(RawJson(out.into()))
}

/// Writes a conversation.
#[must_use]
pub fn write_conversation(id: &str, created_unix_s: u64, metadata: &RawJson) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut body = Object::open(&mut out);
    body.string("id", id);
    body.string("object", "conversation");
    body.whole("created_at", created_unix_s);
    body.json("metadata", metadata);
    body.close();
    out
}

/// Writes that something is gone: `object` is `response` or `conversation.deleted`.
#[must_use]
pub fn write_deleted(id: &str, object: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    let mut body = Object::open(&mut out);
    body.string("id", id);
    body.string("object", object);
    body.boolean("deleted", true);
    body.close();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(body: &str) -> Result<NewConversation, BadInput> {
        read_new_conversation(&Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn a_conversation_may_begin_with_nothing_or_with_what_was_said() {
        for nothing in ["", "{}", r#"{"items":null,"metadata":null}"#, r#"{"items":[]}"#] {
            let begun = new(nothing).unwrap();
            assert_eq!((begun.items.len(), &*begun.metadata.0), (0, &b"{}"[..]), "{nothing}");
        }
        let begun = new(
            r#"{"items":[{"role":"user","content":"hi"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"yo"}]}],"metadata":{"a":"\n"}}"#,
        );
        let begun = begun.unwrap();
        assert_eq!((begun.items.len(), &*begun.metadata.0), (2, &br#"{"a":"\n"}"#[..]));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let many: Vec<String> = (0..17).map(|at| format!(r#""{at}":"x""#)).collect();
        let many = format!(r#"{{"metadata":{{{}}}}}"#, many.join(","));
        let long = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(513));
        let wrong = ["[]", "{", r#"{"items":7}"#, r#"{"items":[7]}"#, r#"{"metadata":[]}"#, r#"{"metadata":{"a":1}}"#];
        for body in wrong.into_iter().chain([many.as_str(), long.as_str()]) {
            assert!(new(body).is_err(), "{body}");
        }
        assert!(read_new_items(&Bytes::from_static(br#"{"items":[]}"#)).is_err());
        assert!(read_conversation_update(&Bytes::from_static(b"{}")).is_err());
    }
}
