//! Project: what follows when everybody who could hold a conversation has failed.
//!
//! A model whose window is too small for it is then given a projection: system prompt and tools as they are, a summary
//! of the turns before some point, and all that was said since. The conversation itself stays as it is, with its caller
//! and on the bus, so that a larger model gets all of it again.
//!
//! Nothing is ever shortened in silence: the answer says so in `x-commonwatt-lossy`, and where a summary cannot be made,
//! nobody is asked and the caller hears why. See `docs/decisions/0015-projections.md`.

mod history;
mod summary;

use std::sync::Arc;

use commonwatt_core::call::Requirements;
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::fleet::{Deployment, DeploymentId};
use commonwatt_core::plan::{Candidate, Plan, Reason};
use commonwatt_core::projection::{Geometry, Projection};
use commonwatt_core::refusal::Refusal;
use commonwatt_upstream::reply::Reply;
use commonwatt_upstream::{Matter, Order};
use tokio::time::{Duration, Instant};

use self::history::{History, View};
use self::summary::Wanted;
use crate::Grid;
use crate::attempt::{Missed, Won};
use crate::bus::Wish;
use crate::bus::derive::Summary;
use crate::request::Underway;

/// So many targets are given a projection for one call: each may cost a summary of its own.
const TARGETS_MAX: usize = 3;
/// Quarters of its window that a target is taken to have, one after the other, while it says that the prompt is too
/// long: sizes are estimates, and a small vocabulary makes more tokens of the same words.
const QUARTERS: [u64; 3] = [4, 3, 2];

/// Whether a call may be answered by a model that cannot hold all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compaction {
    /// It may, where its conversation is kept on the bus.
    #[default]
    Allowed,
    /// It may not: `x-commonwatt-compaction: off`.
    Off,
}

/// What is given to whom.
struct Target<'a> {
    candidate: &'a Candidate,
    /// Its window, as far as it is known.
    window_tokens: u64,
    /// Whether it has said that the whole is too long for it.
    has_overflowed: bool,
}

/// How far a call has come, and until when a summary may be written.
struct Course {
    attempts: u32,
    faults: Vec<(String, Fault)>,
    deadline: Instant,
}

/// How an attempt with a projection failed.
enum Failure {
    /// The prompt was too long all the same.
    TooLong(String),
    Other(String),
}

impl Failure {
    fn into_words(self) -> String {
        match self {
            Self::TooLong(words) | Self::Other(words) => words,
        }
    }
}

impl Grid {
    /// Asks those whose window is too small, with a projection that fits it.
    ///
    /// # Errors
    /// The refusal that the call would get without, and why a projection did not help.
    pub(crate) async fn project(
        self: &Arc<Self>,
        call: &Underway,
        plan: &Plan,
        missed: Missed,
    ) -> Result<Won, Refusal> {
        let is_wrong_in_itself = missed.faults.iter().any(|(_, fault)| fault.kind == FaultKind::BadRequest);
        if call.arrival.compaction == Compaction::Off || call.thread().is_none() || is_wrong_in_itself {
            return Err(missed.refusal);
        }
        let smaller = self.too_small(call, plan, &missed)?;
        if smaller.is_empty() {
            return Err(missed.refusal);
        }
        let Missed { mut refusal, attempts, faults } = missed;
        // What cannot be read has been refused in better words.
        let Ok(history) = History::of(call).await else { return Err(refusal) };
        let deadline = Instant::now() + Duration::from_millis(call.generation.limits.summary_ms);
        let mut course = Course { attempts, faults, deadline };
        for candidate in smaller.iter().take(TARGETS_MAX) {
            let target = Target::of(candidate, &history, &course.faults);
            match self.shortened(call, &history, &target, &mut course).await {
                Ok((reply, summary)) => {
                    let (deployment, Course { attempts, faults, .. }) = (Arc::clone(&candidate.deployment), course);
                    return Ok(Won { deployment, reply, attempts, faults, summary });
                }
                Err(failure) => {
                    let why = format!("; nor could {} with a summary: {failure}", candidate.deployment.id);
                    refusal.message.push_str(&why);
                }
            }
        }
        Err(refusal)
    }

    /// Those who are well and lack nothing but room, in order.
    fn too_small(&self, call: &Underway, plan: &Plan, missed: &Missed) -> Result<Vec<Candidate>, Refusal> {
        let needs = Requirements { body_bytes: 0, ..call.envelope.needs };
        let whoever = self.planned_for(call, &needs)?;
        let is_small = |id: &DeploymentId| {
            let excluded = plan.excluded().iter().filter(|exclusion| exclusion.deployment.id == *id);
            let overflowed = missed
                .faults
                .iter()
                .any(|(name, fault)| name == id.as_str() && fault.kind == FaultKind::ContextOverflow);
            overflowed || excluded.into_iter().any(|exclusion| is_for_room(&exclusion.reason))
        };
        Ok(whoever.candidates().iter().filter(|candidate| is_small(&candidate.deployment.id)).cloned().collect())
    }

