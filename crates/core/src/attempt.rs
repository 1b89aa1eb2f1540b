//! What is done when an attempt fails before the caller has seen anything: a pure decision over the plan so far.

use crate::fault::{Blame, Fault, FaultKind};
use crate::fleet::Tier;
use crate::plan::{Candidate, Plan};

/// How much is tried for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts in all. After them only a local deployment that has not been asked may still be.
    pub attempts_max: u32,
    /// How long, in milliseconds, a caller is made to wait for suppliers that fail, before only local ones are asked.
    pub patience_ms: u64,
    /// The longest `Retry-After`, in milliseconds, that is waited for here when there is nobody else to ask.
    pub wait_max_ms: u64,
    /// How long, in milliseconds, a summary may take where a conversation is too long for whoever is left.
    pub summary_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // A small model on a CPU reads a few hundred tokens in a second, so a long conversation takes it minutes; common
        // clients wait for ten.
        Self { attempts_max: 8, patience_ms: 45_000, wait_max_ms: 2_000, summary_ms: 120_000 }
    }
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The candidate that was asked last, as a position in the plan.
    pub position: usize,
    /// How often it has been asked.
    pub tries_here: u32,
    /// Attempts in all.
    pub attempts: u32,
    /// Milliseconds since the first attempt began.
    pub elapsed_ms: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the candidate at this position.
    Ask(usize),
    /// Ask the same one again after a pause in milliseconds.
    AskAgain {
        /// The pause.
        wait_ms: u64,
    },
    /// Tell the caller.
    GiveUp,
}

/// Decides what follows a fault that happened before any content reached the caller.
#[must_use]
pub fn after_fault(plan: &Plan, progress: Progress, fault: &Fault, limits: &Limits) -> Next {
    if fault.kind == FaultKind::BadRequest {
        return Next::GiveUp;
    }
    // However long the first one took, a second one is asked: an answer that is not streamed may take minutes.
    let out_of_patience = progress.attempts >= limits.attempts_max
        || (progress.attempts >= 2 && progress.elapsed_ms >= limits.patience_ms);
    let rest = plan.candidates().iter().enumerate().skip(progress.position + 1);
    let mut suitable = rest.filter(|(_, candidate)| {
        let fits = fault.kind != FaultKind::ContextOverflow || holds_more(plan, progress.position, candidate);
        fits && (!out_of_patience || candidate.deployment.tier == Tier::Local)
    });
    if let Some((position, _)) = suitable.next() {
        return Next::Ask(position);
    }
    if out_of_patience || progress.tries_here >= 2 {
        return Next::GiveUp;
    }
    match fault.retry_after_ms {
        Some(wait_ms) if fault.kind.blame() == Blame::Deployment && wait_ms <= limits.wait_max_ms => {
            Next::AskAgain { wait_ms }
        }
        None if fault.kind.may_pass() => Next::AskAgain { wait_ms: 200 },
        Some(_) | None => Next::GiveUp,
    }
}

/// Whether a candidate may hold a prompt that was too long for the one at `position`.
fn holds_more(plan: &Plan, position: usize, candidate: &Candidate) -> bool {
    let refused = plan.candidates().get(position).and_then(|c| c.deployment.window_tokens);
    match (refused, candidate.deployment.window_tokens) {
        (Some(refused), Some(window)) => window > refused,
        (None, _) | (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{CallId, Grants};
    use crate::breaker::Gate;
    use crate::call::Requirements;
    use crate::fleet::{Abilities, Deployment, DeploymentId, Facts};
    use crate::route::{Choice, Part, Selection};
    use std::sync::Arc;

    fn plan(tiers: &[(Tier, Option<u32>)]) -> Plan {
        let choice = |(i, (tier, window_tokens)): (usize, &(Tier, Option<u32>))| Choice {
            deployment: Arc::new(Deployment {
                id: DeploymentId::new("p", &i.to_string()),
                provider: "p".into(),
                model: i.to_string().into(),
                tier: *tier,
                rank: 0,
                in_auto: true,
                abilities: Abilities::default(),
                window_tokens: *window_tokens,
                facts: Facts::default(),
            }),
            part: Part::Asked,
        };
        let selection = Selection { choices: tiers.iter().enumerate().map(choice).collect(), absent: vec![] };
        Plan::make(&CallId("c".into()), selection, &Grants::default(), &Requirements::default(), |_| Gate::Pass)
    }

    const FIRST: Progress = Progress { position: 0, tries_here: 1, attempts: 1, elapsed_ms: 0 };

    fn next(plan: &Plan, progress: Progress, fault: &Fault) -> Next {
        after_fault(plan, progress, fault, &Limits::default())
    }

    #[test]
    fn nobody_waits_for_one_supplier_while_another_is_free() {
        let two = plan(&[(Tier::Frontier, None), (Tier::Local, None)]);
        let fault = Fault { retry_after_ms: Some(1), ..Fault::new(FaultKind::RateLimited, "wait") };
        assert_eq!(next(&two, FIRST, &fault), Next::Ask(1));
    }

    #[test]
    fn the_only_candidate_is_asked_again_once() {
        let one = plan(&[(Tier::Frontier, None)]);
        let fault = Fault::new(FaultKind::ServerError, "500");
        assert_eq!(next(&one, FIRST, &fault), Next::AskAgain { wait_ms: 200 });
        let second = Progress { tries_here: 2, attempts: 2, ..FIRST };
        assert_eq!(next(&one, second, &fault), Next::GiveUp);
    }

    #[test]
    fn a_short_retry_after_is_waited_for_and_a_long_one_is_passed_on() {
        let one = plan(&[(Tier::Frontier, None)]);
        let fault = |ms| Fault { retry_after_ms: Some(ms), ..Fault::new(FaultKind::RateLimited, "wait") };
        assert_eq!(next(&one, FIRST, &fault(1_000)), Next::AskAgain { wait_ms: 1_000 });
        assert_eq!(next(&one, FIRST, &fault(62_000)), Next::GiveUp);
    }

    #[test]
    fn a_request_that_is_wrong_in_itself_is_not_carried_around() {
        let two = plan(&[(Tier::Frontier, None), (Tier::Local, None)]);
        assert_eq!(next(&two, FIRST, &Fault::new(FaultKind::BadRequest, "bad")), Next::GiveUp);
    }

    #[test]
    fn a_prompt_too_long_for_one_goes_only_to_a_larger_one() {
        let fault = Fault::new(FaultKind::ContextOverflow, "long");
        let smaller = plan(&[(Tier::Frontier, Some(8_000)), (Tier::Local, Some(4_000))]);
        assert_eq!(next(&smaller, FIRST, &fault), Next::GiveUp);
        let larger = plan(&[(Tier::Frontier, Some(8_000)), (Tier::Local, Some(4_000)), (Tier::Local, Some(9_000))]);
        assert_eq!(next(&larger, FIRST, &fault), Next::Ask(2));
    }

    #[test]
    fn when_patience_ends_only_the_last_tier_is_asked() {
        let three = plan(&[(Tier::Frontier, None), (Tier::Frontier, None), (Tier::Local, None)]);
        let late = Progress { elapsed_ms: 46_000, attempts: 2, ..FIRST };
        assert_eq!(next(&three, late, &Fault::new(FaultKind::HeadersTimeout, "hang")), Next::Ask(2));
    }
}
