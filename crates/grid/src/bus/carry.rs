//! Taking sessions along: out of the bus as a bundle, and into it from a bundle or from what another system exported.
//!
//! *Out:* every turn of every branch, what turns name by hash, and the salt, so that all ids can be made again.
//!
//! *In:* a session keeps its id, its salt and so the ids of its turns. What is here already stays as it is, so the same
//! bundle twice changes nothing, and a bundle of a session that was continued elsewhere adds what is new. Each turn gets
//! the link by which a client that resends it is recognised, as if it had been said here.
//!
//! *Never half:* a session arrives in as many commits as it needs, and its head is set by the last of them. One whose
//! arrival failed in the middle stands at its root, or where it stood before, and is completed by importing it again.

mod foreign;
mod note;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use commonwatt_bundle::import::ImportedSession;
use commonwatt_bundle::{Blobs, Bundle, Limits, StoredTurn as Carried};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::SessionId;
use commonwatt_store::{Node, PAGE_MAX, Session, StoreError, StoredTurn, Whose};
use commonwatt_wire::turns::attachments_of;

pub use self::foreign::System;
use self::note::Note;
use self::plan::{Here, Plan};
use super::{Bus, refusal};

/// Under which kind a note lies beside its session's root.
const NOTE: &str = "carried";
/// Turns that are read from the store at once.
const RUN_MAX: usize = 256;
/// A line of a bundle has so many bytes beside what the turn says: ids, party, times.
const LINE_BYTES: u64 = 300;

/// Which sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// All of the caller's.
    All,
    /// Those of these names or ids.
    Named(Vec<String>),
}

/// Who exports, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The name of the node.
    pub issuer: String,
    /// In seconds since 1970.
    pub made_unix_s: u64,
}

/// A session that was brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Its id.
    pub id: SessionId,
    /// What people call it.
    pub title: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// What of it could not be kept, in words.
    pub lost: Option<String>,
}

/// What came of a session that was brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new here, with so many turns.
    Made(usize),
    /// It was here, and so many turns were added.
    Grown(usize),
    /// All of it was here.
    Unchanged,
    /// It cannot be kept here, and why: nothing of it was written.
    Refused(String),
}

impl Bus {
    /// The caller's sessions as a bundle, with all branches. At most as much as a reader takes by default.
    ///
    /// # Errors
    /// A refusal when one is not there, when they are too large together, or the store's trouble.
    pub async fn export(&self, principal: &str, chosen: &Chosen, stamp: Stamp) -> Result<Bundle, Refusal> {
        let Stamp { issuer, made_unix_s } = stamp;
        let mut bundle = Bundle { issuer, made_unix_s, sessions: Vec::new(), blobs: Blobs::new() };
        let mut room = Room::default();
        for session in self.chosen(principal, chosen).await?.into_values() {
            let carried = self.carried(&session, &mut bundle.blobs, &mut room).await?;
            bundle.sessions.push(carried);
        }
        Ok(bundle)
    }

    /// Brings the sessions of a bundle that was read, and so checked: what came of each.
    ///
    /// # Errors
    /// The store's trouble. What was brought before it stays; importing again brings the rest.
    pub async fn import(&self, principal: &str, bundle: Bundle) -> Result<Vec<Brought>, Refusal> {
        let blobs = Arc::new(bundle.blobs);
        let mut brought = Vec::with_capacity(bundle.sessions.len());
        for session in bundle.sessions {
            brought.push(self.bring(principal, session, &blobs).await?);
        }
        Ok(brought)
    }

    /// Brings what another system exported, but for conversations in which nothing was said. One that came before is known
    /// by its name, which is made of the system's id for it, and gets what is new.
    ///
    /// # Errors
    /// The store's trouble. What was brought before it stays; importing again brings the rest.
    pub async fn import_foreign(
        &self,
        principal: &str,
        system: System,
        sessions: Vec<ImportedSession>,
    ) -> Result<Vec<Brought>, Refusal> {
        let mut brought = Vec::with_capacity(sessions.len());
        for session in sessions.into_iter().filter(|session| !session.turns.is_empty()) {
            let (session, blobs) = self.naturalised(principal, system, session).await?;
            brought.push(self.bring(principal, session, &Arc::new(blobs)).await?);
        }
        Ok(brought)
    }

