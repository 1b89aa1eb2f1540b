//! The path of a call, top to bottom:
//!
//! identify → decode → recall → admit → plan → attempt (→ project) → settle → encode.
//!
//! Each step takes what the step before made. Nothing is sent without an [`Admitted`] for this call and this deployment,
//! which is asked for again for every attempt; nothing of an answer leaves before its attempt has content.
//!
//! [`Admitted`]: commonwatt_core::admission::Admitted

use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::admission::{CallId, Grants};
use commonwatt_core::call::Requirements;
use commonwatt_core::fleet::{Deployment, Tiers};
use commonwatt_core::plan::Plan;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::route::resolve;
use commonwatt_upstream::Matter;
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::{Dialect, Envelope, InPath};
use tokio::sync::OwnedSemaphorePermit;

use crate::bus::Wish;
use crate::bus::recall::Thread;
use crate::decode::{Asked, decoded};
use crate::identity::Principal;
use crate::project::Compaction;
use crate::relay::{Answered, Relay};
use crate::{Generation, Grid, trace};

/// A call at the door: what the server has of it.
pub struct Arrival {
    /// The dialect of the door.
    pub dialect: Dialect,
    /// What is asked for.
    pub asked: Asked,
    /// What the path says, in a dialect where it does.
    pub in_path: Option<InPath>,
    /// Whose call it is.
    pub principal: Principal,
    /// The body, whole.
    pub body: KeptBody,
    /// Headers that belong to the dialect.
    pub headers: Vec<(&'static str, Bytes)>,
    /// Tiers that this request keeps to, where it says so.
    pub tiers: Option<Tiers>,
    /// The daemons it has been through.
    pub via: Option<String>,
    /// What it wants of the bus.
    pub wish: Wish,
    /// Whether it may be answered by a model that cannot hold all of it.
    pub compaction: Compaction,
}

/// A call on its way: everything the steps after `decode` need.
pub(crate) struct Underway {
    pub(crate) id: CallId,
    pub(crate) generation: Arc<Generation>,
    pub(crate) arrival: Arrival,
    pub(crate) envelope: Envelope,
    pub(crate) matter: Matter,
    pub(crate) grants: Grants,
    pub(crate) via: String,
    /// Its place in its session, where it is kept.
    pub(crate) thread: Option<Thread>,
    /// What of its session's history could not be carried into its dialect.
    pub(crate) lossy: Vec<String>,
    /// Its span in a trace, where anybody collects them.
    pub(crate) span: tracing::Span,
    /// Held until the answer has ended.
    pub(crate) _slot: OwnedSemaphorePermit,
}

impl Grid {
    /// Answers a call.
    ///
    /// # Errors
    /// A [`Refusal`] when there is no answer; nothing has reached the caller then.
    pub async fn call(self: &Arc<Self>, arrival: Arrival) -> Result<Answered, Refusal> {
        let started = self.now();
        let underway = self.open(arrival).await?;
        let underway = self.recall(underway).await?;
        let plan = self.planned(&underway)?;
        let won = match self.attempt(&underway, &plan).await {
            Ok(won) => won,
            Err(missed) => self.project(&underway, &plan, missed).await?,
        };
        Relay::answer(Arc::clone(self), underway, won, started).await
    }

    /// Identify: from a stranger to a principal. The server asks before it reads a body.
    ///
    /// # Errors
    /// The refusal of a stranger.
    pub fn identify(&self, credential: Option<&str>) -> Result<Principal, Refusal> {
        self.generation.load().keyring.identify(credential)
    }

    /// Who calls from this machine without any key, where that is allowed.
    #[must_use]
    pub fn keyless(&self) -> Option<Principal> {
        self.generation.load().keyring.keyless()
    }

    /// Decode: from a principal's bytes to a call with a slot.
    pub(crate) async fn open(&self, arrival: Arrival) -> Result<Underway, Refusal> {
        let generation = self.generation();
        let via = self.next_via(arrival.via.as_deref())?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let refusal = Refusal::new(RefusalKind::Busy, "as many calls as this daemon can hold are under way");
            Refusal { retry_after_ms: Some(1_000), ..refusal }
        })?;
        let bytes = arrival.body.bytes().await.map_err(|f| Refusal::new(RefusalKind::Internal, f.message))?;
        let (envelope, matter) = decoded(&arrival, &bytes)?;
        let granted = arrival.principal.grants;
        let grants = arrival.tiers.map_or(granted, |tiers| granted.narrowed(tiers));
        let id = self.new_id();
        let span = trace::call_span(&id.0, arrival.asked.operation(), &envelope.model, envelope.stream);
        let (thread, lossy) = (None, Vec::new());
        Ok(Underway { id, generation, arrival, envelope, matter, grants, via, thread, lossy, span, _slot: slot })
    }

    /// Recall: from a call to a call on its session. Where the caller leaves its history to the bus, the call has it now.
    async fn recall(&self, call: Underway) -> Result<Underway, Refusal> {
        match &self.bus {
            Some(bus) if matches!(call.matter, Matter::Conversation) => bus.recall(call).await,
            None if matches!(call.arrival.wish, Wish::Continued(_)) => Err(Refusal::new(
                RefusalKind::UnknownSession,
                "nothing is kept here, so there is no session to continue: send the whole conversation",
            )),
            Some(_) | None => Ok(call),
        }
    }

    /// Plan: who is tried, in which order.
    pub(crate) fn plan(&self, call: &Underway) -> Result<Plan, Refusal> {
        let plan = self.planned(call)?;
        if plan.candidates().is_empty() { Err(Refusal::nobody(&call.envelope.model, &plan)) } else { Ok(plan) }
    }

    /// The plan, though there may be nobody in it.
    pub(crate) fn planned(&self, call: &Underway) -> Result<Plan, Refusal> {
        self.planned_for(call, &call.envelope.needs)
    }

    /// The plan if the call needed this.
    pub(crate) fn planned_for(&self, call: &Underway, needs: &Requirements) -> Result<Plan, Refusal> {
        let selection = resolve(&call.generation.fleet, &call.envelope.model)
            .map_err(|error| Refusal::new(RefusalKind::UnknownModel, error.to_string()))?;
        let now = self.now();
        let gate = |deployment: &Deployment| self.breakers.gate(deployment, now);
        let mut plan = Plan::make(&call.id, selection, &call.grants, needs, gate);
        self.affinity.steer(call, &mut plan);
        Ok(plan)
    }
}
