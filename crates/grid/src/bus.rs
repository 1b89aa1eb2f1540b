//! The bus: sessions that outlive every model.
//!
//! `recall` finds a call's session before it is planned; [`keep`] writes down what was said, while it is said and when it
//! is whole; [`handoff`] lets another go on with it. The store is asked before an answer begins only where a session is
//! not at hand (after a restart, or when a caller leaves its history to the bus).

pub mod carry;
pub mod conversations;
pub(crate) mod derive;
pub mod handoff;
pub mod keep;
pub(crate) mod link;
pub mod look;
pub(crate) mod recall;
mod walk;
mod warm;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use commonwatt_core::admission::CallId;
use commonwatt_core::lease::{Holder, Tenure};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{NotATurnId, SessionId, Turn};
use commonwatt_pass::{Keys, Seed};
pub use commonwatt_store::{Cursor, Node, Page, Session, State};
use commonwatt_store::{PATH_MAX, Store, StoreError};
use commonwatt_wire::turns::{attachments_of, read_turn};

use self::conversations::left_of;
use self::keep::Journals;
use self::link::Link;
use self::warm::{Place, Warm};

/// What a caller wants of the bus for one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Its session is to be recognised by the history it sends, or by what its request says.
    #[default]
    Recognised,
    /// The session with this name or id, whose history it sends; one that does not exist begins.
    Named(String),
    /// The session with this name or id, whose history the bus is to put before what it sends: up to its end, or up to
    /// the turn whose id follows after an `@`.
    Continued(String),
    /// Nothing is to be kept.
    Unkept,
}

/// How long sessions are kept after they were last used, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// All of them; `None` for ever.
    pub keep_ms: Option<u64>,
    /// Those of calls that name this route or model.
    pub by_route: BTreeMap<String, u64>,
    /// Those of calls whose data is of this class.
    pub by_class: BTreeMap<String, u64>,
}

impl Retention {
    /// The least that holds for a call.
    fn of(&self, route: &str, class: Option<&str>) -> Option<u64> {
        let for_class = class.and_then(|class| self.by_class.get(class));
        [self.keep_ms.as_ref(), self.by_route.get(route), for_class].into_iter().flatten().min().copied()
    }
}

/// What the bus is given by the world.
#[derive(Clone)]
pub struct BusWorld {
    /// A new id (UUIDv7 as text).
    pub new_id: Arc<dyn Fn() -> CallId + Send + Sync>,
    /// 32 random bytes, from which the salts of new sessions, and whatever else nobody may guess, are made.
    pub seed: [u8; 32],
    /// 32 secret bytes that stay the same: the keys with which this node signs handoffs grow from them.
    pub handoff_seed: [u8; 32],
    /// Milliseconds since 1970.
    pub unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How long sessions are kept.
    pub retention: Retention,
}

/// The bus.
pub struct Bus {
    store: Store,
    world: BusWorld,
    warm: Warm,
    journals: Journals,
    /// With which handoffs are signed.
    keys: Keys,
    /// How this node calls itself in them.
    issuer: Arc<str>,
    /// Draws made so far.
    draws: AtomicU64,
    /// Whoever changes a conversation beside its answers: one at a time, since each reads what it changes.
    edits: tokio::sync::Mutex<()>,
}

impl Bus {
    /// The bus over a store.
    #[must_use]
    pub fn new(store: Store, world: BusWorld) -> Arc<Self> {
        let keys = Keys::from_seed(Seed(world.handoff_seed));
        let issuer = format!("node-{:.16}", keys.public().to_string()).into();
        let (warm, journals, draws) = (Warm::default(), Journals::default(), AtomicU64::new(0));
        let edits = tokio::sync::Mutex::new(());
        Arc::new(Self { store, world, warm, journals, keys, issuer, draws, edits })
    }

    /// 32 bytes that nobody can guess, another each time.
    fn chance(&self) -> [u8; 32] {
        let number = self.draws.fetch_add(1, Ordering::Relaxed);
        *blake3::keyed_hash(&self.world.seed, &number.to_le_bytes()).as_bytes()
    }

