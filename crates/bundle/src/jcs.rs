//! JSON as RFC 8785 writes it, for what this crate writes: objects, arrays, strings, whole numbers, flags.
//!
//! ```text
//! {"bytes":12,"name":"manifest.json"}
//! ```
//!
//! Strings are escaped as `serde_json` does, which is what the RFC asks for. Numbers are whole and at most 2⁵³−1, so that no
//! reader's arithmetic changes them.

use serde_json::{Map, Value};

/// The largest number that every reader of JSON holds exactly.
pub(crate) const WHOLE_MAX: u64 = (1 << 53) - 1;

/// The one way to write this value; `None` where it holds a number that is not whole or too large.
pub(crate) fn bytes(value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    put(&mut out, value).then_some(out)
}

fn put(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Number(number) => match number.as_u64().filter(|number| *number <= WHOLE_MAX) {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => return false,
        },
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if !put(out, item) {
                    return false;
                }
            }
            out.push(b']');
        }
        Value::Object(members) => return object(out, members),
    }
    true
}

fn object(out: &mut Vec<u8>, members: &Map<String, Value>) -> bool {
    let mut members: Vec<_> = members.iter().collect();
    // By UTF-16 code units, as the RFC says: other than by code points, what is beyond 16 bits comes before U+E000.
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    out.push(b'{');
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        if !put(out, value) {
            return false;
        }
    }
    out.push(b'}');
    true
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_by_utf16_and_escapes_are_the_shortest() {
        let value = json!({"\u{fb33}": 1, "\u{1f600}": true, "a": ["\u{1}\u{8}\u{7f}/\"\\é", null], "A": {}});
        let written = String::from_utf8(bytes(&value).unwrap()).unwrap();
        assert_eq!(written, "{\"A\":{},\"a\":[\"\\u0001\\b\u{7f}/\\\"\\\\é\",null],\"\u{1f600}\":true,\"\u{fb33}\":1}");
    }

    #[test]
    fn a_number_that_readers_could_change_is_not_written() {
        assert_eq!(bytes(&json!(WHOLE_MAX)).unwrap(), b"9007199254740991");
        for wrong in [json!(WHOLE_MAX + 1), json!(-1), json!(1.5), json!([{"a": 1e300}])] {
            assert_eq!(bytes(&wrong), None, "{wrong}");
        }
    }
}
