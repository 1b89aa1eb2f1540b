//! What was derived from a turn and is kept so as not to be made again: summaries and the like. No part of the graph.

use bytes::Bytes;
use commonwatt_core::turn::{SessionId, TurnId};
use rusqlite::OptionalExtension;

use crate::Store;
use crate::commit::{BODY_BYTES_MAX, bound, bound_texts};
use crate::error::StoreError;
use crate::readers::View;
use crate::seal::Kind;
use crate::sessions::Held;
use crate::writer::Desk;

impl Store {
    /// Keeps a value for a turn (or the root) and a kind; the last one stays. Whoever holds the session does not matter.
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Erased`], [`StoreError::TooLarge`], or
    /// the disk's.
    pub async fn put_derived(
        &self,
        session: &SessionId,
        turn: TurnId,
        kind: &str,
        body: Bytes,
    ) -> Result<(), StoreError> {
        bound("a body", body.len(), BODY_BYTES_MAX)?;
        bound_texts([kind])?;
        let (session, kind) = (session.clone(), kind.to_owned());
        self.write(body.len(), move |desk| put(desk, &Held::get(desk.db, &session)?, (turn, &kind), &body)).await
    }

    /// The value kept for a turn and a kind.
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Erased`], or the disk's.
    pub async fn derived(&self, session: &SessionId, turn: TurnId, kind: &str) -> Result<Option<Bytes>, StoreError> {
        let (session, kind) = (session.clone(), kind.to_owned());
        self.read(move |view| get(view, &Held::get(view.db, &session)?, (turn, &kind))).await
    }
}

fn put(desk: &Desk<'_>, held: &Held, of: (TurnId, &str), body: &[u8]) -> Result<(), StoreError> {
    let sealer = held.sealer(desk.keys)?;
    let turn = held.known_turn(desk.db, &of.0)?;
    let body = sealer.seal(held.place(Kind::Derived, &row(of)), body)?;
    desk.db
        .prepare_cached("INSERT OR REPLACE INTO derived (session, turn, kind, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute((held.row, turn, of.1, body))?;
    Ok(())
}

fn get(view: &View<'_>, held: &Held, of: (TurnId, &str)) -> Result<Option<Bytes>, StoreError> {
    let sealer = held.sealer(view.keys)?;
    let turn = held.known_turn(view.db, &of.0)?;
    let mut rows = view.db.prepare_cached("SELECT body FROM derived WHERE session = ?1 AND turn = ?2 AND kind = ?3")?;
    let body = rows.query_row((held.row, turn, of.1), |row| row.get(0)).optional()?;
    body.map(|body| sealer.open(held.place(Kind::Derived, &row(of)), body)).transpose()
}

/// What tells a value from its siblings.
fn row((turn, kind): (TurnId, &str)) -> Vec<u8> {
    [turn.0.as_slice(), kind.as_bytes()].concat()
}
