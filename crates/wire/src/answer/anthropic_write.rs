//! Writes Anthropic Messages answers, streamed and whole.
//!
//! In a stream, blocks come one after the other: one opens when the one before it is closed. Other dialects interleave
//! the arguments of parallel tool calls, so what belongs to a later block waits until the open one is complete.

use commonwatt_core::answer::{Answer, Block, Delta, Finish, Usage};

use super::tool_calls::Braces;
use super::{Head, finish, prefixed, usage};
use crate::emit::Object;
use crate::tape::{Kind, Tape};
use crate::tool_ids::{Shape, ToolIds};

#[derive(Debug)]
pub(super) struct Writer {
    head: Head,
    begun: bool,
    open: Option<Open>,
    /// Index of the next block.
    next: u64,
    /// What cannot be written yet, in the order of the blocks.
    waiting: Vec<Delta>,
    ids: ToolIds,
    finish: Option<Finish>,
    refused: bool,
    usage: Usage,
}

/// The block that is open.
#[derive(Debug)]
enum Open {
    Text,
    Thinking,
    Tool { index: u32, braces: Braces },
}

impl Writer {
    pub(super) fn new(mut head: Head) -> Self {
        head.id = prefixed("msg_", &head.id);
        Self {
            head,
            begun: false,
            open: None,
            next: 0,
            waiting: Vec::new(),
            ids: ToolIds::new(Shape::Word),
            finish: None,
            refused: false,
            usage: Usage::default(),
        }
    }

    pub(super) fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            // The start is written with the first content, so that it can tell the prompt's tokens.
            Delta::Started { .. } | Delta::Logprobs(_) | Delta::Unread(_) => {}
            // Other dialects' seals and blocks have no place in this one.
            Delta::EncryptedReasoning { .. } | Delta::ToolCallSignature { .. } | Delta::Opaque(..) => {}
            Delta::Finished(finish) => self.finish = Some(finish.clone()),
            Delta::Usage(usage) => self.usage = *usage,
            Delta::ToolCallArguments { index, fragment } => self.arguments(*index, fragment, out),
            Delta::Text(_)
            | Delta::Refusal(_)
            | Delta::Reasoning(_)
            | Delta::ReasoningSignature(_)
            | Delta::RedactedReasoning(_)
            | Delta::ToolCallStarted { .. } => {
                self.refused |= matches!(delta, Delta::Refusal(_));
                if self.waiting.is_empty() && !self.is_growing() {
                    self.emit(delta, out);
                } else {
                    self.waiting.push(delta.clone());
                    self.advance(out);
                }
            }
        }
    }

    /// False when there is no reason to end with.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(finish) = self.finish.take() else { return false };
        for waiting in std::mem::take(&mut self.waiting) {
            self.emit(&waiting, out);
        }
        self.begin(out);
        self.close(out);
        let finish = if self.refused && finish == Finish::Stop { Finish::Refusal } else { finish };
        event(out, "message_delta", |body| {
            let mut delta = body.object("delta");
            stop_reason(&mut delta, Some(&finish));
            delta.close();
            usage::to_anthropic(&self.usage, body);
        });
        event(out, "message_stop", |_| {});
        true
    }

    /// Arguments go to the open block if they are its own, else behind whatever waits of their call.
    fn arguments(&mut self, index: u32, fragment: &str, out: &mut Vec<u8>) {
        if matches!(&self.open, Some(Open::Tool { index: open, .. }) if *open == index) {
            self.input(fragment, out);
            self.advance(out);
            return;
        }
        let own = self.waiting.iter().rposition(|delta| match delta {
            Delta::ToolCallStarted { index: waits, .. } | Delta::ToolCallArguments { index: waits, .. } => {
                *waits == index
            }
            Delta::Started { .. }
            | Delta::Text(_)
            | Delta::Reasoning(_)
            | Delta::ReasoningSignature(_)
            | Delta::RedactedReasoning(_)
            | Delta::EncryptedReasoning { .. }
            | Delta::ToolCallSignature { .. }
            | Delta::Opaque(..)
            | Delta::Refusal(_)
            | Delta::Logprobs(_)
            | Delta::Unread(_)
            | Delta::Finished(_)
            | Delta::Usage(_) => false,
        });
        if let Some(own) = own {
            self.waiting.insert(own + 1, Delta::ToolCallArguments { index, fragment: fragment.to_owned() });
        }
    }

    /// Whether the open block is a tool call that is not complete: it may still grow.
    fn is_growing(&self) -> bool {
        matches!(&self.open, Some(Open::Tool { braces, .. }) if !braces.closed())
    }

    /// Writes what waits, as far as the open block lets it.
    fn advance(&mut self, out: &mut Vec<u8>) {
        let mut written = 0;
        let waiting = std::mem::take(&mut self.waiting);
        for delta in &waiting {
            let own = matches!(delta, Delta::ToolCallArguments { .. });
            if self.is_growing() && !own {
                break;
            }
            self.emit(delta, out);
            written += 1;
        }
        self.waiting = waiting;
        self.waiting.drain(..written);
    }

    fn emit(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                if !matches!(self.open, Some(Open::Text)) {
                    self.block(Open::Text, out, |block| {
                        block.string("type", "text");
                        block.string("text", "");
                    });
                }
                self.delta("text_delta", "text", text, out);
            }
            Delta::Reasoning(text) => {
                self.thinking(out);
                self.delta("thinking_delta", "thinking", text, out);
            }
            Delta::ReasoningSignature(signature) => {
                self.thinking(out);
                self.delta("signature_delta", "signature", signature, out);
                self.close(out);
            }
            Delta::RedactedReasoning(data) => {
                self.block(Open::Thinking, out, |block| {
                    block.string("type", "redacted_thinking");
                    block.string("data", data);
                });
                self.close(out);
            }
            Delta::ToolCallStarted { index, id, name } => {
                let id = self.ids.give(id);
                self.block(Open::Tool { index: *index, braces: Braces::default() }, out, |block| {
                    block.string("type", "tool_use");
                    block.string("id", &id);
                    block.string("name", name);
                    block.object("input").close();
                });
            }
            Delta::ToolCallArguments { fragment, .. } => self.input(fragment, out),
            Delta::Started { .. }
            | Delta::EncryptedReasoning { .. }
            | Delta::ToolCallSignature { .. }
            | Delta::Opaque(..)
            | Delta::Logprobs(_)
            | Delta::Unread(_)
            | Delta::Finished(_)
            | Delta::Usage(_) => {}
        }
    }

    fn thinking(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Thinking)) {
            self.block(Open::Thinking, out, |block| {
                block.string("type", "thinking");
                block.string("thinking", "");
                block.string("signature", "");
            });
        }
    }

    fn input(&mut self, fragment: &str, out: &mut Vec<u8>) {
        if let Some(Open::Tool { braces, .. }) = &mut self.open {
            braces.feed(fragment);
        }
        self.delta("input_json_delta", "partial_json", fragment, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        event(out, "message_start", |body| {
            let mut message = body.object("message");
            message.string("id", &self.head.id);
            message.string("type", "message");
            message.string("role", "assistant");
            message.string("model", &self.head.model);
            message.array("content").close();
            stop_reason(&mut message, None);
            usage::to_anthropic(&self.usage, &mut message);
            message.close();
        });
    }

    fn block(&mut self, open: Open, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        self.begin(out);
        self.close(out);
        self.open = Some(open);
        event(out, "content_block_start", |body| {
            body.whole("index", self.next);
            let mut block = body.object("content_block");
            write(&mut block);
            block.close();
        });
        self.next += 1;
    }

    fn delta(&self, kind: &str, name: &str, text: &str, out: &mut Vec<u8>) {
        event(out, "content_block_delta", |body| {
            body.whole("index", self.next.saturating_sub(1));
            let mut delta = body.object("delta");
            delta.string("type", kind);
            delta.string(name, text);
            delta.close();
        });
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            event(out, "content_block_stop", |body| body.whole("index", self.next.saturating_sub(1)));
        }
    }
}