    async fn chosen(&self, principal: &str, chosen: &Chosen) -> Result<BTreeMap<SessionId, Session>, Refusal> {
        let mut found = BTreeMap::new();
        match chosen {
            Chosen::Named(names) => {
                for name in names {
                    let session = self.found(principal, name).await?.ok_or_else(|| no_session(name))?;
                    found.insert(session.id.clone(), session);
                }
            }
            Chosen::All => {
                let mut from = None;
                loop {
                    let page = self.store.sessions(Some(principal), from, PAGE_MAX).await;
                    let page = page.map_err(|error| refusal(&error))?;
                    let there = page.sessions.into_iter().filter(|session| session.erased_ms.is_none());
                    found.extend(there.map(|session| (session.id.clone(), session)));
                    from = page.next;
                    if from.is_none() || found.len() > Limits::default().files {
                        break;
                    }
                }
            }
        }
        if found.len() > Limits::default().files { Err(too_large()) } else { Ok(found) }
    }

    async fn carried(
        &self,
        session: &Session,
        blobs: &mut Blobs,
        room: &mut Room,
    ) -> Result<commonwatt_bundle::Session, Refusal> {
        let nodes = self.tree(session).await?;
        let mut turns = Vec::with_capacity(nodes.len());
        for run in runs(&nodes) {
            let Some(last) = run.last() else { continue };
            let kept = self.store.tail(&session.id, last.id, run.len()).await.map_err(|error| refusal(&error))?;
            for kept in kept {
                room.take(kept.body.len() + kept.meta.len(), 1)?;
                self.attach(&session.id, &kept.body, blobs, room).await?;
                turns.push(carried_turn(kept)?);
            }
        }
        let note = self.note(session).await?;
        let salt = session.salt.ok_or_else(super::unknown)?;
        Ok(Note::or_of(note, session).carried(session, salt, turns))
    }

    /// What was noted of a session when it was brought.
    async fn note(&self, session: &Session) -> Result<Option<Note>, Refusal> {
        let note = self.store.derived(&session.id, session.root, NOTE).await.map_err(|error| refusal(&error))?;
        note.map(|note| Note::read(&note).ok_or_else(|| internal("the note of a session cannot be read"))).transpose()
    }

    /// Takes what a turn names by hash along.
    async fn attach(
        &self,
        session: &SessionId,
        body: &Bytes,
        blobs: &mut Blobs,
        room: &mut Room,
    ) -> Result<(), Refusal> {
        for hash in attachments_of(body) {
            if blobs.contains_key(&hash) {
                continue;
            }
            let bytes = self.store.blob(session, hash).await.map_err(|error| refusal(&error))?;
            let bytes = bytes.ok_or_else(|| internal("an attachment of a session is not in the store"))?;
            room.take(bytes.len(), 0)?;
            blobs.insert(hash, bytes);
        }
        Ok(())
    }

    async fn bring(
        &self,
        principal: &str,
        session: commonwatt_bundle::Session,
        blobs: &Arc<Blobs>,
    ) -> Result<Brought, Refusal> {
        let (id, title) = (session.id.clone(), session.title.clone());
        let told = |outcome, lost| Ok(Brought { id, title, outcome, lost });
        if let Some(why) = plan::too_long(&session, blobs) {
            return told(Outcome::Refused(why), None);
        }
        let (here, lost) = match self.here(principal, &session).await? {
            Ok(here) => here,
            Err(why) => return told(Outcome::Refused(why), None),
        };
        let (blobs, principal) = (Arc::clone(blobs), principal.to_owned());
        let planned = tokio::task::spawn_blocking(move || plan::plan(&principal, &session, &blobs, here)).await;
        let plan = planned.map_err(|_| internal("the import broke off"))??;
        let outcome = plan.outcome.clone();
        match self.follow(plan).await {
            Ok(()) => told(outcome, lost),
            Err(error) => match error.whose() {
                Whose::Callers => told(Outcome::Refused(refused(&error)), None),
                Whose::Operators | Whose::Disks => Err(refusal(&error)),
            },
        }
    }

    async fn follow(&self, plan: Plan) -> Result<(), StoreError> {
        for rows in plan.rows {
            self.store.commit(rows).await?;
        }
        if let Some((note, root)) = plan.note {
            self.store.put_derived(&plan.session, root, NOTE, note.bytes()).await?;
        }
        match plan.head {
            Some(head) => self.store.commit(head).await,
            None => Ok(()),
        }
    }

