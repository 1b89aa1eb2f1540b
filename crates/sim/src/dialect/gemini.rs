//! Google Gemini, `generateContent`.
//!
//! The path names the model and says whether to stream. A stream is made of the same objects as a whole answer, each
//! with the parts that are new; the last one has the finish reason. Nothing else ends it. Lines end in CR LF:
//!
//! ```text
//! data: {"candidates":[{"content":{"parts":[{"text":"The "}],"role":"model"},"index":0}],"usageMetadata":{…},…}
//! ```
//!
//! A thought is a part with `"thought":true`. The first function call of a step carries a `thoughtSignature`, which must
//! come back. A function call is never divided.

mod request;

use serde_json::{Map, Value, json};

use super::{Denial, Frame, Mark, Piece, Rendering, arguments_object, set};
use crate::answer::{Answer, Block, Stop, Usage};
use crate::asked::Asked;
use crate::chance::Chance;
pub(super) use request::{count_tokens, decode};

pub(super) fn whole(rendering: Rendering<'_>) -> Value {
    let Rendering { asked, answer, with_usage } = rendering;
    if is_blocked(answer) {
        return blocked(rendering);
    }
    let parts: Vec<_> =
        answer.blocks.iter().enumerate().map(|(at, block)| part(asked, answer, at, block.content())).collect();
    let mut body = chunk(rendering, &parts, Some(&answer.stop));
    if with_usage {
        set(&mut body, "usageMetadata", usage(answer.usage));
    }
    body
}

pub(super) fn frames(rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
    let Rendering { asked, answer, with_usage } = rendering;
    if is_blocked(answer) {
        return vec![Frame { mark: Mark::Finish, bytes: data_line(&blocked(rendering)) }];
    }
    let mut frames = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces {
        let mut data = chunk(rendering, &[part(asked, answer, piece.block, piece.text)], None);
        if with_usage {
            // What the answer costs is told at its end.
            set(&mut data, "usageMetadata", usage(Usage { completion: 0, reasoning: 0, ..answer.usage }));
        }
        frames.push(Frame { mark: piece.mark(), bytes: data_line(&data) });
    }
    let mut last = chunk(rendering, &[json!({ "text": "" })], Some(&answer.stop));
    if with_usage {
        set(&mut last, "usageMetadata", usage(answer.usage));
    }
    frames.push(Frame { mark: Mark::Finish, bytes: data_line(&last) });
    frames
}

pub(super) fn data_line(data: &Value) -> Vec<u8> {
    format!("data: {data}\r\n\r\n").into_bytes()
}

pub(super) fn error(denial: &Denial) -> Value {
    let (status, usual_message) = match denial.status {
        400 | 413 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        401 => ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
        403 => ("PERMISSION_DENIED", "The caller does not have permission"),
        404 => ("NOT_FOUND", "Requested entity was not found."),
        405 => ("UNIMPLEMENTED", "The method is not allowed here."),
        429 => ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
        503 | 529 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
        500.. => (
            "INTERNAL",
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
        ),
        _ => ("FAILED_PRECONDITION", "The request was refused."),
    };
    let message = denial.message.as_deref().unwrap_or(usual_message);
    let reason = denial.code.as_ref().map(|code| {
        json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "googleapis.com" })
    });
    let retry = denial.retry_after_s.map(
        |seconds| json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s") }),
    );
    let details: Vec<_> = reason.into_iter().chain(retry).collect();
    json!({ "error": { "code": denial.status, "message": message, "status": status, "details": details } })
}

/// A wrong key is an invalid argument here, and a missing one a lack of permission: neither is 401.
pub(super) fn wrong_key(missing: bool) -> Denial {
    if missing {
        return Denial::new(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
        );
    }
    Denial::new(400, "API key not valid. Please pass a valid API key.").with_code("API_KEY_INVALID")
}

pub(super) fn models(models: &[String]) -> Value {
    let model = |id: &String| {
        json!({
            "name": format!("models/{id}"),
            "version": "001",
            "displayName": id,
            "description": "A simulated model.",
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "thinking": true,
        })
    };
    json!({ "models": models.iter().map(model).collect::<Vec<_>>() })
}

fn chunk(rendering: Rendering<'_>, parts: &[Value], stop: Option<&Stop>) -> Value {
    let Rendering { asked, answer, .. } = rendering;
    let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
    if let Some(stop) = stop {
        set(&mut candidate, "finishReason", json!(finish_reason(stop)));
    }
    json!({ "candidates": [candidate], "modelVersion": asked.model, "responseId": response_id(answer.identity) })
}

/// The filter stopped the answer before its first word: then it is the prompt that is blocked.
fn is_blocked(answer: &Answer) -> bool {
    answer.stop == Stop::Filtered && answer.blocks.is_empty()
}

fn blocked(rendering: Rendering<'_>) -> Value {
    let Rendering { asked, answer, with_usage } = rendering;
    let mut body = json!({
        "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" },
        "modelVersion": asked.model,
        "responseId": response_id(answer.identity),
    });
    if with_usage {
        set(&mut body, "usageMetadata", usage(answer.usage));
    }
    body
}

/// A part with `text` of the block at that index; a function call is always whole.
fn part(asked: &Asked, answer: &Answer, at: usize, text: &str) -> Value {
    match answer.blocks.get(at) {
        Some(Block::Reasoning { .. }) => json!({ "text": text, "thought": true }),
        Some(Block::Call { identity, name, arguments }) => {
            let mut call = json!({ "name": name, "args": arguments_object(arguments) });
            if asked.call_ids {
                set(&mut call, "id", json!(Chance::new(*identity).name(8)));
            }
            let mut part = json!({ "functionCall": call });
            let is_call = |block: &Block| matches!(block, Block::Call { .. });
            if answer.blocks.iter().position(is_call) == Some(at) {
                set(&mut part, "thoughtSignature", json!(answer.seal));
            }
            part
        }
        Some(Block::Text(_) | Block::Refusal(_)) | None => json!({ "text": text }),
    }
}

/// Counts of zero are left out, as in every message that Google writes.
fn usage(usage: Usage) -> Value {
    let spoken = usage.completion.saturating_sub(usage.reasoning);
    let counts = [
        ("promptTokenCount", usage.prompt),
        ("candidatesTokenCount", spoken),
        ("thoughtsTokenCount", usage.reasoning),
        ("cachedContentTokenCount", usage.cached),
        ("totalTokenCount", usage.prompt + usage.completion),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let mut usage: Map<String, Value> = counts.map(|(name, count)| (name.to_owned(), json!(count))).collect();
    usage.insert("promptTokensDetails".to_owned(), details(usage.get("promptTokenCount")));
    usage.into()
}

fn details(count: Option<&Value>) -> Value {
    json!([{ "modality": "TEXT", "tokenCount": count }])
}

fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Calls | Stop::Refused => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Filtered => "SAFETY",
    }
}

fn response_id(identity: u64) -> String {
    Chance::new(identity).name(22)
}
