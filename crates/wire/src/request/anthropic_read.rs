//! Reads an Anthropic Messages request.

use commonwatt_core::call::{
    Call, Format, Image, Item, Part, Reasoning, ReasoningWish, Role, Tool, ToolCall, ToolChoice,
};

use super::{BadInput, count, flag, list, number, text};
use crate::Dialect;
use crate::tape::{Kind, View};

/// Where the effort is kept when the call does not also ask to think.
pub(super) const EFFORT: &str = "output_config.effort";

pub(super) fn decode(root: View<'_>) -> Result<Call, BadInput> {
    let mut call = Call { dialect: Dialect::AnthropicMessages.word(), ..Call::default() };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        match &*key {
            "model" => call.model = text(&value, "model")?,
            "messages" => messages(&mut call, &value)?,
            "system" => call.system = content(&value, format_args!("system"))?,
            "max_tokens" => call.max_output_tokens = Some(count(&value, "max_tokens")?),
            "stream" => call.stream = flag(&value, "stream")?,
            "temperature" => call.sampling.temperature = Some(number(&value, "temperature")?),
            "top_p" => call.sampling.top_p = Some(number(&value, "top_p")?),
            "top_k" => call.sampling.top_k = Some(count(&value, "top_k")?),
            "stop_sequences" => {
                let stop = list(&value, &"stop_sequences")?.map(|item| text(&item, "stop_sequences"));
                call.stop = stop.collect::<Result<_, _>>()?;
            }
            "tools" => tools(&mut call, &value)?,
            "tool_choice" => tool_choice(&mut call, &value),
            "metadata" => metadata(&mut call, &value),
            // Both are read below, together.
            "thinking" | "output_config" => {}
            "output_format" => format(&mut call, &value, "output_format"),
            _ => call.extra.push((key.into_owned(), value.raw_json())),
        }
    }
    if root.get("messages").is_none() {
        return Err(BadInput::new("the field `messages` is missing: send the conversation in it"));
    }
    output_config(&mut call, &root);
    thinking(&mut call, &root)?;
    Ok(call)
}

fn metadata(call: &mut Call, value: &View<'_>) {
    for (key, field) in value.members() {
        match field.string() {
            Some(user) if key == "user_id" => call.user = Some(user.into_owned()),
            _ if field.is_null() => {}
            _ => call.extra.push((format!("metadata.{key}"), field.raw_json())),
        }
    }
}

fn output_config(call: &mut Call, root: &View<'_>) {
    for (key, value) in root.get("output_config").iter().flat_map(View::members) {
        match &*key {
            _ if value.is_null() => {}
            "format" => format(call, &value, "output_config.format"),
            _ => call.extra.push((format!("output_config.{key}"), value.raw_json())),
        }
    }
}

fn format(call: &mut Call, value: &View<'_>, path: &str) {
    match (value.get_string("type").as_deref(), value.get("schema")) {
        (Some("json_schema"), Some(schema)) => {
            call.format = Format::JsonSchema { name: String::new(), schema: schema.raw_json(), strict: None };
        }
        _ => call.extra.push((path.to_owned(), value.raw_json())),
    }
}

/// Thinking and effort. An effort alone does not ask to think, so it stays where it stood.
fn thinking(call: &mut Call, root: &View<'_>) -> Result<(), BadInput> {
    let Some(value) = root.get("thinking") else { return Ok(()) };
    call.reasoning = match value.get_string("type").as_deref() {
        Some("disabled") => Some(ReasoningWish::Off),
        Some("enabled") => {
            let budget = value.get("budget_tokens");
            let budget = budget.ok_or_else(|| BadInput::field("thinking.budget_tokens", "a whole number"))?;
            Some(ReasoningWish::BudgetTokens(count(&budget, "thinking.budget_tokens")?))
        }
        Some("adaptive") => {
            let effort = call.extra.iter().position(|(name, _)| name == EFFORT);
            let word = root.get("output_config").and_then(|config| config.get_string("effort"));
            Some(match (effort, word) {
                (Some(at), Some(word)) => {
                    call.extra.remove(at);
                    ReasoningWish::Effort(word.into_owned())
                }
                _ => ReasoningWish::Auto,
            })
        }
        Some(_) | None => {
            call.extra.push(("thinking".to_owned(), value.raw_json()));
            return Ok(());
        }
    };
    for (key, field) in value.members() {
        if !matches!(&*key, "type" | "budget_tokens") && !field.is_null() {
            call.extra.push((format!("thinking.{key}"), field.raw_json()));
        }
    }
    Ok(())
}

