//! Reads a Gemini request (`generateContent`, `streamGenerateContent`).
//!
//! The model and whether to stream are in the path, so the call holds neither. Names are taken in both of Google's
//! spellings, `camelCase` and `snake_case`.

use commonwatt_core::call::{Call, Format, RawJson, ReasoningWish, Tool, ToolChoice};

use super::gemini_content::{contents, several, system};
use super::gemini_schema::{camel, json_schema, member};
use super::{BadInput, count, flag, list, number, text};
use crate::Dialect;
use crate::emit::Object;
use crate::tape::View;

pub(super) fn decode(root: View<'_>) -> Result<Call, BadInput> {
    // `countTokens` takes a whole request inside another.
    let inner = member(&root, "generateContentRequest").filter(|_| member(&root, "contents").is_none());
    let root = inner.unwrap_or(root);
    let mut call = Call { dialect: Dialect::Gemini.word(), ..Call::default() };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        let key = camel(&key);
        match &*key {
            "contents" => contents(&mut call, &value)?,
            "systemInstruction" => call.system = system(&value)?,
            "tools" => tools(&mut call, &value)?,
            "toolConfig" => tool_config(&mut call, &value)?,
            "generationConfig" => generation_config(&mut call, &value)?,
            // What the path says counts.
            "model" => {}
            _ => call.extra.push((key.into_owned(), value.raw_json())),
        }
    }
    if member(&root, "contents").is_none() {
        return Err(BadInput::new("the field `contents` is missing: send the conversation in it"));
    }
    Ok(call)
}

fn generation_config(call: &mut Call, config: &View<'_>) -> Result<(), BadInput> {
    for (key, value) in config.members() {
        if value.is_null() {
            continue;
        }
        let key = camel(&key);
        let path = format!("generationConfig.{key}");
        match &*key {
            "maxOutputTokens" => call.max_output_tokens = Some(count(&value, &path)?),
            "stopSequences" => {
                let stop = list(&value, &path)?.map(|item| text(&item, &path));
                call.stop = stop.collect::<Result<_, _>>()?;
            }
            // All of these are read below, together.
            "responseMimeType" | "responseSchema" | "responseJsonSchema" | "_responseJsonSchema" | "thinkingConfig" => {
            }
            _ => {
                if !sampling(call, &key, &path, &value)? {
                    call.extra.push((path, value.raw_json()));
                }
            }
        }
    }
    format(call, config);
    match member(config, "thinkingConfig") {
        Some(thinking) => thinking_config(call, &thinking),
        None => Ok(()),
    }
}

