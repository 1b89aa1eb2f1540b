//! The file itself: who opens it, what stands beside it, when it is full.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use commonwatt_store::{Again, Options, StoreError, Whose};

use crate::world::{World, beginning, id, look, more, said, session};

#[tokio::test]
async fn a_second_daemon_gets_one_sentence_until_the_first_is_gone() {
    let world = World::new();
    let store = world.open();
    let refused = world.try_open(world.options()).err().unwrap();
    assert_eq!(refused, StoreError::InUse(world.path()));
    assert!(refused.to_string().ends_with("open: a store has one daemon"));
    drop(store);
    world.open();
}

#[tokio::test]
async fn only_the_owner_may_read_anything_of_a_store() {
    let world = World::new();
    std::fs::write(world.path(), "").unwrap();
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.backup(world.folder.path().join("copy.db")).await.unwrap();
    let mut names = Vec::new();
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["copy.db", "store.db", "store.db-shm", "store.db-wal", "store.db.lock"]);
}

#[tokio::test]
async fn something_else_is_not_taken_for_a_store() {
    let world = World::new();
    std::fs::write(world.path(), "Dear diary, ".repeat(1_000)).unwrap();
    assert_eq!(world.try_open(world.options()).err(), Some(StoreError::NotAStore(world.path())));
    std::fs::remove_file(world.path()).unwrap();
    let other = rusqlite::Connection::open(world.path()).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    drop(other);
    assert_eq!(world.try_open(world.options()).err(), Some(StoreError::NotAStore(world.path())));
}

#[tokio::test]
async fn a_backup_opens_with_the_same_key_and_overwrites_nothing() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    let copy = world.folder.path().join("copy.db");
    store.backup(&copy).await.unwrap();
    assert_eq!(store.backup(&copy).await, Err(StoreError::Exists(copy.clone())));
    store.commit(more("s", "a", "b")).await.unwrap();

    let copied = world.try_open(Options { path: copy, ..world.options() }).unwrap();
    assert_eq!(look(&copied, "s").await.head, id("a"));
    assert_eq!(said(&copied, "s", "a").await, ["said a"]);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let world = World::new();
    let store = world.open();
    let clone = store.clone();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.close().await;
    assert_eq!(clone.commit(more("s", "a", "b")).await, Err(StoreError::Closed));
    assert_eq!(clone.path(&session("s"), id("a"), 9).await, Err(StoreError::Closed));
    assert_eq!(clone.erase(&session("s")).await, Err(StoreError::Closed));
}

#[tokio::test]
async fn closing_waits_for_what_is_queued() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut queued = Vec::new();
    for n in 0..30 {
        let mut change = Box::pin(store.commit(more("s", "a", &n.to_string())));
        // Polled once, hence queued.
        if let std::task::Poll::Ready(answer) = change.as_mut().poll(&mut context) {
            assert_eq!(answer, Ok(()));
        } else {
            queued.push(change);
        }
    }
    store.clone().close().await;
    for change in queued {
        assert_eq!(change.await, Ok(()));
    }
    drop(store);
    assert_eq!(look(&world.open(), "s").await.turns, 31);
}

#[tokio::test]
async fn a_change_that_finds_no_room_is_not_persisted_and_the_others_of_its_batch_are() {
    let world = World::new();
    let store = world.try_open(Options { bytes_max: 1 << 20, ..world.options() }).unwrap();
    store.commit(beginning("s", &["a"])).await.unwrap();
    let mut large = more("s", "a", "large");
    large.turns[0].body = Bytes::from(vec![7; 2 << 20]);
    let (before, refused, after) = tokio::join!(
        store.commit(more("s", "a", "before")),
        store.commit(large),
        store.commit(more("s", "a", "after")),
    );
    assert_eq!((before, after), (Ok(()), Ok(())));
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.clone(), refused.whose(), refused.again()),
        (StoreError::Full, Whose::Operators, Again::WhenMended)
    );
    assert_eq!(look(&store, "s").await.turns, 3);
    assert_eq!(said(&store, "s", "after").await, ["said a", "said after"]);
}
