//! Writes OpenAI Chat Completions answers, streamed and whole.

use commonwatt_core::answer::{Answer, Block, Delta, Finish, Usage};

use super::{Head, finish, prefixed, usage};
use crate::emit::Object;
use crate::tool_ids::{Shape, ToolIds};

#[derive(Debug)]
pub(super) struct Writer {
    head: Head,
    begun: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
    ids: ToolIds,
}

impl Writer {
    pub(super) fn new(mut head: Head) -> Self {
        head.id = prefixed("chatcmpl-", &head.id);
        Self { head, begun: false, finish: None, usage: None, ids: ToolIds::new(Shape::Forty) }
    }

    pub(super) fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Finished(finish) => self.finish = Some(finish.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            // Seals have no place in this dialect, but for the one for which Google has made a place.
            Delta::ReasoningSignature(_)
            | Delta::Unread(_)
            | Delta::RedactedReasoning(_)
            | Delta::EncryptedReasoning { .. }
            | Delta::Opaque(..) => {}
            Delta::ToolCallSignature { index, signature } => self.delta(out, |delta| {
                tool_call(delta, *index, |call| thought_signature(call, signature));
            }),
            Delta::Started { .. } => self.begin(out),
            Delta::Text(text) => self.delta(out, |delta| delta.string("content", text)),
            Delta::Reasoning(text) => self.delta(out, |delta| delta.string("reasoning_content", text)),
            Delta::Refusal(text) => self.delta(out, |delta| delta.string("refusal", text)),
            Delta::ToolCallStarted { index, id, name } => {
                let id = self.ids.give(id);
                self.delta(out, |delta| {
                    tool_call(delta, *index, |call| {
                        call.string("id", &id);
                        call.string("type", "function");
                        let mut function = call.object("function");
                        function.string("name", name);
                        function.string("arguments", "");
                        function.close();
                    });
                });
            }
            Delta::ToolCallArguments { index, fragment } => self.delta(out, |delta| {
                tool_call(delta, *index, |call| {
                    let mut function = call.object("function");
                    function.string("arguments", fragment);
                    function.close();
                });
            }),
            Delta::Logprobs(list) => {
                self.begin(out);
                let one_line: String = list.as_str().chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
                self.chunk(out, |choice| {
                    choice.object("delta").close();
                    let mut logprobs = choice.object("logprobs");
                    logprobs.raw("content", &one_line);
                    logprobs.null("refusal");
                    logprobs.close();
                    choice.null("finish_reason");
                });
            }
        }
    }

    /// False when there is no reason to end with.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(finish) = self.finish.take() else { return false };
        self.begin(out);
        self.chunk(out, |choice| {
            choice.object("delta").close();
            choice.null("logprobs");
            choice.string("finish_reason", finish::to_openai(&finish));
        });
        if let Some(used) = self.usage.filter(|_| self.head.stream_usage) {
            out.extend_from_slice(b"data: ");
            let mut chunk = Object::open(out);
            self.head(&mut chunk);
            chunk.array("choices").close();
            usage::to_openai(&used, &mut chunk);
            chunk.close();
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        true
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.chunk(out, |choice| {
            let mut delta = choice.object("delta");
            delta.string("role", "assistant");
            delta.string("content", "");
            delta.close();
            choice.null("logprobs");
            choice.null("finish_reason");
        });
    }

    fn delta(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        self.begin(out);
        self.chunk(out, |choice| {
            let mut delta = choice.object("delta");
            write(&mut delta);
            delta.close();
            choice.null("logprobs");
            choice.null("finish_reason");
        });
    }

    fn chunk(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"data: ");
        let mut chunk = Object::open(out);
        self.head(&mut chunk);
        let mut choices = chunk.array("choices");
        let mut choice = choices.object();
        choice.whole("index", 0);
        write(&mut choice);
        choice.close();
        choices.close();
        if self.head.stream_usage {
            chunk.null("usage");
        }
        chunk.close();
        out.extend_from_slice(b"\n\n");
    }

    fn head(&self, chunk: &mut Object<'_>) {
        chunk.string("id", &self.head.id);
        chunk.string("object", "chat.completion.chunk");
        chunk.whole("created", self.head.created_unix_s);
        chunk.string("model", &self.head.model);
    }
}

fn tool_call(delta: &mut Object<'_>, index: u32, write: impl FnOnce(&mut Object<'_>)) {
    let mut calls = delta.array("tool_calls");
    let mut call = calls.object();
    call.whole("index", u64::from(index));
    write(&mut call);
    call.close();
    calls.close();
}

pub(super) fn whole(answer: &Answer, head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    body.string("id", &prefixed("chatcmpl-", &head.id));
    body.string("object", "chat.completion");
    body.whole("created", head.created_unix_s);
    body.string("model", &head.model);
    let mut choices = body.array("choices");
    let mut choice = choices.object();
    choice.whole("index", 0);
    message(answer, &mut choice);
    logprobs(answer, &mut choice);
    choice.string("finish_reason", answer.finish.as_ref().map_or("stop", finish::to_openai));
    choice.close();
    choices.close();
    if let Some(used) = &answer.usage {
        usage::to_openai(used, &mut body);
    }
    body.close();
    out
}

fn message(answer: &Answer, choice: &mut Object<'_>) {
    let (mut thought, mut refused) = (String::new(), None);
    for block in &answer.blocks {
        match block {
            Block::Reasoning(reasoning) => thought.push_str(&reasoning.text),
            Block::Refusal(text) => refused.get_or_insert_with(String::new).push_str(text),
            Block::Text(_) | Block::ToolCall(_) | Block::Opaque(..) => {}
        }
    }
    let text = answer.text();
    let calls = answer.tool_calls().next().is_some();
    let mut message = choice.object("message");
    message.string("role", "assistant");
    if text.is_empty() && (calls || refused.is_some()) {
        message.null("content");
    } else {
        message.string("content", &text);
    }
    match refused {
        Some(refused) => message.string("refusal", &refused),
        None => message.null("refusal"),
    }
    if !thought.is_empty() {
        message.string("reasoning_content", &thought);
    }
    if calls {
        let mut ids = ToolIds::new(Shape::Forty);
        let mut list = message.array("tool_calls");
        for call in answer.tool_calls() {
            let mut asked = list.object();
            asked.string("id", &ids.give(&call.id));
            asked.string("type", "function");
            let mut function = asked.object("function");
            function.string("name", &call.name);
            function.string("arguments", if call.arguments.is_empty() { "{}" } else { &call.arguments });
            function.close();
            if let Some(signature) = &call.signature {
                thought_signature(&mut asked, signature);
            }
            asked.close();
        }
        list.close();
    }
    message.close();
}

/// Where Google's own OpenAI endpoint puts the seal of a tool call, and expects it back.
fn thought_signature(call: &mut Object<'_>, signature: &str) {
    let mut extra = call.object("extra_content");
    let mut google = extra.object("google");
    google.string("thought_signature", signature);
    google.close();
    extra.close();
}

/// The lists of all deltas, as one.
fn logprobs(answer: &Answer, choice: &mut Object<'_>) {
    if answer.logprobs.is_empty() {
        choice.null("logprobs");
        return;
    }
    let mut logprobs = choice.object("logprobs");
    let mut content = logprobs.array("content");
    for list in &answer.logprobs {
        let inside = list.as_str().trim().trim_start_matches('[').trim_end_matches(']').trim();
        if !inside.is_empty() {
            content.raw(inside);
        }
    }
    content.close();
    logprobs.null("refusal");
    logprobs.close();
}
