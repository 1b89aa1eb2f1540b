//! Requests, rendered once before anything is measured.

use crate::cell::{Cell, Dialect, Shape};

/// A message of a long conversation is about this long, in bytes.
const MESSAGE_BYTES: usize = 4096;

/// What prompts are made of: as much escaped as source code and tool results are, in JSON.
const TEXT: &str = r#"src/meter.rs:41: let total = readings.iter().map(|reading| reading.watts).sum::<f64>();\n    say(\"the sum is {total} W\");\n"#;

const SYSTEM: &str = "You are a careful engineer. Answer in one short sentence.";

/// Where a request goes, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// `host:port`, for the header.
    pub(crate) host: String,
    /// What stands before `/v1`; mostly nothing.
    pub(crate) prefix: String,
    /// The key that the path wants.
    pub(crate) key: String,
    /// The model that is asked for.
    pub(crate) model: String,
}

/// The whole HTTP request of a cell, head and body.
pub(crate) fn request(cell: Cell, to: &Address) -> Vec<u8> {
    let body = body(cell, &to.model);
    let Address { host, prefix, key, .. } = to;
    let (path, credentials) = match cell.dialect() {
        Dialect::OpenAi => ("chat/completions", format!("authorization: Bearer {key}")),
        Dialect::Anthropic => ("messages", format!("x-api-key: {key}\r\nanthropic-version: 2023-06-01")),
    };
    let head = format!(
        "POST {prefix}/v1/{path} HTTP/1.1\r\nhost: {host}\r\n{credentials}\r\ncontent-type: application/json\r\n\
         accept: application/json\r\nuser-agent: commonwatt-bench\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A body of exactly the cell's size.
pub(crate) fn body(cell: Cell, model: &str) -> String {
    let streamed = cell.shape == Shape::Stream;
    let (head, tail) = match cell.dialect() {
        Dialect::OpenAi => {
            let stream = if streamed { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
            let head = format!(r#"{{"model":"{model}","messages":[{{"role":"system","content":"{SYSTEM}"}},"#);
            (head, format!(r#"],"max_tokens":256,"temperature":0.2{stream}}}"#))
        }
        Dialect::Anthropic => {
            let stream = if streamed { r#","stream":true"# } else { "" };
            let head = format!(r#"{{"model":"{model}","max_tokens":256,"system":"{SYSTEM}","messages":["#);
            (head, format!(r#"],"temperature":0.2{stream}}}"#))
        }
    };
    let room = cell.size.bytes().saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", messages(room))
}

/// A conversation of exactly `room` bytes: user and assistant in turn, the user last.
fn messages(room: usize) -> String {
    let pairs = room / MESSAGE_BYTES / 2;
    let mut messages = String::with_capacity(room);
    for _ in 0..pairs {
        push(&mut messages, "user", MESSAGE_BYTES);
        messages.push(',');
        push(&mut messages, "assistant", MESSAGE_BYTES - 2);
        messages.push(',');
    }
    let rest = room.saturating_sub(messages.len());
    push(&mut messages, "user", rest);
    messages
}

/// A message of exactly `bytes` bytes, unless that is less than an empty one has.
fn push(messages: &mut String, role: &str, bytes: usize) {
    let open = format!(r#"{{"role":"{role}","content":""#);
    let close = r#""}"#;
    messages.push_str(&open);
    messages.push_str(&text(bytes.saturating_sub(open.len() + close.len())));
    messages.push_str(close);
}

/// `bytes` bytes of text as they stand within a JSON string, no escape cut in two.
fn text(bytes: usize) -> String {
    let mut text = TEXT.repeat(bytes / TEXT.len());
    let rest = TEXT.get(..bytes - text.len()).unwrap_or_default();
    text.push_str(rest.strip_suffix('\\').unwrap_or(rest));
    let short = bytes - text.len();
    text.push_str(&".".repeat(short));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_body_is_json_of_exactly_its_size() {
        for cell in Cell::all() {
            for model in ["auto", "a-model-with-a-longer-name"] {
                let body = body(cell, model);
                assert_eq!(body.len(), cell.size.bytes(), "{cell}");
                let json: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(json["model"], *model);
                assert_eq!(json["stream"].as_bool().unwrap_or_default(), cell.shape == Shape::Stream, "{cell}");
                assert_eq!(json["messages"].as_array().unwrap().last().unwrap()["role"], "user", "{cell}");
            }
        }
    }

    #[test]
    fn text_is_never_cut_within_an_escape() {
        for bytes in 0..3 * TEXT.len() {
            let text = text(bytes);
            assert_eq!(text.len(), bytes);
            assert!(serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok(), "{bytes}");
        }
    }
}
