//! Reads an OpenAI Chat Completions request.

use commonwatt_core::call::{
    Call, Format, Image, Item, Part, Reasoning, ReasoningWish, Role, Tool, ToolCall, ToolChoice,
};

use commonwatt_core::text::Text;

use super::{BadInput, count, flag, list, number, text};
use crate::Dialect;
use crate::tape::{Kind, View};

pub(super) fn decode(root: View<'_>) -> Result<Call, BadInput> {
    let mut call = Call { dialect: Dialect::OpenAiChat.word(), ..Call::default() };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        match &*key {
            "model" => call.model = text(&value, "model")?,
            "messages" => messages(&mut call, &value)?,
            "tools" => tools(&mut call, &value)?,
            "tool_choice" => tool_choice(&mut call, &value)?,
            "parallel_tool_calls" => call.parallel_tool_calls = Some(flag(&value, "parallel_tool_calls")?),
            "stream" => call.stream = flag(&value, "stream")?,
            "stream_options" => stream_options(&mut call, &value),
            "stop" => call.stop = stop(&value)?,
            "response_format" => response_format(&mut call, &value)?,
            "reasoning_effort" => call.reasoning = Some(effort(text(&value, "reasoning_effort")?)),
            "user" => call.user = Some(text(&value, "user")?),
            "max_completion_tokens" => call.max_output_tokens = Some(count(&value, "max_completion_tokens")?),
            "max_tokens" => {
                let bound = count(&value, "max_tokens")?;
                call.max_output_tokens.get_or_insert(bound);
            }
            "functions" | "function_call" => {
                return Err(BadInput::new(format!("the field `{key}` is no longer supported: use `tools`")));
            }
            _ => {
                if !sampling(&mut call, &key, &value)? {
                    call.extra.push((key.into_owned(), value.raw_json()));
                }
            }
        }
    }
    if root.get("messages").is_none() {
        return Err(BadInput::new("the field `messages` is missing: send the conversation in it"));
    }
    // Which of the two comes first in the text does not matter.
    if let Some(bound) = root.get("max_completion_tokens") {
        call.max_output_tokens = Some(count(&bound, "max_completion_tokens")?);
    }
    Ok(call)
}

