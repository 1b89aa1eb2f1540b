//! Who may write to a session, and how that right is handed on.
//!
//! A session has one *lease*: a holder, an epoch and a head. Its holder may *offer* it to somebody; whoever accepts the
//! offer becomes the holder of the next epoch, and a write of the holder before is fenced off, however late it arrives.
//!
//! A writer learns its epoch when it begins ([`Tenure::admits`], by its name) and is asked for it when it writes
//! ([`Lease::write`]). Within its epoch it writes where it likes: turns are never rewritten, so two answers at once are
//! two branches, and the head is the one that was written last.
//!
//! An offer is bound to the session, to a turn of it and to the epoch in which it was made. Whoever accepts it begins at
//! that turn: what the giver says after it has offered stays in the graph, as a branch. An offer is good once, for the
//! session itself ([`Lease::accept`]) or for a copy of it ([`Lease::branch`]); reading ([`Lease::read`]) does not use
//! it up. It is void once the session was handed on otherwise.
//!
//! Each function takes what is stored and gives what is to be stored instead. Whoever stores it does so in one
//! transaction: the lease and the offer together, only if neither has changed since it was read. A caller that never
//! learned how its request ended asks again with the same words and gets the same answer (`again`), so a crash between
//! the commit and its acknowledgement loses nothing and does nothing twice.
//!
//! Moments are seconds of Unix time, because an offer outlives the process that made it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::turn::{Epoch, SessionId, TurnId};

/// A handoff's id: 16 bytes that nobody can guess, drawn by whoever offers. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandoffId(pub [u8; 16]);

impl fmt::Display for HandoffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HandoffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandoffId({self})")
    }
}

/// Who holds or may hold a session: a principal's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(pub Arc<str>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who holds a session, and since which handoff.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// How often the session was handed on.
    pub epoch: Epoch,
    /// Who may write.
    pub holder: Holder,
}

/// The right to write to a session, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The session.
    pub session: SessionId,
    /// Who holds it.
    pub tenure: Tenure,
    /// The turn where it stands.
    pub head: TurnId,
}

/// On which terms a session is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The offer's id, never used before.
    pub handoff: HandoffId,
    /// Who offers.
    pub by: Holder,
    /// The epoch in which the giver became the holder.
    pub epoch: Epoch,
    /// The turn where whoever accepts begins.
    pub head: TurnId,
    /// Who may accept: one, or anybody who holds the token.
    pub to: Option<Holder>,
    /// From when on nobody may, in seconds of Unix time.
    pub expires_s: u64,
}

/// A session on offer, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Its id.
    pub handoff: HandoffId,
    /// The session.
    pub session: SessionId,
    /// The turn where whoever accepts begins.
    pub head: TurnId,
    /// The epoch in which it was offered.
    pub epoch: Epoch,
    /// Who offered.
    pub from: Holder,
    /// Who may accept: one, or anybody who holds the token.
    pub to: Option<Holder>,
    /// From when on nobody may, in seconds of Unix time.
    pub expires_s: u64,
    /// What became of it.
    pub state: OfferState,
}

/// What became of an offer. It leaves `Open` once and never comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OfferState {
    /// Nobody has accepted it yet.
    Open,
    /// Somebody has.
    Accepted {
        /// Whose claim it was.
        claim: Claim,
        /// The epoch that began.
        epoch: Epoch,
    },
    /// Somebody has begun a session of its own with it; the session itself stays where it was.
    Branched {
        /// Whose claim it was.
        claim: Claim,
        /// The session that began.
        session: SessionId,
    },
    /// The giver took it back.
    Revoked,
}

/// Somebody's wish to accept an offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Who accepts.
    pub by: Holder,
    /// 16 bytes that the claimant draws once and repeats when it asks again. They tell a claimant that was not answered
    /// from another with the same name that found the token.
    pub key: [u8; 16],
}

/// An acceptance that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The lease to store.
    pub lease: Lease,
    /// The offer to store.
    pub offer: Offer,
    /// Whether both were stored before: the claimant had not learned of it and asks again.
    pub again: bool,
}

/// A copy that is allowed: whoever stores the offer stores the copy with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branched {
    /// The session that begins.
    pub session: SessionId,
    /// The offer to store.
    pub offer: Offer,
    /// Whether both were stored before: the claimant had not learned of it and asks again.
    pub again: bool,
}

