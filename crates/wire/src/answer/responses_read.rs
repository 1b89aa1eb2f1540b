//! Reads OpenAI Responses answers, streamed and whole.
//!
//! A stream says everything up to four times: in deltas, at the end of the part, at the end of the item, and in the
//! response that ends it. Only what has not been heard is read, so a server may leave out any of them but the last.
//!
//! ```text
//! data: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"The "}
//! data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[…]}}
//! data: {"type":"response.completed","response":{"status":"completed","output":[…],"usage":{…}}}
//! ```

use bytes::Bytes;
use commonwatt_core::answer::{Delta, Finish};
use commonwatt_core::call::RawJson;
use commonwatt_core::fault::{Fault, FaultKind};

use super::{finish, unread, usage};
use crate::tape::{Kind, Tape, View};
use crate::{Dialect, fault, sse};

#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    id: String,
    /// What has been heard of each text, in bytes.
    heard: Vec<(Place, usize)>,
    tools: Vec<Tool>,
    /// Items that are complete, by their index.
    done: Vec<u64>,
    /// Whether a tool call has come without a name.
    nameless: bool,
    /// The item that the last event spoke of.
    last: u64,
    /// The index after that of the item that began last.
    added: u64,
    /// The thinking that was heard last, unless something else has come since.
    thought: Option<Place>,
    /// The insides of the lists of annotations.
    annotations: String,
    /// Texts whose log probabilities have come.
    weighed: Vec<Place>,
}

/// Which text: the item, what kind of text in it, and which of that kind.
type Place = (u64, Words, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Text,
    Refusal,
    Summary,
    Thought,
    Arguments,
}

/// A tool call; its position among the tools is its index in the answer.
#[derive(Debug)]
struct Tool {
    item: u64,
    /// Arguments that stood in the item's start, for servers that send no others.
    held: String,
}

/// The number that follows that of an event; zero after one that has none, as some servers send them.
pub(super) fn next_number(event: &Bytes) -> u64 {
    let mut framer = sse::Framer::default();
    // An event that was cut out of a stream is not too large for another framer.
    let pushed = framer.push(event.clone()).is_ok();
    let event = framer.next().or_else(|| framer.finish()).filter(|_| pushed);
    let mut tape = Tape::default();
    let root = event.as_ref().and_then(|event| tape.read(event.data().trim_ascii()).ok());
    root.and_then(|root| root.get_whole("sequence_number")).map_or(0, |number| number.saturating_add(1))
}

/// Reads a whole answer.
pub(super) fn whole(root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    if root.get("output").is_none_or(|output| output.kind() != Kind::Array) && root.get("status").is_none() {
        return Err(Fault::new(FaultKind::Malformed, "the answer has no `output`"));
    }
    let status = root.get_string("status");
    Reader::default().ended(root, status.as_deref().unwrap_or("completed"), out)
}

fn is_under_way(status: &str) -> bool {
    matches!(status, "queued" | "in_progress")
}

