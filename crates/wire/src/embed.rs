//! Embeddings: texts in, vectors out. Not a conversation, so not a [`Dialect`] of one.
//!
//! ```text
//! POST /v1/embeddings   {"model":"m","input":["a","b"]}   {"object":"list","data":[{"index":0,"embedding":[…]},…],…}
//! POST /api/embed       {"model":"m","input":["a","b"]}   {"model":"m","embeddings":[[…],[…]],…}
//! POST /api/embeddings  {"model":"m","prompt":"a"}        {"embedding":[…]}
//!
//! POST /v1beta/models/m:embedContent        {"content":{"parts":[{"text":"a"}]}}
//!                                           {"embedding":{"values":[…]}}
//! POST /v1beta/models/m:batchEmbedContents  {"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}},…]}
//!                                           {"embeddings":[{"values":[…]},…],"usageMetadata":{…}}
//! ```
//!
//! A vector that crosses keeps every bit of its 32-bit numbers.

mod gemini;

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use commonwatt_core::call::RawJson;
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::text::Text;

use crate::answer::{is_error, read_json};
use crate::emit::{self, Array, Object};
use crate::request::{BadInput, Encoded, Untranslatable};
use crate::tape::{Kind, Tape, View};
use crate::{Dialect, adapt, fault};

/// A protocol in which vectors are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EmbedDialect {
    /// `POST /v1/embeddings`.
    OpenAi,
    /// `POST /api/embed`.
    Ollama,
    /// `POST /api/embeddings`, the older one: a single text.
    OllamaOne,
    /// `POST /v1beta/models/{model}:batchEmbedContents`.
    Gemini,
    /// `POST /v1beta/models/{model}:embedContent`: a single text.
    GeminiOne,
}

impl EmbedDialect {
    /// The member that holds the texts.
    fn input(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Ollama => "input",
            Self::OllamaOne => "prompt",
            Self::Gemini => "requests",
            Self::GeminiOne => "content",
        }
    }

    /// Whether a body names the model in one place only, so that another can be put there and the rest forwarded.
    #[must_use]
    pub fn is_forwarded(self) -> bool {
        match self {
            Self::OpenAi | Self::Ollama | Self::OllamaOne => true,
            Self::Gemini | Self::GeminiOne => false,
        }
    }

    /// The dialect of conversations whose errors it shares.
    #[must_use]
    pub fn family(self) -> Dialect {
        match self {
            Self::OpenAi => Dialect::OpenAiChat,
            Self::Ollama | Self::OllamaOne => Dialect::OllamaChat,
            Self::Gemini | Self::GeminiOne => Dialect::Gemini,
        }
    }
}

/// A request for vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedCall {
    /// The dialect in which the client wrote it.
    pub dialect: EmbedDialect,
    /// The route or model that the client named; empty where the path does that (Gemini).
    pub model: String,
    /// The texts; none when they came as tokens.
    pub inputs: Vec<Text>,
    /// How many inputs came as tokens. They mean something to one model only, so such a call stays in its dialect.
    pub token_inputs: usize,
    /// How long the vectors shall be.
    pub dimensions: Option<u32>,
    /// Whether the client wants each vector as base64 of its bytes (OpenAI).
    pub base64: bool,
    /// The client's own name for its end user.
    pub user: Option<String>,
    /// Fields without a place here, in order, as `(name, value)`.
    pub extra: Vec<(String, RawJson)>,
    /// The same of each text alone, where a dialect says something of each (Gemini).
    pub each: Vec<Vec<(String, RawJson)>>,
    /// Where the value of `model` stands in the body, quotes included.
    pub(crate) model_range: Range<usize>,
}

impl EmbedCall {
    /// A call without any text.
    fn empty(dialect: EmbedDialect) -> Self {
        Self {
            dialect,
            model: String::new(),
            inputs: Vec::new(),
            token_inputs: 0,
            dimensions: None,
            base64: false,
            user: None,
            extra: Vec::new(),
            each: Vec::new(),
            model_range: 0..0,
        }
    }

    /// The names of fields without a place here, each once, as they may stand in a header.
    #[must_use]
    pub fn beside(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, _) in self.extra.iter().chain(self.each.iter().flatten()) {
            let name: String = name.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).take(96).collect();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        // More than a few say no more.
        names.truncate(30);
        names
    }

    /// How many vectors are asked for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inputs.len() + self.token_inputs
    }

    /// The body for a provider that speaks the client's dialect: as the client wrote it, with `model` in it. In pieces,
    /// to be sent one after the other.
    #[must_use]
    pub fn adapted(&self, body: &Bytes, model: &str) -> Vec<Bytes> {
        if model == self.model { vec![body.clone()] } else { adapt::renamed(body, &self.model_range, model) }
    }
}

