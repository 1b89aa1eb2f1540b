//! Reading what was said: along a path, as a tree, by the id of a response.

use std::collections::HashMap;

use bytes::Bytes;
use commonwatt_core::turn::{Party, SessionId, TurnId};
use rusqlite::{OptionalExtension, Row};

use crate::Store;
use crate::commit::bound;
use crate::error::StoreError;
use crate::readers::View;
use crate::seal::Kind;
use crate::sessions::Held;

/// Turns read at once by [`Store::path`] and [`Store::tail`].
pub const PATH_MAX: usize = 100_000;
/// Turns of a session that [`Store::tree`] tells.
pub const TREE_MAX: usize = 1_000_000;

/// Whether a turn was said to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was.
    Complete,
    /// It was cut, and nobody finished it.
    Unfinished,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Complete, Self::Unfinished];

    /// Its word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unfinished => "unfinished",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// A turn with what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTurn {
    /// Its id, parent, party and so on.
    pub node: Node,
    /// What was said.
    pub body: Bytes,
    /// What else is known of it.
    pub meta: Bytes,
}

/// A turn in the shape of the graph, without what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: TurnId,
    /// The turn before it, or the root.
    pub parent: TurnId,
    /// Who said it.
    pub party: Party,
    /// Whether it was said to its end.
    pub state: State,
    /// When.
    pub made_ms: u64,
    /// The deployment that wrote it. Gone when erased.
    pub by: Option<String>,
    /// The model that wrote it. Gone when erased.
    pub model: Option<String>,
}

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its session.
    pub session: SessionId,
    /// The turn it is.
    pub turn: TurnId,
    /// As it was sent.
    pub body: Bytes,
}

impl Store {
    /// The turns from the root to `turn`, in order; none if it is the root.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when there are more than `limit` or [`PATH_MAX`]: use [`Store::tail`] then.
    /// [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Erased`], or the disk's.
    pub async fn path(&self, session: &SessionId, turn: TurnId, limit: usize) -> Result<Vec<StoredTurn>, StoreError> {
        let session = session.clone();
        let limit = limit.min(PATH_MAX);
        self.read(move |view| {
            let held = Held::get(view.db, &session)?;
            let row = held.known_turn(view.db, &turn)?;
            let mut depths = view.db.prepare_cached("SELECT depth FROM turns WHERE row = ?1")?;
            let depth = depths.query_row([row], |row| row.get::<_, usize>(0)).optional()?.unwrap_or(0);
            bound("a path", depth, limit)?;
            walk(view, &held, row, limit)
        })
        .await
    }