/// Reads a field that says how tokens are drawn; false when it is none.
fn sampling(call: &mut Call, key: &str, path: &str, value: &View<'_>) -> Result<bool, BadInput> {
    let sampling = &mut call.sampling;
    match key {
        "temperature" => sampling.temperature = Some(number(value, path)?),
        "topP" => sampling.top_p = Some(number(value, path)?),
        "topK" => sampling.top_k = Some(count(value, path)?),
        "presencePenalty" => sampling.presence_penalty = Some(number(value, path)?),
        "frequencyPenalty" => sampling.frequency_penalty = Some(number(value, path)?),
        "seed" => {
            let seed = value.raw().parse().map_err(|_| BadInput::field(path, "a whole number"))?;
            sampling.seed = Some(seed);
        }
        "responseLogprobs" => {
            if flag(value, path)? {
                sampling.logprobs.get_or_insert(0);
            }
        }
        "logprobs" => {
            let wanted = count(value, path)?;
            sampling.logprobs = Some(u8::try_from(wanted).map_err(|_| BadInput::field(path, "at most 20"))?);
        }
        "candidateCount" => sampling.choices = Some(count(value, path)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn format(call: &mut Call, config: &View<'_>) {
    let mime = member(config, "responseMimeType");
    let word = mime.and_then(|mime| mime.string());
    let json = member(config, "responseJsonSchema").or_else(|| member(config, "_responseJsonSchema"));
    let openapi = member(config, "responseSchema");
    let schema = json.map(|schema| schema.raw_json()).or_else(|| openapi.as_ref().map(json_schema));
    match (word.as_deref(), schema) {
        (None | Some("application/json"), Some(schema)) => {
            call.format = Format::JsonSchema { name: String::new(), schema, strict: None };
        }
        (Some("application/json"), None) => call.format = Format::JsonObject,
        (None | Some("text/plain"), _) => {}
        // `text/x.enum`, and whatever is invented next.
        (Some(_), _) => {
            for (name, value) in [("responseMimeType", mime), ("responseJsonSchema", json), ("responseSchema", openapi)]
            {
                if let Some(value) = value {
                    call.extra.push((format!("generationConfig.{name}"), value.raw_json()));
                }
            }
        }
    }
}

fn thinking_config(call: &mut Call, thinking: &View<'_>) -> Result<(), BadInput> {
    const BUDGET: &str = "generationConfig.thinkingConfig.thinkingBudget";
    let mut shown = false;
    for (key, value) in thinking.members() {
        if value.is_null() {
            continue;
        }
        match &*camel(&key) {
            "thinkingBudget" => {
                call.reasoning = Some(match (value.number(), value.whole()) {
                    (Some(budget), _) if budget < 0.0 => ReasoningWish::Auto,
                    (_, Some(0)) => ReasoningWish::Off,
                    (_, _) => ReasoningWish::BudgetTokens(count(&value, BUDGET)?),
                });
            }
            "thinkingLevel" => {
                let word = text(&value, "generationConfig.thinkingConfig.thinkingLevel")?.to_ascii_lowercase();
                if word != "thinking_level_unspecified" {
                    call.reasoning = Some(ReasoningWish::Effort(word));
                }
            }
            key => {
                shown |= key == "includeThoughts" && value.boolean() == Some(true);
                call.extra.push((format!("generationConfig.thinkingConfig.{key}"), value.raw_json()));
            }
        }
    }
    // Whoever wants to see the thinking wants some.
    if shown {
        call.reasoning.get_or_insert(ReasoningWish::Auto);
    }
    Ok(())
}

fn tools(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, tool) in several(value).enumerate() {
        for (key, value) in tool.members() {
            let key = camel(&key);
            if value.is_null() {
                continue;
            }
            if key == "functionDeclarations" {
                for (position, function) in several(&value).enumerate() {
                    let path = format!("tools[{index}].functionDeclarations[{position}]");
                    call.tools.push(declaration(&function, &path)?);
                }
                continue;
            }
            let mut entry = Vec::new();
            let mut object = Object::open(&mut entry);
            object.raw(&key, value.raw());
            object.close();
            let opaque = Some(RawJson(entry.into()));
            call.tools.push(Tool { name: key.into_owned(), opaque, ..Tool::default() });
        }
    }
    Ok(())
}

fn declaration(function: &View<'_>, path: &str) -> Result<Tool, BadInput> {
    let mut read = Tool::default();
    for (key, value) in function.members() {
        let key = camel(&key);
        match &*key {
            _ if value.is_null() => {}
            "name" => read.name = text(&value, format_args!("{path}.name"))?,
            "description" => read.description = Some(text(&value, format_args!("{path}.description"))?),
            "parameters" => read.parameters = Some(json_schema(&value)),
            "parametersJsonSchema" => read.parameters = Some(value.raw_json()),
            _ => read.extra.push((key.into_owned(), value.raw_json())),
        }
    }
    if read.name.is_empty() {
        return Err(BadInput::field(format_args!("{path}.name"), "a string"));
    }
    Ok(read)
}

fn tool_config(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (key, inner) in value.members() {
        let key = camel(&key);
        match &*key {
            _ if inner.is_null() => {}
            "functionCallingConfig" => function_calling(call, &inner)?,
            _ => call.extra.push((format!("toolConfig.{key}"), inner.raw_json())),
        }
    }
    Ok(())
}

fn function_calling(call: &mut Call, config: &View<'_>) -> Result<(), BadInput> {
    const PATH: &str = "toolConfig.functionCallingConfig";
    let mut allowed = Vec::new();
    for (key, value) in config.members() {
        let key = camel(&key);
        match &*key {
            _ if value.is_null() => {}
            "mode" => {
                let mode = text(&value, format_args!("{PATH}.mode"))?;
                call.tool_choice = match mode.to_ascii_uppercase().as_str() {
                    "AUTO" => Some(ToolChoice::Auto),
                    "ANY" => Some(ToolChoice::Required),
                    "NONE" => Some(ToolChoice::None),
                    "MODE_UNSPECIFIED" => None,
                    // `VALIDATED` is `AUTO` that obeys the schemas.
                    _ => {
                        call.extra.push((format!("{PATH}.mode"), value.raw_json()));
                        Some(ToolChoice::Auto)
                    }
                };
            }
            "allowedFunctionNames" => {
                let path = format!("{PATH}.{key}");
                allowed = list(&value, &path)?.map(|name| text(&name, &path)).collect::<Result<Vec<_>, _>>()?;
            }
            _ => call.extra.push((format!("{PATH}.{key}"), value.raw_json())),
        }
    }
    match (&call.tool_choice, allowed.as_slice()) {
        (_, []) => {}
        (Some(ToolChoice::Required), [name]) => call.tool_choice = Some(ToolChoice::Named(name.clone())),
        (_, _) => {
            let names = member(config, "allowedFunctionNames").map(|names| names.raw_json());
            call.extra.extend(names.map(|names| (format!("{PATH}.allowedFunctionNames"), names)));
        }
    }
    Ok(())
}
