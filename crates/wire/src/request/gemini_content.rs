//! Reads the conversation of a Gemini request.
//!
//! ```text
//! {"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"…"}]}
//! {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"…"}}}]}
//! ```
//!
//! Gemini knows calls by name and order, others by id: a call without one is given one, and a result is paired with the
//! oldest call of its name that has none yet.

use std::borrow::Cow;

use commonwatt_core::call::{Call, Image, Item, Part, Reasoning, Role, ToolCall};

use super::gemini_schema::{camel, member};
use super::{BadInput, gemini_media as media};
use crate::tape::{Kind, View};
use crate::tool_ids::MADE_FOR_GEMINI;

/// What is said about a part, beside what the part is.
const MARKS: [&str; 5] = ["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];

/// The items of an array, or the one thing that stands in its place, as Google's servers take it.
pub(super) fn several<'a>(value: &View<'a>) -> impl Iterator<Item = View<'a>> + use<'a> {
    let alone = Some(*value).filter(|value| value.kind() != Kind::Array);
    alone.into_iter().chain(value.items())
}

/// The system prompt: a string, a content, or its parts alone.
pub(super) fn system(value: &View<'_>) -> Result<Vec<Part>, BadInput> {
    let mut said = Vec::new();
    if let Some(text) = value.text() {
        said.push(Part::Text(text));
        return Ok(said);
    }
    for (index, part) in several(&member(value, "parts").unwrap_or(*value)).enumerate() {
        match part.text() {
            Some(text) => said.push(Part::Text(text)),
            None => said_part(&mut said, &part, format_args!("systemInstruction.parts[{index}]"))?,
        }
    }
    Ok(said)
}

/// The conversation.
pub(super) fn contents(call: &mut Call, value: &View<'_>) -> Result<(), BadInput> {
    let mut reader = Reader { call, calls: Vec::new(), made: 0, said: Vec::new() };
    for (index, content) in several(value).enumerate() {
        if content.kind() != Kind::Object {
            return Err(BadInput::field(format_args!("contents[{index}]"), "an object"));
        }
        reader.content(&content, index)?;
    }
    Ok(())
}

struct Reader<'c> {
    call: &'c mut Call,
    /// Calls that have no result yet, oldest first.
    calls: Vec<Waiting>,
    /// Ids made so far.
    made: u32,
    /// Parts of the message under way.
    said: Vec<Part>,
}

struct Waiting {
    id: String,
    name: String,
    is_made: bool,
}

