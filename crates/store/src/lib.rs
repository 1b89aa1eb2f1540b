//! Everything durable: sessions and the turns they are made of, what was half said when the process died, who holds a
//! session.
//!
//! *Knows:* SQL, the file and who has it open, keys and how content is sealed under them, epochs, what was erased.
//!
//! *Does not know:* what a turn's body means (bodies are bytes), policy, HTTP, which call a change belongs to.
//!
//! # The shape
//!
//! [`Store::open`] gives a [`Store`]; clone it freely. Every `async fn` that changes something returns when the change
//! is on disk, and every change is idempotent: whoever got no answer asks again.
//!
//! | to … | call |
//! |---|---|
//! | begin or continue a session, in one atomic unit | [`Store::commit`] |
//! | find one | [`Store::session`], [`Store::session_named`], [`Store::linked`], [`Store::sessions`] |
//! | read what was said | [`Store::path`], [`Store::tail`], [`Store::tree`], [`Store::response`], [`Store::blob`] |
//! | keep an answer while it comes | [`Store::journal_begin`], [`Store::journal_append`], [`Store::journal_append_soon`], [`Store::journal_end`] |
//! | learn what was under way when the process died | [`Store::open_journals`] |
//! | hand a session over | [`Store::offer`], [`Store::read_offered`], [`Store::accept`], [`Store::branch`], [`Store::revoke`], [`Store::handoffs`] |
//! | keep what was derived from a turn | [`Store::put_derived`], [`Store::derived`] |
//! | forget | [`Store::erase`], [`Store::expire`], [`Store::delete_response`] |
//! | copy, close | [`Store::backup`], [`Store::close`] |
//!
//! # What lies where
//!
//! One SQLite file and its write-ahead log. One thread writes, in batches (`writer.rs`); another moves the log into the file,
//! reads run on a few connections beside them. Content is sealed (AES-256-GCM) under a random key of its session, which
//! is sealed by the node key; hashes of content are stored keyed. In the clear are ids, times, parties, who holds what,
//! which deployment and model made a turn, a session's principal, name and data class. Erasing a session destroys its
//! key and everything sealed under it, and its name; ids, parents, parties, states and times stay: the graph's shape.
//!
//! Nothing here looks at a clock but through [`Options::clock_ms`]; chance is the operating system's, since keys and
//! nonces that a caller could foresee would protect nothing.

#![forbid(unsafe_code)]

mod backup;
mod blobs;
mod checkpoint;
mod commit;
mod derived;
mod erase;
mod error;
mod file;
mod handoffs;
mod journals;
mod key;
mod migrate;
mod readers;
mod seal;
mod sessions;
mod turns;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

pub use self::blobs::NewBlob;
pub use self::commit::{
    BODY_BYTES_MAX, COMMIT_BYTES_MAX, COMMIT_ROWS_MAX, Commit, Link, NewResponse, NewSession, NewTurn, TEXT_BYTES_MAX,
};
pub use self::erase::EXPIRE_MAX;
pub use self::error::{Again, StoreError, Whose};
pub use self::handoffs::{Accept, Handoff, HandoffError, NewHandoff};
pub use self::journals::{Journal, JournalHead};
pub use self::key::{NodeKey, NodeKeyError};
pub use self::sessions::{Cursor, PAGE_MAX, Page, Session};
pub use self::turns::{Node, PATH_MAX, Response, State, StoredTurn, TREE_MAX};

use crate::checkpoint::Checkpoints;
use crate::file::Lock;
use crate::readers::{Readers, View};
use crate::seal::Keys;
use crate::writer::{Bench, Desk, Writer};

/// Milliseconds since 1970, as told by whoever opened the store.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a store needs.
pub struct Options {
    /// Its file. SQLite puts `-wal` and `-shm` beside it, the store `.lock`. Never on a network file system.
    pub path: PathBuf,
    /// The key that opens it.
    pub node_key: NodeKey,
    /// The calendar.
    pub clock_ms: Clock,
    /// Bytes that the file may have; zero: as many as the disk has room for.
    pub bytes_max: u64,
}

/// Everything durable. Cheap to clone; the last clone, when dropped, waits for what is queued.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// In the order in which it ends: readers, then the writer with what is queued, then the checkpointer, whose connection
/// is the last one and moves the log into the file; then the lock.
struct Inner {
    readers: Arc<Readers>,
    writer: Writer,
    checkpoints: Checkpoints,
    _lock: Lock,
}

impl Store {
    /// Opens the store, making it if it is absent and migrating it if it is of an older version. Blocks.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::WrongNodeKey`], [`StoreError::Newer`], [`StoreError::Altered`],
    /// [`StoreError::NotAStore`], or the disk's.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let Options { path, node_key, clock_ms, bytes_max } = options;
        let lock = Lock::take(&path)?;
        file::make_private(&path)?;
        let mut db = file::connect(&path)?;
        let is_new = file::is_new(&db, &path)?;
        if !is_new {
            migrate::applied(&db, migrate::MIGRATIONS)?;
            open_keys(&db, &node_key)?;
        }
        file::set_for_writing(&db)?;
        migrate::migrate(&mut db, &path, migrate::MIGRATIONS, is_new, clock_ms())?;
        let (keys, run) = begin_run(&db, &node_key)?;
        file::bound(&db, bytes_max)?;

        let checkpoint_db = file::connect(&path)?;
        file::set_for_writing(&checkpoint_db)?;
        let checkpoints = Checkpoints::start(checkpoint_db, &path)?;
        let readers = Readers::new(path.clone(), keys.clone(), run);
        let wake = checkpoints.wake();
        let writer = Writer::start(Bench { db, keys, clock_ms, run, wake }, &path)?;
        Ok(Self(Arc::new(Inner { readers, writer, checkpoints, _lock: lock })))
    }

    /// Writes what is queued, then closes: whoever asks a clone for something later is told [`StoreError::Closed`]. The
    /// file is another process's to open when the last clone is gone.
    pub async fn close(self) {
        self.0.readers.close().await;
        self.0.writer.stop().await;
        self.0.checkpoints.stop().await;
    }

    async fn write<T: Send + 'static>(
        &self,
        size: usize,
        work: impl Fn(&Desk<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.writer.write(size, work).await
    }

    /// Returns when whatever was queued before is on disk.
    ///
    /// # Errors
    /// [`StoreError::Closed`] or the disk's.
    pub async fn settled(&self) -> Result<(), StoreError> {
        self.write(0, |_| Ok(())).await
    }

    /// So that nothing deleted is left in the log.
    async fn empty_the_log(&self) -> Result<(), StoreError> {
        self.0.checkpoints.truncate().await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Arc::clone(&self.0.readers).read(work).await
    }
}

/// The keys of a store that exists.
fn open_keys(db: &Connection, node_key: &NodeKey) -> Result<Option<Keys>, StoreError> {
    let sealed = db.query_row("SELECT address_key FROM store", [], |row| row.get(0)).optional()?;
    sealed.map(|sealed| Keys::open(node_key, sealed)).transpose()
}

/// The keys of a store, made if it has none, and how often it was opened, this time included.
fn begin_run(db: &Connection, node_key: &NodeKey) -> Result<(Keys, u64), StoreError> {
    let keys = match open_keys(db, node_key)? {
        Some(keys) => keys,
        None => {
            let (keys, sealed) = Keys::make(node_key)?;
            db.execute("INSERT INTO store (only, address_key, run) VALUES (1, ?1, 0)", [sealed])?;
            keys
        }
    };
    let run = db.query_row("UPDATE store SET run = run + 1 RETURNING run", [], |row| row.get(0))?;
    Ok((keys, run))
}
