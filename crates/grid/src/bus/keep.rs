//! Keeping: what was asked is written down when an answer begins, what is said while it is said, and the turn when it is
//! whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use commonwatt_core::answer::{Answer, Delta, Finish, Usage};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{Party, Turn};
use commonwatt_store::{
    Commit, JournalHead, Link as StoredLink, NewBlob, NewResponse, NewSession, NewTurn, State, StoreError,
};
use commonwatt_wire::turns::{Canonical, canonical};
use commonwatt_wire::{Dialect, Head, Standing, journal, response_id, write_standing, write_whole};
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

/// How an answer ended, for what is kept of it.
pub(crate) enum Ending {
    /// It was said to its end.
    Complete,
    /// It was not.
    Unfinished,
    /// It was not, and whoever fetches it is told why.
    Failed(Refusal),
    /// Its caller did not want it any more.
    Cancelled,
}

impl Ending {
    fn state(&self) -> State {
        match self {
            Self::Complete => State::Complete,
            Self::Unfinished | Self::Failed(_) | Self::Cancelled => State::Unfinished,
        }
    }
}

/// An answer that is being kept.
pub(crate) struct Keeper {
    bus: Arc<Bus>,
    thread: Thread,
    /// Nobody yet, where the caller does not wait.
    by: Option<By>,
    caller: Dialect,
    /// How long the session is kept after this answer, in milliseconds.
    keep_ms: Option<u64>,
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
    fn new(call: &str, opening: Option<(Commit, JournalHead)>) -> Arc<Self> {
        let lines = Mutex::new(Lines { opening, sequence: 0, said: Vec::new() });
        Arc::new(Self { call: call.to_owned(), lines })
    }

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

    /// How long the session of a call is kept after it.
    fn keep_ms(&self, call: &Underway) -> Option<u64> {
        self.world.retention.of(&call.envelope.model, call.arrival.data_class.as_deref())
    }

    /// When a session that is used now and kept for so long is to be erased, if it is not used again.
    pub(crate) fn expires_ms(&self, keep_ms: Option<u64>) -> Option<u64> {
        keep_ms.map(|keep| (self.world.unix_ms)().saturating_add(keep))
    }

    pub(crate) fn new_session(&self, principal: &str, begin: Beginning, class: Option<String>) -> NewSession {
        let Beginning { name, salt, root, title, .. } = begin;
        NewSession {
            principal: principal.to_owned(),
            holder: principal.to_owned(),
            title: Some(title).filter(|title| !title.is_empty()),
            name,
            salt,
            root,
            expires_ms: None,
            data_class: class,
        }
    }

    /// What a call asks, to be written down. It is at hand for the next one.
    fn asked(&self, thread: &mut Thread, call: &Underway, made_ms: u64) -> Commit {
        self.remember(thread);
        let mut commit = Commit::to(thread.session.clone(), thread.epoch);
        let (principal, class) = (&call.arrival.principal.name, &call.arrival.data_class);
        commit.begin = thread.begin.take().map(|begin| self.new_session(principal, begin, class.clone()));
        commit.expires_ms = self.expires_ms(self.keep_ms(call));
        for said in std::mem::take(&mut thread.said) {
            add(&mut commit, said, (made_ms, State::Complete), None, String::new());
        }
        commit
    }
}

/// What the journal of an answer begins with. `request` is that of a caller who does not wait: the response that it was
/// promised is made of it after a crash.
fn journal_head(call: &str, thread: &Thread, by: Option<&By>, made_ms: u64, request: Option<&Bytes>) -> JournalHead {
    JournalHead {
        call: call.to_owned(),
        session: thread.session.clone(),
        epoch: thread.epoch,
        parent: thread.parent,
        party: Party::Model,
        by: by.map(|by| by.deployment.clone()),
        model: by.map(|by| by.model.clone()),
        made_ms,
        meta: Meta { made_in: by.map_or("", |by| by.dialect), request: request.cloned() }.written(),
    }
}

/// What a journal holds beside an answer: `DIALECT`, or `DIALECT LF REQUEST`.
pub(crate) struct Meta<'a> {
    pub(crate) made_in: &'a str,
    pub(crate) request: Option<Bytes>,
}

impl<'a> Meta<'a> {
    fn written(self) -> Bytes {
        match self.request {
            Some(request) => [self.made_in.as_bytes(), b"\n", &request].concat().into(),
            None => Bytes::copy_from_slice(self.made_in.as_bytes()),
        }
    }

    pub(crate) fn read(meta: &'a Bytes) -> Self {
        let end = meta.iter().position(|byte| *byte == b'\n');
        let (word, request) = match end {
            Some(end) => (meta.get(..end), Some(meta.slice(end + 1..))),
            None => (meta.get(..), None),
        };
        Self { made_in: word.and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default(), request }
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
        let asked = bus.asked(&mut thread, call, made_ms);
        let head = journal_head(&call.id.0, &thread, Some(&by), made_ms, None);
        let page = Page::new(&call.id.0, Some((asked, head)));
        let (caller, is_streamed, keep_ms) = (call.arrival.dialect, call.envelope.stream, bus.keep_ms(call));
        if is_streamed {
            bus.journals.pages().push(Arc::clone(&page));
        }
        Self { bus, thread, by: Some(by), caller, keep_ms, is_streamed, answer: Answer::default(), page }
    }

