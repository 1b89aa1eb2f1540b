//! What a request to Responses asks for.

use serde_json::{Map, Value, json};

use crate::answer::is_genuine;
use crate::asked::{Asked, Speaker, Tool, ToolChoice, Turn, Unpaired};
use crate::dialect::{Denial, Rules, count, field, list, openai_object, text_of, words};
use crate::peek::peek;
use crate::settings::Prefill;

pub(in super::super) fn decode(body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let request = openai_object(body)?;
    if let Some(id) = field(&request, "previous_response_id").as_str() {
        let denial = Denial::new(400, format!("Previous response with id '{id}' not found."));
        return Err(denial.with_code("previous_response_not_found").with_param("previous_response_id"));
    }
    let model = words(&request, "model");
    let reasoning = field(&request, "reasoning");
    let format = field(field(&request, "text"), "format");
    let effort = words(reasoning, "effort");
    let asked = Asked {
        stream: field(&request, "stream").as_bool() == Some(true),
        turns: turns(&request, &model, rules)?,
        tools: list(&request, "tools").iter().filter_map(tool).collect(),
        tool_choice: tool_choice(field(&request, "tool_choice")),
        parallel: field(&request, "parallel_tool_calls").as_bool() != Some(false),
        max_tokens: count(&request, "max_output_tokens"),
        reasoning: !matches!(effort.as_str(), "" | "none" | "minimal") || field(reasoning, "summary").is_string(),
        schema: match field(format, "type").as_str() {
            Some("json_schema") => Some(field(format, "schema").clone()),
            Some("json_object") => Some(Value::Object(Map::new())),
            _ => None,
        },
        prompt_tokens: peek(body).map_or(0, |peek| peek.prompt_tokens()),
        summary: field(reasoning, "summary").is_string(),
        encrypted: list(&request, "include").iter().any(|name| name == "reasoning.encrypted_content"),
        echo: echo(&request),
        model,
        ..Asked::default()
    };
    check(&asked, rules)?;
    Ok(asked)
}

fn turns(request: &Value, model: &str, rules: Rules<'_>) -> Result<Vec<Turn>, Denial> {
    let mut turns = Vec::new();
    if let Some(instructions) = field(request, "instructions").as_str().filter(|text| !text.is_empty()) {
        turns.push(Turn::new(Speaker::System, instructions.to_owned()));
    }
    match field(request, "input") {
        Value::String(text) => turns.push(Turn::new(Speaker::User, text.clone())),
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if let Some(turn) = turn(index, item, model, rules)? {
                    say(&mut turns, turn);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let denial = Denial::new(400, "Missing required parameter: 'input'.");
            return Err(denial.with_code("missing_required_parameter").with_param("input"));
        }
    }
    Ok(turns)
}

/// Adds a turn. What the assistant says and calls comes in several items, but is one turn.
fn say(turns: &mut Vec<Turn>, turn: Turn) {
    match turns.last_mut() {
        Some(last) if (last.speaker, turn.speaker) == (Speaker::Assistant, Speaker::Assistant) => {
            last.text.push_str(&turn.text);
            last.calls.extend(turn.calls);
        }
        _ => turns.push(turn),
    }
}

/// The turn of an item; none for reasoning, which the model keeps to itself.
fn turn(index: usize, item: &Value, model: &str, rules: Rules<'_>) -> Result<Option<Turn>, Denial> {
    let id = words(item, "id");
    let turn = match field(item, "type").as_str() {
        None | Some("message") => Turn::new(speaker(index, item)?, text_of(field(item, "content"))),
        Some("function_call") => {
            let call = json!({ "name": field(item, "name"), "arguments": field(item, "arguments") });
            Turn { calls: vec![words(item, "call_id")], ..Turn::new(Speaker::Assistant, call.to_string()) }
        }
        Some("function_call_output") => {
            let output = text_of(field(item, "output"));
            Turn { results: vec![words(item, "call_id")], ..Turn::new(Speaker::Tool, output) }
        }
        Some("reasoning") => {
            let content = field(item, "encrypted_content").as_str();
            if rules.answer.check_signatures && content.is_some_and(|seal| !is_genuine(rules.seed, model, seal)) {
                let denial = Denial::new(
                    400,
                    format!(
                        "The encrypted content for item {id} could not be verified. Reason: Encrypted content could not be decrypted or parsed."
                    ),
                );
                return Err(denial.with_code("invalid_encrypted_content"));
            }
            return Ok(None);
        }
        Some("item_reference") if id.starts_with("rs_") => return Ok(None),
        // A reference cannot be followed, because nothing is stored; other items are not simulated.
        Some(_) => Turn::new(Speaker::Assistant, item.to_string()),
    };
    Ok(Some(turn))
}

