//! Writes OpenAI Responses answers, streamed and whole.
//!
//! Each item has its place in the output from the moment it begins. A message or a piece of thinking ends when the next
//! item begins; a tool call ends then if its arguments are whole, and else stays open beside what follows. Every event
//! has a number, and the last one holds the whole answer once more:
//!
//! ```text
//! event: response.output_text.delta
//! data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_…","output_index":0,"content_index":0,"delta":"The ","logprobs":[]}
//! ```

use std::borrow::Cow;

use commonwatt_core::answer::{Answer, Delta, Finish, Usage};
use commonwatt_core::call::RawJson;

use super::responses_echo::Echo;
use super::responses_items::{
    Call, Content, End, Item, Part, Status, logprobs_inside, of_answer, response, summary_part,
};
use super::tool_calls::Braces;
use super::{Head, Standing, prefixed};
use crate::emit::Object;
use crate::tape::Tape;
use crate::tool_ids::{Shape, ToolIds};

pub(super) const PREFIX: &str = "resp_";

#[derive(Debug)]
pub(super) struct Writer {
    head: Head,
    echo: Echo,
    begun: bool,
    /// The number of the next event.
    sequence: u64,
    /// Those in progress are open.
    items: Vec<Item>,
    ids: ToolIds,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

pub(super) fn whole(answer: &Answer, head: &Head) -> Vec<u8> {
    let head = Head { id: prefixed(PREFIX, &head.id), ..head.clone() };
    let mut items = of_answer(answer, stem(&head));
    let end = End::new(answer.finish.as_ref().unwrap_or(&Finish::Stop), &items, answer.usage);
    if let Some(last) = items.last_mut() {
        last.status = end.status;
    }
    body_of(&head, &items, &end)
}

/// The response of an answer that is made without its caller, as far as it has come.
pub(super) fn standing(standing: &Standing, answer: &Answer, head: &Head) -> Vec<u8> {
    let head = Head { id: prefixed(PREFIX, &head.id), ..head.clone() };
    let mut items = of_answer(answer, stem(&head));
    if let Some(last) = items.last_mut() {
        last.status = Status::Incomplete;
    }
    body_of(&head, &items, &End::standing(standing, answer.usage))
}

/// The events with which a stream begins whose answer is made without its caller: nobody is asked yet.
pub(super) fn queued(head: &Head, out: &mut Vec<u8>) {
    let mut writer = Writer { sequence: 0, ..Writer::new(head.clone()) };
    let end = End::standing(&Standing::Queued, None);
    writer.whole_so_far("response.created", &end, out);
    writer.whole_so_far("response.queued", &end, out);
}

/// The event after them with which a response ends that came whole.
pub(super) fn completed(whole: &[u8], out: &mut Vec<u8>) {
    let mut tape = Tape::default();
    let status = tape.read(whole).ok().and_then(|root| root.get_string("status").map(Cow::into_owned));
    let is_cut = status.as_deref() == Some(Status::Incomplete.word());
    let kind = if is_cut { "response.incomplete" } else { "response.completed" };
    let mut number = QUEUED_EVENTS;
    event(&mut number, kind, out, |body| body.key("response").extend_from_slice(whole));
}

/// Events of [`queued`].
const QUEUED_EVENTS: u64 = 2;

fn body_of(head: &Head, items: &[Item], end: &End) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    let mut body = Object::open(&mut out);
    response(&mut body, (head, &Echo::of(head)), items, end);
    body.close();
    out
}

/// What the ids of the items are made of.
fn stem(head: &Head) -> &str {
    head.id.strip_prefix(PREFIX).unwrap_or(&head.id)
}

impl Writer {
    pub(super) fn new(mut head: Head) -> Self {
        head.id = prefixed(PREFIX, &head.id);
        let sequence = if head.keeping.background { QUEUED_EVENTS } else { 0 };
        Self {
            echo: Echo::of(&head),
            head,
            begun: false,
            sequence,
            items: Vec::new(),
            ids: ToolIds::new(Shape::Forty),
            finish: None,
            usage: None,
        }
    }

    /// The number of the event that would come next.
    pub(super) fn next_number(&self) -> u64 {
        self.sequence
    }

