//! Decode: what a request is about, and what of it every attempt is given.

use bytes::Bytes;
use commonwatt_core::call::Requirements;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_upstream::{Matter, Order};
use commonwatt_wire::{BadInput, EmbedDialect, Envelope, open, open_embed, open_rerank};

use crate::request::{Arrival, Underway};

/// What is asked for at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An answer to a conversation.
    Answer,
    /// Vectors that stand for texts.
    Embeddings(EmbedDialect),
    /// Documents in the order of their relevance.
    Rerank,
}

impl Asked {
    /// Its word in traces (OpenTelemetry, `gen_ai.operation.name`; for reranking there is none yet).
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Answer => "chat",
            Self::Embeddings(_) => "embeddings",
            Self::Rerank => "rerank",
        }
    }
}

/// Reads as much of a request as must be known before it is planned.
pub(crate) fn decoded(arrival: &Arrival, body: &Bytes) -> Result<(Envelope, Matter), Refusal> {
    let bad = |error: BadInput| Refusal::new(RefusalKind::BadRequest, error.to_string());
    let needs = Requirements { body_bytes: body.len() as u64, ..Requirements::default() };
    match arrival.asked {
        Asked::Answer => {
            let envelope = open(arrival.dialect, arrival.in_path.as_ref(), body).map_err(bad)?;
            Ok((envelope, Matter::Conversation))
        }
        Asked::Embeddings(dialect) => {
            let mut call = open_embed(dialect, body).map_err(bad)?;
            if let Some(path) = &arrival.in_path {
                call.model.clone_from(&path.model);
            }
            // Each text has the window for itself.
            let needs = Requirements { embeddings: true, body_bytes: 0, ..needs };
            Ok((Envelope::of_no_conversation(&call.model, needs), Matter::Embeddings(Box::new(call))))
        }
        Asked::Rerank => {
            let call = open_rerank(body).map_err(bad)?;
            let needs = Requirements { rerank: true, body_bytes: 0, ..needs };
            Ok((Envelope::of_no_conversation(&call.model, needs), Matter::Rerank(call)))
        }
    }
}

impl Underway {
    /// What every attempt is given.
    pub(crate) fn order(&self) -> Order<'_> {
        Order {
            body: &self.arrival.body,
            dialect: self.arrival.dialect,
            envelope: &self.envelope,
            matter: &self.matter,
            headers: &self.arrival.headers,
            via: &self.via,
        }
    }
}
