//! Keeping: what was asked is written down when an answer begins, what is said while it is said, and the turn when it is
//! whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use commonwatt_core::admission::CallId;
use commonwatt_core::answer::{Answer, Delta, Usage};
use commonwatt_core::fleet::Deployment;
use commonwatt_core::refusal::Refusal;
use commonwatt_core::turn::{Party, Turn};
use commonwatt_store::{Commit, Journal, NewBlob, NewLink, NewResponse, NewSession, NewTurn, TurnState};
use commonwatt_wire::turns::{Attachment, Canonical, canonical};
use commonwatt_wire::{Dialect, Head, journal, response_id, write_whole};

use super::recall::{Beginning, Said, Thread};
use super::warm::Place;
use super::{Bus, refusal};
use crate::request::Underway;

/// Partial answers are written down at least so often, in milliseconds …
pub const JOURNAL_EVERY_MS: u64 = 250;
/// … and at least after so many bytes.
const JOURNAL_BYTES: usize = 4_096;

/// An answer that is being kept.
pub(crate) struct Keeper {
    bus: Arc<Bus>,
    thread: Thread,
    call: CallId,
    dialect: Dialect,
    by: String,
    model: String,
    answer: Answer,
    page: Arc<Page>,
}

/// What of an answer is not in the journal yet.
#[derive(Default)]
pub(crate) struct Page {
    call: String,
    lines: Mutex<(u64, Vec<u8>)>,
}

impl Page {
    fn lines(&self) -> MutexGuard<'_, (u64, Vec<u8>)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what has been said since the last time to the journal. What is refused (the disk is far behind) stays, and
    /// is handed over with what follows.
    fn turn(&self, bus: &Bus) {
        let mut lines = self.lines();
        let (sequence, said) = &mut *lines;
        if !said.is_empty() && bus.store.journal_append(&self.call, *sequence, said).is_ok() {
            *sequence += 1;
            said.clear();
        }
    }
}

/// The pages of all answers on their way.
#[derive(Default)]
pub(crate) struct Journals {
    pages: Mutex<Vec<Arc<Page>>>,
}

impl Journals {
    fn pages(&self) -> MutexGuard<'_, Vec<Arc<Page>>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    /// Writes down what is said by all answers on their way. To be called every [`JOURNAL_EVERY_MS`].
    pub fn turn_pages(&self) {
        let pages = self.journals.pages().clone();
        pages.iter().for_each(|page| page.turn(self));
    }
}

impl Keeper {
    /// The answer has begun: what was asked is kept from here on.
    pub(crate) fn begun(bus: Arc<Bus>, mut thread: Thread, call: &Underway, by: &Deployment) -> Self {
        let id = call.id.clone();
        let page = Arc::new(Page { call: id.0.to_string(), ..Page::default() });
        let (dialect, by, model) = (call.arrival.dialect, by.id.to_string(), by.model.to_string());
        let made_ms = (bus.world.unix_ms)();
        bus.remember(&thread);
        let mut commit = Commit { epoch: thread.epoch, session: thread.session.clone(), ..Commit::default() };
        commit.begin = thread.begin.take().map(|begin| bus.new_session(&call.arrival.principal.name, begin));
        let said = std::mem::take(&mut thread.said);
        commit.head = said.last().map(|said| said.canonical.id);
        for Said { party, parent, canonical, link } in said {
            commit.links.push(NewLink { hash: link.0, turn: canonical.id });
            commit.add(turn(party, (parent, canonical), made_ms));
        }
        let _queued = bus.store.submit(commit);
        if call.envelope.stream {
            let journal = Journal {
                call: page.call.clone(),
                session: thread.session.clone(),
                epoch: thread.epoch,
                parent: thread.parent,
                link: thread.link.0,
                by: by.clone(),
                model: model.clone(),
                made_ms,
            };
            let _queued = bus.store.journal_begin(journal);
            bus.journals.pages().push(Arc::clone(&page));
        }
        Self { bus, thread, call: id, dialect, by, model, answer: Answer::default(), page }
    }

    /// More of the answer.
    pub(crate) fn note(&mut self, deltas: &[Delta]) {
        let mut lines = self.page.lines();
        for delta in deltas {
            journal::write(delta, &mut lines.1);
            self.answer.push(delta.clone());
        }
        let is_full = lines.1.len() >= JOURNAL_BYTES;
        drop(lines);
        if is_full {
            self.page.turn(&self.bus);
        }
    }
}
