//! What is asked: one request in canonical form.
//!
//! The items are those of the Responses API (message, reasoning, function call, function call output), because every
//! other dialect can be read into them. A canonical call is only made when an attempt needs one; a call that stays in
//! its own dialect is forwarded byte for byte and described by [`Requirements`] alone.

use bytes::Bytes;

use crate::text::Text;

/// JSON text that the core carries but never looks into (schemas, unknown fields): valid, and mostly a slice of the
/// request in which it stood.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(pub Bytes);

impl std::fmt::Debug for RawJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RawJson").field(&self.as_str()).finish()
    }
}

impl RawJson {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// One request in canonical form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// The dialect in which the client wrote it, by its word; what is opaque here may go back only to the same one.
    pub dialect: &'static str,
    /// The route or model that the client named.
    pub model: String,
    /// Instructions that stand before the conversation (system prompt).
    pub system: Vec<Part>,
    /// The conversation, oldest first.
    pub items: Vec<Item>,
    /// Functions that the model may ask the client to run.
    pub tools: Vec<Tool>,
    /// Whether and which tool must be used; `None` leaves the provider's default.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tool calls may come in one answer; `None` leaves the provider's default.
    pub parallel_tool_calls: Option<bool>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Upper bound on generated tokens, reasoning included.
    pub max_output_tokens: Option<u32>,
    /// Strings that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Whether the client wants the answer as a stream of events.
    pub stream: bool,
    /// Whether the client asked for usage at the end of a stream (OpenAI `stream_options.include_usage`).
    pub stream_usage: bool,
    /// The shape the answer must have.
    pub format: Format,
    /// How much the model should think first; `None` leaves the provider's default.
    pub reasoning: Option<ReasoningWish>,
    /// The client's own name for its end user.
    pub user: Option<String>,
    /// Fields of the source dialect without a canonical place, in order, as `(name, value)`.
    pub extra: Vec<(String, RawJson)>,
}

/// One entry of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Something said by a party.
    Message {
        /// Who said it.
        role: Role,
        /// What was said.
        content: Vec<Part>,
    },
    /// Thinking that a model showed or sealed.
    Reasoning(Reasoning),
    /// A function call that the model asked for.
    ToolCall(ToolCall),
    /// What the client's function returned.
    ToolOutput {
        /// The call that is answered.
        call_id: String,
        /// The result.
        content: Vec<Part>,
        /// Whether the function failed.
        is_error: bool,
    },
    /// An item that only the source dialect knows, kept whole: `(type name, item)`.
    Opaque(String, RawJson),
    /// A field of the item before it that only the source dialect knows: `(name, value)`.
    Field(String, RawJson),
}

/// A party to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator of the application, before or within the conversation.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(Text),
    /// An image, by address or by value.
    Image(Image),
    /// A refusal written by the model instead of an answer.
    Refusal(Text),
    /// A block that only the source dialect knows, kept whole: `(type name, block)`.
    Opaque(String, RawJson),
    /// A field of the part before it that only the source dialect knows, such as a cache mark: `(name, value)`.
    Field(String, RawJson),
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// To be fetched by the provider.
    Url {
        /// Its address.
        url: String,
        /// OpenAI's `detail` wish.
        detail: Option<String>,
    },
    /// Carried in the request.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// Standard base64.
        data: Text,
        /// OpenAI's `detail` wish.
        detail: Option<String>,
    },
}

/// Thinking, and the seal under which its author will accept it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// What the model showed.
    pub text: String,
    /// Anthropic's `signature`; valid only for the model, prefix and account that made it.
    pub signature: Option<String>,
    /// Anthropic's `redacted_thinking` data; opaque.
    pub redacted: Option<String>,
    /// Responses' `encrypted_content`; valid only for the organisation that made it.
    pub encrypted: Option<String>,
    /// Responses' id of the item.
    pub id: Option<String>,
}

impl Reasoning {
    /// Whether its author sealed it: only that one takes it back.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.signature.is_some() || self.redacted.is_some() || self.encrypted.is_some()
    }
}

/// A function call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id, which the output repeats.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments: a JSON text as the model wrote it, not necessarily valid.
    pub arguments: Text,
    /// Gemini's `thoughtSignature`: the seal of the thinking that led to the call. Gemini 3 wants it back.
    pub signature: Option<String>,
}

/// A function that the client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tool {
    /// Its name; for an opaque one, what the source dialect calls its kind.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments; `None` means no arguments.
    pub parameters: Option<RawJson>,
    /// Whether arguments must obey the schema.
    pub strict: Option<bool>,
    /// Fields that only the source dialect knows, in order, as `(name, value)`.
    pub extra: Vec<(String, RawJson)>,
    /// The whole entry, where it is not a function of the client's but something the source dialect runs itself.
    pub opaque: Option<RawJson>,
}

/// Whether and which tool must be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Named(String),
}

/// How tokens are drawn. `None` leaves the provider's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus.
    pub top_p: Option<f64>,
    /// Only the k likeliest.
    pub top_k: Option<u32>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Repeats the draw where the provider can.
    pub seed: Option<i64>,
    /// Log probabilities wanted, with this many alternatives a token.
    pub logprobs: Option<u8>,
    /// Token id → bias, as the client wrote it.
    pub logit_bias: Option<RawJson>,
    /// How many answers to one question.
    pub choices: Option<u32>,
}

/// The shape the answer must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Free text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that obeys a schema.
    JsonSchema {
        /// A name for it.
        name: String,
        /// The schema.
        schema: RawJson,
        /// OpenAI's `strict`.
        strict: Option<bool>,
    },
}

/// How much the model should think before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReasoningWish {
    /// A word such as `low`, `medium`, `high`.
    Effort(String),
    /// A number of tokens.
    BudgetTokens(u32),
    /// As much as the model sees fit.
    Auto,
    /// Not at all.
    Off,
}

/// What a deployment must be able to do for this call. Derived before routing, from a scan of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Function calling.
    pub tools: bool,
    /// Reading images.
    pub images: bool,
    /// Answers that obey a JSON schema.
    pub json_schema: bool,
    /// More than one answer to the question.
    pub many_choices: bool,
    /// Not an answer at all, but vectors that stand for the texts.
    pub embeddings: bool,
    /// Not an answer at all, but documents in the order of their relevance.
    pub rerank: bool,
    /// Size of the request body in bytes; a lower bound of its tokens is derived from it.
    pub body_bytes: u64,
    /// Tokens that the client wants to have room for; zero when it did not say.
    pub max_output_tokens: u32,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client asked the model to think first.
    pub reasoning: bool,
}

impl Requirements {
    /// A cautious lower bound of the prompt's tokens: few texts in any language need less than one token for eight
    /// bytes of JSON. Images are counted by the provider, so a call that carries any claims nothing here.
    #[must_use]
    pub fn prompt_tokens_min(&self) -> u64 {
        if self.images { 0 } else { self.body_bytes / 8 }
    }
}
