//! What a model is asked and what it answers.
//!
//! Knows calls and events. Does not know dialects: messages and tools arrive in the shape that OpenAI gave them, which
//! is what chat templates expect. The types cross the socket to the child, hence the derives; both ends are the same
//! program, so the encoding is no promise to anyone.

use serde::{Deserialize, Serialize};

/// One chat call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// JSON array of messages in OpenAI's shape. Text only: image, audio and file parts are refused.
    pub messages_json: String,
    /// JSON array of tools in OpenAI's shape.
    pub tools_json: Option<String>,
    /// Whether and which tool must be called.
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called in one answer.
    pub parallel_tool_calls: bool,
    /// What the answer must look like.
    pub response_format: ResponseFormat,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to generate; `None` is the rest of the window.
    pub max_tokens: Option<u32>,
    /// The answer ends before the first of these. They are looked for in the text, not in reasoning or tool calls.
    pub stop: Vec<String>,
    /// Report the probability of each token of the text and of this many alternatives (0 to 20).
    pub logprobs: Option<u8>,
    /// For models that can be told to think or not to; `None` leaves it to the template (thinking, mostly).
    pub enable_thinking: Option<bool>,
    /// The last message is an unfinished answer of the assistant: continue it. Only the continuation is reported.
    pub continue_assistant: bool,
}

/// Whether the model may, must or must not call a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool is called.
    None,
    /// Some tool is called; a grammar enforces it.
    Required,
    /// This tool is called; a grammar enforces it.
    Named(String),
}

/// What the answer must look like; a grammar enforces it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseFormat {
    /// Anything.
    #[default]
    Free,
    /// Some JSON object.
    JsonObject,
    /// JSON that this schema describes.
    JsonSchema(String),
}

/// How tokens are chosen. What is `None` takes the defaults of llama.cpp, which suit small models: temperature 0.8,
/// top-k 40, top-p 0.95, min-p 0.05, no penalties, a fresh seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most probable token each time.
    pub temperature: Option<f32>,
    /// Keep the smallest set of tokens with this total probability.
    pub top_p: Option<f32>,
    /// Keep this many tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep tokens at least this probable, relative to the most probable one.
    pub min_p: Option<f32>,
    /// Subtracted from the logit of every token that the answer already has.
    pub presence_penalty: Option<f32>,
    /// Subtracted once for every occurrence in the answer so far.
    pub frequency_penalty: Option<f32>,
    /// Divides the logit of tokens that the answer already has; 1 is neutral.
    pub repeat_penalty: Option<f32>,
    /// The same seed, call, model and machine give the same answer when nothing else runs beside it.
    pub seed: Option<u32>,
    /// Added to the logits of tokens, by token id; -100 and below forbid, 100 and above all but force.
    pub logit_bias: Vec<(i32, f32)>,
}

/// A step of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The call has a slot. Always first, exactly once.
    Started {
        /// Length of the prompt as this model counts.
        prompt_tokens: u32,
        /// How many of them were still in the cache.
        cached_tokens: u32,
    },
    /// More text.
    Text {
        /// Never empty, never half a character.
        text: String,
        /// One per token, when asked for. Text that is held back brings its tokens along later.
        logprobs: Vec<TokenLogprob>,
    },
    /// More reasoning.
    Reasoning(String),
    /// The model calls a tool.
    ToolCallStart {
        /// Position among the calls of this answer, from 0.
        index: u32,
        /// Made by the engine where the model gives none.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments.
    ToolCallArguments {
        /// Which call.
        index: u32,
        /// A piece of JSON text.
        fragment: String,
    },
    /// The end. Always last, exactly once, unless a fault ends the answer.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Tokens that were generated, without the one that says the end.
        completion_tokens: u32,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// This stop string was met; it is not part of the text.
    StopString(String),
    /// `max_tokens` or the window was reached.
    Length,
    /// The answer calls tools.
    ToolCalls,
}

/// A token of the answer with its probability, before temperature and truncation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token as text; broken characters are replaced.
    pub token: String,
    /// The token as bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens at this place, best first.
    pub top: Vec<TopLogprob>,
}

/// An alternative at one place of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token as text; broken characters are replaced.
    pub token: String,
    /// The token as bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Vectors of texts, in the order of the texts, each of length one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    /// One vector a text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts together.
    pub prompt_tokens: u32,
}
