//! Ollama's own API: `/api/chat` and `/api/generate`.
//!
//! A stream, which is the default, is one JSON object a line. The last line says why the answer ended, what it cost and
//! how long it took, in nanoseconds:
//!
//! ```text
//! {"model":"m","created_at":"…","message":{"role":"assistant","content":"The "},"done":false}
//! {"model":"m","created_at":"…","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",…}
//! ```
//!
//! Tool calls come whole and have no ids. A prompt that does not fit into the window loses its front without a word:
//! the answer then depends on what was left of it, and the ledger says what was lost.

mod request;

use serde_json::{Value, json};

use super::{Denial, Frame, Mark, Piece, Rendering, arguments_object, json_line, set};
use crate::answer::{Block, Stop, Usage};
use crate::chance::{Chance, digest};
use crate::fault::Part;
pub(super) use request::{decode_chat, decode_generate};

/// Every answer says that it was made then: a replay has no clock.
const CREATED: &str = "2026-01-01T00:00:00Z";
/// Nanoseconds that a token of the prompt and one of the answer are said to take.
const PROMPT_NS: usize = 1_000_000;
const ANSWER_NS: usize = 20_000_000;
/// Nanoseconds that loading the model is said to take.
const LOAD_NS: usize = 2_000_000;

/// Which of the two ways of asking is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// `/api/chat`: a `message`.
    Chat,
    /// `/api/generate`: a `response`.
    Generate,
}

impl Voice {
    pub(super) fn whole(self, rendering: Rendering<'_>) -> Value {
        let text = |wanted: Part| {
            let blocks = rendering.answer.blocks.iter().filter(|block| block.part() == wanted);
            blocks.map(Block::content).collect::<String>()
        };
        let (thinking, calls) = (text(Part::Reasoning), calls(rendering));
        let mut body = self.line(rendering, &text(Part::Text));
        if !thinking.is_empty() {
            self.add(&mut body, "thinking", json!(thinking));
        }
        if !calls.is_empty() {
            self.add(&mut body, "tool_calls", calls.into());
        }
        finish(&mut body, rendering);
        body
    }

    pub(super) fn frames(self, rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(pieces.len() + 1);
        for piece in pieces.iter().filter(|_| !is_load(rendering)) {
            let mut line = self.line(rendering, "");
            match rendering.answer.blocks.get(piece.block) {
                Some(Block::Reasoning { .. }) => self.add(&mut line, "thinking", json!(piece.text)),
                Some(block @ Block::Call { .. }) => self.add(&mut line, "tool_calls", json!([call(block)])),
                Some(Block::Text(_) | Block::Refusal(_)) | None => line = self.line(rendering, piece.text),
            }
            set(&mut line, "done", json!(false));
            frames.push(Frame { mark: piece.mark(), bytes: json_line(&line) });
        }
        let mut last = self.line(rendering, "");
        finish(&mut last, rendering);
        frames.push(Frame { mark: Mark::Finish, bytes: json_line(&last) });
        frames
    }

    /// The claim of an end, without a reason.
    pub(super) fn terminator(self, rendering: Rendering<'_>) -> Frame {
        let mut line = self.line(rendering, "");
        set(&mut line, "done", json!(true));
        Frame { mark: Mark::Terminator, bytes: json_line(&line) }
    }

    fn line(self, rendering: Rendering<'_>, text: &str) -> Value {
        let text = if is_load(rendering) { "" } else { text };
        let mut line = json!({ "model": rendering.asked.model, "created_at": CREATED });
        match self {
            Self::Chat => set(&mut line, "message", json!({ "role": "assistant", "content": text })),
            Self::Generate => set(&mut line, "response", json!(text)),
        }
        line
    }

    fn add(self, line: &mut Value, name: &str, value: Value) {
        let holder = match self {
            Self::Chat => line.get_mut("message"),
            Self::Generate => Some(line),
        };
        if let Some(holder) = holder {
            set(holder, name, value);
        }
    }
}

/// Nothing was asked: the model is only to be loaded.
fn is_load(rendering: Rendering<'_>) -> bool {
    rendering.asked.turns.is_empty()
}

fn calls(rendering: Rendering<'_>) -> Vec<Value> {
    rendering.answer.blocks.iter().filter(|block| block.part() == Part::ToolCall).map(call).collect()
}

fn call(block: &Block) -> Value {
    match block {
        Block::Call { name, arguments, .. } => {
            json!({ "function": { "name": name, "arguments": arguments_object(arguments) } })
        }
        Block::Reasoning { .. } | Block::Text(_) | Block::Refusal(_) => Value::Null,
    }
}

/// What the last line has in addition.
fn finish(line: &mut Value, rendering: Rendering<'_>) {
    set(line, "done", json!(true));
    if is_load(rendering) {
        set(line, "done_reason", json!("load"));
        return;
    }
    let Usage { prompt, completion, .. } = rendering.answer.usage;
    let (prompt_ns, answer_ns) = (prompt.saturating_mul(PROMPT_NS), completion.saturating_mul(ANSWER_NS));
    set(line, "done_reason", json!(done_reason(&rendering.answer.stop)));
    set(line, "total_duration", json!(LOAD_NS.saturating_add(prompt_ns).saturating_add(answer_ns)));
    set(line, "load_duration", json!(LOAD_NS));
    if rendering.with_usage {
        set(line, "prompt_eval_count", json!(prompt));
    }
    set(line, "prompt_eval_duration", json!(prompt_ns));
    if rendering.with_usage {
        set(line, "eval_count", json!(completion));
    }
    set(line, "eval_duration", json!(answer_ns));
}

fn done_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Calls | Stop::Filtered | Stop::Refused => "stop",
        Stop::Length => "length",
    }
}

pub(super) fn error(denial: &Denial) -> Value {
    let usual_message = match denial.status {
        400 => "invalid request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "model not found",
        413 => "http: request body too large",
        429 => "too many requests",
        503 => "server busy, please try again.  maximum pending requests exceeded",
        500.. => "an error was encountered while running the model: unexpected EOF",
        _ => "the request was refused",
    };
    json!({ "error": denial.message.as_deref().unwrap_or(usual_message) })
}

pub(super) fn tags(models: &[String]) -> Value {
    let model = |id: &String| {
        json!({
            "name": id,
            "model": id,
            "modified_at": CREATED,
            "size": 4_000_000_000_u64,
            "digest": hexadecimal(id),
            "details": details(),
        })
    };
    json!({ "models": models.iter().map(model).collect::<Vec<_>>() })
}

/// What `/api/show` tells of a model.
pub(crate) fn show(model: &str) -> Value {
    json!({
        "modelfile": format!("FROM {model}\n"),
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(),
        "model_info": {
            "general.architecture": "sim",
            "general.parameter_count": 8_000_000_000_u64,
            "sim.context_length": 131_072,
            "sim.embedding_length": 64,
        },
        "capabilities": ["completion", "tools", "thinking"],
        "modified_at": CREATED,
    })
}

fn details() -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "sim",
        "families": ["sim"],
        "parameter_size": "8.0B",
        "quantization_level": "Q4_K_M",
    })
}

fn hexadecimal(id: &str) -> String {
    let mut chance = Chance::new(digest([id.as_bytes()]));
    (0..4).map(|_| format!("{:016x}", chance.number())).collect()
}
