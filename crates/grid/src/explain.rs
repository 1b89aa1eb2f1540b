//! What would be done with a call, without doing it.

use std::sync::Arc;

use commonwatt_core::plan::Plan;
use commonwatt_core::refusal::{Refusal, RefusalKind};

use crate::Grid;
use crate::request::Arrival;

/// The plan for a request.
pub struct Explained {
    /// The route or model that the request names.
    pub model: String,
    /// Candidates and exclusions.
    pub plan: Plan,
}

impl Grid {
    /// The plan for a request. Nothing is sent.
    ///
    /// # Errors
    /// The refusal that the request would get before it is planned.
    pub async fn explain(self: &Arc<Self>, arrival: Arrival) -> Result<Explained, Refusal> {
        let call = self.open(arrival).await?;
        let model = call.envelope.model.clone();
        let selection = commonwatt_core::route::resolve(&call.generation.fleet, &model)
            .map_err(|error| Refusal::new(RefusalKind::UnknownModel, error.to_string()))?;
        let now = self.now();
        let gate = |deployment: &commonwatt_core::fleet::Deployment| self.breakers.gate(deployment, now);
        let mut plan = Plan::make(&call.id, selection, &call.grants, &call.envelope.needs, gate);
        self.affinity.steer(&call, &mut plan);
        Ok(Explained { model, plan })
    }
}
