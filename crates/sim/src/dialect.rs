//! The dialects: one file for each, and here what they share.
//!
//! A dialect decodes a request into what is [asked](crate::asked), and renders an answer, whole or as the
//! [`Frame`]s of a stream. Each frame says what it is, so that a fault can be placed without knowing the dialect.

mod chat_completions;
mod completions;
mod gemini;
mod messages;
mod ollama;
mod responses;

use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Answer;
use crate::asked::Asked;
use crate::fault::Part;
use crate::route::Address;
use crate::settings::AnswerSettings;
pub(crate) use ollama::show as ollama_show;

/// A dialect that the simulator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI Chat Completions.
    ChatCompletions,
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// Google Gemini, `generateContent`.
    Gemini,
    /// Ollama, `/api/chat`.
    OllamaChat,
    /// Ollama, `/api/generate`.
    OllamaGenerate,
    /// OpenAI's legacy Completions: text that goes on.
    Completions,
}

/// How the parts of a stream are told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events, which end in an empty line.
    Events,
    /// One JSON object a line.
    Lines,
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
    /// The role chunk, `message_start`, `response.created`.
    Preamble,
    /// The begin or end of a block, a signature, a ping.
    Between,
    /// A comment, which is no event.
    Comment,
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
    /// What the path said.
    pub(crate) address: Address<'a>,
}

/// An error that a provider answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) status: u16,
    /// The dialect's usual words when none.
    pub(crate) message: Option<String>,
    pub(crate) code: Option<String>,
    /// The field of the request that is to blame.
    pub(crate) param: Option<String>,
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

    pub(crate) fn with_param(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 7] = [
        Self::ChatCompletions,
        Self::Messages,
        Self::Responses,
        Self::Gemini,
        Self::OllamaChat,
        Self::OllamaGenerate,
        Self::Completions,
    ];

    /// The path of this dialect that answers calls; in Gemini, where the path says it, for the model `sim` and without
    /// streaming.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
            Self::Gemini => "/v1beta/models/sim:generateContent",
            Self::OllamaChat => "/api/chat",
            Self::OllamaGenerate => "/api/generate",
            Self::Completions => "/v1/completions",
        }
    }

    /// Path and query of a call to `model`.
    #[must_use]
    pub fn target(self, model: &str, stream: bool) -> String {
        match self {
            Self::Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Self::ChatCompletions
            | Self::Messages
            | Self::Responses
            | Self::OllamaChat
            | Self::OllamaGenerate
            | Self::Completions => self.path().to_owned(),
        }
    }

    /// What an SDK of this dialect expects its base URL to end in.
    pub(crate) fn base_path(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Completions => "/v1",
            Self::Messages | Self::Gemini | Self::OllamaChat | Self::OllamaGenerate => "",
        }
    }

    pub(crate) fn framing(self) -> Framing {
        match self {
            Self::OllamaChat | Self::OllamaGenerate => Framing::Lines,
            Self::ChatCompletions | Self::Messages | Self::Responses | Self::Gemini | Self::Completions => {
                Framing::Events
            }
        }
    }

    /// Whether a stream has a tool call in one piece, so that it cannot be cut within.
    pub(crate) fn calls_come_whole(self) -> bool {
        match self {
            Self::Gemini | Self::OllamaChat | Self::OllamaGenerate => true,
            Self::ChatCompletions | Self::Messages | Self::Responses | Self::Completions => false,
        }
    }

    pub(crate) fn decode(self, body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
        match self {
            Self::ChatCompletions => chat_completions::decode(body, rules),
            Self::Messages => messages::decode(body, rules),
            Self::Responses => responses::decode(body, rules),
            Self::Gemini => gemini::decode(body, rules),
            Self::OllamaChat => ollama::decode_chat(body, rules),
            Self::OllamaGenerate => ollama::decode_generate(body, rules),
            Self::Completions => completions::decode(body),
        }
    }

    /// What is said of the tokens of a prompt, where the dialect has words for it.
    pub(crate) fn count_tokens(self, body: &[u8], rules: Rules<'_>) -> Result<Value, Denial> {
        match self {
            Self::Messages => messages::count_tokens(body, rules),
            Self::Gemini => gemini::count_tokens(body, rules),
            Self::ChatCompletions | Self::Responses | Self::OllamaChat | Self::OllamaGenerate | Self::Completions => {
                Err(Denial::usual(404))
            }
        }
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(self, rendering: Rendering<'_>) -> Frame {
        let body = match self {
            Self::ChatCompletions => chat_completions::whole(rendering),
            Self::Messages => messages::whole(rendering),
            Self::Responses => responses::whole(rendering),
            Self::Gemini => gemini::whole(rendering),
            Self::OllamaChat => ollama::Voice::Chat.whole(rendering),
            Self::OllamaGenerate => ollama::Voice::Generate.whole(rendering),
            Self::Completions => completions::whole(rendering),
        };
        Frame { mark: Mark::Whole, bytes: body.to_string().into_bytes() }
    }

    /// The events of a streamed answer.
    pub(crate) fn frames(self, rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
        match self {
            Self::ChatCompletions => chat_completions::frames(rendering, pieces),
            Self::Messages => messages::frames(rendering, pieces),
            Self::Responses => responses::frames(rendering, pieces),
            Self::Gemini => gemini::frames(rendering, pieces),
            Self::OllamaChat => ollama::Voice::Chat.frames(rendering, pieces),
            Self::OllamaGenerate => ollama::Voice::Generate.frames(rendering, pieces),
            Self::Completions => completions::frames(rendering, pieces),
        }
    }

    /// The event that says nothing but that the stream is over, after `before` other events; none where there is none.
    pub(crate) fn terminator(self, rendering: Rendering<'_>, before: usize) -> Option<Frame> {
        match self {
            Self::ChatCompletions | Self::Completions => Some(chat_completions::terminator()),
            Self::Messages => Some(messages::terminator()),
            Self::Responses => Some(responses::terminator(rendering, before)),
            Self::Gemini => None,
            Self::OllamaChat => Some(ollama::Voice::Chat.terminator(rendering)),
            Self::OllamaGenerate => Some(ollama::Voice::Generate.terminator(rendering)),
        }
    }

    /// The body of an error.
    pub(crate) fn error_body(self, denial: &Denial) -> Vec<u8> {
        self.error(denial).to_string().into_bytes()
    }

    /// An error event within a stream, after `before` other events.
    pub(crate) fn error_frame(self, denial: &Denial, before: usize) -> Frame {
        let bytes = match self {
            Self::ChatCompletions | Self::Completions => data_line(&self.error(denial)),
            Self::Messages => event(&self.error(denial)),
            Self::Responses => event(&responses::error_event(denial, before)),
            Self::Gemini => gemini::data_line(&self.error(denial)),
            Self::OllamaChat | Self::OllamaGenerate => json_line(&self.error(denial)),
        };
        Frame { mark: Mark::Between, bytes }
    }

    /// The event of an answer that failed, after `before` other events: an error event, where there is no other.
    pub(crate) fn failed_frame(self, rendering: Rendering<'_>, denial: &Denial, before: usize) -> Frame {
        match self {
            Self::Responses => responses::failed(rendering, denial, before),
            Self::ChatCompletions
            | Self::Messages
            | Self::Gemini
            | Self::OllamaChat
            | Self::OllamaGenerate
            | Self::Completions => self.error_frame(denial, before),
        }
    }

    /// The refusal of a call to a model that is not there.
    pub(crate) fn unknown_model(self, model: &str) -> Denial {
        let message = match self {
            Self::ChatCompletions | Self::Messages | Self::Responses | Self::Completions => {
                format!("The model `{model}` does not exist or you do not have access to it.")
            }
            Self::Gemini => format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
            ),
            Self::OllamaChat | Self::OllamaGenerate => format!("model '{model}' not found"),
        };
        Denial::new(404, message).with_code("model_not_found")
    }

    /// The refusal of a key, which may be `missing` altogether.
    pub(crate) fn wrong_key(self, missing: bool) -> Denial {
        match self {
            Self::Gemini => gemini::wrong_key(missing),
            Self::ChatCompletions
            | Self::Messages
            | Self::Responses
            | Self::OllamaChat
            | Self::OllamaGenerate
            | Self::Completions => Denial::usual(401),
        }
    }

    /// The list of models.
    pub(crate) fn models(self, models: &[String]) -> Value {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Completions => chat_completions::models(models),
            Self::Messages => messages::models(models),
            Self::Gemini => gemini::models(models),
            Self::OllamaChat | Self::OllamaGenerate => ollama::tags(models),
        }
    }

    /// The header that carries the provider's id of the call, where it sends one.
    pub(crate) fn request_id_header(self) -> Option<HeaderName> {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Completions => {
                Some(HeaderName::from_static("x-request-id"))
            }
            Self::Messages => Some(HeaderName::from_static("request-id")),
            Self::Gemini | Self::OllamaChat | Self::OllamaGenerate => None,
        }
    }

    fn error(self, denial: &Denial) -> Value {
        match self {
            Self::ChatCompletions | Self::Responses | Self::Completions => chat_completions::error(denial),
            Self::Messages => messages::error(denial),
            Self::Gemini => gemini::error(denial),
            Self::OllamaChat | Self::OllamaGenerate => ollama::error(denial),
        }
    }
}