    /// The last `n` turns of the path from the root to `turn`, in order; at most [`PATH_MAX`].
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Erased`], or the disk's.
    pub async fn tail(&self, session: &SessionId, turn: TurnId, n: usize) -> Result<Vec<StoredTurn>, StoreError> {
        let session = session.clone();
        self.read(move |view| {
            let held = Held::get(view.db, &session)?;
            let row = held.known_turn(view.db, &turn)?;
            walk(view, &held, row, n.min(PATH_MAX))
        })
        .await
    }

    /// All turns of a session without what was said, parents first. An erased session has them still.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] past [`TREE_MAX`] turns, [`StoreError::UnknownSession`], or the disk's.
    pub async fn tree(&self, session: &SessionId) -> Result<Vec<Node>, StoreError> {
        let session = session.clone();
        self.read(move |view| tree(view, &Held::get(view.db, &session)?)).await
    }

    /// The principal's response of this id: one that was made while it held the session.
    ///
    /// # Errors
    /// The disk's.
    pub async fn response(&self, principal: &str, id: &str) -> Result<Option<Response>, StoreError> {
        let (principal, id) = (principal.to_owned(), id.to_owned());
        self.read(move |view| response(view, &principal, &id)).await
    }

    /// Deletes a response, not its turn, from the file and from the log; whether there was one.
    ///
    /// # Errors
    /// The disk's.
    pub async fn delete_response(&self, principal: &str, id: &str) -> Result<bool, StoreError> {
        let (principal, id) = (principal.to_owned(), id.to_owned());
        let deleted = self.write(0, move |desk| {
            let mut delete = desk.db.prepare_cached("DELETE FROM responses WHERE principal = ?1 AND id = ?2")?;
            Ok(delete.execute([&principal, &id])? > 0)
        });
        let deleted = deleted.await?;
        if deleted {
            self.empty_the_log().await?;
        }
        Ok(deleted)
    }

    /// The session and turn that were last linked to this hash.
    ///
    /// # Errors
    /// The disk's.
    pub async fn linked(&self, hash: [u8; 32]) -> Result<Option<(SessionId, TurnId)>, StoreError> {
        self.read(move |view| {
            let mut rows = view.db.prepare_cached(
                "SELECT s.id, coalesce(t.id, s.root) FROM links l JOIN sessions s ON s.row = l.session \
                 LEFT JOIN turns t ON t.row = l.turn WHERE l.hash = ?1 ORDER BY l.row DESC LIMIT 1",
            )?;
            let found = rows.query_row([view.keys.address(&hash)], |row| {
                Ok((SessionId(row.get::<_, String>(0)?.into()), TurnId(row.get(1)?)))
            });
            Ok(found.optional()?)
        })
        .await
    }
}

/// Up from a turn, then turned around. The parent's row leads, so a path costs its own length and no more.
fn walk(view: &View<'_>, held: &Held, row: i64, limit: usize) -> Result<Vec<StoredTurn>, StoreError> {
    let sealer = held.sealer(view.keys)?;
    let mut rows = view.db.prepare_cached(
        "WITH RECURSIVE walk (row, parent, n) AS ( \
             SELECT row, parent, 1 FROM turns WHERE row = ?1 AND ?2 > 0 \
             UNION ALL \
             SELECT t.row, t.parent, w.n + 1 FROM walk w CROSS JOIN turns t ON t.row = w.parent WHERE w.n < ?2 \
         ) \
         SELECT t.id, p.id, t.party, t.state, t.made_ms, t.by, t.model, t.meta, t.body \
         FROM walk w CROSS JOIN turns t ON t.row = w.row LEFT JOIN turns p ON p.row = t.parent",
    )?;
    let rows = rows.query_and_then((row, limit as u64), |row| {
        let node = node(row, held.root)?;
        let meta = sealer.open(held.place(Kind::Meta, &node.id.0), row.get(7)?)?;
        let body = sealer.open(held.place(Kind::Body, &node.id.0), row.get(8)?)?;
        Ok(StoredTurn { node, body, meta })
    })?;
    let mut turns = rows.collect::<Result<Vec<_>, StoreError>>()?;
    turns.reverse();
    Ok(turns)
}

/// From a row that begins with id, parent's id, party, state, time, by and model.
fn node(row: &Row<'_>, root: TurnId) -> Result<Node, StoreError> {
    Ok(Node {
        id: TurnId(row.get(0)?),
        parent: row.get::<_, Option<_>>(1)?.map_or(root, TurnId),
        party: party(&row.get::<_, String>(2)?)?,
        state: State::from_word(&row.get::<_, String>(3)?).ok_or(StoreError::Damaged { what: "a turn's state" })?,
        made_ms: row.get(4)?,
        by: row.get(5)?,
        model: row.get(6)?,
    })
}

/// The party that a stored word means.
pub(crate) fn party(word: &str) -> Result<Party, StoreError> {
    Party::from_word(word).ok_or(StoreError::Damaged { what: "a party" })
}

fn tree(view: &View<'_>, held: &Held) -> Result<Vec<Node>, StoreError> {
    let mut rows = view.db.prepare_cached(
        "SELECT t.id, NULL, t.party, t.state, t.made_ms, t.by, t.model, t.row, t.parent FROM turns t \
         WHERE t.session = ?1 ORDER BY t.row LIMIT ?2",
    )?;
    let mut ids = HashMap::from([(0_i64, held.root)]);
    let nodes = rows.query_and_then((held.row, TREE_MAX as u64 + 1), |row| {
        let parent = *ids.get(&row.get(8)?).ok_or(StoreError::Damaged { what: "a turn's parent" })?;
        let node = node(row, parent)?;
        ids.insert(row.get(7)?, node.id);
        Ok(node)
    })?;
    let nodes = nodes.collect::<Result<Vec<_>, StoreError>>()?;
    bound("a tree", nodes.len(), TREE_MAX)?;
    Ok(nodes)
}

fn response(view: &View<'_>, principal: &str, id: &str) -> Result<Option<Response>, StoreError> {
    let mut rows = view.db.prepare_cached(
        "SELECT r.session, t.id, r.body FROM responses r LEFT JOIN turns t ON t.row = r.turn \
         WHERE r.principal = ?1 AND r.id = ?2",
    )?;
    let row = rows.query_row([principal, id], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<_>>(1)?, row.get::<_, Vec<u8>>(2)?))
    });
    let Some((session, turn, body)) = row.optional()? else { return Ok(None) };
    let held = Held::at(view.db, session)?;
    let body = held.sealer(view.keys)?.open(held.place(Kind::Response, id.as_bytes()), body)?;
    Ok(Some(Response { session: held.id, turn: turn.map_or(held.root, TurnId), body }))
}
