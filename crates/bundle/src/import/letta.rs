//! Letta's agent file (`.af`), as written since mid-2025.
//!
//! ```text
//! {"agents": [{"id": "agent-0", "name": "…", "system": "…", "block_ids": ["block-0"], "messages": [
//!    {"id": "message-0", "role": "user", "content": [{"type": "text", "text": "Hello"}], "created_at": "…"}]}],
//!  "groups": [], "blocks": [{"id": "block-0", "label": "human", "value": "…"}], "files": [], "sources": [], "tools": [],
//!  "mcp_servers": []}
//! ```
//!
//! The schema is `letta/schemas/agent_file.py` of letta-ai/letta. Each agent becomes a session: one line of messages, for there
//! are no branches. Its memory blocks are named, not carried: they are memory, and no part of what was said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use commonwatt_core::call::{Image, Item, Part, Reasoning, Role, ToolCall};
use commonwatt_wire::turns;
use serde_json::Value;

use super::grow::{Said, grow};
use super::json::{instant, list, name_others, says, text};
use super::loss::{Losses, shown};
use super::{BadImport, EXPORT_BYTES_MAX, Imported, ImportedSession, Salts};
use crate::bundle::TurnState;

/// What an agent holds that is read, or that only points at what is named elsewhere.
const KNOWN: [&str; 9] =
    ["id", "name", "system", "messages", "block_ids", "tool_ids", "source_ids", "group_ids", "memory_blocks"];

/// What a message holds that is read, or says nothing about what was said.
const KNOWN_OF_MESSAGE: [&str; 12] = [
    "id",
    "type",
    "role",
    "content",
    "model",
    "agent_id",
    "tool_calls",
    "tool_call_id",
    "tool_returns",
    "created_at",
    "otid",
    "group_id",
];

/// Reads an agent file.
///
/// # Errors
/// [`BadImport`] when it is none, or too large.
pub fn read(bytes: &[u8], salts: &mut Salts<'_>) -> Result<Imported, BadImport> {
    let not_this = |why: &str| BadImport::NotThis("Letta", why.to_owned());
    if bytes.len() as u64 > EXPORT_BYTES_MAX {
        return Err(BadImport::TooLarge);
    }
    let file: Value = serde_json::from_slice(bytes).map_err(|_| not_this("no JSON"))?;
    let Some(agents) = file.get("agents").and_then(Value::as_array) else {
        let is_old = file.get("core_memory").is_some();
        return Err(not_this(if is_old { "an agent file from before mid-2025" } else { "it has no `agents`" }));
    };
    let mut losses = Losses::default();
    let sessions = agents.iter().map(|agent| session(agent, salts, &mut losses)).collect();
    losses.enter("");
    name_the_rest(&file, &mut losses);
    Ok(Imported { sessions, skipped: losses.told() })
}

/// Names what a file holds beside its agents.
fn name_the_rest(file: &Value, losses: &mut Losses) {
    for block in list(file, "blocks") {
        losses.add(format!("the memory block `{}`", shown(text(block, "label").unwrap_or_default())));
    }
    for tool in list(file, "tools") {
        losses.add(format!("the tool `{}`", shown(text(tool, "name").unwrap_or_default())));
    }
    for (member, what) in [
        ("files", "a file of the agent's library"),
        ("sources", "a source of the agent's library"),
        ("groups", "a group of agents"),
        ("mcp_servers", "an MCP server"),
        ("skills", "a skill"),
    ] {
        for _ in list(file, member) {
            losses.add(what);
        }
    }
}

fn session(agent: &Value, salts: &mut Salts<'_>, losses: &mut Losses) -> ImportedSession {
    let title = text(agent, "name");
    losses.enter(title.unwrap_or("unnamed"));
    name_others(agent, &KNOWN, "an agent, which may be a setting or a secret", losses);
    let messages = list(agent, "messages");
    let mut said: Vec<Said> = Vec::with_capacity(messages.len() + 1);
    // The agent's instructions stand in its first message, as they were at that time; else here.
    if messages.first().and_then(|message| text(message, "role")) != Some("system") {
        let content: Vec<Part> = text(agent, "system").map(|words| Part::Text(words.into())).into_iter().collect();
        said.push(line(&said, "instructions", message(Role::System, content)));
    }
    for (at, message) in messages.iter().enumerate() {
        let key = format!("message {at}");
        let mut next = line(&said, &key, items(message, losses));
        next.made_ms = instant(message, "created_at");
        next.model = text(message, "model").map(str::to_owned);
        said.push(next);
    }
    let salt = salts();
    let root = turns::root(&salt);
    let grown = grow(root, said, None, losses);
    ImportedSession {
        source_id: text(agent, "id").map(str::to_owned),
        title: title.map(str::to_owned),
        created_ms: messages.first().and_then(|message| instant(message, "created_at")),
        updated_ms: messages.last().and_then(|message| instant(message, "created_at")),
        salt,
        root,
        head: grown.head,
        turns: grown.turns,
    }
}

/// A message after the last one.
fn line(before: &[Said], key: &str, items: Vec<Item>) -> Said {
    let parent = before.last().map(|said| said.key.clone());
    Said { key: key.to_owned(), parent, items, made_ms: None, model: None, state: TurnState::Complete }
}

fn message(role: Role, content: Vec<Part>) -> Vec<Item> {
    if content.is_empty() { Vec::new() } else { vec![Item::Message { role, content }] }
}

