//! Migrations of a store with a past.

use super::*;
use crate::file::{connect, is_new, make_private, set_for_writing};
use tempfile::TempDir;

const FIRST: Migration = Migration { version: 1, name: "first", sql: "CREATE TABLE a (x TEXT)" };
const SECOND: Migration = Migration { version: 2, name: "second", sql: "ALTER TABLE a ADD COLUMN y TEXT" };
const BROKEN: Migration = Migration { version: 2, name: "broken", sql: "DROP TABLE a; DROP TABLE nonsense" };

fn migrated(folder: &TempDir, migrations: &[Migration]) -> Result<Connection, StoreError> {
    let path = folder.path().join("db");
    make_private(&path)?;
    let mut db = connect(&path)?;
    let is_new = is_new(&db, &path)?;
    set_for_writing(&db)?;
    migrate(&mut db, &path, migrations, is_new, 7)?;
    Ok(db)
}

fn files(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_older_store_is_copied_then_changed() {
    let folder = TempDir::new().unwrap();
    let db = migrated(&folder, &[FIRST]).unwrap();
    db.execute_batch("INSERT INTO a VALUES ('kept')").unwrap();
    drop(db);
    assert_eq!(files(&folder), ["db"]);

    let db = migrated(&folder, &[FIRST, SECOND]).unwrap();
    let row = db.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(row, ("kept".to_owned(), None::<String>));
    drop(db);
    assert_eq!(files(&folder), ["db", "db.before-2"]);
    let copy = Connection::open(folder.path().join("db.before-2")).unwrap();
    assert_eq!(copy.query_row("SELECT x FROM a", [], |row| row.get::<_, String>(0)).unwrap(), "kept");
    assert!(copy.prepare("SELECT y FROM a").is_err());
}

#[test]
fn a_store_that_is_up_to_date_is_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(migrated(&folder, &[FIRST]).unwrap());
    drop(migrated(&folder, &[FIRST]).unwrap());
    assert_eq!(files(&folder), ["db"]);
}

#[test]
fn a_newer_store_is_refused_in_one_sentence() {
    let folder = TempDir::new().unwrap();
    drop(migrated(&folder, &[FIRST, SECOND]).unwrap());
    let refused = migrated(&folder, &[FIRST]).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the store is of version 2, and this program knows versions up to 1: use a newer program",
    );
}

#[test]
fn a_store_of_a_changed_program_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(migrated(&folder, &[FIRST]).unwrap());
    let changed = Migration { sql: "CREATE TABLE a (x BLOB)", ..FIRST };
    assert_eq!(migrated(&folder, &[changed, SECOND]).err(), Some(StoreError::Altered { version: 1 }));
}

#[test]
fn a_migration_that_fails_changes_nothing_and_can_be_tried_again() {
    let folder = TempDir::new().unwrap();
    drop(migrated(&folder, &[FIRST]).unwrap());
    assert!(migrated(&folder, &[FIRST, BROKEN]).is_err());
    let db = migrated(&folder, &[FIRST, SECOND]).unwrap();
    db.prepare("SELECT x, y FROM a").unwrap();
}

#[test]
fn the_versions_rise_by_one() {
    let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    assert!(versions.iter().copied().eq(1..=versions.len() as u32), "{versions:?}");
}