    /// Somebody will be asked for an answer for which its caller does not wait. What was asked is on disk then, and that
    /// the answer was promised.
    pub(crate) async fn promised(bus: Arc<Bus>, mut thread: Thread, call: &Underway) -> Result<Self, Refusal> {
        let made_ms = (bus.world.unix_ms)();
        let commit = bus.asked(&mut thread, call, made_ms);
        bus.store.commit(commit).await.map_err(|error| refusal(&error))?;
        bus.warm.begun(&thread.session);
        let head = journal_head(&call.id.0, &thread, None, made_ms, call.original.as_ref());
        bus.store.journal_begin(head).await.map_err(|error| refusal(&error))?;
        let (caller, page, keep_ms) = (call.arrival.dialect, Page::new(&call.id.0, None), bus.keep_ms(call));
        Ok(Self { bus, thread, by: None, caller, keep_ms, is_streamed: true, answer: Answer::default(), page })
    }

    /// Somebody answers what was promised: the journal begins anew, under that name.
    pub(crate) fn answered(self, by: By, request: Option<&Bytes>) -> Self {
        let Self { bus, thread, page, .. } = &self;
        let made_ms = (bus.world.unix_ms)();
        let nothing = Commit::to(thread.session.clone(), thread.epoch);
        let ended = Commit { end_journal: Some(page.call.clone()), ..nothing };
        page.lines().opening = Some((ended, journal_head(&page.call, thread, Some(&by), made_ms, request)));
        bus.journals.pages().push(Arc::clone(page));
        Self { by: Some(by), ..self }
    }

    pub(crate) fn thread(&self) -> &Thread {
        &self.thread
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

    /// Waits until the answer is kept.
    pub(crate) async fn finished(
        self,
        ending: Ending,
        usage: Option<Usage>,
        head: Head,
        response: Option<Bytes>,
    ) -> Result<(), Refusal> {
        self.finish(ending, usage, head, response).await.unwrap_or_else(|_| {
            Err(Refusal::new(RefusalKind::Internal, "the answer could not be kept: its task ended"))
        })
    }

    /// The answer has ended; it is on disk when the task ends. It goes there even if nobody waits for it, and fails with
    /// the refusal that its caller is to hear.
    pub(crate) fn finish(
        self,
        ending: Ending,
        usage: Option<Usage>,
        head: Head,
        response: Option<Bytes>,
    ) -> JoinHandle<Result<(), Refusal>> {
        let state = ending.state();
        let response = self.response(ending, head, response);
        tokio::spawn(self.write(state, usage, response))
    }

    async fn write(self, state: State, usage: Option<Usage>, response: Option<(String, Bytes)>) -> Result<(), Refusal> {
        let Self { bus, thread, by, keep_ms, answer, page, .. } = self;
        bus.journals.close(&page);
        let mut commit = match page.lines().opening.take() {
            Some((asked, _)) => asked,
            None => Commit { end_journal: Some(page.call.clone()), ..Commit::to(thread.session.clone(), thread.epoch) },
        };
        let meta = meta(&answer, usage);
        let items = answer.into_items();
        if items.is_empty() {
            // Nobody said anything: the response stands at what was asked.
            commit.responses.extend(response.map(|(id, body)| NewResponse { id, turn: thread.parent, body }));
        } else {
            let (parent, party, link) = (thread.parent, Party::Model, thread.link.after(Party::Model, &items));
            let canonical = canonical(&Turn { parent, party, dialect: by.as_ref().map_or("", |by| by.dialect), items });
            let turn = canonical.id;
            commit.responses.extend(response.map(|(id, body)| NewResponse { id, turn, body }));
            bus.warm.put(link, Place { session: thread.session.clone(), turn });
            let said = Said { party, parent, canonical, link };
            add(&mut commit, said, ((bus.world.unix_ms)(), state), by.as_ref(), meta);
        }
        commit.expires_ms = bus.expires_ms(keep_ms);
        let Err(error) = bus.store.commit(commit).await else {
            bus.warm.begun(&thread.session);
            return Ok(());
        };
        // What is at hand may not be in the store: it is looked up there next time.
        bus.warm.erase(&thread.session);
        if matches!(error, StoreError::Fenced { .. }) {
            // Nobody may finish it, so what was written of it goes; if not now, then at the next start.
            let _ = bus.store.journal_end(&page.call).await;
        }
        Err(refusal(&error))
    }

    /// The id and the body under which Responses' clients fetch an answer again: `given`, if it was forwarded. One that is
    /// not complete can be fetched by whoever did not wait for it.
    fn response(&self, ending: Ending, head: Head, given: Option<Bytes>) -> Option<(String, Bytes)> {
        if self.caller != Dialect::OpenAiResponses || !self.thread.is_stored {
            return None;
        }
        let is_verbatim = self.by.as_ref().is_some_and(|by| by.is_verbatim);
        let id = if is_verbatim { self.answer.id.clone() } else { response_id(&head.id) };
        let head = Head { id: id.clone(), ..head };
        let standing = match ending {
            Ending::Complete => {
                let body = given.unwrap_or_else(|| write_whole(self.caller, &self.answer, &head).into());
                return Some((id, body));
            }
            Ending::Unfinished if !head.keeping.background => return None,
            Ending::Unfinished => Standing::Failed(Refusal::new(RefusalKind::Internal, "the answer was cut off here")),
            Ending::Failed(refusal) => Standing::Failed(refusal),
            Ending::Cancelled => Standing::Cancelled,
        };
        Some((id, write_standing(&standing, &self.answer, &head).into()))
    }
}
