//! Keeping: what was asked is written down when an answer begins, what is said while it is said, and the turn when it is
//! whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use commonwatt_core::answer::{Answer, Delta, Finish, Usage};
use commonwatt_core::refusal::Refusal;
use commonwatt_core::turn::{Party, Turn};
use commonwatt_store::{Commit, JournalHead, Link as StoredLink, NewBlob, NewResponse, NewSession, NewTurn, State};
use commonwatt_wire::turns::{Canonical, canonical};
use commonwatt_wire::{Dialect, Head, journal, response_id, write_whole};
use tokio::task::JoinHandle;

use super::recall::{Said, Thread};
use super::warm::{Beginning, Place};
use super::{Bus, refusal};
use crate::request::Underway;

/// Partial answers are written down at least so often, in milliseconds …
pub const JOURNAL_EVERY_MS: u64 = 250;
/// … and at least after so many bytes.
const JOURNAL_BYTES: usize = 4_096;

/// Who makes an answer.
pub(crate) struct By {
    pub(crate) deployment: String,
    pub(crate) model: String,
    /// The dialect in which it was given: what is sealed or opaque in it means something there.
    pub(crate) dialect: &'static str,
    /// Whether the caller gets the provider's bytes, its id of the answer included.
    pub(crate) is_verbatim: bool,
}

/// An answer that is being kept.
pub(crate) struct Keeper {
    bus: Arc<Bus>,
    thread: Thread,
    by: By,
    caller: Dialect,
    /// Whether what is said leaves before it is whole: only then there is a journal.
    is_streamed: bool,
    answer: Answer,
    page: Arc<Page>,
}

/// What of a call is not in the store yet.
struct Page {
    call: String,
    lines: Mutex<Lines>,
}

struct Lines {
    /// What was asked, and the head of the journal; `None` once the store has them.
    opening: Option<(Commit, JournalHead)>,
    /// The number of the journal's next entry.
    sequence: u32,
    said: Vec<u8>,
}

impl Page {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what was asked, and what has been said since the last time, to the store. What is refused, because the disk
    /// is far behind, is handed over with what follows.
    fn turn(&self, bus: &Bus) {
        let mut lines = self.lines();
        if let Some((asked, head)) = &lines.opening {
            if bus.store.commit_soon(asked).is_err() || bus.store.journal_begin_soon(head.clone()).is_err() {
                return;
            }
            lines.opening = None;
        }
        if lines.said.is_empty() {
            return;
        }
        let said = Bytes::from(std::mem::take(&mut lines.said));
        match bus.store.journal_append_soon(&self.call, lines.sequence, said.clone()) {
            Ok(()) => lines.sequence += 1,
            Err(_) => lines.said = said.into(),
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

    fn close(&self, page: &Arc<Page>) {
        self.pages().retain(|open| !Arc::ptr_eq(open, page));
    }
}

impl Bus {
    /// Writes down what is said by all answers on their way. To be called every [`JOURNAL_EVERY_MS`].
    pub fn turn_pages(&self) {
        let pages = self.journals.pages().clone();
        pages.iter().for_each(|page| page.turn(self));
    }

    /// What a call has read is at hand for the next one.
    fn remember(&self, thread: &Thread) {
        for said in &thread.said {
            let place = Place { session: thread.session.clone(), turn: said.canonical.id };
            self.warm.put(said.link, place);
        }
        if let Some(opening) = thread.opening {
            self.warm.mark(opening, thread.marks.clone());
        }
    }

    fn new_session(&self, principal: &str, begin: Beginning) -> NewSession {
        let Beginning { name, salt, root, title, .. } = begin;
        let expires_ms = self.world.keep_ms.map(|keep| (self.world.unix_ms)().saturating_add(keep));
        NewSession {
            principal: principal.to_owned(),
            holder: principal.to_owned(),
            title: Some(title).filter(|title| !title.is_empty()),
            name,
            salt,
            root,
            expires_ms,
            data_class: None,
        }
    }
}

/// Adds a turn, its link and what it names by hash; it is the head then.
pub(crate) fn add(commit: &mut Commit, said: Said, (made_ms, state): (u64, State), by: Option<&By>, meta: String) {
    let Said { party, parent, canonical: Canonical { id, bytes, attachments }, link } = said;
    commit.blobs.extend(attachments.into_iter().map(|kept| NewBlob { sha256: kept.sha256, bytes: kept.bytes }));
    commit.links.push(StoredLink { hash: link.0, turn: id });
    commit.head = Some(id);
    let (deployment, model) = (by.map(|by| by.deployment.clone()), by.map(|by| by.model.clone()));
    commit.turns.push(NewTurn {
        id,
        parent,
        party,
        made_ms,
        by: deployment,
        model,
        state,
        body: bytes,
        meta: meta.into(),
    });
}

/// What is known of an answer beside what it says, as JSON.
fn meta(answer: &Answer, usage: Option<Usage>) -> String {
    let finish = answer.finish.as_ref().map_or("unknown", finish_word);
    let Some(usage) = usage else { return format!("{{\"finish\":\"{finish}\"}}") };
    let Usage { input, cache_read, cache_write, output, reasoning } = usage;
    format!(
        "{{\"finish\":\"{finish}\",\"input\":{input},\"cache_read\":{cache_read},\"cache_write\":{cache_write},\
         \"output\":{output},\"reasoning\":{reasoning}}}"
    )
}

fn finish_word(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::StopString(_) => "stop-string",
        Finish::Length => "length",
        Finish::ToolCalls => "tool-calls",
        Finish::ContentFilter => "content-filter",
        Finish::Refusal => "refusal",
        Finish::Paused => "paused",
        Finish::Other(_) => "other",
    }
}

impl Keeper {
    /// The answer has begun: what was asked is at hand from here on, and is written with what is said first.
    pub(crate) fn begun(bus: Arc<Bus>, mut thread: Thread, call: &Underway, by: By) -> Self {
        let made_ms = (bus.world.unix_ms)();
        bus.remember(&thread);
        let mut asked = Commit::to(thread.session.clone(), thread.epoch);
        asked.begin = thread.begin.take().map(|begin| bus.new_session(&call.arrival.principal.name, begin));
        for said in std::mem::take(&mut thread.said) {
            add(&mut asked, said, (made_ms, State::Complete), None, String::new());
        }
        let head = JournalHead {
            call: call.id.0.to_string(),
            session: thread.session.clone(),
            epoch: thread.epoch,
            parent: thread.parent,
            party: Party::Model,
            by: Some(by.deployment.clone()),
            model: Some(by.model.clone()),
            made_ms,
            meta: by.dialect.into(),
        };
        let lines = Lines { opening: Some((asked, head)), sequence: 0, said: Vec::new() };
        let page = Arc::new(Page { call: call.id.0.to_string(), lines: Mutex::new(lines) });
        let is_streamed = call.envelope.stream;
        if is_streamed {
            bus.journals.pages().push(Arc::clone(&page));
        }
        Self { bus, thread, by, caller: call.arrival.dialect, is_streamed, answer: Answer::default(), page }
    }

