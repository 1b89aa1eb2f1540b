//! A stream of events as one JSON array, which is how Google streams to whoever does not ask for events (`alt=sse`).
//!
//! ```text
//! [{"candidates":[…]}      the first element, as soon as it is there
//! ,\r\n{"candidates":[…]}  each further one
//! ,\r\n{"error":{…}}       an error after the first, if there is one
//! ]                        the end, also after an error
//! ```

use bytes::Bytes;

use super::Framer;

/// What stands between two elements.
const BETWEEN: &[u8] = b",\r\n";

/// Writes the data of events as the elements of an array.
#[derive(Debug, Default)]
pub struct JsonArray {
    begun: bool,
}

impl JsonArray {
    /// The elements of these events, which must be whole; nothing for comments and for a terminator of bare words.
    #[must_use]
    pub fn add(&mut self, events: Bytes) -> Vec<u8> {
        let mut out = Vec::with_capacity(events.len());
        let mut framer = Framer { chunk: events, ..Framer::default() };
        while let Some(event) = framer.next().or_else(|| framer.finish()) {
            let data = event.data().trim_ascii();
            if !data.is_empty() && data != b"[DONE]" {
                out.extend_from_slice(if self.begun { BETWEEN } else { b"[" });
                out.extend_from_slice(data);
                self.begun = true;
            }
        }
        out
    }

    /// What ends the array.
    #[must_use]
    pub fn close(self) -> &'static [u8] {
        if self.begun { b"]" } else { b"[]" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pushes: &[&'static str]) -> String {
        let mut array = JsonArray::default();
        let mut out: Vec<u8> = pushes.iter().flat_map(|push| array.add(Bytes::from_static(push.as_bytes()))).collect();
        out.extend_from_slice(array.close());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_event_becomes_an_element_however_many_come_at_once() {
        let wanted = "[{\"a\":1},\r\n{\"b\":\n2},\r\n{\"c\":3}]";
        assert_eq!(written(&["data: {\"a\":1}\n\ndata: {\"b\":\ndata: 2}\n\n", "data: {\"c\":3}\r\n\r\n"]), wanted);
        assert_eq!(written(&["data: {\"a\":1}\n\n", "data: {\"b\":\ndata: 2}\n\ndata: {\"c\":3}"]), wanted);
    }

    #[test]
    fn what_is_no_json_is_no_element() {
        assert_eq!(written(&[": ping\n\n", "data: {}\n\n", "\n\n", "data: [DONE]\n\n"]), "[{}]");
        assert_eq!(written(&[": ping\n\n"]), "[]");
        assert_eq!(written(&[]), "[]");
    }
}
