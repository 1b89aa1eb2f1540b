//! The view of a conversation that fits a target's window.
//!
//! A conversation is never cut down in place: where it is too long for a target, that target is given a *projection* of
//! it, and the conversation stays what it was. This module decides what stays and what is told in a summary. It knows
//! sizes and who said what; it does not know who writes the summary, nor what it says.
//!
//! ```text
//! system, tools │ turn 0 … turn k-1 │ turn k … last          the conversation
//! system, tools │ kept │ summary    │ turn k … last          its projection
//! ```
//!
//! *Kept* are the turns of the operator among those before `k`, and what the user said last, if it stands there: an agent
//! works for hundreds of turns on one question.

use std::collections::HashMap;
use std::fmt;

use crate::call::{Call, Item, Part, Tool};
use crate::turn::Party;

/// Bytes that make a token, as far as nobody has counted: texts in most languages and tokenizers have more to a token,
/// and a prompt that is shorter than it was taken for fits all the same.
const TOKEN_BYTES: u64 = 3;
/// What a turn costs beside its words: the marks of a chat template.
const TURN_TOKENS: u64 = 8;
/// What providers charge for an image of the largest size that they do not scale down.
const IMAGE_TOKENS: u64 = 1_600;
/// What frames a summary: who wrote it and why.
const FRAME_TOKENS: u64 = 200;
/// A summary that may say less than this says nothing.
const SUMMARY_TOKENS_MIN: u64 = 128;
/// A longer one is a burden to a small model; the newest turns, word for word, are worth more.
const SUMMARY_TOKENS_MAX: u64 = 2_048;
/// Room for an answer where the caller names none.
const OUTPUT_TOKENS: u64 = 1_024;

/// A target, as far as a conversation must fit into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Prompt and answer together.
    pub window_tokens: u64,
    /// What the caller wants to have room for; zero when it did not say.
    pub output_tokens: u64,
}

impl Geometry {
    /// What is left free for the answer: what the caller wants, but never more than a quarter of the window.
    #[must_use]
    pub fn reserved_tokens(self) -> u64 {
        let wanted = if self.output_tokens == 0 { OUTPUT_TOKENS } else { self.output_tokens };
        wanted.min(self.window_tokens / 4)
    }
}

/// A turn as far as it must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnSize {
    /// Who said it.
    pub party: Party,
    /// How long it is.
    pub tokens: u64,
    /// Whether a conversation may begin with it: no result stands here or later whose call stands before it.
    pub may_begin: bool,
}

/// A conversation as far as it must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// System prompt, tools and everything else beside the conversation.
    pub fixed_tokens: u64,
    /// The conversation, oldest first.
    pub turns: Vec<TurnSize>,
}

/// What stays of a conversation, and how much may be told of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first turn of those that follow the summary. All before it are told in the summary.
    pub keep_from: usize,
    /// Turns before `keep_from` that stay all the same, in order.
    pub pinned: Vec<usize>,
    /// How long the summary may be.
    pub budget_tokens: u64,
}

/// Why a conversation has no projection: what must stay is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// What must stay needs so many tokens.
    pub needs_tokens: u64,
    /// So many fit.
    pub window_tokens: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needs_tokens, window_tokens } = self;
        write!(
            f,
            "system prompt, tools and the last turns, which are never shortened, need about {needs_tokens} tokens with \
             room for an answer, its window is {window_tokens}"
        )
    }
}

/// The view of a conversation that fits a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projection {
    /// All of it.
    Whole,
    /// A summary and the newest turns.
    Compact(Cut),
    /// There is none.
    Impossible(NoRoom),
}

