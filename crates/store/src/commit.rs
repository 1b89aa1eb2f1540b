//! The one atomic unit of change to a session: all of it is on disk, or nothing.

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, Party, SessionId, TurnId};
use rusqlite::OptionalExtension;

use crate::Store;
use crate::blobs::{self, NewBlob};
use crate::error::StoreError;
use crate::journals;
use crate::seal::{Kind, Place, Sealer};
use crate::sessions::Held;
use crate::turns::State;
use crate::writer::Desk;

/// A body, a blob, a response, a derived value: what one call may carry, with room for images.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Everything in one commit: a quarter of what may wait for the writer, so that one cannot keep out the rest.
pub const COMMIT_BYTES_MAX: usize = 64 << 20;
/// Turns, links, responses and blobs of one commit, together: a long conversation that arrives whole.
pub const COMMIT_ROWS_MAX: usize = 65_536;
/// Ids, names, principals, holders and the like.
pub const TEXT_BYTES_MAX: usize = 4_096;

/// Times and epochs.
pub(crate) const NUMBER_MAX: u64 = u64::MAX >> 1;

/// A change to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The session.
    pub session: SessionId,
    /// Begins it. Left as it is when it exists with the same principal and root.
    pub begin: Option<NewSession>,
    /// The writer's epoch: refused when the session was handed over since. A new session begins with it.
    pub epoch: Epoch,
    /// New turns, parents first. Those that exist already are left as they are.
    pub turns: Vec<NewTurn>,
    /// The session's head from now on.
    pub head: Option<TurnId>,
    /// Hashes by which the session is recognised.
    pub links: Vec<Link>,
    /// Answers that can be asked for by their ids.
    pub responses: Vec<NewResponse>,
    /// The call whose journal this change makes superfluous.
    pub end_journal: Option<String>,
    /// Images and files that the turns refer to.
    pub blobs: Vec<NewBlob>,
    /// When the session is to be erased from now on; `None` leaves it as it is.
    pub expires_ms: Option<u64>,
}

/// What a session begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Whose it is.
    pub principal: String,
    /// Unique for the principal. In the clear.
    pub name: Option<String>,
    /// What the root is the hash of.
    pub salt: [u8; 32],
    /// What its first turns have as parent.
    pub root: TurnId,
    /// Who may write to it.
    pub holder: String,
    /// What it is called in lists.
    pub title: Option<String>,
    /// When it is erased.
    pub expires_ms: Option<u64>,
    /// How sensitive its content is.
    pub data_class: Option<String>,
}

/// A turn to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTurn {
    /// Its id.
    pub id: TurnId,
    /// The turn before it, or the session's root.
    pub parent: TurnId,
    /// Who said it.
    pub party: Party,
    /// When.
    pub made_ms: u64,
    /// The deployment that wrote it.
    pub by: Option<String>,
    /// The model that wrote it.
    pub model: Option<String>,
    /// Whether it was said to its end.
    pub state: State,
    /// What was said.
    pub body: Bytes,
    /// What else is known of it: usage and the like.
    pub meta: Bytes,
}

/// A hash by which a session is recognised, and the turn it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Computed by the caller, over the principal too.
    pub hash: [u8; 32],
    /// One of the session's turns, or its root.
    pub turn: TurnId,
}

/// An answer that can be asked for by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewResponse {
    /// Unique for the holder of the session.
    pub id: String,
    /// The turn it is.
    pub turn: TurnId,
    /// As it was sent.
    pub body: Bytes,
}

impl Store {
    /// Writes a change, whole, and returns when it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], [`StoreError::Erased`], [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`],
    /// [`StoreError::NameTaken`], [`StoreError::Conflict`], [`StoreError::TooLarge`], [`StoreError::WrongHash`], or the
    /// disk's. Nothing is written then; only after [`StoreError::Disk`] it may have been.
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let size = commit.check()?;
        let commit = blobs::check(commit).await?;
        self.write(size, move |desk| apply(desk, &commit)).await
    }

    /// Queues a change, whole, and returns at once: it is written before whatever is queued later. What is refused then is
    /// missed by the changes that lean on it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the queue is full, [`StoreError::TooLarge`], [`StoreError::WrongHash`], or
    /// [`StoreError::Closed`].
    pub fn commit_soon(&self, commit: &Commit) -> Result<(), StoreError> {
        let size = commit.check()?;
        let commit = blobs::checked(commit.clone())?;
        self.0.writer.write_soon(size, move |desk| apply(desk, &commit))
    }
}

