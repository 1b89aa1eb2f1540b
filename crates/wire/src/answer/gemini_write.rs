//! Writes Gemini answers, streamed and whole.
//!
//! A tool call is one part, so it is written when its last argument has come: all of them with the reason to end, in
//! the last chunk.

use commonwatt_core::answer::{Answer, Block, Delta, Finish, ToolCall, Usage};
use commonwatt_core::call::RawJson;

use super::gemini_read::SOURCES;
use super::{Head, finish, usage};
use crate::emit::{Array, Object, into_text};
use crate::tape::{Kind, Tape};
use crate::tool_ids::{MADE_FOR_GEMINI, Shape, ToolIds};

/// Parts that only this dialect knows.
const PARTS: [&str; 7] =
    ["inlineData", "fileData", "executableCode", "codeExecutionResult", "thoughtSignature", "toolCall", "toolResponse"];

/// Whether a block that the provider alone knows is one of this dialect's.
pub(super) fn knows(kind: &str) -> bool {
    PARTS.contains(&kind) || SOURCES.contains(&kind)
}

#[derive(Debug)]
pub(super) struct Writer {
    head: Head,
    /// Tool calls, which grow until the end; by the reader's index.
    calls: Vec<(u32, ToolCall)>,
    /// What the answer rests on: the last of each kind.
    sources: Vec<(String, RawJson)>,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub(super) fn new(head: Head) -> Self {
        Self { head, calls: Vec::new(), sources: Vec::new(), finish: None, usage: None }
    }

    pub(super) fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            // Other dialects' seals have no place in this one, and neither have their log probabilities.
            Delta::Started { .. }
            | Delta::ReasoningSignature(_)
            | Delta::Unread(_)
            | Delta::RedactedReasoning(_)
            | Delta::EncryptedReasoning { .. }
            | Delta::Logprobs(_) => {}
            Delta::Text(text) | Delta::Refusal(text) => self.said(out, |part| part.string("text", text)),
            Delta::Reasoning(text) => self.said(out, |part| {
                part.string("text", text);
                part.boolean("thought", true);
            }),
            Delta::ToolCallStarted { index, id, name } => {
                let (id, name) = (id.clone(), name.clone());
                self.calls.push((*index, ToolCall { id, name, arguments: String::new(), signature: None }));
            }
            Delta::ToolCallArguments { index, fragment } => {
                if let Some(call) = self.call(*index) {
                    call.arguments.push_str(fragment);
                }
            }
            Delta::ToolCallSignature { index, signature } => {
                if let Some(call) = self.call(*index) {
                    call.signature = Some(signature.clone());
                }
            }
            Delta::Opaque(kind, raw) => self.opaque(kind, raw, out),
            Delta::Finished(finish) => self.finish = Some(finish.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
        }
    }

    /// False when there is no reason to end with.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(finish) = self.finish.take() else { return false };
        self.chunk(out, |chunk| {
            candidate(chunk, Some(&finish), &self.sources, |parts| {
                let mut ids = ToolIds::new(Shape::Forty);
                self.calls.iter().for_each(|(_, call)| function_call(parts, call, &mut ids));
            });
            if let Some(used) = &self.usage {
                usage::to_gemini(used, chunk);
            }
        });
        true
    }

    fn call(&mut self, index: u32) -> Option<&mut ToolCall> {
        self.calls.iter_mut().find(|(own, _)| *own == index).map(|(_, call)| call)
    }

    fn opaque(&mut self, kind: &str, raw: &RawJson, out: &mut Vec<u8>) {
        if PARTS.contains(&kind) {
            self.chunk(out, |chunk| candidate(chunk, None, &[], |parts| parts.raw(&one_line(raw.as_str()))));
        } else if SOURCES.contains(&kind) {
            self.sources.retain(|(name, _)| name != kind);
            self.sources.push((kind.to_owned(), raw.clone()));
        }
    }

    fn said(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        self.chunk(out, |chunk| {
            candidate(chunk, None, &[], |parts| {
                let mut part = parts.object();
                write(&mut part);
                part.close();
            });
        });
    }

    fn chunk(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"data: ");
        let mut chunk = Object::open(out);
        write(&mut chunk);
        head(&mut chunk, &self.head);
        chunk.close();
        out.extend_from_slice(b"\n\n");
    }
}

