//! Copies of the whole file, taken while it is written to. A copy opens with the node key of the original.
//!
//! An erased session lives on in the copies made before: they hold its key. Whoever must erase must also let old copies
//! go.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::Store;
use crate::error::StoreError;
use crate::file::{beside, make_private, sync_folder_of};

impl Store {
    /// Copies the store, as it is at one moment, to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`StoreError::Exists`] rather than overwriting anything.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), StoreError> {
        let to = to.into();
        self.read(move |view| {
            if to.try_exists()? {
                return Err(StoreError::Exists(to));
            }
            replace(view.db, &to)
        })
        .await
    }
}

/// Copies a database to a file, which is whole when it appears.
pub(crate) fn replace(from: &Connection, to: &Path) -> Result<(), StoreError> {
    let partial = beside(to, ".partial");
    if partial.try_exists()? {
        fs::remove_file(&partial)?;
    }
    make_private(&partial)?;
    let mut copy = Connection::open(&partial)?;
    // In one step, hence of one moment: writing goes on meanwhile, into the log.
    let step = Backup::new(from, &mut copy)?.step(-1)?;
    if step != StepResult::Done {
        return Err(StoreError::Busy);
    }
    copy.close().map_err(|(_, error)| error)?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, to)?;
    sync_folder_of(to).map_err(Into::into)
}
