//! The thread that moves the write-ahead log into the file, on a connection of its own, so that the writer waits for
//! nothing but its own sync.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::{StoreError, closed};
use crate::file::WAL_BYTES_KEPT;
use crate::writer::Joined;

/// Requests that may wait. A wake that finds no room is not needed: one is on its way.
const QUEUE_MAX: usize = 64;
/// Bytes of content after which the log is looked at.
const WAKE_BYTES: usize = 4 << 20;
/// What a change writes besides its content, roughly: a few pages of indexes.
const OVERHEAD_BYTES: usize = 16 << 10;
/// The size of a page, SQLite's default.
const PAGE_BYTES: u64 = 4_096;

/// How long the log's cutting waits for readers, and the writer with it.
const READER_PATIENCE: Duration = Duration::from_millis(100);
/// How long after a reader was in the way it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the thread is told.
enum Order {
    /// The log has grown.
    Grown,
    /// Leave nothing in the log, then tell.
    Truncate(oneshot::Sender<()>),
    Stop,
}

/// How the writer tells that the log has grown.
pub(crate) struct Wake {
    queue: mpsc::Sender<Order>,
    since: std::cell::Cell<usize>,
}

impl Wake {
    /// A batch with that much content was written.
    pub(crate) fn wrote(&self, bytes: usize) {
        let since = self.since.get() + bytes + OVERHEAD_BYTES;
        if since < WAKE_BYTES {
            self.since.set(since);
            return;
        }
        self.since.set(0);
        // Full: it is awake. Closed: the store is being closed, which ends with a checkpoint.
        let _ = self.queue.try_send(Order::Grown);
    }
}

/// The way to the thread.
pub(crate) struct Checkpoints {
    queue: mpsc::Sender<Order>,
    _thread: Joined,
}

impl Checkpoints {
    pub(crate) fn start(db: Connection, path: &Path) -> Result<Self, StoreError> {
        db.busy_timeout(READER_PATIENCE)?;
        let (queue, orders) = mpsc::channel(QUEUE_MAX);
        let name = format!("store checkpoints {}", path.display());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&db, orders))?;
        Ok(Self { queue, _thread: Joined(Some(thread)) })
    }

    pub(crate) fn wake(&self) -> Wake {
        Wake { queue: self.queue.clone(), since: std::cell::Cell::new(0) }
    }

    /// Empties the log, so that nothing deleted is left in it. When a reader is long in the way it is tried again
    /// every second, and nobody waits for that.
    pub(crate) async fn truncate(&self) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        self.queue.send(Order::Truncate(tell)).await.map_err(closed)?;
        told.await.map_err(closed)
    }

    pub(crate) async fn stop(&self) {
        // A thread that has ended already has nothing left to stop.
        let _ = self.queue.send(Order::Stop).await;
        self.queue.closed().await;
    }
}

fn run(db: &Connection, mut orders: mpsc::Receiver<Order>) {
    // A log that could not be emptied: it is tried again until it is.
    let mut owed = false;
    while let Some(first) = receive(&mut orders, owed) {
        let mut wait = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Grown => {}
                Order::Truncate(tell) => wait.push(tell),
                Order::Stop => return,
            }
            next = orders.try_recv().ok();
        }
        owed = !checkpoint(db, owed || !wait.is_empty());
        for tell in wait {
            // Whoever waited may have left.
            let _ = tell.send(());
        }
    }
}

/// The next order; when something is owed, the order to do it comes by itself.
fn receive(orders: &mut mpsc::Receiver<Order>, owed: bool) -> Option<Order> {
    if !owed {
        return orders.blocking_recv();
    }
    let (_tell, never) = std::sync::mpsc::sync_channel::<()>(0);
    // Nobody tells anything: this is a pause.
    let _ = never.recv_timeout(PAUSE);
    match orders.try_recv() {
        Ok(order) => Some(order),
        Err(mpsc::error::TryRecvError::Empty) => Some(Order::Grown),
        Err(mpsc::error::TryRecvError::Disconnected) => None,
    }
}

/// Moves the log into the file; if `all`, or if it stays too long for a busy writer, cuts it too. False when it was to
/// be cut and could not.
fn checkpoint(db: &Connection, all: bool) -> bool {
    let passive = pragma(db, "PRAGMA wal_checkpoint(PASSIVE)");
    let long = passive.is_some_and(|done| done.log_pages * PAGE_BYTES > WAL_BYTES_KEPT);
    if !all && !long {
        return true;
    }
    pragma(db, "PRAGMA wal_checkpoint(TRUNCATE)").is_some_and(|done| !done.blocked)
}

struct Done {
    blocked: bool,
    log_pages: u64,
}

fn pragma(db: &Connection, sql: &str) -> Option<Done> {
    let done = db.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let (blocked, log_pages) = done.ok()?;
    Some(Done { blocked: blocked != 0, log_pages: log_pages.try_into().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::file::{beside, connect, make_private, set_for_writing};

    fn filled(folder: &TempDir) -> (PathBuf, Connection) {
        let path = folder.path().join("db");
        make_private(&path).unwrap();
        let db = connect(&path).unwrap();
        set_for_writing(&db).unwrap();
        db.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        (path, db)
    }

    fn log_bytes(path: &Path) -> u64 {
        std::fs::metadata(beside(path, "-wal")).unwrap().len()
    }

    #[tokio::test]
    async fn the_log_is_empty_when_it_was_truncated() {
        let folder = TempDir::new().unwrap();
        let (path, _db) = filled(&folder);
        assert_ne!(log_bytes(&path), 0);
        let checkpoints = Checkpoints::start(connect(&path).unwrap(), &path).unwrap();
        checkpoints.truncate().await.unwrap();
        assert_eq!(log_bytes(&path), 0);
    }

    #[test]
    fn a_log_that_a_reader_holds_is_owed_and_emptied_later() {
        let folder = TempDir::new().unwrap();
        let (path, db) = filled(&folder);
        let reader = connect(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        db.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        let checkpoints = connect(&path).unwrap();
        checkpoints.busy_timeout(Duration::ZERO).unwrap();
        assert!(!checkpoint(&checkpoints, true));
        assert_ne!(log_bytes(&path), 0);
        reader.execute_batch("COMMIT").unwrap();
        assert!(checkpoint(&checkpoints, true));
        assert_eq!(log_bytes(&path), 0);
    }

    #[tokio::test]
    async fn what_is_owed_is_done_when_the_reader_has_gone() {
        let folder = TempDir::new().unwrap();
        let (path, db) = filled(&folder);
        let reader = connect(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        db.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        let checkpoints = Checkpoints::start(connect(&path).unwrap(), &path).unwrap();
        checkpoints.truncate().await.unwrap();
        assert_ne!(log_bytes(&path), 0);
        reader.execute_batch("COMMIT").unwrap();
        for _ in 0..100 {
            if log_bytes(&path) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the log is still {} bytes long", log_bytes(&path));
    }

    #[test]
    fn a_short_log_is_not_cut_for_nothing() {
        let folder = TempDir::new().unwrap();
        let (path, _db) = filled(&folder);
        assert!(checkpoint(&connect(&path).unwrap(), false));
        assert_ne!(log_bytes(&path), 0);
    }
}
