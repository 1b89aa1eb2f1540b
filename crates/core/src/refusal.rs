//! What a caller is told when there is no answer: one sentence, whose fault it is, and whether to try again.

use crate::fault::{Blame, Fault, FaultKind};
use crate::plan::{Plan, Reason};

/// Why there is no answer. `wire` turns it into a status code, in one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// No key, or one that is not known.
    Unauthenticated,
    /// The key is known but may not do this.
    Forbidden,
    /// The request is wrong.
    BadRequest,
    /// No such model.
    UnknownModel,
    /// No such path.
    UnknownPath,
    /// No such session that this caller may see.
    UnknownSession,
    /// No such response, conversation or item that this caller may see.
    NotKept,
    /// The response that a request follows is not there for this caller.
    UnknownPrevious,
    /// Somebody else holds the session now.
    HandedOver,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is larger than the limit.
    TooLarge,
    /// The caller did not send its body in time.
    RequestTimeout,
    /// No candidate can hold the prompt.
    ContextOverflow,
    /// No candidate can do what the call needs.
    NotCapable,
    /// Every candidate says: later.
    RateLimited,
    /// This daemon has as many calls as it can hold.
    Busy,
    /// The call came back to the daemon that sent it.
    Loop,
    /// Every candidate failed.
    UpstreamFailed,
    /// Every candidate was too slow.
    UpstreamTimeout,
    /// The daemon is going down.
    ShuttingDown,
    /// A fault of this program.
    Internal,
}

impl RefusalKind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::BadRequest,
        Self::UnknownModel,
        Self::UnknownPath,
        Self::UnknownSession,
        Self::NotKept,
        Self::UnknownPrevious,
        Self::HandedOver,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::RequestTimeout,
        Self::ContextOverflow,
        Self::NotCapable,
        Self::RateLimited,
        Self::Busy,
        Self::Loop,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::ShuttingDown,
        Self::Internal,
    ];
}

/// A call that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// One sentence that says what to do; never a key, never a prompt.
    pub message: String,
    /// When to try again, in milliseconds, where that is known.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without a wait.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after_ms: None }
    }

    /// The refusal for a plan that nobody is on.
    #[must_use]
    pub fn nobody(model: &str, plan: &Plan) -> Self {
        let mut clauses: Vec<String> =
            plan.excluded().iter().map(|e| format!("{}: {}", e.deployment.id, e.reason)).collect();
        clauses.extend(plan.absent().iter().map(|(provider, hint)| format!("{provider}: {hint}")));
        let all =
            |test: fn(&Reason) -> bool| !plan.excluded().is_empty() && plan.excluded().iter().all(|e| test(&e.reason));
        let kind = if all(|reason| matches!(reason, Reason::Denied(_))) {
            RefusalKind::Forbidden
        } else if all(|reason| matches!(reason, Reason::WindowTooSmall { .. })) {
            RefusalKind::ContextOverflow
        } else if plan.shortest_wait_ms().is_some() {
            RefusalKind::RateLimited
        } else if plan.excluded().is_empty() {
            RefusalKind::UnknownModel
        } else {
            RefusalKind::NotCapable
        };
        let message = format!("nobody can answer for `{model}` now ({})", clauses.join("; "));
        Self { kind, message, retry_after_ms: plan.shortest_wait_ms() }
    }

    /// The refusal after every attempt failed. `faults` holds each attempt's fault, in order, with its deployment's id.
    #[must_use]
    pub fn exhausted(faults: &[(String, Fault)]) -> Self {
        let told = faults.iter().map(|(id, fault)| format!("{id}: {fault}")).collect::<Vec<_>>().join("; ");
        // A caller is told to change its request only if nobody failed for another reason: whoever did may be back, and
        // a conversation that was cut down to the smallest window is not made whole again.
        let others = || faults.iter().map(|(_, fault)| fault.kind).filter(|kind| kind.blame() != Blame::Caller);
        let all = |test: fn(FaultKind) -> bool| others().next().is_some() && others().all(test);
        let nobody_else = others().next().is_none();
        let last = faults.last().map(|(_, fault)| fault);
        let kind = match last.map(|fault| fault.kind) {
            Some(FaultKind::BadRequest) => RefusalKind::BadRequest,
            Some(FaultKind::Untranslatable) if nobody_else => RefusalKind::BadRequest,
            Some(FaultKind::ContextOverflow) if nobody_else => RefusalKind::ContextOverflow,
            Some(_) if all(is_later) => RefusalKind::RateLimited,
            Some(_) if all(is_slow) => RefusalKind::UpstreamTimeout,
            Some(_) | None => RefusalKind::UpstreamFailed,
        };
        let callers_own = matches!(kind, RefusalKind::BadRequest | RefusalKind::ContextOverflow);
        if let Some(fault) = last.filter(|_| callers_own) {
            return Self::new(kind, fault.message.clone());
        }
        let retry_after_ms = faults.iter().filter_map(|(_, fault)| fault.retry_after_ms).min();
        Self { kind, message: format!("no supplier could answer ({told})"), retry_after_ms }
    }
}

fn is_later(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::RateLimited | FaultKind::Overloaded | FaultKind::EngineBusy)
}

fn is_slow(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::ConnectTimeout
            | FaultKind::HeadersTimeout
            | FaultKind::FirstContentTimeout
            | FaultKind::IdleTimeout
            | FaultKind::TotalTimeout
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(kinds: &[(FaultKind, Option<u64>)]) -> Vec<(String, Fault)> {
        let fault = |(kind, wait): &(FaultKind, Option<u64>)| {
            ("p/m".to_owned(), Fault { kind: *kind, message: "said no".into(), retry_after_ms: *wait })
        };
        kinds.iter().map(fault).collect()
    }

    #[test]
    fn when_everybody_says_later_the_caller_hears_the_shortest_wait() {
        let refusal = Refusal::exhausted(&faults(&[
            (FaultKind::RateLimited, Some(9_000)),
            (FaultKind::RateLimited, Some(3_000)),
        ]));
        assert_eq!((refusal.kind, refusal.retry_after_ms), (RefusalKind::RateLimited, Some(3_000)));
    }

    #[test]
    fn a_callers_own_mistake_is_told_in_the_providers_words() {
        let refusal = Refusal::exhausted(&faults(&[(FaultKind::BadRequest, None)]));
        assert_eq!((refusal.kind, refusal.message.as_str()), (RefusalKind::BadRequest, "said no"));
    }

    #[test]
    fn nobody_cuts_a_conversation_down_because_the_larger_window_was_away_for_a_moment() {
        for caller in [FaultKind::ContextOverflow, FaultKind::Untranslatable] {
            let away = Refusal::exhausted(&faults(&[(FaultKind::ServerError, None), (caller, None)]));
            assert_eq!(away.kind, RefusalKind::UpstreamFailed);
            let later = Refusal::exhausted(&faults(&[(FaultKind::RateLimited, Some(9_000)), (caller, None)]));
            assert_eq!((later.kind, later.retry_after_ms), (RefusalKind::RateLimited, Some(9_000)));
        }
        let long =
            Refusal::exhausted(&faults(&[(FaultKind::Untranslatable, None), (FaultKind::ContextOverflow, None)]));
        assert_eq!((long.kind, long.message.as_str()), (RefusalKind::ContextOverflow, "said no"));
    }

    #[test]
    fn mixed_failures_are_the_suppliers_fault() {
        let refusal = Refusal::exhausted(&faults(&[(FaultKind::RateLimited, None), (FaultKind::HeadersTimeout, None)]));
        assert_eq!(refusal.kind, RefusalKind::UpstreamFailed);
    }
}
