//! An answer of Responses that a provider wrote, with what is true here in it.
//!
//! A provider knows nothing of what is kept here: it was sent the whole conversation instead of the response or the
//! conversation that its caller named. Where its bytes are forwarded, three members of the response are set in place
//! (`previous_response_id`, `conversation`, `store`); everything else stays as the provider wrote it.

use std::ops::Range;

use bytes::Bytes;

use super::Head;
use super::responses_echo::Echo;
use crate::emit;
use crate::sse::Framer;
use crate::tape::{Kind, Tape, View};

/// A whole answer.
pub(super) fn whole(body: &Bytes, head: &Head) -> Bytes {
    let mut tape = Tape::default();
    let edits = tape.read(body).map_or_else(|_| Vec::new(), |root| edits(&root, head));
    edited(body, edits, 0)
}

/// An event of a stream. Those that hold no response stay as they are.
pub(super) fn event(raw: &Bytes, head: &Head) -> Bytes {
    let Some((range, data)) = data_of(raw) else { return raw.clone() };
    let mut tape = Tape::default();
    let response = tape.read(&data).ok().and_then(|root| root.get("response"));
    let edits = response.map_or_else(Vec::new, |response| edits(&response, head));
    edited(raw, edits, range.start)
}

/// The response that an event holds.
pub(super) fn response_of(raw: &Bytes) -> Option<Bytes> {
    let (_, data) = data_of(raw)?;
    let mut tape = Tape::default();
    let response = tape.read(&data).ok()?.get("response")?.range();
    Some(data.slice(response))
}

/// The data of an event that lies in one line, and where it stands.
fn data_of(raw: &Bytes) -> Option<(Range<usize>, Bytes)> {
    memchr::memmem::find(raw, b"\"response\"")?;
    let mut framer = Framer::default();
    framer.push(raw.clone()).ok()?;
    let event = framer.next().or_else(|| framer.finish())?;
    let data = event.data();
    let start = memchr::memmem::find(raw, data).filter(|_| !data.is_empty())?;
    let range = start..start + data.len();
    Some((range.clone(), raw.slice(range)))
}

fn edits(response: &View<'_>, head: &Head) -> Vec<(Range<usize>, String)> {
    if response.kind() != Kind::Object {
        return Vec::new();
    }
    let conversation = head.keeping.conversation.as_ref().map_or_else(
        || "null".to_owned(),
        |id| {
            let mut out = Vec::new();
            let mut object = emit::Object::open(&mut out);
            object.string("id", id);
            object.close();
            emit::into_text(out)
        },
    );
    let previous = Echo::of(head).previous().to_owned();
    let true_here =
        [("previous_response_id", previous), ("conversation", conversation), ("store", head.keeping.store.to_string())];
    let inside = response.range().start + 1;
    let is_empty = response.members().next().is_none();
    let mut edits = Vec::new();
    for (name, value) in true_here {
        // A member that is null is there, and is set in its place.
        match response.members().find_map(|(member, value)| (*member == *name).then_some(value)) {
            Some(said) if said.raw() == value => {}
            Some(said) => edits.push((said.range(), value)),
            None if is_empty || value == "null" => {}
            None => edits.push((inside..inside, format!("\"{name}\":{value},"))),
        }
    }
    edits
}

/// The bytes with some ranges replaced, which are counted from `start`.
fn edited(bytes: &Bytes, mut edits: Vec<(Range<usize>, String)>, start: usize) -> Bytes {
    if edits.is_empty() {
        return bytes.clone();
    }
    edits.sort_by_key(|(range, _)| range.start);
    let (mut out, mut from) = (Vec::with_capacity(bytes.len() + 128), 0);
    for (range, value) in edits {
        out.extend_from_slice(bytes.get(from..start + range.start).unwrap_or_default());
        out.extend_from_slice(value.as_bytes());
        from = start + range.end;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::super::Keeping;
    use super::*;

    fn head() -> Head {
        Head {
            id: "1".into(),
            model: "m".into(),
            created_unix_s: 7,
            stream_usage: true,
            request: Some(Bytes::from_static(br#"{"previous_response_id":"resp_0"}"#)),
            keeping: Keeping { store: true, conversation: Some("conv_1".into()), background: false },
        }
    }

    #[test]
    fn only_what_is_not_true_here_is_changed() {
        let body = Bytes::from_static(br#"{"id":"resp_9", "store":false,"previous_response_id": null,"x":[1.50]}"#);
        let told = r#"{"conversation":{"id":"conv_1"},"id":"resp_9", "store":true,"previous_response_id": "resp_0","x":[1.50]}"#;
        assert_eq!(whole(&body, &head()), told);
        assert_eq!(whole(&Bytes::from_static(told.as_bytes()), &head()), told);
        assert_eq!(whole(&Bytes::from_static(b"{}"), &head()), "{}");
        assert_eq!(whole(&Bytes::from_static(b"no"), &head()), "no");
    }

    #[test]
    fn an_event_is_changed_where_its_response_is() {
        let raw = Bytes::from_static(
            b"event: response.created\ndata: {\"type\":\"response.created\",\"store\":7,\"response\":{\"store\":false}}\n\n",
        );
        let told = event(&raw, &head());
        let told = std::str::from_utf8(&told).unwrap();
        assert!(
            told.starts_with("event: response.created\ndata: {\"type\":\"response.created\",\"store\":7,"),
            "{told}"
        );
        assert!(told.contains(r#""store":true"#) && told.ends_with("}}\n\n"), "{told}");
        let delta =
            Bytes::from_static(b"data: {\"type\":\"response.output_text.delta\",\"delta\":\"\\\"response\\\"\"}\n\n");
        assert_eq!(event(&delta, &head()), delta);
        assert_eq!(response_of(&raw).unwrap(), r#"{"store":false}"#);
    }
}