fn items(message: &Value, losses: &mut Losses) -> Vec<Item> {
    name_others(message, &KNOWN_OF_MESSAGE, "a message", losses);
    match text(message, "role").unwrap_or_default() {
        "user" => self::message(Role::User, words(message, losses)),
        "system" => self::message(Role::System, words(message, losses)),
        "assistant" => assistant(message, losses),
        // A call that waits for a person to approve it.
        "approval" => assistant(message, losses),
        "tool" | "function" => tool(message, losses),
        other => {
            losses.add(format!("the role `{}`: what it said is a system message now", shown(other)));
            self::message(Role::System, words(message, losses))
        }
    }
}

/// The content as a list: a text alone is a list of one.
fn content(message: &Value) -> Vec<Value> {
    match text(message, "content") {
        Some(words) => vec![serde_json::json!({"type": "text", "text": words})],
        None => list(message, "content").to_vec(),
    }
}

/// The parts of a message that is no model's.
fn words(message: &Value, losses: &mut Losses) -> Vec<Part> {
    content(message).iter().filter_map(|block| part(block, losses)).collect()
}

fn part(block: &Value, losses: &mut Losses) -> Option<Part> {
    match text(block, "type").unwrap_or_default() {
        "text" => text(block, "text").map(|words| Part::Text(words.into())),
        "image" => {
            let image = block.get("source").and_then(image);
            if image.is_none() {
                losses.add("an image whose bytes are not in the file");
            }
            image.map(Part::Image)
        }
        other => {
            losses.add(format!("content of the type `{}`", shown(other)));
            None
        }
    }
}

fn image(source: &Value) -> Option<Image> {
    let detail = text(source, "detail").map(str::to_owned);
    if let Some(url) = text(source, "url") {
        return Some(Image::Url { url: url.to_owned(), detail });
    }
    let data = text(source, "data").filter(|data| STANDARD.decode(data).is_ok())?;
    Some(Image::Base64 { media_type: text(source, "media_type")?.to_owned(), data: data.into(), detail })
}

fn assistant(message: &Value, losses: &mut Losses) -> Vec<Item> {
    let mut items = Vec::new();
    let mut called = Vec::new();
    for block in content(message) {
        match text(&block, "type").unwrap_or_default() {
            "reasoning" => {
                if says(&block, "signature") {
                    losses.add("the seal of a thought");
                }
                let words = text(&block, "reasoning").or_else(|| text(&block, "summary"));
                let thought = |words: &str| Reasoning { text: words.to_owned(), ..Reasoning::default() };
                items.extend(words.map(|words| Item::Reasoning(thought(words))));
            }
            "redacted_reasoning" | "omitted_reasoning" => losses.add("a thought that its author keeps sealed"),
            "tool_call" => {
                let id = text(&block, "id").unwrap_or_default().to_owned();
                called.push(id.clone());
                let arguments = block.get("input").map_or("{}".to_owned(), Value::to_string).into();
                let name = text(&block, "name").unwrap_or_default().to_owned();
                items.push(Item::ToolCall(ToolCall { id, name, arguments, signature: None }));
            }
            _ => {
                if let Some(part) = part(&block, losses) {
                    items.push(Item::Message { role: Role::Assistant, content: vec![part] });
                }
            }
        }
    }
    for call in list(message, "tool_calls") {
        let id = text(call, "id").unwrap_or_default().to_owned();
        // Newer files have a call in the content, too.
        if called.contains(&id) {
            continue;
        }
        let function = call.get("function").unwrap_or(call);
        let name = text(function, "name").unwrap_or_default().to_owned();
        let arguments = text(function, "arguments").unwrap_or("{}").into();
        items.push(Item::ToolCall(ToolCall { id, name, arguments, signature: None }));
    }
    items
}

/// What functions returned: the content says it, or where there are several returns, each of them.
fn tool(message: &Value, losses: &mut Losses) -> Vec<Item> {
    let returns = list(message, "tool_returns");
    for returned in returns {
        for member in ["stdout", "stderr"].iter().filter(|member| says(returned, member)) {
            losses.add(format!("what a tool wrote to {member}"));
        }
    }
    let blocks = content(message);
    if returns.len() > 1 {
        let pairs = returns.iter().enumerate().map(|(at, returned)| (returned, blocks.get(at)));
        return pairs.filter_map(|(returned, block)| returned_item(message, returned, block, losses)).collect();
    }
    let mut is_error = returns.first().and_then(|returned| text(returned, "status")) == Some("error");
    let mut parts = Vec::new();
    for block in &blocks {
        match text(block, "type") {
            Some("tool_return") => {
                is_error |= says(block, "is_error");
                parts.extend(text(block, "content").map(|words| Part::Text(words.into())));
            }
            _ => parts.extend(part(block, losses)),
        }
    }
    let call_id = text(message, "tool_call_id").or_else(|| text(returns.first()?, "tool_call_id"));
    match call_id {
        Some(call_id) => vec![Item::ToolOutput { call_id: call_id.to_owned(), content: parts, is_error }],
        None => {
            losses.add("which call a result answers: it is a system message now");
            self::message(Role::System, parts)
        }
    }
}

/// One of several returns: what it says itself, or the content at its place.
fn returned_item(message: &Value, returned: &Value, block: Option<&Value>, losses: &mut Losses) -> Option<Item> {
    let Some(call_id) = text(returned, "tool_call_id").or_else(|| text(message, "tool_call_id")) else {
        losses.add("a result without its call");
        return None;
    };
    let words = text(returned, "func_response").map(|words| Part::Text(words.into()));
    let said = words.or_else(|| part(block?, losses));
    let is_error = text(returned, "status") == Some("error");
    Some(Item::ToolOutput { call_id: call_id.to_owned(), content: said.into_iter().collect(), is_error })
}
