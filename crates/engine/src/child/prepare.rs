//! From a call to tokens: chat template, tools, grammar, tokenizer.
//!
//! Runs on its own thread, so that a long prompt is tokenised while other answers go on. Reads calls from the socket
//! and hands them on prepared, in order. What users wrote is tokenised as plain text: `<|im_start|>` in a message is
//! eleven letters, not a turn.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;

use llama_cpp_4::chat::{self, ChatApplyParams, ChatParams, ChatTemplates};
use llama_cpp_4::model::{AddBos, LlamaModel, Special};
use llama_cpp_4::token::LlamaToken;
use serde_json::Value;

use super::load::Loaded;
use crate::fault::Fault;
use crate::protocol::{self, ToChild};
use crate::request::{ChatRequest, ResponseFormat, Sampling, ToolChoice};

/// Stop strings in one call; OpenAI takes four.
const MAX_STOPS: usize = 64;
/// Alternatives reported for each token, as many as OpenAI takes.
const MAX_TOP_LOGPROBS: u8 = 20;
/// Bytes of a JSON schema: its grammar grows faster than it does.
const MAX_SCHEMA: usize = 256 << 10;

/// What the scheduler gets.
pub(super) enum Inbox {
    /// A call has arrived and is being prepared.
    Preparing,
    Chat {
        id: u64,
        prepared: Result<Box<Prepared>, Fault>,
    },
    Embed {
        id: u64,
        texts: Result<Vec<Vec<LlamaToken>>, Fault>,
    },
    Count {
        id: u64,
        tokens: Result<u32, Fault>,
    },
    Cancel {
        id: u64,
    },
}

/// A chat call that only needs computing.
pub(super) struct Prepared {
    pub(super) prompt: Vec<LlamaToken>,
    /// Most tokens to generate; never more than the window leaves.
    pub(super) budget: u32,
    pub(super) sampling: Sampling,
    pub(super) stop: Vec<String>,
    pub(super) logprobs: Option<u8>,
    /// Grammar, stop strings and parser of the template.
    pub(super) template: ChatParams,
    /// Tokens that control a model but belong to the text here, such as the marks of a tool call.
    pub(super) preserved: BTreeSet<LlamaToken>,
    /// Whether text can contain anything but text.
    pub(super) structured: bool,
    /// The beginning of the answer that an earlier one left unfinished.
    pub(super) begun: String,
}

/// Prepares calls.
pub(super) struct Preparer<'a> {
    model: &'a LlamaModel,
    templates: Option<&'a ChatTemplates>,
    window: u32,
}

impl<'a> Preparer<'a> {
    pub(super) fn new(loaded: &'a Loaded, window: u32) -> Self {
        Self { model: &loaded.model, templates: loaded.templates.as_ref(), window }
    }

    /// Serves until the parent hangs up; then there is nobody to work for, and the process ends at once.
    pub(super) fn run(&self, mut socket: UnixStream, inbox: &SyncSender<Inbox>) {
        while let Ok(Some(frame)) = protocol::read::<ToChild>(&mut socket) {
            let working = !matches!(frame, ToChild::Cancel { .. });
            if (working && inbox.send(Inbox::Preparing).is_err()) || inbox.send(self.prepare(frame)).is_err() {
                break;
            }
        }
        let this = rustix::process::getpid();
        let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    }

    fn prepare(&self, frame: ToChild) -> Inbox {
        match frame {
            ToChild::Chat { id, request } => Inbox::Chat { id, prepared: self.chat(*request).map(Box::new) },
            ToChild::Embed { id, texts } => Inbox::Embed { id, texts: self.embed(&texts) },
            ToChild::Count { id, request } => {
                let tokens = self.apply(&request).and_then(|applied| self.prompt(&applied));
                Inbox::Count { id, tokens: tokens.map(|tokens| count(&tokens)) }
            }
            ToChild::Cancel { id } => Inbox::Cancel { id },
            // The only other frame is the first one.
            ToChild::Load { .. } => Inbox::Cancel { id: 0 },
        }
    }

