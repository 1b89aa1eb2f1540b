//! Text as it travels: most of it is never looked at.
//!
//! A request in one dialect becomes a request in another, and both are JSON. What a person or a tool said stands in both
//! in the same escapes, so it is carried as it stood: a slice of the request's own bytes. It is read only where somebody
//! has to know what it says.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// A text; cheap to clone.
#[derive(Clone, Default)]
pub struct Text {
    bytes: Bytes,
    form: Form,
}

/// How the bytes of a text are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// As they are; in JSON they stand as they are, too.
    #[default]
    Plain,
    /// As the inside of a JSON string with escapes.
    Escaped,
    /// As they are; nobody has looked whether JSON would have to escape any.
    Unknown,
}

impl Text {
    /// The text whose JSON string holds `inside` between its quotes, with escapes or without. The string must be valid.
    #[must_use]
    pub fn in_json(inside: Bytes, has_escapes: bool) -> Self {
        Self { bytes: inside, form: if has_escapes { Form::Escaped } else { Form::Plain } }
    }

    /// How it stands between the quotes of a JSON string, where that is known without work.
    #[must_use]
    pub fn json(&self) -> Option<&[u8]> {
        match self.form {
            Form::Plain | Form::Escaped => Some(&self.bytes),
            Form::Unknown => None,
        }
    }

    /// What it says.
    #[must_use]
    pub fn as_str(&self) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.form {
            Form::Plain | Form::Unknown => text,
            Form::Escaped => Cow::Owned(unescaped(&text)),
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it is white space alone.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
        !self.bytes.first().is_some_and(visible) && self.as_str().trim().is_empty()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { bytes: text.into(), form: Form::Unknown }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        (self.form == other.form && self.bytes == other.bytes) || self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_str(), f)
    }
}

/// What the inside of a valid JSON string says. Half a surrogate pair becomes U+FFFD.
#[must_use]
pub fn unescaped(inside: &str) -> String {
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((run, escape)) = rest.split_once('\\') {
        out.push_str(run);
        let mut letters = escape.chars();
        let letter = match letters.next() {
            None => return out,
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => {
                let (letter, left) = code_point(letters.as_str());
                out.push(letter);
                rest = left;
                continue;
            }
            Some(other) => other,
        };
        out.push(letter);
        rest = letters.as_str();
    }
    out.push_str(rest);
    out
}

/// The letter whose four digits these are, or eight with an escape between; and what follows.
fn code_point(text: &str) -> (char, &str) {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let Some(first) = unit(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    let rest = text.get(4..).unwrap_or_default();
    if let (0xD800..0xDC00, Some(pair)) = (first, rest.strip_prefix("\\u"))
        && let Some(second @ 0xDC00..0xE000) = unit(pair)
    {
        let joined = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        let letter = char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (letter, pair.get(4..).unwrap_or_default());
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_half_a_pair_is_replaced() {
        assert_eq!(unescaped(r#"a\"b\\c\/\u00e9\ud83d\ude00"#), "a\"b\\c/é😀");
        assert_eq!(unescaped(r"x\ud83dy\ude00"), "x\u{fffd}y\u{fffd}");
        assert_eq!(unescaped(r"\ud83d\u0041"), "\u{fffd}A");
    }

    #[test]
    fn a_text_is_what_it_says_however_it_is_written() {
        let escaped = Text::in_json(Bytes::from_static(br"line\nline"), true);
        assert_eq!(escaped, Text::from("line\nline"));
        assert_eq!(escaped.json(), Some(br"line\nline".as_slice()));
        assert_eq!(Text::from("line\nline").json(), None);
    }

    #[test]
    fn white_space_is_blank_in_escapes_too() {
        assert!(Text::in_json(Bytes::from_static(br" \n\u00a0"), true).is_blank());
        assert!(Text::default().is_blank());
        assert!(!Text::in_json(Bytes::from_static(br" \nx"), true).is_blank());
        assert!(!Text::from("x").is_blank());
    }
}
