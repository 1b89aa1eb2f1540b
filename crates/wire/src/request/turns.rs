//! A conversation in the order that every provider accepts: each assistant turn with the results of its tool calls
//! right behind it.
//!
//! Histories come broken: an answer was cut inside a tool call, a client lost a result or kept one without its call,
//! a result came late. Providers refuse such a history for ever, so it is repaired here, once for all dialects, and
//! each repair is named.

use std::borrow::Cow;

use commonwatt_core::call::{Call, Item, Part, RawJson, Reasoning, Role, ToolCall};

use super::lossy::Lossy;
use crate::emit::{Array, Object};
use crate::tool_ids::{Shape, ToolIds};

/// A turn of the conversation.
pub(super) enum Turn<'a> {
    /// A system message after the conversation has begun.
    System(Said<'a>),
    User(Said<'a>),
    Assistant {
        steps: Vec<Step<'a>>,
        /// One for each tool call among the steps, no more and no fewer.
        outputs: Vec<Output<'a>>,
    },
}

/// A message.
pub(super) struct Said<'a> {
    pub(super) parts: Cow<'a, [Part]>,
    pub(super) fields: Fields<'a>,
}

/// Fields that only the source dialect knows.
pub(super) type Fields<'a> = Vec<(&'a str, &'a RawJson)>;

/// A piece of an assistant turn.
pub(super) enum Step<'a> {
    Said(Said<'a>),
    Thought(&'a Reasoning, Fields<'a>),
    Called { id: String, call: &'a ToolCall, fields: Fields<'a>, answered: bool },
}

/// The result of a tool call.
pub(super) struct Output<'a> {
    pub(super) id: String,
    pub(super) parts: Cow<'a, [Part]>,
    pub(super) is_error: bool,
    pub(super) fields: Fields<'a>,
}

impl Output<'_> {
    /// Whether it stands in for a result that nobody has.
    pub(super) fn is_made(&self) -> bool {
        matches!(self.parts, Cow::Owned(_))
    }
}

/// Said in place of a result that nobody has.
const NO_RESULT: &str = "There is no result: the call was interrupted.";
/// Said before a result whose call nobody has.
const ORPHAN: &str = "The result of an earlier tool call:";

/// Arranges the items of a call. System messages at the very beginning come first, as turns like any other.
pub(super) fn arranged<'a>(call: &'a Call, shape: Shape, lossy: &mut Lossy) -> Vec<Turn<'a>> {
    let mut builder = Builder { turns: Vec::new(), ids: ToolIds::new(shape), lossy };
    let mut items = call.items.iter().peekable();
    while let Some(item) = items.next() {
        let mut fields = Fields::new();
        while let Some(Item::Field(name, value)) = items.peek() {
            fields.push((name, value));
            items.next();
        }
        builder.add(item, fields);
    }
    builder.finish()
}

struct Builder<'a, 'l> {
    turns: Vec<Turn<'a>>,
    ids: ToolIds,
    lossy: &'l mut Lossy,
}

