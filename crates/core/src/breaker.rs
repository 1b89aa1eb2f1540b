//! Who is skipped, and until when. A breaker is *Passing*, *Tripped* or *Probing*.
//!
//! A fault trips at once: the next call does not have to find out again. When the bench time is over, one call is let
//! through as a probe while the others go on skipping; its success makes the breaker pass, its failure benches longer.
//! What the provider says in `Retry-After` is a floor for the bench time, clamped so that a provider that says "a day"
//! does not freeze itself out.

use crate::Moment;
use crate::fault::FaultKind;

/// The longest that any fault benches: ten minutes, so that a recovered supplier is found again in a coffee break.
pub const BENCH_MAX_MS: u64 = 10 * 60 * 1_000;

/// How long a probe may be under way before another call may probe: longer than the longest wait for first content, so
/// that a probe whose caller left does not bench for ever.
pub const PROBE_MAX_MS: u64 = 120 * 1_000;

/// The state of one deployment's or one account's breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaker {
    /// Calls go through.
    #[default]
    Passing,
    /// Calls skip it.
    Tripped {
        /// Until then.
        until: Moment,
        /// Because of this.
        kind: FaultKind,
        /// The how-manieth time in a row it tripped, from one.
        streak: u32,
    },
    /// One call is finding out; the others skip it.
    Probing {
        /// When the probe left.
        since: Moment,
        /// What it had been tripped for.
        kind: FaultKind,
        /// How often in a row it tripped so far.
        streak: u32,
    },
}

/// What a breaker says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Go.
    Pass,
    /// Go, and tell how it went: you are the probe.
    Probe,
    /// Skip it.
    Skip {
        /// For what.
        kind: FaultKind,
        /// For how much longer.
        wait_ms: u64,
    },
}

impl Breaker {
    /// What this breaker says to a call at `now`, without changing it.
    #[must_use]
    pub fn gate(&self, now: Moment) -> Gate {
        match *self {
            Self::Passing => Gate::Pass,
            Self::Tripped { until, kind, .. } => match now.until_ms(until) {
                0 => Gate::Probe,
                wait_ms => Gate::Skip { kind, wait_ms },
            },
            Self::Probing { since, kind, .. } => match now.until_ms(since.after_ms(PROBE_MAX_MS)) {
                0 => Gate::Probe,
                wait_ms => Gate::Skip { kind, wait_ms },
            },
        }
    }

    /// A call is being sent: if the bench time is over, it is the probe.
    pub fn on_dispatch(&mut self, now: Moment) {
        match (self.gate(now), *self) {
            (Gate::Probe, Self::Tripped { kind, streak, .. } | Self::Probing { kind, streak, .. }) => {
                *self = Self::Probing { since: now, kind, streak };
            }
            (Gate::Probe | Gate::Pass | Gate::Skip { .. }, _) => {}
        }
    }

    /// A call was answered.
    pub fn on_success(&mut self) {
        *self = Self::Passing;
    }

    /// A call sent at `sent` ended without a verdict (its caller left): if it was the probe, the next call probes.
    pub fn on_no_verdict(&mut self, sent: Moment) {
        match *self {
            Self::Probing { since, kind, streak } if since == sent => {
                *self = Self::Tripped { until: since, kind, streak };
            }
            Self::Probing { .. } | Self::Passing | Self::Tripped { .. } => {}
        }
    }

    /// A call failed. `retry_after_ms` is what the provider asked for; `alone` says that it is the only candidate, in
    /// which case the bench time does not grow: there is nobody to skip to.
    pub fn on_fault(&mut self, now: Moment, kind: FaultKind, retry_after_ms: Option<u64>, alone: bool) {
        let Some(base_ms) = bench_base_ms(kind) else { return };
        let (streak, until_before) = match *self {
            Self::Passing => (1, now),
            // Sent before it tripped, or for want of anybody else: one blip under many calls is still one.
            Self::Tripped { streak, until, .. } => (streak, until),
            Self::Probing { streak, .. } => (streak.saturating_add(1), now),
        };
        let streak = if alone { 1 } else { streak };
        let doublings = streak.saturating_sub(1).min(10);
        let bench_ms = base_ms.saturating_mul(1 << doublings).max(retry_after_ms.unwrap_or(0)).min(BENCH_MAX_MS);
        let until = now.after_ms(bench_ms).max(until_before.min(now.after_ms(BENCH_MAX_MS)));
        *self = Self::Tripped { until, kind, streak };
    }

    /// `Passing`, `Tripped` or `Probing`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Tripped { .. } => "tripped",
            Self::Probing { .. } => "probing",
        }
    }
}

