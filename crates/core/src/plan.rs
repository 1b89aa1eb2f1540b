//! Who is tried, in which order, and why the others are not.
//!
//! Candidates = route ∩ policy ∩ requirements ∩ health. Every deployment that the route leads to ends up on exactly one
//! of two lists, so that an explanation has no gaps.

use std::fmt;
use std::sync::Arc;

use crate::admission::{CallId, Grants, admit};
use crate::breaker::Gate;
use crate::call::Requirements;
use crate::fault::FaultKind;
use crate::fleet::{Ability, Deployment, DeploymentId, Tier};
use crate::route::{Choice, Part, Selection};

/// A deployment that will be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Whether the client named it or it stands in.
    pub part: Part,
    /// What its breaker said.
    pub standing: Standing,
}

/// In which standing a candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Healthy as far as is known.
    Passing,
    /// It failed before; this call finds out whether it is back.
    Probe,
    /// It is benched, but there is nobody else.
    LastResort,
}

/// Why a deployment is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Policy forbids it, with the clause.
    Denied(String),
    /// It lacks something that the call needs.
    Lacks(&'static str),
    /// The prompt is certainly longer than its window.
    WindowTooSmall {
        /// At least so many tokens are needed.
        needs_tokens: u64,
        /// So many fit.
        window_tokens: u32,
    },
    /// It failed a moment ago.
    Benched {
        /// How.
        kind: FaultKind,
        /// For how much longer it is skipped.
        wait_ms: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(clause) => f.write_str(clause),
            Self::Lacks(what) => write!(f, "cannot do {what}"),
            Self::WindowTooSmall { needs_tokens, window_tokens } => {
                write!(f, "the prompt needs at least {needs_tokens} tokens, its window is {window_tokens}")
            }
            Self::Benched { kind, wait_ms } => {
                write!(f, "failed a moment ago ({kind}), skipped for another {:.1} s", *wait_ms as f64 / 1_000.0)
            }
        }
    }
}

/// A deployment that is not tried, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Why.
    pub reason: Reason,
}

/// The order of attempts for one call. Made only by [`Plan::make`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    candidates: Vec<Candidate>,
    excluded: Vec<Exclusion>,
    absent: Vec<(Arc<str>, String)>,
}

impl Plan {
    /// Sorts what a route leads to into candidates and exclusions. `gate` says what the breakers say.
    #[must_use]
    pub fn make(
        call: &CallId,
        selection: Selection,
        grants: &Grants,
        needs: &Requirements,
        gate: impl Fn(&Deployment) -> Gate,
    ) -> Self {
        let mut plan = Self { candidates: Vec::new(), excluded: Vec::new(), absent: selection.absent };
        let (mut benched, mut later) = (Vec::new(), Vec::new());
        for Choice { deployment, part } in selection.choices {
            let denied = admit(call, grants, &deployment).err().map(Reason::Denied);
            if let Some(reason) = denied.or_else(|| lacking(needs, &deployment)) {
                plan.excluded.push(Exclusion { deployment, reason });
                continue;
            }
            match gate(&deployment) {
                Gate::Pass => plan.candidates.push(Candidate { deployment, part, standing: Standing::Passing }),
                Gate::Probe => {
                    let probe = Candidate { deployment, part, standing: Standing::Probe };
                    if plan.candidates.iter().any(|earlier| earlier.standing == Standing::Probe) {
                        later.push(probe);
                    } else {
                        plan.candidates.push(probe);
                    }
                }
                Gate::Skip { kind, wait_ms } => benched.push((deployment, part, kind, wait_ms)),
            }
        }
        // One call finds out about one supplier; it does not wait for several that may still be down.
        plan.candidates.append(&mut later);
        let nobody_else = plan.candidates.is_empty();
        for (deployment, part, kind, wait_ms) in benched {
            if nobody_else && worth_a_last_try(kind) {
                plan.candidates.push(Candidate { deployment, part, standing: Standing::LastResort });
            } else {
                plan.excluded.push(Exclusion { deployment, reason: Reason::Benched { kind, wait_ms } });
            }
        }
        plan
    }

    /// The tier that comes first, if more than one deployment in it is well.
    #[must_use]
    pub fn contested_tier(&self) -> Option<Tier> {
        let well = |candidate: &&Candidate| candidate.standing == Standing::Passing;
        let tier = self.candidates.iter().find(well)?.deployment.tier;
        let alike = self.candidates.iter().filter(well).filter(|candidate| candidate.deployment.tier == tier);
        (alike.count() > 1).then_some(tier)
    }

