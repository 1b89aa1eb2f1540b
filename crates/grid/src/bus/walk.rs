//! Walking through a resent history: what is known is skipped, what is new is read.

use std::ops::Range;

use bytes::Bytes;
use commonwatt_core::call::Item;
use commonwatt_core::turn::{Party, utterances};
use commonwatt_wire::{Dialect, Envelope, decode, decode_message, reads_alone};

use super::link::Link;
use super::warm::{Mark, Opening};

/// So much of the first message tells the beginnings of sessions apart.
const OPENING_BYTES: usize = 1_024;
/// Marks are set behind so many of a request's last messages: clients that move their cache marks along change the
/// newest messages once more, and those before them no longer.
const MARKS_NEW: usize = 4;

/// Something that was said, read from a request.
pub(crate) struct Step {
    pub(crate) party: Party,
    pub(crate) items: Vec<Item>,
    /// What was said up to here.
    pub(crate) link: Link,
    /// Messages of the request up to here.
    pub(crate) messages: usize,
}

/// Where a mark may be set: behind so many messages, which are so many bytes with that hash.
pub(crate) struct Stone {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) hash: [u8; 32],
}

/// A request's history.
pub(crate) struct Walk {
    /// The longest beginning that is known byte for byte.
    pub(crate) known: Option<Mark>,
    /// What comes after it.
    pub(crate) steps: Vec<Step>,
    /// How the request begins, where its messages can be told apart.
    pub(crate) opening: Option<Opening>,
    pub(crate) stones: Vec<Stone>,
}

/// How a session's requests begin; `None` where a conversation is a text, or its messages cannot be read one by one.
pub(crate) fn opening(dialect: Dialect, envelope: &Envelope, seed: Link) -> Option<Opening> {
    let first = envelope.opening.as_ref().filter(|_| reads_alone(dialect))?;
    let first = first.get(..first.len().min(OPENING_BYTES))?;
    Some(*blake3::Hasher::new_keyed(&seed.0).update(first).finalize().as_bytes())
}

impl Walk {
    /// Walks through a request; `marks` are those known for its opening. `None` when it is not valid in its dialect,
    /// which its caller hears from whoever reads it for an answer.
    pub(crate) fn through(
        dialect: Dialect,
        envelope: &Envelope,
        body: &Bytes,
        seed: Link,
        known: (Option<Opening>, Vec<Mark>),
    ) -> Option<Self> {
        let (opening, marks) = known;
        if opening.is_none() {
            return Some(Self::of_what_was_said(decode(dialect, body).ok()?.items, seed));
        }
        let (known, stones) = measured(&envelope.messages, body, &marks);
        let (from, link) = known.as_ref().map_or((0, seed), |mark| (mark.messages, mark.link));
        let rest = envelope.messages.iter().enumerate().skip(from).map(|(at, range)| {
            let items = decode_message(dialect, body.get(range.clone())?).ok()?;
            Some((items, at + 1))
        });
        Some(Self { steps: steps(rest, link)?, known, opening, stones })
    }
}

impl Walk {
    /// The walk through items alone, after what was said up to `link`.
    pub(crate) fn of_what_was_said(items: Vec<Item>, link: Link) -> Self {
        let steps = steps(std::iter::once(Some((items, 0))), link).unwrap_or_default();
        Self { known: None, steps, opening: None, stones: Vec::new() }
    }
}

/// Hashes the messages once, and finds the longest known beginning on the way.
fn measured(messages: &[Range<usize>], body: &Bytes, marks: &[Mark]) -> (Option<Mark>, Vec<Stone>) {
    let start = messages.first().map_or(0, |first| first.start);
    let ends_at = |count: usize| messages.get(count.wrapping_sub(1)).map(|range| range.end - start);
    let mut stops: Vec<usize> = marks
        .iter()
        .filter(|mark| ends_at(mark.messages) == Some(mark.bytes))
        .map(|mark| mark.messages)
        .chain(messages.len().saturating_sub(MARKS_NEW - 1).max(1)..=messages.len())
        .collect();
    stops.sort_unstable();
    stops.dedup();
    let (mut hasher, mut hashed, mut known, mut stones) = (blake3::Hasher::new(), 0, None, Vec::new());
    for stop in stops {
        let Some(bytes) = ends_at(stop) else { continue };
        hasher.update(body.get(start + hashed..start + bytes).unwrap_or_default());
        hashed = bytes;
        let hash = *hasher.finalize().as_bytes();
        let same = |mark: &&Mark| mark.messages == stop && mark.hash == hash;
        if let Some(mark) = marks.iter().rev().find(same) {
            known = Some(mark.clone());
        }
        stones.push(Stone { messages: stop, bytes, hash });
    }
    (known, stones)
}

