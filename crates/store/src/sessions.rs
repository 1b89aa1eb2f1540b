//! Sessions: one row each.

use commonwatt_core::lease::{Holder, Lease, Tenure};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::Store;
use crate::commit::NUMBER_MAX;
use crate::error::StoreError;
use crate::readers::View;
use crate::seal::{Keys, Kind, Place, Sealer};

/// Sessions on one page.
pub const PAGE_MAX: usize = 1_000;

/// A session as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub principal: String,
    /// A name that the caller chose, unique for the principal. Gone when erased.
    pub name: Option<String>,
    /// What it is called in lists. Gone when erased.
    pub title: Option<String>,
    /// What its first turns have as parent.
    pub root: TurnId,
    /// Its last turn, or the root.
    pub head: TurnId,
    /// Rises with each handoff.
    pub epoch: Epoch,
    /// Who may write to it.
    pub holder: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last changed.
    pub updated_ms: u64,
    /// When [`Store::expire`] erases it.
    pub expires_ms: Option<u64>,
    /// How sensitive its content is, in the operator's words.
    pub data_class: Option<String>,
    /// How many turns it has, on all branches.
    pub turns: u64,
    /// When it was erased.
    pub erased_ms: Option<u64>,
    /// What its root is the hash of. Gone when erased.
    pub salt: Option<[u8; 32]>,
}

/// Where a list goes on. Opaque but for its number, so that it can stand in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub sessions: Vec<Session>,
    /// Where the rest begins, if there is a rest.
    pub next: Option<Cursor>,
}

impl Store {
    /// The session of this id, if it is the principal's, or the principal holds it. Erased ones are found too.
    ///
    /// # Errors
    /// The disk's.
    pub async fn session(&self, id: &SessionId, principal: &str) -> Result<Option<Session>, StoreError> {
        let (id, principal) = (id.clone(), principal.to_owned());
        self.read(move |view| one(view, "s.id = ?1 AND (s.principal = ?2 OR s.holder = ?2)", [&*id.0, &principal]))
            .await
    }

    /// The principal's session of this name; else the one of this name that was handed to the principal last.
    ///
    /// # Errors
    /// The disk's.
    pub async fn session_named(&self, principal: &str, name: &str) -> Result<Option<Session>, StoreError> {
        let (principal, name) = (principal.to_owned(), name.to_owned());
        self.read(move |view| {
            let own = one(view, "s.principal = ?1 AND s.name = ?2", [&principal, &name])?;
            let handed = "s.holder = ?1 AND s.holder <> s.principal AND s.name = ?2 ORDER BY s.row DESC LIMIT 1";
            own.map_or_else(|| one(view, handed, [&principal, &name]), |own| Ok(Some(own)))
        })
        .await
    }

    /// Sessions, the last begun first: the principal's and those that it holds, or everybody's. At most [`PAGE_MAX`] at once. A session that
    /// is written to between two pages keeps its place.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sessions(
        &self,
        principal: Option<&str>,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let principal = principal.map(str::to_owned);
        let limit = limit.clamp(1, PAGE_MAX);
        self.read(move |view| page(view, principal.as_deref(), from, limit)).await
    }
}

/// Every column that `read` needs, in its order.
const COLUMNS: &str = "SELECT s.row, s.id, s.principal, s.name, s.title, s.root, coalesce(t.id, s.root), s.epoch, \
     s.holder, s.created_ms, s.updated_ms, s.expires_ms, s.data_class, s.turns, s.erased_ms, s.salt, s.key \
     FROM sessions s LEFT JOIN turns t ON t.row = s.head WHERE ";

fn one(view: &View<'_>, filter: &str, values: [&str; 2]) -> Result<Option<Session>, StoreError> {
    let mut rows = view.db.prepare_cached(&format!("{COLUMNS}{filter}"))?;
    let row = rows.query_row(values, raw).optional()?;
    row.map(|raw| raw.open(view.keys)).transpose()
}

fn page(view: &View<'_>, principal: Option<&str>, from: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
    // Each half goes along its index, so a page costs no more than itself.
    let filter = match principal {
        Some(_) => {
            "s.row IN (SELECT row FROM ( \
                 SELECT row FROM sessions WHERE principal = ?1 AND row < ?2 ORDER BY row DESC LIMIT ?3) \
             UNION ALL SELECT row FROM ( \
                 SELECT row FROM sessions WHERE holder = ?1 AND holder <> principal AND row < ?2 \
                 ORDER BY row DESC LIMIT ?3))"
        }
        None => "?1 IS NULL",
    };
    let below = from.map_or(NUMBER_MAX, |Cursor(row)| row.min(NUMBER_MAX));
    let mut rows = view.db.prepare_cached(&format!("{COLUMNS}{filter} AND s.row < ?2 ORDER BY s.row DESC LIMIT ?3"))?;
    let rows = rows.query_map((principal, below, limit as u64 + 1), raw)?;
    let mut raws = rows.collect::<Result<Vec<_>, _>>()?;
    let more = raws.len() > limit;
    raws.truncate(limit);
    let next = raws.last().filter(|_| more).map(|raw| Cursor(raw.row));
    let sessions = raws.into_iter().map(|raw| raw.open(view.keys)).collect::<Result<_, _>>()?;
    Ok(Page { sessions, next })
}

