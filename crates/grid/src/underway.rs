//! A call, from the door to its answer: what the steps hand on.

use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::admission::{CallId, Grants};
use commonwatt_core::fleet::Tiers;
use commonwatt_core::turn::SessionId;
use commonwatt_upstream::Matter;
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::{Dialect, Envelope, Head, InPath, Keeping};
use tokio::sync::OwnedSemaphorePermit;

use crate::Generation;
use crate::bus::Wish;
use crate::bus::keep::Keeper;
use crate::bus::recall::Thread;
use crate::decode::Asked;
use crate::detached::Detach;
use crate::identity::Principal;
use crate::project::Compaction;

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
    /// Whether its answer is to be made to its end though its caller leaves.
    pub detached: bool,
    /// Whether it may be answered by a model that cannot hold all of it.
    pub compaction: Compaction,
    /// The class of its data, in its caller's word.
    pub data_class: Option<String>,
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
    /// The request as its caller sent it, where the one that is answered holds the history too.
    pub(crate) original: Option<Bytes>,
    /// When it came, in seconds since 1970.
    pub(crate) created_unix_s: u64,
    /// How its answer is made without its caller, if it is.
    pub(crate) detach: Option<Detach>,
    /// What is kept of it already, where its caller does not wait.
    pub(crate) keeper: Option<Keeper>,
    /// Its span in a trace, where anybody collects them.
    pub(crate) span: tracing::Span,
    /// Held until the answer has ended.
    pub(crate) _slot: OwnedSemaphorePermit,
}

impl Underway {
    /// Its place in its session, where it is kept, be it written down already or not.
    pub(crate) fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref().or(self.keeper.as_ref().map(Keeper::thread))
    }

    /// The session that it belongs to, where it is kept.
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.thread().map(|thread| &thread.session)
    }

    /// What becomes of an answer of Responses.
    pub(crate) fn keeping(&self) -> Keeping {
        self.thread().map(Thread::keeping).unwrap_or_default()
    }

    /// What an answer that is written here says of itself.
    pub(crate) fn head(&self, model: &str) -> Head {
        Head {
            id: self.id.0.to_string(),
            model: model.to_owned(),
            created_unix_s: self.created_unix_s,
            stream_usage: self.envelope.stream_usage,
            request: self.original.clone().or_else(|| match &self.arrival.body {
                KeptBody::Memory(bytes) => Some(bytes.clone()),
                KeptBody::Spilled { .. } => None,
            }),
            keeping: self.keeping(),
        }
    }
}
