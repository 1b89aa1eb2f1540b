//! The items of an OpenAI Responses answer, and the response that holds them.

use commonwatt_core::answer::{Answer, Block, Finish, Usage};
use commonwatt_core::call::RawJson;
use commonwatt_core::refusal::Refusal;

use super::responses_echo::Echo;
use super::tool_calls::Braces;
use super::{Head, Standing, finish, usage};
use crate::emit::{Array, Object};
use crate::refusal;
use crate::tool_ids::{Shape, ToolIds};

/// How far an item has come, or a response, which may also stand in other ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    InProgress,
    Completed,
    Incomplete,
    Failed,
    Cancelled,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An item; its position is its index.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) status: Status,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Message(Vec<Part>),
    Reasoning { text: String, encrypted: Option<String> },
    Call(Call),
}

/// A tool call; `index` is its position among the tool calls.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) braces: Braces,
}

/// A part of a message.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) is_refusal: bool,
    pub(super) text: String,
    /// The insides of the lists of log probabilities.
    pub(super) logprobs: Vec<String>,
}

impl Part {
    pub(super) fn new(is_refusal: bool) -> Self {
        Self { is_refusal, ..Self::default() }
    }

    pub(super) fn write(&self, out: &mut Object<'_>) {
        if self.is_refusal {
            out.string("type", "refusal");
            out.string("refusal", &self.text);
            return;
        }
        out.string("type", "output_text");
        out.array("annotations").close();
        self.write_logprobs(out);
        out.string("text", &self.text);
    }

    pub(super) fn write_logprobs(&self, out: &mut Object<'_>) {
        let mut list = out.array("logprobs");
        self.logprobs.iter().for_each(|inside| list.raw(inside));
        list.close();
    }
}

/// What a list of log probabilities holds, in one line; none when it holds nothing.
pub(super) fn logprobs_inside(RawJson(list): &RawJson) -> Option<String> {
    let list = one_line(&String::from_utf8_lossy(list));
    let inside = list.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    (!inside.is_empty()).then(|| inside.to_owned())
}

/// JSON text without line breaks, which can only stand between its tokens.
pub(super) fn one_line(json: &str) -> String {
    json.chars().filter(|c| !matches!(c, '\n' | '\r')).collect()
}

impl Item {
    pub(super) fn new(stem: &str, index: usize, content: Content) -> Self {
        let prefix = match &content {
            Content::Message(_) => "msg",
            Content::Reasoning { .. } => "rs",
            Content::Call(_) => "fc",
        };
        Self { id: format!("{prefix}_{stem}_{index}"), status: Status::InProgress, content }
    }

    pub(super) fn write(&self, out: &mut Object<'_>) {
        out.string("id", &self.id);
        match &self.content {
            Content::Message(parts) => {
                out.string("type", "message");
                out.string("status", self.status.word());
                let mut content = out.array("content");
                for part in parts {
                    let mut object = content.object();
                    part.write(&mut object);
                    object.close();
                }
                content.close();
                out.string("role", "assistant");
            }
            Content::Reasoning { text, encrypted } => {
                out.string("type", "reasoning");
                let mut summary = out.array("summary");
                if !text.is_empty() {
                    let mut object = summary.object();
                    summary_part(&mut object, text);
                    object.close();
                }
                summary.close();
                if let Some(encrypted) = encrypted {
                    out.string("encrypted_content", encrypted);
                }
            }
            Content::Call(call) => {
                out.string("type", "function_call");
                out.string("status", self.status.word());
                out.string("arguments", &call.arguments);
                out.string("call_id", &call.id);
                out.string("name", &call.name);
            }
        }
    }
}

pub(super) fn summary_part(out: &mut Object<'_>, text: &str) {
    out.string("type", "summary_text");
    out.string("text", text);
}

/// What a response says of how it ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) status: Status,
    reason: Option<&'static str>,
    usage: Option<Usage>,
    error: Option<Refusal>,
}

impl End {
    pub(super) const NOT_YET: Self = Self::at(Status::InProgress);

    const fn at(status: Status) -> Self {
        Self { status, reason: None, usage: None, error: None }
    }