impl Reader {
    /// Reads an event. True when it is the last.
    pub(super) fn event(&mut self, root: &View<'_>, out: &mut Vec<Delta>) -> Result<bool, Fault> {
        let Some(kind) = root.get_string("type") else {
            return Err(Fault::new(FaultKind::Malformed, "an event of the stream has no `type`"));
        };
        let response = root.get("response");
        if let Some(response) = &response {
            self.started(response, out);
        }
        let item = self.index(root, &kind);
        let part = |name: &str| root.get_whole(name).unwrap_or_default();
        let (content, summary) = (part("content_index"), part("summary_index"));
        match &*kind {
            "response.output_item.added" => {
                if let Some(value) = root.get("item") {
                    self.item_added(item, &value, out);
                }
            }
            "response.output_item.done" => {
                if let Some(value) = root.get("item") {
                    self.item_done(item, &value, out);
                }
            }
            "response.output_text.delta" => {
                self.more(root, "delta", (item, Words::Text, content), out);
                self.logprobs(root, (item, Words::Text, content), out);
            }
            "response.refusal.delta" => self.more(root, "delta", (item, Words::Refusal, content), out),
            "response.reasoning_summary_text.delta" => self.more(root, "delta", (item, Words::Summary, summary), out),
            // Open Responses leaves out half of the name.
            "response.reasoning_text.delta" | "response.reasoning.delta" => {
                self.more(root, "delta", (item, Words::Thought, content), out);
            }
            "response.function_call_arguments.delta" => self.more(root, "delta", (item, Words::Arguments, 0), out),
            "response.output_text.done" => self.rest(root, "text", (item, Words::Text, content), out),
            "response.refusal.done" => self.rest(root, "refusal", (item, Words::Refusal, content), out),
            "response.reasoning_summary_text.done" => self.rest(root, "text", (item, Words::Summary, summary), out),
            "response.reasoning_text.done" | "response.reasoning.done" => {
                self.rest(root, "text", (item, Words::Thought, content), out);
            }
            "response.function_call_arguments.done" => self.rest(root, "arguments", (item, Words::Arguments, 0), out),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                let response = response.unwrap_or(*root);
                let status = response.get_string("status").filter(|status| !is_under_way(status));
                self.ended(&response, status.as_deref().unwrap_or(kind.trim_start_matches("response.")), out)?;
                return Ok(true);
            }
            // Beginnings and ends of parts, the progress of the provider's own tools, and whatever is invented next.
            _ => {}
        }
        Ok(false)
    }

    fn started(&mut self, response: &View<'_>, out: &mut Vec<Delta>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.id = response.get_string("id").unwrap_or_default().into_owned();
            let model = response.get_string("model").unwrap_or_default().into_owned();
            out.push(Delta::Started { id: self.id.clone(), model });
        }
    }

    /// The item that an event speaks of. Servers that leave the index out speak of one item after the other.
    fn index(&mut self, root: &View<'_>, kind: &str) -> u64 {
        let begins = kind == "response.output_item.added";
        let again = kind == "response.output_item.done" && self.done.contains(&self.last);
        let next = if begins { self.added } else { self.last.saturating_add(u64::from(again)) };
        self.last = root.get_whole("output_index").unwrap_or(next);
        if begins {
            self.added = self.last.saturating_add(1);
        }
        self.last
    }

    /// The response as it is at its end.
    fn ended(&mut self, response: &View<'_>, status: &str, out: &mut Vec<Delta>) -> Result<(), Fault> {
        self.started(response, out);
        if matches!(status, "failed" | "cancelled") {
            return Err(fault::in_band(Dialect::OpenAiResponses, response.raw().as_bytes()));
        }
        if is_under_way(status) {
            return Err(Fault::new(FaultKind::InBand, "the provider works on the answer in the background"));
        }
        // Some servers leave out that an item is done, others leave the items out at the end; whoever leaves out both
        // has lost the rest.
        let unfinished = self.heard.iter().any(|((item, ..), _)| !self.done.contains(item));
        let retold = response.get("output").is_some_and(|output| output.items().next().is_some());
        if unfinished && !retold {
            return Err(Fault::new(FaultKind::Cut, "the answer ended in the middle of an item"));
        }
        // A stream whose items have come says them here again, and not always under the same index.
        if self.heard.is_empty() && self.done.is_empty() {
            for (index, item) in (0..).zip(response.get("output").iter().flat_map(View::items)) {
                self.item_done(index, &item, out);
            }
        }
        if self.nameless {
            return Err(Fault::new(FaultKind::Malformed, "a tool call of the answer has no name"));
        }
        self.held_arguments(out);
        if !self.annotations.is_empty() {
            let list = format!("[{}]", std::mem::take(&mut self.annotations));
            out.push(Delta::Opaque("annotations".to_owned(), RawJson(list.into())));
        }
        unread::read(response, out);
        let reason = response.get("incomplete_details").and_then(|details| details.get_string("reason"));
        let finish = finish::from_responses(status, reason.as_deref());
        let asks = finish == Finish::Stop && !self.tools.is_empty();
        out.push(Delta::Finished(if asks { Finish::ToolCalls } else { finish }));
        if let Some(used) = response.get("usage").as_ref().and_then(usage::from_responses) {
            out.push(Delta::Usage(used));
        }
        Ok(())
    }

    fn item_added(&mut self, index: u64, item: &View<'_>, out: &mut Vec<Delta>) {
        if item.get_string("type").as_deref() == Some("function_call") {
            self.tool(index, item, out);
        }
    }

    /// Reads of an item what has not been heard of it.
    fn item_done(&mut self, index: u64, item: &View<'_>, out: &mut Vec<Delta>) {
        if self.done.contains(&index) {
            return;
        }
        self.done.push(index);
        let parts = |name: &str| (0..).zip(item.get(name).into_iter().flat_map(|list| list.items()));
        match item.get_string("type").as_deref() {
            Some("message") => {
                for (at, part) in parts("content") {
                    self.part_done((index, at), &part, out);
                }
            }
            Some("reasoning") => {
                parts("summary").for_each(|(at, part)| self.rest(&part, "text", (index, Words::Summary, at), out));
                parts("content").for_each(|(at, part)| self.rest(&part, "text", (index, Words::Thought, at), out));
                let text = |name: &str| item.get_string(name).unwrap_or_default().into_owned();
                let (id, content) = (text("id"), text("encrypted_content"));
                if !content.is_empty() {
                    self.thought = None;
                    out.push(Delta::EncryptedReasoning { id, content });
                }
            }
            Some("function_call") => {
                self.tool(index, item, out);
                self.nameless |= !self.tools.iter().any(|tool| tool.item == index);
                self.rest(item, "arguments", (index, Words::Arguments, 0), out);
            }
            Some(other) => {
                self.thought = None;
                out.push(Delta::Opaque(other.to_owned(), item.raw_json()));
            }
            None => {}
        }
    }

    fn part_done(&mut self, (index, at): (u64, u64), part: &View<'_>, out: &mut Vec<Delta>) {
        match part.get_string("type").as_deref() {
            Some("output_text") => {
                self.rest(part, "text", (index, Words::Text, at), out);
                if !self.weighed.contains(&(index, Words::Text, at)) {
                    self.logprobs(part, (index, Words::Text, at), out);
                }
                for annotation in part.get("annotations").into_iter().flat_map(|list| list.items()) {
                    if !self.annotations.is_empty() {
                        self.annotations.push(',');
                    }
                    self.annotations.push_str(annotation.raw());
                }
            }
            Some("refusal") => self.rest(part, "refusal", (index, Words::Refusal, at), out),
            Some(other) => out.push(Delta::Opaque(other.to_owned(), part.raw_json())),
            None => {}
        }
    }

    fn logprobs(&mut self, said: &View<'_>, place: Place, out: &mut Vec<Delta>) {
        if let Some(list) = said.get("logprobs").filter(|list| list.items().next().is_some()) {
            self.weighed.push(place);
            out.push(Delta::Logprobs(list.raw_json()));
        }
    }

    /// A tool call that is seen for the first time.
    fn tool(&mut self, index: u64, item: &View<'_>, out: &mut Vec<Delta>) {
        let text = |name: &str| item.get_string(name).unwrap_or_default().into_owned();
        let name = text("name");
        if name.is_empty() || self.tools.iter().any(|tool| tool.item == index) {
            return;
        }
        let place = u32::try_from(self.tools.len()).unwrap_or(u32::MAX);
        let id = [text("call_id"), text("id")].into_iter().find(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| format!("call_{}_{place}", self.id));
        self.thought = None;
        self.tools.push(Tool { item: index, held: text("arguments") });
        out.push(Delta::ToolCallStarted { index: place, id, name });
    }

    /// Arguments of calls that began with them and were never ended.
    fn held_arguments(&mut self, out: &mut Vec<Delta>) {
        for (index, tool) in (0..).zip(&mut self.tools) {
            let heard = self.heard.iter().any(|((item, words, _), _)| *item == tool.item && *words == Words::Arguments);
            if !heard && !tool.held.is_empty() {
                out.push(Delta::ToolCallArguments { index, fragment: std::mem::take(&mut tool.held) });
            }
        }
    }

    /// More of a text.
    fn more(&mut self, event: &View<'_>, name: &str, place: Place, out: &mut Vec<Delta>) {
        if let Some(fragment) = event.get_string(name) {
            self.say(place, &fragment, out);
        }
    }

    /// What is left of a text that is now whole.
    fn rest(&mut self, event: &View<'_>, name: &str, place: Place, out: &mut Vec<Delta>) {
        let Some(text) = event.get_string(name) else { return };
        let heard = self.heard.iter().find(|(known, _)| *known == place).map_or(0, |(_, heard)| *heard);
        if let Some(rest) = text.get(heard..) {
            self.say(place, rest, out);
        }
    }

    fn say(&mut self, place: Place, fragment: &str, out: &mut Vec<Delta>) {
        let (item, words, _) = place;
        if fragment.is_empty() {
            return;
        }
        let delta = match words {
            Words::Text => Delta::Text(fragment.to_owned()),
            Words::Refusal => Delta::Refusal(fragment.to_owned()),
            Words::Summary | Words::Thought => {
                // Parts of thinking that become one text are kept apart by a blank line.
                let goes_on = self.thought.is_none_or(|before| before == place);
                Delta::Reasoning(if goes_on { fragment.to_owned() } else { format!("\n\n{fragment}") })
            }
            Words::Arguments => {
                // Arguments before the call itself are read when the call is whole.
                let Some(index) = self.tools.iter().position(|tool| tool.item == item) else { return };
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                Delta::ToolCallArguments { index, fragment: fragment.to_owned() }
            }
        };
        self.thought = matches!(words, Words::Summary | Words::Thought).then_some(place);
        match self.heard.iter_mut().find(|(known, _)| *known == place) {
            Some((_, heard)) => *heard += fragment.len(),
            None => self.heard.push((place, fragment.len())),
        }
        out.push(delta);
    }
}

