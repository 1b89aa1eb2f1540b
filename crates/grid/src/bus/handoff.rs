//! Handing a session over: a token that names what is offered, and what whoever brings it is given.
//!
//! What is allowed is decided in two places, one after the other. The token says what was granted, to whom and until
//! when, and its signatures prove it ([`commonwatt_pass`]); the stored offer knows whether it is still open
//! ([`commonwatt_core::lease`], asked by the store in the transaction that writes the answer).
//!
//! When a call of a session falls to another deployment, nothing is handed over in this sense: the holder stays, and the
//! turn says who made it.

mod accept;
mod project;

use bytes::Bytes;
use commonwatt_core::lease::{Fenced, HandoffId, Holder, Offer, OfferState, Refused, Terms};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};
use commonwatt_pass::{Grant, Seed, mint};
pub use commonwatt_pass::{Scope, Scopes};
use commonwatt_store::{Handoff, HandoffError, NewHandoff};

pub use self::accept::{Taken, Taking};
pub use self::project::{Content, Format, Projected};
use super::{Bus, handed_over, refusal, unknown};

/// Seconds for which a session may be offered at most: a month. What is to last longer is offered again.
pub const OFFER_S_MAX: u64 = 30 * 24 * 60 * 60;
/// Bytes of a note.
const NOTE_BYTES_MAX: usize = 4_096;

/// On which terms a session is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferTerms {
    /// Who may use the token: one principal, or any that has it.
    pub audience: Option<String>,
    /// What for.
    pub scopes: Scopes,
    /// For how many seconds from now.
    pub for_s: u64,
    /// How much may be spent, in millionths of the account's currency. It is stated, not yet counted.
    pub spend_micros: Option<u64>,
    /// A word to whoever accepts, or to oneself. Kept with the session, not in the token.
    pub note: String,
}

/// A session that is on offer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The offer's id, under which it can be revoked.
    pub handoff: HandoffId,
    /// The token: whoever has it has its rights.
    pub token: String,
    /// The session.
    pub session: SessionId,
    /// The turn where whoever accepts begins.
    pub head: TurnId,
    /// The epoch in which it is offered.
    pub epoch: Epoch,
    /// From when on nobody may accept, in seconds of Unix time.
    pub expires_s: u64,
}

/// An offer that was made, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The offer, and what became of it.
    pub offer: Offer,
    /// What it is good for.
    pub scopes: Scopes,
    /// How much may be spent.
    pub spend_micros: Option<u64>,
    /// The giver's word.
    pub note: String,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
    /// When it was used.
    pub used_ms: Option<u64>,
}

impl Bus {
    /// Offers a session that the caller holds, as it stands now, and gives the token for it.
    ///
    /// # Errors
    /// A refusal when the caller does not hold it, or when the terms allow nothing.
    pub async fn offer(&self, principal: &str, session: &str, terms: &OfferTerms) -> Result<Offered, Refusal> {
        terms.check()?;
        // What is on its way to the disk is part of what is offered.
        self.turn_pages();
        self.store.settled().await.map_err(|error| refusal(&error))?;
        let found = self.found(principal, session).await?.ok_or_else(unknown)?;
        let epoch = self.tenure(principal, &found.id).await?.epoch;
        let expires_s = self.now_s().saturating_add(terms.for_s);
        let audience = terms.audience.as_deref().map(|name| Holder(name.into()));
        let grant = Grant {
            handoff: HandoffId(self.key()),
            session: found.id.clone(),
            head: found.head,
            epoch,
            issuer: std::sync::Arc::clone(&self.issuer),
            scopes: terms.scopes,
            audience: audience.clone(),
            expires_s,
            spend_micros: terms.spend_micros,
        };
        let pass = mint(&self.keys, &grant, Seed(self.chance()))
            .map_err(|error| Refusal::new(RefusalKind::BadRequest, error.to_string()))?;
        let Grant { handoff, head, .. } = grant;
        let lease = Terms { handoff, by: Holder(principal.into()), epoch, head, to: audience, expires_s };
        let new = NewHandoff { session: found.id, terms: lease, details: terms.details() };
        let offer = self.store.offer(new).await.map_err(|error| not_handed(&error))?;
        let token = pass.text().to_owned();
        Ok(Offered { handoff, token, session: offer.session, head: offer.head, epoch: offer.epoch, expires_s })
    }

    /// Takes an offer back, before it is used. To take it back twice is no fault.
    ///
    /// # Errors
    /// A refusal when it is used, or when the caller did not offer it.
    pub async fn revoke(&self, principal: &str, handoff: HandoffId) -> Result<(), Refusal> {
        let revoked = self.store.revoke(handoff, Holder(principal.into())).await;
        revoked.map(drop).map_err(|error| not_handed(&error))
    }

    /// The offers of a session, the newest first.
    ///
    /// # Errors
    /// A refusal when there is no such session that the caller may see.
    pub async fn handoffs(&self, principal: &str, session: &str) -> Result<Vec<Given>, Refusal> {
        let found = self.found(principal, session).await?.ok_or_else(unknown)?;
        let kept = self.store.handoffs(&found.id).await.map_err(|error| refusal(&error))?;
        Ok(kept.into_iter().map(Given::of).collect())
    }

