//! Who may write to a session, and how that right is handed on.
//!
//! A session has one *lease*: a holder, an epoch and a head. Its holder may *offer* it to somebody; whoever accepts the
//! offer becomes the holder of the next epoch, and a write of the holder before is fenced off, however late it arrives.
//! An offer is bound to the session, the head and the epoch in which it was made, so it is void once the session has
//! been written to or handed on. It is good once.
//!
//! Each function takes what is stored and gives what is to be stored instead. Whoever stores it does so in one
//! transaction: the lease and the offer together, only if neither has changed since it was read. A caller that never
//! learned how its request ended asks again with the same words and gets the same answer (`again`), so a crash between
//! the commit and its acknowledgement loses nothing and does nothing twice.
//!
//! Moments are seconds of Unix time, because an offer outlives the process that made it.

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

/// The right to write to a session, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The session.
    pub session: SessionId,
    /// How often it was handed on.
    pub epoch: Epoch,
    /// Who may write.
    pub holder: Holder,
    /// The turn where it stands.
    pub head: TurnId,
}

/// A new head for a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Who writes.
    pub by: Holder,
    /// The epoch in which the writer became the holder.
    pub epoch: Epoch,
    /// The head that the writer saw.
    pub seen: TurnId,
    /// The head that there is then.
    pub head: TurnId,
}

/// A write that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The lease to store.
    pub lease: Lease,
    /// Whether it was stored before: the writer had not learned of it and asks again.
    pub again: bool,
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
    /// The head that is offered.
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
    /// The head that is offered.
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

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The writer's epoch is over.
    #[error("the session was handed on: `{holder}` holds it now, in epoch {}", epoch.0)]
    Fenced {
        /// Who holds it now.
        holder: Holder,
        /// In which epoch.
        epoch: Epoch,
    },
    /// The epoch is right and the name is not.
    #[error("`{holder}` holds this session; ask there for a handoff")]
    NotHolder {
        /// Who holds it.
        holder: Holder,
    },
    /// An epoch that nobody was given.
    #[error("epoch {} has not begun: the session is in epoch {}", asked.0, epoch.0)]
    NotBegun {
        /// The epoch that was named.
        asked: Epoch,
        /// The session's.
        epoch: Epoch,
    },
    /// The head is another than the one that was seen or offered.
    #[error("the session has moved on to turn {head}; read it and ask again from there")]
    Moved {
        /// Where it stands.
        head: TurnId,
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

impl Lease {
    /// The lease of a new session: who opens it holds it.
    #[must_use]
    pub fn new(session: SessionId, holder: Holder, head: TurnId) -> Self {
        Self { session, epoch: Epoch(0), holder, head }
    }

    /// Whether this may be written, and the lease that there is then.
    ///
    /// # Errors
    /// When the writer is not the holder any more or never was, or when the session has moved on.
    pub fn write(&self, write: &Write) -> Result<Written, Refused> {
        self.held(&write.by, write.epoch)?;
        if self.head == write.head {
            return Ok(Written { lease: self.clone(), again: true });
        }
        self.stands_at(write.seen)?;
        Ok(Written { lease: Self { head: write.head, ..self.clone() }, again: false })
    }

    /// Whether the session may be offered on these terms, and the offer to store.
    ///
    /// # Errors
    /// When the giver does not hold the session, when it has moved on, or when the offer would expire at once.
    pub fn offer(&self, terms: Terms, now_s: u64) -> Result<Offer, Refused> {
        self.held(&terms.by, terms.epoch)?;
        self.stands_at(terms.head)?;
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

    /// Whether this offer may be accepted, and what there is then: the next epoch, with its holder.
    ///
    /// # Errors
    /// When the offer is used, taken back, expired, void or for somebody else.
    pub fn accept(&self, offer: &Offer, claim: &Claim, now_s: u64) -> Result<Accepted, Refused> {
        self.concerns(offer)?;
        match &offer.state {
            OfferState::Accepted { claim: first, epoch } if first == claim => {
                self.held(&claim.by, *epoch)?;
                return Ok(Accepted { lease: self.clone(), offer: offer.clone(), again: true });
            }
            OfferState::Accepted { claim: first, .. } => {
                return Err(Refused::AlreadyAccepted { by: first.by.clone() });
            }
            OfferState::Revoked => return Err(Refused::Revoked { from: offer.from.clone() }),
            OfferState::Open => {}
        }
        if let Some(to) = offer.to.as_ref().filter(|to| **to != claim.by) {
            return Err(Refused::ForSomebodyElse { to: to.clone() });
        }
        not_expired(offer.expires_s, now_s)?;
        if offer.epoch != self.epoch {
            return Err(Refused::Overtaken { holder: self.holder.clone() });
        }
        self.stands_at(offer.head)?;
        // No session is handed on 2⁶⁴ times.
        let epoch = Epoch(self.epoch.0.saturating_add(1));
        Ok(Accepted {
            lease: Self { epoch, holder: claim.by.clone(), ..self.clone() },
            offer: Offer { state: OfferState::Accepted { claim: claim.clone(), epoch }, ..offer.clone() },
            again: false,
        })
    }

    /// Whether this offer may be taken back, and the offer that there is then. To take it back twice is no fault.
    ///
    /// # Errors
    /// When it was accepted before, or when somebody else offered it.
    pub fn revoke(&self, offer: &Offer, by: &Holder) -> Result<Offer, Refused> {
        self.concerns(offer)?;
        if *by != offer.from {
            return Err(Refused::NotTheGiver { from: offer.from.clone() });
        }
        match &offer.state {
            OfferState::Open | OfferState::Revoked => Ok(Offer { state: OfferState::Revoked, ..offer.clone() }),
            OfferState::Accepted { claim, .. } => Err(Refused::AlreadyAccepted { by: claim.by.clone() }),
        }
    }

    /// That `by` became the holder in `epoch` and still is.
    fn held(&self, by: &Holder, epoch: Epoch) -> Result<(), Refused> {
        if epoch < self.epoch {
            return Err(Refused::Fenced { holder: self.holder.clone(), epoch: self.epoch });
        }
        if epoch > self.epoch {
            return Err(Refused::NotBegun { asked: epoch, epoch: self.epoch });
        }
        if *by != self.holder {
            return Err(Refused::NotHolder { holder: self.holder.clone() });
        }
        Ok(())
    }

    fn stands_at(&self, head: TurnId) -> Result<(), Refused> {
        if head == self.head { Ok(()) } else { Err(Refused::Moved { head: self.head }) }
    }

    fn concerns(&self, offer: &Offer) -> Result<(), Refused> {
        if offer.session == self.session {
            Ok(())
        } else {
            Err(Refused::OtherSession { session: offer.session.clone() })
        }
    }
}

fn not_expired(expires_s: u64, now_s: u64) -> Result<(), Refused> {
    if now_s < expires_s { Ok(()) } else { Err(Refused::Expired { at_s: expires_s }) }
}

#[cfg(test)]
mod tests;
