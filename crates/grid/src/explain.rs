//! What would be done with a call, without doing it.

use std::sync::Arc;

use commonwatt_core::fleet::DeploymentId;
use commonwatt_core::plan::Plan;
use commonwatt_core::refusal::Refusal;

use crate::Grid;
use crate::request::Arrival;

/// The plan for a request.
pub struct Explained {
    /// The route or model that the request names.
    pub model: String,
    /// Candidates and exclusions.
    pub plan: Plan,
    /// What becomes of those whose window is too small, each in a clause.
    pub foreseen: Vec<(DeploymentId, String)>,
}

impl Grid {
    /// The plan for a request. Nothing is sent.
    ///
    /// # Errors
    /// The refusal that the request would get before it is planned.
    pub async fn explain(self: &Arc<Self>, arrival: Arrival) -> Result<Explained, Refusal> {
        let call = self.open(arrival).await?;
        let plan = self.planned(&call)?;
        let foreseen = self.foreseen(&call, &plan).await?;
        Ok(Explained { model: call.envelope.model, plan, foreseen })
    }
}