/// Refuses what is longer than its bound.
pub(crate) fn bound(what: &'static str, found: usize, max: usize) -> Result<(), StoreError> {
    if found > max { Err(StoreError::TooLarge { what, found: found as u64, max: max as u64 }) } else { Ok(()) }
}

/// Refuses an id, a name or the like that is too long.
pub(crate) fn bound_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
    texts.into_iter().try_for_each(|text| bound("a name", text.len(), TEXT_BYTES_MAX))
}

/// Refuses a time or a number that the file cannot hold: SQLite's have 63 bits.
pub(crate) fn bound_numbers(numbers: impl IntoIterator<Item = u64>) -> Result<(), StoreError> {
    let max = NUMBER_MAX;
    numbers.into_iter().try_for_each(|found| {
        if found > max { Err(StoreError::TooLarge { what: "a time or an epoch", found, max }) } else { Ok(()) }
    })
}

impl Commit {
    /// A change to this session, by its holder of this epoch, that changes nothing yet.
    #[must_use]
    pub fn to(session: SessionId, epoch: Epoch) -> Self {
        Self {
            session,
            begin: None,
            epoch,
            turns: Vec::new(),
            head: None,
            links: Vec::new(),
            responses: Vec::new(),
            end_journal: None,
            blobs: Vec::new(),
            expires_ms: None,
        }
    }

    /// Its bytes, if all are within their bounds.
    pub(crate) fn check(&self) -> Result<usize, StoreError> {
        let rows = self.turns.len() + self.links.len() + self.responses.len() + self.blobs.len();
        bound("a commit's number of rows", rows, COMMIT_ROWS_MAX)?;
        let begin = self.begin.iter().flat_map(|begin| {
            [Some(&begin.principal), Some(&begin.holder), begin.name.as_ref(), begin.title.as_ref()]
                .into_iter()
                .chain([begin.data_class.as_ref()])
                .flatten()
        });
        bound_texts(begin.map(String::as_str))?;
        bound_texts(self.turns.iter().flat_map(|turn| turn.by.iter().chain(&turn.model)).map(String::as_str))?;
        bound_texts(self.responses.iter().map(|response| &*response.id))?;
        bound_texts([&*self.session.0])?;
        let times = self.turns.iter().map(|turn| turn.made_ms);
        let ends = self.begin.iter().filter_map(|begin| begin.expires_ms);
        bound_numbers(times.chain(ends).chain([self.epoch.0]))?;
        let bodies = self
            .turns
            .iter()
            .flat_map(|turn| [&turn.body, &turn.meta])
            .chain(self.responses.iter().map(|response| &response.body))
            .chain(self.blobs.iter().map(|blob| &blob.bytes));
        let mut size = rows * 128;
        for body in bodies {
            bound("a body", body.len(), BODY_BYTES_MAX)?;
            size += body.len();
        }
        bound("a commit", size, COMMIT_BYTES_MAX + rows * 128)?;
        Ok(size)
    }
}

pub(crate) fn apply(desk: &Desk<'_>, commit: &Commit) -> Result<(), StoreError> {
    let held = match (Held::find(desk.db, &commit.session)?, &commit.begin) {
        (Some(held), Some(begin)) if held.principal != begin.principal || held.root != begin.root => {
            return Err(StoreError::Conflict { what: "session" });
        }
        (Some(held), _) => held,
        (None, Some(begin)) => begin_session(desk, commit, begin)?,
        (None, None) => return Err(StoreError::UnknownSession),
    };
    let sealer = held.sealer(desk.keys)?;
    let lease = held.lease.write(commit.epoch, commit.head.unwrap_or(held.lease.head))?;
    let added = add_turns(desk, &held, &sealer, &commit.turns)?;
    add_links(desk, &held, &commit.links)?;
    add_responses(desk, &held, &sealer, &commit.responses)?;
    commit.blobs.iter().try_for_each(|blob| blobs::add(desk, &held, &sealer, blob))?;
    if let Some(call) = &commit.end_journal {
        journals::end(desk.db, held.row, call)?;
    }
    let head = held.known_turn(desk.db, &lease.head)?;
    desk.db
        .prepare_cached(
            "UPDATE sessions SET head = ?2, turns = turns + ?3, updated_ms = max(updated_ms, ?4), \
             expires_ms = coalesce(?5, expires_ms) WHERE row = ?1",
        )?
        .execute((held.row, head, added, desk.now_ms, commit.expires_ms))?;
    Ok(())
}

