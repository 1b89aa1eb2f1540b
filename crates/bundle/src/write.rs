//! Writes a bundle: what it holds → bytes. The same content, key and time give the same bytes.

use std::io::{self, Write};

use ed25519_dalek::SigningKey;

use crate::bad::BadBundle;
use crate::bundle::Bundle;
use crate::manifest::{Kind, Listed, MANIFEST, Manifest};
use crate::seal::{self, PublicKey, SIGNATURE};
use crate::{check, lines, tar};

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// What it should hold does not hold together; nothing was written.
    #[error(transparent)]
    Bad(#[from] BadBundle),
    /// The target failed; what it has is no bundle.
    #[error("the bundle could not be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes a bundle, signed with the issuer's key. The order of sessions and turns in it does not matter.
///
/// # Errors
/// [`NotWritten`] when it does not hold together, or `out` fails.
pub fn write(bundle: &Bundle, key: &SigningKey, mut out: impl Write) -> Result<(), NotWritten> {
    check::bundle(bundle)?;
    let blobs = bundle.blobs.iter().map(|(hash, bytes)| (Kind::Blob(*hash).name(), bytes.to_vec()));
    let mut files: Vec<(String, Vec<u8>)> = blobs.collect();
    for session in &bundle.sessions {
        let name = Kind::Session(session.id.to_string()).name();
        let bytes = lines::write(&name, session)?;
        files.push((name, bytes));
    }
    files.sort();
    let manifest = manifest(bundle, PublicKey::of(key), &files)?;
    tar::put(&mut out, MANIFEST, &manifest)?;
    tar::put(&mut out, SIGNATURE, &seal::seal(&manifest, key))?;
    for (name, bytes) in &files {
        tar::put(&mut out, name, bytes)?;
    }
    tar::finish(&mut out)?;
    Ok(())
}

fn manifest(bundle: &Bundle, key: PublicKey, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, BadBundle> {
    let listed = |(name, bytes): &(String, Vec<u8>)| Listed {
        name: name.clone(),
        bytes: bytes.len() as u64,
        sha256: seal::sha256(bytes),
    };
    let manifest = Manifest {
        issuer: bundle.issuer.clone(),
        key,
        made_unix_s: bundle.made_unix_s,
        turns: bundle.sessions.iter().map(|session| session.turns.len() as u64).sum(),
        files: files.iter().map(listed).collect(),
    };
    let wrong = || crate::bad::Wrong::Form("its time is beyond 2⁵³−1 seconds".to_owned());
    manifest.bytes().ok_or_else(|| BadBundle::new(MANIFEST, wrong()))
}
