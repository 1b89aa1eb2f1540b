//! Reads an OpenAI Responses request.
//!
//! ```text
//! {"model":"…","instructions":"…","input":[
//!   {"role":"user","content":"…"},
//!   {"type":"reasoning","id":"rs_…","summary":[{"type":"summary_text","text":"…"}],"encrypted_content":"…"},
//!   {"type":"function_call","call_id":"call_…","name":"…","arguments":"{…}"},
//!   {"type":"function_call_output","call_id":"call_…","output":"…"}]}
//! ```

use std::fmt::{Arguments, Display};

use commonwatt_core::call::{
    Call, Format, Image, Item, Part, Reasoning, ReasoningWish, Role, Tool, ToolCall, ToolChoice,
};

use super::{BadInput, count, flag, list, number, text};
use crate::Dialect;
use crate::tape::{Kind, View};

/// What `include` says to have log probabilities.
pub(super) const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";

pub(super) fn decode(root: View<'_>) -> Result<Call, BadInput> {
    let mut call = Call { dialect: Dialect::OpenAiResponses.word(), ..Call::default() };
    for (key, value) in root.members() {
        if value.is_null() {
            continue;
        }
        match &*key {
            "model" => call.model = text(&value, "model")?,
            "instructions" => {
                let said = value.text().ok_or_else(|| BadInput::field("instructions", "a string"))?;
                call.system.push(Part::Text(said));
            }
            "input" => input(&mut call, &value)?,
            "tools" => tools(&mut call, &value)?,
            "tool_choice" => tool_choice(&mut call, &value)?,
            "parallel_tool_calls" => call.parallel_tool_calls = Some(flag(&value, "parallel_tool_calls")?),
            "stream" => call.stream = flag(&value, "stream")?,
            "stream_options" => stream_options(&mut call, &value),
            "text" => text_settings(&mut call, &value)?,
            "reasoning" => reasoning_settings(&mut call, &value)?,
            "user" => call.user = Some(text(&value, "user")?),
            "max_output_tokens" => call.max_output_tokens = Some(count(&value, "max_output_tokens")?),
            _ => {
                if !sampling(&mut call, &key, &value)? {
                    call.extra.push((key.into_owned(), value.raw_json()));
                }
            }
        }
    }
    if root.get("input").is_none() {
        return Err(BadInput::new("the field `input` is missing: send the conversation in it"));
    }
    Ok(call)
}

