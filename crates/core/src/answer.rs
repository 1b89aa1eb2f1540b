//! What comes back: an answer as a stream of deltas, and the whole that they add up to.

use crate::call::{Item, Part, RawJson, Reasoning, Role};
use crate::{call, text::Text};

/// One step of an answer, in the order in which the model produced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// The provider has begun. Not content: nothing is lost when another provider begins instead.
    Started {
        /// The provider's id for the answer.
        id: String,
        /// The model that serves, as the provider names it.
        model: String,
    },
    /// Text of the answer.
    Text(String),
    /// Text of the thinking.
    Reasoning(String),
    /// The seal of the thinking block that just ended.
    ReasoningSignature(String),
    /// A thinking block that its author sealed whole.
    RedactedReasoning(String),
    /// The seal of the reasoning item that just ended (Responses): its id, and its `encrypted_content`.
    EncryptedReasoning {
        /// The item's id.
        id: String,
        /// Opaque.
        content: String,
    },
    /// A refusal written by the model.
    Refusal(String),
    /// A tool call begins.
    ToolCallStarted {
        /// Position among the tool calls of this answer, from zero.
        index: u32,
        /// Its id.
        id: String,
        /// The function.
        name: String,
    },
    /// More of a tool call's arguments.
    ToolCallArguments {
        /// Which tool call.
        index: u32,
        /// JSON text.
        fragment: String,
    },
    /// The seal of the thinking that led to a tool call (Gemini's `thoughtSignature`).
    ToolCallSignature {
        /// Which tool call.
        index: u32,
        /// Opaque.
        signature: String,
    },
    /// A block or an item that only the provider's dialect knows, whole: `(type name, block)`. Another dialect names it
    /// as lost.
    Opaque(String, RawJson),
    /// Log probabilities of the text just sent, in OpenAI's shape: the value of `logprobs.content`.
    Logprobs(RawJson),
    /// Why the provider took parts of the request out before the model read it: its own words.
    Unread(String),
    /// The model has ended.
    Finished(Finish),
    /// All tokens used so far; a later one replaces an earlier one.
    Usage(Usage),
}

impl Delta {
    /// Whether the caller would miss it: from the first such delta on, an attempt cannot silently be replaced.
    #[must_use]
    pub fn is_content(&self) -> bool {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) => !text.is_empty(),
            Self::RedactedReasoning(_)
            | Self::ToolCallStarted { .. }
            | Self::ToolCallArguments { .. }
            | Self::Opaque(..) => true,
            Self::Started { .. }
            | Self::ReasoningSignature(_)
            | Self::Unread(_)
            | Self::EncryptedReasoning { .. }
            | Self::ToolCallSignature { .. }
            | Self::Logprobs(_)
            | Self::Finished(_)
            | Self::Usage(_) => false,
        }
    }
}

/// Why the model ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was done.
    Stop,
    /// It wrote one of the stop strings (which one, where the provider says).
    StopString(Option<String>),
    /// It reached the token limit.
    Length,
    /// It wants tools to be run.
    ToolCalls,
    /// The provider's filter ended it. Never routed around.
    ContentFilter,
    /// The model refused. Never routed around.
    Refusal,
    /// The provider paused a long turn (Anthropic `pause_turn`).
    Paused,
    /// A word this program does not know, kept.
    Other(String),
}

/// Tokens, in buckets that do not overlap.
///
/// OpenAI's `prompt_tokens` includes the cached ones, Anthropic's `input_tokens` excludes them: the readers part them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were computed.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: u64,
    /// Generated tokens, thinking included.
    pub output: u64,
    /// Of `output`, those spent on thinking, where the provider says.
    pub reasoning: u64,
}

impl Usage {
    /// All prompt tokens.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// All tokens.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.output)
    }
}

