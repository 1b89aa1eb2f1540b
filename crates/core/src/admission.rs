//! The proof that a deployment may see a call. Nothing can be dispatched without one.

use std::sync::Arc;

use crate::fleet::{Deployment, DeploymentId, Tiers};

/// A call's id, unique in time and space (UUIDv7 as text).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub Arc<str>);

/// What the caller's key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Tiers that calls with this key may reach.
    pub tiers: Tiers,
}

impl Default for Grants {
    fn default() -> Self {
        Self { tiers: Tiers::ALL }
    }
}

impl Grants {
    /// The same grants, cut down to these tiers: how a single request asks for less than its key allows.
    #[must_use]
    pub fn narrowed(self, tiers: Tiers) -> Self {
        Self { tiers: self.tiers.and(tiers) }
    }
}

/// That this call may be sent to this deployment. Made only by [`admit`], spent by the dispatch.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    call: CallId,
    deployment: DeploymentId,
}

impl Admitted {
    /// The call it was given for.
    #[must_use]
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// The deployment it was given for.
    #[must_use]
    pub fn deployment(&self) -> &DeploymentId {
        &self.deployment
    }
}

/// Decides whether `call` may be sent to `deployment`. Asked again for every attempt.
///
/// # Errors
/// The reason why not, as one clause.
pub fn admit(call: &CallId, grants: &Grants, deployment: &Deployment) -> Result<Admitted, String> {
    if !grants.tiers.contains(deployment.tier) {
        return Err(format!("this call may not leave for the `{}` tier", deployment.tier));
    }
    Ok(Admitted { call: call.clone(), deployment: deployment.id.clone() })
}
