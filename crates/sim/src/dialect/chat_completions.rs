//! OpenAI Chat Completions.
//!
//! A stream is a role chunk, content chunks, a chunk with the finish reason, a chunk with `"choices":[]` and the usage
//! if that was asked for, and `data: [DONE]`:
//!
//! ```text
//! data: {"id":"chatcmpl-…","object":"chat.completion.chunk",…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},…}]}
//! data: {…,"choices":[{"index":0,"delta":{"content":"The "},"logprobs":null,"finish_reason":null}]}
//! data: {…,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}
//! data: [DONE]
//! ```
//!
//! Reasoning is `reasoning_content`, as DeepSeek, vLLM and others write it; OpenAI itself shows none here.

use serde_json::{Map, Value, json};

use super::{
    Denial, Frame, Mark, Piece, Rendering, Rules, count, data_line, field, list, openai_object, set, text_of, words,
};
use crate::answer::{Block, Stop, Usage};
use crate::asked::{Asked, Speaker, Tool, ToolChoice, Turn, Unpaired};
use crate::chance::Chance;
use crate::peek::peek;
use crate::settings::Prefill;

/// Every answer says that it was made then: a replay has no clock.
pub(super) const CREATED: u64 = 1_767_225_600;

pub(super) fn decode(body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let request = openai_object(body)?;
    if count(&request, "n").is_some_and(|n| n > 1) {
        return Err(Denial::new(400, "'n' above 1 is not simulated: ask once for each choice."));
    }
    let messages = list(&request, "messages");
    if messages.is_empty() {
        let denial = Denial::new(400, "Missing required parameter: 'messages'.");
        return Err(denial.with_code("missing_required_parameter"));
    }
    let turns = messages.iter().enumerate().map(|(index, message)| turn(index, message)).collect::<Result<_, _>>()?;
    let stop = field(&request, "stop");
    let format = field(&request, "response_format");
    let effort = words(&request, "reasoning_effort");
    let asked = Asked {
        model: words(&request, "model"),
        stream: field(&request, "stream").as_bool() == Some(true),
        include_usage: field(field(&request, "stream_options"), "include_usage").as_bool() == Some(true),
        turns,
        tools: list(&request, "tools").iter().filter_map(tool).collect(),
        tool_choice: tool_choice(field(&request, "tool_choice")),
        parallel: field(&request, "parallel_tool_calls").as_bool() != Some(false),
        max_tokens: count(&request, "max_completion_tokens").or_else(|| count(&request, "max_tokens")),
        stop_sequences: stop
            .as_str()
            .into_iter()
            .chain(list(&request, "stop").iter().filter_map(Value::as_str))
            .map(str::to_owned)
            .collect(),
        reasoning: !matches!(effort.as_str(), "" | "none" | "minimal"),
        schema: match field(format, "type").as_str() {
            Some("json_schema") => Some(field(field(format, "json_schema"), "schema").clone()),
            Some("json_object") => Some(Value::Object(Map::new())),
            _ => None,
        },
        prompt_tokens: peek(body).map_or(0, |peek| peek.prompt_tokens()),
        ..Asked::default()
    };
    check(&asked, rules)?;
    Ok(asked)
}

fn turn(index: usize, message: &Value) -> Result<Turn, Denial> {
    let speaker = match field(message, "role").as_str() {
        Some("system" | "developer") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        Some("tool" | "function") => Speaker::Tool,
        other => {
            let role = other.unwrap_or_default();
            return Err(Denial::new(
                400,
                format!(
                    "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'. (messages[{index}].role)"
                ),
            ));
        }
    };
    let mut turn = Turn::new(speaker, text_of(field(message, "content")));
    for call in list(message, "tool_calls") {
        turn.calls.push(words(call, "id"));
        turn.text.push_str(&field(call, "function").to_string());
    }
    if speaker == Speaker::Tool {
        turn.results.extend(field(message, "tool_call_id").as_str().map(str::to_owned));
    }
    Ok(turn)
}

fn tool(tool: &Value) -> Option<Tool> {
    let function = tool.get("function")?;
    Some(Tool { name: function.get("name")?.as_str()?.to_owned(), schema: field(function, "parameters").clone() })
}

fn tool_choice(choice: &Value) -> ToolChoice {
    match (choice.as_str(), field(field(choice, "function"), "name").as_str()) {
        (Some("none"), _) => ToolChoice::Never,
        (Some("required"), _) => ToolChoice::Any,
        (None, Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => ToolChoice::Auto,
    }
}

fn check(asked: &Asked, rules: Rules<'_>) -> Result<(), Denial> {
    let ends_in_assistant = asked.turns.last().is_some_and(|turn| turn.speaker == Speaker::Assistant);
    if ends_in_assistant && rules.answer.prefill == Prefill::Refuse {
        return Err(Denial::new(
            400,
            "The last message must not have the role 'assistant': this model does not continue messages.",
        ));
    }
    match asked.unpaired() {
        Some(Unpaired::Call { id, .. }) => Err(Denial::new(
            400,
            format!(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {id}"
            ),
        )),
        Some(Unpaired::Result { turn, id }) => Err(Denial::new(
            400,
            format!(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls': '{id}' (messages[{turn}].role)"
            ),
        )),
        None => Ok(()),
    }
}

pub(super) fn whole(rendering: Rendering<'_>) -> Value {
    let Rendering { asked, answer, with_usage } = rendering;
    let mut message = json!({ "role": "assistant", "content": null, "refusal": null, "annotations": [] });
    let mut calls = Vec::new();
    for block in &answer.blocks {
        match block {
            Block::Reasoning { text, .. } => set(&mut message, "reasoning_content", json!(text)),
            Block::Text(text) => set(&mut message, "content", json!(text)),
            Block::Refusal(text) => set(&mut message, "refusal", json!(text)),
            Block::Call { identity, name, arguments } => {
                calls.push(json!({ "id": call_id(*identity), "type": "function", "function": { "name": name, "arguments": arguments } }));
            }
        }
    }
    if !calls.is_empty() {
        set(&mut message, "tool_calls", calls.into());
    } else if answer.blocks.iter().all(|block| matches!(block, Block::Reasoning { .. })) {
        set(&mut message, "content", json!(""));
    }
    let mut body = json!({
        "id": completion_id(answer.identity),
        "object": "chat.completion",
        "created": CREATED,
        "model": asked.model,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(&answer.stop) }],
        "service_tier": "default",
        "system_fingerprint": fingerprint(),
    });
    if with_usage {
        set(&mut body, "usage", usage(answer.usage));
    }
    body
}