/// A whole answer: what a stream of deltas adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The provider's id for it.
    pub id: String,
    /// The model that served, as the provider names it.
    pub model: String,
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
    /// Why it ended; `None` while it has not.
    pub finish: Option<Finish>,
    /// Tokens, where the provider said.
    pub usage: Option<Usage>,
    /// Log probabilities, one raw array a delta.
    pub logprobs: Vec<RawJson>,
}

/// A block of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Text.
    Text(String),
    /// Thinking.
    Reasoning(Reasoning),
    /// A refusal.
    Refusal(String),
    /// A tool call.
    ToolCall(ToolCall),
    /// What only the provider's dialect knows: `(type name, block)`.
    Opaque(String, RawJson),
}

/// A tool call, as it grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id, which the output will repeat.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments so far: a JSON text as the model writes it, not necessarily valid.
    pub arguments: String,
    /// Gemini's `thoughtSignature`.
    pub signature: Option<String>,
}

impl Answer {
    /// Adds the next delta.
    pub fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Started { id, model } => {
                self.id = id;
                self.model = model;
            }
            Delta::Text(text) => self.push_text(&text),
            Delta::Reasoning(text) => self.push_reasoning(&text),
            Delta::ReasoningSignature(signature) => self.seal_reasoning(signature),
            Delta::RedactedReasoning(data) => {
                self.blocks.push(Block::Reasoning(Reasoning { redacted: Some(data), ..Reasoning::default() }));
            }
            Delta::Refusal(text) => match self.blocks.last_mut() {
                Some(Block::Refusal(so_far)) => so_far.push_str(&text),
                Some(Block::Text(_) | Block::Reasoning(_) | Block::ToolCall(_) | Block::Opaque(..)) | None => {
                    self.blocks.push(Block::Refusal(text));
                }
            },
            Delta::ToolCallStarted { index: _, id, name } => {
                self.blocks.push(Block::ToolCall(ToolCall { id, name, arguments: String::new(), signature: None }));
            }
            Delta::ToolCallArguments { index, fragment } => {
                if let Some(call) = self.tool_call_mut(index) {
                    call.arguments.push_str(&fragment);
                }
            }
            Delta::EncryptedReasoning { id, content } => self.encrypt_reasoning(id, content),
            Delta::ToolCallSignature { index, signature } => {
                if let Some(call) = self.tool_call_mut(index) {
                    call.signature = Some(signature);
                }
            }
            Delta::Opaque(kind, raw) => self.blocks.push(Block::Opaque(kind, raw)),
            Delta::Logprobs(raw) => self.logprobs.push(raw),
            // It is said of the request.
            Delta::Unread(_) => {}
            Delta::Finished(finish) => self.finish = Some(finish),
            Delta::Usage(usage) => self.usage = Some(usage),
        }
    }

    /// Whether it holds anything a caller could use.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.blocks.iter().any(|block| match block {
            Block::Text(text) | Block::Refusal(text) => !text.is_empty(),
            Block::Reasoning(reasoning) => !reasoning.text.is_empty() || reasoning.redacted.is_some(),
            Block::ToolCall(_) | Block::Opaque(..) => true,
        })
    }

    /// The text blocks, joined.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.blocks.iter().filter_map(|block| match block {
            Block::Text(text) => Some(text.as_str()),
            Block::Reasoning(_) | Block::Refusal(_) | Block::ToolCall(_) | Block::Opaque(..) => None,
        });
        texts.collect()
    }

    /// What it said, as items of a conversation.
    #[must_use]
    pub fn into_items(self) -> Vec<Item> {
        let said = |part: Part| Item::Message { role: Role::Assistant, content: vec![part] };
        let item = |block| match block {
            Block::Text(text) => said(Part::Text(text.into())),
            Block::Refusal(text) => said(Part::Refusal(text.into())),
            Block::Reasoning(reasoning) => Item::Reasoning(reasoning),
            Block::ToolCall(ToolCall { id, name, arguments, signature }) => {
                Item::ToolCall(call::ToolCall { id, name, arguments: Text::from(arguments), signature })
            }
            Block::Opaque(kind, raw) => Item::Opaque(kind, raw),
        };
        self.blocks.into_iter().map(item).collect()
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call),
            Block::Text(_) | Block::Reasoning(_) | Block::Refusal(_) | Block::Opaque(..) => None,
        })
    }

    fn push_text(&mut self, text: &str) {
        match self.blocks.last_mut() {
            Some(Block::Text(so_far)) => so_far.push_str(text),
            Some(Block::Reasoning(_) | Block::Refusal(_) | Block::ToolCall(_) | Block::Opaque(..)) | None => {
                self.blocks.push(Block::Text(text.to_owned()));
            }
        }
    }

    /// A sealed block is finished, so text after it opens another.
    fn push_reasoning(&mut self, text: &str) {
        match self.blocks.last_mut() {
            Some(Block::Reasoning(open)) if !open.is_sealed() => open.text.push_str(text),
            Some(Block::Reasoning(_) | Block::Text(_) | Block::Refusal(_) | Block::ToolCall(_) | Block::Opaque(..))
            | None => {
                self.blocks.push(Block::Reasoning(Reasoning { text: text.to_owned(), ..Reasoning::default() }));
            }
        }
    }

    fn seal_reasoning(&mut self, signature: String) {
        match self.blocks.last_mut() {
            Some(Block::Reasoning(open)) if !open.is_sealed() => open.signature = Some(signature),
            Some(Block::Reasoning(_) | Block::Text(_) | Block::Refusal(_) | Block::ToolCall(_) | Block::Opaque(..))
            | None => {
                self.blocks.push(Block::Reasoning(Reasoning { signature: Some(signature), ..Reasoning::default() }));
            }
        }
    }

    fn encrypt_reasoning(&mut self, id: String, content: String) {
        let sealed = Reasoning { id: Some(id), encrypted: Some(content), ..Reasoning::default() };
        match self.blocks.last_mut() {
            Some(Block::Reasoning(open)) if !open.is_sealed() => {
                *open = Reasoning { text: std::mem::take(&mut open.text), ..sealed };
            }
            Some(Block::Reasoning(_) | Block::Text(_) | Block::Refusal(_) | Block::ToolCall(_) | Block::Opaque(..))
            | None => self.blocks.push(Block::Reasoning(sealed)),
        }
    }

    fn tool_call_mut(&mut self, index: u32) -> Option<&mut ToolCall> {
        let mut calls = self.blocks.iter_mut().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call),
            Block::Text(_) | Block::Reasoning(_) | Block::Refusal(_) | Block::Opaque(..) => None,
        });
        calls.nth(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(deltas: Vec<Delta>) -> Answer {
        let mut answer = Answer::default();
        deltas.into_iter().for_each(|delta| answer.push(delta));
        answer
    }

    #[test]
    fn interleaved_arguments_of_parallel_tool_calls_stay_apart() {
        let start = |index, id: &str| Delta::ToolCallStarted { index, id: id.into(), name: "f".into() };
        let more = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
        let answer = fold(vec![start(0, "a"), start(1, "b"), more(1, "{\"y\""), more(0, "{}"), more(1, ":1}")]);
        let arguments: Vec<&str> = answer.tool_calls().map(|call| call.arguments.as_str()).collect();
        assert_eq!(arguments, ["{}", "{\"y\":1}"]);
    }

    #[test]
    fn a_preamble_is_not_content() {
        let started = Delta::Started { id: "x".into(), model: "m".into() };
        assert!(!started.is_content());
        assert!(!Delta::Text(String::new()).is_content());
        assert!(Delta::Text("a".into()).is_content());
    }

    #[test]
    fn text_after_thinking_opens_its_own_block() {
        let answer = fold(vec![
            Delta::Reasoning("hm".into()),
            Delta::ReasoningSignature("sig".into()),
            Delta::Text("yes".into()),
        ]);
        assert_eq!(answer.blocks.len(), 2);
        assert_eq!(answer.text(), "yes");
    }
}
