//! Handing a session over. What is allowed is decided by [`commonwatt_core::lease`] alone: here the lease and the offer
//! are read, the decision is asked for, and what it gives is written, all in one transaction of the one writer.

use bytes::Bytes;
use commonwatt_core::lease::{Accepted, Branched, Claim, HandoffId, Holder, Lease, Offer, OfferState, Refused, Terms};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};
use rusqlite::{OptionalExtension, Row};

use crate::Store;
use crate::blobs;
use crate::commit::{BODY_BYTES_MAX, Commit, apply, bound, bound_numbers, bound_texts};
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
    /// The session offered.
    pub session: SessionId,
    /// By whom, to whom, until when.
    pub terms: Terms,
    /// What else is agreed.
    pub details: Bytes,
}

/// An offer as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The offer, and what became of it. That it expired is for whoever has the time to say.
    pub offer: Offer,
    /// What else is agreed. Gone when erased.
    pub details: Bytes,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
    /// When it was used.
    pub used_ms: Option<u64>,
}

/// The wish to use an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The offer.
    pub handoff: HandoffId,
    /// The revocation ids of the token that named it: none may have been revoked.
    pub token_revocation_ids: Vec<Vec<u8>>,
    /// Who wants it.
    pub claim: Claim,
}

/// Why a session was not offered, read, taken over or copied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoffError {
    /// There is no such offer.
    #[error("there is no such handoff")]
    Unknown,
    /// The token, or one that it was narrowed from, was taken back.
    #[error("this handoff's token was revoked; ask for another")]
    TokenRevoked,
    /// The lease says no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store could not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a decision came to: a refusal is an outcome, not a fault, since nothing was written.
type Outcome<T> = Result<Result<T, HandoffError>, StoreError>;

impl Store {
    /// Offers a session; the offer that is stored. One that exists already is left as it is.
    ///
    /// # Errors
    /// The lease's refusal; [`StoreError::UnknownSession`], [`StoreError::UnknownTurn`], [`StoreError::Erased`],
    /// [`StoreError::Conflict`] for an id of another session, [`StoreError::TooLarge`], or the disk's.
    pub async fn offer(&self, new: NewHandoff) -> Result<Offer, HandoffError> {
        bound("a body", new.details.len(), BODY_BYTES_MAX)?;
        bound_texts([&*new.terms.by.0].into_iter().chain(new.terms.to.as_ref().map(|to| &*to.0)))?;
        bound_numbers([new.terms.expires_s, new.terms.epoch.0])?;
        self.write(new.details.len(), move |desk| outcome(offer_now(desk, &new))).await?
    }

    /// The offer, if its session may be read with it now.
    ///
    /// # Errors
    /// See [`HandoffError`].
    pub async fn read_offered(&self, accept: Accept) -> Result<Offer, HandoffError> {
        accept.check()?;
        // The writer is asked, so that whatever was queued before counts.
        self.write(0, move |desk| {
            outcome(find(desk, &accept).and_then(|found| {
                found.held.lease.read(&found.offer, &accept.claim.by, now_s(desk))?;
                Ok(found.offer)
            }))
        })
        .await?
    }

    /// Takes a session over: the lease goes to the claimant, with the next epoch, at the turn that was offered. To ask
    /// again with the same claim is no fault.
    ///
    /// # Errors
    /// See [`HandoffError`].
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, HandoffError> {
        accept.check()?;
        self.write(0, move |desk| outcome(accept_now(desk, &accept))).await?
    }

    /// Begins a session of the claimant's own with an offer, by `copy`, which begins it. To ask again with the same claim
    /// is no fault: the session that began the first time is told again, and `copy` is not written.
    ///
    /// # Errors
    /// See [`HandoffError`]; and what [`Store::commit`] may say of the copy.
    pub async fn branch(&self, accept: Accept, copy: Commit) -> Result<Branched, HandoffError> {
        accept.check()?;
        let size = copy.check()?;
        let copy = blobs::check(copy).await?;
        self.write(size, move |desk| outcome(branch_now(desk, &accept, &copy))).await?
    }

