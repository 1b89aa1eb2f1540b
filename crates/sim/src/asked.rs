//! What a call asks for, whatever dialect it came in.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::chance::digest;
use crate::fault::Part;

/// A decoded request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Chat Completions: a last chunk with the usage was asked for.
    pub(crate) include_usage: bool,
    pub(crate) turns: Vec<Turn>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    /// More than one tool call at a time is allowed.
    pub(crate) parallel: bool,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) stop_sequences: Vec<String>,
    /// Visible reasoning was asked for.
    pub(crate) reasoning: bool,
    /// The JSON schema that the answer must follow; an empty object for any JSON object.
    pub(crate) schema: Option<Value>,
    pub(crate) prompt_tokens: usize,
    /// Parts that the dialect has no words for.
    pub(crate) lacks: &'static [Part],
    /// Responses: reasoning is shown as a summary, not as it is.
    pub(crate) summary: bool,
    /// Responses: reasoning comes with its encrypted content.
    pub(crate) encrypted: bool,
    /// Responses: what the answer repeats of the request.
    pub(crate) echo: Map<String, Value>,
    /// Gemini: function calls have ids.
    pub(crate) call_ids: bool,
    /// Ollama: the window that the call was given.
    pub(crate) window: Option<Window>,
}

/// The context window of a call to Ollama, which drops what does not fit without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Its size in tokens: `options.num_ctx`, or the default.
    pub num_ctx: usize,
    /// Tokens at the front of the conversation that were dropped.
    pub dropped_tokens: usize,
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) speaker: Speaker,
    /// Its text; what is not text appears as JSON.
    pub(crate) text: String,
    /// Tool calls that an assistant's turn makes.
    pub(crate) calls: Vec<String>,
    /// Tool calls that the turn gives the results of.
    pub(crate) results: Vec<String>,
}

/// A tool that the request offers.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Whether the model must, may or must not call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    #[default]
    Auto,
    Never,
    Any,
    Named(String),
}

/// A tool call without result, or a result without call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unpaired {
    Call { turn: usize, id: String },
    Result { turn: usize, id: String },
}

impl Turn {
    pub(crate) fn new(speaker: Speaker, text: String) -> Self {
        Self { speaker, text, calls: Vec::new(), results: Vec::new() }
    }
}

impl Asked {
    /// The text of the last turn, if the user says something in it rather than hand in tool results.
    pub(crate) fn last_user_text(&self) -> Option<&str> {
        let says = |turn: &&Turn| turn.speaker == Speaker::User && turn.results.is_empty();
        self.turns.last().filter(says).map(|turn| turn.text.as_str())
    }

    /// The first tool call whose result does not follow at once, or result whose call does not precede it.
    pub(crate) fn unpaired(&self) -> Option<Unpaired> {
        let mut open: Vec<&str> = Vec::new();
        let mut caller = 0;
        for (index, turn) in self.turns.iter().enumerate() {
            for id in &turn.results {
                let Some(at) = open.iter().position(|o| o == id) else {
                    return Some(Unpaired::Result { turn: index, id: id.clone() });
                };
                open.remove(at);
            }
            if let (true, Some(id)) = (turn.results.is_empty(), open.first()) {
                return Some(Unpaired::Call { turn: caller, id: (*id).to_owned() });
            }
            if !turn.calls.is_empty() {
                caller = index;
                open.extend(turn.calls.iter().map(String::as_str));
            }
        }
        open.first().map(|id| Unpaired::Call { turn: caller, id: (*id).to_owned() })
    }
}

/// A number for a conversation with a model: the same in every dialect.
pub(crate) fn conversation_digest(seed: u64, model: &str, turns: &[Turn]) -> u64 {
    let seed = seed.to_le_bytes();
    let speakers = turns.iter().flat_map(|turn| {
        let speaker: &[u8] = match turn.speaker {
            Speaker::System => b"system",
            Speaker::User => b"user",
            Speaker::Assistant => b"assistant",
            Speaker::Tool => b"tool",
        };
        [speaker, turn.text.as_bytes()]
    });
    digest([seed.as_slice(), model.as_bytes()].into_iter().chain(speakers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(speaker: Speaker, calls: &[&str], results: &[&str]) -> Turn {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Turn { speaker, text: String::new(), calls: owned(calls), results: owned(results) }
    }

    fn unpaired(turns: Vec<Turn>) -> Option<Unpaired> {
        Asked { turns, ..Asked::default() }.unpaired()
    }

    #[test]
    fn parallel_calls_may_be_answered_in_any_order() {
        let turns = vec![
            turn(Speaker::Assistant, &["a", "b"], &[]),
            turn(Speaker::Tool, &[], &["b"]),
            turn(Speaker::Tool, &[], &["a"]),
            turn(Speaker::User, &[], &[]),
        ];
        assert_eq!(unpaired(turns), None);
    }

    #[test]
    fn a_lost_result_and_an_orphan_are_found() {
        let lost = vec![turn(Speaker::Assistant, &["a"], &[]), turn(Speaker::User, &[], &[])];
        assert_eq!(unpaired(lost), Some(Unpaired::Call { turn: 0, id: "a".to_owned() }));
        let unfinished = vec![turn(Speaker::User, &[], &[]), turn(Speaker::Assistant, &["a"], &[])];
        assert_eq!(unpaired(unfinished), Some(Unpaired::Call { turn: 1, id: "a".to_owned() }));
        let orphan = vec![turn(Speaker::User, &[], &[]), turn(Speaker::Tool, &[], &["x"])];
        assert_eq!(unpaired(orphan), Some(Unpaired::Result { turn: 1, id: "x".to_owned() }));
    }
}
