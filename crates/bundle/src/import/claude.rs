//! Claude's data export: the zip as it is downloaded, or the `conversations.json` out of it.
//!
//! ```text
//! [{"uuid": "…", "name": "…", "created_at": "2026-03-29T07:06:34.084721Z", "chat_messages": [
//!    {"uuid": "…", "sender": "human", "parent_message_uuid": "00000000-0000-4000-8000-000000000000", "text": "…",
//!     "content": [{"type": "text", "text": "Hello"}], "attachments": [], "files": []}]}]
//! ```
//!
//! Nobody publishes the format; this is what exports of 2024 to 2026 hold. A message of the assistant holds calls and results
//! alike; they become turns of the model and of the tool. Exports without `parent_message_uuid` are one line of messages.

use commonwatt_core::call::{Item, Part, Reasoning, Role, ToolCall};
use commonwatt_wire::turns;
use serde_json::Value;

use super::archive::conversations;
use super::grow::{Said, grow};
use super::json::{instant, list, name_others, says, text};
use super::loss::{Losses, shown};
use super::{BadImport, Imported, ImportedSession, Salts};
use crate::bundle::TurnState;

/// What a conversation holds that is read, or says nothing about what was said.
const KNOWN: [&str; 8] =
    ["uuid", "name", "created_at", "updated_at", "account", "chat_messages", "current_leaf_message_uuid", "model"];

/// Reads an export.
///
/// # Errors
/// [`BadImport`] when it is none, or too large.
pub fn read(bytes: &[u8], salts: &mut Salts<'_>) -> Result<Imported, BadImport> {
    conversations("Claude", "chat_messages", bytes, &mut |conversation, _, losses| session(conversation, salts, losses))
}

fn session(conversation: &Value, salts: &mut Salts<'_>, losses: &mut Losses) -> Option<ImportedSession> {
    let messages = conversation.get("chat_messages")?.as_array()?;
    let (title, source_id) = (text(conversation, "name"), text(conversation, "uuid"));
    losses.enter(title.or(source_id).unwrap_or("untitled"));
    name_others(conversation, &KNOWN, "a conversation", losses);
    let is_tree = messages.iter().any(|message| text(message, "parent_message_uuid").is_some());
    let model = text(conversation, "model");
    let mut said: Vec<Said> = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let key = text(message, "uuid").map_or_else(|| format!("message {at}"), str::to_owned);
        let parent = if is_tree {
            // The first message follows one whose id is all zeros, but for its version.
            let is_nobody = |parent: &&str| !parent.bytes().all(|byte| matches!(byte, b'0' | b'4' | b'8' | b'-'));
            text(message, "parent_message_uuid").filter(is_nobody).map(str::to_owned)
        } else {
            said.last().map(|said| said.key.clone())
        };
        said.push(Said {
            items: items(&key, message, losses),
            key,
            parent,
            made_ms: instant(message, "created_at"),
            model: text(message, "model").or(model).map(str::to_owned),
            state: if says(message, "truncated") { TurnState::Unfinished } else { TurnState::Complete },
        });
    }
    let salt = salts();
    let root = turns::root(&salt);
    let grown = grow(root, said, text(conversation, "current_leaf_message_uuid"), losses);
    Some(ImportedSession {
        source_id: source_id.map(str::to_owned),
        title: title.map(str::to_owned),
        created_ms: instant(conversation, "created_at"),
        updated_ms: instant(conversation, "updated_at"),
        salt,
        root,
        head: grown.head,
        turns: grown.turns,
    })
}

fn items(key: &str, message: &Value, losses: &mut Losses) -> Vec<Item> {
    for _ in list(message, "files") {
        losses.add("a file that was attached to a message: its bytes are not in the export");
    }
    let role = match text(message, "sender") {
        Some("human" | "user") => Role::User,
        Some("assistant") => Role::Assistant,
        other => {
            losses.add(format!(
                "the sender `{}`: what it said is a system message now",
                shown(other.unwrap_or_default())
            ));
            Role::System
        }
    };
    let mut items = Vec::new();
    let mut parts: Vec<Part> =
        list(message, "attachments").iter().filter_map(|value| attachment(value, losses)).collect();
    let mut last_call = None;
    for (at, block) in list(message, "content").iter().enumerate() {
        if let Some(words) = spoken(block, losses) {
            parts.push(Part::Text(words.into()));
            continue;
        }
        let Some(item) = item(&format!("{key}-{at}"), &mut last_call, block, losses) else { continue };
        flush(&mut items, role, &mut parts);
        items.push(item);
    }
    if items.is_empty() && !parts.iter().any(|part| matches!(part, Part::Text(_))) {
        parts.extend(text(message, "text").map(|words| Part::Text(words.into())));
    }
    flush(&mut items, role, &mut parts);
    items
}

