//! The few edits that a request may need although it stays in its dialect: another model's name, and what a provider's
//! peculiarities ask for at the top level. All by byte range, so that everything else stays as the client wrote it.

use std::ops::Range;

use bytes::Bytes;

use crate::emit;
use crate::envelope::{Envelope, Stretch};
use crate::request::Quirks;

/// What becomes of a member of the top level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate<'a> {
    Keep,
    Rename(&'a str),
    Drop,
}

impl Envelope {
    /// The body for a provider that speaks the client's dialect: with `model` in it, and without what the provider's
    /// quirks refuse. In pieces, to be sent one after the other, so that a large prompt is not copied for the sake of one
    /// word. Also names what was left out.
    #[must_use]
    pub fn adapted(&self, body: &Bytes, model: &str, quirks: &Quirks) -> (Vec<Bytes>, Vec<String>) {
        let text = |range: &Range<usize>| {
            let name = body.get(range.start + 1..range.end - 1).unwrap_or_default();
            std::str::from_utf8(name).unwrap_or_default()
        };
        let names: Vec<&str> = self.members.iter().map(|member| text(&member.name)).collect();
        let fates: Vec<Fate<'_>> = names.iter().map(|name| fate(name, &names, model, quirks)).collect();
        let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        if let Some(range) = self.model_range.clone().filter(|_| model != self.model) {
            edits.push((range, quoted(model)));
        }
        for (member, fate) in self.members.iter().zip(&fates) {
            if let Fate::Rename(name) = fate {
                edits.push((member.name.clone(), quoted(name)));
            }
        }
        edits.extend(cuts(&self.members, &fates).into_iter().map(|range| (range, Vec::new())));
        let dropped = names.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Drop);
        (edited(body, edits), dropped.map(|(name, _)| (*name).to_owned()).collect())
    }
}

impl Envelope {
    /// The request on behalf of a caller who does not wait for the answer (Responses): it is streamed, so that what was
    /// said is known at every moment, and its provider hears nothing of the caller's absence.
    #[must_use]
    pub fn unattended(&self, body: &Bytes) -> Bytes {
        let mut out = Vec::with_capacity(body.len() + 16);
        out.push(b'{');
        for member in &self.members {
            let name = body.get(member.name.clone()).unwrap_or_default();
            if !matches!(name, b"\"background\"" | b"\"stream\"" | b"\"stream_options\"") {
                out.extend_from_slice(body.get(member.name.start..member.end).unwrap_or_default());
                out.push(b',');
            }
        }
        out.extend_from_slice(b"\"stream\":true}");
        out.into()
    }
}

fn fate<'a>(name: &str, all: &[&str], model: &str, quirks: &'a Quirks) -> Fate<'a> {
    let renamed = quirks.max_tokens_field.as_deref().filter(|field| *field != name && !all.contains(field));
    match (name, renamed) {
        ("max_tokens" | "max_completion_tokens", Some(field)) => Fate::Rename(field),
        (_, _) if name != "model" && quirks.refuses(name, model) => Fate::Drop,
        (_, _) => Fate::Keep,
    }
}

