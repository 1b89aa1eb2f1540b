//! What happens to which call, in order.

use serde::{Deserialize, Serialize};

use crate::fault::{Directive, Fault, FaultError};
use crate::settings::AnswerSettings;

/// An ordered list of steps; each call takes the first step that fits it and is not used up. A call that finds none
/// is answered without a fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
    /// Start again when a call finds no step.
    pub cycle: bool,
}

/// What happens to one call, or to the next few.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Only for calls to this path, such as `/v1/models`. A step without it is for calls that want an answer.
    pub path: Option<String>,
    /// Only for calls that ask for this model.
    pub model: Option<String>,
    /// Calls that this step serves; 0 means all that come (default 1).
    pub times: u64,
    /// What goes wrong; nothing when empty.
    pub faults: Vec<Fault>,
    /// How the model answers in this step, instead of as in the settings.
    pub answer: Option<AnswerSettings>,
}

impl Default for Step {
    fn default() -> Self {
        Self { path: None, model: None, times: 1, faults: Vec::new(), answer: None }
    }
}

impl Script {
    /// One step for each fault.
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        let steps = faults.into_iter().map(|fault| Step { faults: vec![fault], ..Step::default() }).collect();
        Self { steps, cycle: false }
    }

    /// One step for each line, in the words of the header `x-sim-fault`, such as `reset after=3 part=tool_call; crlf`
    /// or `pass`. Empty lines and lines that start with `#` are left out; a line `cycle` starts again from the top.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn from_words(lines: &str) -> Result<Self, FaultError> {
        let mut script = Self::default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line == "cycle" {
                script.cycle = true;
                continue;
            }
            let Directive { faults, answer } = line.parse()?;
            script.steps.push(Step { faults, answer, ..Step::default() });
        }
        Ok(script)
    }

    /// Refuses what cannot be played.
    pub(crate) fn check(&self) -> Result<(), FaultError> {
        self.steps.iter().flat_map(|step| &step.faults).try_for_each(Fault::check)
    }
}

/// How far a script has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Calls that each step has served.
    served: Vec<u64>,
}

impl Progress {
    /// Takes the step for a call; `wants_answer` tells calls that want an answer from questions such as
    /// `GET /v1/models`.
    pub(crate) fn take<'a>(
        &mut self,
        script: &'a Script,
        path: &str,
        model: &str,
        wants_answer: bool,
    ) -> Option<&'a Step> {
        self.served.resize(script.steps.len(), 0);
        let fits = |step: &Step| {
            step.path.as_deref().map_or(wants_answer, |p| p == path) && step.model.as_deref().is_none_or(|m| m == model)
        };
        for again in [false, true] {
            if again {
                if !script.cycle || !script.steps.iter().any(&fits) {
                    break;
                }
                self.served.fill(0);
            }
            for (step, served) in script.steps.iter().zip(&mut self.served) {
                if fits(step) && (step.times == 0 || *served < step.times) {
                    *served += 1;
                    return Some(step);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(script: &Script, calls: usize) -> Vec<Option<usize>> {
        let mut progress = Progress::default();
        let place = |step: &Step| script.steps.iter().position(|s| std::ptr::eq(s, step));
        (0..calls).map(|_| progress.take(script, "/v1/messages", "m", true).and_then(place)).collect()
    }

    #[test]
    fn steps_are_taken_in_order_and_then_calls_pass() {
        let script = Script::from_words("status=500\npass\n# said for clarity\nreset after=1").unwrap();
        assert_eq!(played(&script, 5), [Some(0), Some(1), Some(2), None, None]);
    }

    #[test]
    fn a_cycle_starts_again() {
        let script = Script::from_words("status=500\npass\ncycle").unwrap();
        assert_eq!(played(&script, 5), [Some(0), Some(1), Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn a_step_may_serve_many_calls_or_all() {
        let mut script = Script::from_words("status=500\npass").unwrap();
        script.steps[0].times = 2;
        assert_eq!(played(&script, 4), [Some(0), Some(0), Some(1), None]);
        script.steps[0].times = 0;
        assert_eq!(played(&script, 3), [Some(0); 3]);
    }

    #[test]
    fn a_step_waits_for_its_model_and_its_path() {
        let mut script = Script::from_words("status=500\nstatus=503").unwrap();
        script.steps[0].model = Some("other".to_owned());
        script.steps[1].path = Some("/v1/models".to_owned());
        script.cycle = true;
        let mut progress = Progress::default();
        assert!(progress.take(&script, "/v1/messages", "m", true).is_none());
        assert!(progress.take(&script, "/v1/messages", "other", true).is_some());
        assert!(progress.take(&script, "/v1/models", "", false).is_some());
    }

    #[test]
    fn a_script_reads_from_toml() {
        let script: Script = toml::from_str(
            r#"
            cycle = true
            [[steps]]
            times = 3
            model = "m-1"
            faults = [
                { kind = "cut", how = "reset", after = { bytes = 120 }, part = "tool_call" },
                { kind = "crlf" },
            ]
            answer = { calls = [{ name = "weather", arguments = { city = "Zürich" } }] }
            "#,
        )
        .unwrap();
        assert_eq!(script.steps.len(), 1);
        assert_eq!(script.steps[0].faults.len(), 2);
        let unknown = toml::from_str::<Script>("[[steps]]\nfault = 1").unwrap_err().to_string();
        assert!(unknown.contains("fault"), "{unknown}");
        let unknown =
            toml::from_str::<Script>("[[steps]]\nfaults = [{ kind = \"crlf\", x = 1 }]").unwrap_err().to_string();
        assert!(unknown.contains('x'), "{unknown}");
    }
}