/// Reads a request. The texts share its bytes.
///
/// # Errors
/// [`BadInput`] when it is not valid in its dialect.
pub fn open_embed(dialect: EmbedDialect, body: &Bytes) -> Result<EmbedCall, BadInput> {
    let mut tape = Tape::default();
    let root = tape.read_shared(body).map_err(|error| BadInput::syntax(error, body))?;
    if dialect.family() == Dialect::Gemini {
        return gemini::open(dialect, &root);
    }
    let (model, model_range) = model(&root)?;
    let mut call = EmbedCall { model, model_range, ..EmbedCall::empty(dialect) };
    for (key, value) in root.members() {
        match &*key {
            "model" => {}
            key if key == dialect.input() => {}
            _ if value.is_null() => {}
            "dimensions" => {
                let dimensions = value.whole().and_then(|whole| u32::try_from(whole).ok());
                let dimensions = dimensions.ok_or_else(|| BadInput::field(&key, "a whole number, not negative"))?;
                call.dimensions = Some(dimensions);
            }
            "encoding_format" if dialect == EmbedDialect::OpenAi => call.base64 = is_base64(&value)?,
            "user" => {
                let user = value.string().ok_or_else(|| BadInput::field(&key, "a string"))?;
                call.user = Some(user.into_owned());
            }
            _ => call.extra.push((key.into_owned(), value.raw_json())),
        }
    }
    inputs(&mut call, &root)?;
    Ok(call)
}

/// The model that a request names, and where.
pub(crate) fn model(root: &View<'_>) -> Result<(String, Range<usize>), BadInput> {
    if root.kind() != Kind::Object {
        return Err(BadInput::new("the body must be a JSON object"));
    }
    let mut named = root.members().filter(|(key, _)| key == "model");
    let missing = || BadInput::new("the field `model` is missing: name a route such as `auto`, or a model");
    let (_, model) = named.next().ok_or_else(missing)?;
    if named.next().is_some() {
        return Err(BadInput::new("the field `model` is given twice"));
    }
    let word = model.string().ok_or_else(|| BadInput::field("model", "a string"))?;
    if word.is_empty() { Err(missing()) } else { Ok((word.into_owned(), model.range())) }
}

fn is_base64(value: &View<'_>) -> Result<bool, BadInput> {
    match value.string().as_deref() {
        Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) | None => Err(BadInput::field("encoding_format", "`float` or `base64`")),
    }
}

fn inputs(call: &mut EmbedCall, root: &View<'_>) -> Result<(), BadInput> {
    let name = call.dialect.input();
    let Some(input) = root.get(name) else {
        return Err(BadInput::new(format!("the field `{name}` is missing: send the text in it")));
    };
    if let Some(text) = input.text() {
        call.inputs.push(text);
        return Ok(());
    }
    let must = match call.dialect {
        EmbedDialect::OpenAi | EmbedDialect::Ollama => "a string, or an array of strings that is not empty",
        EmbedDialect::OllamaOne | EmbedDialect::Gemini | EmbedDialect::GeminiOne => "a string",
    };
    let wrong = || BadInput::field(name, must);
    let first = input.items().next().filter(|_| call.dialect != EmbedDialect::OllamaOne).ok_or_else(wrong)?;
    let all = |kind: Kind| input.items().all(|item| item.kind() == kind);
    match first.kind() {
        Kind::String => {
            let texts: Option<Vec<Text>> = input.items().map(|item| item.text()).collect();
            call.inputs = texts.ok_or_else(wrong)?;
        }
        Kind::Number if all(Kind::Number) => call.token_inputs = 1,
        Kind::Array if all(Kind::Array) => call.token_inputs = input.items().count(),
        Kind::Number | Kind::Array | Kind::Object | Kind::True | Kind::False | Kind::Null => return Err(wrong()),
    }
    Ok(())
}

