//! ChatGPT's data export: the zip as it is downloaded, or a `conversations.json` (`conversations-000.json` …) out of it.
//!
//! ```text
//! [{"title": "…", "create_time": 1.5, "current_node": "b", "mapping": {
//!    "a": {"id": "a", "parent": null, "children": ["b"], "message": null},
//!    "b": {"id": "b", "parent": "a", "children": [], "message": {"author": {"role": "user"}, "recipient": "all",
//!          "content": {"content_type": "text", "parts": ["Hello"]}, "weight": 1.0, "metadata": {}}}}}]
//! ```
//!
//! Nobody publishes the format; this is what exports of 2023 to 2026 hold. What is written to a tool is a call, with a tool's
//! next message as its output. A tool's message that answers no call is what the application put into the conversation, hence
//! a system message: no provider takes an output without its call.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use commonwatt_core::call::{Image, Item, Part, Reasoning, Role, ToolCall};
use commonwatt_wire::turns;
use serde_json::{Value, json};

use super::archive::{Export, conversations};
use super::grow::{Said, grow};
use super::json::{list, name_others, says, seconds, text};
use super::loss::{Losses, shown};
use super::{BadImport, Imported, ImportedSession, Salts};
use crate::bundle::TurnState;

/// Messages that are looked through for the call that a tool's message answers.
const CALL_DISTANCE_MAX: usize = 64;

/// What a conversation holds that is read, or says nothing about what was said.
const KNOWN: [&str; 7] = ["id", "conversation_id", "title", "create_time", "update_time", "mapping", "current_node"];

/// Reads an export.
///
/// # Errors
/// [`BadImport`] when it is none, or too large.
pub fn read(bytes: &[u8], salts: &mut Salts<'_>) -> Result<Imported, BadImport> {
    conversations("ChatGPT", "mapping", bytes, &mut |conversation, export, losses| {
        session(conversation, export, salts, losses)
    })
}

fn session(
    conversation: &Value,
    export: &mut Export<'_>,
    salts: &mut Salts<'_>,
    losses: &mut Losses,
) -> Option<ImportedSession> {
    let mapping = conversation.get("mapping")?.as_object()?;
    let title = text(conversation, "title");
    let source_id = text(conversation, "conversation_id").or_else(|| text(conversation, "id"));
    losses.enter(title.or(source_id).unwrap_or("untitled"));
    name_others(conversation, &KNOWN, "a conversation", losses);
    let nodes: HashMap<&str, &Value> = mapping.iter().map(|(key, node)| (key.as_str(), node)).collect();
    let mut said: Vec<Said> = Vec::with_capacity(mapping.len());
    for (key, node) in mapping {
        let message = node.get("message").filter(|message| message.is_object());
        let items = message.map(|message| items(key, message, &nodes, export, losses)).unwrap_or_default();
        said.push(Said {
            key: key.clone(),
            parent: text(node, "parent").map(str::to_owned),
            items,
            made_ms: message.and_then(|message| seconds(message, "create_time")),
            model: message.and_then(|message| text(message.get("metadata")?, "model_slug")).map(str::to_owned),
            state: message.map_or(TurnState::Complete, state),
        });
    }
    let salt = salts();
    let root = turns::root(&salt);
    let grown = grow(root, said, text(conversation, "current_node"), losses);
    Some(ImportedSession {
        source_id: source_id.map(str::to_owned),
        title: title.map(str::to_owned),
        created_ms: seconds(conversation, "create_time"),
        updated_ms: seconds(conversation, "update_time"),
        salt,
        root,
        head: grown.head,
        turns: grown.turns,
    })
}

fn state(message: &Value) -> TurnState {
    match text(message, "status") {
        None | Some("finished_successfully") => TurnState::Complete,
        Some(_) => TurnState::Unfinished,
    }
}

/// The tool to which a message is written.
fn recipient(message: &Value) -> Option<&str> {
    text(message, "recipient").filter(|recipient| *recipient != "all")
}