/// A session's row with its secrets still sealed.
struct Raw {
    row: u64,
    session: Session,
    key: Option<Vec<u8>>,
    title: Option<Vec<u8>>,
    salt: Option<Vec<u8>>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let session = Session {
        id: SessionId(row.get::<_, String>(1)?.into()),
        principal: row.get(2)?,
        name: row.get(3)?,
        title: None,
        root: TurnId(row.get(5)?),
        head: TurnId(row.get(6)?),
        epoch: Epoch(row.get(7)?),
        holder: row.get(8)?,
        created_ms: row.get(9)?,
        updated_ms: row.get(10)?,
        expires_ms: row.get(11)?,
        data_class: row.get(12)?,
        turns: row.get(13)?,
        erased_ms: row.get(14)?,
        salt: None,
    };
    Ok(Raw { row: row.get(0)?, session, key: row.get(16)?, title: row.get(4)?, salt: row.get(15)? })
}

impl Raw {
    fn open(self, keys: &Keys) -> Result<Session, StoreError> {
        let Self { mut session, key, title, salt, row: _ } = self;
        let Some(key) = key else { return Ok(session) };
        let id = session.id.clone();
        let sealer = keys.session(&id.0, key)?;
        let place = |kind| Place { session: &id.0, kind, row: &[] };
        if let Some(title) = title {
            let title = sealer.open(place(Kind::Title), title)?.to_vec();
            session.title = Some(String::from_utf8(title).map_err(|_| StoreError::Damaged { what: "a title" })?);
        }
        if let Some(salt) = salt {
            session.salt = Some(*sealer.open_key(place(Kind::Salt), salt)?);
        }
        Ok(session)
    }
}

/// What a change or a read of its turns needs of a session.
pub(crate) struct Held {
    pub(crate) row: i64,
    pub(crate) id: SessionId,
    pub(crate) principal: String,
    pub(crate) root: TurnId,
    pub(crate) lease: Lease,
    /// Sealed; none when erased.
    key: Option<Vec<u8>>,
}

impl Held {
    /// The session of this id, if there is one.
    pub(crate) fn find(db: &Connection, id: &SessionId) -> Result<Option<Self>, StoreError> {
        let mut rows = db.prepare_cached(
            "SELECT s.row, s.principal, s.root, s.epoch, s.holder, coalesce(t.id, s.root), s.key \
             FROM sessions s LEFT JOIN turns t ON t.row = s.head WHERE s.id = ?1",
        )?;
        let held = rows.query_row([&*id.0], |row| {
            let tenure = Tenure { epoch: Epoch(row.get(3)?), holder: Holder(row.get::<_, String>(4)?.into()) };
            Ok(Self {
                row: row.get(0)?,
                id: id.clone(),
                principal: row.get(1)?,
                root: TurnId(row.get(2)?),
                lease: Lease { session: id.clone(), tenure, head: TurnId(row.get(5)?) },
                key: row.get(6)?,
            })
        });
        Ok(held.optional()?)
    }

    /// The session of this id.
    pub(crate) fn get(db: &Connection, id: &SessionId) -> Result<Self, StoreError> {
        Self::find(db, id)?.ok_or(StoreError::UnknownSession)
    }

    /// The session of this row.
    pub(crate) fn at(db: &Connection, row: i64) -> Result<Self, StoreError> {
        let mut rows = db.prepare_cached("SELECT id FROM sessions WHERE row = ?1")?;
        let id: String = rows.query_row([row], |row| row.get(0))?;
        Self::get(db, &SessionId(id.into()))
    }

    /// What seals its content; an error if it was erased.
    pub(crate) fn sealer(&self, keys: &Keys) -> Result<Sealer, StoreError> {
        keys.session(&self.id.0, self.key.clone().ok_or(StoreError::Erased)?)
    }

    pub(crate) fn is_erased(&self) -> bool {
        self.key.is_none()
    }

    /// Whether a change made at that epoch may be written.
    pub(crate) fn fence(&self, epoch: Epoch) -> Result<(), StoreError> {
        if self.is_erased() {
            return Err(StoreError::Erased);
        }
        Ok(self.lease.tenure.fence(epoch)?)
    }

    /// The row of one of its turns; 0 is the root.
    pub(crate) fn turn(&self, db: &Connection, id: &TurnId) -> Result<Option<i64>, StoreError> {
        if *id == self.root {
            return Ok(Some(0));
        }
        let mut rows = db.prepare_cached("SELECT row FROM turns WHERE session = ?1 AND id = ?2")?;
        Ok(rows.query_row((self.row, id.0), |row| row.get(0)).optional()?)
    }

    /// The row of one of its turns, which it must have.
    pub(crate) fn known_turn(&self, db: &Connection, id: &TurnId) -> Result<i64, StoreError> {
        self.turn(db, id)?.ok_or(StoreError::UnknownTurn(*id))
    }

    /// Where one of its values is sealed.
    pub(crate) fn place<'a>(&'a self, kind: Kind, row: &'a [u8]) -> Place<'a> {
        Place { session: &self.id.0, kind, row }
    }
}
