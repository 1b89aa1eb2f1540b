//! A call's conversation, turn by turn, and the request that a target is sent instead of it.

use bytes::Bytes;
use commonwatt_core::call::{Call, Image, Item, Part, Role};
use commonwatt_core::fault::Fault;
use commonwatt_core::fleet::Deployment;
use commonwatt_core::projection::{Geometry, Projection, Sizes, text_tokens};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{Party, utterances};
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::{BadInput, Encoded, Envelope, Quirks, decode, encode, open};

use super::Target;
use super::summary::Told;
use crate::bus::derive::links;
use crate::bus::link::Link;
use crate::request::Underway;

/// What only its own dialect understands is mostly of no use to a summariser; a search or a command is short.
const OPAQUE_BYTES_MAX: usize = 2_048;

/// A call's conversation.
pub(super) struct History {
    /// The call without its conversation.
    frame: Call,
    pub(super) turns: Vec<(Party, Vec<Item>)>,
    /// What was said up to each turn.
    pub(super) links: Vec<Link>,
    pub(super) sizes: Sizes,
}

/// A request with a summary in it.
pub(super) struct View {
    pub(super) body: KeptBody,
    pub(super) envelope: Envelope,
    /// What its target is not told, in so many words.
    pub(super) lossy: Vec<String>,
}

impl History {
    pub(super) async fn of(call: &Underway) -> Result<Self, Refusal> {
        let internal = |fault: Fault| Refusal::new(RefusalKind::Internal, fault.message);
        let body = call.arrival.body.bytes().await.map_err(internal)?;
        let bad = |error: BadInput| Refusal::new(RefusalKind::BadRequest, error.to_string());
        let decoded = decode(call.arrival.dialect, &body).map_err(bad)?;
        let frame = Call { items: Vec::new(), ..decoded };
        let links = links(call, &body, decoded.items.clone());
        let turns = utterances(decoded.items);
        let sizes = Sizes::of(&frame, &turns);
        Ok(Self { frame, turns, links, sizes })
    }

    /// What a deployment would be given, in a clause.
    pub(super) fn foreseen(&self, call: &Underway, deployment: &Deployment) -> String {
        let window_tokens = deployment.window_tokens.map_or_else(|| self.sizes.prompt_tokens(), u64::from);
        let output_tokens = u64::from(call.envelope.needs.max_output_tokens);
        match Projection::of(&self.sizes, Geometry { window_tokens, output_tokens }) {
            Projection::Whole => "asked all the same if nobody larger answers".to_owned(),
            Projection::Compact(cut) => {
                let all = self.turns.len();
                format!("asked with a summary of {} of {all} turns if nobody larger answers", cut.keep_from)
            }
            Projection::Impossible(reason) => format!("no summary would help: {reason}"),
        }
    }

    /// The request for a target: the operator's words, the summary, and what was said since.
    pub(super) fn view(
        &self,
        call: &Underway,
        target: &Target<'_>,
        geometry: Geometry,
        told: &Told,
    ) -> Result<View, Refusal> {
        let is_system = |at: &&usize| self.turns.get(**at).is_some_and(|(party, _)| *party == Party::System);
        let (system, kept): (Vec<&usize>, Vec<&usize>) = told.pinned.iter().partition(is_system);
        let of = |at: &usize| self.turns.get(*at).map(|(_, items)| items.clone()).unwrap_or_default();
        let mut items: Vec<Item> = system.into_iter().flat_map(of).collect();
        let since = self.turns.iter().skip(told.covered).flat_map(|(_, items)| items.clone());
        items.extend(with_note(note(told, target.window_tokens), kept.into_iter().flat_map(of).chain(since).collect()));
        let room = self.sizes.answer_tokens(geometry, told.covered, text_tokens(&told.text));
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let max_output_tokens = self.frame.max_output_tokens.map(|wanted| wanted.min(room));
        let turns = told.covered - told.pinned.len();
        let window = target.window_tokens;
        let mut lossy = vec![format!("conversation ({turns} turns summarised for a window of {window} tokens)")];
        if max_output_tokens != self.frame.max_output_tokens {
            lossy.push(format!("max_tokens ({room})"));
        }
        let frame = Call { items, max_output_tokens, ..self.frame.clone() };
        let dialect = call.arrival.dialect;
        let Encoded { body, lossy: lost } = encode(dialect, &frame, &frame.model, &Quirks::default())
            .map_err(|error| Refusal::new(RefusalKind::ContextOverflow, error.to_string()))?;
        lossy.extend(lost);
        let bad = |error: BadInput| Refusal::new(RefusalKind::Internal, error.to_string());
        let envelope = open(dialect, call.arrival.in_path.as_ref(), &body).map_err(bad)?;
        Ok(View { body: KeptBody::Memory(body), envelope, lossy })
    }

