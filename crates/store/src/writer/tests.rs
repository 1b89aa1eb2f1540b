//! The batch: one transaction, one sync, each change for itself.

use std::sync::mpsc as std_mpsc;

use tempfile::TempDir;

use super::*;
use crate::NodeKey;
use crate::checkpoint::Checkpoints;
use crate::file::{connect, make_private, set_for_writing};

/// A writer over a table of numbers, whose thread waits until it is let go.
struct World {
    folder: TempDir,
    writer: Arc<Writer>,
    _checkpoints: Checkpoints,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("db");
        make_private(&path).unwrap();
        let connect = || {
            let db = connect(&path).unwrap();
            set_for_writing(&db).unwrap();
            db
        };
        let db = connect();
        db.execute_batch("CREATE TABLE numbers (n INTEGER UNIQUE)").unwrap();
        let checkpoints = Checkpoints::start(connect(), &path).unwrap();
        let (keys, _) = Keys::make(&NodeKey::new([0; 32])).unwrap();
        let bench = Bench { db, keys, clock_ms: Arc::new(|| 0), run: 1, wake: checkpoints.wake() };
        Self { writer: Arc::new(Writer::start(bench, &path).unwrap()), folder, _checkpoints: checkpoints }
    }

    /// Holds the thread up in a change until the sender is dropped, so that what follows is one batch.
    fn hold(&self) -> std_mpsc::Sender<()> {
        let (go, wait) = std_mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        self.writer
            .write_soon(0, move |_| {
                // Its end is what is waited for.
                let _ = wait.lock().unwrap().recv();
                Ok(())
            })
            .unwrap();
        go
    }

    async fn insert(&self, n: i64) -> Result<(), StoreError> {
        self.writer.write(0, move |desk| Ok(desk.db.execute("INSERT INTO numbers VALUES (?1)", [n]).map(drop)?)).await
    }

    fn numbers(&self) -> Vec<i64> {
        let db = connect(&self.folder.path().join("db")).unwrap();
        let mut rows = db.prepare("SELECT n FROM numbers ORDER BY n").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

#[tokio::test]
async fn a_change_that_fails_halfway_is_undone_and_its_neighbours_are_not() {
    let world = World::new();
    let go = world.hold();
    let halfway = world.writer.write(0, |desk| {
        desk.db.execute("INSERT INTO numbers VALUES (2)", [])?;
        Err::<(), _>(StoreError::UnknownSession)
    });
    let (one, two, three, ()) = tokio::join!(world.insert(1), halfway, world.insert(3), async { drop(go) });
    assert_eq!((one, two, three), (Ok(()), Err(StoreError::UnknownSession), Ok(())));
    assert_eq!(world.numbers(), [1, 3]);
}

#[tokio::test]
async fn when_the_whole_transaction_is_undone_the_others_are_applied_once_more() {
    let world = World::new();
    let go = world.hold();
    let fatal = world.writer.write(0, |desk| {
        desk.db.execute_batch("ROLLBACK")?;
        Err::<(), _>(StoreError::Full)
    });
    let (one, two, three, ()) = tokio::join!(world.insert(1), fatal, world.insert(3), async { drop(go) });
    assert_eq!((one, two, three), (Ok(()), Err(StoreError::Full), Ok(())));
    assert_eq!(world.numbers(), [1, 3]);
}

/// `DEFERRABLE` constraints are looked at by `COMMIT`, which then fails with the transaction still open.
#[tokio::test]
async fn a_commit_that_failed_and_was_not_persisted_is_told_to_all_and_the_next_one_works() {
    let world = World::new();
    let go = world.hold();
    let poison = world.writer.write(0, |desk| {
        desk.db.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             CREATE TABLE child (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO child VALUES (99);",
        )?;
        Ok(())
    });
    let (one, poisoned, ()) = tokio::join!(world.insert(1), poison, async { drop(go) });
    assert!(matches!(one, Err(StoreError::Disk { .. })), "{one:?}");
    assert!(matches!(poisoned, Err(StoreError::Disk { .. })), "{poisoned:?}");
    assert_eq!(world.numbers(), [0_i64; 0]);
    assert_eq!(world.insert(2).await, Ok(()));
    assert_eq!(world.numbers(), [2]);
}

#[tokio::test]
async fn a_change_whose_waiter_left_failed_for_it_but_was_persisted() {
    let world = World::new();
    let go = world.hold();
    {
        let mut left = std::pin::pin!(world.insert(1));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(left.as_mut().poll(&mut context).is_pending());
    }
    drop(go);
    world.insert(2).await.unwrap();
    assert_eq!(world.numbers(), [1, 2]);
}

#[tokio::test]
async fn a_full_queue_is_told_to_whoever_does_not_wait() {
    let world = World::new();
    let go = world.hold();
    let mut queued = 0;
    while world.writer.write_soon(0, |_| Ok(())).is_ok() {
        queued += 1;
        assert!(queued <= QUEUE_MAX + BATCH_MAX);
    }
    assert_eq!(world.writer.write_soon(0, |_| Ok(())), Err(StoreError::Busy));
    drop(go);
    assert_eq!(world.insert(1).await, Ok(()));
}

#[tokio::test]
async fn the_bytes_in_the_queue_are_bounded_too() {
    let world = World::new();
    let go = world.hold();
    let large = QUEUE_BYTES_MAX / 2;
    assert_eq!(world.writer.write_soon(large, |_| Ok(())), Ok(()));
    assert_eq!(world.writer.write_soon(large, |_| Ok(())), Err(StoreError::Busy));
    drop(go);
    world.insert(1).await.unwrap();
    assert_eq!(world.writer.write_soon(large, |_| Ok(())), Ok(()));
}
