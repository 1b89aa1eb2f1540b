//! The handoff token: a right to continue a session that its holder can narrow and pass on without asking anybody.
//!
//! *Knows:* what a handoff token says, how it is signed, narrowed, sealed and checked, and which tokens are refused. It
//! is a Biscuit inside (`docs/reference/handoff-token.md`), and no type of that library is seen outside.
//!
//! *Does not know:* time and chance (moments and seeds are arguments), sockets, storage, what is said in a session, and
//! whether the session is still there: that is `commonwatt_core::lease`, which is asked after the token was opened.
//!
//! ```
//! use commonwatt_core::lease::{HandoffId, Holder};
//! use commonwatt_core::turn::{Epoch, SessionId, TurnId};
//! use commonwatt_pass::{Asked, Grant, Keys, Narrowing, Scope, Scopes, Seed, mint, narrow, open};
//!
//! let keys = Keys::from_seed(Seed([1; 32])); // 32 bytes of chance
//! let grant = Grant {
//!     handoff: HandoffId([2; 16]),
//!     session: SessionId("0199a5f0-7c5e-7000-8000-000000000001".into()),
//!     head: TurnId([3; 32]),
//!     epoch: Epoch(4),
//!     issuer: "node.example".into(),
//!     scopes: Scopes::ALL,
//!     audience: None,
//!     expires_s: 2_000_000_000,
//!     spend_micros: None,
//! };
//! let pass = mint(&keys, &grant, Seed([5; 32]))?;
//!
//! // Whoever has the text narrows it, without a key.
//! let narrowing = Narrowing { scopes: Some(Scopes::of(&[Scope::Read])), ..Narrowing::default() };
//! let narrowed = narrow(pass.text(), &narrowing, Seed([6; 32]))?;
//!
//! let asked = Asked { now_s: 1_900_000_000, audience: Some(Holder("bob".into())), scope: Scope::Read };
//! let opened = open(&keys.public(), narrowed.text(), &asked)?;
//! assert_eq!(opened.scopes, Scopes::of(&[Scope::Read]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod check;
mod keys;
mod language;
mod make;
mod rights;

pub use check::{Asked, Opened, Refused, RevocationId, open};
pub use keys::{Keys, NotAKey, PublicKey, Seed};
pub use make::{Grant, NotMade, Pass, mint, narrow, seal};
pub use rights::{Narrowing, Scope, Scopes};

/// How long a token's text may be: four times what the longest names and the most blocks take in ordinary use.
pub const TEXT_MAX: usize = 16 * 1024;

/// How often a token may be narrowed: each time costs the one who checks it a signature.
pub const NARROWINGS_MAX: usize = 16;

/// How many bytes a name may have: a principal, a node, a session.
pub const NAME_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests;
