//! Migrations: forward only, each once, each whole.
//!
//! The file remembers of each its version, its name and the BLAKE3 of its text. A store that knows a later version than
//! this program is refused; so is one whose migrations are not those of this program. Before an older store is changed
//! it is copied to `<file>.before-<version>`.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::backup;
use crate::error::StoreError;
use crate::file::{APPLICATION_ID, beside};

/// One step from a version to the next.
pub(crate) struct Migration {
    /// From 1, without gaps.
    pub(crate) version: u32,
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// All of them, oldest first.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "the_bus", sql: include_str!("../migrations/0001_the_bus.sql") }];

/// Brings the database to the last version; `is_new` says that it is empty.
pub(crate) fn migrate(
    db: &mut Connection,
    path: &Path,
    migrations: &[Migration],
    is_new: bool,
    now_ms: u64,
) -> Result<(), StoreError> {
    let applied = if is_new { 0 } else { applied(db, migrations)? };
    let mut due = migrations.iter().filter(|migration| migration.version > applied).peekable();
    if due.peek().is_some() && !is_new {
        backup::replace(db, &beside(path, &format!(".before-{}", applied + 1)))?;
    }
    for migration in due {
        let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        apply(&change, migration, now_ms)?;
        change.commit()?;
    }
    Ok(())
}

/// The version of a store that is not new, if all that was applied to it is known here.
pub(crate) fn applied(db: &Connection, migrations: &[Migration]) -> Result<u32, StoreError> {
    let mut rows = db.prepare("SELECT version, blake3 FROM migrations ORDER BY version")?;
    let rows = rows.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    let known = migrations.last().map_or(0, |migration| migration.version);
    let found = rows.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, hash) in rows {
        let same = migrations.iter().any(|ours| ours.version == version && fingerprint(ours).as_slice() == hash);
        if !same {
            return Err(StoreError::Altered { version });
        }
    }
    Ok(found)
}

fn apply(change: &Transaction<'_>, migration: &Migration, now_ms: u64) -> Result<(), StoreError> {
    if migration.version == 1 {
        change.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID};
             CREATE TABLE migrations (
                 version    INTEGER PRIMARY KEY,
                 name       TEXT    NOT NULL,
                 blake3     BLOB    NOT NULL,
                 applied_ms INTEGER NOT NULL
             ) STRICT;"
        ))?;
    }
    change.execute_batch(migration.sql)?;
    change.execute(
        "INSERT INTO migrations (version, name, blake3, applied_ms) VALUES (?1, ?2, ?3, ?4)",
        params![migration.version, migration.name, fingerprint(migration), now_ms],
    )?;
    Ok(())
}

fn fingerprint(migration: &Migration) -> [u8; 32] {
    *blake3::hash(migration.sql.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests;