fn speaker(index: usize, item: &Value) -> Result<Speaker, Denial> {
    match field(item, "role").as_str() {
        Some("system" | "developer") => Ok(Speaker::System),
        Some("user") => Ok(Speaker::User),
        Some("assistant") => Ok(Speaker::Assistant),
        other => {
            let role = other.unwrap_or_default();
            let message = format!(
                "Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
            );
            Err(Denial::new(400, message).with_code("invalid_value").with_param(&format!("input[{index}].role")))
        }
    }
}

fn tool(tool: &Value) -> Option<Tool> {
    let is_function = field(tool, "type") == "function";
    is_function.then_some(())?;
    Some(Tool { name: tool.get("name")?.as_str()?.to_owned(), schema: field(tool, "parameters").clone() })
}

fn tool_choice(choice: &Value) -> ToolChoice {
    match (choice.as_str(), field(choice, "name").as_str()) {
        (Some("none"), _) => ToolChoice::Never,
        (Some("required"), _) => ToolChoice::Any,
        (None, Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => ToolChoice::Auto,
    }
}

fn check(asked: &Asked, rules: Rules<'_>) -> Result<(), Denial> {
    let ends_in_assistant = asked.turns.last().is_some_and(|turn| turn.speaker == Speaker::Assistant);
    if ends_in_assistant && rules.answer.prefill == Prefill::Refuse {
        let message = "The last item must not be a message of the assistant: this model does not continue messages.";
        return Err(Denial::new(400, message).with_param("input"));
    }
    let message = match asked.unpaired() {
        None => return Ok(()),
        Some(Unpaired::Call { id, .. }) => format!("No tool output found for function call {id}."),
        Some(Unpaired::Result { id, .. }) => {
            format!("No tool call found for function call output with call_id {id}.")
        }
    };
    Err(Denial::new(400, message).with_param("input"))
}

/// What a response repeats of its request: every field is there, with its default or null.
fn echo(request: &Value) -> Map<String, Value> {
    let or = |name: &str, default: Value| {
        let value = field(request, name);
        if value.is_null() { default } else { value.clone() }
    };
    let reasoning = field(request, "reasoning");
    let text = field(request, "text");
    let format = field(text, "format");
    let format = if format.is_null() { json!({ "type": "text" }) } else { format.clone() };
    let verbosity = field(text, "verbosity").as_str().unwrap_or("medium");
    let echo = json!({
        "background": false,
        "instructions": or("instructions", Value::Null),
        "max_output_tokens": or("max_output_tokens", Value::Null),
        "max_tool_calls": or("max_tool_calls", Value::Null),
        "metadata": or("metadata", json!({})),
        "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
        "previous_response_id": null,
        "prompt_cache_key": or("prompt_cache_key", Value::Null),
        "reasoning": { "effort": field(reasoning, "effort"), "summary": field(reasoning, "summary") },
        "safety_identifier": or("safety_identifier", Value::Null),
        "service_tier": "default",
        "store": or("store", json!(true)),
        "temperature": or("temperature", json!(1.0)),
        "text": { "format": format, "verbosity": verbosity },
        "tool_choice": or("tool_choice", json!("auto")),
        "tools": or("tools", json!([])),
        "top_logprobs": or("top_logprobs", json!(0)),
        "top_p": or("top_p", json!(1.0)),
        "truncation": or("truncation", json!("disabled")),
        "user": or("user", Value::Null),
    });
    if let Value::Object(fields) = echo { fields } else { Map::new() }
}