/// Reads a field that says how tokens are drawn; false when it must travel as it is.
fn sampling(call: &mut Call, key: &str, value: &View<'_>) -> Result<bool, BadInput> {
    let sampling = &mut call.sampling;
    match key {
        "temperature" => sampling.temperature = Some(number(value, key)?),
        "top_p" => sampling.top_p = Some(number(value, key)?),
        // Open Responses has these two, OpenAI has not.
        "presence_penalty" => sampling.presence_penalty = Some(number(value, key)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(number(value, key)?),
        "top_logprobs" => {
            let wanted = u8::try_from(count(value, key)?).map_err(|_| BadInput::field(key, "at most 20"))?;
            if wanted > 0 {
                sampling.logprobs = Some(wanted);
            }
        }
        "include" => {
            if value.items().any(|item| item.string().as_deref() == Some(INCLUDE_LOGPROBS)) {
                sampling.logprobs.get_or_insert(0);
            }
            return Ok(false);
        }
        _ => return Ok(false),
    }
    Ok(true)
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

/// `text`: the shape of the answer, and how wordy it is.
fn text_settings(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (key, setting) in value.members().filter(|(_, setting)| !setting.is_null()) {
        if key != "format" {
            call.extra.push((format!("text.{key}"), setting.raw_json()));
            continue;
        }
        match setting.get_string("type").as_deref() {
            Some("text") => call.format = Format::Text,
            Some("json_object") => call.format = Format::JsonObject,
            Some("json_schema") => {
                let schema = setting.get("schema").ok_or_else(|| BadInput::field("text.format.schema", "an object"))?;
                let name = setting.get_string("name").unwrap_or_default().into_owned();
                let strict = setting.get("strict").and_then(|strict| strict.boolean());
                call.format = Format::JsonSchema { name, schema: schema.raw_json(), strict };
                for (key, other) in setting.members() {
                    if !matches!(&*key, "type" | "name" | "schema" | "strict") && !other.is_null() {
                        call.extra.push((format!("text.format.{key}"), other.raw_json()));
                    }
                }
            }
            Some(_) | None => call.extra.push(("text.format".to_owned(), setting.raw_json())),
        }
    }
    Ok(())
}

/// `reasoning`: how much to think, and what to show of it.
fn reasoning_settings(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (key, setting) in value.members().filter(|(_, setting)| !setting.is_null()) {
        if key == "effort" {
            let word = text(&setting, "reasoning.effort")?;
            call.reasoning = Some(if word == "none" { ReasoningWish::Off } else { ReasoningWish::Effort(word) });
        } else {
            call.extra.push((format!("reasoning.{key}"), setting.raw_json()));
        }
    }
    Ok(())
}

fn tools(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, tool) in list(value, &"tools")?.enumerate() {
        let kind = tool.get_string("type").unwrap_or_default();
        if kind != "function" {
            call.tools.push(Tool { name: kind.into_owned(), opaque: Some(tool.raw_json()), ..Tool::default() });
            continue;
        }
        let mut read = Tool::default();
        for (key, value) in tool.members() {
            match &*key {
                "type" => {}
                _ if value.is_null() => {}
                "name" => read.name = text(&value, format_args!("tools[{index}].name"))?,
                "description" => {
                    read.description = Some(text(&value, format_args!("tools[{index}].description"))?);
                }
                "parameters" => read.parameters = Some(value.raw_json()),
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

fn tool_choice(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    let is_function = value.get_string("type").as_deref() == Some("function");
    let named = value.get_string("name").filter(|_| is_function);
    call.tool_choice = match (value.string().as_deref(), named) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required"), _) => Some(ToolChoice::Required),
        (Some(_), _) => return Err(BadInput::field("tool_choice", "`auto`, `none`, `required` or an object")),
        (None, Some(name)) => Some(ToolChoice::Named(name.into_owned())),
        (None, None) => {
            call.extra.push(("tool_choice".to_owned(), value.raw_json()));
            None
        }
    };
    Ok(())
}

/// The conversation: a text that the user says, or items.
fn input(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    if let Some(said) = value.text() {
        call.items.push(Item::Message { role: Role::User, content: vec![Part::Text(said)] });
        return Ok(());
    }
    if value.kind() != Kind::Array {
        return Err(BadInput::field("input", "a string or an array of items"));
    }
    for (index, entry) in value.items().enumerate() {
        if entry.kind() != Kind::Object {
            return Err(BadInput::field(format_args!("input[{index}]"), "an object"));
        }
        item(call, &entry, index)?;
    }
    Ok(())
}

fn item(call: &mut Call, entry: &View<'_>, index: usize) -> Result<(), BadInput> {
    let owned = |name: &str| {
        let found = entry.get_string(name).map(std::borrow::Cow::into_owned);
        found.ok_or_else(|| BadInput::field(format_args!("input[{index}].{name}"), "a string"))
    };
    let kind = entry.get_string("type");
    let known: &[&str] = match kind.as_deref() {
        None if entry.get("role").is_some() => return message(call, entry, index),
        // An item that is only an id refers to one that the provider keeps.
        None if entry.get("id").is_some() => {
            call.items.push(Item::Opaque("item_reference".to_owned(), entry.raw_json()));
            return Ok(());
        }
        None => return Err(BadInput::field(format_args!("input[{index}].type"), "a string")),
        Some("message") => return message(call, entry, index),
        Some("function_call") => {
            let arguments = entry.get("arguments");
            // Some clients write the arguments as an object; a text is what everybody else expects.
            let arguments = arguments.map(|value| value.text().unwrap_or_else(|| value.raw().into()));
            call.items.push(Item::ToolCall(ToolCall {
                id: owned("call_id")?,
                name: owned("name")?,
                arguments: arguments.unwrap_or_default(),
                signature: None,
            }));
            &["call_id", "name", "arguments"]
        }
        Some("function_call_output") => {
            let output = entry.get("output");
            let output = output.ok_or_else(|| BadInput::field(format_args!("input[{index}].output"), "there"))?;
            let content = content(&output, &format_args!("input[{index}].output"))?;
            call.items.push(Item::ToolOutput { call_id: owned("call_id")?, content, is_error: false });
            &["call_id", "output"]
        }
        Some("reasoning") => {
            reasoning(call, entry);
            &["id", "summary", "content", "encrypted_content"]
        }
        Some(other) => {
            call.items.push(Item::Opaque(other.to_owned(), entry.raw_json()));
            return Ok(());
        }
    };
    fields(call, entry, known);
    Ok(())
}

/// Members of an item that have no canonical place, after the item they belong to.
fn fields(call: &mut Call, entry: &View<'_>, known: &[&str]) {
    for (key, value) in entry.members() {
        if key != "type" && !known.contains(&&*key) && !value.is_null() {
            call.items.push(Item::Field(key.into_owned(), value.raw_json()));
        }
    }
}

fn message(call: &mut Call, entry: &View<'_>, index: usize) -> Result<(), BadInput> {
    let role = entry.get_string("role");
    let role = role.ok_or_else(|| BadInput::field(format_args!("input[{index}].role"), "a string"))?;
    let role = match &*role {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        other => {
            let word: String = other.chars().take(32).collect();
            return Err(BadInput::new(format!("`input[{index}].role` is `{word}`, which no message can have")));
        }
    };
    let said = entry.get("content");
    let said = said.ok_or_else(|| BadInput::field(format_args!("input[{index}].content"), "there"))?;
    let content = content(&said, &format_args!("input[{index}].content"))?;
    call.items.push(Item::Message { role, content });
    fields(call, entry, &["role", "content"]);
    Ok(())
}

/// Thinking: its summary and, from models that show it, the thinking itself. What one text cannot tell of them stays
/// beside it.
fn reasoning(call: &mut Call, entry: &View<'_>) {
    let owned = |name: &str| entry.get_string(name).map(std::borrow::Cow::into_owned);
    let (summary, shown) = (entry.get("summary"), entry.get("content"));
    let texts = |list: Option<View<'_>>| -> Vec<String> {
        let parts = list.into_iter().flat_map(|list| list.items());
        parts.filter_map(|part| part.get_string("text")).map(std::borrow::Cow::into_owned).collect()
    };
    let (told, thought) = (texts(summary), texts(shown));
    let text = [told.as_slice(), thought.as_slice()].concat().join("\n\n");
    let encrypted = owned("encrypted_content").filter(|content| !content.is_empty());
    call.items.push(Item::Reasoning(Reasoning { text, encrypted, id: owned("id"), ..Reasoning::default() }));
    let parts = |list: &View<'_>| list.items().count();
    if let Some(summary) = summary.filter(|list| parts(list) > 1 || (parts(list) > 0 && !thought.is_empty())) {
        call.items.push(Item::Field("reasoning.summary".to_owned(), summary.raw_json()));
    }
    if let Some(shown) = shown.filter(|list| parts(list) > 0) {
        call.items.push(Item::Field("reasoning.content".to_owned(), shown.raw_json()));
    }
}

/// A string, or parts.
fn content(value: &View<'_>, path: &dyn Display) -> Result<Vec<Part>, BadInput> {
    if let Some(text) = value.text() {
        return Ok(vec![Part::Text(text)]);
    }
    if value.kind() != Kind::Array {
        return Err(BadInput::field(path, "a string or an array of parts"));
    }
    let mut parts = Vec::new();
    for (position, item) in value.items().enumerate() {
        part(&mut parts, &item, format_args!("{path}[{position}]"))?;
    }
    Ok(parts)
}

fn part(parts: &mut Vec<Part>, value: &View<'_>, path: Arguments<'_>) -> Result<(), BadInput> {
    let kind = value.get_string("type");
    let kind = kind.ok_or_else(|| BadInput::field(format_args!("{path}.type"), "a string"))?;
    let said = |name: &str| {
        let text = value.get_text(name);
        text.ok_or_else(|| BadInput::field(format_args!("{path}.{name}"), "a string"))
    };
    let known: &[&str] = match &*kind {
        "input_text" | "output_text" | "text" => {
            parts.push(Part::Text(said("text")?));
            &["text"]
        }
        "refusal" => {
            parts.push(Part::Refusal(said("refusal")?));
            &["refusal"]
        }
        "input_image" if value.get_string("image_url").is_some() => {
            parts.push(Part::Image(image(value)));
            &["image_url", "detail"]
        }
        // Files, and images that are files at the provider, are nothing that others could see.
        other => {
            parts.push(Part::Opaque(other.to_owned(), value.raw_json()));
            return Ok(());
        }
    };
    for (key, field) in value.members() {
        // An answer's empty lists of annotations and log probabilities come back in every history.
        let says_nothing = field.is_null() || (field.kind() == Kind::Array && field.items().next().is_none());
        if key != "type" && !known.contains(&&*key) && !says_nothing {
            parts.push(Part::Field(key.into_owned(), field.raw_json()));
        }
    }
    Ok(())
}

fn image(value: &View<'_>) -> Image {
    let address = value.get("image_url").unwrap_or(*value);
    let detail = value.get_string("detail").map(std::borrow::Cow::into_owned);
    let url = address.string().unwrap_or_default();
    match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
        Some((media_type, data)) => {
            Image::Base64 { media_type: media_type.to_owned(), data: address.text_within(&url, data), detail }
        }
        None => Image::Url { url: url.into_owned(), detail },
    }
}
