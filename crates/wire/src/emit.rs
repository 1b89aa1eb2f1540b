//! Writing JSON text, member by member, into a buffer that is reused.

use commonwatt_core::call::RawJson;
use commonwatt_core::text::Text;

use crate::scan::plain_run;

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a key; the caller writes its value.
    pub(crate) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        string(self.out, name);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) {
        string(self.key(name), value);
    }

    pub(crate) fn text(&mut self, name: &str, value: &Text) {
        text(self.key(name), value);
    }

    /// Writes a value as it was read.
    pub(crate) fn json(&mut self, name: &str, RawJson(value): &RawJson) {
        self.key(name).extend_from_slice(value);
    }

    /// Writes a value that is JSON text already.
    pub(crate) fn raw(&mut self, name: &str, value: &str) {
        self.key(name).extend_from_slice(value.as_bytes());
    }

    pub(crate) fn whole(&mut self, name: &str, value: u64) {
        whole(self.key(name), value);
    }

    pub(crate) fn number(&mut self, name: &str, value: f64) {
        number(self.key(name), value);
    }

    pub(crate) fn boolean(&mut self, name: &str, value: bool) {
        self.raw(name, if value { "true" } else { "false" });
    }

    pub(crate) fn null(&mut self, name: &str) {
        self.raw(name, "null");
    }

    pub(crate) fn object(&mut self, name: &str) -> Object<'_> {
        Object::open(self.key(name))
    }

    pub(crate) fn array(&mut self, name: &str) -> Array<'_> {
        Array::open(self.key(name))
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

/// An array that is being written.
pub(crate) struct Array<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Array<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, empty: true }
    }

    /// Begins an item; the caller writes it.
    pub(crate) fn item(&mut self) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        self.out
    }

    pub(crate) fn object(&mut self) -> Object<'_> {
        Object::open(self.item())
    }

    pub(crate) fn string(&mut self, value: &str) {
        string(self.item(), value);
    }

    /// Writes an item as it was read.
    pub(crate) fn json(&mut self, RawJson(value): &RawJson) {
        self.item().extend_from_slice(value);
    }

    pub(crate) fn raw(&mut self, value: &str) {
        self.item().extend_from_slice(value.as_bytes());
    }

    pub(crate) fn close(self) {
        self.out.push(b']');
    }
}

/// Writes a text as a JSON string; one that comes from JSON is copied as it stands.
pub(crate) fn text(out: &mut Vec<u8>, text: &Text) {
    match text.json() {
        Some(inside) => {
            out.reserve(inside.len() + 2);
            out.push(b'"');
            out.extend_from_slice(inside);
            out.push(b'"');
        }
        None => string(out, &text.as_str()),
    }
}

/// Writes a JSON string, quotes included; runs without special characters are copied whole.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let (plain, _) = plain_run(rest);
        let (run, after) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        out.extend_from_slice(run);
        let Some((&special, after)) = after.split_first() else { break };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = after;
    }
    out.push(b'"');
}

/// What this module has written, as text: it is always UTF-8.
pub(crate) fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

pub(crate) fn whole(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0_u8; 20];
    let (mut left, mut used) = (value, 0);
    for slot in digits.iter_mut().rev() {
        let digit = (left % 10) as u8;
        *slot = b'0' + digit;
        used += 1;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// The shortest text that reads back as the same number.
fn number(out: &mut Vec<u8>, value: f64) {
    let text = if value.is_finite() { format!("{value:?}") } else { "null".to_owned() };
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(&text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        into_text(out)
    }

    #[test]
    fn strings_read_back_as_they_were() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}é😀", "a long run of ordinary text, then \n and more"]
        {
            let read: String = serde_json::from_str(&quoted(text)).expect("valid JSON");
            assert_eq!(read, text);
        }
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let written = |value| {
            let mut out = Vec::new();
            number(&mut out, value);
            into_text(out)
        };
        assert_eq!((written(0.7), written(1.0), written(1e300)), ("0.7".into(), "1".into(), "1e300".into()));
        let mut out = Vec::new();
        [0, 7, 10, u64::MAX].iter().for_each(|value| whole(&mut out, *value));
        assert_eq!(into_text(out), format!("0710{}", u64::MAX));
    }
}
