//! The breakers' board: one breaker a deployment, one an account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use commonwatt_core::Moment;
use commonwatt_core::breaker::{Breaker, Gate};
use commonwatt_core::fault::{Blame, Fault};
use commonwatt_core::fleet::{Deployment, DeploymentId};

/// Breakers are kept for at most this many deployments and accounts; clients can name models, so names must not pile
/// up. Past it, breakers that pass are forgotten.
const BREAKERS_MAX: usize = 4_096;

#[derive(Default)]
struct Board {
    deployments: HashMap<DeploymentId, Breaker>,
    accounts: HashMap<Arc<str>, Breaker>,
}

/// The breakers of all deployments. Only those that are not passing take room.
#[derive(Default)]
pub struct Breakers {
    board: Mutex<Board>,
}

impl Breakers {
    /// What the board says to a call for this deployment at `now`.
    pub fn gate(&self, deployment: &Deployment, now: Moment) -> Gate {
        let board = self.board();
        let of_model = board.deployments.get(&deployment.id).map_or(Gate::Pass, |breaker| breaker.gate(now));
        let of_account = board.accounts.get(&deployment.provider).map_or(Gate::Pass, |breaker| breaker.gate(now));
        stricter(of_model, of_account)
    }

    /// A call is sent to it; the returned ticket must hear how it went.
    pub fn dispatched<'a>(&'a self, deployment: &'a Deployment, now: Moment) -> Ticket<'a> {
        let mut board = self.board();
        if let Some(breaker) = board.deployments.get_mut(&deployment.id) {
            breaker.on_dispatch(now);
        }
        if let Some(breaker) = board.accounts.get_mut(&deployment.provider) {
            breaker.on_dispatch(now);
        }
        Ticket { breakers: self, deployment, sent: now, told: false }
    }

    /// It answered.
    pub fn succeeded(&self, deployment: &Deployment) {
        let mut board = self.board();
        board.deployments.remove(&deployment.id);
        board.accounts.remove(&deployment.provider);
    }

    /// It failed. `alone` says that the call had nobody else to ask.
    pub fn failed(&self, deployment: &Deployment, fault: &Fault, alone: bool, now: Moment) {
        let mut board = self.board();
        if board.deployments.len() + board.accounts.len() >= BREAKERS_MAX {
            board.deployments.retain(|_, breaker| matches!(breaker.gate(now), Gate::Skip { .. }));
        }
        let breaker = match fault.kind.blame() {
            Blame::Caller => return,
            Blame::Deployment => board.deployments.entry(deployment.id.clone()).or_default(),
            Blame::Account => board.accounts.entry(Arc::clone(&deployment.provider)).or_default(),
        };
        breaker.on_fault(now, fault.kind, fault.retry_after_ms, alone);
    }

    /// The state for people: `passing`, or `tripped (rate_limited, 4.2 s)`.
    pub fn describe(&self, deployment: &Deployment, now: Moment) -> String {
        match self.gate(deployment, now) {
            Gate::Pass => "passing".to_owned(),
            Gate::Probe => "tripped, the next call probes".to_owned(),
            Gate::Skip { kind, wait_ms } => {
                let word = if self.is_probing(deployment) { "probing" } else { "tripped" };
                format!("{word} ({kind}, {:.1} s)", wait_ms as f64 / 1_000.0)
            }
        }
    }

    fn is_probing(&self, deployment: &Deployment) -> bool {
        let board = self.board();
        let probing = |breaker: Option<&Breaker>| matches!(breaker, Some(Breaker::Probing { .. }));
        probing(board.deployments.get(&deployment.id)) || probing(board.accounts.get(&deployment.provider))
    }

    fn no_verdict(&self, deployment: &Deployment, sent: Moment) {
        let mut board = self.board();
        if let Some(breaker) = board.deployments.get_mut(&deployment.id) {
            breaker.on_no_verdict(sent);
        }
        if let Some(breaker) = board.accounts.get_mut(&deployment.provider) {
            breaker.on_no_verdict(sent);
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stricter(a: Gate, b: Gate) -> Gate {
    match (a, b) {
        (Gate::Skip { wait_ms: x, .. }, Gate::Skip { wait_ms: y, .. }) => {
            if x >= y {
                a
            } else {
                b
            }
        }
        (Gate::Skip { .. }, Gate::Pass | Gate::Probe) => a,
        (Gate::Pass | Gate::Probe, Gate::Skip { .. }) => b,
        (Gate::Probe, Gate::Pass | Gate::Probe) | (Gate::Pass, Gate::Probe) => Gate::Probe,
        (Gate::Pass, Gate::Pass) => Gate::Pass,
    }
}

/// A call under way. If it is dropped without a word (its caller left), a probe it may have been is over.
pub struct Ticket<'a> {
    breakers: &'a Breakers,
    deployment: &'a Deployment,
    sent: Moment,
    told: bool,
}

impl Ticket<'_> {
    /// There was content.
    pub fn succeeded(mut self) {
        self.told = true;
        self.breakers.succeeded(self.deployment);
    }

    /// There was a fault instead. One of the caller's own making is no verdict.
    pub fn failed(mut self, fault: &Fault, alone: bool, now: Moment) {
        self.told = fault.kind.blame() != Blame::Caller;
        self.breakers.failed(self.deployment, fault, alone, now);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.breakers.no_verdict(self.deployment, self.sent);
        }
    }
}