impl Projection {
    /// Decides what of a conversation a target is given.
    #[must_use]
    pub fn of(sizes: &Sizes, geometry: Geometry) -> Self {
        let all: u64 = sizes.turns.iter().map(|turn| turn.tokens).sum();
        let needs_tokens = geometry.reserved_tokens() + sizes.fixed_tokens + all;
        if needs_tokens <= geometry.window_tokens {
            return Self::Whole;
        }
        let impossible = |needs_tokens| NoRoom { needs_tokens, window_tokens: geometry.window_tokens };
        let Some(shortest) = sizes.beginnings().next() else { return Self::Impossible(impossible(needs_tokens)) };
        let (room, least) = (sizes.room_tokens(geometry), sizes.kept_tokens(shortest));
        if least + SUMMARY_TOKENS_MIN > room {
            let beside = geometry.reserved_tokens() + sizes.fixed_tokens + FRAME_TOKENS;
            return Self::Impossible(impossible(beside + least + SUMMARY_TOKENS_MIN));
        }
        let budget_tokens = (room / 4).clamp(SUMMARY_TOKENS_MIN, SUMMARY_TOKENS_MAX).min(room - least);
        // Half of the rest stays free, so that the conversation can go on before it must be summarised again.
        let enough = least.max((room - budget_tokens) / 2);
        let fitting = sizes.beginnings().take_while(|at| sizes.kept_tokens(*at) <= enough);
        let keep_from = fitting.last().unwrap_or(shortest);
        Self::Compact(Cut { keep_from, pinned: sizes.pinned(keep_from), budget_tokens })
    }
}

impl Sizes {
    /// The sizes of a call whose conversation is `turns`; the call's own items are not looked at.
    #[must_use]
    pub fn of(call: &Call, turns: &[(Party, Vec<Item>)]) -> Self {
        let extra = call.extra.iter().map(|(name, value)| tokens(name.len() + value.0.len()));
        let fixed_tokens =
            parts(&call.system) + call.tools.iter().map(tool).sum::<u64>() + extra.sum::<u64>() + TURN_TOKENS;
        let beginnings = may_begin(turns);
        let size = |((party, items), may_begin): (&(Party, Vec<Item>), bool)| TurnSize {
            party: *party,
            tokens: items.iter().map(item).sum::<u64>() + TURN_TOKENS,
            may_begin,
        };
        Self { fixed_tokens, turns: turns.iter().zip(beginnings).map(size).collect() }
    }

    /// What the whole of it takes, without room for an answer.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.fixed_tokens + self.turns.iter().map(|turn| turn.tokens).sum::<u64>()
    }

    /// What is left for the answer once the conversation is cut there and told in a summary of that length.
    #[must_use]
    pub fn answer_tokens(&self, geometry: Geometry, keep_from: usize, summary_tokens: u64) -> u64 {
        let prompt = self.fixed_tokens + FRAME_TOKENS + self.kept_tokens(keep_from) + summary_tokens;
        geometry.window_tokens.saturating_sub(prompt)
    }

    /// The cut behind the first `covered` turns, if a summary of them of that length and all the rest fit.
    #[must_use]
    pub fn with_summary(&self, geometry: Geometry, covered: usize, summary_tokens: u64) -> Option<Cut> {
        let is_a_beginning = covered > 0 && self.turns.get(covered).is_some_and(|turn| turn.may_begin);
        let fits = self.kept_tokens(covered) + summary_tokens <= self.room_tokens(geometry);
        (is_a_beginning && fits).then(|| Cut {
            keep_from: covered,
            pinned: self.pinned(covered),
            budget_tokens: summary_tokens,
        })
    }

    /// Where what is kept may begin, latest first; never with the first turn, since that would be all.
    fn beginnings(&self) -> impl Iterator<Item = usize> {
        let turns = self.turns.iter().enumerate().skip(1).rev();
        turns.filter(|(_, turn)| turn.may_begin).map(|(at, _)| at)
    }

    /// Turns before `keep_from` that are never cut.
    fn pinned(&self, keep_from: usize) -> Vec<usize> {
        let last_user = self.turns.iter().rposition(|turn| turn.party == Party::User);
        let before = self.turns.iter().enumerate().take(keep_from);
        before.filter(|(at, turn)| turn.party == Party::System || Some(*at) == last_user).map(|(at, _)| at).collect()
    }

    /// What stays when the conversation is cut there.
    fn kept_tokens(&self, keep_from: usize) -> u64 {
        let pinned = self.pinned(keep_from).into_iter().filter_map(|at| self.turns.get(at));
        pinned.chain(self.turns.iter().skip(keep_from)).map(|turn| turn.tokens).sum()
    }

    /// What there is for a summary and the turns that stay.
    fn room_tokens(&self, geometry: Geometry) -> u64 {
        geometry.window_tokens.saturating_sub(geometry.reserved_tokens() + self.fixed_tokens + FRAME_TOKENS)
    }
}

