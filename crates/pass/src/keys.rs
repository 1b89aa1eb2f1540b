//! The issuer's keys, and the chance that each signature needs.

use std::fmt;
use std::str::FromStr;

use biscuit_auth::format::schema::public_key;
use biscuit_auth::{Algorithm, KeyPair};
use zeroize::Zeroize;

/// 32 bytes of chance, drawn from the operating system by whoever calls. Each is used once, and erased after use.
pub struct Seed(pub [u8; 32]);

impl Seed {
    pub(crate) fn pair(&self) -> KeyPair {
        // Any 32 bytes are a secret key of Ed25519; the library refuses other lengths only.
        KeyPair::from_bytes(&self.0, public_key::Algorithm::Ed25519).unwrap_or_default()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// The keys with which a node issues handoffs (Ed25519). Erased when dropped.
pub struct Keys {
    pair: KeyPair,
}

impl Keys {
    /// The keys that grow from this seed: the same each time, so the seed is what a node keeps.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed is erased here")]
    pub fn from_seed(seed: Seed) -> Self {
        Self { pair: seed.pair() }
    }

    /// What others need to check this node's handoffs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys(… of {})", self.public())
    }
}

/// An issuer's public key. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(crate) biscuit_auth::PublicKey);

/// Text or bytes that are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 32 bytes, or 64 hexadecimal digits, of Ed25519")]
pub struct NotAKey;

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// When they are no point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotAKey> {
        biscuit_auth::PublicKey::from_bytes(bytes, Algorithm::Ed25519).map(Self).map_err(|_| NotAKey)
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        biscuit_auth::PublicKey::from_bytes_hex(text, Algorithm::Ed25519).map(Self).map_err(|_| NotAKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_bytes_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}
