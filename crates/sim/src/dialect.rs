//! The dialects: one file for each, and here what they share.
//!
//! A dialect decodes a request into what is [asked](crate::asked), and renders an answer, whole or as the
//! [`Frame`]s of a stream. Each frame says what it is, so that a fault can be placed without knowing the dialect.

mod chat_completions;
mod messages;

use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Answer;
use crate::asked::Asked;
use crate::fault::Part;
use crate::settings::AnswerSettings;

/// A dialect that the simulator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI Chat Completions.
    ChatCompletions,
    /// Anthropic Messages.
    Messages,
}

/// One event of a stream (or the whole body of an answer that is not streamed).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) mark: Mark,
    pub(crate) bytes: Vec<u8>,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The role chunk, or `message_start`.
    Preamble,
    /// The begin or end of a block, a signature, a ping, a comment.
    Between,
    /// Content: a piece of text, reasoning or arguments.
    Content { part: Part, characters: usize },
    /// The finish reason, the usage.
    Finish,
    /// `[DONE]`, or `message_stop`.
    Terminator,
    /// A whole body.
    Whole,
}

/// A piece of one block's content, to become one content frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece<'a> {
    /// The block's index in the answer.
    pub(crate) block: usize,
    pub(crate) part: Part,
    pub(crate) text: &'a str,
}

/// What is rendered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendering<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) answer: &'a Answer,
    /// Whether the answer says what it cost.
    pub(crate) with_usage: bool,
}

/// What a request is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// Which signatures are genuine.
    pub(crate) seed: u64,
    pub(crate) answer: &'a AnswerSettings,
}

/// An error that a provider answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) status: u16,
    /// The dialect's usual words when none.
    pub(crate) message: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) retry_after_s: Option<u64>,
}

impl Denial {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()), ..Self::default() }
    }

    /// In the dialect's usual words.
    pub(crate) fn usual(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn with_code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::ChatCompletions, Self::Messages];

    /// The path of this dialect that answers calls.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// What an SDK of this dialect expects its base URL to end in.
    pub(crate) fn base_path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1",
            Self::Messages => "",
        }
    }

    pub(crate) fn decode(self, body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
        match self {
            Self::ChatCompletions => chat_completions::decode(body, rules),
            Self::Messages => messages::decode(body, rules),
        }
    }

    /// The tokens of a request to `/v1/messages/count_tokens`.
    pub(crate) fn count_tokens(body: &[u8], rules: Rules<'_>) -> Result<usize, Denial> {
        messages::count_tokens(body, rules)
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(self, rendering: Rendering<'_>) -> Frame {
        let body = match self {
            Self::ChatCompletions => chat_completions::whole(rendering),
            Self::Messages => messages::whole(rendering),
        };
        Frame { mark: Mark::Whole, bytes: body.to_string().into_bytes() }
    }

    /// The events of a streamed answer.
    pub(crate) fn frames(self, rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
        match self {
            Self::ChatCompletions => chat_completions::frames(rendering, pieces),
            Self::Messages => messages::frames(rendering, pieces),
        }
    }

    /// The last event of every stream.
    pub(crate) fn terminator(self) -> Frame {
        match self {
            Self::ChatCompletions => chat_completions::terminator(),
            Self::Messages => messages::terminator(),
        }
    }

    /// The body of an error.
    pub(crate) fn error_body(self, denial: &Denial) -> Vec<u8> {
        let body = match self {
            Self::ChatCompletions => chat_completions::error(denial),
            Self::Messages => messages::error(denial),
        };
        body.to_string().into_bytes()
    }

    /// An error event within a stream.
    pub(crate) fn error_frame(self, denial: &Denial) -> Frame {
        let bytes = match self {
            Self::ChatCompletions => data_line(&chat_completions::error(denial)),
            Self::Messages => event(&messages::error(denial)),
        };
        Frame { mark: Mark::Between, bytes }
    }

    /// The list of models.
    pub(crate) fn models(self, models: &[String]) -> Value {
        match self {
            Self::ChatCompletions => chat_completions::models(models),
            Self::Messages => messages::models(models),
        }
    }

    /// The header that carries the provider's id of the call.
    pub(crate) fn request_id_header(self) -> HeaderName {
        match self {
            Self::ChatCompletions => HeaderName::from_static("x-request-id"),
            Self::Messages => HeaderName::from_static("request-id"),
        }
    }
}

impl Piece<'_> {
    fn mark(&self) -> Mark {
        Mark::Content { part: self.part, characters: self.text.chars().count() }
    }
}

/// `data: …` without an event name, as Chat Completions writes.
fn data_line(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// `event: …` named after the `type` in its data, as Messages writes.
fn event(data: &Value) -> Vec<u8> {
    let name = data.get("type").and_then(Value::as_str).unwrap_or("error");
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}

/// The text of a message's content: a string, or a list of parts, of which those that are not text appear as JSON.
fn text_of(content: &Value) -> String {
    let part = |part: &Value| match part.get("text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => part.to_string(),
    };
    match (content.as_str(), content.as_array()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(parts)) => parts.iter().map(part).collect(),
        (None, None) if content.is_null() => String::new(),
        (None, None) => content.to_string(),
    }
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    field(value, name).as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value, name: &str) -> String {
    field(value, name).as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value, name: &str) -> Option<usize> {
    field(value, name).as_u64().and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests;
