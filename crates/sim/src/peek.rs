//! A look at the top level of a JSON object, without parsing what lies below.
//!
//! A benchmark sends prompts of a megabyte; the provider on the other side must not be what is measured. Strings are
//! skipped eight bytes at a time, and nothing is allocated.

/// What a request says at its top level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peek<'a> {
    /// `model`, where it is a string without escapes.
    pub(crate) model: Option<&'a str>,
    /// `stream`, where it is said: most dialects take silence for `false`, Ollama for `true`.
    pub(crate) stream: Option<bool>,
    /// `stream_options` holds `"include_usage": true`.
    pub(crate) include_usage: bool,
    /// Bytes of JSON in what is put before the model: messages, instructions, tools.
    pub(crate) prompt_bytes: usize,
}

impl Peek<'_> {
    /// The prompt in simulated tokens: one for four bytes of JSON.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt_bytes.div_ceil(4)
    }
}

/// Looks at `body`; none when it does not read as an object at its top level.
pub(crate) fn peek(body: &[u8]) -> Option<Peek<'_>> {
    let mut peek = Peek::default();
    let mut at = skip_space(body, 0);
    at = expect(body, at, b'{')?;
    loop {
        at = skip_space(body, at);
        if body.get(at) == Some(&b'}') {
            return Some(peek);
        }
        let key_end = skip_string(body, at)?;
        let key = body.get(at + 1..key_end - 1)?;
        at = expect(body, skip_space(body, key_end), b':')?;
        let start = skip_space(body, at);
        let end = skip_value(body, start)?;
        note(&mut peek, key, body.get(start..end)?);
        at = skip_space(body, end);
        match body.get(at)? {
            b',' => at += 1,
            b'}' => return Some(peek),
            _ => return None,
        }
    }
}

fn note<'a>(peek: &mut Peek<'a>, key: &[u8], value: &'a [u8]) {
    match key {
        b"model" => {
            let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
            peek.model = inner.filter(|v| !v.contains(&b'\\')).and_then(|v| str::from_utf8(v).ok());
        }
        b"stream" => peek.stream = Some(value == b"true"),
        b"stream_options" => {
            let options = serde_json::from_slice::<serde_json::Value>(value).unwrap_or_default();
            peek.include_usage = options.get("include_usage").and_then(serde_json::Value::as_bool) == Some(true);
        }
        b"messages"
        | b"system"
        | b"tools"
        | b"input"
        | b"instructions"
        | b"contents"
        | b"systemInstruction"
        | b"system_instruction"
        | b"prompt" => peek.prompt_bytes += value.len(),
        _ => {}
    }
}

fn expect(body: &[u8], at: usize, byte: u8) -> Option<usize> {
    (body.get(at) == Some(&byte)).then_some(at + 1)
}

fn skip_space(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The index after the value that starts at `at`.
fn skip_value(body: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match body.get(at)? {
            b'"' => at = skip_string(body, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => at = skip_scalar(body, at)?,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn skip_scalar(body: &[u8], at: usize) -> Option<usize> {
    let rest = body.get(at..)?;
    let length = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')))?;
    (length > 0).then_some(at + length)
}

/// The index after the closing quote of the string that starts at `at`.
fn skip_string(body: &[u8], at: usize) -> Option<usize> {
    let mut at = expect(body, at, b'"')?;
    loop {
        at += plain_run(body.get(at..)?);
        match body.get(at)? {
            b'"' => return Some(at + 1),
            // A backslash takes the next byte with it.
            _ => at += 2,
        }
    }
}

/// How many bytes come before the first quote or backslash.
fn plain_run(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let skipped = words
        .iter()
        .take_while(|word| {
            let word = u64::from_le_bytes(**word);
            !holds(word, b'"') && !holds(word, b'\\')
        })
        .count()
        * 8;
    let rest = bytes.get(skipped..).unwrap_or_default();
    skipped + rest.iter().position(|b| matches!(b, b'"' | b'\\')).unwrap_or(rest.len())
}

/// Whether one of the eight bytes of `word` is `byte` ("haszero" of the bit-twiddling collection).
fn holds(word: u64, byte: u8) -> bool {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let difference = word ^ LOW.wrapping_mul(u64::from(byte));
    difference.wrapping_sub(LOW) & !difference & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_level_is_read_and_what_lies_below_is_not() {
        let body = br#" {"messages":[{"role":"user","content":"say \"stream\": true, \\"}],
            "model" : "m-1", "nested": {"model":"no","stream":false},
            "stream":true,"stream_options":{"include_usage":true},"temperature":-0.5e1,"x":null}"#;
        let peek = peek(body).unwrap();
        assert_eq!(peek.model, Some("m-1"));
        assert!(peek.stream == Some(true) && peek.include_usage);
        assert_eq!(peek.prompt_bytes, r#"[{"role":"user","content":"say \"stream\": true, \\"}]"#.len());
    }

    #[test]
    fn what_is_not_an_object_is_not_understood() {
        for body in ["", "[]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":\"", "{\"a\":1;}", "{\"a\":]}"] {
            assert_eq!(peek(body.as_bytes()), None, "{body}");
        }
        assert_eq!(peek(b"{}"), Some(Peek::default()));
    }

    #[test]
    fn no_prefix_of_a_request_makes_it_panic() {
        let body = br#"{"model":"a\u00e9","messages":[{"content":"\\\""}],"stream":true}"#;
        for end in 0..body.len() {
            assert_eq!(peek(&body[..end]), None);
        }
        assert_eq!(peek(body).unwrap().model, None, "an escaped name is left to the full parser");
    }
}
