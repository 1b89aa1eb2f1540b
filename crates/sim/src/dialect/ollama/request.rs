//! What a request to Ollama asks for.

use serde_json::{Value, json};

use crate::asked::{Asked, Speaker, Tool, Turn, Window};
use crate::dialect::{Denial, Rules, count, field, list, text_of, words};
use crate::fault::Part;
use crate::peek::peek;
use crate::settings::Prefill;

pub(in super::super) fn decode_chat(body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let request = object(body)?;
    let turns = list(&request, "messages").iter().map(turn).collect::<Result<Vec<_>, _>>()?;
    let ends_in_assistant = turns.last().is_some_and(|turn| turn.speaker == Speaker::Assistant);
    if ends_in_assistant && rules.answer.prefill == Prefill::Refuse {
        return Err(Denial::new(
            400,
            "the last message must not be the assistant's: this model does not continue messages",
        ));
    }
    let tools = list(&request, "tools").iter().filter_map(tool).collect();
    Ok(Asked { tools, ..asked(&request, body, turns, rules) })
}

pub(in super::super) fn decode_generate(body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let request = object(body)?;
    let said = [(Speaker::System, words(&request, "system")), (Speaker::User, words(&request, "prompt"))];
    let mut turns = Vec::new();
    if !words(&request, "prompt").is_empty() {
        turns.extend(
            said.into_iter().filter(|(_, text)| !text.is_empty()).map(|(speaker, text)| Turn::new(speaker, text)),
        );
    }
    Ok(Asked { lacks: &[Part::ToolCall], ..asked(&request, body, turns, rules) })
}

fn object(body: &[u8]) -> Result<Value, Denial> {
    let request: Value = serde_json::from_slice(body).map_err(|error| Denial::new(400, error.to_string()))?;
    if words(&request, "model").is_empty() {
        return Err(Denial::new(400, "model is required"));
    }
    Ok(request)
}

/// What both ways of asking share.
fn asked(request: &Value, body: &[u8], mut turns: Vec<Turn>, rules: Rules<'_>) -> Asked {
    let options = field(request, "options");
    let stop = field(options, "stop");
    let prompt_tokens = peek(body).map_or(0, |peek| peek.prompt_tokens());
    let num_ctx = count(options, "num_ctx").filter(|size| *size > 0).unwrap_or(rules.answer.num_ctx);
    let left = fit(&mut turns, prompt_tokens, num_ctx);
    Asked {
        model: words(request, "model"),
        stream: field(request, "stream").as_bool() != Some(false) && !turns.is_empty(),
        turns,
        parallel: true,
        // A negative number means no limit.
        max_tokens: count(options, "num_predict"),
        stop_sequences: stop
            .as_str()
            .into_iter()
            .chain(list(options, "stop").iter().filter_map(Value::as_str))
            .map(str::to_owned)
            .collect(),
        reasoning: match field(request, "think") {
            Value::Bool(think) => *think,
            Value::String(level) => !level.is_empty(),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        },
        schema: match field(request, "format") {
            Value::String(format) if format == "json" => Some(json!({})),
            schema @ Value::Object(_) => Some(schema.clone()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        },
        prompt_tokens: left,
        window: Some(Window { num_ctx, dropped_tokens: prompt_tokens.saturating_sub(left) }),
        ..Asked::default()
    }
}

/// Drops turns from the front until the prompt fits, but neither instructions nor the last turn, which is cut short in
/// the count only. Returns the tokens that are left.
fn fit(turns: &mut Vec<Turn>, prompt_tokens: usize, num_ctx: usize) -> usize {
    let mut left = prompt_tokens;
    while left > num_ctx {
        let before_last = turns.len().saturating_sub(1);
        let first = turns.iter().take(before_last).position(|turn| turn.speaker != Speaker::System);
        let Some(first) = first else { break };
        left = left.saturating_sub(turns.remove(first).text.len().div_ceil(4).max(1));
    }
    left.min(num_ctx)
}

fn turn(message: &Value) -> Result<Turn, Denial> {
    let speaker = match field(message, "role").as_str() {
        Some("system") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        Some("tool") => Speaker::Tool,
        other => return Err(Denial::new(400, format!("invalid role: {}", other.unwrap_or_default()))),
    };
    let mut turn = Turn::new(speaker, text_of(field(message, "content")));
    for call in list(message, "tool_calls") {
        let function = field(call, "function");
        if !field(function, "arguments").is_object() {
            // What Ollama's server says of a client that sends arguments as OpenAI's do.
            return Err(Denial::new(
                400,
                "json: cannot unmarshal string into Go struct field ToolCallFunction.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments",
            ));
        }
        let call = json!({ "name": field(function, "name"), "arguments": field(function, "arguments").to_string() });
        turn.text.push_str(&call.to_string());
    }
    Ok(turn)
}

fn tool(tool: &Value) -> Option<Tool> {
    let function = tool.get("function")?;
    Some(Tool { name: function.get("name")?.as_str()?.to_owned(), schema: field(function, "parameters").clone() })
}