    /// Turns as a summariser reads them: who said what, in plain text.
    pub(super) fn transcript(&self, from: usize, to: usize) -> String {
        let mut text = String::new();
        for (party, items) in self.turns.iter().take(to).skip(from) {
            for item in items {
                write_item(&mut text, *party, item);
            }
        }
        text
    }
}

/// Says who wrote it and what it stands for, so that nobody takes it for the user's own words. Its last sentence is for
/// models that would begin by saying who they are.
fn note(told: &Told, window_tokens: u64) -> String {
    let turns = told.covered;
    let text = &told.text;
    format!(
        "[Note of the gateway, not of the user: the conversation is longer than your window of {window_tokens} tokens. \
         Its first {turns} turns are told here in a summary; what comes after it is word for word. Go on as if you had \
         read everything. What the summary does not say you do not know: look or ask again, never guess. Do not \
         introduce yourself.]\n\n{text}\n\n[End of the note.]"
    )
}

/// Puts a note before a conversation, in the user's voice: within the message that follows if the user said that, since
/// templates exist that refuse two in a row.
fn with_note(note: String, mut items: Vec<Item>) -> Vec<Item> {
    match items.first_mut() {
        Some(Item::Message { role: Role::User, content }) => match content.first_mut() {
            Some(Part::Text(text)) => *text = format!("{note}\n\n{}", text.as_str()).into(),
            Some(Part::Image(_) | Part::Refusal(_) | Part::Opaque(..) | Part::Field(..)) | None => {
                content.insert(0, Part::Text(note.into()));
            }
        },
        Some(
            Item::Message { .. }
            | Item::Reasoning(_)
            | Item::ToolCall(_)
            | Item::ToolOutput { .. }
            | Item::Opaque(..)
            | Item::Field(..),
        )
        | None => items.insert(0, Item::Message { role: Role::User, content: vec![Part::Text(note.into())] }),
    }
    items
}

fn write_item(text: &mut String, party: Party, item: &Item) {
    match item {
        Item::Message { content, .. } => {
            let who = match party {
                Party::System => "operator",
                Party::User => "user",
                Party::Model => "assistant",
                Party::Tool => "tool",
            };
            line(text, who, &words(content));
        }
        Item::ToolCall(call) => line(text, &format!("assistant calls {}", call.name), &call.arguments.as_str()),
        Item::ToolOutput { content, is_error, .. } => {
            line(text, if *is_error { "tool failed" } else { "tool says" }, &words(content));
        }
        Item::Opaque(kind, value) if value.0.len() <= OPAQUE_BYTES_MAX => line(text, kind, value.as_str()),
        Item::Opaque(kind, value) => line(text, kind, &format!("{} bytes, not shown", value.0.len())),
        // What was thought led to what was said.
        Item::Reasoning(_) | Item::Field(..) => {}
    }
}

fn line(text: &mut String, who: &str, said: &str) {
    if !said.trim().is_empty() {
        text.push_str(&format!("[{who}] {said}\n"));
    }
}

fn words(parts: &[Part]) -> String {
    let mut said = String::new();
    for part in parts {
        match part {
            Part::Text(text) | Part::Refusal(text) => said.push_str(&text.as_str()),
            Part::Image(Image::Url { url, .. }) => said.push_str(&format!("[an image: {url}]")),
            Part::Image(Image::Base64 { .. }) => said.push_str("[an image]"),
            Part::Opaque(kind, _) => said.push_str(&format!("[{kind}]")),
            Part::Field(..) => {}
        }
    }
    said
}

/// As a body, so that a summary can be asked for.
pub(super) fn body_of(call: &Call) -> Result<Bytes, String> {
    let encoded = encode(commonwatt_wire::Dialect::OpenAiChat, call, &call.model, &Quirks::default());
    encoded.map(|encoded| encoded.body).map_err(|error| error.to_string())
}