fn begin_session(desk: &Desk<'_>, commit: &Commit, begin: &NewSession) -> Result<Held, StoreError> {
    let Commit { session, epoch, .. } = commit;
    if let Some(name) = &begin.name {
        let mut rows = desk.db.prepare_cached("SELECT 1 FROM sessions WHERE principal = ?1 AND name = ?2")?;
        if rows.exists((&begin.principal, name))? {
            return Err(StoreError::NameTaken);
        }
    }
    let (sealer, key) = desk.keys.new_session(&session.0)?;
    let place = |kind| Place { session: &session.0, kind, row: &[] };
    let salt = sealer.seal(place(Kind::Salt), &begin.salt)?;
    let title = begin.title.as_ref().map(|title| sealer.seal(place(Kind::Title), title.as_bytes())).transpose()?;
    desk.db
        .prepare_cached(
            "INSERT INTO sessions (id, principal, name, root, head, epoch, holder, created_ms, updated_ms, \
             expires_ms, data_class, turns, key, salt, title) \
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?7, ?8, ?9, 0, ?10, ?11, ?12)",
        )?
        .execute(rusqlite::params![
            &*session.0,
            begin.principal,
            begin.name,
            begin.root.0,
            epoch.0,
            begin.holder,
            desk.now_ms,
            begin.expires_ms,
            begin.data_class,
            key,
            salt,
            title,
        ])?;
    Held::get(desk.db, session)
}

/// Adds the turns that are new; how many were.
fn add_turns(desk: &Desk<'_>, held: &Held, sealer: &Sealer, turns: &[NewTurn]) -> Result<u64, StoreError> {
    let mut added = 0;
    for turn in turns {
        if held.turn(desk.db, &turn.id)?.is_some() {
            continue;
        }
        let parent = held.known_turn(desk.db, &turn.parent)?;
        let meta = sealer.seal(held.place(Kind::Meta, &turn.id.0), &turn.meta)?;
        let body = sealer.seal(held.place(Kind::Body, &turn.id.0), &turn.body)?;
        desk.db
            .prepare_cached(
                "INSERT INTO turns (session, id, parent, depth, party, state, made_ms, by, model, meta, body) \
                 VALUES (?1, ?2, ?3, 1 + coalesce((SELECT depth FROM turns WHERE row = ?3), 0), \
                 ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(rusqlite::params![
                held.row,
                turn.id.0,
                parent,
                turn.party.word(),
                turn.state.word(),
                turn.made_ms,
                turn.by,
                turn.model,
                meta,
                body,
            ])?;
        added += 1;
    }
    Ok(added)
}

/// A link made again becomes the newest of its hash.
fn add_links(desk: &Desk<'_>, held: &Held, links: &[Link]) -> Result<(), StoreError> {
    for link in links {
        let turn = held.known_turn(desk.db, &link.turn)?;
        desk.db.prepare_cached("INSERT OR REPLACE INTO links (hash, session, turn) VALUES (?1, ?2, ?3)")?.execute((
            desk.keys.address(&link.hash),
            held.row,
            turn,
        ))?;
    }
    Ok(())
}

/// Under the name of who holds the session: whoever made an answer asks for it.
fn add_responses(desk: &Desk<'_>, held: &Held, sealer: &Sealer, responses: &[NewResponse]) -> Result<(), StoreError> {
    for response in responses {
        let turn = held.known_turn(desk.db, &response.turn)?;
        let mut rows =
            desk.db.prepare_cached("SELECT session, turn FROM responses WHERE principal = ?1 AND id = ?2")?;
        let there = rows
            .query_row((&*held.lease.tenure.holder.0, &response.id), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?;
        match there {
            Some(there) if there == (held.row, turn) => continue,
            Some(_) => return Err(StoreError::Conflict { what: "response" }),
            None => {}
        }
        let body = sealer.seal(held.place(Kind::Response, response.id.as_bytes()), &response.body)?;
        desk.db
            .prepare_cached("INSERT INTO responses (principal, id, session, turn, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((&*held.lease.tenure.holder.0, &response.id, held.row, turn, body))?;
    }
    Ok(())
}
