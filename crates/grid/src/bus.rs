//! The bus: sessions that outlive every model.
//!
//! [`recall`] finds a call's session before it is planned; [`keep`] writes down what was said, while it is said and when
//! it is whole. The store is asked before an answer begins only where a session is not at hand (after a restart, or when
//! a caller leaves its history to the bus).

pub(crate) mod keep;
mod link;
pub(crate) mod recall;
mod walk;
mod warm;

use std::sync::Arc;

use commonwatt_core::admission::CallId;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{SessionId, Turn};
use commonwatt_store::{Store, StoreError};
use commonwatt_wire::turns::read_turn;

use self::keep::Journals;
use self::link::Link;
use self::warm::{Place, Tenure, Warm};

/// What a caller wants of the bus for one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Its session is to be recognised by the history it sends, or by what its request says.
    #[default]
    Recognised,
    /// The session with this name or id, whose history it sends; one that does not exist begins.
    Named(String),
    /// The session with this name or id, whose history the bus is to put before what it sends.
    Continued(String),
    /// Nothing is to be kept.
    Unkept,
}

/// What the bus is given by the world.
#[derive(Clone)]
pub struct BusWorld {
    /// A new id (UUIDv7 as text).
    pub new_id: Arc<dyn Fn() -> CallId + Send + Sync>,
    /// 32 random bytes.
    pub new_salt: Arc<dyn Fn() -> [u8; 32] + Send + Sync>,
    /// Milliseconds since 1970.
    pub unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How long a session is kept after it was last used, in milliseconds; `None` for ever.
    pub keep_ms: Option<u64>,
}

/// The bus.
pub struct Bus {
    store: Store,
    world: BusWorld,
    warm: Warm,
    journals: Journals,
}

impl Bus {
    /// The bus over a store.
    #[must_use]
    pub fn new(store: Store, world: BusWorld) -> Arc<Self> {
        Arc::new(Self { store, world, warm: Warm::default(), journals: Journals::default() })
    }

    /// Who holds a session, if this caller does.
    async fn tenure(&self, principal: &str, session: &SessionId) -> Result<Tenure, Refusal> {
        let tenure = match self.warm.tenure(session) {
            Some(tenure) => tenure,
            None => {
                let found = self.store.session(session).await.map_err(refusal)?.ok_or_else(unknown)?;
                let tenure = Tenure { epoch: found.epoch, holder: found.holder.into() };
                self.warm.hold(session.clone(), tenure.clone());
                tenure
            }
        };
        if *tenure.holder == *principal { Ok(tenure) } else { Err(handed_over(&tenure.holder)) }
    }

    /// The session of that name or id, at its root; `None` when there is none.
    async fn named(&self, principal: &str, name: &str) -> Result<Option<Place>, Refusal> {
        let found = self.store.find(principal, name).await.map_err(refusal)?;
        Ok(found.map(|session| Place { session: session.id, turn: session.root }))
    }

    /// The head of the session of that name or id.
    async fn head_of(&self, principal: &str, name: &str) -> Result<Place, Refusal> {
        let found = self.store.find(principal, name).await.map_err(refusal)?.ok_or_else(unknown)?;
        Ok(Place { session: found.id, turn: found.head })
    }

    async fn head_of_conversation(&self, principal: &str, conversation: &str) -> Result<Place, Refusal> {
        let session = conversation.strip_prefix(CONVERSATION).ok_or_else(unknown)?;
        self.head_of(principal, session).await
    }

    async fn place_of_response(&self, principal: &str, response: &str) -> Result<Place, Refusal> {
        let found = self.store.response(principal, response).await.map_err(refusal)?.ok_or_else(|| {
            let id: String = response.chars().take(80).collect();
            let message = format!("the response `{id}` is not known here: send the whole conversation instead");
            Refusal::new(RefusalKind::UnknownSession, message)
        })?;
        Ok(Place { session: found.session, turn: found.turn })
    }

    /// What was said up to a turn, oldest first.
    async fn path(&self, place: &Place) -> Result<Vec<Turn>, Refusal> {
        let kept = self.store.path(&place.session, place.turn).await.map_err(refusal)?;
        let mut turns = Vec::with_capacity(kept.len());
        for turn in kept {
            let blobs = self.attachments(&place.session, &turn.body).await?;
            let attachment = |hash: &[u8; 32]| blobs.get(hash).cloned();
            turns.push(read_turn(&turn.body, &attachment).map_err(damaged)?);
        }
        Ok(turns)
    }

    /// Where the newest of these histories ends, if the store knows one: its position, and the turn.
    async fn look_up(&self, links: &[Link]) -> Result<Option<(usize, Place)>, Refusal> {
        let hashes: Vec<[u8; 32]> = links.iter().map(|link| link.0).collect();
        let found = self.store.recognise(&hashes).await.map_err(refusal)?;
        Ok(found.map(|(at, session, turn)| (at, Place { session, turn })))
    }
}

/// How the ids of Responses' conversations begin; the session's id follows.
pub const CONVERSATION: &str = "conv_";

fn unknown() -> Refusal {
    Refusal::new(RefusalKind::UnknownSession, "there is no such session here that this key may see: `commonwatt session list` shows them")
}

fn handed_over(holder: &str) -> Refusal {
    let message = format!("this session was handed over to `{holder}`: ask for it back, or begin another");
    Refusal::new(RefusalKind::HandedOver, message)
}

fn damaged(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalKind::Internal, format!("a kept turn cannot be read: {error}"))
}

/// What a caller hears of the store's trouble.
pub(crate) fn refusal(error: StoreError) -> Refusal {
    todo!()
}
