//! Reads answers of Ollama, streamed and whole: to a conversation (`message`) and to a prompt (`response`).
//!
//! ```text
//! {"model":"m","created_at":"…","message":{"role":"assistant","content":"Hel"},"done":false}
//! {"model":"m","created_at":"…","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",
//!  "prompt_eval_count":26,"eval_count":2,"total_duration":…}
//! ```
//!
//! A whole answer is one such line with everything in it.

use std::borrow::Cow;

use commonwatt_core::answer::{Delta, Finish};
use commonwatt_core::fault::{Fault, FaultKind};

use super::{finish, usage};
use crate::tape::{Kind, View};

#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    /// When the answer began, of which ids are made.
    created: String,
    /// How many tool calls have come; each comes whole.
    calls: u32,
}

impl Reader {
    /// True when the dialect's terminator has come.
    pub(super) fn event(&mut self, root: &View<'_>, out: &mut Vec<Delta>) -> Result<bool, Fault> {
        if root.kind() != Kind::Object {
            return Err(Fault::new(FaultKind::Malformed, "a line of the stream is not a JSON object"));
        }
        if !std::mem::replace(&mut self.begun, true) {
            let created = root.get_string("created_at").unwrap_or_default();
            self.created = created.chars().filter(char::is_ascii_alphanumeric).take(26).collect();
            let model = root.get_string("model").unwrap_or_default().into_owned();
            out.push(Delta::Started { id: String::new(), model });
        }
        self.message(&root.get("message").unwrap_or(*root), out)?;
        if let Some(list) = root.get("logprobs").filter(|list| list.items().next().is_some()) {
            out.push(Delta::Logprobs(list.raw_json()));
        }
        if root.get("done").and_then(|done| done.boolean()) != Some(true) {
            return Ok(false);
        }
        let counts = usage::from_ollama(root);
        // Old servers do not say why, but how much.
        if root.get("done_reason").is_none() && counts.is_none() {
            return Err(Fault::new(FaultKind::Cut, "the answer ended without saying why"));
        }
        let word = root.get_string("done_reason").unwrap_or(Cow::Borrowed("stop"));
        let finish = finish::from_ollama(&word);
        let asks = finish == Finish::Stop && self.calls > 0;
        out.push(Delta::Finished(if asks { Finish::ToolCalls } else { finish }));
        out.extend(counts.map(Delta::Usage));
        Ok(true)
    }

    /// What is said: in `message`, or beside the rest in an answer to a prompt.
    fn message(&mut self, message: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
        push(out, message.get_string("thinking"), Delta::Reasoning);
        push(out, message.get_string("content").or_else(|| message.get_string("response")), Delta::Text);
        for call in message.get("tool_calls").iter().flat_map(View::items) {
            let function = call.get("function");
            let name = function.and_then(|function| function.get_string("name")).filter(|name| !name.is_empty());
            let Some(name) = name else {
                return Err(Fault::new(FaultKind::Malformed, "a tool call of the answer has no name"));
            };
            let arguments = function.and_then(|function| function.get("arguments"));
            let arguments = arguments.map(|value| value.string().unwrap_or(Cow::Borrowed(value.raw())));
            let index = self.calls;
            self.calls += 1;
            let id = call.get_string("id").filter(|id| !id.is_empty());
            let id = id.map_or_else(|| format!("call_{}_{index}", self.created), Cow::into_owned);
            out.push(Delta::ToolCallStarted { index, id, name: name.into_owned() });
            let fragment = arguments.filter(|text| !text.is_empty()).map_or_else(|| "{}".to_owned(), Cow::into_owned);
            out.push(Delta::ToolCallArguments { index, fragment });
        }
        Ok(())
    }
}

pub(super) fn whole(root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    if Reader::default().event(root, out)? {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Cut, "the answer is not done"))
}

/// Text that says something.
fn push(out: &mut Vec<Delta>, text: Option<Cow<'_, str>>, delta: fn(String) -> Delta) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(delta(text.into_owned()));
    }
}
