//! A conversation apart from the request it came in: its messages one by one, and a request that continues what is
//! kept elsewhere.

use bytes::Bytes;
use commonwatt_core::call::{Call, Item, Role};

use crate::emit;
use crate::envelope::conversation;
use crate::request::{BadInput, Quirks, decode, encode};
use crate::tape::{Kind, Tape, View};
use crate::{Dialect, request};

/// Whether a message of this dialect can be read without those before it: its tool calls and results are named by ids,
/// not by their places.
#[must_use]
pub fn reads_alone(dialect: Dialect) -> bool {
    match dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::OpenAiResponses => true,
        Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate | Dialect::OpenAiCompletions => false,
    }
}

/// Reads one message of a conversation. A system prompt that stands among the messages is one of them.
///
/// # Errors
/// [`BadInput`] when it is not valid in its dialect.
pub fn decode_message(dialect: Dialect, message: &[u8]) -> Result<Vec<Item>, BadInput> {
    let mut body = Vec::with_capacity(message.len() + 32);
    let mut request = emit::Object::open(&mut body);
    request.string("model", "-");
    let mut messages = request.array(conversation(dialect));
    messages.item().extend_from_slice(message);
    messages.close();
    request.close();
    let mut call = decode(dialect, &body.into())?;
    if !call.system.is_empty() {
        call.items.insert(0, Item::Message { role: Role::System, content: call.system });
    }
    Ok(call.items)
}

/// A request that holds the conversation so far, and what could not be carried into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// The whole request, in the dialect of the one that continues.
    pub body: Bytes,
    /// What of the history the dialect cannot say.
    pub lossy: Vec<String>,
}

/// Fields of a Responses request that name what is kept elsewhere, and have been answered by the history.
const ANSWERED: [&str; 3] = ["previous_response_id", "conversation", "background"];

/// Puts `history` before what a request says. Its items must mean something in `dialect` (see
/// [`localised`](crate::turns::localised)).
///
/// # Errors
/// [`BadInput`] when the request is not valid in its dialect, or the dialect has no room for a history.
pub fn continued(dialect: Dialect, body: &Bytes, history: Vec<Item>) -> Result<Continued, BadInput> {
    let mut call: Call = decode(dialect, body)?;
    call.items.splice(0..0, history);
    call.extra.retain(|(name, _)| !ANSWERED.contains(&name.as_str()));
    let model = call.model.clone();
    let encoded = encode(dialect, &call, &model, &Quirks::default());
    let request::Encoded { body, lossy } = encoded.map_err(|error| BadInput::new(error.to_string()))?;
    Ok(Continued { body, lossy })
}

/// JSON with its members sorted and no white space, so that two clients who write the same value write the same bytes;
/// `None` when it is not JSON.
#[must_use]
pub fn normal_json(text: &str) -> Option<Vec<u8>> {
    let mut tape = Tape::default();
    let root = tape.read(text.as_bytes()).ok()?;
    let mut out = Vec::with_capacity(text.len());
    normal(&root, &mut out);
    Some(out)
}

fn normal(value: &View<'_>, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Object => {
            let mut members: Vec<_> = value.members().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let mut object = emit::Object::open(out);
            members.iter().for_each(|(name, value)| normal(value, object.key(name)));
            object.close();
        }
        Kind::Array => {
            let mut array = emit::Array::open(out);
            value.items().for_each(|item| normal(&item, array.item()));
            array.close();
        }
        Kind::String => emit::string(out, &value.string().unwrap_or_default()),
        Kind::Number | Kind::True | Kind::False | Kind::Null => out.extend_from_slice(value.raw().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::Part;

    use super::*;

    #[test]
    fn a_message_read_alone_is_the_message_read_among_others() {
        let cases = [
            (
                Dialect::OpenAiChat,
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"x"}]"#,
            ),
            (
                Dialect::AnthropicMessages,
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"tool_use","id":"c1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"x"},{"type":"text","text":"y"}]}]"#,
            ),
            (
                Dialect::OpenAiResponses,
                r#"[{"role":"user","content":"a"},{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"x"}]"#,
            ),
        ];
        for (dialect, messages) in cases {
            let body = Bytes::from(format!(r#"{{"model":"m","{}":{messages}}}"#, conversation(dialect)));
            let whole = decode(dialect, &body).unwrap().items;
            let envelope = crate::open(dialect, None, &body).unwrap();
            assert_eq!(envelope.messages.len(), 3);
            let alone = envelope.messages.iter().map(|range| decode_message(dialect, &body[range.clone()]).unwrap());
            assert_eq!(alone.flatten().collect::<Vec<_>>(), whole, "{dialect}");
        }
    }

    #[test]
    fn a_request_is_continued_in_each_dialect_that_holds_a_conversation() {
        for dialect in Dialect::OUT {
            let earlier = |role, text: &str| Item::Message { role, content: vec![Part::Text(text.into())] };
            let history = vec![earlier(Role::User, "first"), earlier(Role::Assistant, "second")];
            let message = if dialect == Dialect::Gemini {
                r#"{"role":"user","parts":[{"text":"third"}]}"#
            } else {
                r#"{"role":"user","content":"third"}"#
            };
            let body = Bytes::from(format!(
                r#"{{"model":"m","max_tokens":9,"previous_response_id":"resp_1","{}":[{message}]}}"#,
                conversation(dialect)
            ));
            let continued = continued(dialect, &body, history).unwrap();
            let text = std::str::from_utf8(&continued.body).unwrap();
            let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in {text}"));
            assert!(at("first") < at("second") && at("second") < at("third"), "{text}");
            assert!(!text.contains("resp_1") || dialect != Dialect::OpenAiResponses, "{text}");
        }
    }

    #[test]
    fn json_written_in_two_ways_is_the_same_json() {
        let normal = |text| normal_json(text).map(|bytes| String::from_utf8(bytes).unwrap());
        let sorted = Some(r#"{"a":[1,{"c":null,"d":"é"}],"b":true}"#.to_owned());
        assert_eq!(normal(r#"{"b": true, "a": [1, {"d": "\u00e9", "c": null}]}"#), sorted);
        assert_eq!(normal(r#"{"a":[1,{"c":null,"d":"é"}],"b":true}"#), sorted);
        assert_eq!(normal("{"), None);
    }
}