    fn chat(&self, request: ChatRequest) -> Result<Prepared, Fault> {
        check(&request)?;
        let applied = self.apply(&request)?;
        let prompt = self.prompt(&applied)?;
        let length = count(&prompt);
        if length >= self.window {
            return Err(Fault::ContextOverflow { prompt_tokens: length, window: self.window });
        }
        let template = applied.template;
        let preserved = self.preserved(&template.preserved_tokens_json);
        let structured = applied.tools || template.supports_thinking || !preserved.is_empty() || template.grammar_lazy;
        Ok(Prepared {
            prompt,
            budget: request.max_tokens.unwrap_or(u32::MAX).min(self.window - length),
            sampling: request.sampling,
            stop: request.stop,
            logprobs: request.logprobs.map(|n| n.min(MAX_TOP_LOGPROBS)),
            template,
            preserved,
            structured,
            begun: applied.begun,
        })
    }

    /// Renders messages and tools with the model's own template.
    fn apply(&self, request: &ChatRequest) -> Result<Applied, Fault> {
        let Some(templates) = self.templates else {
            return Err(Fault::Unsupported { what: "this model only makes embeddings".to_owned() });
        };
        let (messages, begun) = messages(request)?;
        let mut params = ChatApplyParams::new(messages)
            .with_enable_thinking(request.enable_thinking.unwrap_or(true))
            .with_parallel_tool_calls(request.parallel_tool_calls);
        let tools = tools(request)?;
        if let Some((tools, choice)) = &tools {
            params = params.with_tools(tools.clone()).with_tool_choice(*choice);
        }
        if let Some(schema) = schema(&request.response_format)? {
            params = params.with_json_schema(schema);
        }
        let template =
            templates.apply(&params).map_err(|e| Fault::bad(format!("the chat template refuses this: {e}")))?;
        Ok(Applied { template, tools: tools.is_some(), begun })
    }

    fn prompt(&self, applied: &Applied) -> Result<Vec<LlamaToken>, Fault> {
        let text = |e: llama_cpp_4::StringToTokenError| Fault::bad(format!("the prompt cannot be tokenised: {e}"));
        let mut tokens = applied.template.tokenize_prompt(self.model, AddBos::Always).map_err(text)?;
        if !applied.begun.is_empty() {
            let begun = &applied.begun;
            let begun = self.model.str_to_token_with_special(begun, AddBos::Never, Special::Plaintext).map_err(text)?;
            tokens.extend(begun);
        }
        Ok(tokens)
    }

