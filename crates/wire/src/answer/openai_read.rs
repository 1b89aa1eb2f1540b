//! Reads OpenAI Chat Completions answers, streamed (`chat.completion.chunk`) and whole (`chat.completion`).

use std::borrow::Cow;

use commonwatt_core::answer::{Delta, Finish};
use commonwatt_core::fault::{Fault, FaultKind};

use super::tool_calls::{Fragment, ToolCalls};
use super::{finish, usage};
use crate::tape::{Kind, View};

#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    id: String,
    tool_calls: ToolCalls,
}

/// Reads a whole answer; its message has the shape of a delta.
pub(super) fn whole(root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    match root.get("choices") {
        None => return Err(Fault::new(FaultKind::Malformed, "the answer has no `choices`")),
        Some(choices) if choices.items().next().is_none() => {
            return Err(Fault::new(FaultKind::Empty, "the answer has no choices"));
        }
        Some(_) => {}
    }
    Reader::default().chunk(root, out)
}

impl Reader {
    pub(super) fn chunk(&mut self, root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
        if root.kind() != Kind::Object {
            return Err(Fault::new(FaultKind::Malformed, "an event of the stream is not a JSON object"));
        }
        if !self.begun {
            self.begun = true;
            self.id = root.get_string("id").unwrap_or_default().into_owned();
            let model = root.get_string("model").unwrap_or_default().into_owned();
            out.push(Delta::Started { id: self.id.clone(), model });
        }
        for choice in root.get("choices").iter().flat_map(View::items) {
            // The canonical answer is the first one; the others are the caller's who asked for them.
            if choice.get_whole("index").unwrap_or(0) == 0 {
                self.choice(&choice, out)?;
            }
        }
        let used = root.get("usage").or_else(|| root.get("x_groq")?.get("usage"));
        if let Some(used) = used.as_ref().and_then(usage::from_openai) {
            out.push(Delta::Usage(used));
        }
        Ok(())
    }

    fn choice(&mut self, choice: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
            self.delta(&delta, out);
        }
        let logprobs = choice.get("logprobs").and_then(|logprobs| logprobs.get("content"));
        if let Some(logprobs) = logprobs.filter(|list| list.items().next().is_some()) {
            out.push(Delta::Logprobs(logprobs.raw_json()));
        }
        let Some(word) = choice.get_string("finish_reason").filter(|word| !word.is_empty()) else { return Ok(()) };
        if word == "error" {
            return Err(Fault::new(FaultKind::InBand, "the provider ended the answer with an error"));
        }
        if !self.tool_calls.all_named() {
            return Err(Fault::new(FaultKind::Malformed, "a tool call of the answer has no name"));
        }
        let mut finish = finish::from_openai(&word);
        if finish == Finish::Stop && !self.tool_calls.is_empty() {
            // Several servers say `stop` after tool calls too.
            finish = Finish::ToolCalls;
        }
        out.push(Delta::Finished(finish));
        Ok(())
    }

    fn delta(&mut self, delta: &View<'_>, out: &mut Vec<Delta>) {
        let thought = delta.get_string("reasoning_content").or_else(|| delta.get_string("reasoning"));
        push(out, thought, Delta::Reasoning);
        if let Some(content) = delta.get("content") {
            push(out, content.string(), Delta::Text);
            content.items().for_each(|part| content_part(&part, out));
        }
        push(out, delta.get_string("refusal"), Delta::Refusal);
        for call in delta.get("tool_calls").iter().flat_map(View::items) {
            let function = call.get("function").or_else(|| call.get("custom"));
            let fragment = fragment(call.get_whole("index"), call.get_string("id"), function);
            self.tool_calls.read(fragment, &self.id, out);
        }
        if let Some(function) = delta.get("function_call") {
            self.tool_calls.read(fragment(Some(0), None, Some(function)), &self.id, out);
        }
    }
}

/// Text that says something.
fn push(out: &mut Vec<Delta>, text: Option<Cow<'_, str>>, delta: fn(String) -> Delta) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(delta(text.into_owned()));
    }
}

/// A part of content that is an array, as Mistral's thinking models write it.
fn content_part(part: &View<'_>, out: &mut Vec<Delta>) {
    match part.get_string("type").as_deref() {
        Some("text") => push(out, part.get_string("text"), Delta::Text),
        Some("thinking") => {
            if let Some(thinking) = part.get("thinking") {
                push(out, thinking.string(), Delta::Reasoning);
                thinking.items().for_each(|inner| push(out, inner.get_string("text"), Delta::Reasoning));
            }
        }
        Some(_) | None => {}
    }
}

fn fragment<'a>(index: Option<u64>, id: Option<Cow<'a, str>>, function: Option<View<'a>>) -> Fragment<'a> {
    let name = function.and_then(|function| function.get_string("name")).unwrap_or_default();
    let arguments = function.and_then(|function| function.get("arguments").or_else(|| function.get("input")));
    // Some servers write the arguments as an object.
    let arguments = arguments.map(|value| value.string().unwrap_or_else(|| Cow::Borrowed(value.raw())));
    Fragment { index, id: id.unwrap_or_default(), name, arguments: arguments.unwrap_or_default() }
}