    /// Puts a deployment before the others of its tier, if it is well.
    pub fn prefer(&mut self, deployment: &DeploymentId) {
        let is_it =
            |candidate: &Candidate| candidate.deployment.id == *deployment && candidate.standing == Standing::Passing;
        let Some(from) = self.candidates.iter().position(is_it) else { return };
        let preferred = self.candidates.remove(from);
        let alike = |candidate: &Candidate| {
            candidate.deployment.tier == preferred.deployment.tier && candidate.part == preferred.part
        };
        let to = self.candidates.iter().position(alike).unwrap_or(from).min(from);
        self.candidates.insert(to, preferred);
    }

    /// Tries nobody but these.
    pub fn retain(&mut self, wanted: impl Fn(&Candidate) -> bool) {
        self.candidates.retain(wanted);
    }

    /// Those that are tried, in order.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Those that are not, each with its reason.
    #[must_use]
    pub fn excluded(&self) -> &[Exclusion] {
        &self.excluded
    }

    /// Providers that would serve the name but cannot be used: `(provider, what to do)`.
    #[must_use]
    pub fn absent(&self) -> &[(Arc<str>, String)] {
        &self.absent
    }

    /// The shortest wait, in milliseconds, after which a rate-limited deployment may be asked again.
    #[must_use]
    pub fn shortest_wait_ms(&self) -> Option<u64> {
        let waits = self.excluded.iter().filter_map(|exclusion| match exclusion.reason {
            Reason::Benched { wait_ms, .. } => Some(wait_ms),
            Reason::Denied(_) | Reason::Lacks(_) | Reason::WindowTooSmall { .. } => None,
        });
        waits.min()
    }
}

/// What the deployment cannot do for this call. What nobody has said is tried.
fn lacking(needs: &Requirements, deployment: &Deployment) -> Option<Reason> {
    let abilities = deployment.abilities;
    let checks = [
        (needs.tools, abilities.tools, "tool calls"),
        (needs.images, abilities.images, "images"),
        (needs.json_schema, abilities.json_schema, "answers that obey a JSON schema"),
        (needs.many_choices, abilities.many_choices, "several answers to one question"),
    ];
    let missing = checks.into_iter().find(|(needed, ability, _)| *needed && *ability == Ability::No);
    if let Some((_, _, what)) = missing {
        return Some(Reason::Lacks(what));
    }
    // What is no conversation is asked only of those who are known to do it, or whom the caller has named.
    let besides =
        [(needs.embeddings, abilities.embeddings, "embeddings"), (needs.rerank, abilities.rerank, "reranking")];
    let missing = besides.into_iter().find(|(needed, ability, _)| {
        *needed && (*ability == Ability::No || (*ability == Ability::Unknown && deployment.in_auto))
    });
    if let Some((_, _, what)) = missing {
        return Some(Reason::Lacks(what));
    }
    let window_tokens = deployment.window_tokens?;
    let needs_tokens = needs.prompt_tokens_min();
    (needs_tokens >= u64::from(window_tokens)).then_some(Reason::WindowTooSmall { needs_tokens, window_tokens })
}

