//! How much a Gemini model is asked to think, and what its generation wants.
//!
//! ```text
//! {"thinkingConfig":{"thinkingLevel":"high","includeThoughts":true}}     Gemini 3 and later
//! {"thinkingConfig":{"thinkingBudget":8192,"includeThoughts":true}}      Gemini 2.5; 0 is off, -1 as it sees fit
//! ```
//!
//! See <https://ai.google.dev/gemini-api/docs/thinking>.

use commonwatt_core::call::{Call, ReasoningWish};

use super::lossy::Lossy;
use super::quirks::Quirks;
use crate::Dialect;

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Thinking {
    pub(super) level: Option<String>,
    pub(super) budget: Option<i64>,
    /// Whether the thinking is to be shown, where the caller's dialect does not say so itself.
    pub(super) include: Option<bool>,
}

/// How a model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It does not think.
    Never,
    Budget,
    Level,
}

/// Whether a model is older than Gemini 3: it wants no seals, and no JSON beside tools.
pub(super) fn is_before_three(model: &str) -> bool {
    bare(model).starts_with("gemma") || generation(model).is_some_and(|(major, _)| major < 3)
}

fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// The two numbers of a name such as `gemini-2.5-flash`.
fn generation(model: &str) -> Option<(u32, u32)> {
    let number = bare(model).strip_prefix("gemini-")?.split('-').next()?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn way(model: &str, quirks: &Quirks) -> Way {
    match generation(model) {
        _ if quirks.thinks_by_budget(model) => Way::Budget,
        Some((2, 5..)) => Way::Budget,
        Some((..=2, _)) => Way::Never,
        None if bare(model).starts_with("gemma") => Way::Never,
        // Aliases such as `gemini-flash-latest` mean the newest.
        Some(_) | None => Way::Level,
    }
}

/// Settles how the wish is said to this model.
pub(super) fn settled(call: &Call, model: &str, quirks: &Quirks, lossy: &mut Lossy) -> Thinking {
    let same = call.dialect == Dialect::Gemini.word();
    let Some(wish) = call.reasoning.clone().or_else(|| foreign_effort(call, same)) else { return Thinking::default() };
    let mut thinking = match way(model, quirks) {
        Way::Never => {
            if wish != ReasoningWish::Off {
                lossy.note("thinking (the model does not think)");
            }
            return Thinking::default();
        }
        Way::Budget => by_budget(&wish, model, same, lossy),
        Way::Level => by_level(&wish, model, same, lossy),
    };
    thinking.include = Some(true).filter(|_| !same && wish != ReasoningWish::Off);
    thinking
}

/// Anthropic's effort, which there does not by itself turn thinking on.
pub(super) fn foreign_effort(call: &Call, same: bool) -> Option<ReasoningWish> {
    let effort = call.extra.iter().find(|(name, _)| name == super::anthropic_read::EFFORT);
    let (_, word) = effort.filter(|_| !same && call.reasoning.is_none())?;
    Some(ReasoningWish::Effort(word.as_str().trim_matches('"').to_owned()))
}

fn by_budget(wish: &ReasoningWish, model: &str, same: bool, lossy: &mut Lossy) -> Thinking {
    let wanted = match wish {
        ReasoningWish::Auto => return Thinking { budget: Some(-1), ..Thinking::default() },
        ReasoningWish::Off => 0,
        ReasoningWish::BudgetTokens(budget) => i64::from(*budget),
        ReasoningWish::Effort(word) => match word.as_str() {
            "minimal" | "low" => 1_024,
            "medium" => 8_192,
            "high" => 24_576,
            other => {
                lossy.note(format!("reasoning_effort ({other} as high)"));
                24_576
            }
        },
    };
    let bounds = if model.contains("pro") { 128..=32_768 } else { 0..=24_576 };
    let budget = if same { wanted } else { wanted.clamp(*bounds.start(), *bounds.end()) };
    if budget != wanted {
        lossy.note(format!("thinking (a budget of {wanted} as {budget})"));
    }
    Thinking { budget: Some(budget), ..Thinking::default() }
}

fn by_level(wish: &ReasoningWish, model: &str, same: bool, lossy: &mut Lossy) -> Thinking {
    let level = |word: &str| Thinking { level: Some(word.to_owned()), ..Thinking::default() };
    match wish {
        ReasoningWish::Auto => Thinking::default(),
        // Gemini 3 still takes what was written for the models before it.
        ReasoningWish::Off if same => Thinking { budget: Some(0), ..Thinking::default() },
        ReasoningWish::BudgetTokens(budget) if same => {
            Thinking { budget: Some(i64::from(*budget)), ..Thinking::default() }
        }
        ReasoningWish::Effort(word) if same => level(word),
        ReasoningWish::Off => {
            let word = nearest("minimal", model);
            lossy.note(format!("thinking (disabled; as effort {word})"));
            level(word)
        }
        ReasoningWish::BudgetTokens(budget) => {
            let word = match budget {
                0..=2_048 => "low",
                2_049..=8_192 => nearest("medium", model),
                _ => "high",
            };
            lossy.note(format!("thinking.budget_tokens (as effort {word})"));
            level(word)
        }
        ReasoningWish::Effort(wanted) => {
            let word = nearest(wanted, model);
            if word != wanted {
                lossy.note(format!("reasoning_effort ({wanted} as {word})"));
            }
            level(word)
        }
    }
}

/// The nearest level that a model has: those called `pro` have no `minimal`, and the first of them no `medium`.
fn nearest(word: &str, model: &str) -> &'static str {
    let is_pro = model.contains("pro");
    match word {
        "minimal" if is_pro => "low",
        "minimal" => "minimal",
        "low" => "low",
        "medium" if is_pro && generation(model) == Some((3, 0)) => "high",
        "medium" => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(wish: ReasoningWish, model: &str) -> (Option<String>, Option<i64>, Vec<String>) {
        let call = Call { reasoning: Some(wish), ..Call::default() };
        let mut lossy = Lossy::default();
        let Thinking { level, budget, .. } = settled(&call, model, &Quirks::default(), &mut lossy);
        (level, budget, lossy.into_notes())
    }

    #[test]
    fn each_generation_is_asked_in_its_own_way() {
        let effort = |word: &str| ReasoningWish::Effort(word.to_owned());
        let level = |word: &str| Some(word.to_owned());
        assert_eq!(told(effort("medium"), "models/gemini-3.1-pro-preview"), (level("medium"), None, vec![]));
        assert_eq!(told(effort("minimal"), "gemini-3-flash-preview"), (level("minimal"), None, vec![]));
        assert_eq!(
            told(effort("medium"), "gemini-3-pro-preview"),
            (level("high"), None, vec!["reasoning_effort (medium as high)".to_owned()])
        );
        assert_eq!(told(effort("medium"), "gemini-2.5-flash"), (None, Some(8_192), vec![]));
        assert_eq!(told(ReasoningWish::Off, "gemini-2.5-flash"), (None, Some(0), vec![]));
        assert_eq!(told(ReasoningWish::Auto, "gemini-2.5-flash"), (None, Some(-1), vec![]));
        assert_eq!(
            told(ReasoningWish::Off, "gemini-2.5-pro"),
            (None, Some(128), vec!["thinking (a budget of 0 as 128)".to_owned()])
        );
        assert_eq!(
            told(ReasoningWish::Off, "gemini-3-pro-preview"),
            (level("low"), None, vec!["thinking (disabled; as effort low)".to_owned()])
        );
        assert_eq!(
            told(effort("high"), "gemini-2.0-flash"),
            (None, None, vec!["thinking (the model does not think)".to_owned()])
        );
    }
}
