//! Reads a bundle, from the signature inwards: nothing is looked into before somebody vouches for it, and of the bytes none is
//! left unlooked at.
//!
//! A bundle that is accepted is written again, by the same key, as the same bytes.

use std::io::Read;

use bytes::Bytes;

use crate::bad::{BadBundle, Wrong};
use crate::bundle::{Blobs, Bundle, Limits, Session};
use crate::manifest::{Kind, Listed, MANIFEST, Manifest};
use crate::seal::{self, PublicKey, SIGNATURE, SIGNATURE_BYTES_MAX};
use crate::{check, lines, tar};

/// A bundle that holds together, and who signed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// What it holds.
    pub bundle: Bundle,
    /// Who signed it. Whether that is somebody to trust is for the caller to say.
    pub signer: PublicKey,
}

/// Reads and checks a bundle. Where a signer is `expected`, one by another is refused before it is looked into.
///
/// # Errors
/// [`BadBundle`], with the file that is wrong.
pub fn read(source: impl Read, limits: &Limits, expected: Option<&PublicKey>) -> Result<Opened, BadBundle> {
    let mut archive = tar::Reader::new(source);
    let manifest = archive.first(MANIFEST, "bytes of the manifest", limits.manifest_bytes)?;
    let unsigned =
        |bad: BadBundle| if bad.wrong == Wrong::Missing { BadBundle::new(SIGNATURE, Wrong::Unsigned) } else { bad };
    let envelope = archive.first(SIGNATURE, "bytes of a signature", SIGNATURE_BYTES_MAX).map_err(unsigned)?;
    let signer = seal::open(&manifest, &envelope)?;
    if expected.is_some_and(|expected| *expected != signer) {
        return Err(BadBundle::new(SIGNATURE, Wrong::Signer(signer)));
    }
    let manifest = Manifest::read(&manifest, signer, limits)?;
    let (sessions, blobs) = files(&mut archive, &manifest.files)?;
    archive.end()?;
    let bundle = Bundle { issuer: manifest.issuer, made_unix_s: manifest.made_unix_s, sessions: sessions.0, blobs };
    check::bundle(&bundle)?;
    let turns: usize = bundle.sessions.iter().map(|session| session.turns.len()).sum();
    if turns as u64 != manifest.turns {
        let form = format!("it counts {} turns, and there are {turns}", manifest.turns);
        return Err(BadBundle::new(MANIFEST, Wrong::Form(form)));
    }
    for (session, bytes) in bundle.sessions.iter().zip(&sessions.1) {
        as_written(session, bytes)?;
    }
    Ok(Opened { bundle, signer })
}

/// The sessions, each beside the bytes it was read from, and the blobs.
type Files = ((Vec<Session>, Vec<Vec<u8>>), Blobs);

fn files(archive: &mut tar::Reader<impl Read>, listed: &[Listed]) -> Result<Files, BadBundle> {
    let (mut sessions, mut sources, mut blobs) = (Vec::new(), Vec::new(), Blobs::new());
    for file in listed {
        let is_later = |name: &str| listed.binary_search_by(|other| other.name.as_str().cmp(name)).is_ok();
        let bytes = archive.next(&file.name, file.bytes, &is_later)?;
        if seal::sha256(&bytes) != file.sha256 {
            return Err(BadBundle::new(&file.name, Wrong::Hash));
        }
        match Kind::of(&file.name) {
            Some(Kind::Blob(hash)) => {
                blobs.insert(hash, Bytes::from(bytes));
            }
            Some(Kind::Session(id)) => {
                let session = lines::read(&file.name, &bytes)?;
                if *session.id.0 != *id {
                    return Err(BadBundle::new(&file.name, Wrong::Form("it holds another session".to_owned())));
                }
                sessions.push(session);
                sources.push(bytes);
            }
            None => return Err(BadBundle::new(&file.name, Wrong::Name)),
        }
    }
    Ok(((sessions, sources), blobs))
}

/// Whether a session would be written as it was.
fn as_written(session: &Session, bytes: &[u8]) -> Result<(), BadBundle> {
    let file = Kind::Session(session.id.to_string()).name();
    let again = lines::write(&file, session)?;
    if again == bytes {
        return Ok(());
    }
    let line = lines::first_difference(&again, bytes);
    Err(BadBundle::new(&file, Wrong::Form(format!("line {line} says it in other bytes, or in another order"))))
}