/// Whether asking a benched deployment is better than refusing. Where the provider told us to wait, or where somebody
/// has to mend something first, it is not.
fn worth_a_last_try(kind: FaultKind) -> bool {
    match kind {
        FaultKind::RateLimited | FaultKind::QuotaExhausted | FaultKind::Redirect => false,
        FaultKind::Connect
        | FaultKind::ConnectTimeout
        | FaultKind::HeadersTimeout
        | FaultKind::FirstContentTimeout
        | FaultKind::IdleTimeout
        | FaultKind::TotalTimeout
        | FaultKind::Cut
        | FaultKind::Malformed
        | FaultKind::Empty
        | FaultKind::InBand
        | FaultKind::Overloaded
        | FaultKind::ServerError
        | FaultKind::BadKey
        | FaultKind::Forbidden
        | FaultKind::ModelNotFound
        | FaultKind::BadRequest
        | FaultKind::ContextOverflow
        | FaultKind::Engine
        | FaultKind::EngineBusy
        | FaultKind::Untranslatable => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Abilities, Facts};

    fn deployment(name: &str, tier: Tier) -> Deployment {
        Deployment {
            id: DeploymentId::new("p", name),
            provider: "p".into(),
            model: name.into(),
            tier,
            rank: 0,
            in_auto: true,
            abilities: Abilities::default(),
            window_tokens: None,
            facts: Facts::default(),
        }
    }

    fn make(deployments: Vec<Deployment>, needs: Requirements, gate: impl Fn(&Deployment) -> Gate) -> Plan {
        let choices = deployments.into_iter().map(|d| Choice { deployment: Arc::new(d), part: Part::Asked }).collect();
        let selection = Selection { choices, absent: vec![] };
        Plan::make(&CallId("c".into()), selection, &Grants::default(), &needs, gate)
    }

    #[test]
    fn every_deployment_is_either_tried_or_excluded_with_a_reason() {
        let blind = Deployment {
            abilities: Abilities { images: Ability::No, ..Abilities::default() },
            ..deployment("blind", Tier::Local)
        };
        let needs = Requirements { images: true, ..Requirements::default() };
        let plan = make(vec![deployment("eye", Tier::Frontier), blind], needs, |_| Gate::Pass);
        assert_eq!(plan.candidates().len(), 1);
        assert_eq!(plan.excluded().first().map(|e| e.reason.to_string()).as_deref(), Some("cannot do images"));
    }

    #[test]
    fn a_benched_supplier_is_skipped_while_another_is_free() {
        let skip = Gate::Skip { kind: FaultKind::ServerError, wait_ms: 900 };
        let gate = |d: &Deployment| if &*d.model == "sick" { skip } else { Gate::Pass };
        let plan = make(
            vec![deployment("sick", Tier::Frontier), deployment("well", Tier::Local)],
            Requirements::default(),
            gate,
        );
        let tried: Vec<&str> = plan.candidates().iter().map(|c| &*c.deployment.model).collect();
        assert_eq!(tried, ["well"]);
    }

    #[test]
    fn a_benched_supplier_is_the_last_resort_unless_it_told_us_to_wait() {
        let only = |kind| {
            make(vec![deployment("only", Tier::Frontier)], Requirements::default(), move |_| Gate::Skip {
                kind,
                wait_ms: 900,
            })
        };
        assert_eq!(only(FaultKind::ServerError).candidates().len(), 1);
        assert_eq!(only(FaultKind::RateLimited).candidates().len(), 0);
        assert_eq!(only(FaultKind::RateLimited).shortest_wait_ms(), Some(900));
    }

    #[test]
    fn a_call_probes_one_supplier_and_keeps_the_other_probes_for_last() {
        let gate = |d: &Deployment| if d.tier == Tier::Frontier { Gate::Probe } else { Gate::Pass };
        let fleet =
            vec![deployment("a", Tier::Frontier), deployment("b", Tier::Frontier), deployment("c", Tier::Local)];
        let plan = make(fleet, Requirements::default(), gate);
        let order: Vec<&str> = plan.candidates().iter().map(|c| &*c.deployment.model).collect();
        assert_eq!(order, ["a", "c", "b"]);
    }

    #[test]
    fn a_preferred_deployment_comes_first_in_its_tier_and_never_before_a_better_one() {
        let fleet = || {
            let names = [("a", Tier::Frontier), ("b", Tier::Frontier), ("c", Tier::Local), ("d", Tier::Local)];
            names.map(|(name, tier)| deployment(name, tier)).to_vec()
        };
        let order = |name: &str, gate: fn(&Deployment) -> Gate| {
            let mut plan = make(fleet(), Requirements::default(), gate);
            plan.prefer(&DeploymentId::new("p", name));
            plan.candidates().iter().map(|c| c.deployment.model.to_string()).collect::<String>()
        };
        assert_eq!(order("b", |_| Gate::Pass), "bacd");
        assert_eq!(order("d", |_| Gate::Pass), "abdc");
        assert_eq!(order("x", |_| Gate::Pass), "abcd");
        let sick = |d: &Deployment| if &*d.model == "b" { Gate::Probe } else { Gate::Pass };
        assert_eq!(order("b", sick), "abcd");
    }

    #[test]
    fn a_prompt_that_cannot_fit_is_not_sent() {
        let small = Deployment { window_tokens: Some(4_096), ..deployment("small", Tier::Local) };
        let needs = Requirements { body_bytes: 400_000, ..Requirements::default() };
        assert!(make(vec![small], needs, |_| Gate::Pass).candidates().is_empty());
    }

    #[test]
    fn a_key_for_the_local_tier_reaches_nothing_else() {
        let choices = vec![Choice { deployment: Arc::new(deployment("far", Tier::Frontier)), part: Part::Asked }];
        let grants = Grants { tiers: [Tier::Local].into_iter().collect() };
        let selection = Selection { choices, absent: vec![] };
        let plan = Plan::make(&CallId("c".into()), selection, &grants, &Requirements::default(), |_| Gate::Pass);
        assert!(plan.candidates().is_empty());
    }
}