    pub(super) fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Finished(finish) => self.finish = Some(finish.clone()),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Started { .. } => self.begin(out),
            Delta::Text(text) => self.said(false, text, out),
            Delta::Refusal(text) => self.said(true, text, out),
            Delta::Reasoning(text) => self.thought(text, out),
            Delta::EncryptedReasoning { content, .. } => {
                let index = self.thinking(out);
                if let Some(Item { content: Content::Reasoning { encrypted, .. }, .. }) = self.items.get_mut(index) {
                    *encrypted = Some(content.clone());
                }
                self.close(index, Status::Completed, out);
            }
            // Another dialect's seal has no place here, but ends the thinking that it seals.
            Delta::ReasoningSignature(_) | Delta::RedactedReasoning(_) => {
                if let Some(index) = self.open_at_end(|content| matches!(content, Content::Reasoning { .. })) {
                    self.close(index, Status::Completed, out);
                }
            }
            Delta::ToolCallStarted { index, id, name } => {
                let (id, name) = (self.ids.give(id), name.clone());
                let call = Call { index: *index, id, name, arguments: String::new(), braces: Braces::default() };
                self.add(Content::Call(call), out);
            }
            Delta::ToolCallArguments { index, fragment } => self.arguments(*index, fragment, out),
            Delta::Logprobs(list) => self.logprobs(list, out),
            Delta::ToolCallSignature { .. } | Delta::Opaque(..) | Delta::Unread(_) => {}
        }
    }

    /// False when there is no reason to end with.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(finish) = self.finish.take() else { return false };
        self.begin(out);
        let end = End::new(&finish, &self.items, self.usage);
        for index in 0..self.items.len() {
            self.close(index, end.status, out);
        }
        let kind = if end.status == Status::Incomplete { "response.incomplete" } else { "response.completed" };
        self.whole_so_far(kind, &end, out);
        true
    }

    /// Ends an answer that is made without its caller and was not said to its end. OpenAI has no event for one that was
    /// cancelled: its status tells.
    pub(super) fn end_as(&mut self, standing: &Standing, out: &mut Vec<u8>) {
        let end = End::standing(standing, self.usage);
        for index in 0..self.items.len() {
            self.close(index, Status::Incomplete, out);
        }
        let kind = match standing {
            Standing::Failed(_) => "response.failed",
            Standing::Cancelled => "response.incomplete",
            Standing::Queued => "response.queued",
            Standing::InProgress => "response.in_progress",
        };
        self.whole_so_far(kind, &end, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            if !self.head.keeping.background {
                self.whole_so_far("response.created", &End::NOT_YET, out);
            }
            self.whole_so_far("response.in_progress", &End::NOT_YET, out);
        }
    }

    fn whole_so_far(&mut self, kind: &str, end: &End, out: &mut Vec<u8>) {
        event(&mut self.sequence, kind, out, |body| {
            let mut inner = body.object("response");
            response(&mut inner, (&self.head, &self.echo), &self.items, end);
            inner.close();
        });
    }

    /// Begins an item; those before it end, but for tool calls that may still grow.
    fn add(&mut self, content: Content, out: &mut Vec<u8>) {
        self.begin(out);
        for index in 0..self.items.len() {
            let may_grow = self.items.get(index).is_some_and(|item| match &item.content {
                Content::Call(call) => !call.braces.closed(),
                Content::Message(_) | Content::Reasoning { .. } => false,
            });
            if !may_grow {
                self.close(index, Status::Completed, out);
            }
        }
        let index = self.items.len();
        self.items.push(Item::new(stem(&self.head), index, content));
        self.item_event("response.output_item.added", index, out);
    }

    /// The last item, if it is open and of that kind.
    fn open_at_end(&self, is_kind: impl Fn(&Content) -> bool) -> Option<usize> {
        let last = self.items.last()?;
        (last.status == Status::InProgress && is_kind(&last.content)).then(|| self.items.len() - 1)
    }

    fn said(&mut self, is_refusal: bool, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let open = self.open_at_end(|content| matches!(content, Content::Message(_)));
        let index = open.unwrap_or_else(|| {
            self.add(Content::Message(Vec::new()), out);
            self.items.len() - 1
        });
        if self.last_part(index).is_none_or(|part| part.is_refusal != is_refusal) {
            self.end_part(index, out);
            if let Some(Item { content: Content::Message(parts), .. }) = self.items.get_mut(index) {
                parts.push(Part::new(is_refusal));
            }
            self.part_event("response.content_part.added", index, out, |body, part| {
                let mut object = body.object("part");
                part.write(&mut object);
                object.close();
            });
        }
        if let Some(Item { content: Content::Message(parts), .. }) = self.items.get_mut(index)
            && let Some(part) = parts.last_mut()
        {
            part.text.push_str(text);
        }
        let kind = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.part_event(kind, index, out, |body, _| {
            body.string("delta", text);
            if !is_refusal {
                body.array("logprobs").close();
            }
        });
    }

    fn last_part(&self, index: usize) -> Option<&Part> {
        match &self.items.get(index)?.content {
            Content::Message(parts) => parts.last(),
            Content::Reasoning { .. } | Content::Call(_) => None,
        }
    }

    fn end_part(&mut self, index: usize, out: &mut Vec<u8>) {
        let Some(part) = self.last_part(index) else { return };
        let kind = if part.is_refusal { "response.refusal.done" } else { "response.output_text.done" };
        self.part_event(kind, index, out, |body, part| {
            if part.is_refusal {
                body.string("refusal", &part.text);
            } else {
                body.string("text", &part.text);
                part.write_logprobs(body);
            }
        });
        self.part_event("response.content_part.done", index, out, |body, part| {
            let mut object = body.object("part");
            part.write(&mut object);
            object.close();
        });
    }

    /// Log probabilities come after their text, so they follow it in an event of their own.
    fn logprobs(&mut self, list: &RawJson, out: &mut Vec<u8>) {
        let Some(inside) = logprobs_inside(list) else { return };
        let Some(index) = self.open_at_end(|content| matches!(content, Content::Message(_))) else { return };
        let Some(Item { content: Content::Message(parts), .. }) = self.items.get_mut(index) else { return };
        let Some(part) = parts.last_mut().filter(|part| !part.is_refusal) else { return };
        part.logprobs.push(inside.clone());
        self.part_event("response.output_text.delta", index, out, |body, _| {
            body.string("delta", "");
            let mut list = body.array("logprobs");
            list.raw(&inside);
            list.close();
        });
    }

    /// The thinking that is open, or else a new one.
    fn thinking(&mut self, out: &mut Vec<u8>) -> usize {
        let open = self.open_at_end(|content| matches!(content, Content::Reasoning { .. }));
        open.unwrap_or_else(|| {
            self.add(Content::Reasoning { text: String::new(), encrypted: None }, out);
            self.items.len() - 1
        })
    }

    fn thought(&mut self, more: &str, out: &mut Vec<u8>) {
        if more.is_empty() {
            return;
        }
        let index = self.thinking(out);
        let Some(Item { content: Content::Reasoning { text, .. }, .. }) = self.items.get_mut(index) else { return };
        let begins = text.is_empty();
        text.push_str(more);
        if begins {
            self.summary_event("response.reasoning_summary_part.added", index, out, |body| {
                let mut part = body.object("part");
                summary_part(&mut part, "");
                part.close();
            });
        }
        let kind = "response.reasoning_summary_text.delta";
        self.summary_event(kind, index, out, |body| body.string("delta", more));
    }

    fn arguments(&mut self, wanted: u32, fragment: &str, out: &mut Vec<u8>) {
        if fragment.is_empty() {
            return;
        }
        let of_call = |item: &Item| match &item.content {
            Content::Call(call) => call.index == wanted && item.status == Status::InProgress,
            Content::Message(_) | Content::Reasoning { .. } => false,
        };
        let Some(index) = self.items.iter().rposition(of_call) else { return };
        if let Some(Item { content: Content::Call(call), .. }) = self.items.get_mut(index) {
            call.arguments.push_str(fragment);
            call.braces.feed(fragment);
        }
        let kind = "response.function_call_arguments.delta";
        self.place_event(kind, index, out, |body| body.string("delta", fragment));
    }

    /// Ends an item, unless it has ended.
    fn close(&mut self, index: usize, status: Status, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(index).filter(|item| item.status == Status::InProgress) else { return };
        match &item.content {
            Content::Message(_) => self.end_part(index, out),
            Content::Reasoning { text, .. } if text.is_empty() => {}
            Content::Reasoning { text, .. } => {
                let text = text.clone();
                let kind = "response.reasoning_summary_text.done";
                self.summary_event(kind, index, out, |body| body.string("text", &text));
                self.summary_event("response.reasoning_summary_part.done", index, out, |body| {
                    let mut part = body.object("part");
                    summary_part(&mut part, &text);
                    part.close();
                });
            }
            Content::Call(call) => {
                if call.arguments.is_empty() && status == Status::Completed {
                    let nothing = call.index;
                    self.arguments(nothing, "{}", out);
                }
                self.arguments_done(index, out);
            }
        }
        if let Some(item) = self.items.get_mut(index) {
            item.status = status;
        }
        self.item_event("response.output_item.done", index, out);
    }

    fn arguments_done(&mut self, index: usize, out: &mut Vec<u8>) {
        let Some(Item { id, content: Content::Call(call), .. }) = self.items.get(index) else { return };
        event(&mut self.sequence, "response.function_call_arguments.done", out, |body| {
            body.string("item_id", id);
            body.whole("output_index", index as u64);
            body.string("name", &call.name);
            body.string("arguments", &call.arguments);
        });
    }

    /// An event about an item as a whole.
    fn item_event(&mut self, kind: &str, index: usize, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(index) else { return };
        event(&mut self.sequence, kind, out, |body| {
            body.whole("output_index", index as u64);
            let mut object = body.object("item");
            item.write(&mut object);
            object.close();
        });
    }

    /// An event about something in an item.
    fn place_event(&mut self, kind: &str, index: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        let Some(item) = self.items.get(index) else { return };
        event(&mut self.sequence, kind, out, |body| {
            body.string("item_id", &item.id);
            body.whole("output_index", index as u64);
            write(body);
        });
    }

    fn summary_event(&mut self, kind: &str, index: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        self.place_event(kind, index, out, |body| {
            body.whole("summary_index", 0);
            write(body);
        });
    }

    /// An event about the last part of a message.
    fn part_event(&mut self, kind: &str, index: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>, &Part)) {
        let Some(Item { id, content: Content::Message(parts), .. }) = self.items.get(index) else { return };
        let Some((part, before)) = parts.split_last() else { return };
        event(&mut self.sequence, kind, out, |body| {
            body.string("item_id", id);
            body.whole("output_index", index as u64);
            body.whole("content_index", before.len() as u64);
            write(body, part);
        });
    }
}

