//! Requests: bytes to the canonical call, and a call to bytes in any dialect.
//!
//! What one dialect says and another cannot is never dropped in silence: [`Encoded::lossy`] names it. What the source
//! dialect alone knows travels in the call as it stood ([`Part::Opaque`](commonwatt_core::call::Part), `Field`,
//! `extra`), and is written back when the call goes out in that dialect again.

mod openai_read;
mod openai_write;

mod completions_read;
mod gemini_content;
mod gemini_media;
mod gemini_read;
mod gemini_schema;
mod gemini_settings;
mod gemini_thinking;
mod gemini_write;
mod ollama_read;
mod ollama_write;
mod responses_read;
mod responses_write;

mod anthropic_read;
mod anthropic_thinking;
mod anthropic_write;

mod engine;

mod lossy;
mod quirks;
mod turns;

use bytes::Bytes;
use commonwatt_core::call::{Call, Item};

pub use engine::{EngineChat, engine_messages};
pub(crate) use gemini_schema::{camel, member};
pub use quirks::{Quirks, ToolIdShape};

use crate::scan::SyntaxError;
use crate::tape::{Tape, View};
use crate::{Dialect, emit};

/// A request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadInput {
    message: String,
}

impl BadInput {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    pub(crate) fn syntax(error: SyntaxError, body: &[u8]) -> Self {
        Self::new(format!("the body is not valid JSON: {}", error.told(body)))
    }

    /// A field that is missing or of the wrong kind.
    pub(crate) fn field(path: impl std::fmt::Display, must: &str) -> Self {
        Self::new(format!("the field `{path}` must be {must}"))
    }
}

/// A call that cannot be said in a dialect at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Untranslatable {
    message: String,
}

impl Untranslatable {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// A request in some dialect, and what could not be carried into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub body: Bytes,
    /// What was lost or changed: field names with, where it helps, a word in brackets. Printable ASCII.
    pub lossy: Vec<String>,
}

/// Reads a whole request. What is carried along shares its bytes.
///
/// # Errors
/// [`BadInput`] when it is not valid in its dialect.
pub fn decode(dialect: Dialect, body: &Bytes) -> Result<Call, BadInput> {
    let mut tape = Tape::default();
    let root = tape.read_shared(body).map_err(|error| BadInput::syntax(error, body))?;
    if root.kind() != crate::tape::Kind::Object {
        return Err(BadInput::new("the body must be a JSON object"));
    }
    let call = match dialect {
        Dialect::OpenAiChat => openai_read::decode(root),
        Dialect::AnthropicMessages => anthropic_read::decode(root),
        Dialect::OpenAiResponses => responses_read::decode(root),
        Dialect::Gemini => gemini_read::decode(root),
        Dialect::OllamaChat => ollama_read::decode(root),
        Dialect::OllamaGenerate => ollama_read::decode_prompt(root),
        Dialect::OpenAiCompletions => completions_read::decode(root),
    }?;
    // Gemini names the model in the path.
    if call.model.is_empty() && dialect != Dialect::Gemini {
        return Err(BadInput::new("the field `model` is missing: name a route such as `auto`, or a model"));
    }
    Ok(call)
}

/// Writes a call in a dialect, for `model`, the way the provider wants it.
///
/// # Errors
/// [`Untranslatable`] when the dialect has no words for what the call asks, or when part of the conversation lies with
/// the provider of another dialect.
pub fn encode(dialect: Dialect, call: &Call, model: &str, quirks: &Quirks) -> Result<Encoded, Untranslatable> {
    if call.dialect != dialect.word() {
        is_all_here(call)?;
    }
    match dialect {
        Dialect::OpenAiChat => Ok(openai_write::encode(call, model, quirks)),
        Dialect::AnthropicMessages => anthropic_write::encode(call, model, quirks),
        Dialect::OpenAiResponses => responses_write::encode(call, model, quirks),
        Dialect::Gemini => gemini_write::encode(call, model, quirks),
        Dialect::OllamaChat => ollama_write::encode(call, model, quirks),
        Dialect::OllamaGenerate | Dialect::OpenAiCompletions => {
            Err(Untranslatable { message: "a conversation cannot be said in a dialect of bare prompts".to_owned() })
        }
    }
}