impl Framing {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream; charset=utf-8",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// What ends an event.
    pub(crate) fn end(self) -> &'static str {
        match self {
            Self::Events => "\n\n",
            Self::Lines => "\n",
        }
    }

    /// Whether the last event is complete.
    pub(crate) fn is_ended(self, bytes: &[u8]) -> bool {
        match self {
            Self::Events => bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n"),
            Self::Lines => bytes.ends_with(b"\n"),
        }
    }

    /// What keeps a connection alive without saying anything.
    pub(crate) fn comment(self) -> Option<&'static [u8]> {
        match self {
            Self::Events => Some(b": keep-alive\n\n"),
            Self::Lines => None,
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

/// One JSON object on its line, as Ollama writes.
fn json_line(data: &Value) -> Vec<u8> {
    format!("{data}\n").into_bytes()
}

/// A tool call's arguments as an object; what is no JSON can only be shown as it is in a stream.
fn arguments_object(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| serde_json::json!({ "raw": arguments }))
}

/// The body of a request to one of OpenAI's dialects.
fn openai_object(body: &[u8]) -> Result<Value, Denial> {
    let request: Value = serde_json::from_slice(body)
        .map_err(|error| Denial::new(400, format!("We could not parse the JSON body of your request: {error}")))?;
    if field(&request, "model").as_str().is_none_or(str::is_empty) {
        return Err(Denial::new(400, "you must provide a model parameter"));
    }
    Ok(request)
}

fn set(value: &mut Value, name: &str, field: Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(name.to_owned(), field);
    }
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

pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    field(value, name).as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn words(value: &Value, name: &str) -> String {
    field(value, name).as_str().unwrap_or_default().to_owned()
}

pub(crate) fn count(value: &Value, name: &str) -> Option<usize> {
    field(value, name).as_u64().and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests;
