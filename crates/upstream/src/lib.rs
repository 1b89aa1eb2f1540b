//! Everything the daemon calls out to, behind one verb: [`Upstream::dispatch`].
//!
//! *Knows:* how to reach a deployment (addresses, credentials, sockets, the engine's child process), its dialect, and
//! what its failures mean.
//!
//! *Does not know:* why this deployment was chosen, what happens when it fails, who is asking.

#![forbid(unsafe_code)]

pub mod alarm;
pub mod assemble;
pub mod body;
pub mod catalogue;
mod dial;
pub mod discover;
mod engine;
mod http;
pub mod hub;
mod pieces;
pub mod reply;
pub mod spec;
mod vectors;
mod way;

use std::collections::HashMap;
use std::sync::Arc;

use commonwatt_core::admission::Admitted;
use commonwatt_core::call::Call;
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::fleet::DeploymentId;
use commonwatt_wire::{Dialect, EmbedCall, Envelope, RerankCall};

pub use self::dial::SimulatedNetwork;
pub use self::engine::EngineTarget;
pub use self::http::{Http, HttpTarget};
use crate::body::KeptBody;
use crate::reply::Reply;

/// What a call brings to every attempt.
pub struct Order<'a> {
    /// The request as the client sent it.
    pub body: &'a KeptBody,
    /// The dialect the client speaks.
    pub dialect: Dialect,
    /// What a scan of the request told.
    pub envelope: &'a Envelope,
    /// What it is about.
    pub matter: &'a Matter,
    /// Headers of the client that belong to the dialect (`anthropic-beta` and the like), for same-dialect targets.
    pub headers: &'a [(&'static str, bytes::Bytes)],
    /// This daemon's name on the path, against loops.
    pub via: &'a str,
}

impl Order<'_> {
    /// The call in canonical form. Decoded anew for each attempt that translates: the kept body is the source.
    async fn call(&self) -> Result<Call, Fault> {
        let bytes = self.body.bytes().await?;
        let call = commonwatt_wire::decode(self.dialect, &bytes)
            .map_err(|error| Fault::new(FaultKind::BadRequest, error.to_string()))?;
        // Some dialects say both in the path.
        Ok(Call { model: self.envelope.model.clone(), stream: self.envelope.stream, ..call })
    }
}

/// What a request is about.
#[derive(Clone, Debug)]
pub enum Matter {
    /// An answer to a conversation.
    Conversation,
    /// Vectors that stand for texts.
    Embeddings(Box<EmbedCall>),
    /// Documents in the order of their relevance.
    Rerank(RerankCall),
}

/// How a deployment is reached.
#[derive(Clone)]
pub enum Target {
    /// Over HTTP: a cloud, or a server on this machine.
    Http(Arc<HttpTarget>),
    /// The built-in engine.
    Engine(EngineTarget),
}

/// The ways to all deployments of one generation of the fleet.
#[derive(Clone, Default)]
pub struct Upstream {
    targets: HashMap<DeploymentId, Target>,
    passthroughs: HashMap<Arc<str>, Arc<HttpTarget>>,
}

impl Upstream {
    /// Adds the way to a deployment.
    pub fn insert(&mut self, id: DeploymentId, target: Target) {
        self.targets.insert(id, target);
    }

    /// Adds the way to any model of a provider.
    pub fn insert_passthrough(&mut self, provider: Arc<str>, target: Arc<HttpTarget>) {
        self.passthroughs.insert(provider, target);
    }

    /// Sends the call to the deployment it was admitted to, and returns once there is content, or a whole answer.
    ///
    /// # Errors
    /// A [`Fault`] that happened before any content: nothing has reached the caller.
    pub async fn dispatch(&self, admitted: Admitted, model: &str, order: &Order<'_>) -> Result<Reply, Fault> {
        match self.target(admitted.deployment()) {
            Some(Target::Http(target)) => match order.matter {
                Matter::Conversation => target.dispatch(model, order).await,
                Matter::Embeddings(call) => target.embed(model, order, call).await,
                Matter::Rerank(call) => target.rerank(model, order, call).await,
            },
            Some(Target::Engine(target)) => match order.matter {
                Matter::Conversation => target.dispatch(order).await,
                Matter::Embeddings(call) => target.embed(order, call).await,
                Matter::Rerank(_) => Err(Fault::new(FaultKind::Untranslatable, "the engine does not rerank")),
            },
            None => Err(Fault::new(FaultKind::ModelNotFound, "this deployment is gone since the last reload")),
        }
    }

    /// Counts the prompt's tokens where that costs nothing: the engine's own tokenizer, or a provider's count call.
    ///
    /// # Errors
    /// A [`Fault`] when the deployment cannot count.
    pub async fn count_tokens(&self, admitted: Admitted, model: &str, order: &Order<'_>) -> Result<u64, Fault> {
        match self.target(admitted.deployment()) {
            Some(Target::Http(target)) => target.count_tokens(model, order).await,
            Some(Target::Engine(target)) => target.count_tokens(order).await,
            None => Err(Fault::new(FaultKind::ModelNotFound, "this deployment is gone since the last reload")),
        }
    }

    /// What the engine says of its models: `(deployment, state)`.
    #[must_use]
    pub fn engine_states(&self) -> Vec<(DeploymentId, String)> {
        let engines = self.targets.iter().filter_map(|(id, target)| match target {
            Target::Engine(engine) => Some((id.clone(), engine.state())),
            Target::Http(_) => None,
        });
        engines.collect()
    }

    /// A deployment's own way, or its provider's way for names that were not known beforehand.
    fn target(&self, id: &DeploymentId) -> Option<Target> {
        if let Some(target) = self.targets.get(id) {
            return Some(target.clone());
        }
        let (provider, _) = id.as_str().split_once('/')?;
        self.passthroughs.get(provider).cloned().map(Target::Http)
    }
}