/// Reads a field that says how tokens are drawn; false when it is none.
fn sampling(call: &mut Call, key: &str, value: &View<'_>) -> Result<bool, BadInput> {
    let sampling = &mut call.sampling;
    match key {
        "temperature" => sampling.temperature = Some(number(value, key)?),
        "top_p" => sampling.top_p = Some(number(value, key)?),
        "top_k" => sampling.top_k = Some(count(value, key)?),
        "presence_penalty" => sampling.presence_penalty = Some(number(value, key)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(number(value, key)?),
        "seed" => {
            let seed = value.raw().parse().map_err(|_| BadInput::field(key, "a whole number"))?;
            sampling.seed = Some(seed);
        }
        "logprobs" => {
            if flag(value, key)? {
                sampling.logprobs.get_or_insert(0);
            }
        }
        "top_logprobs" => {
            let wanted = count(value, key)?;
            sampling.logprobs = Some(u8::try_from(wanted).map_err(|_| BadInput::field(key, "at most 20"))?);
        }
        "logit_bias" => sampling.logit_bias = Some(value.raw_json()),
        "n" => sampling.choices = Some(count(value, key)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn effort(word: String) -> ReasoningWish {
    if word == "none" { ReasoningWish::Off } else { ReasoningWish::Effort(word) }
}

fn stop(value: &View<'_>) -> Result<Vec<String>, BadInput> {
    if value.kind() == Kind::String {
        return Ok(vec![text(value, "stop")?]);
    }
    list(value, &"stop")?.map(|item| text(&item, "stop")).collect()
}

fn stream_options(call: &mut Call, value: &View<'_>) {
    for (key, option) in value.members() {
        if key == "include_usage" {
            call.stream_usage = option.boolean() == Some(true);
        } else {
            call.extra.push((format!("stream_options.{key}"), option.raw_json()));
        }
    }
}

fn response_format(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    match value.get_string("type").as_deref() {
        Some("text") => call.format = Format::Text,
        Some("json_object") => call.format = Format::JsonObject,
        Some("json_schema") => {
            let wanted = value.get("json_schema");
            let wanted = wanted.ok_or_else(|| BadInput::field("response_format.json_schema", "an object"))?;
            let schema = wanted.get("schema");
            let schema = schema.ok_or_else(|| BadInput::field("response_format.json_schema.schema", "an object"))?;
            let name = wanted.get_string("name").unwrap_or_default().into_owned();
            let strict = wanted.get("strict").and_then(|strict| strict.boolean());
            call.format = Format::JsonSchema { name, schema: schema.raw_json(), strict };
            for (key, other) in wanted.members() {
                if !matches!(&*key, "name" | "schema" | "strict") {
                    call.extra.push((format!("response_format.json_schema.{key}"), other.raw_json()));
                }
            }
        }
        Some(_) | None => call.extra.push(("response_format".to_owned(), value.raw_json())),
    }
    Ok(())
}

fn tools(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, tool) in list(value, &"tools")?.enumerate() {
        let Some(function) = tool.get("function") else {
            let name = tool.get_string("type").unwrap_or_default().into_owned();
            call.tools.push(Tool { name, opaque: Some(tool.raw_json()), ..Tool::default() });
            continue;
        };
        let mut read = Tool::default();
        for (key, value) in function.members() {
            match &*key {
                _ if value.is_null() => {}
                "name" => read.name = text(&value, format_args!("tools[{index}].function.name"))?,
                "description" => {
                    read.description = Some(text(&value, format_args!("tools[{index}].function.description"))?);
                }
                "parameters" => read.parameters = Some(value.raw_json()),
                "strict" => read.strict = value.boolean(),
                _ => read.extra.push((format!("function.{key}"), value.raw_json())),
            }
        }
        if read.name.is_empty() {
            return Err(BadInput::field(format_args!("tools[{index}].function.name"), "a string"));
        }
        for (key, value) in tool.members() {
            if key != "type" && key != "function" {
                read.extra.push((key.into_owned(), value.raw_json()));
            }
        }
        call.tools.push(read);
    }
    Ok(())
}

fn tool_choice(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    let named = value.get("function").and_then(|function| function.get_string("name"));
    call.tool_choice = match (value.string().as_deref(), named) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required" | "any"), _) => Some(ToolChoice::Required),
        (Some(_), _) => return Err(BadInput::field("tool_choice", "`auto`, `none`, `required` or an object")),
        (None, Some(name)) => Some(ToolChoice::Named(name.into_owned())),
        (None, None) => {
            call.extra.push(("tool_choice".to_owned(), value.raw_json()));
            None
        }
    };
    Ok(())
}

fn messages(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, message) in list(value, &"messages")?.enumerate() {
        let role = message.get_string("role");
        let role = role.ok_or_else(|| BadInput::field(format_args!("messages[{index}].role"), "a string"))?;
        match &*role {
            "system" | "developer" => system(call, &message, index)?,
            "user" => {
                let content = content(&message, index)?;
                call.items.push(Item::Message { role: Role::User, content });
                fields(call, &message, &["content"]);
            }
            "assistant" => assistant(call, &message, index)?,
            "tool" => {
                let id = message.get_string("tool_call_id");
                let id =
                    id.ok_or_else(|| BadInput::field(format_args!("messages[{index}].tool_call_id"), "a string"))?;
                let content = content(&message, index)?;
                call.items.push(Item::ToolOutput { call_id: id.into_owned(), content, is_error: false });
                fields(call, &message, &["content", "tool_call_id"]);
            }
            "function" => {
                let told = format!("`messages[{index}].role` is `function`, which is no longer supported: use `tool`");
                return Err(BadInput::new(told));
            }
            other => {
                let word: String = other.chars().take(32).collect();
                return Err(BadInput::new(format!("`messages[{index}].role` is `{word}`, which no message can have")));
            }
        }
    }
    Ok(())
}

/// What stands before the conversation is the call's system prompt; later, or with a name, it is an item.
fn system(call: &mut Call, message: &View<'_>, index: usize) -> Result<(), BadInput> {
    let content = content(message, index)?;
    let plain = message.members().all(|(key, value)| matches!(&*key, "role" | "content") || value.is_null());
    if call.items.is_empty() && plain {
        call.system.extend(content);
    } else {
        call.items.push(Item::Message { role: Role::System, content });
        fields(call, message, &["content"]);
    }
    Ok(())
}

/// Members of a message that have no canonical place, after the item they belong to.
fn fields(call: &mut Call, message: &View<'_>, known: &[&str]) {
    for (key, value) in message.members() {
        if key != "role" && !known.contains(&&*key) && !value.is_null() {
            call.items.push(Item::Field(key.into_owned(), value.raw_json()));
        }
    }
}

const ASSISTANT: [&str; 6] = ["content", "refusal", "tool_calls", "reasoning_content", "reasoning", "function_call"];

fn assistant(call: &mut Call, message: &View<'_>, index: usize) -> Result<(), BadInput> {
    if message.get("function_call").is_some() {
        let told = format!("the field `messages[{index}].function_call` is no longer supported: use `tool_calls`");
        return Err(BadInput::new(told));
    }
    let thought = message.get_string("reasoning_content").or_else(|| message.get_string("reasoning"));
    if let Some(thought) = thought.filter(|thought| !thought.is_empty()) {
        call.items.push(Item::Reasoning(Reasoning { text: thought.into_owned(), ..Reasoning::default() }));
    }
    let mut said = content(message, index)?;
    let calls = message.get("tool_calls").filter(|calls| calls.items().next().is_some());
    if calls.is_some() && said == [Part::Text(Text::default())] {
        said.clear();
    }
    if let Some(refusal) = message.get_text("refusal") {
        said.push(Part::Refusal(refusal));
    }
    let has_fields =
        message.members().any(|(key, value)| key != "role" && !ASSISTANT.contains(&&*key) && !value.is_null());
    if !said.is_empty() || has_fields || calls.is_none() {
        call.items.push(Item::Message { role: Role::Assistant, content: said });
        fields(call, message, &ASSISTANT);
    }
    for (position, asked) in calls.iter().flat_map(View::items).enumerate() {
        tool_call(call, &asked, format_args!("messages[{index}].tool_calls[{position}]"))?;
    }
    Ok(())
}

fn tool_call(call: &mut Call, asked: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<(), BadInput> {
    let custom = asked.get("custom");
    let function = asked.get("function").or(custom);
    let function = function.ok_or_else(|| BadInput::field(format_args!("{path}.function"), "an object"))?;
    let name = function.get_string("name");
    let name = name.ok_or_else(|| BadInput::field(format_args!("{path}.function.name"), "a string"))?;
    let arguments = function.get(if custom.is_some() { "input" } else { "arguments" });
    // Some servers write the arguments as an object; a text is what everybody else expects.
    let arguments = arguments.map(|value| value.text().unwrap_or_else(|| value.raw().into())).unwrap_or_default();
    let id = asked.get_string("id").unwrap_or_default().into_owned();
    call.items.push(Item::ToolCall(ToolCall {
        id,
        name: name.into_owned(),
        arguments,
        signature: thought_signature(asked),
    }));
    for (key, value) in asked.members() {
        let known = matches!(&*key, "id" | "function" | "custom" | "index");
        let usual = key == "type" && value.string().as_deref() == Some("function");
        if !known && !usual && !value.is_null() {
            call.items.push(Item::Field(key.into_owned(), value.raw_json()));
        }
    }
    Ok(())
}

/// Where Google's own OpenAI endpoint puts the seal of a tool call.
fn thought_signature(asked: &View<'_>) -> Option<String> {
    let google = asked.get("extra_content")?.get("google")?;
    google.get_string("thought_signature").map(std::borrow::Cow::into_owned)
}

/// The parts of a message's `content`; none when it has none.
fn content(message: &View<'_>, index: usize) -> Result<Vec<Part>, BadInput> {
    let Some(content) = message.get("content") else { return Ok(Vec::new()) };
    if let Some(text) = content.text() {
        return Ok(vec![Part::Text(text)]);
    }
    if content.kind() != Kind::Array {
        return Err(BadInput::field(format_args!("messages[{index}].content"), "a string or an array of parts"));
    }
    let mut parts = Vec::new();
    for (position, value) in content.items().enumerate() {
        part(&mut parts, &value, format_args!("messages[{index}].content[{position}]"))?;
    }
    Ok(parts)
}

fn part(parts: &mut Vec<Part>, value: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<(), BadInput> {
    if let Some(text) = value.text() {
        parts.push(Part::Text(text));
        return Ok(());
    }
    let kind = value.get_string("type");
    let kind = kind.ok_or_else(|| BadInput::field(format_args!("{path}.type"), "a string"))?;
    match &*kind {
        "text" | "refusal" => {
            let said = value.get_text(&kind);
            let said = said.ok_or_else(|| BadInput::field(format_args!("{path}.{kind}"), "a string"))?;
            parts.push(if kind == "text" { Part::Text(said) } else { Part::Refusal(said) });
        }
        "image_url" => parts.push(Part::Image(image(value, path)?)),
        other => {
            parts.push(Part::Opaque(other.to_owned(), value.raw_json()));
            return Ok(());
        }
    }
    for (key, field) in value.members() {
        if key != "type" && key != kind && !field.is_null() {
            parts.push(Part::Field(key.into_owned(), field.raw_json()));
        }
    }
    Ok(())
}

fn image(value: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<Image, BadInput> {
    let wrong = || BadInput::field(format_args!("{path}.image_url.url"), "a string");
    let image = value.get("image_url").ok_or_else(wrong)?;
    let address = if image.kind() == Kind::String { image } else { image.get("url").ok_or_else(wrong)? };
    let detail = image.get_string("detail").map(std::borrow::Cow::into_owned);
    let url = address.string().ok_or_else(wrong)?;
    Ok(match data_url(&url) {
        Some((media_type, data)) => {
            Image::Base64 { media_type: media_type.to_owned(), data: address.text_within(&url, data), detail }
        }
        None => Image::Url { url: url.into_owned(), detail },
    })
}

/// The media type and the base64 of a `data:` address.
fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}
