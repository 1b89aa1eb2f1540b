//! Handing a session over: an offer is accepted once, and from then on the previous holder is fenced off.

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, SessionId, TurnId};
use rusqlite::OptionalExtension;

use crate::Store;
use crate::commit::{BODY_BYTES_MAX, bound, bound_numbers, bound_texts};
use crate::error::StoreError;
use crate::readers::View;
use crate::seal::Kind;
use crate::sessions::Held;
use crate::writer::Desk;

/// Revocation ids that one token may bring: a block each, and a token has few.
const TOKEN_BLOCKS_MAX: usize = 256;

/// The offer of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHandoff {
    /// Its id, which a token names.
    pub id: [u8; 16],
    /// The session offered.
    pub session: SessionId,
    /// Where it is to be continued.
    pub head: TurnId,
    /// The holder's epoch: who is fenced off has nothing to offer.
    pub epoch: Epoch,
    /// Who offers it.
    pub by: String,
    /// Until when.
    pub expires_ms: u64,
    /// What else is agreed.
    pub details: Bytes,
}

/// An offer as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// As it was made.
    pub offer: NewHandoff,
    /// When it was made.
    pub made_ms: u64,
    /// What became of it. That it expired is for whoever has the time to say.
    pub state: HandoffState,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoffState {
    /// Nothing yet.
    Open,
    /// It was accepted.
    Used {
        /// When.
        at_ms: u64,
        /// The holder since.
        holder: String,
    },
    /// It was taken back.
    Revoked {
        /// When.
        at_ms: u64,
    },
}

/// The wish to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The offer.
    pub id: [u8; 16],
    /// The revocation ids of the token that named it: none may have been revoked.
    pub token_revocation_ids: Vec<Vec<u8>>,
    /// Who will hold the session.
    pub holder: String,
    /// The time, for the offer's end.
    pub now_ms: u64,
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The session.
    pub session: SessionId,
    /// Where it is to be continued.
    pub head: TurnId,
    /// The new holder's epoch.
    pub epoch: Epoch,
}

/// Why a session was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// There is no such offer.
    #[error("there is no such handoff")]
    Unknown,
    /// Somebody was first.
    #[error("the handoff was accepted already")]
    Used,
    /// It, or the token that names it, was taken back.
    #[error("the handoff was revoked")]
    Revoked,
    /// Its time is over.
    #[error("the handoff has expired")]
    Expired,
    /// The session was erased.
    #[error("the session was erased")]
    Erased,
    /// The session was handed over otherwise since.
    #[error("the session was handed over otherwise since this handoff was offered")]
    Stale,
    /// The store could not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Offers a session. An offer that exists already is left as it is.
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Fenced`], [`StoreError::Erased`],
    /// [`StoreError::Conflict`] for an id of another session, [`StoreError::TooLarge`], or the disk's.
    pub async fn offer(&self, offer: NewHandoff) -> Result<(), StoreError> {
        bound("a body", offer.details.len(), BODY_BYTES_MAX)?;
        bound_texts([&*offer.by])?;
        bound_numbers([offer.expires_ms, offer.epoch.0])?;
        self.write(offer.details.len(), move |desk| offer_now(desk, &offer)).await
    }

    /// Takes a session over: once for each offer. The session's epoch rises by one, its holder is the new one.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, NotAccepted> {
        bound("a token's number of blocks", accept.token_revocation_ids.len(), TOKEN_BLOCKS_MAX)?;
        bound_texts([&*accept.holder])?;
        // A refusal is an outcome, not a fault: nothing was written, hence nothing is to be undone.
        self.write(0, move |desk| match accept_now(desk, &accept) {
            Err(NotAccepted::Store(error)) => Err(error),
            outcome => Ok(outcome),
        })
        .await?
    }

    /// Takes an offer back; false when it is unknown or was accepted already.
    ///
    /// # Errors
    /// The disk's.
    pub async fn revoke(&self, id: [u8; 16]) -> Result<bool, StoreError> {
        self.write(0, move |desk| {
            let mut revoke = desk.db.prepare_cached(
                "UPDATE handoffs SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1 AND used_ms IS NULL",
            )?;
            Ok(revoke.execute((id, desk.now_ms))? > 0)
        })
        .await
    }

    /// From now on no handoff is accepted with a token that brings one of these revocation ids.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] or the disk's.
    pub async fn revoke_tokens(&self, revocation_ids: Vec<Vec<u8>>) -> Result<(), StoreError> {
        bound("a token's number of blocks", revocation_ids.len(), TOKEN_BLOCKS_MAX)?;
        self.write(0, move |desk| {
            let mut revoke =
                desk.db.prepare_cached("INSERT OR IGNORE INTO revocations (id, revoked_ms) VALUES (?1, ?2)")?;
            revocation_ids.iter().try_for_each(|id| revoke.execute((id, desk.now_ms)).map(drop).map_err(Into::into))
        })
        .await
    }

    /// The offers of a session, the newest first; at most [`crate::PAGE_MAX`].
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`] or the disk's.
    pub async fn handoffs(&self, session: &SessionId) -> Result<Vec<Handoff>, StoreError> {
        let session = session.clone();
        self.read(move |view| list(view, &Held::get(view.db, &session)?)).await
    }
}

/// Forgets what was agreed; who handed over to whom stays.
pub(crate) fn erase(desk: &Desk<'_>, session: i64) -> Result<(), StoreError> {
    desk.db.prepare_cached("UPDATE handoffs SET details = NULL WHERE session = ?1")?.execute([session])?;
    Ok(())
}

