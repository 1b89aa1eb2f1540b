//! How long a prompt is, in tokens of the model that would answer it.

use std::sync::Arc;

use commonwatt_core::admission::admit;
use commonwatt_core::refusal::{Refusal, RefusalKind};

use crate::Grid;
use crate::request::Arrival;

/// A prompt's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens.
    pub tokens: u64,
    /// Whether nobody counted: one token for four bytes of request is then assumed.
    pub estimated: bool,
}

impl Grid {
    /// Counts the tokens of a request for the first candidate of its plan.
    ///
    /// # Errors
    /// The refusal that the request itself would get.
    pub async fn count_tokens(self: &Arc<Self>, arrival: Arrival) -> Result<TokenCount, Refusal> {
        let call = self.open(arrival).await?;
        let plan = self.plan(&call)?;
        let estimate = TokenCount { tokens: call.envelope.needs.body_bytes.div_ceil(4), estimated: true };
        let Some(candidate) = plan.candidates().first() else { return Ok(estimate) };
        let deployment = &*candidate.deployment;
        let admitted =
            admit(&call.id, &call.grants, deployment).map_err(|clause| Refusal::new(RefusalKind::Forbidden, clause))?;
        let counted = call.generation.upstream.count_tokens(admitted, &deployment.model, &call.order()).await;
        Ok(counted.map_or(estimate, |tokens| TokenCount { tokens, estimated: false }))
    }
}
