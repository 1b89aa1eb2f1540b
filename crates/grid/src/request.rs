//! The path of a call, top to bottom:
//!
//! identify → decode → recall → admit → plan → attempt (→ project) → settle → encode.
//!
//! Each step takes what the step before made. Nothing is sent without an [`Admitted`] for this call and this deployment,
//! which is asked for again for every attempt; nothing of an answer leaves before its attempt has content.
//!
//! [`Admitted`]: commonwatt_core::admission::Admitted

use std::sync::Arc;

use commonwatt_core::call::Requirements;
use commonwatt_core::fleet::Deployment;
use commonwatt_core::plan::Plan;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::route::resolve;
use commonwatt_upstream::Matter;

use crate::attempt::Won;
use crate::bus::Wish;
use crate::decode::decoded;
use crate::detached::{self, Detach};
use crate::identity::Principal;
use crate::relay::{Answered, Relay};
pub use crate::underway::Arrival;
pub(crate) use crate::underway::Underway;
use crate::{Grid, trace};

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
        if underway.detach.is_some() {
            return Box::pin(detached::begin(self, underway, plan, started)).await;
        }
        let won = self.win(&underway, &plan).await?;
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
        let detach = Detach::asked(&arrival, &envelope)?;
        let granted = arrival.principal.grants;
        let grants = arrival.tiers.map_or(granted, |tiers| granted.narrowed(tiers));
        let id = self.new_id();
        let span = trace::call_span(&id.0, arrival.asked.operation(), &envelope.model, envelope.stream);
        Ok(Underway {
            id,
            generation,
            arrival,
            envelope,
            matter,
            grants,
            via,
            thread: None,
            lossy: Vec::new(),
            original: None,
            created_unix_s: self.unix_s(),
            detach,
            keeper: None,
            span,
            _slot: slot,
        })
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

    /// Attempt; and where nobody who is left can hold the conversation, project.
    pub(crate) async fn win(self: &Arc<Self>, call: &Underway, plan: &Plan) -> Result<Won, Refusal> {
        match self.attempt(call, plan).await {
            Ok(won) => Ok(won),
            // Rare and large: a call that needs none of it does not carry it along.
            Err(missed) => Box::pin(self.project(call, plan, missed)).await,
        }
    }
}
