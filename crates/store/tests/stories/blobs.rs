//! Images and files, held by several sessions.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use commonwatt_core::turn::Epoch;
use commonwatt_store::{Commit, NewBlob, StoreError};

use crate::world::{World, beginning, session};

fn blob(text: &str) -> NewBlob {
    let sha256 = digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap();
    NewBlob { sha256, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn with(name: &str, text: &str) -> Commit {
    Commit { blobs: vec![blob(text)], ..beginning(name, &["a"]) }
}

#[tokio::test]
async fn a_blob_of_two_sessions_is_stored_once_and_goes_with_the_last() {
    let world = World::new();
    let store = world.open();
    let picture = "picture".repeat(20_000);
    store.commit(with("s", &picture)).await.unwrap();
    let size_of_one = size(&world).await;
    store.commit(with("t", &picture)).await.unwrap();
    assert!(size(&world).await < size_of_one + 100_000, "the second session adds a key, not a picture");
    let sha256 = blob(&picture).sha256;
    assert_eq!(store.blob(&session("t"), sha256).await.unwrap().unwrap(), picture);

    store.erase(&session("s")).await.unwrap();
    assert_eq!(store.blob(&session("s"), sha256).await, Err(StoreError::Erased));
    assert_eq!(store.blob(&session("t"), sha256).await.unwrap().unwrap(), picture);
    store.erase(&session("t")).await.unwrap();
    store.close().await;
    let db = rusqlite::Connection::open(world.path()).unwrap();
    let left: u32 = db
        .query_row("SELECT (SELECT count(*) FROM blobs) + (SELECT count(*) FROM blob_keys)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_session_does_not_get_the_blob_of_another_by_its_hash() {
    let world = World::new();
    let store = world.open();
    store.commit(with("s", "secret")).await.unwrap();
    store.commit(beginning("t", &["a"])).await.unwrap();
    assert_eq!(store.blob(&session("t"), blob("secret").sha256).await, Ok(None));
    assert_eq!(store.blob(&session("nobody"), blob("secret").sha256).await, Err(StoreError::UnknownSession));
}

#[tokio::test]
async fn bytes_under_a_false_hash_are_refused() {
    let world = World::new();
    let store = world.open();
    let forged = NewBlob { sha256: blob("right").sha256, bytes: Bytes::from_static(b"wrong") };
    let commit = Commit { blobs: vec![forged], ..beginning("s", &["a"]) };
    assert_eq!(store.commit(commit).await, Err(StoreError::WrongHash));
    assert_eq!(store.session(&session("s"), "ada").await, Ok(None));
}

#[tokio::test]
async fn the_same_blob_twice_is_as_good_as_once() {
    let world = World::new();
    let store = world.open();
    store.commit(with("s", "x")).await.unwrap();
    let again = Commit { blobs: vec![blob("x"), blob("x")], ..Commit::to(session("s"), Epoch(0)) };
    store.commit(again).await.unwrap();
    assert_eq!(store.blob(&session("s"), blob("x").sha256).await.unwrap().unwrap(), "x");
}

async fn size(world: &World) -> u64 {
    let files = std::fs::read_dir(world.folder.path()).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}