fn role(message: &Value) -> Option<&str> {
    text(message.get("author")?, "role")
}

fn items(
    key: &str,
    message: &Value,
    nodes: &HashMap<&str, &Value>,
    export: &mut Export<'_>,
    losses: &mut Losses,
) -> Vec<Item> {
    let Some(content) = message.get("content").filter(|content| content.is_object()) else {
        if says(message, "content") {
            losses.add("a message whose content has an unknown shape");
        }
        return Vec::new();
    };
    if let Some(metadata) = message.get("metadata") {
        name_metadata(metadata, losses);
    }
    if let Some("thoughts" | "reasoning_recap") = text(content, "content_type") {
        return reasoning(content, losses).into_iter().collect();
    }
    let parts = parts(content, export, losses);
    if parts.is_empty() {
        return Vec::new();
    }
    if message.get("weight").and_then(Value::as_f64) == Some(0.0) {
        losses.add("the mark that a message was hidden");
    }
    let said = |role, content| vec![Item::Message { role, content }];
    match (role(message), recipient(message)) {
        (Some("assistant"), Some(tool)) => vec![call(key, tool, content, &parts, losses)],
        (Some("assistant"), None) => {
            if text(content, "language").is_some_and(|language| language != "unknown") {
                losses.add("in which language a piece of code is");
            }
            said(Role::Assistant, parts)
        }
        (Some("user"), _) => said(Role::User, parts),
        (Some("tool"), _) => match answered(key, nodes) {
            Some(call_id) => {
                let is_error = text(content, "content_type") == Some("system_error");
                vec![Item::ToolOutput { call_id, content: parts, is_error }]
            }
            None => {
                losses.add("which tool a message came from that answers no call: it is a system message now");
                said(Role::System, parts)
            }
        },
        (Some("system"), _) => said(Role::System, parts),
        (other, _) => {
            losses
                .add(format!("the role `{}`: what it said is a system message now", shown(other.unwrap_or_default())));
            said(Role::System, parts)
        }
    }
}

fn name_metadata(metadata: &Value, losses: &mut Losses) {
    for attachment in list(metadata, "attachments") {
        let is_image = text(attachment, "mime_type").is_some_and(|mime| mime.starts_with("image/"));
        if !is_image {
            losses.add("a file that was attached to a message");
        }
    }
    for (member, what) in [
        ("citations", "citations of a message"),
        ("content_references", "references of a message to what it quotes"),
        ("aggregate_result", "the record of a code run beside its output"),
        ("canvas", "a canvas document"),
    ] {
        if says(metadata, member) {
            losses.add(what);
        }
    }
    let known = ["attachments", "citations", "content_references", "aggregate_result", "canvas", "model_slug"];
    let has_more =
        metadata.as_object().is_some_and(|members| members.keys().any(|name| !known.contains(&name.as_str())));
    if has_more {
        losses.add("marks of a message for ChatGPT's own use (`metadata`)");
    }
}

fn reasoning(content: &Value, losses: &mut Losses) -> Option<Item> {
    if text(content, "content_type") == Some("reasoning_recap") {
        losses.add("how long the model says that it thought (`reasoning_recap`)");
        return None;
    }
    let thought = |thought: &Value| {
        let lines: Vec<&str> = ["summary", "content"].iter().filter_map(|name| text(thought, name)).collect();
        lines.join("\n")
    };
    let thoughts: Vec<String> = list(content, "thoughts").iter().map(thought).filter(|text| !text.is_empty()).collect();
    let text = thoughts.join("\n\n");
    (!text.is_empty()).then(|| Item::Reasoning(Reasoning { text, ..Reasoning::default() }))
}