impl<'a> Builder<'a, '_> {
    fn add(&mut self, item: &'a Item, fields: Fields<'a>) {
        match item {
            Item::Message { role, content } => {
                let said = Said { parts: Cow::Borrowed(content), fields };
                match role {
                    Role::System => self.turns.push(Turn::System(said)),
                    Role::User => self.turns.push(Turn::User(said)),
                    Role::Assistant => self.step(Step::Said(said)),
                }
            }
            Item::Reasoning(reasoning) => self.step(Step::Thought(reasoning, fields)),
            Item::ToolCall(call) => {
                let id = self.ids.give(&call.id);
                self.step(Step::Called { id, call, fields, answered: false });
            }
            Item::ToolOutput { call_id, content, is_error } => self.output(call_id, content, *is_error, fields),
            Item::Opaque(kind, _) => self.lossy.note(format!("item `{kind}`")),
            // A field before any item belongs to nothing.
            Item::Field(name, _) => self.lossy.note(name),
        }
    }

    /// Adds to the assistant turn that is being written; a turn whose tools have answered is over.
    fn step(&mut self, step: Step<'a>) {
        match self.turns.last_mut() {
            Some(Turn::Assistant { steps, outputs }) if outputs.is_empty() => steps.push(step),
            Some(Turn::System(_) | Turn::User(_) | Turn::Assistant { .. }) | None => {
                self.turns.push(Turn::Assistant { steps: vec![step], outputs: Vec::new() });
            }
        }
    }

    fn output(&mut self, call_id: &str, parts: &'a [Part], is_error: bool, fields: Fields<'a>) {
        let last = self.turns.len().wrapping_sub(1);
        for (index, turn) in self.turns.iter_mut().enumerate().rev() {
            let Turn::Assistant { steps, outputs } = turn else { continue };
            for step in steps {
                let Step::Called { id, call, answered, .. } = step else { continue };
                if call.id == call_id && !*answered {
                    *answered = true;
                    outputs.push(Output { id: id.clone(), parts: Cow::Borrowed(parts), is_error, fields });
                    if index != last {
                        self.lossy.note("messages (a late tool result was moved to its call)");
                    }
                    return;
                }
            }
        }
        self.lossy.note("messages (a tool result without its call became text)");
        let mut said = vec![Part::Text(ORPHAN.into())];
        said.extend(parts.iter().cloned());
        self.turns.push(Turn::User(Said { parts: Cow::Owned(said), fields: Fields::new() }));
    }

    fn finish(mut self) -> Vec<Turn<'a>> {
        for turn in &mut self.turns {
            let Turn::Assistant { steps, outputs } = turn else { continue };
            for step in steps {
                let Step::Called { id, answered: answered @ false, .. } = step else { continue };
                *answered = true;
                let parts = Cow::Owned(vec![Part::Text(NO_RESULT.into())]);
                outputs.push(Output { id: id.clone(), parts, is_error: true, fields: Fields::new() });
                self.lossy.note("messages (a tool call without a result was given one)");
            }
        }
        self.turns
    }
}

/// Parts with the fields that belong to each.
pub(super) fn with_fields(parts: &[Part]) -> Vec<(&Part, Fields<'_>)> {
    let mut paired: Vec<(&Part, Fields<'_>)> = Vec::with_capacity(parts.len());
    for part in parts {
        match (part, paired.last_mut()) {
            (Part::Field(name, value), Some((_, fields))) => fields.push((name, value)),
            (Part::Field(..), None) => {}
            (Part::Text(_) | Part::Image(_) | Part::Refusal(_) | Part::Opaque(..), _) => {
                paired.push((part, Fields::new()));
            }
        }
    }
    paired
}

/// Writes fields that only the source dialect knows back to it, and names them for another.
pub(super) fn write_fields(out: &mut Object<'_>, fields: &Fields<'_>, same: bool, lossy: &mut Lossy) {
    for (name, value) in fields {
        if same {
            out.json(name, value);
        } else {
            lossy.note(name);
        }
    }
}

/// Writes what of `call.extra` stands inside the object that `prefix` names.
pub(super) fn write_extra_within(call: &Call, prefix: &str, out: &mut Object<'_>) {
    for (name, value) in &call.extra {
        if let Some(inner) = name.strip_prefix(prefix) {
            out.json(inner, value);
        }
    }
}

/// Messages under way: neighbours of one speaker become one.
pub(super) struct Neighbours<'o, S> {
    array: Array<'o>,
    /// The member that holds what is said.
    inside: &'static str,
    word: fn(S) -> &'static str,
    open: Option<(S, Vec<u8>)>,
}

impl<'o, S: Copy + PartialEq> Neighbours<'o, S> {
    pub(super) fn new(array: Array<'o>, inside: &'static str, word: fn(S) -> &'static str) -> Self {
        Self { array, inside, word, open: None }
    }

    /// What this speaker says, ready for more.
    pub(super) fn of(&mut self, speaker: S) -> &mut Vec<u8> {
        if self.open.as_ref().is_some_and(|(open, _)| *open != speaker) {
            self.end();
        }
        let (_, said) = self.open.get_or_insert((speaker, Vec::new()));
        if !said.is_empty() {
            said.push(b',');
        }
        said
    }

    pub(super) fn close(mut self) {
        self.end();
        self.array.close();
    }

    fn end(&mut self) {
        let Some((speaker, said)) = self.open.take() else { return };
        let mut message = self.array.object();
        message.string("role", (self.word)(speaker));
        let out = message.key(self.inside);
        out.push(b'[');
        out.extend_from_slice(&said);
        out.push(b']');
        message.close();
    }
}