/// The stretches to cut so that the dropped members go, each with one comma.
fn cuts(members: &[Stretch], fates: &[Fate<'_>]) -> Vec<Range<usize>> {
    let mut cuts: Vec<Range<usize>> = Vec::new();
    let mut kept_end = None;
    for (i, (member, fate)) in members.iter().zip(fates).enumerate() {
        if *fate != Fate::Drop {
            kept_end = Some(member.end);
            continue;
        }
        let to_next = members.get(i + 1).map(|next| member.name.start..next.name.start);
        match (to_next, kept_end) {
            (Some(range), _) => cuts.push(range),
            // The last member goes with the comma before it, and so does everything cut since the last one kept.
            (None, Some(end)) => {
                cuts.retain(|cut| cut.start < end);
                cuts.push(end..member.end);
            }
            (None, None) => {
                cuts.clear();
                cuts.push(members.first().map_or(member.name.start, |first| first.name.start)..member.end);
            }
        }
    }
    cuts
}

/// The body with another model's name in it, for requests that have no envelope.
pub(crate) fn renamed(body: &Bytes, model_range: &Range<usize>, model: &str) -> Vec<Bytes> {
    edited(body, vec![(model_range.clone(), quoted(model))])
}

/// Bodies up to this size are copied into one piece: that is cheaper than to send several.
const JOINED_BYTES_MAX: usize = 16 << 10;

/// The body in pieces: of a large one, what is kept is not copied.
fn edited(body: &Bytes, mut edits: Vec<(Range<usize>, Vec<u8>)>) -> Vec<Bytes> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    let mut from = 0;
    for (range, text) in edits {
        pieces.push(body.slice(from..range.start));
        pieces.push(text.into());
        from = range.end;
    }
    pieces.push(body.slice(from..));
    pieces.retain(|piece| !piece.is_empty());
    if pieces.len() > 1 && body.len() <= JOINED_BYTES_MAX { vec![pieces.concat().into()] } else { pieces }
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    emit::string(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::{Dialect, open};

    fn adapt(body: &str, model: &str, quirks: &Quirks) -> (String, Vec<String>) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (pieces, lossy) = open(Dialect::OpenAiChat, None, &body).unwrap().adapted(&body, model, quirks);
        (String::from_utf8(pieces.concat()).unwrap(), lossy)
    }

    fn dropping(fields: &[&str]) -> Quirks {
        Quirks { drop_fields: fields.iter().map(|field| (*field).to_owned()).collect(), ..Quirks::default() }
    }

    #[test]
    fn only_the_model_changes_and_everything_else_stays_byte_for_byte() {
        let body = r#"{ "zeta": 1.50, "model" : "a",  "messages":[ ] , "x":{"model":"a"}}"#;
        let (sent, lossy) = adapt(body, "b\"q", &Quirks::default());
        assert_eq!(sent, r#"{ "zeta": 1.50, "model" : "b\"q",  "messages":[ ] , "x":{"model":"a"}}"#);
        assert!(lossy.is_empty());
    }

    #[test]
    fn a_field_is_renamed_where_the_provider_has_another_name_for_it() {
        let quirks = Quirks { max_tokens_field: Some("max_completion_tokens".into()), ..Quirks::default() };
        let (sent, lossy) = adapt(r#"{"model":"m","max_tokens":5,"messages":[]}"#, "m", &quirks);
        assert_eq!(sent, r#"{"model":"m","max_completion_tokens":5,"messages":[]}"#);
        assert!(lossy.is_empty());
    }

    #[test]
    fn what_the_provider_refuses_is_left_out_and_named() {
        let quirks = dropping(&["seed", "user"]);
        let (sent, lossy) = adapt(r#"{"seed":1,"model":"m","messages":[],"user":"u"}"#, "m", &quirks);
        assert_eq!(
            (sent.as_str(), lossy),
            (r#"{"model":"m","messages":[]}"#, vec!["seed".to_owned(), "user".to_owned()])
        );
    }

    proptest! {
        #[test]
        fn any_fields_may_be_dropped_and_the_rest_is_what_it_was(
            fields in proptest::collection::vec(("[a-f]", 0u8..9), 0..6), dropped in proptest::collection::vec("[a-f]", 0..4),
        ) {
            let mut object = Map::new();
            object.insert("model".into(), "m".into());
            object.insert("messages".into(), Value::Array(vec![]));
            for (name, value) in fields {
                object.insert(name, value.into());
            }
            let body = Value::Object(object.clone()).to_string();
            let names: Vec<&str> = dropped.iter().map(String::as_str).collect();
            let (sent, _) = adapt(&body, "m", &dropping(&names));
            object.retain(|name, _| !dropped.contains(name));
            prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), Value::Object(object));
        }
    }
}
