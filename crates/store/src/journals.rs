//! Answers while they come: written in parts, superfluous when their turn is committed.
//!
//! A journal belongs to the run of the process that began it. What a run left behind is what was under way when it died.

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, Party, SessionId, TurnId};
use rusqlite::{Connection, OptionalExtension};

use crate::Store;
use crate::commit::{BODY_BYTES_MAX, bound, bound_numbers, bound_texts};
use crate::error::StoreError;
use crate::readers::View;
use crate::seal::Kind;
use crate::sessions::Held;
use crate::turns::party;
use crate::writer::Desk;

/// An answer that is about to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHead {
    /// The call that it answers: unique.
    pub call: String,
    /// Its session, which exists.
    pub session: SessionId,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// The turn before it, or the root.
    pub parent: TurnId,
    /// Who says it.
    pub party: Party,
    /// The deployment that writes it.
    pub by: Option<String>,
    /// The model that writes it.
    pub model: Option<String>,
    /// When it began.
    pub made_ms: u64,
    /// What else is known of it.
    pub meta: Bytes,
}

/// An answer that was under way when the process died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// As it was begun.
    pub head: JournalHead,
    /// Its parts from the first, in order. What came after a part that was lost is left out.
    pub parts: Vec<Bytes>,
}

impl Store {
    /// Begins the journal of an answer. One that exists already is left as it is. Changes that one task asks for, one after
    /// the other or joined in that order, are written in that order: the session may be begun by the commit before.
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Fenced`], [`StoreError::Erased`],
    /// [`StoreError::TooLarge`], [`StoreError::Conflict`] for a call of another session, or the disk's.
    pub async fn journal_begin(&self, head: JournalHead) -> Result<(), StoreError> {
        bound("a body", head.meta.len(), BODY_BYTES_MAX)?;
        bound_numbers([head.made_ms, head.epoch.0])?;
        bound_texts([&head.call, &*head.session.0].into_iter().chain(head.by.as_deref()).chain(head.model.as_deref()))?;
        self.write(head.meta.len(), move |desk| begin(desk, &head)).await
    }

    /// Queues the beginning of a journal and returns at once; what the writer refuses then is no journal.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the queue is full, [`StoreError::TooLarge`], or [`StoreError::Closed`].
    pub fn journal_begin_soon(&self, head: JournalHead) -> Result<(), StoreError> {
        bound("a body", head.meta.len(), BODY_BYTES_MAX)?;
        bound_texts([&head.call, &*head.session.0].into_iter().chain(head.by.as_deref()).chain(head.model.as_deref()))?;
        self.0.writer.write_soon(head.meta.len(), move |desk| begin(desk, &head))
    }

    /// Appends part `seq` (from 0) of an answer, and returns when it is on disk. One that is there already is left.
    ///
    /// # Errors
    /// [`StoreError::UnknownJournal`], [`StoreError::Fenced`], [`StoreError::TooLarge`], or the disk's.
    pub async fn journal_append(&self, call: &str, seq: u32, bytes: Bytes) -> Result<(), StoreError> {
        bound("a body", bytes.len(), BODY_BYTES_MAX)?;
        let call = call.to_owned();
        self.write(bytes.len(), move |desk| append(desk, &call, seq, &bytes)).await
    }

    /// Queues part `seq` (from 0) of an answer and returns at once. It is on disk with the next batch, as soon as any
    /// later change is acknowledged; a part that is refused by the writer is lost, with all that follow it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the queue is full, [`StoreError::TooLarge`], or [`StoreError::Closed`].
    pub fn journal_append_soon(&self, call: &str, seq: u32, bytes: Bytes) -> Result<(), StoreError> {
        bound("a body", bytes.len(), BODY_BYTES_MAX)?;
        let call = call.to_owned();
        self.0.writer.write_soon(bytes.len(), move |desk| append(desk, &call, seq, &bytes))
    }

    /// Deletes a journal without a turn: the answer was given up. None is as good as one.
    ///
    /// # Errors
    /// The disk's.
    pub async fn journal_end(&self, call: &str) -> Result<(), StoreError> {
        let call = call.to_owned();
        self.write(0, move |desk| {
            let mut sessions = desk.db.prepare_cached("SELECT session FROM journals WHERE call = ?1")?;
            let session = sessions.query_row([&call], |row| row.get(0)).optional()?;
            session.map_or(Ok(()), |session| end(desk.db, session, &call))
        })
        .await
    }

    /// What earlier runs of the process left under way, the first begun first; at most `limit`. Each stays until it is
    /// ended, by a commit or otherwise.
    ///
    /// # Errors
    /// The disk's.
    pub async fn open_journals(&self, limit: usize) -> Result<Vec<Journal>, StoreError> {
        self.read(move |view| {
            let mut rows =
                view.db.prepare_cached("SELECT row, session FROM journals WHERE run < ?1 ORDER BY row LIMIT ?2")?;
            let rows = rows.query_map((view.run, limit.min(PAGE_MAX) as u64), |row| Ok((row.get(0)?, row.get(1)?)))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().map(|(row, session)| read(view, row, &Held::at(view.db, session)?)).collect()
        })
        .await
    }
}

/// Journals read at once: as many as calls are under way in one process.
const PAGE_MAX: usize = 1_024;

/// Deletes a journal of a session, if it has one for that call.
pub(crate) fn end(db: &Connection, session: i64, call: &str) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM journal_parts WHERE journal = (SELECT row FROM journals WHERE call = ?1 AND session = ?2)",
    )?
    .execute((call, session))?;
    db.prepare_cached("DELETE FROM journals WHERE call = ?1 AND session = ?2")?.execute((call, session))?;
    Ok(())
}

/// Deletes all journals of a session.
pub(crate) fn erase(db: &Connection, session: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM journal_parts WHERE journal IN (SELECT row FROM journals WHERE session = ?1)")?
        .execute([session])?;
    db.prepare_cached("DELETE FROM journals WHERE session = ?1")?.execute([session])?;
    Ok(())
}

fn begin(desk: &Desk<'_>, head: &JournalHead) -> Result<(), StoreError> {
    let held = Held::get(desk.db, &head.session)?;
    held.fence(head.epoch)?;
    let parent = held.known_turn(desk.db, &head.parent)?;
    let mut rows = desk.db.prepare_cached("SELECT session FROM journals WHERE call = ?1")?;
    match rows.query_row([&head.call], |row| row.get::<_, i64>(0)).optional()? {
        Some(session) if session == held.row => return Ok(()),
        Some(_) => return Err(StoreError::Conflict { what: "journal" }),
        None => {}
    }
    let meta = held.sealer(desk.keys)?.seal(held.place(Kind::JournalMeta, head.call.as_bytes()), &head.meta)?;
    desk.db
        .prepare_cached(
            "INSERT INTO journals (call, session, epoch, parent, party, by, model, made_ms, run, size, meta) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10)",
        )?
        .execute(rusqlite::params![
            head.call,
            held.row,
            head.epoch.0,
            parent,
            head.party.word(),
            head.by,
            head.model,
            head.made_ms,
            desk.run,
            meta,
        ])?;
    Ok(())
}

fn append(desk: &Desk<'_>, call: &str, seq: u32, bytes: &[u8]) -> Result<(), StoreError> {
    let mut rows = desk.db.prepare_cached("SELECT row, session, epoch, size FROM journals WHERE call = ?1")?;
    let row = rows.query_row([call], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, Epoch(row.get(2)?), row.get::<_, usize>(3)?))
    });
    let (journal, session, epoch, size) = row.optional()?.ok_or(StoreError::UnknownJournal)?;
    let held = Held::at(desk.db, session)?;
    held.fence(epoch)?;
    bound("a partial answer", size + bytes.len(), BODY_BYTES_MAX)?;
    let body = held.sealer(desk.keys)?.seal(held.place(Kind::JournalPart, &part_row(call, seq)), bytes)?;
    let added = desk
        .db
        .prepare_cached("INSERT OR IGNORE INTO journal_parts (journal, seq, body) VALUES (?1, ?2, ?3)")?
        .execute((journal, seq, body))?;
    if added > 0 {
        let mut grow = desk.db.prepare_cached("UPDATE journals SET size = size + ?2 WHERE row = ?1")?;
        grow.execute((journal, bytes.len()))?;
    }
    Ok(())
}

fn read(view: &View<'_>, row: i64, held: &Held) -> Result<Journal, StoreError> {
    let sealer = held.sealer(view.keys)?;
    let mut heads = view.db.prepare_cached(
        "SELECT j.call, j.epoch, t.id, j.party, j.by, j.model, j.made_ms, j.meta FROM journals j \
         LEFT JOIN turns t ON t.row = j.parent WHERE j.row = ?1",
    )?;
    let head = heads.query_and_then([row], |row| {
        let call: String = row.get(0)?;
        let meta = sealer.open(held.place(Kind::JournalMeta, call.as_bytes()), row.get(7)?)?;
        Ok::<_, StoreError>(JournalHead {
            call,
            session: held.id.clone(),
            epoch: Epoch(row.get(1)?),
            parent: row.get::<_, Option<_>>(2)?.map_or(held.root, TurnId),
            party: party(&row.get::<_, String>(3)?)?,
            by: row.get(4)?,
            model: row.get(5)?,
            made_ms: row.get(6)?,
            meta,
        })
    })?;
    let head = head.last().ok_or(StoreError::UnknownJournal)??;
    let mut parts = Vec::new();
    let mut rows = view.db.prepare_cached("SELECT seq, body FROM journal_parts WHERE journal = ?1 ORDER BY seq")?;
    let mut rows = rows.query([row])?;
    while let Some(row) = rows.next()? {
        let seq: u32 = row.get(0)?;
        if seq as usize != parts.len() {
            break;
        }
        parts.push(sealer.open(held.place(Kind::JournalPart, &part_row(&head.call, seq)), row.get(1)?)?);
    }
    Ok(Journal { head, parts })
}

/// What tells a part from its siblings.
fn part_row(call: &str, seq: u32) -> Vec<u8> {
    [call.as_bytes(), &seq.to_le_bytes()].concat()
}