/// What is written to a tool, as a call with the id of its message.
fn call(key: &str, tool: &str, content: &Value, parts: &[Part], losses: &mut Losses) -> Item {
    let words: Vec<String> = parts.iter().filter_map(words).collect();
    if words.len() < parts.len() {
        losses.add("an image that was given to a tool");
    }
    let input = words.join("\n");
    let is_object = serde_json::from_str::<Value>(&input).is_ok_and(|value| value.is_object());
    let language = text(content, "language").filter(|language| *language != "unknown");
    let arguments = match language {
        _ if is_object => input,
        Some(language) => json!({"input": input, "language": language}).to_string(),
        None => json!({"input": input}).to_string(),
    };
    Item::ToolCall(ToolCall { id: key.to_owned(), name: tool.to_owned(), arguments: arguments.into(), signature: None })
}

fn words(part: &Part) -> Option<String> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(text.as_str().into_owned()),
        Part::Image(_) | Part::Opaque(..) | Part::Field(..) => None,
    }
}

/// The nearest call before a tool's message that no other tool's message between them answers.
fn answered(key: &str, nodes: &HashMap<&str, &Value>) -> Option<String> {
    let mut answers = 0_usize;
    let mut key = key;
    for _ in 0..CALL_DISTANCE_MAX {
        key = text(nodes.get(key)?, "parent")?;
        let Some(message) = nodes.get(key)?.get("message") else { continue };
        match (role(message), recipient(message)) {
            (Some("tool"), _) => answers += 1,
            (Some("assistant"), Some(_)) if answers == 0 => return Some(key.to_owned()),
            (Some("assistant"), Some(_)) => answers -= 1,
            (Some("user"), _) => return None,
            _ => {}
        }
    }
    None
}

fn parts(content: &Value, export: &mut Export<'_>, losses: &mut Losses) -> Vec<Part> {
    let kind = text(content, "content_type").unwrap_or("text");
    let told = |names: &[&str]| {
        let lines: Vec<&str> = names.iter().filter_map(|name| text(content, name)).collect();
        if lines.is_empty() { Vec::new() } else { vec![Part::Text(lines.join("\n").as_str().into())] }
    };
    match kind {
        "text" | "multimodal_text" => {
            list(content, "parts").iter().filter_map(|value| part(value, export, losses)).collect()
        }
        "code" | "execution_output" | "system_error" => told(&["name", "text"]),
        "tether_quote" | "sonic_webpage" => told(&["title", "url", "text"]),
        "tether_browsing_display" => {
            if says(content, "assets") {
                losses.add("the pictures of a search");
            }
            told(&["summary", "result"])
        }
        "user_editable_context" => told(&["user_profile", "user_instructions"]),
        "model_editable_context" => told(&["model_set_context"]),
        "computer_output" => {
            let screenshot = content.get("screenshot").and_then(|pointer| part(pointer, export, losses));
            told(&["text"]).into_iter().chain(screenshot).collect()
        }
        other => {
            losses.add(format!("what content of the type `{}` holds beside its text", shown(other)));
            let mut parts = told(&["title", "text", "result", "content"]);
            parts.extend(list(content, "parts").iter().filter_map(|value| part(value, export, losses)));
            parts
        }
    }
}

fn part(value: &Value, export: &mut Export<'_>, losses: &mut Losses) -> Option<Part> {
    if let Some(words) = value.as_str() {
        return (!words.is_empty()).then(|| Part::Text(words.into()));
    }
    let kind = text(value, "content_type").unwrap_or_default();
    if kind == "image_asset_pointer" {
        let pointer = text(value, "asset_pointer").unwrap_or_default();
        let id = pointer.rsplit("://").next().filter(|id| !id.is_empty());
        let Some((media_type, bytes)) = id.and_then(|id| export.image(id)) else {
            losses.add("an image whose bytes are not in the export or too large");
            return None;
        };
        let data = STANDARD.encode(&bytes).into();
        return Some(Part::Image(Image::Base64 { media_type: media_type.to_owned(), data, detail: None }));
    }
    let words = text(value, "text");
    if kind != "audio_transcription" || words.is_none() {
        losses.add(format!("a part of the type `{}`", shown(kind)));
    }
    words.map(|words| Part::Text(words.into()))
}