fn flush(items: &mut Vec<Item>, role: Role, parts: &mut Vec<Part>) {
    if !parts.is_empty() {
        items.push(Item::Message { role, content: std::mem::take(parts) });
    }
}

/// A document whose text Claude took out of it.
fn attachment(value: &Value, losses: &mut Losses) -> Option<Part> {
    let Some(words) = text(value, "extracted_content") else {
        losses.add("an attachment without its text");
        return None;
    };
    Some(Part::Text(match text(value, "file_name") {
        Some(name) => format!("{name}:\n{words}").into(),
        None => words.into(),
    }))
}

/// What a block says in words.
fn spoken<'a>(block: &'a Value, losses: &mut Losses) -> Option<&'a str> {
    match text(block, "type")? {
        "text" => {
            if says(block, "citations") {
                losses.add("citations of a message");
            }
            text(block, "text")
        }
        "voice_note" => {
            if says(block, "title") {
                losses.add("the title of a voice note");
            }
            text(block, "text")
        }
        _ => None,
    }
}

fn item(key: &str, last_call: &mut Option<String>, block: &Value, losses: &mut Losses) -> Option<Item> {
    match text(block, "type").unwrap_or_default() {
        "text" | "voice_note" => None,
        "thinking" => thought(block, losses),
        "tool_use" => {
            let id = text(block, "id").unwrap_or(key).to_owned();
            let arguments = match block.get("input") {
                None | Some(Value::Null) => "{}".to_owned(),
                Some(input) => input.to_string(),
            };
            *last_call = Some(id.clone());
            let name = text(block, "name").unwrap_or("tool").to_owned();
            Some(Item::ToolCall(ToolCall { id, name, arguments: arguments.into(), signature: None }))
        }
        "tool_result" => {
            let Some(call_id) = text(block, "tool_use_id").map(str::to_owned).or_else(|| last_call.take()) else {
                losses.add("the result of a tool that nobody called");
                return None;
            };
            for member in ["structured_content", "display_content"] {
                if says(block, member) {
                    losses.add(format!("how Claude shows the result of a tool (`{member}`)"));
                }
            }
            let is_error = block.get("is_error").and_then(Value::as_bool) == Some(true);
            Some(Item::ToolOutput { call_id, content: result(block, losses), is_error })
        }
        other => {
            losses.add(format!("a block of the type `{}`", shown(other)));
            None
        }
    }
}

fn thought(block: &Value, losses: &mut Losses) -> Option<Item> {
    if says(block, "signature") {
        losses.add("the seal of a thought");
    }
    let summaries: Vec<&str> = list(block, "summaries").iter().filter_map(|value| text(value, "summary")).collect();
    if !summaries.is_empty() && text(block, "thinking").is_some() {
        losses.add("summaries of a thought that is there");
    }
    let words = text(block, "thinking").map_or_else(|| summaries.join("\n"), str::to_owned);
    (!words.is_empty()).then(|| Item::Reasoning(Reasoning { text: words, ..Reasoning::default() }))
}

fn result(block: &Value, losses: &mut Losses) -> Vec<Part> {
    if let Some(words) = text(block, "content") {
        return vec![Part::Text(words.into())];
    }
    let mut part = |value: &Value| match (text(value, "type"), text(value, "text")) {
        (Some("text"), Some(words)) => Some(Part::Text(words.into())),
        (kind, words) => {
            losses.add(format!("what a tool returned as `{}`, beside its text", shown(kind.unwrap_or_default())));
            words.map(|words| Part::Text(words.into()))
        }
    };
    list(block, "content").iter().filter_map(&mut part).collect()
}
