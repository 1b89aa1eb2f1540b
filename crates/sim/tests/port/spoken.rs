//! One conversation in every dialect: written as for Chat Completions, said as each expects it.

use serde_json::{Value, json};

use super::Dialect;

/// The dialects that have conversations rather than one prompt.
pub(crate) const CONVERSING: [Dialect; 5] =
    [Dialect::ChatCompletions, Dialect::Messages, Dialect::Responses, Dialect::Gemini, Dialect::OllamaChat];

/// Where the call goes, and its body.
pub(crate) fn spoken(dialect: Dialect, chat: &Value) -> (String, Value) {
    let target = dialect.target(chat["model"].as_str().unwrap(), chat["stream"] == true);
    let mut body = match dialect {
        Dialect::ChatCompletions => chat.clone(),
        Dialect::Messages => messages(chat),
        Dialect::Responses => responses(chat),
        Dialect::Gemini => gemini(chat),
        Dialect::OllamaChat => json!({
            "model": chat["model"], "stream": chat["stream"], "messages": chat["messages"], "tools": chat["tools"],
            "options": { "num_predict": chat["max_tokens"] },
        }),
        Dialect::OllamaGenerate => json!({
            "model": chat["model"], "stream": chat["stream"], "prompt": prompt(chat),
            "options": { "num_predict": chat["max_tokens"] },
        }),
        Dialect::Completions => json!({
            "model": chat["model"], "stream": chat["stream"], "prompt": prompt(chat),
            "max_tokens": chat["max_tokens"], "stream_options": chat["stream_options"],
        }),
    };
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    (target, body)
}

fn prompt(chat: &Value) -> String {
    turns(chat).iter().map(|message| message["content"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn turns(chat: &Value) -> &[Value] {
    chat["messages"].as_array().unwrap()
}

fn tools(chat: &Value, said: fn(&Value) -> Value) -> Value {
    chat["tools"].as_array().map_or(Value::Null, |tools| tools.iter().map(|tool| said(&tool["function"])).collect())
}

fn messages(chat: &Value) -> Value {
    let mut body = chat.clone();
    body["tools"] = tools(chat, |tool| json!({ "name": tool["name"], "input_schema": tool["parameters"] }));
    body
}

fn responses(chat: &Value) -> Value {
    let function = |tool: &Value| json!({ "type": "function", "name": tool["name"], "parameters": tool["parameters"] });
    json!({
        "model": chat["model"], "stream": chat["stream"], "input": chat["messages"],
        "max_output_tokens": chat["max_tokens"], "tools": tools(chat, function),
    })
}

fn gemini(chat: &Value) -> Value {
    let contents: Vec<_> = turns(chat)
        .iter()
        .map(|message| {
            let role = if message["role"] == "assistant" { "model" } else { "user" };
            json!({ "role": role, "parts": [{ "text": message["content"] }] })
        })
        .collect();
    let declared = tools(chat, |tool| json!({ "name": tool["name"], "parameters": tool["parameters"] }));
    let tools = declared.is_array().then(|| json!([{ "functionDeclarations": declared }]));
    json!({
        "contents": contents, "tools": tools, "generationConfig": { "maxOutputTokens": chat["max_tokens"] },
    })
}
