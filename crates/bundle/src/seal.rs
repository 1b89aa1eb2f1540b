//! Who made a bundle: an in-toto Statement v1 about the manifest, in a DSSE envelope, signed with Ed25519.
//!
//! ```text
//! {"payload":"<base64 of the statement>","payloadType":"application/vnd.in-toto+json",
//!  "signatures":[{"keyid":"ed25519:<hex>","sig":"<base64>"}]}
//! {"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"…/bundle/v1",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"manifest.json"}]}
//! ```
//!
//! Specifications: <https://github.com/secure-systems-lab/dsse>, <https://github.com/in-toto/attestation>. What is signed is
//! `DSSEv1 <length> <type> <length> <payload>`. Everything but the key and the signature follows from the manifest, so a
//! reader makes the envelope that has to be there and compares.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use commonwatt_core::turn::TurnId;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bad::{BadBundle, Wrong};
use crate::jcs;
use crate::manifest::MANIFEST;

/// The envelope's name in the bundle.
pub(crate) const SIGNATURE: &str = "signature.dsse.json";
/// An envelope has 750 bytes; this leaves room to say that one of a stranger is not ours.
pub(crate) const SIGNATURE_BYTES_MAX: u64 = 16 << 10;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const PREDICATE_TYPE: &str = "https://github.com/commonwatt/commonwatt/bundle/v1";

/// The public key of an issuer, which is also its id: `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The public half of a key.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A text that is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signer's key is `ed25519:` and 64 hexadecimal digits")]
pub struct NotAPublicKey;

impl FromStr for PublicKey {
    type Err = NotAPublicKey;

    fn from_str(text: &str) -> Result<Self, NotAPublicKey> {
        let digits = text.strip_prefix("ed25519:").ok_or(NotAPublicKey)?;
        digits.parse().map(|TurnId(key)| Self(key)).map_err(|_| NotAPublicKey)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Thirty-two bytes as 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    TurnId(*bytes).to_string()
}

/// The envelope over a manifest.
pub(crate) fn seal(manifest: &[u8], key: &SigningKey) -> Vec<u8> {
    let payload = statement(&hex(&sha256(manifest)));
    let signature = key.sign(&signed(&payload));
    envelope(&payload, PublicKey::of(key), &signature.to_bytes())
}

/// Who sealed this manifest.
pub(crate) fn open(manifest: &[u8], envelope_bytes: &[u8]) -> Result<PublicKey, BadBundle> {
    let form = || BadBundle::new(SIGNATURE, Wrong::Form("no DSSE envelope of a bundle".to_owned()));
    let value: Value = serde_json::from_slice(envelope_bytes).map_err(|_| form())?;
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).ok_or_else(form);
    let payload = STANDARD.decode(text("/payload")?).map_err(|_| form())?;
    let key: PublicKey = text("/signatures/0/keyid")?.parse().map_err(|_| form())?;
    let signature = STANDARD.decode(text("/signatures/0/sig")?).map_err(|_| form())?;
    let signature = <[u8; 64]>::try_from(signature).map_err(|_| form())?;
    if envelope(&payload, key, &signature) != envelope_bytes {
        return Err(form());
    }
    let by = VerifyingKey::from_bytes(&key.0).map_err(|_| BadBundle::new(SIGNATURE, Wrong::Signature))?;
    // The strict kind: no second signature that also holds, no key of small order under which every signature does.
    by.verify_strict(&signed(&payload), &Signature::from_bytes(&signature))
        .map_err(|_| BadBundle::new(SIGNATURE, Wrong::Signature))?;
    if payload == statement(&hex(&sha256(manifest))) {
        return Ok(key);
    }
    let about: Value = serde_json::from_slice(&payload).map_err(|_| form())?;
    let digest = about.pointer("/subject/0/digest/sha256").and_then(Value::as_str).ok_or_else(form)?;
    Err(if payload == statement(digest) { BadBundle::new(MANIFEST, Wrong::Hash) } else { form() })
}

fn statement(manifest_sha256: &str) -> Vec<u8> {
    jcs::bytes(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {},
        "predicateType": PREDICATE_TYPE,
        "subject": [{"digest": {"sha256": manifest_sha256}, "name": MANIFEST}],
    }))
    .unwrap_or_default()
}

fn envelope(payload: &[u8], key: PublicKey, signature: &[u8; 64]) -> Vec<u8> {
    jcs::bytes(&json!({
        "payload": STANDARD.encode(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key.to_string(), "sig": STANDARD.encode(signature)}],
    }))
    .unwrap_or_default()
}

/// What is signed: DSSE's pre-authentication encoding.
fn signed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
