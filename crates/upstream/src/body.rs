//! A request body, kept whole for the life of its call so that every attempt starts from what the client sent.
//!
//! Up to [`SPILL_BYTES`] it stays in memory; past that it lies in an unnamed temporary file, so that a slow answer to a
//! large prompt does not hold the prompt in memory.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use commonwatt_core::fault::{Fault, FaultKind};

/// Bodies larger than this are kept on disk: one mebibyte.
pub const SPILL_BYTES: usize = 1 << 20;

/// A complete request body.
#[derive(Clone)]
pub enum KeptBody {
    /// In memory.
    Memory(Bytes),
    /// In an unnamed temporary file.
    Spilled {
        /// The file; one reader at a time.
        file: Arc<Mutex<File>>,
        /// Its size in bytes.
        len: usize,
    },
}

impl KeptBody {
    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Spilled { len, .. } => *len,
        }
    }

    /// Whether nothing was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    ///
    /// # Errors
    /// A fault when the temporary file cannot be read.
    pub async fn bytes(&self) -> Result<Bytes, Fault> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::Spilled { file, len } => {
                let (file, len) = (Arc::clone(file), *len);
                let read = tokio::task::spawn_blocking(move || read_all(&file, len)).await;
                let failed = |what: String| Fault::new(FaultKind::Untranslatable, what);
                read.map_err(|error| failed(format!("reading the kept request failed: {error}")))?
                    .map_err(|error| failed(format!("the request kept on disk cannot be read: {error}")))
            }
        }
    }
}

fn read_all(file: &Mutex<File>, len: usize) -> io::Result<Bytes> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.rewind()?;
    let mut bytes = Vec::with_capacity(len);
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// A body while it arrives.
#[derive(Default)]
pub struct Arriving {
    /// A body of one piece is kept without a copy.
    only: Bytes,
    memory: BytesMut,
    file: Option<File>,
    expected: usize,
    len: usize,
}

impl Arriving {
    /// A body of which the sender says that it has so many bytes. The word is not relied upon.
    #[must_use]
    pub fn expecting(bytes: usize) -> Self {
        Self { expected: bytes, ..Self::default() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn push(&mut self, piece: Bytes) -> io::Result<()> {
        let is_first = self.len == 0;
        self.len += piece.len();
        if let Some(file) = &mut self.file {
            return file.write_all(&piece);
        }
        if self.len > SPILL_BYTES {
            return self.spill(&piece);
        }
        if is_first {
            self.only = piece;
            return Ok(());
        }
        if self.memory.is_empty() {
            self.memory.reserve(self.expected.clamp(self.len, SPILL_BYTES));
            self.memory.extend_from_slice(&std::mem::take(&mut self.only));
        }
        self.memory.extend_from_slice(&piece);
        Ok(())
    }

    fn spill(&mut self, piece: &Bytes) -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&std::mem::take(&mut self.only))?;
        file.write_all(&std::mem::take(&mut self.memory))?;
        file.write_all(piece)?;
        self.file = Some(file);
        Ok(())
    }

    /// The complete body.
    #[must_use]
    pub fn finish(self) -> KeptBody {
        match self.file {
            None if self.memory.is_empty() => KeptBody::Memory(self.only),
            None => KeptBody::Memory(self.memory.freeze()),
            Some(file) => KeptBody::Spilled { file: Arc::new(Mutex::new(file)), len: self.len },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_body_lies_on_disk_and_comes_back_whole() {
        let mut arriving = Arriving::default();
        let piece = Bytes::from(vec![b'x'; 700_000]);
        arriving.push(piece.clone()).unwrap();
        arriving.push(piece).unwrap();
        let kept = arriving.finish();
        assert!(matches!(kept, KeptBody::Spilled { .. }));
        assert_eq!(kept.bytes().await.unwrap().len(), 1_400_000);
        assert_eq!(kept.bytes().await.unwrap().len(), 1_400_000);
    }

    #[tokio::test]
    async fn a_small_body_stays_in_memory() {
        let mut arriving = Arriving::default();
        for piece in ["{", "\"a\":", "1}"] {
            arriving.push(piece.into()).unwrap();
        }
        assert!(matches!(arriving.finish(), KeptBody::Memory(bytes) if bytes == "{\"a\":1}"));
    }
}
