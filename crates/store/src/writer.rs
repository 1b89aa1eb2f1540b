//! The one thread that writes, and its group commit.
//!
//! Changes queue up. The thread takes what is there, applies it in one transaction, syncs once, then tells every waiter.
//! Each change has a savepoint of its own: one that fails is undone and answered, and the others of its batch go on.
//! Some faults (a full disk) make SQLite undo the whole transaction: then the batch is applied once more without the
//! change that met the fault.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::Clock;
use crate::checkpoint::Wake;
use crate::error::{StoreError, closed};
use crate::seal::Keys;

/// Changes that may wait: some seconds of work on a slow disk. Past it callers wait, or are told [`StoreError::Busy`].
pub(crate) const QUEUE_MAX: usize = 4_096;
/// Bytes that waiting changes may hold together.
pub(crate) const QUEUE_BYTES_MAX: usize = 256 << 20;
/// Changes in one transaction: enough to make the sync cheap for each, few enough that none waits long.
pub(crate) const BATCH_MAX: usize = 256;
/// Bytes in one transaction, unless its first change alone has more.
pub(crate) const BATCH_BYTES_MAX: usize = 32 << 20;
/// The queue's bytes are counted in kibibytes.
const ROOM_UNIT_BYTES: usize = 1 << 10;

/// What a change sees while it is applied.
pub(crate) struct Desk<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) keys: &'a Keys,
    /// When the batch began.
    pub(crate) now_ms: u64,
    /// How often the store was opened, this time included.
    pub(crate) run: u64,
}

/// What the thread is told.
enum Order {
    Write(Box<dyn Change>),
    Stop,
}

/// A change in the queue, whatever it answers with.
trait Change: Send {
    /// Bytes it holds.
    fn size(&self) -> usize;
    /// Applies it and keeps the outcome; may be called again when its batch was undone.
    fn apply(&mut self, desk: &Desk<'_>) -> Result<(), StoreError>;
    /// Tells whoever waits the outcome, or why nothing of the batch was written.
    fn answer(self: Box<Self>, written: Result<(), StoreError>);
}

/// A function and whoever waits for what it returns.
struct Task<F, T> {
    work: F,
    size: usize,
    value: Option<T>,
    waits: oneshot::Sender<Result<T, StoreError>>,
    _room: OwnedSemaphorePermit,
}

impl<T: Send, F: Fn(&Desk<'_>) -> Result<T, StoreError> + Send> Change for Task<F, T> {
    fn size(&self) -> usize {
        self.size
    }

    fn apply(&mut self, desk: &Desk<'_>) -> Result<(), StoreError> {
        self.value = Some((self.work)(desk)?);
        Ok(())
    }

    fn answer(self: Box<Self>, written: Result<(), StoreError>) {
        let Self { value, waits, .. } = *self;
        // Whoever waited may have left: what was written stays written.
        let _ = waits.send(written.and_then(|()| value.ok_or(StoreError::Closed)));
    }
}

/// A change of a batch, and whether it could be applied.
type Tried = (Box<dyn Change>, Result<(), StoreError>);

/// The way to the thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    _thread: Joined,
}

/// What the thread owns.
pub(crate) struct Bench {
    pub(crate) db: Connection,
    pub(crate) keys: Keys,
    pub(crate) clock_ms: Clock,
    pub(crate) run: u64,
    pub(crate) wake: Wake,
}