/// Writes a request in a dialect, for `model`.
///
/// # Errors
/// [`Untranslatable`] when the input came as tokens, or is more than the dialect takes at once.
pub fn encode_embed(dialect: EmbedDialect, call: &EmbedCall, model: &str) -> Result<Encoded, Untranslatable> {
    if call.token_inputs > 0 {
        return Err(Untranslatable::new(
            "the input came as tokens, which mean something to one model only: send text instead",
        ));
    }
    let mut lossy = Vec::new();
    let mut out = Vec::with_capacity(256);
    let mut body = Object::open(&mut out);
    if dialect.family() != Dialect::Gemini {
        body.string("model", model);
    }
    match (dialect, call.inputs.as_slice()) {
        (EmbedDialect::OllamaOne, [text]) => body.text("prompt", text),
        (EmbedDialect::GeminiOne, [text]) => gemini::write(&mut body, call, (0, text), model),
        (EmbedDialect::OllamaOne | EmbedDialect::GeminiOne, _) => {
            return Err(Untranslatable::new("this dialect embeds a single text at a time"));
        }
        (EmbedDialect::Gemini, texts) if texts.len() > gemini::BATCH_MAX => {
            let message = format!("this dialect embeds at most {} texts at a time", gemini::BATCH_MAX);
            return Err(Untranslatable::new(message));
        }
        (EmbedDialect::Gemini, _) => gemini::write_batch(&mut body, call, model),
        (EmbedDialect::OpenAi | EmbedDialect::Ollama, texts) => {
            let mut input = body.array("input");
            texts.iter().for_each(|text| emit::text(input.item(), text));
            input.close();
        }
    }
    match (call.dimensions, dialect) {
        (Some(_), EmbedDialect::OllamaOne) => lossy.push("dimensions".to_owned()),
        (Some(wanted), EmbedDialect::OpenAi | EmbedDialect::Ollama) => body.whole("dimensions", u64::from(wanted)),
        // It stands with each text.
        (Some(_), EmbedDialect::Gemini | EmbedDialect::GeminiOne) | (None, _) => {}
    }
    match (&call.user, dialect) {
        (Some(user), EmbedDialect::OpenAi) => body.string("user", user),
        (Some(_), _) => lossy.push("user".to_owned()),
        (None, _) => {}
    }
    if call.base64 && dialect == EmbedDialect::OpenAi {
        body.string("encoding_format", "base64");
    }
    if dialect.family() == call.dialect.family() {
        call.extra.iter().for_each(|(name, value)| body.json(name, value));
    } else {
        lossy.extend(call.beside());
    }
    body.close();
    Ok(Encoded { body: out.into(), lossy })
}

/// Vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    /// One for each input, in order, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs; zero where the provider does not say.
    pub prompt_tokens: u64,
    /// The model that served, as the provider names it.
    pub model: String,
}

impl Embedded {
    /// Whether there is a vector for each input.
    ///
    /// # Errors
    /// `Malformed` when there are more or fewer.
    pub fn answers(&self, call: &EmbedCall) -> Result<(), Fault> {
        let (found, wanted) = (self.vectors.len(), call.count());
        if found == wanted { Ok(()) } else { Err(malformed(format!("{wanted} vectors were asked for, {found} came"))) }
    }
}

/// Reads a provider's answer.
///
/// # Errors
/// `Malformed` when it is not of the dialect, `Empty` without vectors, `InBand` or a better kind when it is an error with
/// a success's status.
pub fn read_embed(dialect: EmbedDialect, body: &[u8]) -> Result<Embedded, Fault> {
    let mut tape = Tape::default();
    let root = read_json(&mut tape, body, "the answer")?;
    if root.kind() != Kind::Object {
        return Err(malformed("the answer is not a JSON object"));
    }
    if is_error(&root) {
        return Err(fault::in_band(dialect.family(), body));
    }
    let vectors = match dialect {
        EmbedDialect::OpenAi => data(&root)?,
        EmbedDialect::Ollama => {
            member(&root, "embeddings")?.items().map(|item| vector(&item)).collect::<Result<_, _>>()?
        }
        EmbedDialect::OllamaOne => vec![vector(&member(&root, "embedding")?)?],
        EmbedDialect::Gemini => member(&root, "embeddings")?.items().map(values).collect::<Result<_, _>>()?,
        EmbedDialect::GeminiOne => root.get("embedding").map(values).into_iter().collect::<Result<_, _>>()?,
    };
    let Some(first) = vectors.first() else { return Err(Fault::new(FaultKind::Empty, "the answer has no vectors")) };
    if vectors.iter().any(|vector| vector.len() != first.len()) {
        return Err(malformed("the vectors of the answer differ in length"));
    }
    if first.is_empty() {
        return Err(Fault::new(FaultKind::Empty, "the vectors of the answer are empty"));
    }
    let usage = root.get("usage");
    let counted = |name: &str| usage.and_then(|usage| usage.get_whole(name));
    let tokens = counted("prompt_tokens").or_else(|| counted("total_tokens"));
    let tokens = tokens.or_else(|| root.get("usageMetadata")?.get_whole("promptTokenCount"));
    let prompt_tokens = tokens.or_else(|| root.get_whole("prompt_eval_count")).unwrap_or(0);
    Ok(Embedded { vectors, prompt_tokens, model: root.get_string("model").unwrap_or_default().into_owned() })
}

fn malformed(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Malformed, message)
}

fn member<'a>(root: &View<'a>, name: &str) -> Result<View<'a>, Fault> {
    let found = root.get(name).filter(|value| value.kind() == Kind::Array);
    found.ok_or_else(|| malformed(format!("the answer has no `{name}`")))
}

