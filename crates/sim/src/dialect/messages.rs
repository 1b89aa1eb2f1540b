//! Anthropic Messages.
//!
//! A stream is `message_start`, for each block `content_block_start`, deltas and `content_block_stop`, then
//! `message_delta` with stop reason and usage, and `message_stop`; a `ping` may come anywhere:
//!
//! ```text
//! event: content_block_delta
//! data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"The "}}
//! ```
//!
//! The last delta of a thinking block is its signature.

use serde_json::{Value, json};

use super::{
    Denial, Frame, Mark, Piece, Rendering, Rules, arguments_object, count, event, field, list, text_of, words,
};
use crate::answer::{Block, Stop, Usage, signature};
use crate::asked::{Asked, Speaker, Tool, ToolChoice, Turn, Unpaired};
use crate::chance::{Chance, digest};
use crate::peek::peek;
use crate::settings::Prefill;

pub(super) fn decode(body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let request = object(body, &["model", "messages", "max_tokens"])?;
    if count(&request, "max_tokens").is_none_or(|tokens| tokens == 0) {
        return Err(Denial::new(400, "max_tokens: Input should be greater than or equal to 1"));
    }
    decode_conversation(&request, body, rules)
}

pub(super) fn count_tokens(body: &[u8], rules: Rules<'_>) -> Result<Value, Denial> {
    let request = object(body, &["model", "messages"])?;
    let asked = decode_conversation(&request, body, rules)?;
    Ok(json!({ "input_tokens": asked.prompt_tokens }))
}

fn object(body: &[u8], required: &[&str]) -> Result<Value, Denial> {
    let request: Value = serde_json::from_slice(body)
        .map_err(|error| Denial::new(400, format!("The request body is not valid JSON: {error}")))?;
    match required.iter().find(|name| field(&request, name).is_null()) {
        Some(missing) => Err(Denial::new(400, format!("{missing}: Field required"))),
        None => Ok(request),
    }
}

/// The request without the fields that only a call for an answer needs.
fn decode_conversation(request: &Value, body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let messages = list(request, "messages");
    if messages.is_empty() {
        return Err(Denial::new(400, "messages: at least one message is required"));
    }
    let mut turns = Vec::new();
    let system = text_of(field(request, "system"));
    if !system.is_empty() {
        turns.push(Turn::new(Speaker::System, system));
    }
    let before = turns.len();
    let model = words(request, "model");
    for (index, message) in messages.iter().enumerate() {
        turns.push(turn(index, message, &model, rules)?);
    }
    let choice = field(request, "tool_choice");
    let format = [field(field(request, "output_config"), "format"), field(request, "output_format")];
    let asked = Asked {
        model,
        stream: field(request, "stream").as_bool() == Some(true),
        include_usage: false,
        turns,
        tools: list(request, "tools").iter().filter_map(tool).collect(),
        tool_choice: tool_choice(choice),
        parallel: field(choice, "disable_parallel_tool_use").as_bool() != Some(true),
        max_tokens: count(request, "max_tokens"),
        stop_sequences: list(request, "stop_sequences").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        reasoning: matches!(field(field(request, "thinking"), "type").as_str(), Some("enabled" | "adaptive")),
        schema: format.iter().find_map(|format| format.get("schema")).cloned(),
        prompt_tokens: peek(body).map_or(0, |peek| peek.prompt_tokens()),
        ..Asked::default()
    };
    check(&asked, before, rules)?;
    Ok(asked)
}

fn turn(index: usize, message: &Value, model: &str, rules: Rules<'_>) -> Result<Turn, Denial> {
    let speaker = match field(message, "role").as_str() {
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        _ => return Err(Denial::new(400, format!("messages.{index}.role: Input should be 'user' or 'assistant'"))),
    };
    let content = field(message, "content");
    let Some(blocks) = content.as_array() else {
        return Ok(Turn::new(speaker, text_of(content)));
    };
    let mut turn = Turn::new(speaker, String::new());
    for (at, block) in blocks.iter().enumerate() {
        match field(block, "type").as_str() {
            Some("text") => turn.text.push_str(&words(block, "text")),
            Some("thinking") => {
                let genuine = signature(rules.seed, model, &words(block, "thinking"));
                if rules.answer.check_signatures && words(block, "signature") != genuine {
                    let place = format!("messages.{index}.content.{at}");
                    return Err(Denial::new(400, format!("{place}: Invalid `signature` in `thinking` block")));
                }
            }
            Some("tool_use") => {
                turn.calls.push(words(block, "id"));
                let function = json!({ "name": field(block, "name"), "arguments": field(block, "input").to_string() });
                turn.text.push_str(&function.to_string());
            }
            Some("tool_result") => {
                turn.results.push(words(block, "tool_use_id"));
                turn.text.push_str(&text_of(field(block, "content")));
            }
            _ => turn.text.push_str(&block.to_string()),
        }
    }
    Ok(turn)
}

fn tool(tool: &Value) -> Option<Tool> {
    Some(Tool { name: tool.get("name")?.as_str()?.to_owned(), schema: field(tool, "input_schema").clone() })
}

fn tool_choice(choice: &Value) -> ToolChoice {
    match field(choice, "type").as_str() {
        Some("none") => ToolChoice::Never,
        Some("any") => ToolChoice::Any,
        Some("tool") => ToolChoice::Named(words(choice, "name")),
        _ => ToolChoice::Auto,
    }
}

