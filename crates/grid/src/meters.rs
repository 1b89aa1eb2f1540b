//! Counters of each deployment, registered once so that a call only adds.
//!
//! Labels are deployments, tiers, fault kinds and outcomes: closed or bounded sets, never a caller's text.

use std::collections::HashMap;

use commonwatt_core::answer::Usage;
use commonwatt_core::fault::FaultKind;
use commonwatt_core::fleet::{Deployment, DeploymentId, Fleet};
use metrics::{Counter, Histogram, counter, histogram};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The caller got a whole answer.
    Done,
    /// The answer broke off and says so.
    Unfinished,
    /// The caller left.
    Abandoned,
}

/// The counters of one deployment.
#[derive(Clone)]
pub struct Meter {
    deployment: DeploymentId,
    done: Counter,
    unfinished: Counter,
    abandoned: Counter,
    first_content_s: Histogram,
    duration_s: Histogram,
    tokens_in: Counter,
    tokens_cached: Counter,
    tokens_out: Counter,
}

impl Meter {
    fn new(deployment: &DeploymentId, tier: &'static str) -> Self {
        let id = || deployment.as_str().to_owned();
        let ended =
            |outcome| counter!("commonwatt_calls_total", "deployment" => id(), "tier" => tier, "outcome" => outcome);
        let tokens = |kind| counter!("commonwatt_tokens_total", "deployment" => id(), "kind" => kind);
        Self {
            deployment: deployment.clone(),
            done: ended("done"),
            unfinished: ended("unfinished"),
            abandoned: ended("abandoned"),
            first_content_s: histogram!("commonwatt_first_content_seconds", "deployment" => id()),
            duration_s: histogram!("commonwatt_call_seconds", "deployment" => id()),
            tokens_in: tokens("input"),
            tokens_cached: tokens("cache_read"),
            tokens_out: tokens("output"),
        }
    }

    /// Content began after so many milliseconds.
    pub fn began(&self, after_ms: u64) {
        self.first_content_s.record(after_ms as f64 / 1_000.0);
    }

    /// A call ended after so many milliseconds.
    pub fn ended(&self, outcome: Outcome, after_ms: u64, usage: Option<&Usage>) {
        match outcome {
            Outcome::Done => self.done.increment(1),
            Outcome::Unfinished => self.unfinished.increment(1),
            Outcome::Abandoned => self.abandoned.increment(1),
        }
        self.duration_s.record(after_ms as f64 / 1_000.0);
        if let Some(usage) = usage {
            self.tokens_in.increment(usage.input.saturating_add(usage.cache_write));
            self.tokens_cached.increment(usage.cache_read);
            self.tokens_out.increment(usage.output);
        }
    }

    /// An attempt failed.
    pub fn faulted(&self, kind: FaultKind) {
        let deployment = self.deployment.as_str().to_owned();
        counter!("commonwatt_faults_total", "deployment" => deployment, "kind" => kind.word()).increment(1);
    }
}

/// The counters of all deployments of a fleet. Models that clients name beyond it share one counter a provider.
#[derive(Clone, Default)]
pub struct Meters {
    known: HashMap<DeploymentId, Meter>,
    others: HashMap<String, Meter>,
}

impl Meters {
    /// Counters for this fleet.
    #[must_use]
    pub fn of(fleet: &Fleet) -> Self {
        let known = fleet.deployments.iter().map(|d| (d.id.clone(), Meter::new(&d.id, d.tier.word())));
        let others = fleet.passthroughs.iter().map(|passthrough| {
            let provider = passthrough.template.provider.to_string();
            let id = DeploymentId::new(&provider, "*");
            (provider, Meter::new(&id, passthrough.template.tier.word()))
        });
        Self { known: known.collect(), others: others.collect() }
    }

    /// The counters of a deployment.
    #[must_use]
    pub fn get(&self, deployment: &Deployment) -> Option<&Meter> {
        self.known.get(&deployment.id).or_else(|| self.others.get(&*deployment.provider))
    }
}