    fn preserved(&self, strings_json: &str) -> BTreeSet<LlamaToken> {
        let strings: Vec<String> = serde_json::from_str(strings_json).unwrap_or_default();
        strings.iter().filter_map(|string| single(self.model, string)).collect()
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<LlamaToken>>, Fault> {
        texts
            .iter()
            .map(|text| {
                let tokens = self
                    .model
                    .str_to_token_with_special(text, AddBos::Always, Special::Plaintext)
                    .map_err(|e| Fault::bad(format!("the text cannot be tokenised: {e}")))?;
                match count(&tokens) {
                    0 => Err(Fault::bad("an empty text has no embedding")),
                    prompt_tokens if prompt_tokens > self.window => {
                        Err(Fault::ContextOverflow { prompt_tokens, window: self.window })
                    }
                    _ => Ok(tokens),
                }
            })
            .collect()
    }
}

/// A rendered call.
struct Applied {
    template: ChatParams,
    tools: bool,
    begun: String,
}

/// The token that this text is, when it is exactly one.
pub(super) fn single(model: &LlamaModel, text: &str) -> Option<LlamaToken> {
    let tokens = model.str_to_token(text, AddBos::Never).ok()?;
    if let [token] = tokens.as_slice() { Some(*token) } else { None }
}

fn count(tokens: &[LlamaToken]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

/// Bounds and ranges that the types do not express.
fn check(request: &ChatRequest) -> Result<(), Fault> {
    let sampling = &request.sampling;
    let range = |name: &str, value: Option<f32>, low: f32, high: f32| match value {
        Some(v) if !(low..=high).contains(&v) => Err(Fault::bad(format!("`{name}` must be between {low} and {high}"))),
        Some(_) | None => Ok(()),
    };
    range("temperature", sampling.temperature, 0.0, 2.0)?;
    range("top_p", sampling.top_p, 0.0, 1.0)?;
    range("min_p", sampling.min_p, 0.0, 1.0)?;
    range("presence_penalty", sampling.presence_penalty, -2.0, 2.0)?;
    range("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?;
    range("repeat_penalty", sampling.repeat_penalty, 0.01, 10.0)?;
    if request.stop.len() > MAX_STOPS {
        return Err(Fault::bad(format!("`stop` has {} strings: {MAX_STOPS} is the most", request.stop.len())));
    }
    if request.max_tokens == Some(0) {
        return Err(Fault::bad("`max_tokens` must be at least 1"));
    }
    Ok(())
}

/// The messages as the template wants them, and the unfinished answer that is to be continued.
fn messages(request: &ChatRequest) -> Result<(String, String), Fault> {
    let mut messages: Vec<Value> = serde_json::from_str(&request.messages_json)
        .map_err(|e| Fault::bad(format!("`messages` is not an array of messages: {e}")))?;
    if messages.is_empty() {
        return Err(Fault::bad("`messages` is empty"));
    }
    for message in &mut messages {
        if let Some(role) = message.get_mut("role").filter(|role| *role == "developer") {
            *role = Value::from("system");
        }
        text_only(message)?;
    }
    let mut begun = String::new();
    if request.continue_assistant {
        let last = messages.pop().filter(|last| last.get("role").is_some_and(|role| role == "assistant"));
        let last = last.ok_or_else(|| Fault::bad("only a last message of the assistant can be continued"))?;
        begun = last.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    Ok((Value::Array(messages).to_string(), begun))
}

/// Refuses parts that are not text, by name.
fn text_only(message: &Value) -> Result<(), Fault> {
    let parts = message.get("content").and_then(Value::as_array).into_iter().flatten();
    for part in parts {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("?");
        if !matches!(kind, "text" | "refusal") {
            return Err(Fault::Unsupported { what: format!("a message part of type `{kind}`; it reads text only") });
        }
    }
    Ok(())
}

/// The tools and what to do with them; `None` when there are none.
fn tools(request: &ChatRequest) -> Result<Option<(String, chat::ToolChoice)>, Fault> {
    let Some(tools_json) = &request.tools_json else { return Ok(None) };
    let mut tools: Vec<Value> =
        serde_json::from_str(tools_json).map_err(|e| Fault::bad(format!("`tools` is not an array of tools: {e}")))?;
    if let ToolChoice::Named(name) = &request.tool_choice {
        tools.retain(|tool| tool.pointer("/function/name").is_some_and(|n| n == name));
        if tools.is_empty() {
            return Err(Fault::bad(format!("`tool_choice` names `{name}`, which is not among the tools")));
        }
    }
    if tools.is_empty() {
        return Ok(None);
    }
    let choice = match &request.tool_choice {
        ToolChoice::Auto => chat::ToolChoice::Auto,
        ToolChoice::None => chat::ToolChoice::None,
        ToolChoice::Required | ToolChoice::Named(_) => chat::ToolChoice::Required,
    };
    Ok(Some((Value::Array(tools).to_string(), choice)))
}

fn schema(format: &ResponseFormat) -> Result<Option<String>, Fault> {
    match format {
        ResponseFormat::Free => Ok(None),
        ResponseFormat::JsonObject => Ok(Some(r#"{"type":"object"}"#.to_owned())),
        ResponseFormat::JsonSchema(schema) if schema.len() > MAX_SCHEMA => {
            Err(Fault::bad(format!("the JSON schema is longer than {} KiB", MAX_SCHEMA >> 10)))
        }
        ResponseFormat::JsonSchema(schema) => {
            // Also bounds its depth, which the parser in C++ does not.
            let schema: Value =
                serde_json::from_str(schema).map_err(|e| Fault::bad(format!("the JSON schema is no JSON: {e}")))?;
            Ok(Some(schema.to_string()))
        }
    }
}