/// `before` is the number of turns that stand before the first message.
fn check(asked: &Asked, before: usize, rules: Rules<'_>) -> Result<(), Denial> {
    if let Some(last) = asked.turns.last().filter(|turn| turn.speaker == Speaker::Assistant) {
        if rules.answer.prefill == Prefill::Refuse {
            return Err(Denial::new(
                400,
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            ));
        }
        if last.text.ends_with(char::is_whitespace) {
            return Err(Denial::new(400, "messages: final assistant content cannot end with trailing whitespace"));
        }
    }
    match asked.unpaired() {
        Some(Unpaired::Call { turn, id }) => {
            let index = turn.saturating_sub(before);
            Err(Denial::new(
                400,
                format!(
                    "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
                ),
            ))
        }
        Some(Unpaired::Result { turn, id }) => {
            let index = turn.saturating_sub(before);
            Err(Denial::new(
                400,
                format!(
                    "messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                ),
            ))
        }
        None => Ok(()),
    }
}

pub(super) fn whole(rendering: Rendering<'_>) -> Value {
    let Rendering { asked, answer, with_usage } = rendering;
    let content: Vec<_> = answer
        .blocks
        .iter()
        .map(|block| match block {
            Block::Reasoning { text, signature } => {
                json!({ "type": "thinking", "thinking": text, "signature": signature })
            }
            Block::Text(text) | Block::Refusal(text) => json!({ "type": "text", "text": text }),
            Block::Call { identity, name, arguments } => {
                let input = arguments_object(arguments);
                json!({ "type": "tool_use", "id": tool_use_id(*identity), "name": name, "input": input })
            }
        })
        .collect();
    let (reason, sequence) = stop_reason(&answer.stop);
    let mut body = json!({
        "id": message_id(answer.identity),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
    });
    if let (true, Some(fields)) = (with_usage, body.as_object_mut()) {
        fields.insert("usage".to_owned(), usage(answer.usage, answer.usage.completion));
    }
    body
}

pub(super) fn frames(rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
    let Rendering { asked, answer, with_usage } = rendering;
    let mut message = json!({
        "id": message_id(answer.identity),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    });
    let (reason, sequence) = stop_reason(&answer.stop);
    let mut end = json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": sequence } });
    if let (true, Some(start), Some(end)) = (with_usage, message.as_object_mut(), end.as_object_mut()) {
        start.insert("usage".to_owned(), usage(answer.usage, 1));
        end.insert("usage".to_owned(), usage(answer.usage, answer.usage.completion));
    }
    let frame = |mark: Mark, data: Value| Frame { mark, bytes: event(&data) };
    let mut frames = vec![frame(Mark::Preamble, json!({ "type": "message_start", "message": message }))];
    for (index, block) in answer.blocks.iter().enumerate() {
        frames.push(frame(
            Mark::Between,
            json!({ "type": "content_block_start", "index": index, "content_block": opening(block) }),
        ));
        if index == 0 {
            frames.push(frame(Mark::Between, json!({ "type": "ping" })));
        }
        let delta = |mark: Mark, delta: Value| {
            frame(mark, json!({ "type": "content_block_delta", "index": index, "delta": delta }))
        };
        for piece in pieces.iter().filter(|piece| piece.block == index) {
            let content = match block {
                Block::Reasoning { .. } => json!({ "type": "thinking_delta", "thinking": piece.text }),
                Block::Text(_) | Block::Refusal(_) => json!({ "type": "text_delta", "text": piece.text }),
                Block::Call { .. } => json!({ "type": "input_json_delta", "partial_json": piece.text }),
            };
            frames.push(delta(piece.mark(), content));
        }
        if let Block::Reasoning { signature, .. } = block {
            frames.push(delta(Mark::Between, json!({ "type": "signature_delta", "signature": signature })));
        }
        frames.push(frame(Mark::Between, json!({ "type": "content_block_stop", "index": index })));
    }
    frames.push(frame(Mark::Finish, end));
    frames.push(terminator());
    frames
}

fn opening(block: &Block) -> Value {
    match block {
        Block::Reasoning { .. } => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        Block::Text(_) | Block::Refusal(_) => json!({ "type": "text", "text": "" }),
        Block::Call { identity, name, .. } => {
            json!({ "type": "tool_use", "id": tool_use_id(*identity), "name": name, "input": {} })
        }
    }
}

pub(super) fn terminator() -> Frame {
    Frame { mark: Mark::Terminator, bytes: event(&json!({ "type": "message_stop" })) }
}

pub(super) fn error(denial: &Denial) -> Value {
    let (kind, usual_message) = match denial.status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low to access the Anthropic API."),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", "The requested resource could not be found."),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
        504 => ("timeout_error", "The request timed out."),
        529 => ("overloaded_error", "Overloaded"),
        500.. => ("api_error", "Internal server error"),
        _ => ("invalid_request_error", "The request is not valid."),
    };
    let message = denial.message.as_deref().unwrap_or(usual_message);
    let id = digest([kind.as_bytes(), message.as_bytes()]);
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": format!("req_01{}", Chance::new(id).name(22)) })
}

pub(super) fn models(models: &[String]) -> Value {
    let model =
        |id: &String| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z" });
    json!({
        "data": models.iter().map(model).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": models.first(),
        "last_id": models.last(),
    })
}

/// Unlike in other dialects, what came from a cache is no part of `input_tokens`.
fn usage(usage: Usage, output_tokens: usize) -> Value {
    json!({
        "input_tokens": usage.prompt.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": output_tokens,
        "service_tier": "standard",
    })
}

fn stop_reason(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::End => ("end_turn", None),
        Stop::Length => ("max_tokens", None),
        Stop::Sequence(sequence) => ("stop_sequence", Some(sequence)),
        Stop::Calls => ("tool_use", None),
        Stop::Filtered | Stop::Refused => ("refusal", None),
    }
}

fn message_id(identity: u64) -> String {
    format!("msg_01{}", Chance::new(identity).name(22))
}

fn tool_use_id(identity: u64) -> String {
    format!("toolu_01{}", Chance::new(identity).name(22))
}