    /// Writes what is on its way and closes the store: calls after it are told that the daemon goes down.
    pub async fn close(&self) {
        self.turn_pages();
        self.store.clone().close().await;
    }

    /// Who holds a session, if this caller does.
    async fn tenure(&self, principal: &str, session: &SessionId) -> Result<Tenure, Refusal> {
        let tenure = match self.warm.tenure(session) {
            Some(tenure) => tenure,
            None => {
                let found = self.store.session(session, principal).await.map_err(|error| refusal(&error))?;
                if found.is_none() {
                    self.not_passed_on(principal, session).await?;
                }
                let found = found.ok_or_else(unknown)?;
                let tenure = Tenure { epoch: found.epoch, holder: Holder(found.holder.into()) };
                self.warm.hold(session.clone(), tenure.clone());
                tenure
            }
        };
        match tenure.admits(&Holder(principal.into())) {
            Ok(_) => Ok(tenure),
            Err(_) => Err(handed_over(&tenure.holder.0)),
        }
    }

    /// The caller's session of that name or id.
    async fn found(&self, principal: &str, name: &str) -> Result<Option<Session>, Refusal> {
        let named = self.store.session_named(principal, name).await.map_err(|error| refusal(&error))?;
        let found = match named {
            Some(session) => Some(session),
            None => {
                let id = SessionId(name.into());
                let by_id = self.store.session(&id, principal).await.map_err(|error| refusal(&error))?;
                if by_id.is_none() {
                    self.not_passed_on(principal, &id).await?;
                }
                by_id
            }
        };
        Ok(found.filter(|session| session.erased_ms.is_none()))
    }

    /// Refuses whoever held a session and handed it on.
    async fn not_passed_on(&self, principal: &str, session: &SessionId) -> Result<(), Refusal> {
        let holder = self.store.passed_on(session, principal).await.map_err(|error| refusal(&error))?;
        holder.map_or(Ok(()), |holder| Err(handed_over(&holder)))
    }

    /// The root of the caller's session of that name or id; `None` when there is none.
    async fn root_of(&self, principal: &str, name: &str) -> Result<Option<Place>, Refusal> {
        let found = self.found(principal, name).await?;
        Ok(found.map(|session| Place { session: session.id, turn: session.root }))
    }

    /// Where the caller's session of that name or id ends now; `NAME@TURN` is that turn of it instead.
    async fn head_of(&self, principal: &str, name: &str) -> Result<Place, Refusal> {
        let (name, turn) = match name.rsplit_once('@').map(|(name, turn)| (name, turn.parse())) {
            Some((name, Ok(turn))) => (name, Some(turn)),
            Some((_, Err(NotATurnId))) | None => (name, None),
        };
        let found = self.found(principal, name).await?.ok_or_else(unknown)?;
        Ok(Place { session: found.id, turn: turn.unwrap_or(found.head) })
    }

    async fn head_of_conversation(&self, principal: &str, conversation: &str) -> Result<Place, Refusal> {
        let found = self.session_of(principal, conversation).await?;
        Ok(Place { session: found.id, turn: found.head })
    }

    async fn place_of_response(&self, principal: &str, response: &str) -> Result<Place, Refusal> {
        let found = self.store.response(principal, response).await.map_err(|error| refusal(&error))?;
        let found = found.ok_or_else(|| not_found("Response", response))?;
        Ok(Place { session: found.session, turn: found.turn })
    }

    /// Where a response ends that a request follows.
    async fn place_of_previous(&self, principal: &str, response: &str) -> Result<Place, Refusal> {
        self.place_of_response(principal, response).await.map_err(|refused| {
            let is_missing = refused.kind == RefusalKind::NotKept;
            let missing = || not_found("Previous response", response);
            if is_missing { Refusal { kind: RefusalKind::UnknownPrevious, ..missing() } } else { refused }
        })
    }

