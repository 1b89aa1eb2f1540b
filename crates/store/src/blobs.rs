//! Images and files: stored once for all sessions that hold them, sealed by a key of their own.
//!
//! Each session holds that key, sealed by its own. The last session that goes takes the blob with it.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use commonwatt_core::turn::SessionId;
use rusqlite::OptionalExtension;

use crate::Store;
use crate::commit::Commit;
use crate::error::{StoreError, closed};
use crate::readers::View;
use crate::seal::{Keys, Kind, Place, Sealer, new_key};
use crate::sessions::Held;
use crate::writer::Desk;

/// Bytes to keep for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlob {
    /// Their SHA-256, which is checked.
    pub sha256: [u8; 32],
    /// Themselves.
    pub bytes: Bytes,
}

impl Store {
    /// The bytes with this SHA-256, if the session holds them.
    ///
    /// # Errors
    /// [`StoreError::UnknownSession`], [`StoreError::Erased`], or the disk's.
    pub async fn blob(&self, session: &SessionId, sha256: [u8; 32]) -> Result<Option<Bytes>, StoreError> {
        let session = session.clone();
        self.read(move |view| get(view, &Held::get(view.db, &session)?, &sha256)).await
    }
}

/// The commit, if its blobs are what their hashes say. Else one session could put false bytes into another's hands.
pub(crate) async fn check(commit: Commit) -> Result<Commit, StoreError> {
    if commit.blobs.is_empty() {
        return Ok(commit);
    }
    tokio::task::spawn_blocking(move || checked(commit)).await.map_err(closed)?
}

/// The same at once, for whoever has no time to wait.
pub(crate) fn checked(commit: Commit) -> Result<Commit, StoreError> {
    let right = commit.blobs.iter().all(|blob| digest(&SHA256, &blob.bytes).as_ref() == blob.sha256);
    if right { Ok(commit) } else { Err(StoreError::WrongHash) }
}

/// Gives a session the blob.
pub(crate) fn add(desk: &Desk<'_>, held: &Held, sealer: &Sealer, blob: &NewBlob) -> Result<(), StoreError> {
    let address = desk.keys.address(&blob.sha256);
    let mut rows = desk.db.prepare_cached("SELECT row FROM blobs WHERE hash = ?1")?;
    let there = rows.query_row([address], |row| row.get::<_, i64>(0)).optional()?;
    let (row, key) = match there {
        None => {
            let key = new_key()?;
            let body = Sealer::new(&key)?.seal(body_place(&address), &blob.bytes)?;
            desk.db.prepare_cached("INSERT INTO blobs (hash, body) VALUES (?1, ?2)")?.execute((address, body))?;
            (desk.db.last_insert_rowid(), key)
        }
        Some(row) => {
            let mut rows = desk.db.prepare_cached("SELECT 1 FROM blob_keys WHERE session = ?1 AND blob = ?2")?;
            if rows.exists((held.row, row))? {
                return Ok(());
            }
            (row, key_of_any(desk, row, &address)?)
        }
    };
    let key = sealer.seal(held.place(Kind::BlobKey, &address), key.as_ref())?;
    desk.db
        .prepare_cached("INSERT INTO blob_keys (session, blob, key) VALUES (?1, ?2, ?3)")?
        .execute((held.row, row, key))?;
    Ok(())
}

/// Takes a session's blobs from it, and those away that nobody else holds.
pub(crate) fn erase(desk: &Desk<'_>, held: &Held) -> Result<(), StoreError> {
    desk.db
        .prepare_cached(
            "DELETE FROM blobs WHERE row IN (SELECT blob FROM blob_keys WHERE session = ?1) AND NOT EXISTS \
             (SELECT 1 FROM blob_keys k WHERE k.blob = blobs.row AND k.session <> ?1)",
        )?
        .execute([held.row])?;
    desk.db.prepare_cached("DELETE FROM blob_keys WHERE session = ?1")?.execute([held.row])?;
    Ok(())
}

type BlobKey = zeroize::Zeroizing<[u8; 32]>;

/// The blob's key, from whichever session holds it.
fn key_of_any(desk: &Desk<'_>, blob: i64, address: &[u8; 32]) -> Result<BlobKey, StoreError> {
    let mut rows = desk.db.prepare_cached("SELECT session, key FROM blob_keys WHERE blob = ?1 LIMIT 1")?;
    let (session, key) = rows.query_row([blob], |row| Ok((row.get(0)?, row.get(1)?)))?;
    open_key(desk.keys, &Held::at(desk.db, session)?, address, key)
}

fn open_key(keys: &Keys, held: &Held, address: &[u8; 32], sealed: Vec<u8>) -> Result<BlobKey, StoreError> {
    held.sealer(keys)?.open_key(held.place(Kind::BlobKey, address), sealed)
}

fn get(view: &View<'_>, held: &Held, sha256: &[u8; 32]) -> Result<Option<Bytes>, StoreError> {
    if held.is_erased() {
        return Err(StoreError::Erased);
    }
    let address = view.keys.address(sha256);
    let mut rows = view.db.prepare_cached(
        "SELECT k.key, b.body FROM blobs b JOIN blob_keys k ON k.blob = b.row AND k.session = ?2 WHERE b.hash = ?1",
    )?;
    let row = rows.query_row((address, held.row), |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((key, body)) = row.optional()? else { return Ok(None) };
    let key = open_key(view.keys, held, &address, key)?;
    Sealer::new(&key)?.open(body_place(&address), body).map(Some)
}

fn body_place(address: &[u8; 32]) -> Place<'_> {
    Place { session: "", kind: Kind::Blob, row: address }
}