    fn now_s(&self) -> u64 {
        (self.world.unix_ms)() / 1_000
    }

    /// 16 bytes that nobody can guess.
    fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key.iter_mut().zip(self.chance()).for_each(|(to, byte)| *to = byte);
        key
    }
}

impl OfferTerms {
    fn check(&self) -> Result<(), Refusal> {
        let bad = |message: String| Err(Refusal::new(RefusalKind::BadRequest, message));
        if self.for_s == 0 || self.for_s > OFFER_S_MAX {
            return bad(format!("a handoff is offered for 1 to {OFFER_S_MAX} seconds (30 days)"));
        }
        if self.note.len() > NOTE_BYTES_MAX {
            return bad(format!("the note is longer than {NOTE_BYTES_MAX} bytes: say it in the session"));
        }
        Ok(())
    }

    /// ```text
    /// read continue
    /// 5000000
    /// the note, to the end
    /// ```
    fn details(&self) -> Bytes {
        let scopes: Vec<_> = self.scopes.iter().map(Scope::word).collect();
        let spend = self.spend_micros.map(|micros| micros.to_string()).unwrap_or_default();
        format!("{}\n{spend}\n{}", scopes.join(" "), self.note).into()
    }
}

impl Given {
    fn of(Handoff { offer, details, made_ms, used_ms }: Handoff) -> Self {
        let details = String::from_utf8_lossy(&details);
        let mut lines = details.splitn(3, '\n');
        let scopes = lines.next().unwrap_or_default().split(' ').filter_map(Scope::from_word).collect();
        let spend_micros = lines.next().and_then(|spend| spend.parse().ok());
        let note = lines.next().unwrap_or_default().to_owned();
        Self { offer, scopes, spend_micros, note, made_ms, used_ms }
    }

    /// Who used it, and the session that began with it where the session itself stayed.
    #[must_use]
    pub fn used(&self) -> (Option<&str>, Option<&str>) {
        match &self.offer.state {
            OfferState::Open | OfferState::Revoked => (None, None),
            OfferState::Accepted { claim, epoch: _ } => (Some(&claim.by.0), None),
            OfferState::Branched { claim, session } => (Some(&claim.by.0), Some(&session.0)),
        }
    }

    /// What became of it, in a word.
    #[must_use]
    pub fn state(&self, now_s: u64) -> &'static str {
        match &self.offer.state {
            OfferState::Open if self.offer.expires_s <= now_s => "expired",
            OfferState::Open => "open",
            OfferState::Accepted { .. } => "accepted",
            OfferState::Branched { .. } => "branched",
            OfferState::Revoked => "revoked",
        }
    }
}

/// What a caller hears when the store or the lease says no.
fn not_handed(error: &HandoffError) -> Refusal {
    let told = |kind| Refusal::new(kind, error.to_string());
    match error {
        HandoffError::Unknown => told(RefusalKind::UnknownSession),
        HandoffError::TokenRevoked => told(RefusalKind::Forbidden),
        HandoffError::Store(error) => refusal(error),
        HandoffError::Refused(refused) => match refused {
            Refused::Fenced(Fenced::Over { holder, .. }) | Refused::NotHolder { holder } => handed_over(&holder.0),
            Refused::AlreadyAccepted { .. } | Refused::Overtaken { .. } => told(RefusalKind::HandedOver),
            Refused::ForSomebodyElse { .. }
            | Refused::Revoked { .. }
            | Refused::Expired { .. }
            | Refused::NotTheGiver { .. } => told(RefusalKind::Forbidden),
            Refused::OtherSession { .. } | Refused::Fenced(Fenced::NotBegun { .. }) => told(RefusalKind::BadRequest),
        },
    }
}

/// What a caller hears when its token is not accepted.
fn not_opened(refused: commonwatt_pass::Refused) -> Refusal {
    use commonwatt_pass::Refused as Token;
    let kind = match refused {
        Token::TooLong | Token::Malformed => RefusalKind::BadRequest,
        Token::ForeignIssuer
        | Token::OtherKind
        | Token::TooOften
        | Token::Widened { .. }
        | Token::Expired { .. }
        | Token::WrongAudience
        | Token::ScopeMissing { .. }
        | Token::Denied => RefusalKind::Forbidden,
        Token::Exhausted => RefusalKind::Busy,
    };
    Refusal::new(kind, refused.to_string())
}

#[cfg(test)]
mod tests {
    use commonwatt_pass::Refused as Token;

    use super::*;

    #[test]
    fn whoever_brings_a_token_that_is_not_good_hears_whether_it_is_one_at_all() {
        for forbidden in [
            Token::ForeignIssuer,
            Token::OtherKind,
            Token::TooOften,
            Token::Widened { narrowing: 1 },
            Token::Expired { at_s: 1 },
            Token::WrongAudience,
            Token::ScopeMissing { scope: Scope::Read },
            Token::Denied,
        ] {
            let refusal = not_opened(forbidden);
            assert_eq!((refusal.kind, refusal.message), (RefusalKind::Forbidden, forbidden.to_string()));
        }
        assert_eq!(not_opened(Token::Malformed).kind, RefusalKind::BadRequest);
        assert_eq!(not_opened(Token::Exhausted).kind, RefusalKind::Busy);
    }
}
