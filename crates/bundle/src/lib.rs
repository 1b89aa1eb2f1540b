//! Sessions as a file that can be taken along, and readers of what other systems export.
//!
//! *Knows:* the bundle (`*.cwb`: `docs/reference/bundle.md`), how it is signed and what makes one wrong; how ChatGPT,
//! Claude and Letta write what they export.
//!
//! *Does not know:* sockets, storage, the clock, chance, whether a signer is to be trusted.
//!
//! [`write()`] makes the bytes of a [`Bundle`]; [`read()`] checks every byte of one and says who signed it. A module of
//! [`import`] reads what another system exported and names what it could not carry.

#![forbid(unsafe_code)]

mod bad;
mod bundle;

mod read;
mod write;

mod check;
mod jcs;
mod lines;
mod manifest;
mod seal;
mod tar;

pub mod import;

pub use bad::{BadBundle, Wrong};
pub use bundle::{Blobs, Bundle, Limits, Session, StoredTurn, TurnState};
pub use ed25519_dalek::SigningKey;
pub use read::{Opened, read};
pub use seal::{NotAPublicKey, PublicKey};
pub use write::{NotWritten, write};

#[cfg(test)]
mod tests;
