//! OpenAI Responses.
//!
//! An answer is a list of items: reasoning, messages, function calls. A stream tells of each what is added, what is
//! said and what is done; every event has a number, and the last one holds the whole answer once more:
//!
//! ```text
//! event: response.output_text.delta
//! data: {"type":"response.output_text.delta","item_id":"msg_…","output_index":0,"content_index":0,"delta":"The ",…,"sequence_number":4}
//! ```
//!
//! Reasoning is a summary when `reasoning.summary` asks for one, and else `reasoning_text`, as open models show it;
//! `include: ["reasoning.encrypted_content"]` adds a seal that only this simulator can have made for this model.
//!
//! Nothing is stored, whatever `store` says: there is no `previous_response_id`.

mod request;
mod stream;

use serde_json::{Value, json};

use super::chat_completions::{CREATED, call_id};
use super::{Denial, Frame, Mark, Rendering, chat_completions, event, field, set};
use crate::answer::{Block, Stop, Usage};
use crate::chance::{Chance, digest};
pub(super) use request::decode;
pub(super) use stream::frames;

/// How far a response or an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

pub(super) fn whole(rendering: Rendering<'_>) -> Value {
    response(rendering, status(&rendering.answer.stop))
}

/// The claim of a finished answer that has nothing in it.
pub(super) fn terminator(rendering: Rendering<'_>, before: usize) -> Frame {
    let mut response = response(rendering, Status::InProgress);
    set(&mut response, "status", json!("completed"));
    let data = json!({ "type": "response.completed", "response": response, "sequence_number": before });
    Frame { mark: Mark::Terminator, bytes: event(&data) }
}

pub(super) fn failed(rendering: Rendering<'_>, denial: &Denial, before: usize) -> Frame {
    let mut response = response(rendering, Status::Failed);
    let (code, message) = code_and_message(denial);
    set(&mut response, "error", json!({ "code": code, "message": message }));
    let data = json!({ "type": "response.failed", "response": response, "sequence_number": before });
    Frame { mark: Mark::Between, bytes: event(&data) }
}

/// The error within a stream, which is flat.
pub(super) fn error_event(denial: &Denial, before: usize) -> Value {
    let (code, message) = code_and_message(denial);
    json!({ "type": "error", "code": code, "message": message, "param": denial.param, "sequence_number": before })
}

fn code_and_message(denial: &Denial) -> (Value, Value) {
    let error = chat_completions::error(denial);
    let error = field(&error, "error");
    let code = field(error, "code");
    let code = if code.is_null() { field(error, "type") } else { code };
    (code.clone(), field(error, "message").clone())
}

/// The whole response; its output and its usage are there when it has come to its end.
fn response(rendering: Rendering<'_>, status: Status) -> Value {
    let Rendering { asked, answer, with_usage } = rendering;
    let ended = matches!(status, Status::Completed | Status::Incomplete);
    let output: Vec<_> =
        if ended { (0..answer.blocks.len()).filter_map(|at| item(rendering, at)).collect() } else { Vec::new() };
    let reason = match (status, &answer.stop) {
        (Status::Incomplete, Stop::Length) => Some("max_output_tokens"),
        (Status::Incomplete, _) => Some("content_filter"),
        (Status::InProgress | Status::Completed | Status::Failed, _) => None,
    };
    let mut response = json!({
        "id": response_id(answer.identity),
        "object": "response",
        "created_at": CREATED,
        "status": status.word(),
        "completed_at": (status == Status::Completed).then_some(CREATED),
        "error": null,
        "incomplete_details": reason.map(|reason| json!({ "reason": reason })),
        "model": asked.model,
        "output": output,
        "usage": (ended && with_usage).then(|| usage(answer.usage)),
    });
    for (name, value) in &asked.echo {
        set(&mut response, name, value.clone());
    }
    response
}

fn status(stop: &Stop) -> Status {
    match stop {
        Stop::Length | Stop::Filtered => Status::Incomplete,
        Stop::End | Stop::Sequence(_) | Stop::Calls | Stop::Refused => Status::Completed,
    }
}

/// The item of a block as it is at the end; the last one of an answer that was cut short is incomplete.
fn item(rendering: Rendering<'_>, at: usize) -> Option<Value> {
    let answer = rendering.answer;
    let block = answer.blocks.get(at)?;
    let last = at + 1 == answer.blocks.len();
    let status = if last { status(&answer.stop) } else { Status::Completed };
    Some(described(rendering, at, block, status))
}

/// A block as an item; one that is in progress has nothing in it yet.
fn described(rendering: Rendering<'_>, at: usize, block: &Block, status: Status) -> Value {
    let begun = status != Status::InProgress;
    let id = item_id(rendering.answer.identity, at, block);
    match block {
        Block::Reasoning { text, .. } => {
            let shown = |part: Value| if begun { json!([part]) } else { json!([]) };
            let (summary, content) = if rendering.asked.summary {
                (shown(summary_part(text)), Value::Null)
            } else {
                (json!([]), shown(reasoning_part(text)))
            };
            let seal = (begun && rendering.asked.encrypted).then_some(&rendering.answer.seal);
            json!({ "id": id, "type": "reasoning", "summary": summary, "content": content, "encrypted_content": seal, "status": status.word() })
        }
        Block::Text(text) | Block::Refusal(text) => {
            let content = if begun { json!([part(block, text)]) } else { json!([]) };
            json!({ "id": id, "type": "message", "status": status.word(), "role": "assistant", "content": content })
        }
        Block::Call { identity, name, arguments } => {
            let arguments = if begun { arguments } else { "" };
            json!({ "id": id, "type": "function_call", "status": status.word(), "call_id": call_id(*identity), "name": name, "arguments": arguments })
        }
    }
}

/// The part of a message or of open reasoning.
fn part(block: &Block, text: &str) -> Value {
    match block {
        Block::Refusal(_) => json!({ "type": "refusal", "refusal": text }),
        Block::Reasoning { .. } => reasoning_part(text),
        Block::Text(_) | Block::Call { .. } => {
            json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
        }
    }
}

fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

fn reasoning_part(text: &str) -> Value {
    json!({ "type": "reasoning_text", "text": text })
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": { "cached_tokens": usage.cached },
        "output_tokens": usage.completion,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.prompt + usage.completion,
    })
}

fn response_id(identity: u64) -> String {
    format!("resp_{}", Chance::new(identity).name(48))
}

fn item_id(identity: u64, at: usize, block: &Block) -> String {
    let prefix = match block {
        Block::Reasoning { .. } => "rs",
        Block::Text(_) | Block::Refusal(_) => "msg",
        Block::Call { .. } => "fc",
    };
    let key = digest([identity.to_le_bytes().as_slice(), b"item", &at.to_le_bytes()]);
    format!("{prefix}_{}", Chance::new(key).name(48))
}
