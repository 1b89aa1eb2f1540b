//! A few connections that read, on threads that may block. A read is one short transaction: a long one would keep the
//! write-ahead log from being emptied.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::{StoreError, closed};
use crate::file::connect_to_read;
use crate::seal::Keys;

/// Reads under way at once: the disk has no use for more. Others wait.
pub(crate) const READERS_MAX: usize = 8;

/// What a read sees: the store at one moment.
pub(crate) struct View<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) keys: &'a Keys,
    /// How often the store was opened, this time included.
    pub(crate) run: u64,
}

/// The connections that wait to be used.
pub(crate) struct Readers {
    path: PathBuf,
    keys: Keys,
    run: u64,
    idle: Mutex<Vec<Connection>>,
    turnstile: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, keys: Keys, run: u64) -> Arc<Self> {
        let turnstile = Arc::new(Semaphore::new(READERS_MAX));
        Arc::new(Self { path, keys, run, idle: Mutex::default(), turnstile })
    }

    pub(crate) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let through = Arc::clone(&self.turnstile).acquire_owned().await.map_err(closed)?;
        let read = move || {
            let outcome = self.read_now(work);
            drop(through);
            outcome
        };
        tokio::task::spawn_blocking(read).await.map_err(closed)?
    }

    /// Lets nobody through any more, waits for those inside, and closes the connections.
    pub(crate) async fn close(&self) {
        let everyone = u32::try_from(READERS_MAX).unwrap_or(u32::MAX);
        // An error means that it is closed already.
        if let Ok(through) = self.turnstile.acquire_many(everyone).await {
            self.turnstile.close();
            drop(through);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn read_now<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut db = idle.map_or_else(|| connect_to_read(&self.path), Ok)?;
        let transaction = db.transaction()?;
        let outcome = work(&View { db: &transaction, keys: &self.keys, run: self.run });
        transaction.finish()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        outcome
    }
}
