//! Writes answers of Ollama, streamed and whole: to a conversation, and to a prompt.
//!
//! A tool call is one object on one line, so it is written when its arguments are complete, after the calls before it.

use std::collections::VecDeque;

use commonwatt_core::answer::{Answer, Block, Delta, Finish, ToolCall, Usage};

use super::tool_calls::Braces;
use super::{Head, finish, usage};
use crate::emit::Object;
use crate::models::rfc3339;
use crate::tape::{Kind, Tape};
use crate::tool_ids::{Shape, ToolIds};

#[derive(Debug)]
pub(super) struct Writer {
    head: Head,
    /// Whether the answer is to a prompt (`/api/generate`) instead of a conversation.
    to_prompt: bool,
    /// Tool calls that are not yet written, in order.
    growing: VecDeque<Growing>,
    /// How many tool calls are written.
    calls: u64,
    ids: ToolIds,
    finish: Option<Finish>,
    usage: Usage,
}

/// A tool call that is not complete, or waits for one that is not.
#[derive(Debug)]
struct Growing {
    index: u32,
    call: ToolCall,
    braces: Braces,
}

impl Writer {
    pub(super) fn new(head: Head, to_prompt: bool) -> Self {
        Self {
            head,
            to_prompt,
            growing: VecDeque::new(),
            calls: 0,
            ids: ToolIds::new(Shape::Forty),
            finish: None,
            usage: Usage::default(),
        }
    }

    pub(super) fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => self.line(out, &Said { text, ..Said::default() }),
            Delta::Reasoning(thought) => self.line(out, &Said { thought, ..Said::default() }),
            Delta::Logprobs(list) => self.line(out, &Said { logprobs: &[list.as_str()], ..Said::default() }),
            Delta::ToolCallStarted { index, id, name } => {
                let call =
                    ToolCall { id: self.ids.give(id), name: name.clone(), arguments: String::new(), signature: None };
                self.growing.push_back(Growing { index: *index, call, braces: Braces::default() });
            }
            Delta::ToolCallArguments { index, fragment } => {
                if let Some(growing) = self.growing.iter_mut().find(|growing| growing.index == *index) {
                    growing.call.arguments.push_str(fragment);
                    growing.braces.feed(fragment);
                }
                while self.growing.front().is_some_and(|first| first.braces.closed()) {
                    self.tool_call(out);
                }
            }
            Delta::Finished(finish) => self.finish = Some(finish.clone()),
            Delta::Usage(usage) => self.usage = *usage,
            // Seals have no place in this dialect, and every line tells the model anew.
            Delta::Started { .. }
            | Delta::ReasoningSignature(_)
            | Delta::Unread(_)
            | Delta::RedactedReasoning(_)
            | Delta::EncryptedReasoning { .. }
            | Delta::ToolCallSignature { .. }
            | Delta::Opaque(..) => {}
        }
    }

    /// False when there is no reason to end with.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(finish) = self.finish.take() else { return false };
        while !self.growing.is_empty() {
            self.tool_call(out);
        }
        let mut body = Object::open(out);
        said(&mut body, &self.head, self.to_prompt, &Said::default());
        done(&mut body, self.to_prompt, Some(&finish), &self.usage);
        body.close();
        out.push(b'\n');
        true
    }

    /// Writes the first of the calls that grow.
    fn tool_call(&mut self, out: &mut Vec<u8>) {
        if let Some(Growing { call, .. }) = self.growing.pop_front() {
            self.line(out, &Said { calls: &[&call], first_call: self.calls, ..Said::default() });
            self.calls += 1;
        }
    }

    fn line(&self, out: &mut Vec<u8>, what: &Said<'_>) {
        let mut body = Object::open(out);
        said(&mut body, &self.head, self.to_prompt, what);
        body.boolean("done", false);
        body.close();
        out.push(b'\n');
    }
}

/// What a line says.
#[derive(Default)]
struct Said<'a> {
    text: &'a str,
    thought: &'a str,
    calls: &'a [&'a ToolCall],
    /// Position of the first of these calls in the answer.
    first_call: u64,
    /// Raw arrays.
    logprobs: &'a [&'a str],
}

/// Writes what every line begins with, and what it says.
fn said(body: &mut Object<'_>, head: &Head, to_prompt: bool, what: &Said<'_>) {
    body.string("model", &head.model);
    body.string("created_at", &rfc3339(head.created_unix_s));
    if to_prompt {
        body.string("response", what.text);
        beside(body, what);
    } else {
        let mut message = body.object("message");
        message.string("role", "assistant");
        message.string("content", what.text);
        beside(&mut message, what);
        message.close();
    }
    if !what.logprobs.is_empty() {
        let mut list = body.array("logprobs");
        for raw in what.logprobs {
            let inside = raw.trim().trim_start_matches('[').trim_end_matches(']').trim();
            // A line of JSON is one line.
            let inside: String = inside.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            if !inside.is_empty() {
                list.raw(&inside);
            }
        }
        list.close();
    }
}

/// Writes what stands beside the text.
fn beside(message: &mut Object<'_>, what: &Said<'_>) {
    if !what.thought.is_empty() {
        message.string("thinking", what.thought);
    }
    if what.calls.is_empty() {
        return;
    }
    let mut calls = message.array("tool_calls");
    for (index, call) in (what.first_call..).zip(what.calls) {
        let mut asked = calls.object();
        asked.string("id", &call.id);
        let mut function = asked.object("function");
        function.whole("index", index);
        function.string("name", &call.name);
        arguments(&mut function, &call.arguments);
        function.close();
        asked.close();
    }
    calls.close();
}

/// Arguments must be an object, whatever the model wrote, and on one line.
fn arguments(function: &mut Object<'_>, arguments: &str) {
    let mut tape = Tape::default();
    if arguments.trim().is_empty() {
        function.object("arguments").close();
    } else if tape.read(arguments.as_bytes()).is_ok_and(|root| root.kind() == Kind::Object) {
        let one_line: String = arguments.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        function.raw("arguments", &one_line);
    } else {
        let mut object = function.object("arguments");
        object.string("arguments", arguments);
        object.close();
    }
}

/// Writes the end.
fn done(body: &mut Object<'_>, to_prompt: bool, finish: Option<&Finish>, usage: &Usage) {
    body.boolean("done", true);
    body.string("done_reason", finish.map_or("stop", finish::to_ollama));
    if to_prompt {
        // The tokens of the conversation so far, which only Ollama itself can tell.
        body.array("context").close();
    }
    usage::to_ollama(usage, body);
}

pub(super) fn whole(answer: &Answer, head: &Head, to_prompt: bool) -> Vec<u8> {
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    let mut ids = ToolIds::new(Shape::Forty);
    for block in &answer.blocks {
        match block {
            Block::Text(said) | Block::Refusal(said) => text.push_str(said),
            Block::Reasoning(reasoning) => thought.push_str(&reasoning.text),
            Block::ToolCall(call) => calls.push(ToolCall { id: ids.give(&call.id), ..call.clone() }),
            Block::Opaque(..) => {}
        }
    }
    let calls: Vec<&ToolCall> = calls.iter().collect();
    let logprobs: Vec<&str> = answer.logprobs.iter().map(commonwatt_core::call::RawJson::as_str).collect();
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    let what = Said { text: &text, thought: &thought, calls: &calls, first_call: 0, logprobs: &logprobs };
    said(&mut body, head, to_prompt, &what);
    done(&mut body, to_prompt, answer.finish.as_ref(), &answer.usage.unwrap_or_default());
    body.close();
    out
}

#[cfg(test)]
mod tests;