/// Fields that stand for a part of the conversation which the provider keeps, by the dialect that has them.
const KEPT: [(Dialect, &str); 5] = [
    (Dialect::OpenAiResponses, "previous_response_id"),
    (Dialect::OpenAiResponses, "conversation"),
    (Dialect::OpenAiResponses, "prompt"),
    (Dialect::Gemini, "cachedContent"),
    (Dialect::OllamaGenerate, "context"),
];
/// An item of Responses that stands for one which the provider keeps.
const REFERENCE: &str = "item_reference";

/// What in a call stands for a part of the conversation that its provider keeps: nobody else has it.
fn kept_by_provider(call: &Call) -> Option<&str> {
    let fields = call.extra.iter().map(|(name, _)| name.as_str());
    let mut kept = fields.filter(|name| KEPT.iter().any(|(from, field)| from.word() == call.dialect && field == name));
    let refers = |item: &Item| matches!(item, Item::Opaque(kind, _) if kind == REFERENCE);
    kept.next().or_else(|| call.items.iter().any(refers).then_some(REFERENCE))
}

/// Refuses a call whose conversation is not all in it, since an answer to the rest would be an answer to something else.
fn is_all_here(call: &Call) -> Result<(), Untranslatable> {
    let refuse = |field| {
        let way_out = "send all of the conversation in the request, and any provider can answer";
        Untranslatable::new(format!("`{field}` leads to what only its own provider keeps: {way_out}"))
    };
    kept_by_provider(call).map_or(Ok(()), |field| Err(refuse(field)))
}

/// Writes what Gemini's `:countTokens` is asked: system prompt and tools count only inside a whole request, which names
/// its model.
///
/// ```text
/// {"generateContentRequest":{"model":"models/gemini-3-pro","systemInstruction":{…},"contents":[…],"tools":[…]}}
/// ```
///
/// # Errors
/// [`Untranslatable`] when Gemini has no words for what the call asks.
pub fn encode_count(call: &Call, model: &str, quirks: &Quirks) -> Result<Encoded, Untranslatable> {
    let Encoded { body, lossy } = gemini_write::encode(call, model, quirks)?;
    let mut out = Vec::with_capacity(body.len() + model.len() + 64);
    out.extend_from_slice(br#"{"generateContentRequest":{"model":"#);
    emit::string(&mut out, &format!("models/{model}"));
    out.push(b',');
    out.extend_from_slice(body.strip_prefix(b"{").unwrap_or(&body));
    out.push(b'}');
    Ok(Encoded { body: out.into(), lossy })
}

/// Removes thinking that a provider has sealed, since only the account and model that made it take it back. True when
/// there was any.
pub fn drop_sealed_reasoning(call: &mut Call) -> bool {
    let before = call.items.len();
    let (mut dropping, mut unsealed) = (false, false);
    for item in &mut call.items {
        if let Item::ToolCall(call) = item {
            unsealed |= call.signature.take().is_some();
        }
    }
    call.items.retain(|item| {
        dropping = match item {
            Item::Reasoning(reasoning) => reasoning.is_sealed(),
            // A field goes with the item before it.
            Item::Field(..) => dropping,
            Item::Message { .. } | Item::ToolCall(_) | Item::ToolOutput { .. } | Item::Opaque(..) => false,
        };
        !dropping
    });
    unsealed || call.items.len() < before
}

/// A value that must be a string.
fn text(value: &View<'_>, path: impl std::fmt::Display) -> Result<String, BadInput> {
    value.string().map(std::borrow::Cow::into_owned).ok_or_else(|| BadInput::field(path, "a string"))
}

/// A value that must be a number.
fn number(value: &View<'_>, path: &str) -> Result<f64, BadInput> {
    value.number().ok_or_else(|| BadInput::field(path, "a number"))
}

/// A value that must be a whole number.
fn count(value: &View<'_>, path: &str) -> Result<u32, BadInput> {
    let whole = value.whole().and_then(|whole| u32::try_from(whole).ok());
    whole.ok_or_else(|| BadInput::field(path, "a whole number, not negative"))
}

/// A value that must be true or false.
fn flag(value: &View<'_>, path: &str) -> Result<bool, BadInput> {
    value.boolean().ok_or_else(|| BadInput::field(path, "`true` or `false`"))
}

/// A value that must be an array.
fn list<'a>(
    value: &View<'a>,
    path: &dyn std::fmt::Display,
) -> Result<impl Iterator<Item = View<'a>> + use<'a>, BadInput> {
    if value.kind() == crate::tape::Kind::Array { Ok(value.items()) } else { Err(BadInput::field(path, "an array")) }
}

#[cfg(test)]
mod tests;
