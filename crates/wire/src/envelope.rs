//! What must be known of a request before it is routed, from one scan, and the one edit a forwarded request needs.
//!
//! A call that stays in its dialect is not parsed: its bytes are checked, looked over, and forwarded with the value of
//! `model` replaced in place, so that key order, spacing and every field this program has never heard of survive.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use commonwatt_core::call::{RawJson, Requirements};
use commonwatt_core::text::unescaped;

use crate::Dialect;
use crate::request::BadInput;
use crate::scan::{Container, Scalar, Sink, scan};

/// What a request says about itself.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The route or model that the client named.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client asked for usage at the end of the stream (OpenAI).
    pub stream_usage: bool,
    /// What a deployment must be able to do.
    pub needs: Requirements,
    /// Whether the history holds thinking without a seal, which was written for a caller of Anthropic's dialect when
    /// another provider answered. Anthropic refuses it: such a call is translated, not forwarded.
    pub unsigned_thinking: bool,
    /// Where the value of `model` stands in the body, quotes included; nowhere where the path names it.
    pub(crate) model_range: Option<Range<usize>>,
    /// Where the members of the top level stand, in order.
    pub(crate) members: Vec<Stretch>,
    /// Where the messages of the conversation stand in the body, in order; none where it is a text alone.
    pub messages: Vec<Range<usize>>,
    /// The first message of the conversation, as it stands in the body: what tells one session from another.
    pub opening: Option<Bytes>,
}

impl Envelope {
    /// The envelope of a request that is no conversation.
    #[must_use]
    pub fn of_no_conversation(model: &str, needs: Requirements) -> Self {
        Self {
            model: model.to_owned(),
            stream: false,
            stream_usage: false,
            needs,
            unsigned_thinking: false,
            model_range: None,
            members: Vec::new(),
            messages: Vec::new(),
            opening: None,
        }
    }

    /// The value of a member of the body's top level, as it stands there.
    #[must_use]
    pub fn member(&self, body: &Bytes, name: &str) -> Option<RawJson> {
        let named = |member: &&Stretch| {
            let inside = member.name.start + 1..member.name.end - 1;
            body.get(inside) == Some(name.as_bytes())
        };
        let member = self.members.iter().find(named)?;
        let value = body.get(member.name.end..member.end)?;
        let colon = value.iter().position(|byte| *byte == b':')? + 1;
        let value = value.get(colon..)?.trim_ascii();
        Some(RawJson(body.slice_ref(value)))
    }
}

/// Where a member of the top level stands in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its name, with the quotes.
    pub(crate) name: Range<usize>,
    /// The end of its value.
    pub(crate) end: usize,
}

/// What the path of a request says, in a dialect where it does (Gemini).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPath {
    /// The route or model.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
}

/// Reads the envelope of a request.
///
/// # Errors
/// [`BadInput`] when the body is not a JSON object, or the model, the conversation or `stream` is missing, doubled or of
/// the wrong kind. Everything else is left to whoever reads the whole request.
pub fn open(dialect: Dialect, in_path: Option<&InPath>, body: &Bytes) -> Result<Envelope, BadInput> {
    if body.trim_ascii().is_empty() {
        return Err(BadInput::new("the body is empty: send a JSON object"));
    }
    let mut looker = Looker::new(dialect, body);
    scan::<true>(body, &mut looker).map_err(|error| BadInput::syntax(error, body))?;
    let envelope = looker.finish(in_path)?;
    let opening = envelope.messages.first().map(|range| body.slice(range.clone()));
    Ok(Envelope { opening, ..envelope })
}

/// A member of the request's top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Model,
    Messages,
    Stream,
    StreamOptions,
    Tools,
    ResponseFormat,
    OutputConfig,
    OutputFormat,
    Thinking,
    ReasoningEffort,
    MaxTokens,
    MaxCompletionTokens,
    Choices,
    OllamaFormat,
    Images,
    /// A whole request inside another, which `countTokens` takes (Gemini).
    Wrapped,
    /// An object of settings, whose members say what others say at the top level.
    Settings,
    Other,
}

