//! The events of a stream, numbered from 0.

use serde_json::{Value, json};

use super::{Status, described, item, item_id, part, response, status, summary_part};
use crate::answer::Block;
use crate::dialect::{Frame, Mark, Piece, Rendering, event, set};

pub(in super::super) fn frames(rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
    let mut events = Events::default();
    for name in ["response.created", "response.in_progress"] {
        events.push(Mark::Preamble, json!({ "type": name, "response": response(rendering, Status::InProgress) }));
    }
    for (at, block) in rendering.answer.blocks.iter().enumerate() {
        let opening = described(rendering, at, block, Status::InProgress);
        events
            .push(Mark::Between, json!({ "type": "response.output_item.added", "output_index": at, "item": opening }));
        let place = json!({ "item_id": item_id(rendering.answer.identity, at, block), "output_index": at });
        let said = Said { place, pieces: pieces.iter().filter(|piece| piece.block == at).collect(), block };
        match block {
            Block::Reasoning { text, .. } if rendering.asked.summary => said.summary(&mut events, text),
            Block::Reasoning { text, .. } => said.part(&mut events, text, "reasoning_text"),
            Block::Text(text) => said.part(&mut events, text, "output_text"),
            Block::Refusal(text) => said.part(&mut events, text, "refusal"),
            Block::Call { name, arguments, .. } => said.call(&mut events, name, arguments),
        }
        let item = item(rendering, at);
        events.push(Mark::Between, json!({ "type": "response.output_item.done", "output_index": at, "item": item }));
    }
    let status = status(&rendering.answer.stop);
    let last = json!({ "type": format!("response.{}", status.word()), "response": response(rendering, status) });
    events.push(Mark::Finish, last);
    events.frames
}

#[derive(Debug, Default)]
struct Events {
    frames: Vec<Frame>,
}

/// What is said within one item.
#[derive(Debug)]
struct Said<'a> {
    place: Value,
    pieces: Vec<&'a Piece<'a>>,
    block: &'a Block,
}

impl Events {
    fn push(&mut self, mark: Mark, mut data: Value) {
        set(&mut data, "sequence_number", json!(self.frames.len()));
        self.frames.push(Frame { mark, bytes: event(&data) });
    }
}

impl Said<'_> {
    fn summary(&self, events: &mut Events, text: &str) {
        let tell = |name: &str, more: Value| {
            let place = self.event(&format!("response.reasoning_summary_{name}"), json!({ "summary_index": 0 }));
            joined(place, more)
        };
        events.push(Mark::Between, tell("part.added", json!({ "part": summary_part("") })));
        for piece in &self.pieces {
            events.push(piece.mark(), tell("text.delta", json!({ "delta": piece.text })));
        }
        events.push(Mark::Between, tell("text.done", json!({ "text": text })));
        events.push(Mark::Between, tell("part.done", json!({ "part": summary_part(text) })));
    }

    /// A part of the item's content, of that `kind`.
    fn part(&self, events: &mut Events, text: &str, kind: &str) {
        let tell = |name: &str, more: Value| {
            joined(self.event(&format!("response.{name}"), json!({ "content_index": 0 })), more)
        };
        let logprobs = if kind == "output_text" { json!({ "logprobs": [] }) } else { json!({}) };
        events.push(Mark::Between, tell("content_part.added", json!({ "part": part(self.block, "") })));
        for piece in &self.pieces {
            let delta = joined(json!({ "delta": piece.text }), logprobs.clone());
            events.push(piece.mark(), tell(&format!("{kind}.delta"), delta));
        }
        let field = if kind == "refusal" { "refusal" } else { "text" };
        let mut done = logprobs;
        set(&mut done, field, json!(text));
        events.push(Mark::Between, tell(&format!("{kind}.done"), done));
        events.push(Mark::Between, tell("content_part.done", json!({ "part": part(self.block, text) })));
    }

    fn call(&self, events: &mut Events, name: &str, arguments: &str) {
        for piece in &self.pieces {
            let delta = self.event("response.function_call_arguments.delta", json!({ "delta": piece.text }));
            events.push(piece.mark(), delta);
        }
        let done = json!({ "name": name, "arguments": arguments });
        events.push(Mark::Between, self.event("response.function_call_arguments.done", done));
    }

    fn event(&self, name: &str, more: Value) -> Value {
        joined(joined(json!({ "type": name }), self.place.clone()), more)
    }
}

/// Two objects as one.
fn joined(mut one: Value, other: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (one.as_object_mut(), other) {
        fields.extend(more);
    }
    one
}