#[cfg(test)]
mod tests {
    use commonwatt_core::answer::Answer;

    use super::*;
    use crate::read_whole;

    /// The answer that events add up to; they end with a completed response.
    fn heard(events: &[&str]) -> Answer {
        let (mut reader, mut tape, mut deltas) = (Reader::default(), Tape::default(), Vec::new());
        for event in events.iter().copied().chain([r#"{"type":"response.completed","response":{"output":[]}}"#]) {
            let root = tape.read(event.as_bytes()).expect("valid JSON");
            reader.event(&root, &mut deltas).expect("an event");
        }
        let mut answer = Answer::default();
        deltas.into_iter().for_each(|delta| answer.push(delta));
        answer
    }

    #[test]
    fn what_was_said_in_deltas_is_not_said_again_by_the_ends() {
        let answer = heard(&[
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"he"}"#,
            r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"hello"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"hello"}]}}"#,
        ]);
        assert_eq!(answer.text(), "hello");
    }

    #[test]
    fn items_without_an_index_are_told_apart() {
        let item = |kind: &str, id: &str| {
            format!(
                r#"{{"type":"response.output_item.{kind}","item":{{"type":"function_call","call_id":"{id}","name":"f","arguments":"{{}}"}}}}"#
            )
        };
        let events = [item("added", "a"), item("done", "a"), item("added", "b"), item("done", "b"), item("done", "c")];
        let answer = heard(&events.each_ref().map(String::as_str));
        let calls: Vec<_> = answer.tool_calls().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("a", "{}"), ("b", "{}"), ("c", "{}")]);
        assert_eq!(answer.finish, Some(Finish::ToolCalls));
    }

    #[test]
    fn arguments_that_came_with_the_start_alone_are_kept() {
        let answer = heard(&[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"a","name":"f","arguments":"{\"n\":1}"}}"#,
        ]);
        assert_eq!(answer.tool_calls().next().expect("a call").arguments, r#"{"n":1}"#);
    }

    #[test]
    fn the_number_after_an_event_is_one_more() {
        let number = |event: &'static str| next_number(&Bytes::from_static(event.as_bytes()));
        let event = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":41}\n\n";
        assert_eq!((number(event), number("data: {}\n\n"), number(": ping\n\n"), number("")), (42, 0, 0, 0));
    }

    #[test]
    fn a_whole_answer_that_failed_or_is_not_there_yet_is_a_fault() {
        let kind = |body: &str| read_whole(Dialect::OpenAiResponses, body.as_bytes()).map_err(|fault| fault.kind);
        let failed = r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow down"},"output":[]}"#;
        assert_eq!(kind(failed), Err(FaultKind::RateLimited));
        assert_eq!(kind(r#"{"status":"cancelled","output":[]}"#), Err(FaultKind::InBand));
        assert_eq!(kind(r#"{"status":"queued","output":[]}"#), Err(FaultKind::InBand));
        assert_eq!(kind(r#"{"id":"resp_1"}"#), Err(FaultKind::Malformed));
        let nameless = r#"{"status":"completed","output":[{"type":"function_call","call_id":"a","arguments":"{}"}]}"#;
        assert_eq!(kind(nameless), Err(FaultKind::Malformed));
    }
}