impl Reader<'_> {
    fn content(&mut self, content: &View<'_>, index: usize) -> Result<(), BadInput> {
        let word = content.get_string("role").unwrap_or_default().to_ascii_lowercase();
        let role = match word.as_str() {
            "" | "user" | "function" | "tool" => Role::User,
            "model" => Role::Assistant,
            other => {
                let word: String = other.chars().take(32).collect();
                return Err(BadInput::new(format!("`contents[{index}].role` is `{word}`, which no content can have")));
            }
        };
        for (key, field) in content.members() {
            if !matches!(&*key, "role" | "parts") && !field.is_null() {
                self.call.extra.push((format!("contents.{}", camel(&key)), field.raw_json()));
            }
        }
        for (position, part) in content.get("parts").iter().flat_map(several).enumerate() {
            self.part(role, &part, format_args!("contents[{index}].parts[{position}]"))?;
        }
        self.flush(role);
        Ok(())
    }

    fn flush(&mut self, role: Role) {
        if !self.said.is_empty() {
            let content = std::mem::take(&mut self.said);
            self.call.items.push(Item::Message { role, content });
        }
    }

    fn part(&mut self, role: Role, part: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<(), BadInput> {
        let thought = member(part, "thought").and_then(|flag| flag.boolean()) == Some(true);
        match data(part) {
            Some((name, value)) if name == "functionCall" => {
                self.flush(role);
                self.tool_call(part, &value, path)
            }
            // Results come first in their message, whatever else is said in it.
            Some((name, value)) if name == "functionResponse" => self.tool_output(part, &value, path),
            Some((name, value)) if name == "text" && thought && role == Role::Assistant => {
                self.flush(role);
                let text = value.string().ok_or_else(|| BadInput::field(format_args!("{path}.text"), "a string"))?;
                self.call.items.push(Item::Reasoning(Reasoning { text: text.into_owned(), ..Reasoning::default() }));
                self.fields(part, "", &["text", "thought"]);
                Ok(())
            }
            Some(_) | None => said_part(&mut self.said, part, path),
        }
    }

    fn tool_call(&mut self, part: &View<'_>, value: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<(), BadInput> {
        let name = name(value).ok_or_else(|| BadInput::field(format_args!("{path}.functionCall.name"), "a string"))?;
        let given = given_id(value);
        let is_made = given.is_none();
        let id = given.unwrap_or_else(|| self.make_id());
        self.calls.push(Waiting { id: id.clone(), name: name.clone(), is_made });
        let arguments = member(value, "args").map_or("{}", |args| args.raw()).into();
        let signature = member(part, "thoughtSignature").and_then(|signature| signature.string());
        let signature = signature.map(Cow::into_owned);
        self.call.items.push(Item::ToolCall(ToolCall { id, name, arguments, signature }));
        self.fields(value, "functionCall.", &["id", "name", "args"]);
        self.fields(part, "", &["functionCall", "thoughtSignature"]);
        Ok(())
    }

    fn tool_output(
        &mut self,
        part: &View<'_>,
        value: &View<'_>,
        path: std::fmt::Arguments<'_>,
    ) -> Result<(), BadInput> {
        let (name, given) = (name(value), given_id(value));
        if name.is_none() && given.is_none() {
            return Err(BadInput::field(format_args!("{path}.functionResponse.name"), "a string"));
        }
        let call_id = self.answered(name.as_deref(), given.as_deref()).unwrap_or_else(|| self.make_id());
        let (mut content, is_error) = member(value, "response").as_ref().map_or((Vec::new(), false), response);
        for (index, seen) in member(value, "parts").iter().flat_map(several).enumerate() {
            said_part(&mut content, &seen, format_args!("{path}.functionResponse.parts[{index}]"))?;
        }
        self.call.items.push(Item::ToolOutput { call_id, content, is_error });
        self.fields(value, "functionResponse.", &["id", "name", "response", "parts"]);
        self.fields(part, "", &["functionResponse"]);
        Ok(())
    }

    /// The id of the call that a result answers. An id that no call has can only mean one that had none.
    fn answered(&mut self, name: Option<&str>, given: Option<&str>) -> Option<String> {
        let by_id = self.calls.iter().position(|call| given == Some(call.id.as_str()));
        let by_name = || {
            let named = |call: &Waiting| name.is_none_or(|name| name == call.name);
            self.calls.iter().position(|call| named(call) && (given.is_none() || call.is_made))
        };
        let place = by_id.or_else(by_name)?;
        Some(self.calls.remove(place).id)
    }

    fn make_id(&mut self) -> String {
        self.made += 1;
        format!("{MADE_FOR_GEMINI}call_{}", self.made)
    }

    /// Members without a canonical place, after the item they belong to.
    fn fields(&mut self, value: &View<'_>, prefix: &str, known: &[&str]) {
        for (key, field) in value.members() {
            let key = camel(&key);
            if !known.contains(&&*key) && !field.is_null() {
                self.call.items.push(Item::Field(format!("{prefix}{key}"), field.raw_json()));
            }
        }
    }
}

fn name(value: &View<'_>) -> Option<String> {
    value.get_string("name").map(Cow::into_owned).filter(|name| !name.is_empty())
}

