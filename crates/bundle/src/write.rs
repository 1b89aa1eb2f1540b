//! Writes a bundle: what it holds → bytes. The same content, key and time give the same bytes.

use std::io::{self, Write};

use ed25519_dalek::SigningKey;

use crate::bad::{BadBundle, Wrong};
use crate::bundle::{Bundle, Limits};
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
/// [`NotWritten`] when it does not hold together, when it is larger than a reader takes in by default, or `out` fails.
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
    let manifest = manifest(bundle, PublicKey::of(key), &files, &Limits::default())?;
    tar::put(&mut out, MANIFEST, &manifest)?;
    tar::put(&mut out, SIGNATURE, &seal::seal(&manifest, key))?;
    for (name, bytes) in &files {
        tar::put(&mut out, name, bytes)?;
    }
    tar::finish(&mut out)?;
    Ok(())
}

/// The manifest of a bundle within these limits.
fn manifest(
    bundle: &Bundle,
    key: PublicKey,
    files: &[(String, Vec<u8>)],
    limits: &Limits,
) -> Result<Vec<u8>, BadBundle> {
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
    manifest.check_files(limits)?;
    let wrong = || Wrong::Form("its time is beyond 2⁵³−1 seconds".to_owned());
    let bytes = manifest.bytes().ok_or_else(|| BadBundle::new(MANIFEST, wrong()))?;
    if bytes.len() as u64 > limits.manifest_bytes {
        let wrong = Wrong::TooLarge { what: "bytes of the manifest", limit: limits.manifest_bytes };
        return Err(BadBundle::new(MANIFEST, wrong));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::samples;

    #[test]
    fn what_a_reader_would_not_take_in_is_not_written() {
        let (bundle, key) = (samples::bundle(), PublicKey::of(&samples::key()));
        let files = [("sessions/a.jsonl".to_owned(), vec![b'x'; 100])];
        let manifest = |limits: Limits| manifest(&bundle, key, &files, &limits);
        assert!(manifest(Limits::default()).is_ok());
        for limits in [
            Limits { bytes: 99, ..Limits::default() },
            Limits { file_bytes: 99, ..Limits::default() },
            Limits { manifest_bytes: 99, ..Limits::default() },
            Limits { files: 0, ..Limits::default() },
            Limits { turns: 1, ..Limits::default() },
        ] {
            assert!(matches!(manifest(limits).unwrap_err().wrong, Wrong::TooLarge { .. }), "{limits:?}");
        }
    }
}