fn event(sequence: &mut u64, kind: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut body = Object::open(out);
    body.string("type", kind);
    body.whole("sequence_number", *sequence);
    write(&mut body);
    body.close();
    out.extend_from_slice(b"\n\n");
    *sequence += 1;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Keeping;
    use super::*;

    fn written(request: Option<&str>, deltas: &[Delta]) -> Vec<Value> {
        let request = request.map(|request| request.to_owned().into());
        let head = Head {
            id: "1".into(),
            model: "m".into(),
            created_unix_s: 7,
            stream_usage: true,
            request,
            keeping: Keeping::default(),
        };
        let (mut writer, mut out) = (Writer::new(head), Vec::new());
        deltas.iter().for_each(|delta| writer.write(delta, &mut out));
        assert!(writer.finish(&mut out));
        let text = String::from_utf8(out).expect("text");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).expect("one line of JSON")).collect()
    }

    #[test]
    fn the_callers_settings_are_repeated_on_one_line_however_they_were_written() {
        let request = "{\n \"model\":\"auto\",\n \"input\":\"x\",\n \"temperature\":0.5,\n \"text\":{\"verbosity\":\"low\"},\n \"reasoning\":{\n\"effort\":\"high\"},\n \"tools\":[{\"type\":\"function\",\n\"name\":\"f\"}]\n}";
        let events = written(Some(request), &[Delta::Text("hi".into()), Delta::Finished(Finish::Stop)]);
        for response in [&events[0]["response"], &events[events.len() - 1]["response"]] {
            assert_eq!(response["temperature"], json!(0.5));
            assert_eq!(response["text"], json!({"format": {"type": "text"}, "verbosity": "low"}));
            assert_eq!(response["reasoning"], json!({"effort": "high", "summary": null}));
            let tool =
                json!({"type": "function", "name": "f", "description": null, "parameters": null, "strict": null});
            assert_eq!(response["tools"], json!([tool]));
            assert_eq!(response["instructions"], Value::Null);
        }
    }

    #[test]
    fn events_are_numbered_from_zero_and_only_the_last_item_of_a_cut_answer_is_incomplete() {
        let deltas = [Delta::Reasoning("hm".into()), Delta::Text("hi".into()), Delta::Finished(Finish::Length)];
        let events = written(None, &deltas);
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
        assert_eq!(numbers, (0..events.len() as u64).map(Some).collect::<Vec<_>>());
        let response = &events[events.len() - 1]["response"];
        assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!(response["output"][1]["status"], "incomplete");
        assert_eq!(response["output"][1]["content"][0]["text"], "hi");
    }

    #[test]
    fn a_tool_call_without_arguments_has_an_empty_object() {
        let start = |index, id: &str| Delta::ToolCallStarted { index, id: id.into(), name: "f".into() };
        let events = written(None, &[start(0, "a"), start(1, "a"), Delta::Finished(Finish::ToolCalls)]);
        let output = &events[events.len() - 1]["response"]["output"];
        assert_eq!((&output[0]["arguments"], &output[1]["arguments"]), (&json!("{}"), &json!("{}")));
        assert_eq!(output[0]["call_id"], "a");
        assert_ne!(output[1]["call_id"], "a", "two calls never share an id");
    }
}