    /// More of the answer.
    pub(crate) fn note(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            self.answer.push(delta.clone());
        }
        if !self.is_streamed {
            return;
        }
        let mut lines = self.page.lines();
        deltas.iter().for_each(|delta| journal::write(delta, &mut lines.said));
        let is_full = lines.said.len() >= JOURNAL_BYTES;
        drop(lines);
        if is_full {
            self.page.turn(&self.bus);
        }
    }

    /// The answer has ended; it is on disk when the task ends. It goes there even if nobody waits for it, and fails with
    /// the refusal that its caller is to hear.
    pub(crate) fn finish(self, state: State, usage: Option<Usage>, head: Head) -> JoinHandle<Result<(), Refusal>> {
        tokio::spawn(self.write(state, usage, head))
    }

    async fn write(self, state: State, usage: Option<Usage>, head: Head) -> Result<(), Refusal> {
        let response = self.response(state, head);
        let Self { bus, thread, by, answer, page, .. } = self;
        bus.journals.close(&page);
        let mut commit = match page.lines().opening.take() {
            Some((asked, _)) => asked,
            None => Commit { end_journal: Some(page.call.clone()), ..Commit::to(thread.session.clone(), thread.epoch) },
        };
        let meta = meta(&answer, usage);
        let items = answer.into_items();
        if !items.is_empty() {
            let (parent, party, link) = (thread.parent, Party::Model, thread.link.after(Party::Model, &items));
            let canonical = canonical(&Turn { parent, party, dialect: by.dialect, items });
            let turn = canonical.id;
            commit.responses.extend(response.map(|(id, body)| NewResponse { id, turn, body }));
            bus.warm.put(link, Place { session: thread.session.clone(), turn });
            let said = Said { party, parent, canonical, link };
            add(&mut commit, said, ((bus.world.unix_ms)(), state), Some(&by), meta);
        }
        let kept = bus.store.commit(commit).await;
        match &kept {
            Ok(()) => bus.warm.begun(&thread.session),
            // What is at hand may not be in the store: it is looked up there next time.
            Err(_) => bus.warm.erase(&thread.session),
        }
        kept.map_err(|error| refusal(&error))
    }

    /// The id and the body under which Responses' clients fetch a complete answer again.
    fn response(&self, state: State, head: Head) -> Option<(String, Bytes)> {
        let is_kept = self.caller == Dialect::OpenAiResponses && self.thread.is_stored && state == State::Complete;
        is_kept.then(|| {
            let id = if self.by.is_verbatim { self.answer.id.clone() } else { response_id(&head.id) };
            let head = Head { id: id.clone(), ..head };
            (id, write_whole(self.caller, &self.answer, &head).into())
        })
    }
}
