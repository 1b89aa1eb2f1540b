//! Makes tokens: an issuer mints one, and whoever has it narrows or seals it without a key.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::error::Token;
use biscuit_auth::{Biscuit, BlockBuilder, UnverifiedBiscuit};
use commonwatt_core::lease::{HandoffId, Holder};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};

use crate::keys::{Keys, Seed};
use crate::language::{self, Identity};
use crate::rights::{Limit, Narrowing, Scopes};
use crate::{NAME_BYTES_MAX, NARROWINGS_MAX, TEXT_MAX};

/// What each token's text begins with.
const PREFIX: &str = "cwh_";

/// What an issuer hands on, and under which limits. References only: what was said stays where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The offer that this token is the key to.
    pub handoff: HandoffId,
    /// The session.
    pub session: SessionId,
    /// The head that is offered.
    pub head: TurnId,
    /// The epoch in which it is offered.
    pub epoch: Epoch,
    /// The node that issues it, and where it is redeemed.
    pub issuer: Arc<str>,
    /// What its holder may ask for.
    pub scopes: Scopes,
    /// Who may use it: one, or anybody who holds it.
    pub audience: Option<Holder>,
    /// From when on nobody may, in seconds of Unix time.
    pub expires_s: u64,
    /// How much may be spent with it, in millionths of the account's currency. The token states it; whoever spends
    /// counts.
    pub spend_micros: Option<u64>,
}

/// A token. Who has its text has its rights, so it is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Pass {
    text: String,
}

impl Pass {
    /// The text to hand over: URL-safe, without padding.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pass({PREFIX}… of {} characters)", self.text.len())
    }
}

/// Why a token is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// The text is no token.
    #[error("this is not a handoff token: one begins with `{PREFIX}` and is at most {TEXT_MAX} characters long")]
    Malformed,
    /// A name is empty, too long or unprintable.
    #[error("the {of} must be 1 to {NAME_BYTES_MAX} bytes without control characters")]
    BadName {
        /// Which.
        of: &'static str,
    },
    /// A number is too large for the format.
    #[error("an epoch or a spending limit is beyond 2^63 - 1")]
    TooLarge,
    /// Nothing would be allowed.
    #[error("a handoff without a scope allows nothing: name at least one")]
    NoScopes,
    /// The token was sealed.
    #[error("this handoff is sealed: it can be used, not narrowed")]
    Sealed,
    /// The token was narrowed too often.
    #[error("this handoff was narrowed {NARROWINGS_MAX} times, and no more are allowed; ask for another")]
    TooOften,
    /// The library could not sign.
    #[error("this handoff could not be signed")]
    Unsigned,
}

/// A token for this grant, signed by these keys.
///
/// # Errors
/// When the grant allows nothing, or says what the format cannot hold.
#[expect(clippy::needless_pass_by_value, reason = "the seed is erased here")]
pub fn mint(keys: &Keys, grant: &Grant, seed: Seed) -> Result<Pass, NotMade> {
    named("session", &grant.session.0)?;
    named("issuer", &grant.issuer)?;
    let identity = Identity {
        handoff: grant.handoff,
        session: grant.session.clone(),
        head: grant.head,
        epoch: grant.epoch,
        issuer: Arc::clone(&grant.issuer),
    };
    let mut builder = Biscuit::builder();
    for fact in language::identity_facts(&identity).ok_or(NotMade::TooLarge)? {
        builder = builder.fact(fact).map_err(|_| NotMade::Unsigned)?;
    }
    let narrowing = Narrowing {
        audience: grant.audience.clone(),
        scopes: Some(grant.scopes),
        expires_s: Some(grant.expires_s),
        spend_micros: grant.spend_micros,
    };
    for limit in sound(&narrowing)? {
        let check = language::check(&limit).ok_or(NotMade::TooLarge)?;
        builder = builder.check(check).map_err(|_| NotMade::Unsigned)?;
    }
    let token = builder.build_with_key_pair(keys.pair(), SymbolTable::new(), &seed.pair());
    token.and_then(|token| token.to_vec()).map_err(|_| NotMade::Unsigned).and_then(|bytes| written(&bytes))
}

/// The same token with less in it. Needs no key and asks nobody; nothing can be added again.
///
/// # Errors
/// When the text is no token, is sealed or was narrowed too often, or when nothing would be left.
#[expect(clippy::needless_pass_by_value, reason = "the seed is erased here")]
pub fn narrow(text: &str, narrowing: &Narrowing, seed: Seed) -> Result<Pass, NotMade> {
    let token = unchecked(text)?;
    if token.block_count() > NARROWINGS_MAX {
        return Err(NotMade::TooOften);
    }
    let mut block = BlockBuilder::new();
    for limit in sound(narrowing)? {
        let check = language::check(&limit).ok_or(NotMade::TooLarge)?;
        block = block.check(check).map_err(|_| NotMade::Unsigned)?;
    }
    let token = token.append_with_keypair(&seed.pair(), block).map_err(|error| not_appended(&error))?;
    token.to_vec().map_err(|_| NotMade::Unsigned).and_then(|bytes| written(&bytes))
}

/// The same token, which nobody can narrow any more.
///
/// # Errors
/// When the text is no token, or sealed already.
pub fn seal(text: &str) -> Result<Pass, NotMade> {
    let token = unchecked(text)?.seal().map_err(|error| not_appended(&error))?;
    token.to_vec().map_err(|_| NotMade::Unsigned).and_then(|bytes| written(&bytes))
}

/// The bytes of a token's text; `None` when it is too long or no such text.
pub(crate) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_MAX {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()
}

fn written(bytes: &[u8]) -> Result<Pass, NotMade> {
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    if text.len() > TEXT_MAX { Err(NotMade::TooOften) } else { Ok(Pass { text }) }
}

/// The token of a text, as its holder sees it: who has no key of the issuer's cannot tell whether it is genuine.
fn unchecked(text: &str) -> Result<UnverifiedBiscuit, NotMade> {
    let bytes = bytes_of(text).ok_or(NotMade::Malformed)?;
    UnverifiedBiscuit::from(bytes).map_err(|_| NotMade::Malformed)
}

fn not_appended(error: &Token) -> NotMade {
    if matches!(error, Token::AppendOnSealed | Token::AlreadySealed) { NotMade::Sealed } else { NotMade::Malformed }
}

/// The limits of a narrowing that allows something and names somebody.
fn sound(narrowing: &Narrowing) -> Result<Vec<Limit>, NotMade> {
    if narrowing.scopes.is_some_and(Scopes::is_empty) {
        return Err(NotMade::NoScopes);
    }
    if let Some(audience) = &narrowing.audience {
        named("audience", &audience.0)?;
    }
    Ok(narrowing.limits())
}

fn named(of: &'static str, name: &str) -> Result<(), NotMade> {
    let sound = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(NotMade::BadName { of }) }
}
