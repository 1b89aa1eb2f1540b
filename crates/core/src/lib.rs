//! Decides. Every function here takes facts and returns a value.
//!
//! *Knows:* what a call and an answer are, which deployments exist and what is known of them, in which order
//! they are tried, when a failing one is benched, what is done when an attempt fails, what of a conversation a small window
//! is given, and who may write to a session.
//!
//! *Does not know:* time (moments are arguments), chance, bytes on a wire, sockets, files, async.
//!
//! A call goes through these modules in this order:
//! [`call`] (what is asked) → [`route`] (who may answer) → [`plan`] (who is tried, and why not the others) →
//! [`admission`] (the proof that this deployment may see this call) → [`answer`] (what comes back) →
//! [`attempt`] (what is done when it does not) → [`breaker`] (who is skipped next time).

#![forbid(unsafe_code)]

pub mod admission;
pub mod answer;
pub mod attempt;
pub mod breaker;
pub mod call;
pub mod fault;
pub mod fleet;
pub mod lease;
pub mod patience;
pub mod plan;
pub mod projection;
pub mod refusal;
pub mod route;
pub mod text;
pub mod turn;

/// A moment on the monotonic clock of the running process, in milliseconds since it started.
///
/// The core has no clock: whoever calls it says what time it is, so that a simulated run can be replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Milliseconds since the process started.
    pub ms: u64,
}

impl Moment {
    /// The moment `ms` milliseconds after this one; saturates.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self { ms: self.ms.saturating_add(ms) }
    }

    /// Milliseconds from `self` until `later`; zero when `later` has passed.
    #[must_use]
    pub fn until_ms(self, later: Self) -> u64 {
        later.ms.saturating_sub(self.ms)
    }
}