fn tools(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, tool) in list(value, &"tools")?.enumerate() {
        let kind = tool.get_string("type");
        if let Some(kind) = kind.filter(|kind| kind != "custom") {
            call.tools.push(Tool { name: kind.into_owned(), opaque: Some(tool.raw_json()), ..Tool::default() });
            continue;
        }
        let mut read = Tool::default();
        for (key, value) in tool.members() {
            match &*key {
                _ if value.is_null() => {}
                "type" => {}
                "name" => read.name = text(&value, format_args!("tools[{index}].name"))?,
                "description" => read.description = Some(text(&value, format_args!("tools[{index}].description"))?),
                "input_schema" => read.parameters = Some(value.raw_json()),
                "strict" => read.strict = value.boolean(),
                _ => read.extra.push((key.into_owned(), value.raw_json())),
            }
        }
        if read.name.is_empty() {
            return Err(BadInput::field(format_args!("tools[{index}].name"), "a string"));
        }
        call.tools.push(read);
    }
    Ok(())
}

fn tool_choice(call: &mut Call, value: &View<'_>) {
    call.tool_choice = match (value.get_string("type").as_deref(), value.get_string("name")) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("any"), _) => Some(ToolChoice::Required),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("tool"), Some(name)) => Some(ToolChoice::Named(name.into_owned())),
        _ => {
            call.extra.push(("tool_choice".to_owned(), value.raw_json()));
            return;
        }
    };
    let disabled = value.get("disable_parallel_tool_use").and_then(|disabled| disabled.boolean());
    call.parallel_tool_calls = disabled.map(|disabled| !disabled);
}

fn messages(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, message) in list(value, &"messages")?.enumerate() {
        let path = format!("messages[{index}]");
        let role = match message.get_string("role").as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(other) => {
                let word: String = other.chars().take(32).collect();
                return Err(BadInput::new(format!("`{path}.role` is `{word}`, which no message can have")));
            }
            None => return Err(BadInput::field(format_args!("{path}.role"), "a string")),
        };
        for (key, field) in message.members() {
            if key != "role" && key != "content" && !field.is_null() {
                call.extra.push((format!("messages.{key}"), field.raw_json()));
            }
        }
        let content = message.get("content");
        let content = content.ok_or_else(|| BadInput::field(format_args!("{path}.content"), "there"))?;
        if let Some(said) = content.text() {
            call.items.push(Item::Message { role, content: vec![Part::Text(said)] });
            continue;
        }
        let blocks = list(&content, &format_args!("{path}.content"))?;
        // Parts of one message stay together; a tool call, a result or thinking between them parts them.
        let mut said = Vec::new();
        for (position, value) in blocks.enumerate() {
            let item = block(&value, format_args!("{path}.content[{position}]"), &mut said)?;
            if let Some((item, known)) = item {
                flush(call, role, &mut said);
                call.items.push(item);
                for (key, field) in value.members() {
                    if key != "type" && !known.contains(&&*key) && !field.is_null() {
                        call.items.push(Item::Field(key.into_owned(), field.raw_json()));
                    }
                }
            }
        }
        flush(call, role, &mut said);
    }
    Ok(())
}

fn flush(call: &mut Call, role: Role, said: &mut Vec<Part>) {
    if !said.is_empty() {
        call.items.push(Item::Message { role, content: std::mem::take(said) });
    }
}

