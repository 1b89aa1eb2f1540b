//! The store's file: who may read it, which one process has it open, and how its connections are set.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

/// "CWAT" in the file's header, so that no other SQLite database is taken for a store.
pub(crate) const APPLICATION_ID: u32 = 0x4357_4154;

/// What SQLite keeps of its write-ahead log after a checkpoint: above it, the file is cut.
pub(crate) const WAL_BYTES_KEPT: u64 = 64 << 20;

/// How long a connection waits for another's lock. Only a checkpoint that cuts the log is in the writer's way.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Statements that a connection keeps prepared: more than there are in this crate.
const STATEMENTS_KEPT: usize = 96;

/// The right to open a store's file: held by one process at a time, given back by the system however the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock beside the store's file.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(path, ".lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.into())),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

/// Makes the file if it is absent; in any case only its owner may read it and the logs that SQLite puts beside it.
pub(crate) fn make_private(path: &Path) -> Result<(), StoreError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o777 != 0o600 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    sync_folder_of(path)?;
    Ok(())
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The path with something after it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A connection that writes: the writer's, or the checkpointer's.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(LOCK_PATIENCE)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(db)
}

/// Sets a writing connection. Whatever is deleted is overwritten; a commit is on disk before it returns; checkpoints
/// are the checkpointer's.
pub(crate) fn set_for_writing(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = {WAL_BYTES_KEPT};
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;"
    ))?;
    Ok(())
}

/// Bounds the file to so many bytes; zero is no bound.
pub(crate) fn bound(db: &Connection, bytes_max: u64) -> Result<(), StoreError> {
    if bytes_max == 0 {
        return Ok(());
    }
    let page_bytes: u64 = db.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages = (bytes_max / page_bytes.max(1)).clamp(1, u64::from(u32::MAX - 1));
    db.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
    Ok(())
}

/// A connection that only reads.
pub(crate) fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(LOCK_PATIENCE)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    db.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
    Ok(db)
}

/// Whether the file is empty, so that a store may be made in it; an error if it is something else.
pub(crate) fn is_new(db: &Connection, path: &Path) -> Result<bool, StoreError> {
    let id = db.query_row("PRAGMA application_id", [], |row| row.get::<_, u32>(0));
    let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0));
    match (id, tables) {
        (Ok(APPLICATION_ID), Ok(_)) => Ok(false),
        (Ok(0), Ok(0)) => Ok(true),
        (Ok(_), Ok(_)) => Err(StoreError::NotAStore(path.into())),
        (Err(error), _) | (_, Err(error)) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => Err(StoreError::NotAStore(path.into())),
            Some(_) | None => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writing_connection_syncs_each_commit_and_overwrites_what_is_deleted() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("db");
        make_private(&path).unwrap();
        let db = connect(&path).unwrap();
        set_for_writing(&db).unwrap();
        for (name, value) in [("synchronous", 2), ("secure_delete", 1), ("wal_autocheckpoint", 0), ("fullfsync", 1)] {
            let found: i64 = db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap();
            assert_eq!(found, value, "{name}");
        }
        let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_reading_connection_cannot_write() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("db");
        make_private(&path).unwrap();
        set_for_writing(&connect(&path).unwrap()).unwrap();
        assert!(connect_to_read(&path).unwrap().execute_batch("CREATE TABLE t (x)").is_err());
    }
}