/// Why what was begun in some epoch may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    /// The writer's epoch is over.
    #[error("the session was handed on: `{holder}` holds it now, in epoch {}", epoch.0)]
    Over {
        /// Who holds it now.
        holder: Holder,
        /// In which epoch.
        epoch: Epoch,
    },
    /// An epoch that nobody was given.
    #[error("epoch {} has not begun: the session is in epoch {}", asked.0, epoch.0)]
    NotBegun {
        /// The epoch that was named.
        asked: Epoch,
        /// The session's.
        epoch: Epoch,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The epoch is another.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The epoch is right and the name is not.
    #[error("`{holder}` holds this session; ask there for a handoff")]
    NotHolder {
        /// Who holds it.
        holder: Holder,
    },
    /// The offer is for another session.
    #[error("this handoff is for session `{session}`")]
    OtherSession {
        /// Which.
        session: SessionId,
    },
    /// The offer was made to somebody else.
    #[error("this handoff was offered to `{to}`")]
    ForSomebodyElse {
        /// To whom.
        to: Holder,
    },
    /// The offer is used up.
    #[error("this handoff was accepted by `{by}` and is good once; ask for another")]
    AlreadyAccepted {
        /// By whom.
        by: Holder,
    },
    /// The offer was taken back.
    #[error("this handoff was revoked by `{from}`")]
    Revoked {
        /// By whom.
        from: Holder,
    },
    /// The offer's time is over, or would be at once.
    #[error("this handoff expired at {at_s} (Unix time); ask for another")]
    Expired {
        /// When.
        at_s: u64,
    },
    /// The session went to somebody else while the offer was open.
    #[error("this handoff is void: the session was handed on, and `{holder}` holds it now")]
    Overtaken {
        /// Who holds it.
        holder: Holder,
    },
    /// Only who offered may take it back.
    #[error("only `{from}`, who offered it, may revoke this handoff")]
    NotTheGiver {
        /// Who offered.
        from: Holder,
    },
}

impl Tenure {
    /// The epoch in which this one may write.
    ///
    /// # Errors
    /// When somebody else holds the session.
    pub fn admits(&self, by: &Holder) -> Result<Epoch, Refused> {
        if *by == self.holder { Ok(self.epoch) } else { Err(Refused::NotHolder { holder: self.holder.clone() }) }
    }

    /// That what was begun in this epoch may be written now.
    ///
    /// # Errors
    /// When the epoch is over, or has not begun.
    pub fn fence(&self, epoch: Epoch) -> Result<(), Fenced> {
        match epoch.cmp(&self.epoch) {
            Ordering::Less => Err(Fenced::Over { holder: self.holder.clone(), epoch: self.epoch }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Fenced::NotBegun { asked: epoch, epoch: self.epoch }),
        }
    }
}

impl Lease {
    /// The lease of a new session: who opens it holds it.
    #[must_use]
    pub fn new(session: SessionId, holder: Holder, head: TurnId) -> Self {
        Self { session, tenure: Tenure { epoch: Epoch(0), holder }, head }
    }

    /// The lease after a write that ends at `head`, by whoever learned this epoch from [`Tenure::admits`]. To write it
    /// again changes nothing: a turn's id is the hash of what was said.
    ///
    /// # Errors
    /// When the writer is not the holder any more.
    pub fn write(&self, epoch: Epoch, head: TurnId) -> Result<Self, Fenced> {
        self.tenure.fence(epoch)?;
        Ok(Self { head, ..self.clone() })
    }

    /// Whether the session may be offered on these terms, and the offer to store.
    ///
    /// # Errors
    /// When the giver does not hold the session, or when the offer would expire at once.
    pub fn offer(&self, terms: Terms, now_s: u64) -> Result<Offer, Refused> {
        self.tenure.fence(terms.epoch)?;
        self.tenure.admits(&terms.by)?;
        not_expired(terms.expires_s, now_s)?;
        Ok(Offer {
            handoff: terms.handoff,
            session: self.session.clone(),
            head: terms.head,
            epoch: terms.epoch,
            from: terms.by,
            to: terms.to,
            expires_s: terms.expires_s,
            state: OfferState::Open,
        })
    }

