//! Reads Anthropic Messages answers, streamed and whole.

use commonwatt_core::answer::{Delta, Usage};
use commonwatt_core::fault::{Fault, FaultKind};

use super::{finish, unread, usage};
use crate::tape::{Kind, View};

#[derive(Debug, Default)]
pub(super) struct Reader {
    usage: Usage,
    /// Tool calls so far: the server's index of the block, and what is known of its arguments.
    tools: Vec<Tool>,
}

#[derive(Debug)]
struct Tool {
    block: u64,
    /// Arguments that stood in the block's start, for servers that send no deltas; empty once used.
    input: String,
}

/// Reads a whole answer.
pub(super) fn whole(root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    let Some(content) = root.get("content").filter(|content| content.kind() == Kind::Array) else {
        return Err(Fault::new(FaultKind::Malformed, "the answer has no `content`"));
    };
    let mut reader = Reader::default();
    reader.started(root, out);
    for (block, value) in (0..).zip(content.items()) {
        reader.block_started(block, &value, out);
        reader.block_ended(block, out);
    }
    reader.ended(root, out);
    Ok(())
}

impl Reader {
    /// Reads an event. True when it is the last.
    pub(super) fn event(&mut self, root: &View<'_>, out: &mut Vec<Delta>) -> Result<bool, Fault> {
        let Some(kind) = root.get_string("type") else {
            return Err(Fault::new(FaultKind::Malformed, "an event of the stream has no `type`"));
        };
        let block = root.get_whole("index").unwrap_or_default();
        match &*kind {
            "message_start" => {
                if let Some(message) = root.get("message") {
                    self.started(&message, out);
                }
            }
            "content_block_start" => {
                if let Some(value) = root.get("content_block") {
                    self.block_started(block, &value, out);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = root.get("delta") {
                    self.delta(block, &delta, out);
                }
            }
            "content_block_stop" => self.block_ended(block, out),
            "message_delta" => {
                unread::read(root, out);
                self.used(root, out);
                if let Some(delta) = root.get("delta") {
                    stopped(&delta, out);
                }
            }
            "message_stop" => return Ok(true),
            // `ping`, and whatever is invented next.
            _ => {}
        }
        Ok(false)
    }

    fn started(&mut self, message: &View<'_>, out: &mut Vec<Delta>) {
        let text = |name: &str| message.get_string(name).unwrap_or_default().into_owned();
        out.push(Delta::Started { id: text("id"), model: text("model") });
        unread::read(message, out);
        if message.get("stop_reason").is_none() {
            self.used(message, out);
        }
    }

    fn ended(&mut self, message: &View<'_>, out: &mut Vec<Delta>) {
        stopped(message, out);
        self.used(message, out);
    }

    fn used(&mut self, root: &View<'_>, out: &mut Vec<Delta>) {
        if let Some(usage) = root.get("usage") {
            self.usage = usage::from_anthropic(&usage, self.usage);
            out.push(Delta::Usage(self.usage));
        }
    }

    fn block_started(&mut self, block: u64, value: &View<'_>, out: &mut Vec<Delta>) {
        let text = |name: &str| value.get_string(name).unwrap_or_default().into_owned();
        match value.get_string("type").as_deref() {
            Some("text") => push(out, text("text"), Delta::Text),
            Some("thinking") => {
                push(out, text("thinking"), Delta::Reasoning);
                push(out, text("signature"), Delta::ReasoningSignature);
            }
            Some("redacted_thinking") => out.push(Delta::RedactedReasoning(text("data"))),
            Some("tool_use") => {
                let index = u32::try_from(self.tools.len()).unwrap_or(u32::MAX);
                out.push(Delta::ToolCallStarted { index, id: text("id"), name: text("name") });
                let input = value.get("input").map_or("{}", |input| input.raw()).to_owned();
                self.tools.push(Tool { block, input });
            }
            // What the provider runs itself is no concern of the caller's.
            Some(_) | None => {}
        }
    }

    fn delta(&mut self, block: u64, delta: &View<'_>, out: &mut Vec<Delta>) {
        let text = |name: &str| delta.get_string(name).unwrap_or_default().into_owned();
        match delta.get_string("type").as_deref() {
            Some("text_delta") => push(out, text("text"), Delta::Text),
            Some("thinking_delta") => push(out, text("thinking"), Delta::Reasoning),
            Some("signature_delta") => push(out, text("signature"), Delta::ReasoningSignature),
            Some("input_json_delta") => {
                let Some((index, tool)) = self.tool(block) else { return };
                let fragment = text("partial_json");
                if !fragment.is_empty() {
                    tool.input.clear();
                    out.push(Delta::ToolCallArguments { index, fragment });
                }
            }
            Some(_) | None => {}
        }
    }

    /// A call whose arguments came in no delta has those of its start: `{}` by the book, all of them off it.
    fn block_ended(&mut self, block: u64, out: &mut Vec<Delta>) {
        let Some((index, tool)) = self.tool(block) else { return };
        let fragment = std::mem::take(&mut tool.input);
        if !fragment.is_empty() {
            out.push(Delta::ToolCallArguments { index, fragment });
        }
    }

    fn tool(&mut self, block: u64) -> Option<(u32, &mut Tool)> {
        (0..).zip(self.tools.iter_mut()).find(|(_, tool)| tool.block == block)
    }
}

fn stopped(delta: &View<'_>, out: &mut Vec<Delta>) {
    if let Some(word) = delta.get_string("stop_reason") {
        let stop_string = delta.get_string("stop_sequence").map(std::borrow::Cow::into_owned);
        out.push(Delta::Finished(finish::from_anthropic(&word, stop_string)));
    }
}

fn push(out: &mut Vec<Delta>, text: String, delta: fn(String) -> Delta) {
    if !text.is_empty() {
        out.push(delta(text));
    }
}