fn event(out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut body = Object::open(out);
    body.string("type", kind);
    write(&mut body);
    body.close();
    out.extend_from_slice(b"\n\n");
}

fn stop_reason(object: &mut Object<'_>, finish: Option<&Finish>) {
    match finish {
        Some(finish) => object.string("stop_reason", finish::to_anthropic(finish)),
        None => object.null("stop_reason"),
    }
    match finish {
        Some(Finish::StopString(Some(text))) => object.string("stop_sequence", text),
        Some(_) | None => object.null("stop_sequence"),
    }
}

pub(super) fn whole(answer: &Answer, head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    body.string("id", &prefixed("msg_", &head.id));
    body.string("type", "message");
    body.string("role", "assistant");
    body.string("model", &head.model);
    let mut content = body.array("content");
    let mut refused = false;
    let mut ids = ToolIds::new(Shape::Word);
    for block in answer.blocks.iter().filter(|block| !matches!(block, Block::Opaque(..))) {
        let mut object = content.object();
        match block {
            Block::Opaque(..) => {}
            Block::Text(text) | Block::Refusal(text) => {
                refused |= matches!(block, Block::Refusal(_));
                object.string("type", "text");
                object.string("text", text);
            }
            Block::Reasoning(reasoning) => match &reasoning.redacted {
                Some(data) => {
                    object.string("type", "redacted_thinking");
                    object.string("data", data);
                }
                None => {
                    object.string("type", "thinking");
                    object.string("thinking", &reasoning.text);
                    object.string("signature", reasoning.signature.as_deref().unwrap_or_default());
                }
            },
            Block::ToolCall(call) => {
                object.string("type", "tool_use");
                object.string("id", &ids.give(&call.id));
                object.string("name", &call.name);
                input(&mut object, &call.arguments);
            }
        }
        object.close();
    }
    content.close();
    let finish = match &answer.finish {
        Some(Finish::Stop) | None if refused => Finish::Refusal,
        Some(finish) => finish.clone(),
        None => Finish::Stop,
    };
    stop_reason(&mut body, Some(&finish));
    usage::to_anthropic(&answer.usage.unwrap_or_default(), &mut body);
    body.close();
    out
}

/// A tool's input must be an object, whatever the model wrote.
fn input(object: &mut Object<'_>, arguments: &str) {
    let mut tape = Tape::default();
    if arguments.trim().is_empty() {
        object.object("input").close();
    } else if tape.read(arguments.as_bytes()).is_ok_and(|root| root.kind() == Kind::Object) {
        object.raw("input", arguments);
    } else {
        let mut input = object.object("input");
        input.string("arguments", arguments);
        input.close();
    }
}