    /// Asks one of them, with less and less while it says that it is too much.
    async fn shortened(
        self: &Arc<Self>,
        call: &Underway,
        history: &History,
        target: &Target<'_>,
        course: &mut Course,
    ) -> Result<(Reply, Option<Summary>), String> {
        let mut failed = "it cannot hold even half of what it should".to_owned();
        let mut is_shrunk = false;
        let mut told = self.known_summary(call, history, target.candidate).await;
        for quarters in QUARTERS {
            let geometry = target.geometry(call, quarters);
            let cut = match Projection::of(&history.sizes, geometry) {
                Projection::Whole if target.has_overflowed => continue,
                Projection::Whole => return self.whole(call, target, course).await,
                Projection::Impossible(reason) => return Err(reason.to_string()),
                Projection::Compact(cut) => cut,
            };
            let (deadline, faults) = (course.deadline, course.faults.as_slice());
            let wanted = Wanted { target: target.candidate, geometry, is_shrunk, cut, deadline, faults };
            let outcome = match self.summary_for(call, history, wanted, told.take()).await {
                Ok(made) => {
                    let outcome =
                        self.with_summary(call, target, history.view(call, target, geometry, &made), course).await;
                    told = Some(made);
                    outcome
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(reply) => return Ok((reply, told.and_then(|told| told.unkept))),
                Err(Failure::TooLong(words)) => (failed, is_shrunk) = (words, true),
                Err(Failure::Other(words)) => return Err(words),
            }
        }
        Err(failed)
    }

    /// Asks a target that can hold all of it after all.
    async fn whole(
        &self,
        call: &Underway,
        target: &Target<'_>,
        course: &mut Course,
    ) -> Result<(Reply, Option<Summary>), String> {
        let reply = self.ask_in_course(call, &call.order(), target, course).await;
        reply.map(|reply| (reply, None)).map_err(|fault| fault.to_string())
    }

    /// One more attempt.
    async fn ask_in_course(
        &self,
        call: &Underway,
        order: &Order<'_>,
        target: &Target<'_>,
        course: &mut Course,
    ) -> Result<Reply, Fault> {
        course.attempts += 1;
        let outcome = self.ask(call, order, target.candidate, true).await;
        if let Err(fault) = &outcome {
            course.faults.push((target.candidate.deployment.id.to_string(), fault.clone()));
        }
        outcome
    }

    /// Asks a target with a summary and what was said since.
    async fn with_summary(
        &self,
        call: &Underway,
        target: &Target<'_>,
        view: Result<View, Refusal>,
        course: &mut Course,
    ) -> Result<Reply, Failure> {
        let view = view.map_err(|refusal| Failure::Other(refusal.message))?;
        let (deployment, window_tokens) = (&target.candidate.deployment.id, target.window_tokens);
        tracing::info!(call = %call.id.0, %deployment, window_tokens, "asked with a summary");
        let order = Order { body: &view.body, envelope: &view.envelope, ..call.order() };
        match self.ask_in_course(call, &order, target, course).await {
            Ok(mut reply) => {
                reply.lossy.splice(0..0, view.lossy);
                Ok(reply)
            }
            Err(fault) if fault.kind == FaultKind::ContextOverflow => Err(Failure::TooLong(fault.to_string())),
            Err(fault) => Err(Failure::Other(fault.to_string())),
        }
    }

    /// What a projection would be for those whose window is too small: told beforehand, nothing is made.
    pub(crate) async fn foreseen(&self, call: &Underway, plan: &Plan) -> Result<Vec<(DeploymentId, String)>, Refusal> {
        let is_conversation = matches!(call.matter, Matter::Conversation);
        let is_kept = self.bus.is_some() && call.arrival.wish != Wish::Unkept && is_conversation;
        let small: Vec<_> = plan.excluded().iter().filter(|exclusion| is_for_room(&exclusion.reason)).collect();
        if small.is_empty() {
            return Ok(Vec::new());
        }
        let history = if is_kept { Some(History::of(call).await?) } else { None };
        let says = |deployment: &Deployment| match (&history, call.arrival.compaction) {
            (_, Compaction::Off) => "the request forbids a summary".to_owned(),
            (None, Compaction::Allowed) => "no summary is made, since the conversation is not kept".to_owned(),
            (Some(history), Compaction::Allowed) => history.foreseen(call, deployment),
        };
        Ok(small.iter().map(|exclusion| (exclusion.deployment.id.clone(), says(&exclusion.deployment))).collect())
    }
}

fn is_for_room(reason: &Reason) -> bool {
    match reason {
        Reason::WindowTooSmall { .. } => true,
        Reason::Denied(_) | Reason::Lacks(_) | Reason::Benched { .. } => false,
    }
}

impl<'a> Target<'a> {
    fn of(candidate: &'a Candidate, history: &History, faults: &[(String, Fault)]) -> Self {
        let id = candidate.deployment.id.as_str();
        let has_overflowed = faults.iter().any(|(name, fault)| name == id && fault.kind == FaultKind::ContextOverflow);
        let stated = candidate.deployment.window_tokens.map(u64::from);
        // Whoever refused the whole has less room than it takes, whatever is stated.
        let at_most = has_overflowed.then(|| history.sizes.prompt_tokens());
        let window_tokens = stated.into_iter().chain(at_most).min().unwrap_or_else(|| history.sizes.prompt_tokens());
        Self { candidate, window_tokens, has_overflowed }
    }

    fn geometry(&self, call: &Underway, quarters: u64) -> Geometry {
        let output_tokens = u64::from(call.envelope.needs.max_output_tokens);
        Geometry { window_tokens: self.window_tokens * quarters / 4, output_tokens }
    }
}