fn given_id(value: &View<'_>) -> Option<String> {
    value.get_string("id").map(Cow::into_owned).filter(|id| !id.is_empty())
}

/// What a part is, by name.
fn data<'a>(part: &View<'a>) -> Option<(Cow<'a, str>, View<'a>)> {
    let mut members = part.members().filter(|(_, value)| !value.is_null()).map(|(key, value)| (camel(&key), value));
    members.find(|(key, _)| !MARKS.contains(&&**key))
}

/// A function's answer, which here is an object: a text alone under `output` or `error` is that text.
fn response(value: &View<'_>) -> (Vec<Part>, bool) {
    let mut members = value.members();
    if let (Some((key, inner)), None) = (members.next(), members.next())
        && let Some(text) = inner.text()
        && !text.as_str().trim_start().starts_with('{')
        && matches!(&*key, "output" | "error")
    {
        return (vec![Part::Text(text)], key == "error");
    }
    (vec![Part::Text(value.raw().into())], false)
}

/// A part of what is said.
fn said_part(said: &mut Vec<Part>, part: &View<'_>, path: std::fmt::Arguments<'_>) -> Result<(), BadInput> {
    if part.kind() != Kind::Object {
        return Err(BadInput::field(path, "an object"));
    }
    let Some((name, value)) = data(part) else {
        // A mark on nothing: Gemini ends streams in an empty part that bears the seal.
        let mark = part.members().next().map_or(Cow::Borrowed("part"), |(key, _)| camel(&key));
        said.push(Part::Opaque(mark.into_owned(), part.raw_json()));
        return Ok(());
    };
    let marks = || part.members().map(|(key, value)| (camel(&key), value)).filter(|(key, _)| *key != name);
    match &*name {
        "text" => {
            let text = value.text().ok_or_else(|| BadInput::field(format_args!("{path}.text"), "a string"))?;
            if let (true, Some((mark, _))) = (text.is_empty(), marks().next()) {
                said.push(Part::Opaque(mark.into_owned(), part.raw_json()));
                return Ok(());
            }
            said.push(Part::Text(text));
        }
        "inlineData" | "fileData" => match image(&name, &value) {
            Some((image, fields)) => {
                said.push(Part::Image(image));
                said.extend(fields);
            }
            None => {
                said.push(Part::Opaque(name.into_owned(), part.raw_json()));
                return Ok(());
            }
        },
        _ => {
            said.push(Part::Opaque(name.into_owned(), part.raw_json()));
            return Ok(());
        }
    }
    said.extend(marks().filter(|(_, value)| !value.is_null()).map(|(k, v)| Part::Field(k.into_owned(), v.raw_json())));
    Ok(())
}

/// An image by value or by address, and its other fields; one that is a file at Google is none that others could see.
fn image(name: &str, value: &View<'_>) -> Option<(Image, Vec<Part>)> {
    let mime = member(value, "mimeType").and_then(|mime| mime.string());
    let (image, known): (Image, &[&str]) = if name == "inlineData" {
        let media_type = mime.filter(|mime| mime.starts_with("image/"))?.into_owned();
        let data = member(value, "data")?.text()?;
        (Image::Base64 { media_type, data, detail: None }, &["mimeType", "data"])
    } else {
        let url = member(value, "fileUri")?.string()?.into_owned();
        let guessed = media::type_of(&url);
        if media::is_at_google(&url) || !mime.as_deref().or(guessed)?.starts_with("image/") {
            return None;
        }
        let usual = mime.is_none() || mime.as_deref() == guessed;
        (Image::Url { url, detail: None }, if usual { &["fileUri", "mimeType"] } else { &["fileUri"] })
    };
    let mut fields = Vec::new();
    for (key, field) in value.members() {
        let key = camel(&key);
        if !known.contains(&&*key) && !field.is_null() {
            fields.push(Part::Field(format!("{name}.{key}"), field.raw_json()));
        }
    }
    Some((image, fields))
}