    /// Whether this one may read what is offered. It may do so as often as it likes while the offer is open.
    ///
    /// # Errors
    /// When the offer is used, taken back, expired, void or for somebody else.
    pub fn read(&self, offer: &Offer, by: &Holder, now_s: u64) -> Result<(), Refused> {
        match &offer.state {
            OfferState::Open => self.is_open(offer, by, now_s),
            OfferState::Accepted { claim, .. } | OfferState::Branched { claim, .. } => Err(used_by(claim)),
            OfferState::Revoked => Err(Refused::Revoked { from: offer.from.clone() }),
        }
    }

    /// Whether this offer may be accepted, and what there is then: the next epoch, with its holder, at the turn that was
    /// offered.
    ///
    /// # Errors
    /// When the offer is used, taken back, expired, void or for somebody else.
    pub fn accept(&self, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
        self.concerns(offer)?;
        if let OfferState::Accepted { claim: first, epoch } = &offer.state
            && first == claim
        {
            self.tenure.fence(*epoch)?;
            return Ok(Accepted { lease: self.clone(), offer: offer.clone(), again: true });
        }
        self.read(offer, &claim.by, now_s)?;
        // No session is handed on 2⁶⁴ times.
        let epoch = Epoch(self.tenure.epoch.0.saturating_add(1));
        let tenure = Tenure { epoch, holder: claim.by.clone() };
        Ok(Accepted {
            lease: Self { session: self.session.clone(), tenure, head: offer.head },
            offer: Offer { state: OfferState::Accepted { claim: claim.clone(), epoch }, ..offer.clone() },
            again: false,
        })
    }

    /// Whether this offer may be used for a copy, `session`, that begins with what was said up to the turn that was
    /// offered. The lease stays as it is.
    ///
    /// # Errors
    /// When the offer is used, taken back, expired, void or for somebody else.
    pub fn branch(&self, offer: &Offer, claim: &Claim, session: SessionId, now_s: u64) -> Result<Branched, Refused> {
        self.concerns(offer)?;
        if let OfferState::Branched { claim: first, session } = &offer.state
            && first == claim
        {
            return Ok(Branched { session: session.clone(), offer: offer.clone(), again: true });
        }
        self.read(offer, &claim.by, now_s)?;
        let state = OfferState::Branched { claim: claim.clone(), session: session.clone() };
        Ok(Branched { session, offer: Offer { state, ..offer.clone() }, again: false })
    }

    /// Whether this offer may be taken back, and the offer that there is then. To take it back twice is no fault.
    ///
    /// # Errors
    /// When it was used before, or when somebody else offered it.
    pub fn revoke(&self, offer: &Offer, by: &Holder) -> Result<Offer, Refused> {
        self.concerns(offer)?;
        if *by != offer.from {
            return Err(Refused::NotTheGiver { from: offer.from.clone() });
        }
        match &offer.state {
            OfferState::Open | OfferState::Revoked => Ok(Offer { state: OfferState::Revoked, ..offer.clone() }),
            OfferState::Accepted { claim, .. } | OfferState::Branched { claim, .. } => Err(used_by(claim)),
        }
    }

    /// That an offer nobody has used is for this one, and good.
    fn is_open(&self, offer: &Offer, by: &Holder, now_s: u64) -> Result<(), Refused> {
        self.concerns(offer)?;
        if let Some(to) = offer.to.as_ref().filter(|to| *to != by) {
            return Err(Refused::ForSomebodyElse { to: to.clone() });
        }
        not_expired(offer.expires_s, now_s)?;
        if offer.epoch != self.tenure.epoch {
            return Err(Refused::Overtaken { holder: self.tenure.holder.clone() });
        }
        Ok(())
    }

    fn concerns(&self, offer: &Offer) -> Result<(), Refused> {
        if offer.session == self.session {
            Ok(())
        } else {
            Err(Refused::OtherSession { session: offer.session.clone() })
        }
    }
}

fn used_by(claim: &Claim) -> Refused {
    Refused::AlreadyAccepted { by: claim.by.clone() }
}

fn not_expired(expires_s: u64, now_s: u64) -> Result<(), Refused> {
    if now_s < expires_s { Ok(()) } else { Err(Refused::Expired { at_s: expires_s }) }
}

#[cfg(test)]
mod tests;