/// How long the first fault of this kind benches; `None` for faults that bench nobody.
fn bench_base_ms(kind: FaultKind) -> Option<u64> {
    match kind {
        // The caller's own fault.
        FaultKind::BadRequest | FaultKind::ContextOverflow | FaultKind::Untranslatable => None,
        // A full queue empties within a few tokens.
        FaultKind::EngineBusy => None,
        // Usually gone at once.
        FaultKind::Cut
        | FaultKind::Malformed
        | FaultKind::Empty
        | FaultKind::InBand
        | FaultKind::ServerError
        | FaultKind::Engine => Some(1_000),
        FaultKind::Connect | FaultKind::Overloaded => Some(2_000),
        FaultKind::RateLimited => Some(5_000),
        // Finding out again costs the next caller a whole timeout.
        FaultKind::ConnectTimeout
        | FaultKind::HeadersTimeout
        | FaultKind::FirstContentTimeout
        | FaultKind::IdleTimeout
        | FaultKind::TotalTimeout => Some(15_000),
        // Somebody has to do something about it first.
        FaultKind::BadKey
        | FaultKind::Forbidden
        | FaultKind::QuotaExhausted
        | FaultKind::ModelNotFound
        | FaultKind::Redirect => Some(60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Moment = Moment { ms: 1_000 };

    fn tripped(kind: FaultKind) -> Breaker {
        let mut breaker = Breaker::default();
        breaker.on_fault(T0, kind, None, false);
        breaker
    }

    #[test]
    fn the_next_call_skips_a_failed_supplier() {
        assert!(matches!(tripped(FaultKind::ServerError).gate(T0), Gate::Skip { .. }));
    }

    #[test]
    fn one_probe_at_a_time_and_its_success_opens_the_way() {
        let mut breaker = tripped(FaultKind::ServerError);
        let later = T0.after_ms(1_000);
        assert_eq!(breaker.gate(later), Gate::Probe);
        breaker.on_dispatch(later);
        assert!(matches!(breaker.gate(later), Gate::Skip { .. }));
        breaker.on_success();
        assert_eq!(breaker.gate(later), Gate::Pass);
    }

    #[test]
    fn a_failed_probe_benches_longer() {
        let mut breaker = tripped(FaultKind::ServerError);
        let later = T0.after_ms(1_000);
        breaker.on_dispatch(later);
        breaker.on_fault(later, FaultKind::ServerError, None, false);
        assert_eq!(breaker.gate(later), Gate::Skip { kind: FaultKind::ServerError, wait_ms: 2_000 });
    }

    #[test]
    fn a_probe_whose_caller_left_does_not_bench_for_ever() {
        let mut breaker = tripped(FaultKind::HeadersTimeout);
        let later = T0.after_ms(15_000);
        breaker.on_dispatch(later);
        breaker.on_no_verdict(later);
        assert_eq!(breaker.gate(later), Gate::Probe);
    }

    #[test]
    fn retry_after_is_a_floor_and_is_clamped() {
        let mut breaker = Breaker::default();
        breaker.on_fault(T0, FaultKind::RateLimited, Some(30_000), false);
        assert_eq!(breaker.gate(T0), Gate::Skip { kind: FaultKind::RateLimited, wait_ms: 30_000 });
        breaker.on_success();
        breaker.on_fault(T0, FaultKind::RateLimited, Some(86_400_000), false);
        assert_eq!(breaker.gate(T0), Gate::Skip { kind: FaultKind::RateLimited, wait_ms: BENCH_MAX_MS });
    }

    #[test]
    fn a_second_cool_down_extends_the_first() {
        let mut breaker = tripped(FaultKind::RateLimited);
        let later = T0.after_ms(4_000);
        breaker.on_fault(later, FaultKind::RateLimited, Some(60_000), false);
        assert_eq!(breaker.gate(later), Gate::Skip { kind: FaultKind::RateLimited, wait_ms: 60_000 });
    }

    #[test]
    fn the_only_candidate_never_escalates() {
        let (mut breaker, mut now) = (Breaker::default(), T0);
        for _ in 0..50 {
            breaker.on_dispatch(now);
            breaker.on_fault(now, FaultKind::ServerError, None, true);
            assert_eq!(breaker.gate(now), Gate::Skip { kind: FaultKind::ServerError, wait_ms: 1_000 });
            now = now.after_ms(1_000);
        }
    }

    #[test]
    fn many_calls_that_fail_in_one_blip_bench_no_longer_than_one() {
        let mut breaker = Breaker::default();
        (0..50).for_each(|_| breaker.on_fault(T0, FaultKind::ServerError, None, false));
        assert_eq!(breaker.gate(T0), Gate::Skip { kind: FaultKind::ServerError, wait_ms: 1_000 });
    }

    #[test]
    fn a_callers_fault_benches_nobody() {
        assert_eq!(tripped(FaultKind::BadRequest), Breaker::Passing);
        assert_eq!(tripped(FaultKind::ContextOverflow), Breaker::Passing);
    }

    proptest! {
        #[test]
        fn no_history_benches_longer_than_the_bound(waits in proptest::collection::vec(0u64..200_000_000, 1..40)) {
            let mut breaker = Breaker::default();
            let mut now = T0;
            for wait in waits {
                now = now.after_ms(wait % 5_000);
                breaker.on_dispatch(now);
                breaker.on_fault(now, FaultKind::RateLimited, Some(wait), false);
                match breaker.gate(now) {
                    Gate::Skip { wait_ms, .. } => prop_assert!(wait_ms <= BENCH_MAX_MS),
                    Gate::Pass | Gate::Probe => prop_assert!(false, "a fault must bench"),
                }
            }
        }
    }
}