fn offer_now(desk: &Desk<'_>, offer: &NewHandoff) -> Result<(), StoreError> {
    let held = Held::get(desk.db, &offer.session)?;
    held.fence(offer.epoch)?;
    let head = held.known_turn(desk.db, &offer.head)?;
    let mut rows = desk.db.prepare_cached("SELECT session FROM handoffs WHERE id = ?1")?;
    match rows.query_row([offer.id], |row| row.get::<_, i64>(0)).optional()? {
        Some(session) if session == held.row => return Ok(()),
        Some(_) => return Err(StoreError::Conflict { what: "handoff" }),
        None => {}
    }
    let details = held.sealer(desk.keys)?.seal(held.place(Kind::Handoff, &offer.id), &offer.details)?;
    desk.db
        .prepare_cached(
            "INSERT INTO handoffs (id, session, head, epoch, by, made_ms, expires_ms, details) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((offer.id, held.row, head, offer.epoch.0, &offer.by, desk.now_ms, offer.expires_ms, details))?;
    Ok(())
}

/// An offer as the writer sees it.
struct Offered {
    row: i64,
    session: i64,
    head: Option<TurnId>,
    epoch: Epoch,
    expires_ms: u64,
    is_used: bool,
    is_revoked: bool,
}

fn accept_now(desk: &Desk<'_>, accept: &Accept) -> Result<Accepted, NotAccepted> {
    let offered = find(desk, &accept.id)?.ok_or(NotAccepted::Unknown)?;
    let held = Held::at(desk.db, offered.session)?;
    if held.is_erased() {
        return Err(NotAccepted::Erased);
    }
    if offered.is_used {
        return Err(NotAccepted::Used);
    }
    if offered.is_revoked || brings_a_revoked(desk, &accept.token_revocation_ids)? {
        return Err(NotAccepted::Revoked);
    }
    if offered.expires_ms <= accept.now_ms {
        return Err(NotAccepted::Expired);
    }
    if offered.epoch != held.epoch {
        return Err(NotAccepted::Stale);
    }
    let epoch = Epoch(held.epoch.0 + 1);
    take_over(desk, &offered, epoch, &accept.holder)?;
    Ok(Accepted { session: held.id, head: offered.head.unwrap_or(held.root), epoch })
}

fn find(desk: &Desk<'_>, id: &[u8; 16]) -> Result<Option<Offered>, StoreError> {
    let mut rows = desk.db.prepare_cached(
        "SELECT h.row, h.session, t.id, h.epoch, h.expires_ms, h.used_ms IS NOT NULL, h.revoked_ms IS NOT NULL \
         FROM handoffs h LEFT JOIN turns t ON t.row = h.head WHERE h.id = ?1",
    )?;
    let offered = rows.query_row([id], |row| {
        Ok(Offered {
            row: row.get(0)?,
            session: row.get(1)?,
            head: row.get::<_, Option<_>>(2)?.map(TurnId),
            epoch: Epoch(row.get(3)?),
            expires_ms: row.get(4)?,
            is_used: row.get(5)?,
            is_revoked: row.get(6)?,
        })
    });
    Ok(offered.optional()?)
}

fn brings_a_revoked(desk: &Desk<'_>, ids: &[Vec<u8>]) -> Result<bool, StoreError> {
    let mut rows = desk.db.prepare_cached("SELECT 1 FROM revocations WHERE id = ?1")?;
    for id in ids {
        if rows.exists([id])? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn take_over(desk: &Desk<'_>, offered: &Offered, epoch: Epoch, holder: &str) -> Result<(), StoreError> {
    desk.db
        .prepare_cached("UPDATE sessions SET epoch = ?2, holder = ?3, updated_ms = max(updated_ms, ?4) WHERE row = ?1")?
        .execute((offered.session, epoch.0, holder, desk.now_ms))?;
    desk.db.prepare_cached("UPDATE handoffs SET used_ms = ?2, used_by = ?3 WHERE row = ?1")?.execute((
        offered.row,
        desk.now_ms,
        holder,
    ))?;
    Ok(())
}

fn list(view: &View<'_>, held: &Held) -> Result<Vec<Handoff>, StoreError> {
    let sealer = if held.is_erased() { None } else { Some(held.sealer(view.keys)?) };
    let mut rows = view.db.prepare_cached(
        "SELECT h.id, t.id, h.epoch, h.by, h.expires_ms, h.details, h.made_ms, h.used_ms, h.used_by, h.revoked_ms \
         FROM handoffs h LEFT JOIN turns t ON t.row = h.head WHERE h.session = ?1 ORDER BY h.row DESC LIMIT ?2",
    )?;
    let rows = rows.query_and_then((held.row, crate::PAGE_MAX as u64), |row| {
        let id: [u8; 16] = row.get(0)?;
        let details = match (&sealer, row.get::<_, Option<Vec<u8>>>(5)?) {
            (Some(sealer), Some(details)) => sealer.open(held.place(Kind::Handoff, &id), details)?,
            (None, _) | (_, None) => Bytes::new(),
        };
        let used = row.get::<_, Option<u64>>(7)?.zip(row.get::<_, Option<String>>(8)?);
        let state = match (used, row.get::<_, Option<u64>>(9)?) {
            (Some((at_ms, holder)), _) => HandoffState::Used { at_ms, holder },
            (None, Some(at_ms)) => HandoffState::Revoked { at_ms },
            (None, None) => HandoffState::Open,
        };
        let offer = NewHandoff {
            id,
            session: held.id.clone(),
            head: row.get::<_, Option<_>>(1)?.map_or(held.root, TurnId),
            epoch: Epoch(row.get(2)?),
            by: row.get(3)?,
            expires_ms: row.get(4)?,
            details,
        };
        Ok(Handoff { offer, made_ms: row.get(6)?, state })
    })?;
    rows.collect()
}