pub(super) fn frames(rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
    let Rendering { asked, answer, with_usage } = rendering;
    let with_usage = with_usage && asked.include_usage;
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": completion_id(answer.identity),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": asked.model,
            "service_tier": "default",
            "system_fingerprint": fingerprint(),
            "choices": choices,
        });
        if with_usage {
            set(&mut chunk, "usage", Value::Null);
        }
        chunk
    };
    let delta = |mark: Mark, delta: Value, finish: Option<&str>| {
        let chunk = chunk(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]));
        Frame { mark, bytes: data_line(&chunk) }
    };
    let mut frames = vec![delta(Mark::Preamble, json!({ "role": "assistant", "content": "", "refusal": null }), None)];
    let mut call_index = 0_usize;
    for (index, block) in answer.blocks.iter().enumerate() {
        if let Block::Call { identity, name, .. } = block {
            let opening = json!({ "index": call_index, "id": call_id(*identity), "type": "function", "function": { "name": name, "arguments": "" } });
            frames.push(delta(Mark::Between, json!({ "tool_calls": [opening] }), None));
        }
        for piece in pieces.iter().filter(|piece| piece.block == index) {
            let content = match block {
                Block::Reasoning { .. } => json!({ "reasoning_content": piece.text }),
                Block::Text(_) => json!({ "content": piece.text }),
                Block::Refusal(_) => json!({ "refusal": piece.text }),
                Block::Call { .. } => {
                    json!({ "tool_calls": [{ "index": call_index, "function": { "arguments": piece.text } }] })
                }
            };
            frames.push(delta(piece.mark(), content, None));
        }
        call_index += usize::from(matches!(block, Block::Call { .. }));
    }
    frames.push(delta(Mark::Finish, json!({}), Some(finish_reason(&answer.stop))));
    if with_usage {
        let mut last = chunk(json!([]));
        set(&mut last, "usage", usage(answer.usage));
        frames.push(Frame { mark: Mark::Finish, bytes: data_line(&last) });
    }
    frames.push(terminator());
    frames
}

pub(super) fn terminator() -> Frame {
    Frame { mark: Mark::Terminator, bytes: b"data: [DONE]\n\n".to_vec() }
}

pub(super) fn error(denial: &Denial) -> Value {
    let (kind, usual_code, usual_message) = match denial.status {
        400 => ("invalid_request_error", None, "The request is not valid."),
        401 => (
            "invalid_request_error",
            Some("invalid_api_key"),
            "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        ),
        403 => (
            "invalid_request_error",
            Some("unsupported_country_region_territory"),
            "Country, region, or territory not supported",
        ),
        404 => (
            "invalid_request_error",
            Some("model_not_found"),
            "The model does not exist or you do not have access to it.",
        ),
        413 => ("invalid_request_error", Some("request_too_large"), "The request is too large."),
        429 => ("requests", Some("rate_limit_exceeded"), "Rate limit reached. Please try again later."),
        503 => ("server_error", None, "The engine is currently overloaded, please try again later"),
        500.. => ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
        _ => ("invalid_request_error", None, "The request was refused."),
    };
    let code = denial.code.as_deref().or(usual_code);
    let kind = if code == Some("insufficient_quota") { "insufficient_quota" } else { kind };
    let message = denial.message.as_deref().unwrap_or(usual_message);
    json!({ "error": { "message": message, "type": kind, "param": denial.param, "code": code } })
}

pub(super) fn models(models: &[String]) -> Value {
    let model = |id: &String| json!({ "id": id, "object": "model", "created": CREATED, "owned_by": "sim" });
    json!({ "object": "list", "data": models.iter().map(model).collect::<Vec<_>>() })
}

pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": { "cached_tokens": usage.cached, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Refused => "stop",
        Stop::Length => "length",
        Stop::Calls => "tool_calls",
        Stop::Filtered => "content_filter",
    }
}

fn completion_id(identity: u64) -> String {
    format!("chatcmpl-{}", Chance::new(identity).name(29))
}

pub(super) fn call_id(identity: u64) -> String {
    format!("call_{}", Chance::new(identity).name(24))
}

pub(super) fn fingerprint() -> &'static str {
    "fp_c0ffee5eed"
}