    /// Takes an offer back.
    ///
    /// # Errors
    /// See [`HandoffError`]: only the giver may, and only before it is used.
    pub async fn revoke(&self, handoff: HandoffId, by: Holder) -> Result<Offer, HandoffError> {
        self.write(0, move |desk| outcome(revoke_now(desk, &handoff, &by))).await?
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

    /// Who holds a session that was handed to this principal once and is not its any more; none if it never was.
    ///
    /// # Errors
    /// The disk's.
    pub async fn passed_on(&self, session: &SessionId, by: &str) -> Result<Option<String>, StoreError> {
        let (session, by) = (session.clone(), by.to_owned());
        self.read(move |view| {
            let mut rows = view.db.prepare_cached(
                "SELECT s.holder FROM sessions s JOIN handoffs h ON h.session = s.row WHERE s.id = ?1 \
                 AND s.holder <> ?2 AND s.erased_ms IS NULL AND h.used_by = ?2 AND h.used_epoch IS NOT NULL LIMIT 1",
            )?;
            Ok(rows.query_row([&*session.0, &*by], |row| row.get(0)).optional()?)
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

impl Accept {
    fn check(&self) -> Result<(), StoreError> {
        bound("a token's number of blocks", self.token_revocation_ids.len(), TOKEN_BLOCKS_MAX)?;
        bound_texts([&*self.claim.by.0])
    }
}

/// Forgets what was agreed; who handed over to whom stays.
pub(crate) fn erase(desk: &Desk<'_>, session: i64) -> Result<(), StoreError> {
    desk.db.prepare_cached("UPDATE handoffs SET details = NULL WHERE session = ?1")?.execute([session])?;
    Ok(())
}

/// Only a fault of the store undoes what was written for a decision.
fn outcome<T>(decided: Result<T, HandoffError>) -> Outcome<T> {
    match decided {
        Err(HandoffError::Store(error)) => Err(error),
        other => Ok(other),
    }
}

fn now_s(desk: &Desk<'_>) -> u64 {
    desk.now_ms / 1_000
}

fn offer_now(desk: &Desk<'_>, new: &NewHandoff) -> Result<Offer, HandoffError> {
    let held = Held::get(desk.db, &new.session)?;
    let sealer = held.sealer(desk.keys)?;
    let id = new.terms.handoff;
    match load(desk, &id)? {
        Some((of, row)) if of.row == held.row => return Ok(row.offer(&of)?),
        Some(_) => return Err(StoreError::Conflict { what: "handoff" }.into()),
        None => {}
    }
    let offer = held.lease.offer(new.terms.clone(), now_s(desk))?;
    let head = held.known_turn(desk.db, &offer.head)?;
    let details = sealer.seal(held.place(Kind::Handoff, &id.0), &new.details)?;
    let mut insert = desk
        .db
        .prepare_cached(
            "INSERT INTO handoffs (id, session, head, epoch, by, audience, made_ms, expires_s, details) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .map_err(StoreError::from)?;
    let row = rusqlite::params![
        id.0,
        held.row,
        head,
        offer.epoch.0,
        &*offer.from.0,
        offer.to.as_ref().map(|to| &*to.0),
        desk.now_ms,
        offer.expires_s,
        details,
    ];
    insert.execute(row).map_err(StoreError::from)?;
    Ok(offer)
}

fn accept_now(desk: &Desk<'_>, accept: &Accept) -> Result<Accepted, HandoffError> {
    let Found { row, held, offer } = find(desk, accept)?;
    let accepted = held.lease.accept(&offer, &accept.claim, now_s(desk))?;
    if !accepted.again {
        write_lease(desk, &held, &accepted.lease)?;
        write_use(desk, row, &accepted.offer)?;
    }
    Ok(accepted)
}

fn branch_now(desk: &Desk<'_>, accept: &Accept, copy: &Commit) -> Result<Branched, HandoffError> {
    let Found { row, held, offer } = find(desk, accept)?;
    let branched = held.lease.branch(&offer, &accept.claim, copy.session.clone(), now_s(desk))?;
    if !branched.again {
        apply(desk, copy)?;
        // A copy is as sensitive as what it was made of, and is forgotten when that is.
        desk.db
            .prepare_cached(
                "UPDATE sessions SET (data_class, expires_ms) = \
                 (SELECT data_class, expires_ms FROM sessions WHERE row = ?1) WHERE id = ?2",
            )
            .and_then(|mut update| update.execute((held.row, &*branched.session.0)))
            .map_err(StoreError::from)?;
        write_use(desk, row, &branched.offer)?;
    }
    Ok(branched)
}

fn revoke_now(desk: &Desk<'_>, handoff: &HandoffId, by: &Holder) -> Result<Offer, HandoffError> {
    let (held, row) = load(desk, handoff)?.ok_or(HandoffError::Unknown)?;
    let number = row.row;
    let revoked = held.lease.revoke(&row.offer(&held)?, by)?;
    write_use(desk, number, &revoked)?;
    Ok(revoked)
}

/// An offer that somebody wants to use, and the session that it is for.
struct Found {
    row: i64,
    held: Held,
    offer: Offer,
}

fn find(desk: &Desk<'_>, accept: &Accept) -> Result<Found, HandoffError> {
    let (held, row) = load(desk, &accept.handoff)?.ok_or(HandoffError::Unknown)?;
    if held.is_erased() {
        return Err(StoreError::Erased.into());
    }
    if brings_a_revoked(desk, &accept.token_revocation_ids)? {
        return Err(HandoffError::TokenRevoked);
    }
    Ok(Found { row: row.row, offer: row.offer(&held)?, held })
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

/// An offer's row, as far as the lease decides about it.
struct OfferRow {
    row: i64,
    session: i64,
    id: HandoffId,
    head: Option<TurnId>,
    epoch: Epoch,
    from: Holder,
    to: Option<Holder>,
    expires_s: u64,
    used: Option<Claim>,
    used_epoch: Option<Epoch>,
    copy: Option<SessionId>,
    is_revoked: bool,
}

/// The columns that [`OfferRow::read`] needs, in its order.
const COLUMNS: &str = "SELECT h.row, h.session, h.id, t.id, h.epoch, h.by, h.audience, h.expires_s, h.used_by, \
     h.used_key, h.used_epoch, c.id, h.revoked_ms IS NOT NULL, h.details, h.made_ms, h.used_ms \
     FROM handoffs h LEFT JOIN turns t ON t.row = h.head LEFT JOIN sessions c ON c.row = h.copy WHERE ";

impl OfferRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let holder = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(at)?.map(|name| Holder(name.into())));
        let used = holder(8)?.zip(row.get::<_, Option<[u8; 16]>>(9)?).map(|(by, key)| Claim { by, key });
        Ok(Self {
            row: row.get(0)?,
            session: row.get(1)?,
            id: HandoffId(row.get(2)?),
            head: row.get::<_, Option<_>>(3)?.map(TurnId),
            epoch: Epoch(row.get(4)?),
            from: Holder(row.get::<_, String>(5)?.into()),
            to: holder(6)?,
            expires_s: row.get(7)?,
            used,
            used_epoch: row.get::<_, Option<u64>>(10)?.map(Epoch),
            copy: row.get::<_, Option<String>>(11)?.map(|id| SessionId(id.into())),
            is_revoked: row.get(12)?,
        })
    }

    /// The offer, which is of this session.
    fn offer(self, held: &Held) -> Result<Offer, StoreError> {
        let state = match (self.used, self.used_epoch, self.copy) {
            (None, _, _) if self.is_revoked => OfferState::Revoked,
            (None, _, _) => OfferState::Open,
            (Some(claim), Some(epoch), _) => OfferState::Accepted { claim, epoch },
            (Some(claim), None, Some(session)) => OfferState::Branched { claim, session },
            (Some(_), None, None) => return Err(StoreError::Damaged { what: "a handoff" }),
        };
        let Self { id: handoff, epoch, from, to, expires_s, .. } = self;
        let head = self.head.unwrap_or(held.root);
        Ok(Offer { handoff, session: held.id.clone(), head, epoch, from, to, expires_s, state })
    }
}

/// The offer of this id, with its session.
fn load(desk: &Desk<'_>, id: &HandoffId) -> Result<Option<(Held, OfferRow)>, StoreError> {
    let mut rows = desk.db.prepare_cached(&format!("{COLUMNS}h.id = ?1"))?;
    let Some(row) = rows.query_row([id.0], OfferRow::read).optional()? else { return Ok(None) };
    Ok(Some((Held::at(desk.db, row.session)?, row)))
}

fn write_lease(desk: &Desk<'_>, held: &Held, lease: &Lease) -> Result<(), StoreError> {
    let head = held.known_turn(desk.db, &lease.head)?;
    desk.db
        .prepare_cached(
            "UPDATE sessions SET epoch = ?2, holder = ?3, head = ?4, updated_ms = max(updated_ms, ?5) WHERE row = ?1",
        )?
        .execute((held.row, lease.tenure.epoch.0, &*lease.tenure.holder.0, head, desk.now_ms))?;
    Ok(())
}

/// Writes what became of an offer.
fn write_use(desk: &Desk<'_>, row: i64, offer: &Offer) -> Result<(), StoreError> {
    let (claim, epoch, copy) = match &offer.state {
        OfferState::Open => return Ok(()),
        OfferState::Revoked => {
            let mut revoke =
                desk.db.prepare_cached("UPDATE handoffs SET revoked_ms = coalesce(revoked_ms, ?2) WHERE row = ?1")?;
            revoke.execute((row, desk.now_ms))?;
            return Ok(());
        }
        OfferState::Accepted { claim, epoch } => (claim, Some(epoch.0), None),
        OfferState::Branched { claim, session } => (claim, None, Some(Held::get(desk.db, session)?.row)),
    };
    desk.db
        .prepare_cached(
            "UPDATE handoffs SET used_ms = ?2, used_by = ?3, used_key = ?4, used_epoch = ?5, copy = ?6 WHERE row = ?1",
        )?
        .execute((row, desk.now_ms, &*claim.by.0, claim.key, epoch, copy))?;
    Ok(())
}

fn list(view: &View<'_>, held: &Held) -> Result<Vec<Handoff>, StoreError> {
    let sealer = if held.is_erased() { None } else { Some(held.sealer(view.keys)?) };
    let mut rows = view.db.prepare_cached(&format!("{COLUMNS}h.session = ?1 ORDER BY h.row DESC LIMIT ?2"))?;
    let rows = rows.query_and_then((held.row, crate::PAGE_MAX as u64), |row| {
        let offer = OfferRow::read(row)?.offer(held)?;
        let details = match (&sealer, row.get::<_, Option<Vec<u8>>>(13)?) {
            (Some(sealer), Some(details)) => sealer.open(held.place(Kind::Handoff, &offer.handoff.0), details)?,
            (None, _) | (_, None) => Bytes::new(),
        };
        Ok(Handoff { offer, details, made_ms: row.get(14)?, used_ms: row.get(15)? })
    })?;
    rows.collect()
}
