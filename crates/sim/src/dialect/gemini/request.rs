//! What a request to Gemini asks for. Every name may be written in camel case or with underscores.

use serde_json::{Value, json};

use crate::answer::is_genuine;
use crate::asked::{Asked, Speaker, Tool, ToolChoice, Turn};
use crate::dialect::{Denial, Rules, field, list, words};
use crate::peek::peek;
use crate::settings::Prefill;

/// Signatures that Google documents for function calls which no Gemini made.
const DUMMIES: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// The fields of a request; what is none of them is refused.
const FIELDS: [&str; 9] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "model",
    "labels",
];

pub(in super::super) fn decode(body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let request = object(body)?;
    if rules.address.stream && !rules.address.events {
        return Err(Denial::new(400, "a stream as a JSON array is not simulated: ask for `?alt=sse`"));
    }
    decode_content(&request, body, rules)
}

pub(in super::super) fn count_tokens(body: &[u8], rules: Rules<'_>) -> Result<Value, Denial> {
    let request: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let nested = named(&request, "generateContentRequest");
    let asked = if nested.is_null() {
        decode_content(&object(body)?, body, rules)?
    } else {
        let body = nested.to_string().into_bytes();
        decode_content(&object(&body)?, &body, rules)?
    };
    let details = super::details(Some(&json!(asked.prompt_tokens)));
    Ok(json!({ "totalTokens": asked.prompt_tokens, "promptTokensDetails": details }))
}

