//! The thread that moves the write-ahead log into the file, on a connection of its own, so that the writer waits for
//! nothing but its own sync.

use std::path::Path;

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
        let (queue, orders) = mpsc::channel(QUEUE_MAX);
        let name = format!("store checkpoints {}", path.display());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&db, orders))?;
        Ok(Self { queue, _thread: Joined(Some(thread)) })
    }

    pub(crate) fn wake(&self) -> Wake {
        Wake { queue: self.queue.clone(), since: std::cell::Cell::new(0) }
    }

    /// Empties the log, so that nothing deleted is left in it. When a reader is long in the way it is done later.
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
    // A log that could not be emptied is emptied at the next occasion.
    let mut owed = false;
    while let Some(first) = orders.blocking_recv() {
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
