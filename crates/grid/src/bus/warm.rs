//! What of the bus is at hand without a look into the store: bounded, and forgotten oldest first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use commonwatt_core::lease::{Holder, Tenure};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};

use super::link::Link;

/// Entries in each of the two halves of a memory: a turn takes about 150 bytes here.
const HALF: usize = 32_768;
/// Beginnings of requests kept for one session.
const MARKS_MAX: usize = 8;

/// The newest entries and those before them. What is not asked for while a half fills up is forgotten.
pub(crate) struct Halves<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Halves<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Halves<K, V> {
    pub(crate) fn recall(&mut self, key: &K) -> Option<V> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.remember(key.clone(), known.clone());
        Some(known)
    }

    pub(crate) fn remember(&mut self, key: K, value: V) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn take(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn forget(&mut self, unwanted: impl Fn(&K, &V) -> bool) {
        self.young.retain(|key, value| !unwanted(key, value));
        self.old.retain(|key, value| !unwanted(key, value));
    }
}

/// A turn in its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
}

/// How a request began that has been read before: the same bytes mean the same turns, and are not read again. A model has
/// spoken among them.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// So many messages.
    pub(crate) messages: usize,
    /// So many bytes, from the first message's first.
    pub(crate) bytes: usize,
    /// Their hash.
    pub(crate) hash: [u8; 32],
    /// What was said up to there.
    pub(crate) link: Link,
    /// The turn that it ends with.
    pub(crate) place: Place,
}

/// How a session's requests begin: the hash of caller and first message.
pub(crate) type Opening = [u8; 32];

/// A session that the store may not have yet: whoever writes to it begins it, and the first one does.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) session: SessionId,
    pub(crate) name: Option<String>,
    pub(crate) salt: [u8; 32],
    pub(crate) root: TurnId,
    pub(crate) title: String,
    /// Whether the store has it.
    pub(crate) is_stored: bool,
}

/// A caller, and its name for a session.
type Named = (Arc<str>, String);

#[derive(Default)]
struct Memory {
    turns: Halves<Link, Place>,
    marks: Halves<Opening, Vec<Mark>>,
    tenures: Halves<SessionId, Tenure>,
    beginnings: Halves<SessionId, Beginning>,
    names: Halves<Named, SessionId>,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Warm {
    memory: Mutex<Memory>,
}

impl Warm {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn place(&self, link: &Link) -> Option<Place> {
        self.memory().turns.recall(link)
    }

    pub(crate) fn put(&self, link: Link, place: Place) {
        self.memory().turns.remember(link, place);
    }

    pub(crate) fn marks(&self, opening: &Opening) -> Vec<Mark> {
        self.memory().marks.recall(opening).unwrap_or_default()
    }

    /// Adds marks of one more request; the oldest make room.
    pub(crate) fn mark(&self, opening: Opening, new: Vec<Mark>) {
        let mut memory = self.memory();
        let known = memory.marks.recall(&opening).unwrap_or_default();
        let is_new = |mark: &Mark| !new.iter().any(|other| other.bytes == mark.bytes);
        let mut marks: Vec<Mark> = known.into_iter().filter(is_new).collect();
        let room = MARKS_MAX.saturating_sub(new.len());
        marks.drain(..marks.len().saturating_sub(room));
        marks.extend(new);
        memory.marks.remember(opening, marks);
    }

    pub(crate) fn tenure(&self, session: &SessionId) -> Option<Tenure> {
        self.memory().tenures.recall(session)
    }

    /// Notes who holds a session. What was read before it was handed on does not stand against what was noted since.
    pub(crate) fn hold(&self, session: SessionId, tenure: Tenure) {
        let mut memory = self.memory();
        if memory.tenures.recall(&session).is_none_or(|known| known.epoch <= tenure.epoch) {
            memory.tenures.remember(session, tenure);
        }
    }

    /// Begins a session. Where the caller has begun one of this name a moment ago, that one it is.
    pub(crate) fn begin(&self, principal: &str, new: Beginning) -> Beginning {
        let mut memory = self.memory();
        let named: Option<Named> = new.name.clone().map(|name| (principal.into(), name));
        let known = named.as_ref().and_then(|named| memory.names.recall(named));
        if let Some(begun) = known.and_then(|session| memory.beginnings.recall(&session)) {
            return begun;
        }
        if let Some(named) = named {
            memory.names.remember(named, new.session.clone());
        }
        memory.tenures.remember(new.session.clone(), Tenure { epoch: Epoch(0), holder: Holder(principal.into()) });
        memory.beginnings.remember(new.session.clone(), new.clone());
        new
    }

    /// The beginning of a session that the store may not have yet.
    pub(crate) fn beginning(&self, session: &SessionId) -> Option<Beginning> {
        self.memory().beginnings.recall(session).filter(|begun| !begun.is_stored)
    }

    /// The store has the session. Its name is still remembered: somebody may have looked for it in the store before.
    pub(crate) fn begun(&self, session: &SessionId) {
        let mut memory = self.memory();
        if let Some(begun) = memory.beginnings.recall(session).filter(|begun| !begun.is_stored) {
            memory.beginnings.remember(session.clone(), Beginning { is_stored: true, ..begun });
        }
    }

    /// Forgets an erased session.
    pub(crate) fn erase(&self, session: &SessionId) {
        let mut memory = self.memory();
        memory.turns.forget(|_, place| place.session == *session);
        memory.marks.forget(|_, marks| marks.iter().any(|mark| mark.place.session == *session));
        memory.tenures.take(session);
        memory.beginnings.take(session);
    }
}