    /// How a response stands that is made without its caller.
    pub(super) fn standing(standing: &Standing, usage: Option<Usage>) -> Self {
        match standing {
            Standing::Queued => Self::at(Status::Queued),
            Standing::InProgress => Self::NOT_YET,
            Standing::Failed(refusal) => Self { usage, error: Some(refusal.clone()), ..Self::at(Status::Failed) },
            Standing::Cancelled => Self { usage, ..Self::at(Status::Cancelled) },
        }
    }

    pub(super) fn new(finish: &Finish, items: &[Item], usage: Option<Usage>) -> Self {
        let refused = items.iter().any(|item| match &item.content {
            Content::Message(parts) => parts.iter().any(|part| part.is_refusal),
            Content::Reasoning { .. } | Content::Call(_) => false,
        });
        // A model that says that it refuses has completed its answer.
        let reason = finish::to_responses(finish).filter(|_| !(refused && *finish == Finish::Refusal));
        let status = if reason.is_some() { Status::Incomplete } else { Status::Completed };
        Self { reason, usage, ..Self::at(status) }
    }
}

/// Writes the response: what it says of itself, the caller's own settings, and the items. This crate knows no clock, so
/// when it was completed is not told.
pub(super) fn response(out: &mut Object<'_>, (head, echo): (&Head, &Echo), items: &[Item], end: &End) {
    out.string("id", &head.id);
    out.string("object", "response");
    out.whole("created_at", head.created_unix_s);
    out.string("status", end.status.word());
    out.null("completed_at");
    out.boolean("background", head.keeping.background);
    match &end.error {
        Some(refusal) => {
            let mut error = out.object("error");
            error.string("code", refusal::response_error(refusal.kind));
            error.string("message", &refusal.message);
            error.close();
        }
        None => out.null("error"),
    }
    match end.reason {
        Some(reason) => {
            let mut details = out.object("incomplete_details");
            details.string("reason", reason);
            details.close();
        }
        None => out.null("incomplete_details"),
    }
    out.string("model", &head.model);
    out.raw("previous_response_id", echo.previous());
    match &head.keeping.conversation {
        Some(id) => {
            let mut conversation = out.object("conversation");
            conversation.string("id", id);
            conversation.close();
        }
        None => out.null("conversation"),
    }
    echo.write(out);
    let mut output = Array::open(out.key("output"));
    for item in items {
        let mut object = output.object();
        item.write(&mut object);
        object.close();
    }
    output.close();
    match &end.usage {
        Some(used) => usage::to_responses(used, out),
        None => out.null("usage"),
    }
}

/// The items of a whole answer.
pub(super) fn of_answer(answer: &Answer, stem: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut ids = ToolIds::new(Shape::Forty);
    let mut calls = 0;
    for block in &answer.blocks {
        let content = match block {
            Block::Text(text) | Block::Refusal(text) => {
                let part = Part { text: text.clone(), ..Part::new(matches!(block, Block::Refusal(_))) };
                if let Some(Item { content: Content::Message(parts), .. }) = items.last_mut() {
                    parts.push(part);
                    continue;
                }
                Content::Message(vec![part])
            }
            // What another provider sealed whole has no place here.
            Block::Reasoning(reasoning) if reasoning.redacted.is_some() => continue,
            Block::Reasoning(reasoning) => {
                Content::Reasoning { text: reasoning.text.clone(), encrypted: reasoning.encrypted.clone() }
            }
            Block::ToolCall(call) => {
                let arguments = if call.arguments.is_empty() { "{}".to_owned() } else { call.arguments.clone() };
                let (id, name, braces) = (ids.give(&call.id), call.name.clone(), Braces::default());
                calls += 1;
                Content::Call(Call { index: calls - 1, id, name, arguments, braces })
            }
            Block::Opaque(..) => continue,
        };
        items.push(Item { status: Status::Completed, ..Item::new(stem, items.len(), content) });
    }
    give_logprobs(answer, &mut items);
    items
}

/// The lists of all deltas belong to the text.
fn give_logprobs(answer: &Answer, items: &mut [Item]) {
    let text = items.iter_mut().find_map(|item| match &mut item.content {
        Content::Message(parts) => parts.iter_mut().find(|part| !part.is_refusal),
        Content::Reasoning { .. } | Content::Call(_) => None,
    });
    if let Some(text) = text {
        text.logprobs = answer.logprobs.iter().filter_map(logprobs_inside).collect();
    }
}
