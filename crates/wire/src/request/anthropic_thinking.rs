//! How much an Anthropic model is asked to think.
//!
//! ```text
//! {"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}     models of 2026
//! {"thinking":{"type":"enabled","budget_tokens":8192}}                   models before them
//! ```
//!
//! Which of the two a model takes is in the provider's quirks; the other is refused with a 400.

use commonwatt_core::call::{Call, ReasoningWish, ToolChoice};

use super::lossy::Lossy;
use super::quirks::Quirks;
use super::turns::{Step, Turn};
use crate::Dialect;

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Thinking {
    pub(super) mode: Mode,
    pub(super) effort: Option<String>,
    /// The bound on all generated tokens, thinking included.
    pub(super) max_tokens: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The field is left out.
    #[default]
    Unsaid,
    Disabled,
    Adaptive,
    Budget(u32),
}

impl Mode {
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Adaptive | Self::Budget(_))
    }
}

/// The smallest budget the API takes.
const BUDGET_MIN: u32 = 1_024;

/// Settles how the wish is said to this model, within its rules.
pub(super) fn settled(call: &Call, turns: &[Turn<'_>], model: &str, quirks: &Quirks, lossy: &mut Lossy) -> Thinking {
    let by_budget = quirks.thinks_by_budget(model);
    let same = call.dialect == Dialect::AnthropicMessages.word();
    let (mode, effort) = match &call.reasoning {
        None => (Mode::Unsaid, None),
        Some(ReasoningWish::Off) => (Mode::Disabled, None),
        Some(ReasoningWish::Auto) if by_budget => (Mode::Budget(8_192), None),
        Some(ReasoningWish::Auto) => (Mode::Adaptive, None),
        // Whoever speaks this dialect knows the model; only a provider that lists its models knows better.
        Some(ReasoningWish::BudgetTokens(budget)) if by_budget || (same && quirks.budget_models.is_empty()) => {
            (Mode::Budget(*budget), None)
        }
        Some(ReasoningWish::BudgetTokens(budget)) => {
            let word = effort_for(*budget);
            lossy.note(format!("thinking.budget_tokens (as effort {word})"));
            (Mode::Adaptive, Some(word.to_owned()))
        }
        Some(ReasoningWish::Effort(word)) if by_budget => (Mode::Budget(budget_for(word)), None),
        Some(ReasoningWish::Effort(word)) if word == "minimal" => {
            lossy.note("reasoning_effort (minimal as low)");
            (Mode::Adaptive, Some("low".to_owned()))
        }
        Some(ReasoningWish::Effort(word)) => (Mode::Adaptive, Some(word.clone())),
    };
    let max_tokens = call.max_output_tokens.unwrap_or_else(|| {
        let room = if let Mode::Budget(budget) = mode { budget } else { 0 };
        quirks.default_max_tokens().saturating_add(room)
    });
    let mode = within_rules(mode, max_tokens, call, turns, lossy);
    Thinking { mode, effort, max_tokens }
}

/// The API refuses thinking beside a forced tool, without room for it, and in the middle of a tool loop whose last
/// turn did not begin with thinking of its own.
fn within_rules(mode: Mode, max_tokens: u32, call: &Call, turns: &[Turn<'_>], lossy: &mut Lossy) -> Mode {
    if !mode.is_on() {
        return mode;
    }
    if matches!(call.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
        lossy.note("thinking (a tool is forced)");
        return Mode::Unsaid;
    }
    let Mode::Budget(budget) = mode else { return mode };
    if max_tokens <= BUDGET_MIN {
        lossy.note("thinking (max_tokens leaves no room)");
        return Mode::Unsaid;
    }
    if in_unthought_tool_loop(turns) {
        lossy.note("thinking (the last turn has none of its own)");
        return Mode::Unsaid;
    }
    Mode::Budget(budget.clamp(BUDGET_MIN, max_tokens - 1))
}

fn in_unthought_tool_loop(turns: &[Turn<'_>]) -> bool {
    let Some(Turn::Assistant { steps, outputs }) = turns.last() else { return false };
    let sealed = |step: &Step<'_>| matches!(step, Step::Thought(reasoning, _) if reasoning.signature.is_some() || reasoning.redacted.is_some());
    !outputs.is_empty() && !steps.first().is_some_and(sealed)
}

fn budget_for(effort: &str) -> u32 {
    match effort {
        "minimal" | "low" => 2_048,
        "medium" => 8_192,
        "high" => 16_384,
        _ => 32_768,
    }
}

fn effort_for(budget: u32) -> &'static str {
    match budget {
        0..=2_048 => "low",
        2_049..=8_192 => "medium",
        _ => "high",
    }
}
