//! What has to be written for a session that arrives, given what is here of it. No store, no clock.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use commonwatt_bundle::{Blobs, Session as Carried, StoredTurn as CarriedTurn};
use commonwatt_core::refusal::Refusal;
use commonwatt_core::turn::{Epoch, SessionId, Turn, TurnId};
use commonwatt_store::{
    BODY_BYTES_MAX, Commit, Link as StoredLink, NewBlob, NewSession, NewTurn, Session, TEXT_BYTES_MAX,
};
use commonwatt_wire::turns::{attachments_of, read_turn};

use super::super::link::Link;
use super::note::{Note, stored_meta, stored_state};
use super::{Outcome, internal};

/// So much is written at once: a quarter of what the store takes, so that calls do not wait long behind an import.
const COMMIT_BYTES: usize = commonwatt_store::COMMIT_BYTES_MAX / 4;
/// Rows written at once: a sixteenth of what the store takes, some tens of milliseconds of its time.
const COMMIT_ROWS: usize = commonwatt_store::COMMIT_ROWS_MAX / 16;

/// What is here of a session that arrives.
pub(super) struct Here {
    /// The session, where there is none.
    begin: Option<NewSession>,
    epoch: Epoch,
    head: TurnId,
    known: HashSet<TurnId>,
    note: Option<Note>,
    /// When it began here, where it did.
    created_ms: Option<u64>,
}

impl Here {
    /// Nothing: it begins under this name.
    pub(super) fn nothing(principal: &str, session: &Carried, name: Option<String>, expires_ms: Option<u64>) -> Self {
        let root = session.root();
        let begin = NewSession {
            principal: principal.to_owned(),
            holder: principal.to_owned(),
            name,
            salt: session.salt,
            root,
            title: session.title.clone(),
            expires_ms,
            data_class: session.data_class.clone(),
        };
        let known = HashSet::new();
        Self { begin: Some(begin), epoch: Epoch(0), head: root, known, note: None, created_ms: None }
    }

    /// The session as it stands, with these turns.
    pub(super) fn found(found: &Session, known: HashSet<TurnId>, note: Option<Note>) -> Self {
        // One that began here has its head beyond its root; at its root stands one whose arrival failed in the middle.
        let began_here = note.is_none() && found.head != found.root;
        let created_ms = began_here.then_some(found.created_ms);
        Self { begin: None, epoch: found.epoch, head: found.head, known, note, created_ms }
    }

    /// Whether it began to arrive, and was not noted yet.
    fn is_half(&self, root: TurnId) -> bool {
        self.begin.is_none() && self.note.is_none() && self.head == root
    }
}

/// What has to be written, in this order.
pub(super) struct Plan {
    pub(super) session: SessionId,
    pub(super) outcome: Outcome,
    /// The turns that are new, with their links and what they name by hash.
    pub(super) rows: Vec<Commit>,
    /// What is known of the session, and its root.
    pub(super) note: Option<(Note, TurnId)>,
    /// The head, last of all.
    pub(super) head: Option<Commit>,
}

/// Why the store would not take a session that a bundle may hold.
pub(super) fn too_long(session: &Carried, blobs: &Blobs) -> Option<String> {
    let texts = [&session.name, &session.title, &session.data_class].into_iter();
    let of_turns = session.turns.iter().flat_map(|turn| [&turn.by, &turn.model]);
    let longest_text = texts.chain(of_turns).flatten().map(String::len).max();
    let bodies = session.turns.iter().map(|turn| turn.canonical.len().max(stored_meta(&turn.meta).len()));
    let longest_body = bodies.chain(blobs.values().map(Bytes::len)).max();
    if longest_text.is_some_and(|bytes| bytes > TEXT_BYTES_MAX) {
        return Some(format!("a name or a title in it has more than {TEXT_BYTES_MAX} bytes"));
    }
    let is_long = longest_body.is_some_and(|bytes| bytes > BODY_BYTES_MAX);
    is_long.then(|| format!("a turn or a file in it has more than {} MiB", BODY_BYTES_MAX >> 20))
}