pub(super) fn whole(answer: &Answer, about: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    let sources: Vec<_> = answer.blocks.iter().filter_map(source).collect();
    candidate(&mut body, Some(answer.finish.as_ref().unwrap_or(&Finish::Stop)), &sources, |parts| {
        let mut ids = ToolIds::new(Shape::Forty);
        answer.blocks.iter().for_each(|written| block(parts, written, &mut ids));
    });
    if let Some(used) = &answer.usage {
        usage::to_gemini(used, &mut body);
    }
    head(&mut body, about);
    body.close();
    out
}

fn block(parts: &mut Array<'_>, block: &Block, ids: &mut ToolIds) {
    match block {
        Block::Text(text) | Block::Refusal(text) => {
            let mut part = parts.object();
            part.string("text", text);
            part.close();
        }
        Block::Reasoning(reasoning) if reasoning.text.is_empty() => {}
        Block::Reasoning(reasoning) => {
            let mut part = parts.object();
            part.string("text", &reasoning.text);
            part.boolean("thought", true);
            part.close();
        }
        Block::ToolCall(call) => function_call(parts, call, ids),
        Block::Opaque(kind, raw) => {
            if PARTS.contains(&kind.as_str()) {
                parts.json(raw);
            }
        }
    }
}

fn source(block: &Block) -> Option<(String, RawJson)> {
    match block {
        Block::Opaque(kind, raw) if SOURCES.contains(&kind.as_str()) => Some((kind.clone(), raw.clone())),
        Block::Opaque(..) | Block::Text(_) | Block::Reasoning(_) | Block::Refusal(_) | Block::ToolCall(_) => None,
    }
}

/// The only candidate. One without parts is given an empty text, since programs look for one without asking.
fn candidate(
    body: &mut Object<'_>,
    finish: Option<&Finish>,
    sources: &[(String, RawJson)],
    write: impl FnOnce(&mut Array<'_>),
) {
    let mut candidates = body.array("candidates");
    let mut candidate = candidates.object();
    let mut content = candidate.object("content");
    let mut written = Vec::new();
    let mut parts = Array::open(&mut written);
    write(&mut parts);
    parts.close();
    content.raw("parts", if written == b"[]" { r#"[{"text":""}]"#.to_owned() } else { into_text(written) }.as_str());
    content.string("role", "model");
    content.close();
    if let Some(finish) = finish {
        candidate.string("finishReason", finish::to_gemini(finish));
    }
    candidate.whole("index", 0);
    for (name, raw) in sources {
        candidate.raw(name, &one_line(raw.as_str()));
    }
    candidate.close();
    candidates.close();
}

/// A call. Ids that were made because Gemini gave none stay here.
fn function_call(parts: &mut Array<'_>, call: &ToolCall, ids: &mut ToolIds) {
    let mut part = parts.object();
    let mut function = part.object("functionCall");
    if !call.id.is_empty() && !call.id.starts_with(MADE_FOR_GEMINI) {
        function.string("id", &ids.give(&call.id));
    }
    function.string("name", &call.name);
    arguments(&mut function, &call.arguments);
    function.close();
    if let Some(signature) = &call.signature {
        part.string("thoughtSignature", signature);
    }
    part.close();
}

/// Arguments must be an object, whatever the model wrote.
fn arguments(function: &mut Object<'_>, arguments: &str) {
    if arguments.trim().is_empty() {
        function.object("args").close();
    } else if Tape::default().read(arguments.as_bytes()).is_ok_and(|root| root.kind() == Kind::Object) {
        function.raw("args", &one_line(arguments));
    } else {
        let mut args = function.object("args");
        args.string("arguments", arguments);
        args.close();
    }
}

fn head(body: &mut Object<'_>, head: &Head) {
    body.string("modelVersion", &head.model);
    body.string("responseId", &head.id);
}

/// JSON without the line breaks that may stand between its values, which would end an event of a stream.
fn one_line(json: &str) -> String {
    json.chars().filter(|c| !matches!(c, '\n' | '\r')).collect()
}

#[cfg(test)]
mod tests;
