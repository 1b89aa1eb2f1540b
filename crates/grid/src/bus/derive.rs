//! Derived: summaries, kept beside the turns that they end with so as not to be written again. They are no part of the
//! graph: nothing is said in them, and an erased session takes them along.

use bytes::Bytes;
use commonwatt_core::call::Item;
use commonwatt_core::turn::{SessionId, TurnId};
use commonwatt_wire::Hints;

use super::link::Link;
use super::recall::Thread;
use super::walk::Walk;
use super::{Bus, StoreError};
use crate::request::Underway;

/// A summary of what was said up to a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    /// For what it was made.
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// What was said up to each turn of a request, `items` being its conversation.
pub(crate) fn links(call: &Underway, body: &Bytes, items: Vec<Item>) -> Vec<Link> {
    let hints = Hints::read(call.arrival.dialect, &call.envelope, body);
    let seed = Link::seed(&call.arrival.principal.name, hints.user.as_deref());
    Walk::of_what_was_said(items, seed).steps.into_iter().map(|step| step.link).collect()
}

impl Bus {
    /// The turn of this session up to which that was said, be it kept already or on its way.
    pub(crate) async fn turn_of(&self, thread: &Thread, link: Link) -> Option<TurnId> {
        if let Some(said) = thread.said.iter().rev().find(|said| said.link == link) {
            return Some(said.canonical.id);
        }
        if let Some(place) = self.warm.place(&link).filter(|place| place.session == thread.session) {
            return Some(place.turn);
        }
        let (session, turn) = self.store.linked(link.0).await.ok()??;
        (session == thread.session).then_some(turn)
    }

    /// The summary that was made for this. What cannot be read is as good as none: it is written once more.
    pub(crate) async fn summary(&self, thread: &Thread, turn: TurnId, kind: &str) -> Option<String> {
        let kept = self.store.derived(&thread.session, turn, kind).await.ok()??;
        String::from_utf8(kept.to_vec()).ok()
    }

    /// Keeps a summary. Gives it back where its turn is not kept yet: it will be when the answer begins.
    pub(crate) async fn keep_summary(&self, summary: Summary) -> Option<Summary> {
        let body = Bytes::from(summary.text.clone());
        match self.store.put_derived(&summary.session, summary.turn, &summary.kind, body).await {
            Ok(()) => None,
            Err(StoreError::UnknownSession | StoreError::UnknownTurn(_)) => Some(summary),
            Err(error) => {
                tracing::warn!(session = %summary.session, %error, "a summary could not be kept");
                None
            }
        }
    }
}
