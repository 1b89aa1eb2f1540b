//! What must be known of a request before it is routed, from one scan, and the one edit a forwarded request needs.
//!
//! A call that stays in its dialect is not parsed: its bytes are checked, looked over, and forwarded with the value of
//! `model` replaced in place, so that key order, spacing and every field this program has never heard of survive.

use std::borrow::Cow;
use std::ops::Range;

use commonwatt_core::call::Requirements;

use crate::request::BadInput;
use crate::scan::{Container, Scalar, Sink, scan};
use crate::{Dialect, tape};

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
    /// Where the value of `model` stands in the body, quotes included.
    pub(crate) model_range: Range<usize>,
    /// Where the members of the top level stand, in order.
    pub(crate) members: Vec<Stretch>,
}

/// Where a member of the top level stands in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its name, with the quotes.
    pub(crate) name: Range<usize>,
    /// The end of its value.
    pub(crate) end: usize,
}

/// Reads the envelope of a request.
///
/// # Errors
/// [`BadInput`] when the body is not a JSON object, or `model`, `messages` or `stream` is missing, doubled or of the
/// wrong kind. Everything else is left to whoever reads the whole request.
pub fn open(dialect: Dialect, body: &[u8]) -> Result<Envelope, BadInput> {
    if body.trim_ascii().is_empty() {
        return Err(BadInput::new("the body is empty: send a JSON object"));
    }
    let mut looker = Looker::new(body);
    scan::<true>(body, &mut looker).map_err(|error| BadInput::syntax(error, body))?;
    looker.finish(dialect)
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
    Other,
}

impl Member {
    fn named(name: &str) -> Self {
        match name {
            "model" => Self::Model,
            "messages" => Self::Messages,
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

/// A key below the top level that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nested {
    Type,
    Signature,
    IncludeUsage,
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

struct Looker<'a> {
    body: &'a [u8],
    /// Open containers, a bit each, an object is 1; the outermost is the highest.
    around: u128,
    depth: u32,
    member: Member,
    member_start: usize,
    nested: Nested,
    model: Option<(Range<usize>, bool)>,
    members: Vec<Stretch>,
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
    fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            around: 0,
            depth: 0,
            member: Member::Other,
            member_start: 0,
            nested: Nested::Other,
            model: None,
            members: Vec::with_capacity(8),
            has_messages: false,
            has_stream: false,
            stream: false,
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

    fn finish(mut self, dialect: Dialect) -> Result<Envelope, BadInput> {
        if let Some(wrong) = self.wrong {
            return Err(BadInput::new(wrong));
        }
        let Some((inside, escaped)) = self.model else {
            return Err(BadInput::new("the field `model` is missing: name a route such as `auto`, or a model"));
        };
        let text = std::str::from_utf8(self.body.get(inside.clone()).unwrap_or_default()).unwrap_or_default();
        let model = if escaped { tape::unescaped(text) } else { text.to_owned() };
        if model.is_empty() {
            return Err(BadInput::new("the field `model` is empty: name a route such as `auto`, or a model"));
        }
        if !self.has_messages {
            return Err(BadInput::new("the field `messages` is missing: send the conversation in it"));
        }
        if dialect == Dialect::AnthropicMessages {
            self.needs.many_choices = false;
        }
        self.needs.max_output_tokens = self.max_completion_tokens.unwrap_or(self.needs.max_output_tokens);
        self.needs.stream = self.stream;
        let model_range = inside.start - 1..inside.end + 1;
        Ok(Envelope {
            model,
            stream: self.stream,
            stream_usage: self.stream_usage,
            needs: self.needs,
            unsigned_thinking: self.unsigned_thinking,
            model_range,
            members: self.members,
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
            (Member::Messages, Container::Array) => self.messages(),
            (Member::Messages, Container::Object) => self.refuse("the field `messages` must be an array"),
            (Member::Stream, _) => self.refuse("the field `stream` must be `true` or `false`"),
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
            (Member::Messages, _) => self.refuse("the field `messages` must be an array"),
            (Member::Stream, Scalar::True | Scalar::False | Scalar::Null) => {
                self.stream = scalar == Scalar::True;
                if std::mem::replace(&mut self.has_stream, true) {
                    self.refuse("the field `stream` is given twice");
                }
            }
            (Member::Stream, _) => self.refuse("the field `stream` must be `true` or `false`"),
            (Member::ReasoningEffort, Scalar::String { .. }) => self.needs.reasoning |= self.text(range) != "none",
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
                Member::StreamOptions
                | Member::Tools
                | Member::ResponseFormat
                | Member::OutputConfig
                | Member::OutputFormat
                | Member::Thinking
                | Member::ReasoningEffort
                | Member::MaxTokens
                | Member::MaxCompletionTokens
                | Member::Choices
                | Member::Other,
                _,
            ) => {}
        }
    }

    /// `"type": "<word>"` somewhere below the top level.
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
        if self.depth == 1 {
            self.member_ends(end);
            self.member_container(container, self.member_start..end);
        }
    }

    fn key(&mut self, text: Range<usize>, escaped: bool) {
        if self.depth == 1 {
            self.members.push(Stretch { name: text.start - 1..text.end + 1, end: text.end + 1 });
            let name = self.text(text);
            let name = if escaped { Cow::Owned(tape::unescaped(name)) } else { Cow::Borrowed(name) };
            self.member = Member::named(&name);
            return;
        }
        self.nested = match self.body.get(text) {
            Some(b"type") => Nested::Type,
            Some(b"signature") => Nested::Signature,
            Some(b"include_usage") => Nested::IncludeUsage,
            Some(_) | None => Nested::Other,
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
            (_, Nested::Type | Nested::Signature | Nested::IncludeUsage | Nested::Other) => {}
        }
    }
}

#[cfg(test)]
mod tests;
