//! Reads a request of Ollama: `/api/chat`, a conversation, and `/api/generate`, a prompt.

use std::cmp::Reverse;
use std::collections::HashSet;

use commonwatt_core::call::{Call, Format, Image, Item, Part, Reasoning, ReasoningWish, Role, Tool, ToolCall};
use commonwatt_core::text::Text;

use super::{BadInput, count, flag, list, number, text};
use crate::Dialect;
use crate::tape::{Kind, View};

pub(super) fn decode(root: View<'_>) -> Result<Call, BadInput> {
    let mut call = Call { dialect: Dialect::OllamaChat.word(), stream: true, ..Call::default() };
    for (key, value) in root.members() {
        match &*key {
            _ if value.is_null() => {}
            "messages" => History::new(&mut call, &value).read(&value)?,
            "tools" => tools(&mut call, &value)?,
            _ => common(&mut call, &key, &value)?,
        }
    }
    if root.get("messages").is_none() {
        return Err(BadInput::new("the field `messages` is missing: send the conversation in it"));
    }
    Ok(call)
}

/// Reads a request of `/api/generate`: a prompt instead of a conversation.
pub(super) fn decode_prompt(root: View<'_>) -> Result<Call, BadInput> {
    let mut call = Call { dialect: Dialect::OllamaGenerate.word(), stream: true, ..Call::default() };
    for (key, value) in root.members() {
        match &*key {
            _ if value.is_null() => {}
            "prompt" | "images" => {}
            "system" => {
                let system = value.text().ok_or_else(|| BadInput::field("system", "a string"))?;
                call.system.extend((!system.is_empty()).then_some(Part::Text(system)));
            }
            // Clients whose fields have types write these whether they are set or not.
            "suffix" | "template" if value.raw() == r#""""# => {}
            "raw" if value.boolean() == Some(false) => {}
            "context" if value.kind() == Kind::Array && value.items().next().is_none() => {}
            _ => common(&mut call, &key, &value)?,
        }
    }
    let Some(prompt) = root.get("prompt") else {
        return Err(BadInput::new("the field `prompt` is missing: send the text in it"));
    };
    let prompt = prompt.text().ok_or_else(|| BadInput::field("prompt", "a string"))?;
    let mut content = vec![Part::Text(prompt)];
    images(&mut content, &root, "images")?;
    call.items.push(Item::Message { role: Role::User, content });
    Ok(call)
}

/// Reads a field that both kinds of request have; one that is not known is kept.
fn common(call: &mut Call, key: &str, value: &View<'_>) -> Result<(), BadInput> {
    match key {
        "model" => call.model = text(value, key)?,
        "stream" => call.stream = flag(value, key)?,
        "format" => call.format = format(value)?,
        "think" => call.reasoning = Some(think(value)?),
        "logprobs" => {
            if flag(value, key)? {
                call.sampling.logprobs.get_or_insert(0);
            }
        }
        "top_logprobs" => {
            let wanted = u8::try_from(count(value, key)?).map_err(|_| BadInput::field(key, "at most 20"))?;
            if wanted > 0 {
                call.sampling.logprobs = Some(wanted);
            }
        }
        "options" => {
            if value.kind() != Kind::Object {
                return Err(BadInput::field(key, "an object"));
            }
            for (name, value) in value.members().filter(|(_, value)| !value.is_null()) {
                option(call, &name, &value)?;
            }
        }
        _ => call.extra.push((key.to_owned(), value.raw_json())),
    }
    Ok(())
}

