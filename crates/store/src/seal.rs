//! Sealing: AES-256-GCM with a random nonce, bound to the row that holds it.
//!
//! ```text
//! nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes)
//! ```
//!
//! The associated data is the session's id, the kind of row and the row's id, each with its length before it: a sealed
//! value that is moved to another row does not open. Nonces are random. One key seals far fewer values than the 2³²
//! that NIST SP 800-38D allows for random nonces: a session's key its session, the node key one value a session.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::key::NodeKey;

/// 256 bits.
pub(crate) const KEY_BYTES: usize = 32;

/// What a sealed value is. Part of what it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AddressKey,
    SessionKey,
    Salt,
    Title,
    Meta,
    Body,
    Response,
    BlobKey,
    Blob,
    JournalMeta,
    JournalPart,
    Handoff,
    Derived,
}

impl Kind {
    /// Its word in the associated data, and in "… cannot be read".
    fn word(self) -> &'static str {
        match self {
            Self::AddressKey => "the address key",
            Self::SessionKey => "a session's key",
            Self::Salt => "a session's salt",
            Self::Title => "a session's title",
            Self::Meta => "a turn's meta",
            Self::Body => "a turn's body",
            Self::Response => "a response",
            Self::BlobKey => "a blob's key",
            Self::Blob => "a blob",
            Self::JournalMeta => "a journal's meta",
            Self::JournalPart => "a journal's part",
            Self::Handoff => "a handoff's details",
            Self::Derived => "a derived value",
        }
    }
}

/// The row that a sealed value is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Its session; empty for what belongs to none.
    pub(crate) session: &'a str,
    pub(crate) kind: Kind,
    /// Tells it from its siblings; empty for an only child.
    pub(crate) row: &'a [u8],
}

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"commonwatt store 1".to_vec();
        for part in [self.session.as_bytes(), self.kind.word().as_bytes(), self.row] {
            data.extend_from_slice(&(part.len() as u64).to_le_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

/// A key that seals and opens.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Result<Self, StoreError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| StoreError::Damaged { what: "a key" })?;
        Ok(Self(LessSafeKey::new(key)))
    }

    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        chance(&mut nonce)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, secret) = sealed.split_at_mut(NONCE_LEN);
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.associated_data()), secret)
            .map_err(|_| StoreError::TooLarge {
                what: "a value",
                found: plain.len() as u64,
                max: u64::from(u32::MAX),
            })?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub(crate) fn open(&self, place: Place<'_>, mut sealed: Vec<u8>) -> Result<Bytes, StoreError> {
        let damaged = || StoreError::Damaged { what: place.kind.word() };
        let (nonce, secret) = sealed.split_at_mut_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let plain = self.0.open_in_place(nonce, Aad::from(place.associated_data()), secret).map_err(|_| damaged())?;
        let end = NONCE_LEN + plain.len();
        Ok(Bytes::from(sealed).slice(NONCE_LEN..end))
    }

    /// Opens a sealed key.
    pub(crate) fn open_key(&self, place: Place<'_>, sealed: Vec<u8>) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
        let plain = self.open(place, sealed)?;
        let key = plain.as_ref().try_into().map_err(|_| StoreError::Damaged { what: place.kind.word() })?;
        let key = Zeroizing::new(key);
        if let Ok(mut plain) = plain.try_into_mut() {
            zeroize::Zeroize::zeroize(plain.as_mut());
        }
        Ok(key)
    }
}

/// A new random key.
pub(crate) fn new_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    chance(key.as_mut())?;
    Ok(key)
}

/// Fills with random bytes. Chance is no argument here: a key that a test could foresee would be none.
fn chance(bytes: &mut [u8]) -> Result<(), StoreError> {
    rand::fill(bytes).map_err(|_| StoreError::Disk { what: "the system has no randomness".into() })
}

/// What opens a store: the node key, and the address key that it seals.
#[derive(Clone)]
pub(crate) struct Keys {
    node: Arc<Sealer>,
    address: Arc<Zeroizing<[u8; KEY_BYTES]>>,
}

impl Keys {
    /// The keys of a store that has none yet, and its address key, sealed.
    pub(crate) fn make(node: &NodeKey) -> Result<(Self, Vec<u8>), StoreError> {
        let node = Sealer::new(node.bytes())?;
        let address = new_key()?;
        let sealed = node.seal(ADDRESS_KEY, address.as_ref())?;
        Ok((Self { node: Arc::new(node), address: Arc::new(address) }, sealed))
    }

    /// The keys of a store with this sealed address key, if the node key is the right one.
    pub(crate) fn open(node: &NodeKey, sealed: Vec<u8>) -> Result<Self, StoreError> {
        let node = Sealer::new(node.bytes())?;
        let address = node.open_key(ADDRESS_KEY, sealed).map_err(|_| StoreError::WrongNodeKey)?;
        Ok(Self { node: Arc::new(node), address: Arc::new(address) })
    }

    /// A new key for a session, and the same, sealed.
    pub(crate) fn new_session(&self, session: &str) -> Result<(Sealer, Vec<u8>), StoreError> {
        let key = new_key()?;
        let sealed = self.node.seal(Place { session, kind: Kind::SessionKey, row: &[] }, key.as_ref())?;
        Ok((Sealer::new(&key)?, sealed))
    }

    /// The key of a session.
    pub(crate) fn session(&self, session: &str, sealed: Vec<u8>) -> Result<Sealer, StoreError> {
        let key = self.node.open_key(Place { session, kind: Kind::SessionKey, row: &[] }, sealed)?;
        Sealer::new(&key)
    }

    /// The form in which a hash of content is stored, so that the file alone does not tell whether it holds something
    /// known.
    pub(crate) fn address(&self, hash: &[u8; 32]) -> [u8; 32] {
        *blake3::keyed_hash(&self.address, hash).as_bytes()
    }
}

const ADDRESS_KEY: Place<'static> = Place { session: "", kind: Kind::AddressKey, row: &[] };

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: Place<'static> = Place { session: "s", kind: Kind::Body, row: b"1" };

    fn sealer() -> Sealer {
        Sealer::new(&[7; KEY_BYTES]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let sealed = sealer().seal(BODY, b"hello").unwrap();
        assert_eq!(sealer().open(BODY, sealed.clone()).unwrap(), "hello");
        for place in [Place { session: "t", ..BODY }, Place { kind: Kind::Meta, ..BODY }, Place { row: b"2", ..BODY }] {
            assert_eq!(sealer().open(place, sealed.clone()), Err(StoreError::Damaged { what: place.kind.word() }),);
        }
    }

    #[test]
    fn no_bit_of_a_sealed_value_can_be_changed() {
        let sealed = sealer().seal(BODY, b"hi").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer().open(BODY, changed).is_err());
            assert!(sealer().open(BODY, sealed[..at].to_vec()).is_err());
        }
    }

    #[test]
    fn the_same_words_are_sealed_differently_each_time() {
        assert_ne!(sealer().seal(BODY, b"hello").unwrap(), sealer().seal(BODY, b"hello").unwrap());
    }

    #[test]
    fn a_place_cannot_be_mistaken_for_another_by_moving_a_boundary() {
        let one = Place { session: "ab", kind: Kind::Body, row: b"c" };
        let other = Place { session: "a", kind: Kind::Body, row: b"bc" };
        assert_ne!(one.associated_data(), other.associated_data());
    }
}