impl Member {
    fn named(dialect: Dialect, name: &str) -> Self {
        if name == conversation(dialect) {
            return Self::Messages;
        }
        match (dialect, name) {
            (Dialect::OpenAiResponses, "text") => return Self::OutputConfig,
            (Dialect::OpenAiResponses, "max_output_tokens") => return Self::MaxCompletionTokens,
            (Dialect::OpenAiResponses, "reasoning")
            | (Dialect::Gemini, "generationConfig" | "generation_config")
            | (Dialect::OllamaChat | Dialect::OllamaGenerate, "options") => return Self::Settings,
            (Dialect::OllamaChat | Dialect::OllamaGenerate, "format") => return Self::OllamaFormat,
            (Dialect::OllamaChat | Dialect::OllamaGenerate, "think") => return Self::ReasoningEffort,
            (Dialect::OllamaGenerate, "images") => return Self::Images,
            (Dialect::Gemini, "generateContentRequest" | "generate_content_request") => return Self::Wrapped,
            (Dialect::Gemini, "stream" | "model") => return Self::Other,
            _ => {}
        }
        match name {
            "model" => Self::Model,
            "stream" => Self::Stream,
            "stream_options" => Self::StreamOptions,
            "tools" | "functions" => Self::Tools,
            "response_format" => Self::ResponseFormat,
            "output_config" => Self::OutputConfig,
            "output_format" => Self::OutputFormat,
            "thinking" => Self::Thinking,
            "reasoning_effort" => Self::ReasoningEffort,
            "max_tokens" => Self::MaxTokens,
            "max_completion_tokens" => Self::MaxCompletionTokens,
            "n" => Self::Choices,
            _ => Self::Other,
        }
    }
}

/// The member that holds the conversation, or the prompt.
pub(crate) fn conversation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::OllamaChat => "messages",
        Dialect::OpenAiResponses => "input",
        Dialect::Gemini => "contents",
        Dialect::OllamaGenerate | Dialect::OpenAiCompletions => "prompt",
    }
}

/// A key below the top level that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nested {
    Type,
    Signature,
    IncludeUsage,
    Effort,
    MaxTokens,
    Choices,
    Other,
}

/// The containers around a part of a message (`messages[].content[]`), outermost first: 1 is an object.
const IN_MESSAGE: u128 = 0b10101;
/// Around a part of a tool's result inside a message.
const IN_TOOL_RESULT: u128 = 0b101_0101;
/// Around a member of a member.
const IN_MEMBER: u128 = 0b11;
/// Around a member of `output_config.format`.
const IN_FORMAT: u128 = 0b111;

/// Around the members of a message.
const IN_LIST: u128 = 0b101;

struct Looker<'a> {
    dialect: Dialect,
    body: &'a [u8],
    /// Open containers, a bit each, an object is 1; the outermost is the highest.
    around: u128,
    depth: u32,
    member: Member,
    member_start: usize,
    nested: Nested,
    model: Option<(Range<usize>, bool)>,
    members: Vec<Stretch>,
    messages: Vec<Range<usize>>,
    message_start: usize,
    has_messages: bool,
    has_stream: bool,
    stream: bool,
    stream_usage: bool,
    unsigned_thinking: bool,
    max_completion_tokens: Option<u32>,
    needs: Requirements,
    wrong: Option<&'static str>,
}

