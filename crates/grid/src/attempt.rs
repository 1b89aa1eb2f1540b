//! Attempt: one candidate after the other, until one has content.

use std::sync::Arc;

use commonwatt_core::admission::admit;
use commonwatt_core::attempt::{Next, Progress, after_fault};
use commonwatt_core::breaker::Gate;
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::fleet::Deployment;
use commonwatt_core::plan::{Candidate, Plan, Standing};
use commonwatt_core::refusal::Refusal;
use commonwatt_upstream::Order;
use commonwatt_upstream::reply::Reply;
use tokio::time::{Duration, sleep};

use crate::Grid;
use crate::bus::derive::Summary;
use crate::request::Underway;

/// A deployment that answered, and how it came to that.
pub(crate) struct Won {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) reply: Reply,
    pub(crate) attempts: u32,
    pub(crate) faults: Vec<(String, Fault)>,
    /// What it was told of the conversation's beginning, where that is not on the bus yet.
    pub(crate) summary: Option<Summary>,
}

/// That nobody answered.
pub(crate) struct Missed {
    /// What its caller is to hear.
    pub(crate) refusal: Refusal,
    pub(crate) attempts: u32,
    /// What was wrong with whom, in order.
    pub(crate) faults: Vec<(String, Fault)>,
}

impl Grid {
    /// Asks the candidates of a plan.
    pub(crate) async fn attempt(&self, call: &Underway, plan: &Plan) -> Result<Won, Missed> {
        let began = self.now();
        let mut faults = Vec::new();
        let mut progress = Progress { position: 0, tries_here: 0, attempts: 0, elapsed_ms: 0 };
        while let Some(candidate) = plan.candidates().get(progress.position) {
            if progress.tries_here == 0 && self.benched_since(plan, progress.position, candidate) {
                progress.position += 1;
                continue;
            }
            progress.attempts += 1;
            progress.tries_here += 1;
            let is_only = plan.candidates().len() == 1;
            let fault = match self.ask(call, &call.order(), candidate, is_only).await {
                Ok(reply) => {
                    let (deployment, attempts) = (Arc::clone(&candidate.deployment), progress.attempts);
                    self.affinity.answered(call, plan, &deployment);
                    return Ok(Won { deployment, reply, attempts, faults, summary: None });
                }
                Err(fault) => fault,
            };
            progress.elapsed_ms = began.until_ms(self.now());
            let next = after_fault(plan, progress, &fault, &call.generation.limits);
            faults.push((candidate.deployment.id.to_string(), fault));
            match next {
                Next::Ask(position) => progress = Progress { position, tries_here: 0, ..progress },
                Next::AskAgain { wait_ms } => sleep(Duration::from_millis(wait_ms)).await,
                Next::GiveUp => break,
            }
        }
        let refusal = match plan.candidates() {
            [] => Refusal::nobody(&call.envelope.model, plan),
            [_, ..] => Refusal::exhausted(&faults),
        };
        Err(Missed { refusal, attempts: progress.attempts, faults })
    }

    /// Whether another call has found this candidate wanting since the plan was made, and there is somebody after it.
    fn benched_since(&self, plan: &Plan, position: usize, candidate: &Candidate) -> bool {
        let last = position + 1 >= plan.candidates().len();
        let skip = matches!(self.breakers.gate(&candidate.deployment, self.now()), Gate::Skip { .. });
        !last && skip && candidate.standing != Standing::LastResort
    }

    /// One attempt at one candidate. Policy is asked again; the breakers hear how it went.
    pub(crate) async fn ask(
        &self,
        call: &Underway,
        order: &Order<'_>,
        candidate: &Candidate,
        is_only: bool,
    ) -> Result<Reply, Fault> {
        let deployment = &*candidate.deployment;
        let admitted =
            admit(&call.id, &call.grants, deployment).map_err(|clause| Fault::new(FaultKind::Forbidden, clause))?;
        let ticket = self.breakers.dispatched(deployment, self.now());
        let outcome = call.generation.upstream.dispatch(admitted, &deployment.model, order).await;
        match &outcome {
            Ok(_) => ticket.succeeded(),
            Err(fault) => {
                ticket.failed(fault, is_only, self.now());
                tracing::info!(call = %call.id.0, deployment = %deployment.id, %fault, "attempt failed");
                if let Some(meter) = call.generation.meters.get(deployment) {
                    meter.faulted(fault.kind);
                }
            }
        }
        outcome
    }
}
