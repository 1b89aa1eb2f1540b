//! Opens a token: is it genuine, is it a handoff, and does it allow what is asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use biscuit_auth::builder::AuthorizerBuilder;
use biscuit_auth::error::{Format, Token};
use biscuit_auth::format::schema::public_key::Algorithm;
use biscuit_auth::{Authorizer, AuthorizerLimits, Biscuit};
use commonwatt_core::lease::{HandoffId, Holder};
use commonwatt_core::turn::{Epoch, SessionId, TurnId};

use crate::keys::PublicKey;
use crate::language::{self, Identity, Reader};
use crate::make::bytes_of;
use crate::rights::{Rights, Scope, Scopes};
use crate::{NARROWINGS_MAX, TEXT_MAX};

/// How much work the library may do for one token. The shapes that are let through need ten facts and one round; time is
/// for a machine that is busy with something else.
const WORK: AuthorizerLimits =
    AuthorizerLimits { max_facts: 64, max_iterations: 4, max_time: Duration::from_millis(250) };

/// What is asked of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The moment, in seconds of Unix time.
    pub now_s: u64,
    /// Who asks, as they have proved; `None` for a stranger.
    pub audience: Option<Holder>,
    /// What they want to do.
    pub scope: Scope,
}

/// What a genuine token says, under all its limits together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The offer that it is the key to.
    pub handoff: HandoffId,
    /// The session.
    pub session: SessionId,
    /// The head that was offered.
    pub head: TurnId,
    /// The epoch in which it was offered.
    pub epoch: Epoch,
    /// The node that issued it, in its own words.
    pub issuer: Arc<str>,
    /// What is allowed.
    pub scopes: Scopes,
    /// How much may be spent, in millionths of the account's currency; the caller counts.
    pub spend_micros: Option<u64>,
    /// From when on nothing is allowed, in seconds of Unix time.
    pub expires_s: u64,
    /// One for the token as it was minted, then one for each narrowing. Whoever revokes one revokes all that was
    /// narrowed from there on; whoever accepts handoffs once only notes the handoff's id.
    pub revocation_ids: Vec<RevocationId>,
}

/// What names one stage of one token: its signature. Written as 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevocationId(pub [u8; 64]);

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationId({self})")
    }
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More text than any handoff has.
    #[error("a handoff token has at most {TEXT_MAX} characters")]
    TooLong,
    /// Not the text of a token.
    #[error("this is not a handoff token")]
    Malformed,
    /// Another key signed it, or nobody did.
    #[error("this handoff was not issued by the expected node, or it was changed on its way")]
    ForeignIssuer,
    /// A signed token, but for something else.
    #[error("this token is genuine but is no handoff")]
    OtherKind,
    /// More blocks than are checked.
    #[error("this handoff was narrowed more than {NARROWINGS_MAX} times")]
    TooOften,
    /// A later block says something that is no limit.
    #[error("narrowing {narrowing} of this handoff says more than a limit, and a handoff can only be narrowed")]
    Widened {
        /// The how-manieth narrowing, from one.
        narrowing: usize,
    },
    /// Its time is over.
    #[error("this handoff expired at {at_s} (Unix time); ask for another")]
    Expired {
        /// When.
        at_s: u64,
    },
    /// It is for somebody else.
    #[error("this handoff is for somebody else")]
    WrongAudience,
    /// It does not allow this.
    #[error("this handoff does not allow to {}", scope.word())]
    ScopeMissing {
        /// What was asked.
        scope: Scope,
    },
    /// The library's own verdict, for a token whose limits allow what is asked: never seen, and never overruled.
    #[error("the checks in this handoff deny it")]
    Denied,
    /// The library was stopped at its limit of work.
    #[error("checking this handoff took too much time; try again")]
    Exhausted,
}

