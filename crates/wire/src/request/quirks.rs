//! What is peculiar about a provider, as data: written in its TOML file, obeyed by the writers.

use commonwatt_core::fleet::matches_pattern;
use serde::Deserialize;

use super::lossy::Lossy;

/// Peculiarities of a provider. Each has a default that is right for most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// OpenAI: the field for the bound on generated tokens; `max_tokens` unless given. OpenAI's own reasoning models
    /// want `max_completion_tokens`.
    pub max_tokens_field: Option<String>,
    /// OpenAI: the role of system prompts; `system` unless given.
    pub system_role: Option<String>,
    /// Fields of the top level that the provider refuses; they are left out and named.
    pub drop_fields: Vec<String>,
    /// OpenAI: refuses `stream_options`, so a stream carries no usage.
    pub no_stream_options: bool,
    /// OpenAI: refuses `parallel_tool_calls`.
    pub no_parallel_tool_calls: bool,
    /// OpenAI: refuses `response_format` of type `json_schema`; `json_object` is asked for instead.
    pub no_json_schema: bool,
    /// OpenAI: takes `content` only as a string, so text parts are joined.
    pub flat_content: bool,
    /// OpenAI: wants earlier thinking back, as `reasoning_content`. Others refuse or ignore it.
    pub reasoning_history: bool,
    /// OpenAI: knows `top_k`.
    pub top_k: bool,
    /// OpenAI: takes at most so many stop strings; zero means any number.
    pub stop_max: usize,
    /// What ids of tool calls must look like.
    pub tool_ids: ToolIdShape,
    /// Anthropic: `max_tokens` for callers that give none, which that dialect does not allow; 16000 unless given.
    pub default_max_tokens: u32,
    /// Ollama: the window to ask for, in tokens, where the caller asks for none. Its own default is small, and it cuts
    /// off in silence what does not fit, the front of the prompt first.
    pub num_ctx: Option<u32>,
    /// Patterns of the models that take `temperature`, `top_p`, `top_k` and the penalties; for others these are left out
    /// and named. All models unless given.
    pub sampling_models: Option<Vec<String>>,
    /// Anthropic, Gemini: patterns of the models that think by a budget of tokens and know neither `adaptive` nor levels.
    /// Of Gemini's own models the name says it.
    pub budget_models: Vec<String>,
    /// Anthropic: patterns of the models that take a system message after a user's; for others it moves to the front.
    pub system_message_models: Vec<String>,
}

/// What ids of tool calls must look like. Ids that do not are mapped, always to the same, and never two to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolIdShape {
    /// OpenAI: anything of up to 40 bytes. Anthropic: up to 64 letters, digits, `_` and `-`, whatever is said here.
    #[default]
    Usual,
    /// Exactly nine letters and digits (Mistral).
    Nine,
}

/// See [`Quirks::default_max_tokens`].
const DEFAULT_MAX_TOKENS: u32 = 16_000;

impl Quirks {
    /// Whether this model at this provider refuses a field of the top level.
    pub(crate) fn refuses(&self, field: &str, model: &str) -> bool {
        match field {
            "stream_options" if self.no_stream_options => true,
            "parallel_tool_calls" if self.no_parallel_tool_calls => true,
            "temperature" | "top_p" | "top_k" | "presence_penalty" | "frequency_penalty"
                if !self.takes_sampling(model) =>
            {
                true
            }
            _ => self.drop_fields.iter().any(|dropped| dropped == field),
        }
    }

    /// Whether this model at this provider takes a field of the top level; one that it does not take is named.
    pub(super) fn takes(&self, field: &str, model: &str, lossy: &mut Lossy) -> bool {
        let refused = self.refuses(field, model);
        if refused {
            lossy.note(field);
        }
        !refused
    }

    pub(super) fn default_max_tokens(&self) -> u32 {
        if self.default_max_tokens == 0 { DEFAULT_MAX_TOKENS } else { self.default_max_tokens }
    }

    pub(super) fn takes_sampling(&self, model: &str) -> bool {
        self.sampling_models.as_ref().is_none_or(|patterns| any_matches(patterns, model))
    }

    pub(super) fn thinks_by_budget(&self, model: &str) -> bool {
        any_matches(&self.budget_models, model)
    }

    pub(super) fn takes_system_messages(&self, model: &str) -> bool {
        any_matches(&self.system_message_models, model)
    }
}

fn any_matches(patterns: &[String], model: &str) -> bool {
    patterns.iter().any(|pattern| matches_pattern(pattern, model))
}