/// What was said, message by message. A model that speaks in several messages in a row has spoken once.
fn steps(messages: impl Iterator<Item = Option<(Vec<Item>, usize)>>, start: Link) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut before_last = start;
    for message in messages {
        let (items, messages) = message?;
        for (party, items) in utterances(items) {
            let last = steps.last().map_or(start, |step| step.link);
            match steps.last_mut() {
                Some(step) if party == Party::Model && step.party == Party::Model => {
                    step.items.extend(items);
                    step.link = before_last.after(party, &step.items);
                    step.messages = messages;
                }
                Some(_) | None => {
                    before_last = last;
                    steps.push(Step { party, link: last.after(party, &items), items, messages });
                }
            }
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use commonwatt_core::turn::{SessionId, TurnId};

    use super::super::warm::Place;
    use super::*;

    fn walked(dialect: Dialect, body: &str, marks: Vec<Mark>) -> Walk {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let envelope = commonwatt_wire::open(dialect, None, &body).unwrap();
        let seed = Link::seed("p", None);
        Walk::through(dialect, &envelope, &body, seed, (opening(dialect, &envelope, seed), marks)).unwrap()
    }

    fn chat(messages: &str) -> Walk {
        walked(Dialect::OpenAiChat, &format!(r#"{{"model":"m","messages":[{messages}]}}"#), Vec::new())
    }

    fn marks(walk: &Walk) -> Vec<Mark> {
        let mark = |stone: &Stone| {
            let step = walk.steps.iter().rev().find(|step| step.messages <= stone.messages)?;
            let place = Place { session: SessionId("s".into()), turn: TurnId([0; 32]) };
            let Stone { messages, bytes, hash } = *stone;
            Some(Mark { messages, bytes, hash, link: step.link, place })
        };
        walk.stones.iter().filter_map(mark).collect()
    }

    const ASKED: &str = r#"{"role":"system","content":"s"},{"role":"user","content":"a"}"#;
    const MORE: &str = r#"{"role":"assistant","content":" b\n"},{"role":"user","content":"c"}"#;

    #[test]
    fn a_known_beginning_is_not_read_again_and_leads_to_the_same_links() {
        let first = chat(ASKED);
        let whole = chat(&format!("{ASKED},{MORE}"));
        let body = format!(r#"{{"model":"m","messages":[{ASKED},{MORE}]}}"#);
        let again = walked(Dialect::OpenAiChat, &body, marks(&first));
        assert_eq!(again.known.map(|mark| mark.messages), Some(2));
        let links = |walk: &[Step]| walk.iter().map(|step| step.link).collect::<Vec<_>>();
        assert_eq!(links(&again.steps), links(&whole.steps)[2..]);
    }

    #[test]
    fn the_same_conversation_in_two_dialects_has_the_same_links() {
        let openai = chat(
            r#"{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"x\":1,\"y\":2}"}}]},{"role":"tool","tool_call_id":"call_1","content":"z"}"#,
        );
        let anthropic = walked(
            Dialect::AnthropicMessages,
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"b"},{"type":"tool_use","id":"toolu_2","name":"f","input":{"y":2,"x":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_2","content":"z"}]}]}"#,
            Vec::new(),
        );
        let links = |walk: &Walk| walk.steps.iter().map(|step| (step.party, step.link)).collect::<Vec<_>>();
        assert_eq!(links(&openai), links(&anthropic));
    }

    #[test]
    fn a_model_that_speaks_in_several_messages_has_spoken_once() {
        let apart = chat(
            r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"assistant","content":"c"}"#,
        );
        let joined = chat(r#"{"role":"user","content":"a"},{"role":"assistant","content":"bc"}"#);
        assert_eq!(apart.steps.len(), 2);
        assert_eq!(apart.steps[1].link, joined.steps[1].link);
    }

    /// `cargo test --release -p commonwatt-grid --lib recognising -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn recognising_a_long_history() {
        let text =
            "fn main() {\\n    let greeting = \\\"hello\\\";\\n    println!(\\\"{greeting}\\\");\\n}\\n".repeat(24);
        let message = |at: usize| match at % 2 {
            0 => format!(r#"{{"role":"user","content":"{at} {text}"}}"#),
            _ => format!(r#"{{"role":"assistant","content":"{at} {text}"}}"#),
        };
        let body = |messages: usize| {
            let messages: Vec<String> = (0..messages).map(message).collect();
            Bytes::from(format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(",")))
        };
        let seed = Link::seed("p", None);
        for (name, known_messages) in [("nothing is known", 0), ("all but the last two messages are known", 199)] {
            let whole = body(201);
            let known =
                if known_messages == 0 { Vec::new() } else { marks(&walk(&body(known_messages), seed, Vec::new())) };
            let mut took: Vec<_> = (0..200)
                .map(|_| {
                    let begun = std::time::Instant::now();
                    std::hint::black_box(walk(&whole, seed, known.clone()));
                    begun.elapsed()
                })
                .collect();
            took.sort();
            println!("{} bytes, {name}: {:?} in the middle, {:?} at best", whole.len(), took[100], took[0]);
        }
    }

    fn walk(body: &Bytes, seed: Link, marks: Vec<Mark>) -> Walk {
        let envelope = commonwatt_wire::open(Dialect::OpenAiChat, None, body).unwrap();
        let opening = opening(Dialect::OpenAiChat, &envelope, seed);
        Walk::through(Dialect::OpenAiChat, &envelope, body, seed, (opening, marks)).unwrap()
    }
}