    /// What was said up to a turn, oldest first, without what was deleted.
    async fn path(&self, principal: &str, place: &Place) -> Result<Vec<Turn>, Refusal> {
        let kept = self.store.path(&place.session, place.turn, PATH_MAX).await.map_err(|error| refusal(&error))?;
        let session = self.store.session(&place.session, principal).await.map_err(|error| refusal(&error))?;
        if session.is_none() {
            self.not_passed_on(principal, &place.session).await?;
        }
        let deleted = self.deleted_items(&session.ok_or_else(unknown)?).await?;
        let mut turns = Vec::with_capacity(kept.len());
        for kept in kept {
            turns.push(left_of(kept.node.id, self.read(&place.session, &kept.body).await?, &deleted));
        }
        Ok(turns)
    }

    /// A kept turn, with what it names by hash.
    async fn read(&self, session: &SessionId, body: &Bytes) -> Result<Turn, Refusal> {
        let mut attached = HashMap::new();
        for hash in attachments_of(body) {
            let bytes = self.store.blob(session, hash).await.map_err(|error| refusal(&error))?;
            attached.extend(bytes.map(|bytes| (hash, bytes)));
        }
        read_turn(body, &|hash| attached.get(hash).cloned())
            .map_err(|error| Refusal::new(RefusalKind::Internal, format!("a kept turn cannot be read: {error}")))
    }

    /// The first of these histories that the store knows: its position, and where it ends.
    async fn look_up(&self, links: &[Link]) -> Result<Option<(usize, Place)>, Refusal> {
        for (at, link) in links.iter().enumerate() {
            let found = self.store.linked(link.0).await.map_err(|error| refusal(&error))?;
            if let Some((session, turn)) = found {
                return Ok(Some((at, Place { session, turn })));
            }
        }
        Ok(None)
    }
}

/// How the ids of Responses' conversations begin; the session's id follows.
pub const CONVERSATION: &str = "conv_";

fn unknown() -> Refusal {
    Refusal::new(
        RefusalKind::UnknownSession,
        "there is no such session here that this key may see: `commonwatt session list` shows them",
    )
}

/// Letters of an id that a refusal repeats.
const ID_CHARS: usize = 80;

/// What OpenAI says of what it does not have.
pub(crate) fn not_found(what: &str, id: &str) -> Refusal {
    let id: String = id.chars().take(ID_CHARS).collect();
    Refusal::new(RefusalKind::NotKept, format!("{what} with id '{id}' not found."))
}

fn handed_over(holder: &str) -> Refusal {
    let message = format!(
        "this session was handed over to `{holder}`: ask there for a handoff, or begin another (`x-commonwatt-session: NAME`)"
    );
    Refusal::new(RefusalKind::HandedOver, message)
}

/// What a caller hears of the store's trouble.
fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Fenced { holder, .. } => handed_over(holder),
        StoreError::UnknownSession | StoreError::Erased => unknown(),
        StoreError::UnknownTurn(turn) => {
            let message =
                format!("the turn `{turn}` is not in this session: `commonwatt session tree` shows those that are");
            Refusal::new(RefusalKind::UnknownSession, message)
        }
        StoreError::NameTaken => Refusal::new(RefusalKind::BadRequest, format!("{error}: choose another name")),
        StoreError::TooLarge { .. } => Refusal::new(RefusalKind::TooLarge, error.to_string()),
        StoreError::Busy => {
            let refusal = Refusal::new(RefusalKind::Busy, "the disk is far behind: try again in a moment");
            Refusal { retry_after_ms: Some(1_000), ..refusal }
        }
        StoreError::Closed => Refusal::new(RefusalKind::ShuttingDown, "the daemon is going down"),
        StoreError::UnknownJournal
        | StoreError::EpochNotGiven(_)
        | StoreError::Conflict { .. }
        | StoreError::WrongHash
        | StoreError::Full
        | StoreError::WrongNodeKey
        | StoreError::Newer { .. }
        | StoreError::Altered { .. }
        | StoreError::InUse(_)
        | StoreError::NotAStore(_)
        | StoreError::Exists(_)
        | StoreError::Damaged { .. }
        | StoreError::Disk { .. } => Refusal::new(RefusalKind::Internal, format!("the bus failed: {error}")),
    }
}