/// Plans the arrival of a session that holds together, whose turns stand after their parents.
pub(super) fn plan(principal: &str, session: &Carried, blobs: &Blobs, mut here: Here) -> Result<Plan, Refusal> {
    let (id, root, epoch) = (session.id.clone(), session.root(), here.epoch);
    let (is_new, is_half) = (here.begin.is_some(), here.is_half(root));
    let mut rows = Rows::new(Commit { begin: here.begin.take(), ..Commit::to(id.clone(), epoch) });
    let (mut links, mut parents) = (HashMap::from([(root, Link::seed(principal, None))]), HashMap::new());
    let mut added = 0;
    for turn in &session.turns {
        let said = read_turn(&turn.canonical, &|hash| blobs.get(hash).cloned())
            .map_err(|error| internal(&format!("a turn that was brought cannot be read: {error}")))?;
        let before = links.get(&said.parent).ok_or_else(|| internal("a turn that was brought has no parent"))?;
        let link = before.after(said.party, &said.items);
        links.insert(turn.id, link);
        parents.insert(turn.id, said.parent);
        if !here.known.contains(&turn.id) {
            rows.add(turn, &said, link, blobs);
            added += 1;
        }
    }
    let is_ahead = session.head != here.head && leads_to(&parents, session.head, here.head);
    let outcome = match (is_new, added) {
        (true, added) => Outcome::Made(added),
        (false, 0) if !is_ahead && !is_half => Outcome::Unchanged,
        (false, added) => Outcome::Grown(added),
    };
    let stands_at = if is_ahead { session.head } else { here.head };
    let note = (outcome != Outcome::Unchanged).then(|| (noted(session, &here, added, stands_at), root));
    let head = is_ahead.then(|| Commit { head: Some(session.head), ..Commit::to(id.clone(), epoch) });
    Ok(Plan { session: id, outcome, rows: rows.done(), note, head })
}

/// What is known of the session when it has arrived. What was known here of it already stays.
fn noted(session: &Carried, here: &Here, added: usize, head: TurnId) -> Note {
    let (mut branches, mut meta) = (session.branches.clone(), session.meta.clone());
    let mut created_ms = here.created_ms.or(session.created_ms);
    if let Some(note) = &here.note {
        branches.extend(note.branches.clone());
        meta.extend(note.meta.clone());
        created_ms = note.created_ms;
    }
    let turns = here.known.len() + added;
    // Only a session that is the same as where it came from last changed when that did.
    let is_same = head == session.head && turns == session.turns.len();
    Note { created_ms, updated_ms: session.updated_ms, stood: is_same.then_some((head, turns as u64)), branches, meta }
}

/// Whether the way from a head to its root passes `turn`.
fn leads_to(parents: &HashMap<TurnId, TurnId>, head: TurnId, turn: TurnId) -> bool {
    std::iter::successors(Some(head), |at| parents.get(at).copied()).any(|at| at == turn)
}

/// Commits that each are small enough.
struct Rows {
    done: Vec<Commit>,
    next: Commit,
    bytes: usize,
    blobs: HashSet<[u8; 32]>,
}

impl Rows {
    fn new(first: Commit) -> Self {
        Self { done: Vec::new(), next: first, bytes: 0, blobs: HashSet::new() }
    }

    /// Adds a turn, its link, and before it what it names by hash.
    fn add(&mut self, turn: &CarriedTurn, said: &Turn, link: Link, blobs: &Blobs) {
        for sha256 in attachments_of(&turn.canonical) {
            if let Some(bytes) = blobs.get(&sha256)
                && self.blobs.insert(sha256)
            {
                self.make_room(bytes.len());
                self.next.blobs.push(NewBlob { sha256, bytes: bytes.clone() });
            }
        }
        let meta = stored_meta(&turn.meta);
        self.make_room(turn.canonical.len() + meta.len());
        self.next.links.push(StoredLink { hash: link.0, turn: turn.id });
        self.next.turns.push(NewTurn {
            id: turn.id,
            parent: said.parent,
            party: said.party,
            made_ms: turn.made_ms.unwrap_or_default(),
            by: turn.by.clone(),
            model: turn.model.clone(),
            state: stored_state(turn.state),
            body: turn.canonical.clone(),
            meta,
        });
    }

    fn make_room(&mut self, bytes: usize) {
        let rows = self.next.turns.len() + self.next.links.len() + self.next.blobs.len();
        if rows > 0 && (self.bytes + bytes > COMMIT_BYTES || rows + 2 > COMMIT_ROWS) {
            let more = Commit::to(self.next.session.clone(), self.next.epoch);
            self.done.push(std::mem::replace(&mut self.next, more));
            self.bytes = 0;
        }
        self.bytes += bytes;
    }

    fn done(mut self) -> Vec<Commit> {
        let Commit { begin, turns, blobs, .. } = &self.next;
        if begin.is_some() || !turns.is_empty() || !blobs.is_empty() {
            self.done.push(self.next);
        }
        self.done
    }
}
