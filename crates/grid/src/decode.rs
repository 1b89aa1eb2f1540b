//! Decode: what a request is about.

use bytes::Bytes;
use commonwatt_core::call::Requirements;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_upstream::Matter;
use commonwatt_wire::{BadInput, EmbedDialect, Envelope, open, open_embed, open_rerank};

use crate::request::Arrival;

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
            let call = open_embed(dialect, body).map_err(bad)?;
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