fn object(body: &[u8]) -> Result<Value, Denial> {
    let request: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let known = |name: &str| FIELDS.iter().any(|field| *field == name || underscored(field) == name);
    match request.as_object().into_iter().flatten().find(|(name, _)| !known(name)) {
        Some((name, _)) => {
            Err(Denial::new(400, format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.")))
        }
        None => Ok(request),
    }
}

fn unreadable(error: &serde_json::Error) -> Denial {
    Denial::new(400, format!("Invalid JSON payload received. {error}"))
}

fn decode_content(request: &Value, body: &[u8], rules: Rules<'_>) -> Result<Asked, Denial> {
    let model = rules.address.model.map_or_else(|| words(request, "model"), str::to_owned);
    let model = model.strip_prefix("models/").unwrap_or(&model).to_owned();
    if model.is_empty() {
        return Err(Denial::new(400, "model is required"));
    }
    let contents = list(request, "contents");
    if contents.is_empty() {
        return Err(Denial::new(400, "* GenerateContentRequest.contents: contents is not specified"));
    }
    let mut turns = Vec::new();
    let system = text_of(named(request, "systemInstruction"));
    if !system.is_empty() {
        turns.push(Turn::new(Speaker::System, system));
    }
    for content in contents {
        turns.push(turn(content)?);
    }
    check_signatures(contents, &model, rules)?;
    let settings = named(request, "generationConfig");
    if number(settings, "candidateCount").is_some_and(|n| n > 1) {
        return Err(Denial::new(400, "Multiple candidates is not enabled for this model"));
    }
    let calling = named(named(request, "toolConfig"), "functionCallingConfig");
    let allowed: Vec<_> = named_list(calling, "allowedFunctionNames").iter().filter_map(Value::as_str).collect();
    let json_wanted = named(settings, "responseMimeType") == "application/json";
    let schema = [named(settings, "responseSchema"), named(settings, "responseJsonSchema")];
    let asked = Asked {
        model,
        stream: rules.address.stream,
        turns,
        tools: tools(request, &allowed),
        tool_choice: tool_choice(&words(calling, "mode"), &allowed),
        parallel: true,
        max_tokens: number(settings, "maxOutputTokens"),
        stop_sequences: named_list(settings, "stopSequences")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        reasoning: named(named(settings, "thinkingConfig"), "includeThoughts").as_bool() == Some(true),
        schema: json_wanted
            .then(|| schema.into_iter().find(|schema| schema.is_object()).map_or_else(|| json!({}), in_lower_case)),
        prompt_tokens: peek(body).map_or(0, |peek| peek.prompt_tokens()),
        call_ids: rules.answer.gemini_3,
        ..Asked::default()
    };
    check(&asked, rules)?;
    Ok(asked)
}

fn turn(content: &Value) -> Result<Turn, Denial> {
    let speaker = match field(content, "role").as_str() {
        None | Some("user" | "function") => Speaker::User,
        Some("model") => Speaker::Assistant,
        Some(_) => return Err(Denial::new(400, "Please use a valid role: user, model.")),
    };
    let mut turn = Turn::new(speaker, String::new());
    for part in list(content, "parts") {
        let (call, response) = (named(part, "functionCall"), named(part, "functionResponse"));
        if part.get("thought").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        if call.is_object() {
            turn.calls.push(pairing(call));
            let function = json!({ "name": field(call, "name"), "arguments": field(call, "args").to_string() });
            turn.text.push_str(&function.to_string());
        } else if response.is_object() {
            turn.results.push(pairing(response));
            turn.text.push_str(&field(response, "response").to_string());
        } else if let Some(text) = field(part, "text").as_str() {
            turn.text.push_str(text);
        } else {
            turn.text.push_str(&part.to_string());
        }
    }
    Ok(turn)
}

/// What a call and its response have in common: the id, and where there is none the name.
fn pairing(function: &Value) -> String {
    field(function, "id").as_str().map_or_else(|| words(function, "name"), str::to_owned)
}

fn tools(request: &Value, allowed: &[&str]) -> Vec<Tool> {
    let declarations = list(request, "tools").iter().flat_map(|tool| named_list(tool, "functionDeclarations"));
    let declared = declarations.filter_map(|function| {
        let schema = [named(function, "parameters"), named(function, "parametersJsonSchema")];
        let schema = schema.into_iter().find(|schema| schema.is_object()).map_or(Value::Null, in_lower_case);
        Some(Tool { name: function.get("name")?.as_str()?.to_owned(), schema })
    });
    declared.filter(|tool| allowed.is_empty() || allowed.contains(&tool.name.as_str())).collect()
}

fn tool_choice(mode: &str, allowed: &[&str]) -> ToolChoice {
    match (mode, allowed) {
        ("NONE", _) => ToolChoice::Never,
        ("ANY", [only]) => ToolChoice::Named((*only).to_owned()),
        ("ANY", _) => ToolChoice::Any,
        _ => ToolChoice::Auto,
    }
}

/// Gemini 3 wants the signature of the first function call of every step of the current turn, which begins with what
/// the user last said; a signature must be genuine wherever it stands.
fn check_signatures(contents: &[Value], model: &str, rules: Rules<'_>) -> Result<(), Denial> {
    let says = |content: &Value| {
        field(content, "role") != "model"
            && list(content, "parts").iter().any(|part| named(part, "functionResponse").is_null())
    };
    let current = contents.iter().rposition(says).unwrap_or(0);
    for (position, content) in contents.iter().enumerate() {
        let mut first = true;
        for part in list(content, "parts") {
            let signature = named(part, "thoughtSignature").as_str();
            let genuine = |signature: &str| DUMMIES.contains(&signature) || is_genuine(rules.seed, model, signature);
            if rules.answer.check_signatures && signature.is_some_and(|signature| !genuine(signature)) {
                return Err(Denial::new(400, "Corrupted thought signature."));
            }
            let call = named(part, "functionCall");
            if !call.is_object() {
                continue;
            }
            if rules.answer.gemini_3 && first && position > current && signature.is_none() {
                let name = words(call, "name");
                return Err(Denial::new(
                    400,
                    format!(
                        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {}. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
                        position + 1
                    ),
                ));
            }
            first = false;
        }
    }
    Ok(())
}

fn check(asked: &Asked, rules: Rules<'_>) -> Result<(), Denial> {
    let ends_in_model = asked.turns.last().is_some_and(|turn| turn.speaker == Speaker::Assistant);
    if ends_in_model && rules.answer.prefill == Prefill::Refuse {
        return Err(Denial::new(400, "Please ensure that the conversation ends with a user turn."));
    }
    match asked.unpaired() {
        Some(_) => Err(Denial::new(
            400,
            "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
        )),
        None => Ok(()),
    }
}

/// The text of a content.
fn text_of(content: &Value) -> String {
    list(content, "parts").iter().map(|part| words(part, "text")).collect()
}

/// The field of that name in camel case, or with underscores.
fn named<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or_else(|| field(value, &underscored(name)))
}

fn named_list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    named(value, name).as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value, name: &str) -> Option<usize> {
    named(value, name).as_u64().and_then(|n| usize::try_from(n).ok())
}

fn underscored(name: &str) -> String {
    let mut underscored = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            underscored.push('_');
        }
        underscored.push(letter.to_ascii_lowercase());
    }
    underscored
}

/// The schema with its types in lower case: Google writes `OBJECT`.
fn in_lower_case(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let lower = |(name, value): (&String, &Value)| {
                let value = match (name.as_str(), value.as_str()) {
                    ("type", Some(kind)) => Value::from(kind.to_ascii_lowercase()),
                    _ => in_lower_case(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(lower).collect())
        }
        Value::Array(items) => items.iter().map(in_lower_case).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}