    /// What is here of a session that arrives, and what of it will be lost; or why it cannot be kept.
    async fn here(
        &self,
        principal: &str,
        session: &commonwatt_bundle::Session,
    ) -> Result<Result<(Here, Option<String>), String>, Refusal> {
        let found = self.store.session(&session.id, principal).await.map_err(|error| refusal(&error))?;
        let Some(found) = found else {
            let taken = self.is_name_taken(principal, session).await?;
            let name = session.name.clone().filter(|_| !taken);
            let lost = taken.then(|| "its name, which another session has here".to_owned());
            return Ok(Ok((self.nothing_here(principal, session, name), lost)));
        };
        if found.erased_ms.is_some() {
            return Ok(Err("it was erased here, and what was erased does not come back".to_owned()));
        }
        if found.root != session.root() {
            return Ok(Err("another session has its id here".to_owned()));
        }
        if found.holder != principal {
            return Ok(Err(format!("it was handed over to `{}`", found.holder)));
        }
        let note = self.note(&found).await?;
        let known = self.tree(&found).await?.into_iter().map(|node| node.id).collect();
        Ok(Ok((Here::found(&found, known, note), None)))
    }

    async fn is_name_taken(&self, principal: &str, session: &commonwatt_bundle::Session) -> Result<bool, Refusal> {
        let Some(name) = &session.name else { return Ok(false) };
        let found = self.store.session_named(principal, name).await.map_err(|error| refusal(&error))?;
        Ok(found.is_some_and(|found| found.id != session.id))
    }

    fn nothing_here(&self, principal: &str, session: &commonwatt_bundle::Session, name: Option<String>) -> Here {
        let expires_ms = self.expires_ms(self.world.retention.keep_ms);
        Here::nothing(principal, session, name, expires_ms)
    }
}

/// How much more may be exported.
struct Room {
    bytes: u64,
    turns: usize,
}

impl Default for Room {
    fn default() -> Self {
        let Limits { bytes, turns, file_bytes: _, manifest_bytes: _, files: _ } = Limits::default();
        Self { bytes, turns }
    }
}

impl Room {
    fn take(&mut self, bytes: usize, turns: usize) -> Result<(), Refusal> {
        let bytes = bytes as u64 + LINE_BYTES * turns as u64;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_large)?;
        self.turns = self.turns.checked_sub(turns).ok_or_else(too_large)?;
        Ok(())
    }
}

/// Turns that follow each other, so that each is read from the store once.
fn runs(nodes: &[Node]) -> impl Iterator<Item = &[Node]> {
    nodes.chunk_by(|before, after| after.parent == before.id).flat_map(|run| run.chunks(RUN_MAX))
}

fn carried_turn(kept: StoredTurn) -> Result<Carried, Refusal> {
    let StoredTurn { node: Node { id, parent: _, party: _, state, made_ms, by, model }, body, meta } = kept;
    let meta = note::meta(&meta).ok_or_else(|| internal("what is known of a turn cannot be read"))?;
    // The store has a time for every turn; none is the beginning of 1970.
    let made_ms = Some(made_ms).filter(|made_ms| *made_ms > 0);
    Ok(Carried { id, canonical: body, state: note::carried_state(state), made_ms, by, model, meta })
}

/// Why the store takes a session as little as it stands.
fn refused(error: &StoreError) -> String {
    let is_taken = matches!(error, StoreError::Conflict { .. });
    if is_taken { "another session has its id here".to_owned() } else { error.to_string() }
}

fn no_session(name: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    let message = format!("there is no session `{name}` here that this key may see");
    Refusal::new(RefusalKind::UnknownSession, message)
}

fn too_large() -> Refusal {
    let Limits { bytes, file_bytes: _, manifest_bytes: _, files, turns } = Limits::default();
    let message = format!(
        "a bundle takes {} MiB, {files} sessions and {turns} turns at most: export fewer sessions at once",
        bytes >> 20
    );
    Refusal::new(RefusalKind::TooLarge, message)
}

fn internal(what: &str) -> Refusal {
    Refusal::new(RefusalKind::Internal, what)
}

#[cfg(test)]
mod tests;
