//! What has come of a file so far: on disk, hashed as it comes, locked against a second pull.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};

use super::HubError;
use super::exchange::Offer;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;
/// Room that is left on the disk for everybody else.
const SPARE: u64 = 64 << 20;
/// How every GGUF file begins.
const MAGIC: &[u8] = b"GGUF";

/// A file that is coming.
pub(super) struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    len: u64,
    /// Its first bytes, until there are enough to see what it is.
    begins: Vec<u8>,
    label: Label,
}

/// Of what it is a part; kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    url: String,
    tag: Option<String>,
    sha256: Option<String>,
    bytes: Option<u64>,
}

impl Part {
    /// The part that an earlier pull of the same address left, or an empty one.
    pub(super) async fn open(target: &Path, url: &Url) -> Result<Self, HubError> {
        let path = beside(target, "part");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await.map_err(|error| HubError::disk(folder, error))?;
        }
        let disk = |error| HubError::disk(&path, error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).await;
        let file = lock(file.map_err(disk)?.into_std().await, &path)?;
        let label = read_label(&path).await.filter(|label| label.url == url.as_str());
        let (fits, label) = match label {
            Some(label) => (true, label),
            None => (false, Label { url: url.to_string(), ..Label::default() }),
        };
        let file = BufWriter::with_capacity(BUFFER, file);
        let mut part = Self { path, file, hash: Sha256::new(), len: 0, begins: Vec::new(), label };
        if fits {
            part.reread().await?;
        } else {
            part.restart().await?;
        }
        Ok(part)
    }

    /// Bytes that are here.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The version they belong to.
    pub(super) fn tag(&self) -> Option<&str> {
        self.label.tag.as_deref()
    }

    /// Whether the bytes that are here begin what is offered now.
    pub(super) fn belongs_to(&self, offer: &Offer) -> bool {
        let differ = |here: &Option<String>, there: &Option<String>| here.is_some() && there.is_some() && here != there;
        let known = self.label.sha256.is_some() && offer.sha256.is_some();
        let other_tag = !known && differ(&self.label.tag, &offer.tag);
        let too_long = offer.bytes.is_some_and(|bytes| self.len > bytes);
        !differ(&self.label.sha256, &offer.sha256) && !other_tag && !too_long
    }

    /// Forgets what has come.
    pub(super) async fn restart(&mut self) -> Result<(), HubError> {
        let disk = |error| HubError::disk(&self.path, error);
        self.file.flush().await.map_err(disk)?;
        self.file.get_ref().set_len(0).await.map_err(disk)?;
        self.file.rewind().await.map_err(disk)?;
        (self.hash, self.len) = (Sha256::new(), 0);
        self.begins.clear();
        Ok(())
    }

    /// Notes what is coming, and sees whether it fits.
    pub(super) async fn prepare(&mut self, offer: &Offer) -> Result<(), HubError> {
        let label = Label {
            url: self.label.url.clone(),
            tag: offer.tag.clone(),
            sha256: offer.sha256.clone(),
            bytes: offer.bytes,
        };
        if label != self.label {
            self.label = label;
            let text = serde_json::to_vec(&self.label).map_err(|error| HubError::disk(&self.path, error.into()))?;
            let path = beside(&self.path, "json");
            fs::write(&path, text).await.map_err(|error| HubError::disk(&path, error))?;
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let missing = offer.bytes.unwrap_or(0).saturating_sub(self.len);
        match rustix::fs::statvfs(folder) {
            Ok(room) if room.f_bavail.saturating_mul(room.f_frsize) < missing.saturating_add(SPARE) => {
                let free = room.f_bavail.saturating_mul(room.f_frsize).saturating_sub(SPARE) >> 20;
                Err(HubError::NoRoom { folder: folder.display().to_string(), free, needed: missing.div_ceil(1 << 20) })
            }
            // Where nobody can say how much room there is, it is found out by writing.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Keeps what has just come.
    pub(super) async fn write(&mut self, bytes: &[u8], url: &Url, offer: &Offer) -> Result<(), HubError> {
        self.hash.update(bytes);
        self.len += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.begins.len() < MAGIC.len() {
            let missing = MAGIC.len() - self.begins.len();
            self.begins.extend_from_slice(bytes.get(..missing.min(bytes.len())).unwrap_or_default());
            if !MAGIC.starts_with(&self.begins) {
                let begins = self.begins.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect();
                self.delete().await;
                return Err(HubError::NotGguf { url: url.to_string(), begins: Some(begins) });
            }
        }
        if let Some(announced) = offer.bytes.filter(|announced| self.len > *announced) {
            self.delete().await;
            return Err(HubError::TooLong { announced });
        }
        self.file.write_all(bytes).await.map_err(|error| HubError::disk(&self.path, error))
    }

    /// The line broke: what has come is put on disk.
    pub(super) async fn broke(&mut self, cause: &str, offer: &Offer) -> HubError {
        if let Err(error) = self.file.flush().await {
            return HubError::disk(&self.path, error);
        }
        let total = offer.bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
        HubError::Broke { have: self.len, total, cause: cause.to_owned() }
    }

    /// Every byte is here: checks them, and gives the file its name. Returns size and checksum.
    pub(super) async fn finish(mut self, target: &Path, offer: &Offer) -> Result<(u64, String), HubError> {
        let disk = |error| HubError::disk(&self.path, error);
        self.file.flush().await.map_err(disk)?;
        self.file.get_ref().sync_all().await.map_err(disk)?;
        let found = hex(std::mem::take(&mut self.hash));
        if let Some(expected) = offer.sha256.clone().filter(|expected| *expected != found) {
            self.delete().await;
            return Err(HubError::WrongChecksum { expected, found });
        }
        if self.begins.len() < MAGIC.len() {
            self.delete().await;
            return Err(HubError::NotGguf { url: self.label.url, begins: Some(String::new()) });
        }
        fs::rename(&self.path, target).await.map_err(|error| HubError::disk(target, error))?;
        let _ = fs::remove_file(beside(&self.path, "json")).await;
        Ok((self.len, found))
    }

    /// Takes an empty part away again, when nothing had to be fetched.
    pub(super) async fn discard(self) {
        self.delete().await;
    }

    async fn delete(&self) {
        // What cannot be deleted is overwritten by the next pull.
        let _ = fs::remove_file(&self.path).await;
        let _ = fs::remove_file(beside(&self.path, "json")).await;
    }

    /// Hashes what an earlier pull left.
    async fn reread(&mut self) -> Result<(), HubError> {
        let disk = |error| HubError::disk(&self.path, error);
        let mut buffer = vec![0; BUFFER];
        let file = self.file.get_mut();
        loop {
            let count = file.read(&mut buffer).await.map_err(disk)?;
            let read = buffer.get(..count).unwrap_or_default();
            if read.is_empty() {
                return Ok(());
            }
            self.hash.update(read);
            self.len += u64::try_from(count).unwrap_or(u64::MAX);
            let missing = MAGIC.len().saturating_sub(self.begins.len());
            self.begins.extend_from_slice(read.get(..missing.min(count)).unwrap_or_default());
        }
    }
}

/// `name.gguf.part` for `name.gguf`, and so on.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Size and checksum of a file.
pub(super) async fn measure(path: &Path) -> Result<(u64, String), HubError> {
    let disk = |error| HubError::disk(path, error);
    let mut file = File::open(path).await.map_err(disk)?;
    let (mut hash, mut len, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        let count = file.read(&mut buffer).await.map_err(disk)?;
        if count == 0 {
            return Ok((len, hex(hash)));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        len += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two pulls of one file would write into each other. The lock ends with the file, also when the process is killed.
fn lock(file: std::fs::File, path: &Path) -> Result<File, HubError> {
    match file.try_lock() {
        Ok(()) => Ok(File::from_std(file)),
        Err(TryLockError::WouldBlock) => Err(HubError::Underway { path: path.display().to_string() }),
        // Some network disks know no locks: then two pulls are the user's affair.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(File::from_std(file)),
        Err(TryLockError::Error(error)) => Err(HubError::disk(path, error)),
    }
}

async fn read_label(part: &Path) -> Option<Label> {
    serde_json::from_slice(&fs::read(beside(part, "json")).await.ok()?).ok()
}