type Known = &'static [&'static str];

/// Reads a block: a part of what is said, or an item of its own with the fields that were understood.
fn block(
    value: &View<'_>,
    path: std::fmt::Arguments<'_>,
    said: &mut Vec<Part>,
) -> Result<Option<(Item, Known)>, BadInput> {
    let owned = |name: &str| {
        let found = value.get_string(name).map(std::borrow::Cow::into_owned);
        found.ok_or_else(|| BadInput::field(format_args!("{path}.{name}"), "a string"))
    };
    Ok(match owned("type")?.as_str() {
        "tool_use" => {
            let arguments = value.get("input").map_or("{}", |input| input.raw()).into();
            let call = ToolCall { id: owned("id")?, name: owned("name")?, arguments, signature: None };
            Some((Item::ToolCall(call), &["id", "name", "input"]))
        }
        "tool_result" => {
            let inner = value.get("content");
            let content = inner.map_or(Ok(Vec::new()), |inner| content(&inner, format_args!("{path}.content")))?;
            let is_error = value.get("is_error").and_then(|flag| flag.boolean()) == Some(true);
            let output = Item::ToolOutput { call_id: owned("tool_use_id")?, content, is_error };
            Some((output, &["tool_use_id", "content", "is_error"]))
        }
        "thinking" => {
            let signature = value.get_string("signature").map(std::borrow::Cow::into_owned);
            let signature = signature.filter(|signature| !signature.is_empty());
            let reasoning = Reasoning { text: owned("thinking")?, signature, ..Reasoning::default() };
            Some((Item::Reasoning(reasoning), &["thinking", "signature"]))
        }
        "redacted_thinking" => {
            let reasoning = Reasoning { redacted: Some(owned("data")?), ..Reasoning::default() };
            Some((Item::Reasoning(reasoning), &["data"]))
        }
        _ => {
            part(said, value, path)?;
            None
        }
    })
}

/// Content that holds parts only: a string, or blocks.
fn content(value: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<Vec<Part>, BadInput> {
    if let Some(text) = value.text() {
        return Ok(vec![Part::Text(text)]);
    }
    if value.kind() != Kind::Array {
        return Err(BadInput::field(path, "a string or an array of blocks"));
    }
    let mut parts = Vec::new();
    for (position, item) in value.items().enumerate() {
        part(&mut parts, &item, format_args!("{path}[{position}]"))?;
    }
    Ok(parts)
}

fn part(parts: &mut Vec<Part>, value: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<(), BadInput> {
    let kind = value.get_string("type");
    let kind = kind.ok_or_else(|| BadInput::field(format_args!("{path}.type"), "a string"))?;
    let known = match &*kind {
        "text" => {
            let text = value.get_text("text");
            parts.push(Part::Text(text.ok_or_else(|| BadInput::field(format_args!("{path}.text"), "a string"))?));
            "text"
        }
        "image" => match image(value) {
            Some(image) => {
                parts.push(Part::Image(image));
                "source"
            }
            None => {
                parts.push(Part::Opaque(kind.into_owned(), value.raw_json()));
                return Ok(());
            }
        },
        other => {
            parts.push(Part::Opaque(other.to_owned(), value.raw_json()));
            return Ok(());
        }
    };
    for (key, field) in value.members() {
        if key != "type" && key != known && !field.is_null() {
            parts.push(Part::Field(key.into_owned(), field.raw_json()));
        }
    }
    Ok(())
}

/// An image by address or by value; one that is a file at the provider is none that others could see.
fn image(value: &View<'_>) -> Option<Image> {
    let source = value.get("source")?;
    match &*source.get_string("type")? {
        "base64" => Some(Image::Base64 {
            media_type: source.get_string("media_type")?.into_owned(),
            data: source.get_text("data")?,
            detail: None,
        }),
        "url" => Some(Image::Url { url: source.get_string("url")?.into_owned(), detail: None }),
        _ => None,
    }
}