/// What a text takes, estimated.
#[must_use]
pub fn text_tokens(text: &str) -> u64 {
    tokens(text.len())
}

/// The longest beginning of a text that takes no more than so many tokens, and the rest. It ends with a line where there
/// is an end of one in its second half, and never within a character.
#[must_use]
pub fn fitting(text: &str, tokens: u64) -> (&str, &str) {
    let bytes = usize::try_from(tokens * TOKEN_BYTES).unwrap_or(usize::MAX);
    if text.len() <= bytes {
        return (text, "");
    }
    let bound = text.floor_char_boundary(bytes);
    let line = text.get(..bound).and_then(|head| head.rfind('\n')).map(|end| end + 1).filter(|end| *end > bound / 2);
    // A single character that is wider than the bound is taken all the same.
    let at = line.unwrap_or(bound).max(text.ceil_char_boundary(1));
    text.split_at(at)
}

fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(TOKEN_BYTES)
}

fn tool(tool: &Tool) -> u64 {
    let raw = |json: &Option<crate::call::RawJson>| json.as_ref().map_or(0, |json| json.0.len());
    let extra: usize = tool.extra.iter().map(|(name, value)| name.len() + value.0.len()).sum();
    let words = tool.name.len() + tool.description.as_ref().map_or(0, String::len);
    tokens(words + raw(&tool.parameters) + raw(&tool.opaque) + extra) + TURN_TOKENS
}

fn item(item: &Item) -> u64 {
    match item {
        Item::Message { content, .. } | Item::ToolOutput { content, .. } => parts(content),
        // A seal is longer than the thinking that it stands for, or as long.
        Item::Reasoning(reasoning) => {
            let seals = [&reasoning.signature, &reasoning.redacted, &reasoning.encrypted];
            tokens(reasoning.text.len() + seals.into_iter().flatten().map(String::len).sum::<usize>())
        }
        Item::ToolCall(call) => tokens(call.name.len() + call.arguments.as_str().len()) + TURN_TOKENS,
        Item::Opaque(kind, value) | Item::Field(kind, value) => tokens(kind.len() + value.0.len()),
    }
}

fn parts(parts: &[Part]) -> u64 {
    let part = |part: &Part| match part {
        Part::Text(text) | Part::Refusal(text) => tokens(text.as_str().len()),
        Part::Image(_) => IMAGE_TOKENS,
        Part::Opaque(kind, value) | Part::Field(kind, value) => tokens(kind.len() + value.0.len()),
    };
    parts.iter().map(part).sum()
}

/// For each turn, whether a conversation may begin with it.
fn may_begin(turns: &[(Party, Vec<Item>)]) -> Vec<bool> {
    let mut called: HashMap<&str, usize> = HashMap::new();
    let mut answered_at = vec![0; turns.len()];
    for (at, (_, items)) in turns.iter().enumerate() {
        for item in items {
            match item {
                Item::ToolCall(call) => {
                    called.insert(&call.id, at);
                }
                Item::ToolOutput { call_id, .. } => {
                    if let Some(place) = called.get(call_id.as_str()).and_then(|from| answered_at.get_mut(*from)) {
                        *place = at;
                    }
                }
                Item::Message { .. } | Item::Reasoning(_) | Item::Opaque(..) | Item::Field(..) => {}
            }
        }
    }
    let mut awaited_until = 0;
    let begins = |(at, ((party, _), answered_at)): (usize, (&(Party, Vec<Item>), usize))| {
        let is_apart = at == 0 || awaited_until < at;
        awaited_until = awaited_until.max(answered_at);
        is_apart && *party != Party::Tool
    };
    turns.iter().zip(answered_at).enumerate().map(begins).collect()
}

#[cfg(test)]
mod tests;