/// What this token says, if the node with this key issued it and it allows what is asked.
///
/// # Errors
/// Why not.
pub fn open(issuer: &PublicKey, text: &str, asked: &Asked) -> Result<Opened, Refused> {
    if text.len() > TEXT_MAX {
        return Err(Refused::TooLong);
    }
    let bytes = bytes_of(text).ok_or(Refused::Malformed)?;
    let token = genuine(issuer, &bytes)?;
    let mut authorizer = authorizer(&token, asked)?;
    let (identity, rights) = said(&authorizer)?;
    permits(&rights, asked)?;
    authorizer.authorize().map_err(|error| verdict(&error))?;
    let revocation_ids = token.revocation_identifiers().into_iter().map(|id| id.try_into().map(RevocationId));
    let Identity { handoff, session, head, epoch, issuer } = identity;
    let Rights { audience: _, scopes, expires_s, spend_micros } = rights;
    let revocation_ids = revocation_ids.collect::<Result<_, _>>().map_err(|_| Refused::Malformed)?;
    Ok(Opened { handoff, session, head, epoch, issuer, scopes, spend_micros, expires_s, revocation_ids })
}

/// The token of these bytes, with every signature checked.
fn genuine(issuer: &PublicKey, bytes: &[u8]) -> Result<Biscuit, Refused> {
    let token = Biscuit::from(bytes, issuer.0).map_err(|error| {
        let unsigned = matches!(error, Token::Format(Format::Signature(_) | Format::SealedSignature));
        if unsigned { Refused::ForeignIssuer } else { Refused::Malformed }
    })?;
    let parts = token.container().to_proto();
    if parts.blocks.len() > NARROWINGS_MAX {
        return Err(Refused::TooOften);
    }
    // One text for one token: what is not signed (unknown fields, a key's hint) may not be there.
    if parts.root_key_id.is_some() || token.to_vec().ok().as_deref() != Some(bytes) {
        return Err(Refused::Malformed);
    }
    // Ed25519 alone, whose signatures nobody can write in two ways: they are the revocation ids.
    let ed25519 = |key: i32| key == Algorithm::Ed25519 as i32;
    if !ed25519(parts.authority.next_key.algorithm) {
        return Err(Refused::OtherKind);
    }
    let foreign = |block: &biscuit_auth::format::schema::SignedBlock| {
        block.external_signature.is_some() || !ed25519(block.next_key.algorithm)
    };
    match parts.blocks.iter().position(foreign) {
        Some(before) => Err(Refused::Widened { narrowing: before.saturating_add(1) }),
        None => Ok(token),
    }
}

fn authorizer(token: &Biscuit, asked: &Asked) -> Result<Authorizer, Refused> {
    let facts = language::circumstances(asked.now_s, asked.scope, asked.audience.as_ref());
    let stated = facts.into_iter().try_fold(AuthorizerBuilder::new(), AuthorizerBuilder::fact);
    let builder = stated.and_then(|builder| builder.policy(language::policy()));
    builder.and_then(|builder| builder.set_limits(WORK).build(token)).map_err(|_| Refused::Malformed)
}

/// What the blocks say: the first one what is handed on, and all of them the limits.
fn said(authorizer: &Authorizer) -> Result<(Identity, Rights), Refused> {
    let world = authorizer.snapshot().map_err(|_| Refused::Malformed)?.world;
    let reader = Reader::new(world.symbols).ok_or(Refused::Malformed)?;
    let (first, later) = world.blocks.split_first().ok_or(Refused::Malformed)?;
    let identity = reader.identity(first).ok_or(Refused::OtherKind)?;
    let mut limits = reader.limits(first).ok_or(Refused::OtherKind)?;
    for (narrowing, block) in (1..).zip(later) {
        let more = reader.limits(block).filter(|_| block.facts.is_empty());
        limits.extend(more.ok_or(Refused::Widened { narrowing })?);
    }
    Ok((identity, limits.into_iter().fold(Rights::UNLIMITED, Rights::under)))
}

fn permits(rights: &Rights, asked: &Asked) -> Result<(), Refused> {
    if asked.now_s >= rights.expires_s {
        return Err(Refused::Expired { at_s: rights.expires_s });
    }
    if !rights.audience.admits(asked.audience.as_ref()) {
        return Err(Refused::WrongAudience);
    }
    if !rights.scopes.contains(asked.scope) {
        return Err(Refused::ScopeMissing { scope: asked.scope });
    }
    Ok(())
}

fn verdict(error: &Token) -> Refused {
    if matches!(error, Token::RunLimit(_)) { Refused::Exhausted } else { Refused::Denied }
}