impl<'a> Looker<'a> {
    fn new(dialect: Dialect, body: &'a [u8]) -> Self {
        Self {
            dialect,
            body,
            around: 0,
            depth: 0,
            member: Member::Other,
            member_start: 0,
            nested: Nested::Other,
            model: None,
            members: Vec::with_capacity(8),
            messages: Vec::new(),
            message_start: 0,
            has_messages: false,
            has_stream: false,
            // Ollama streams unless it is told not to.
            stream: matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate),
            stream_usage: false,
            unsigned_thinking: false,
            max_completion_tokens: None,
            needs: Requirements { body_bytes: body.len() as u64, ..Requirements::default() },
            wrong: None,
        }
    }

    fn text(&self, range: Range<usize>) -> &'a str {
        std::str::from_utf8(self.body.get(range).unwrap_or_default()).unwrap_or_default()
    }

    fn finish(mut self, in_path: Option<&InPath>) -> Result<Envelope, BadInput> {
        if let Some(wrong) = self.wrong {
            return Err(BadInput::new(wrong));
        }
        let (model, model_range) = match (&self.model, in_path) {
            (_, Some(InPath { model, .. })) => (model.clone(), None),
            (Some((inside, escaped)), None) => {
                let text = self.text(inside.clone());
                let model = if *escaped { unescaped(text) } else { text.to_owned() };
                (model, Some(inside.start - 1..inside.end + 1))
            }
            (None, None) => {
                return Err(BadInput::new("the field `model` is missing: name a route such as `auto`, or a model"));
            }
        };
        if model.is_empty() {
            return Err(BadInput::new("the field `model` is empty: name a route such as `auto`, or a model"));
        }
        if !self.has_messages {
            let name = conversation(self.dialect);
            return Err(BadInput::new(format!("the field `{name}` is missing: send the conversation in it")));
        }
        self.stream = in_path.map_or(self.stream, |path| path.stream);
        if self.dialect == Dialect::AnthropicMessages {
            self.needs.many_choices = false;
        }
        self.needs.max_output_tokens = self.max_completion_tokens.unwrap_or(self.needs.max_output_tokens);
        self.needs.stream = self.stream;
        Ok(Envelope {
            model,
            stream: self.stream,
            stream_usage: self.stream_usage,
            needs: self.needs,
            unsigned_thinking: self.unsigned_thinking,
            model_range,
            members: self.members,
            messages: self.messages,
            opening: None,
        })
    }

    fn member_ends(&mut self, end: usize) {
        if let Some(member) = self.members.last_mut() {
            member.end = end;
        }
    }

    fn refuse(&mut self, wrong: &'static str) {
        self.wrong.get_or_insert(wrong);
    }

    /// A member of the top level whose value is an object or array.
    fn member_container(&mut self, container: Container, range: Range<usize>) {
        match (self.member, container) {
            (Member::Model, _) => self.refuse("the field `model` must be a string"),
            (Member::Messages, Container::Array) | (Member::Wrapped, Container::Object) => self.messages(),
            (Member::Messages, Container::Object) => self.refuse(match self.dialect {
                Dialect::OpenAiResponses => "the field `input` must be a string or an array",
                Dialect::Gemini => "the field `contents` must be an array",
                Dialect::OllamaGenerate | Dialect::OpenAiCompletions => "the field `prompt` must be a string",
                Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::OllamaChat => {
                    "the field `messages` must be an array"
                }
            }),
            (Member::Stream, _) => self.refuse("the field `stream` must be `true` or `false`"),
            (Member::OllamaFormat, _) => self.needs.json_schema |= container == Container::Object,
            (Member::Images, _) => {
                let inside = self.body.get(range.start + 1..range.end - 1).unwrap_or_default();
                self.needs.images |= !inside.trim_ascii().is_empty();
            }
            (Member::Tools, _) => {
                let inside = self.body.get(range.start + 1..range.end - 1).unwrap_or_default();
                self.needs.tools |= !inside.trim_ascii().is_empty();
            }
            (
                Member::StreamOptions
                | Member::ResponseFormat
                | Member::OutputConfig
                | Member::OutputFormat
                | Member::Thinking
                | Member::ReasoningEffort
                | Member::MaxTokens
                | Member::MaxCompletionTokens
                | Member::Choices
                | Member::Wrapped
                | Member::Settings
                | Member::Other,
                _,
            ) => {}
        }
    }

    fn messages(&mut self) {
        if std::mem::replace(&mut self.has_messages, true) {
            self.refuse("the field `messages` is given twice");
        }
    }

    /// A member of the top level whose value is a scalar.
    fn member_scalar(&mut self, scalar: Scalar, range: Range<usize>) {
        match (self.member, scalar) {
            (Member::Model, Scalar::String { escaped }) => {
                if self.model.replace((range, escaped)).is_some() {
                    self.refuse("the field `model` is given twice");
                }
            }
            (Member::Model, _) => self.refuse("the field `model` must be a string"),
            (Member::Messages, Scalar::String { .. }) if self.takes_text() => self.messages(),
            (Member::Messages, _) if self.takes_text() => self.refuse("the prompt must be a string or an array"),
            (Member::Messages, _) => self.refuse("the field `messages` must be an array"),
            (Member::Stream, Scalar::True | Scalar::False | Scalar::Null) => {
                // Null is as good as nothing, which means yes in some dialects.
                self.stream = scalar == Scalar::True || (scalar == Scalar::Null && self.stream);
                if std::mem::replace(&mut self.has_stream, true) {
                    self.refuse("the field `stream` is given twice");
                }
            }
            (Member::Stream, _) => self.refuse("the field `stream` must be `true` or `false`"),
            (Member::ReasoningEffort, Scalar::String { .. }) => self.needs.reasoning |= self.text(range) != "none",
            (Member::ReasoningEffort, Scalar::True) => self.needs.reasoning = true,
            (Member::MaxTokens, Scalar::Number) => {
                self.needs.max_output_tokens = self.text(range).parse().unwrap_or_default();
            }
            (Member::MaxCompletionTokens, Scalar::Number) => {
                self.max_completion_tokens = self.text(range).parse().ok();
            }
            (Member::Choices, Scalar::Number) => {
                self.needs.many_choices = self.text(range).parse::<u64>().is_ok_and(|choices| choices > 1);
            }
            (
                Member::OllamaFormat
                | Member::Images
                | Member::StreamOptions
                | Member::Tools
                | Member::ResponseFormat
                | Member::OutputConfig
                | Member::OutputFormat
                | Member::Thinking
                | Member::ReasoningEffort
                | Member::MaxTokens
                | Member::MaxCompletionTokens
                | Member::Choices
                | Member::Wrapped
                | Member::Settings
                | Member::Other,
                _,
            ) => {}
        }
    }

    /// `"type": "<word>"` somewhere below the top level.
    /// Whether a text alone can stand where others have a list of messages.
    fn takes_text(&self) -> bool {
        matches!(self.dialect, Dialect::OpenAiResponses | Dialect::OllamaGenerate | Dialect::OpenAiCompletions)
    }

    /// A key whose presence says enough.
    fn note(&mut self, name: &[u8]) {
        match (self.member, self.around, name) {
            (Member::Messages, IN_MESSAGE, b"inlineData" | b"inline_data" | b"fileData" | b"file_data") => {
                self.needs.images |= self.dialect == Dialect::Gemini;
            }
            (Member::Messages, IN_LIST, b"images") => {
                self.needs.images |= self.dialect == Dialect::OllamaChat;
            }
            (
                Member::Settings,
                IN_MEMBER,
                b"responseSchema" | b"response_schema" | b"responseJsonSchema" | b"response_json_schema",
            ) => self.needs.json_schema = true,
            (Member::Settings, IN_MEMBER, b"thinkingConfig" | b"thinking_config") => self.needs.reasoning = true,
            _ => {}
        }
    }

    fn setting(&mut self, nested: Nested, scalar: Scalar, at: Range<usize>) {
        match (nested, scalar) {
            (Nested::Effort, Scalar::String { .. }) => self.needs.reasoning |= self.text(at) != "none",
            (Nested::MaxTokens, Scalar::Number) => {
                // Ollama says -1 for no bound.
                self.needs.max_output_tokens = self.text(at).parse().unwrap_or_default();
            }
            (Nested::Choices, Scalar::Number) => {
                self.needs.many_choices = self.text(at).parse::<u64>().is_ok_and(|choices| choices > 1);
            }
            (_, _) => {}
        }
    }

    fn typed(&mut self, word: &[u8]) {
        match (self.member, self.around) {
            (Member::Messages, IN_MESSAGE | IN_TOOL_RESULT) => {
                self.needs.images |= matches!(word, b"image_url" | b"image" | b"input_image");
            }
            (Member::ResponseFormat | Member::OutputFormat, IN_MEMBER) | (Member::OutputConfig, IN_FORMAT) => {
                self.needs.json_schema |= word == b"json_schema";
            }
            (Member::Thinking, IN_MEMBER) => {
                self.needs.reasoning |= !matches!(word, b"disabled");
            }
            _ => {}
        }
    }
}