fn option(call: &mut Call, name: &str, value: &View<'_>) -> Result<(), BadInput> {
    let path = format!("options.{name}");
    let sampling = &mut call.sampling;
    match name {
        "temperature" => sampling.temperature = Some(number(value, &path)?),
        "top_p" => sampling.top_p = Some(number(value, &path)?),
        "top_k" => sampling.top_k = Some(count(value, &path)?),
        "presence_penalty" => sampling.presence_penalty = Some(number(value, &path)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(number(value, &path)?),
        "seed" => {
            let whole = value.raw().parse().map_err(|_| BadInput::field(&path, "a whole number"))?;
            sampling.seed = Some(whole);
        }
        "stop" if value.kind() == Kind::String => call.stop = vec![text(value, &path)?],
        "stop" => {
            let stop: Result<Vec<String>, BadInput> = list(value, &path)?.map(|item| text(&item, &path)).collect();
            call.stop = stop?;
        }
        // Without a bound, as when nothing is said.
        "num_predict" if value.raw() == "-1" => {}
        // Less than that has a meaning that only Ollama knows.
        "num_predict" if value.number().is_none_or(|bound| bound >= 0.0) => {
            call.max_output_tokens = Some(count(value, &path)?);
        }
        _ => call.extra.push((path, value.raw_json())),
    }
    Ok(())
}

fn format(value: &View<'_>) -> Result<Format, BadInput> {
    match (value.string().as_deref(), value.kind()) {
        (Some(""), _) => Ok(Format::Text),
        (Some("json"), _) => Ok(Format::JsonObject),
        (None, Kind::Object) => Ok(Format::JsonSchema { name: String::new(), schema: value.raw_json(), strict: None }),
        (Some(_) | None, _) => Err(BadInput::field("format", "`json` or a schema")),
    }
}

fn think(value: &View<'_>) -> Result<ReasoningWish, BadInput> {
    match (value.boolean(), value.string()) {
        (Some(true), _) => Ok(ReasoningWish::Auto),
        (Some(false), _) => Ok(ReasoningWish::Off),
        (None, Some(word)) => Ok(ReasoningWish::Effort(word.into_owned())),
        (None, None) => Err(BadInput::field("think", "`true`, `false` or a word such as `high`")),
    }
}

fn tools(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    for (index, tool) in list(value, &"tools")?.enumerate() {
        let Some(function) = tool.get("function") else {
            let name = tool.get_string("type").unwrap_or_default().into_owned();
            call.tools.push(Tool { name, opaque: Some(tool.raw_json()), ..Tool::default() });
            continue;
        };
        let path = |name: &str| format!("tools[{index}].function.{name}");
        let mut read = Tool::default();
        for (key, value) in function.members() {
            match &*key {
                _ if value.is_null() => {}
                "name" => read.name = text(&value, path("name"))?,
                "description" => read.description = Some(text(&value, path("description"))?),
                "parameters" => read.parameters = Some(value.raw_json()),
                _ => read.extra.push((format!("function.{key}"), value.raw_json())),
            }
        }
        if read.name.is_empty() {
            return Err(BadInput::field(path("name"), "a string"));
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

/// The conversation. Calls of tools may have no ids, and results no more than a tool's name: they are paired here.
struct History<'c> {
    call: &'c mut Call,
    /// The calls that have no result yet.
    pending: Vec<Pending>,
    /// Ids that stand in the history, or were made for it.
    ids: HashSet<String>,
    made: u32,
}

struct Pending {
    /// Index of the message that asked.
    message: usize,
    id: String,
    name: String,
}

/// Members of an assistant's message that have a canonical place.
const ASSISTANT: [&str; 4] = ["content", "images", "thinking", "tool_calls"];
/// The same of a tool's message; older clients say `name`.
const TOOL: [&str; 5] = ["content", "images", "tool_call_id", "tool_name", "name"];

impl<'c> History<'c> {
    fn new(call: &'c mut Call, messages: &View<'_>) -> Self {
        let calls = messages.items().filter_map(|message| message.get("tool_calls"));
        let ids = calls.flat_map(|calls| calls.items()).filter_map(|asked| given_id(&asked, "id")).collect();
        Self { call, pending: Vec::new(), ids, made: 0 }
    }

    fn read(mut self, value: &View<'_>) -> Result<(), BadInput> {
        for (index, message) in list(value, &"messages")?.enumerate() {
            let role = message.get_string("role");
            let role = role.ok_or_else(|| BadInput::field(format_args!("messages[{index}].role"), "a string"))?;
            match &*role {
                "system" => self.system(&message, index)?,
                "user" => {
                    let content = parts(&message, index)?;
                    self.call.items.push(Item::Message { role: Role::User, content });
                    self.fields(&message, &["content", "images"]);
                }
                "assistant" => self.assistant(&message, index)?,
                "tool" => {
                    let call_id = self.answered(&message);
                    let content = parts(&message, index)?;
                    self.call.items.push(Item::ToolOutput { call_id, content, is_error: false });
                    self.fields(&message, &TOOL);
                }
                other => {
                    let word: String = other.chars().take(32).collect();
                    let told = format!("`messages[{index}].role` is `{word}`, which no message can have");
                    return Err(BadInput::new(told));
                }
            }
        }
        Ok(())
    }

    /// What stands before the conversation is the call's system prompt; later, it is an item.
    fn system(&mut self, message: &View<'_>, index: usize) -> Result<(), BadInput> {
        let content = parts(message, index)?;
        let plain = message.members().all(|(key, value)| matches!(&*key, "role" | "content") || value.is_null());
        if self.call.items.is_empty() && plain {
            self.call.system.extend(content);
        } else {
            self.call.items.push(Item::Message { role: Role::System, content });
            self.fields(message, &["content", "images"]);
        }
        Ok(())
    }

    fn assistant(&mut self, message: &View<'_>, index: usize) -> Result<(), BadInput> {
        if let Some(thought) = message.get_string("thinking").filter(|thought| !thought.is_empty()) {
            let thought = Reasoning { text: thought.into_owned(), ..Reasoning::default() };
            self.call.items.push(Item::Reasoning(thought));
        }
        let mut said = parts(message, index)?;
        let calls = message.get("tool_calls").filter(|calls| calls.items().next().is_some());
        if calls.is_some() && said == [Part::Text(Text::default())] {
            said.clear();
        }
        let known = |key: &str| key == "role" || ASSISTANT.contains(&key);
        let has_fields = message.members().any(|(key, value)| !known(&key) && !value.is_null());
        if !said.is_empty() || has_fields || calls.is_none() {
            self.call.items.push(Item::Message { role: Role::Assistant, content: said });
            self.fields(message, &ASSISTANT);
        }
        for (position, asked) in calls.iter().flat_map(View::items).enumerate() {
            self.tool_call(&asked, index, position)?;
        }
        Ok(())
    }

    fn tool_call(&mut self, asked: &View<'_>, message: usize, position: usize) -> Result<(), BadInput> {
        let path = format!("messages[{message}].tool_calls[{position}].function");
        let function = asked.get("function").ok_or_else(|| BadInput::field(&path, "an object"))?;
        let name = function.get_string("name");
        let name = name.ok_or_else(|| BadInput::field(format_args!("{path}.name"), "a string"))?.into_owned();
        // An object by the book; some clients write a text, as OpenAI does.
        let arguments = function.get("arguments");
        let arguments = arguments.map(|value| value.text().unwrap_or_else(|| value.raw().into())).unwrap_or_default();
        let id = given_id(asked, "id").unwrap_or_else(|| self.made_id());
        self.pending.push(Pending { message, id: id.clone(), name: name.clone() });
        self.call.items.push(Item::ToolCall(ToolCall { id, name, arguments, signature: None }));
        for (key, value) in function.members() {
            if !matches!(&*key, "name" | "arguments" | "index") && !value.is_null() {
                self.call.items.push(Item::Field(format!("function.{key}"), value.raw_json()));
            }
        }
        for (key, value) in asked.members() {
            let usual = key == "type" && value.string().as_deref() == Some("function");
            if !matches!(&*key, "id" | "function") && !usual && !value.is_null() {
                self.call.items.push(Item::Field(key.into_owned(), value.raw_json()));
            }
        }
        Ok(())
    }

    /// The id of the call whose result a message is: the one it names, else the next one of the tool it names, of the
    /// newest turn that still waits for one.
    fn answered(&mut self, message: &View<'_>) -> String {
        let id = given_id(message, "tool_call_id");
        let name = message.get_string("tool_name").or_else(|| message.get_string("name"));
        let name = name.filter(|name| !name.is_empty());
        let fits = |pending: &Pending| match (&id, &name) {
            (Some(id), _) => pending.id == *id,
            (None, Some(name)) => pending.name == *name,
            (None, None) => true,
        };
        let waiting = self.pending.iter().enumerate().filter(|(_, pending)| fits(pending));
        let place = waiting.max_by_key(|(place, pending)| (pending.message, Reverse(*place))).map(|(place, _)| place);
        match (place, id) {
            (Some(place), _) => self.pending.remove(place).id,
            (None, Some(id)) => id,
            (None, None) => self.made_id(),
        }
    }

    /// An id that is not in the history, the same every time the history is read.
    fn made_id(&mut self) -> String {
        loop {
            let id = format!("call_{}", self.made);
            self.made += 1;
            if self.ids.insert(id.clone()) {
                return id;
            }
        }
    }

    /// Members of a message that have no canonical place, after the item they belong to.
    fn fields(&mut self, message: &View<'_>, known: &[&str]) {
        for (key, value) in message.members() {
            if key != "role" && !known.contains(&&*key) && !value.is_null() {
                self.call.items.push(Item::Field(key.into_owned(), value.raw_json()));
            }
        }
    }
}

fn given_id(value: &View<'_>, name: &str) -> Option<String> {
    value.get_string(name).filter(|id| !id.is_empty()).map(std::borrow::Cow::into_owned)
}

/// The text of a message, then its images.
fn parts(message: &View<'_>, index: usize) -> Result<Vec<Part>, BadInput> {
    let mut parts = Vec::new();
    if let Some(content) = message.get("content") {
        let said = content.text();
        let said = said.ok_or_else(|| BadInput::field(format_args!("messages[{index}].content"), "a string"))?;
        parts.push(Part::Text(said));
    }
    images(&mut parts, message, &format!("messages[{index}].images"))?;
    if parts.len() > 1 && parts.first() == Some(&Part::Text(Text::default())) {
        parts.remove(0);
    }
    Ok(parts)
}

/// Images are base64 without a word about their kind.
fn images(parts: &mut Vec<Part>, holder: &View<'_>, path: &str) -> Result<(), BadInput> {
    let Some(images) = holder.get("images") else { return Ok(()) };
    for (position, image) in list(&images, &path)?.enumerate() {
        let wrong = || BadInput::field(format_args!("{path}[{position}]"), "a string of base64");
        let whole = image.string().ok_or_else(wrong)?;
        let (media_type, data) = match whole.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((media_type, data)) => (media_type, image.text_within(&whole, data)),
            None => (media_type(&whole), image.text().ok_or_else(wrong)?),
        };
        parts.push(Part::Image(Image::Base64 { media_type: media_type.to_owned(), data, detail: None }));
    }
    Ok(())
}

/// What an image is, by its first bytes.
fn media_type(base64: &str) -> &'static str {
    const KINDS: [(&str, &str); 5] = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
        ("Qk", "image/bmp"),
    ];
    let kind = KINDS.iter().find(|(start, _)| base64.starts_with(start));
    kind.map_or("application/octet-stream", |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests;