/// Google's `{"values":[…]}`.
fn values(embedding: View<'_>) -> Result<Vec<f32>, Fault> {
    vector(&embedding.get("values").ok_or_else(|| malformed("an entry of the answer has no `values`"))?)
}

/// OpenAI's vectors, in the order of their indexes.
fn data(root: &View<'_>) -> Result<Vec<Vec<f32>>, Fault> {
    let mut indexed = Vec::new();
    for (position, entry) in (0_u64..).zip(member(root, "data")?.items()) {
        let index = entry.get_whole("index").unwrap_or(position);
        let embedding = entry.get("embedding").ok_or_else(|| malformed("an entry of the answer has no `embedding`"))?;
        indexed.push((index, vector(&embedding)?));
    }
    indexed.sort_by_key(|(index, _)| *index);
    if (0_u64..).zip(&indexed).any(|(position, (index, _))| position != *index) {
        return Err(malformed("the indexes of the answer's vectors leave one out"));
    }
    Ok(indexed.into_iter().map(|(_, vector)| vector).collect())
}

/// An array of numbers, or the base64 of 32-bit numbers, the lowest byte first.
fn vector(value: &View<'_>) -> Result<Vec<f32>, Fault> {
    let wrong = || malformed("a vector of the answer is not one of finite numbers");
    let vector: Option<Vec<f32>> = match value.kind() {
        // Read as 32 bits at once: by way of 64, some would be rounded twice.
        Kind::Array => {
            value.items().map(|item| (item.kind() == Kind::Number).then(|| item.raw().parse().ok())?).collect()
        }
        Kind::String => {
            let bytes = STANDARD.decode(value.string().unwrap_or_default().as_bytes()).map_err(|_| wrong())?;
            let (quads, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect())
        }
        Kind::Object | Kind::Number | Kind::True | Kind::False | Kind::Null => None,
    };
    vector.filter(|vector| vector.iter().all(|number| number.is_finite())).ok_or_else(wrong)
}

/// Writes an answer in the caller's dialect.
#[must_use]
pub fn write_embed(dialect: EmbedDialect, embedded: &Embedded, call: &EmbedCall) -> Vec<u8> {
    let numbers: usize = embedded.vectors.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(256 + 13 * numbers);
    let mut body = Object::open(&mut out);
    let model = if embedded.model.is_empty() { &call.model } else { &embedded.model };
    match dialect {
        EmbedDialect::OpenAi => {
            body.string("object", "list");
            let mut data = body.array("data");
            for (index, vector) in (0_u64..).zip(&embedded.vectors) {
                let mut entry = data.object();
                entry.string("object", "embedding");
                entry.whole("index", index);
                if call.base64 {
                    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                    entry.string("embedding", &STANDARD.encode(bytes));
                } else {
                    write_vector(entry.key("embedding"), vector);
                }
                entry.close();
            }
            data.close();
            body.string("model", model);
            let mut usage = body.object("usage");
            usage.whole("prompt_tokens", embedded.prompt_tokens);
            usage.whole("total_tokens", embedded.prompt_tokens);
            usage.close();
        }
        EmbedDialect::Ollama => {
            body.string("model", model);
            let mut list = body.array("embeddings");
            embedded.vectors.iter().for_each(|vector| write_vector(list.item(), vector));
            list.close();
            body.whole("total_duration", 0);
            body.whole("load_duration", 0);
            body.whole("prompt_eval_count", embedded.prompt_tokens);
        }
        EmbedDialect::OllamaOne => {
            write_vector(body.key("embedding"), embedded.vectors.first().map_or(&[], Vec::as_slice));
        }
        EmbedDialect::Gemini => {
            let mut list = body.array("embeddings");
            embedded.vectors.iter().for_each(|vector| write_values(list.object(), vector));
            list.close();
            let mut usage = body.object("usageMetadata");
            usage.whole("promptTokenCount", embedded.prompt_tokens);
            usage.whole("totalTokenCount", embedded.prompt_tokens);
            usage.close();
        }
        EmbedDialect::GeminiOne => {
            write_values(body.object("embedding"), embedded.vectors.first().map_or(&[], Vec::as_slice));
        }
    }
    body.close();
    out
}

/// Google's `{"values":[…]}`.
fn write_values(mut embedding: Object<'_>, vector: &[f32]) {
    write_vector(embedding.key("values"), vector);
    embedding.close();
}

/// Each number is the shortest text that reads back as the same 32 bits.
fn write_vector(out: &mut Vec<u8>, vector: &[f32]) {
    let mut array = Array::open(out);
    for number in vector {
        let text = format!("{number:?}");
        array.raw(text.strip_suffix(".0").unwrap_or(&text));
    }
    array.close();
}

#[cfg(test)]
mod tests;