impl Sink for Looker<'_> {
    fn open(&mut self, container: Container, at: usize) {
        match self.depth {
            0 if container == Container::Array => self.refuse("the body must be a JSON object"),
            1 => self.member_start = at,
            2 => self.message_start = at,
            _ => {}
        }
        self.around = (self.around << 1) | u128::from(container == Container::Object);
        self.depth += 1;
        self.nested = Nested::Other;
    }

    fn close(&mut self, end: usize) {
        let container = if self.around & 1 == 1 { Container::Object } else { Container::Array };
        self.around >>= 1;
        self.depth -= 1;
        if self.depth == 2 && self.member == Member::Messages {
            self.messages.push(self.message_start..end);
        }
        if self.depth == 1 {
            self.member_ends(end);
            self.member_container(container, self.member_start..end);
        }
    }

    fn key(&mut self, text: Range<usize>, escaped: bool) {
        if self.depth == 1 {
            self.members.push(Stretch { name: text.start - 1..text.end + 1, end: text.end + 1 });
            let name = self.text(text);
            let name = if escaped { Cow::Owned(unescaped(name)) } else { Cow::Borrowed(name) };
            self.member = Member::named(self.dialect, &name);
            return;
        }
        let name = self.body.get(text).unwrap_or_default();
        self.note(name);
        self.nested = match name {
            b"type" => Nested::Type,
            b"signature" => Nested::Signature,
            b"include_usage" => Nested::IncludeUsage,
            b"effort" => Nested::Effort,
            b"maxOutputTokens" | b"max_output_tokens" | b"num_predict" => Nested::MaxTokens,
            b"candidateCount" | b"candidate_count" => Nested::Choices,
            _ => Nested::Other,
        };
    }

    fn scalar(&mut self, scalar: Scalar, at: Range<usize>) {
        match (self.depth, self.nested) {
            (0, _) => self.refuse("the body must be a JSON object"),
            (1, _) => {
                self.member_ends(if matches!(scalar, Scalar::String { .. }) { at.end + 1 } else { at.end });
                self.member_scalar(scalar, at);
            }
            (_, Nested::Type) if matches!(scalar, Scalar::String { .. }) => {
                let word = self.body.get(at).unwrap_or_default();
                self.typed(word);
            }
            (2, Nested::IncludeUsage) if self.member == Member::StreamOptions => {
                self.stream_usage = scalar == Scalar::True;
            }
            (5, Nested::Signature) if self.member == Member::Messages && self.around == IN_MESSAGE => {
                self.unsigned_thinking |= at.is_empty();
            }
            (2, nested) if self.member == Member::Settings => self.setting(nested, scalar, at),
            (_, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