impl Writer {
    pub(crate) fn start(bench: Bench, path: &Path) -> Result<Self, StoreError> {
        let (queue, orders) = mpsc::channel(QUEUE_MAX);
        let name = format!("store writer {}", path.display());
        let thread = std::thread::Builder::new().name(name).spawn(move || bench.run(orders))?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX / ROOM_UNIT_BYTES));
        Ok(Self { queue, room, _thread: Joined(Some(thread)) })
    }

    /// Queues a change of `size` bytes, waiting for room, and waits until it is on disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        size: usize,
        work: impl Fn(&Desk<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let room = Arc::clone(&self.room).acquire_many_owned(units(size)).await.map_err(closed)?;
        let (waits, outcome) = oneshot::channel();
        let task = Task { work, size, value: None, waits, _room: room };
        self.queue.send(Order::Write(Box::new(task))).await.map_err(closed)?;
        outcome.await.map_err(closed)?
    }

    /// Queues a change if there is room now. Nobody is told what came of it.
    pub(crate) fn write_soon<T: Send + 'static>(
        &self,
        size: usize,
        work: impl Fn(&Desk<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(units(size)).map_err(|_| StoreError::Busy)?;
        let (waits, _) = oneshot::channel();
        let task = Task { work, size, value: None, waits, _room: room };
        self.queue.try_send(Order::Write(Box::new(task))).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }

    /// Asks the thread to end when what is queued now is written.
    pub(crate) async fn stop(&self) {
        // A thread that has ended already has nothing left to stop.
        let _ = self.queue.send(Order::Stop).await;
        self.queue.closed().await;
    }
}

/// A thread that is waited for when this is dropped. Stands after whatever tells the thread to end.
pub(crate) struct Joined(pub(crate) Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Whoever waited for it was told by a closed channel.
            let _ = thread.join();
        }
    }
}

fn units(size: usize) -> u32 {
    u32::try_from((size / ROOM_UNIT_BYTES + 1).min(QUEUE_BYTES_MAX / ROOM_UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl Bench {
    fn run(self, mut orders: mpsc::Receiver<Order>) {
        let mut going = true;
        while going && let Some(first) = orders.blocking_recv() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write(change) => {
                        bytes += change.size();
                        batch.push(change);
                    }
                    Order::Stop => going = false,
                }
                let more = going && batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX;
                next = if more { orders.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                self.write(batch);
                self.wake.wrote(bytes);
            }
        }
    }

    /// Applies a batch, makes it durable, tells everyone.
    fn write(&self, batch: Vec<Box<dyn Change>>) {
        let mut batch: Vec<_> = batch.into_iter().map(|change| (change, Ok(()))).collect();
        let written = self.write_what_can_be(&mut batch);
        for (change, applied) in batch {
            let outcome = match (applied, &written) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(refused), _) => Err(refused),
                (Ok(()), Err(fault)) => Err(fault.clone()),
            };
            change.answer(outcome);
        }
    }

    fn write_what_can_be(&self, batch: &mut [Tried]) -> Result<(), StoreError> {
        let now_ms = (self.clock_ms)();
        let desk = Desk { db: &self.db, keys: &self.keys, now_ms, run: self.run };
        // Ends: each round but the last sets aside one change.
        loop {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            if apply_each(&desk, batch)? {
                break;
            }
        }
        self.db.execute_batch("COMMIT").map_err(|error| {
            if !self.db.is_autocommit() {
                // Nothing better can be done with a failing rollback: the next `BEGIN` tells.
                let _ = self.db.execute_batch("ROLLBACK");
            }
            error.into()
        })
    }
}

/// Applies what was not refused yet; false when SQLite undid the whole transaction on the way.
fn apply_each(desk: &Desk<'_>, batch: &mut [Tried]) -> Result<bool, StoreError> {
    for (change, outcome) in batch.iter_mut().filter(|(_, outcome)| outcome.is_ok()) {
        *outcome = desk.db.execute_batch("SAVEPOINT change").map_err(Into::into).and_then(|()| change.apply(desk));
        if desk.db.is_autocommit() {
            *outcome = std::mem::replace(outcome, Ok(())).and(Err(StoreError::Full));
            return Ok(false);
        }
        let end = if outcome.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
        if let Err(error) = desk.db.execute_batch(end) {
            *outcome = Err(error.into());
            if !desk.db.is_autocommit() {
                desk.db.execute_batch("ROLLBACK")?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
