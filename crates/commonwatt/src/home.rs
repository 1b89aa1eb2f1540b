//! The home folder: keys, models, and the note by which the command line finds the daemon.
//!
//! ```text
//! ~/.commonwatt/            0700
//! ├─ commonwatt.toml        the configuration, if there is one
//! ├─ key                    0600  the first key in plain text, for the command line on this machine
//! ├─ keys.toml              0600  all keys that may call, as hashes
//! ├─ vault/                 models (GGUF)
//! ├─ bus.db                 0600  sessions, encrypted
//! ├─ node.key               0600  the key that opens them, unless a program gives it
//! ├─ bundle.key             0600  the key that signs what is taken along, made on first use
//! ├─ signers.toml           0600  whose bundles are taken in
//! ├─ handoff.key            0600  what the keys grow from with which handoffs are signed
//! ├─ history                0600  what was typed in `commonwatt chat`
//! └─ daemon.json            where the running daemon listens
//! ```

mod daemon;
mod keys;
mod signers;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[cfg(test)]
pub(crate) use self::keys::hash_text;
pub(crate) use self::keys::{FIRST, FirstKey, KeyOrigin, StoredKey, new_key, parse_hash};
use crate::env::{self, Env};

/// The home folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// The home folder that the environment names, or `~/.commonwatt`. It need not exist.
    ///
    /// # Errors
    /// When the environment names neither it nor the user's own folder.
    pub(crate) fn locate(env: &Env) -> anyhow::Result<Self> {
        if let Some(dir) = env.get(env::HOME) {
            let dir = expand(env, dir);
            let absolute = std::path::absolute(&dir);
            return Ok(Self { dir: absolute.with_context(|| format!("`{}` names no folder", dir.display()))? });
        }
        let user = env.user_home().ok_or_else(|| {
            anyhow!("nobody says where your own folder is: set `COMMONWATT_HOME` to a folder for keys and models")
        })?;
        Ok(Self { dir: Path::new(user).join(".commonwatt") })
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration file, if nobody names another.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("commonwatt.toml")
    }

    /// The first key in plain text.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.dir.join("key")
    }

    /// Where models lie, if the configuration names no other folder.
    pub(crate) fn vault(&self) -> PathBuf {
        self.dir.join("vault")
    }

    /// Where sessions are kept.
    pub(crate) fn bus_file(&self) -> PathBuf {
        self.dir.join("bus.db")
    }

    /// The key under which they are.
    pub(crate) fn node_key_file(&self) -> PathBuf {
        self.dir.join("node.key")
    }

    /// The secret from which the keys grow with which this node signs handoffs: made at the first start, and the same ever
    /// after. Whoever deletes the file ends every handoff that is open.
    ///
    /// # Errors
    /// One sentence that says what to do, when it cannot be read or made, or when others may read it.
    pub(crate) fn handoff_seed(&self) -> anyhow::Result<[u8; 32]> {
        let path = self.dir.join("handoff.key");
        refuse_if_open(&path)?;
        if let Some(text) = read(&path)? {
            let seed = URL_SAFE_NO_PAD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
            return seed.ok_or_else(|| {
                let path = path.display();
                anyhow!(
                    "`{path}` holds no key (32 bytes in base64url): restore it, or delete it to end all open handoffs"
                )
            });
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("the system gives no random numbers")?;
        write_private(&path, &format!("{}\n", URL_SAFE_NO_PAD.encode(seed)))?;
        Ok(seed)
    }

    /// What was typed in `commonwatt chat`.
    pub(crate) fn history_file(&self) -> PathBuf {
        self.dir.join("history")
    }

    /// Makes the folder, closed to others, where it is missing.
    ///
    /// # Errors
    /// One sentence that says what to do, when it cannot be made or written to.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        let advice = "give yourself the right to write there, or set `COMMONWATT_HOME` to another folder";
        if !self.dir.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
            made.map_err(|error| anyhow!("cannot make the folder `{}` ({error}): {advice}", self.dir.display()))?;
        }
        if !self.dir.is_dir() {
            return Err(anyhow!("`{}` is no folder: set `COMMONWATT_HOME` to one", self.dir.display()));
        }
        let probe = self.dir.join(format!(".probe-{}", std::process::id()));
        let tried = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe);
        tried.map_err(|error| anyhow!("cannot write to `{}` ({error}): {advice}", self.dir.display()))?;
        fs::remove_file(&probe).with_context(|| format!("cannot delete `{}`", probe.display()))
    }
}

/// A path as people write it: `~` is the user's own folder.
pub(crate) fn expand(env: &Env, path: &str) -> PathBuf {
    let rest = if path == "~" { Some("") } else { path.strip_prefix("~/") };
    match (rest, env.user_home()) {
        (Some(rest), Some(user)) => Path::new(user).join(rest),
        (_, _) => PathBuf::from(path),
    }
}

/// Reads a file that may be missing.
///
/// # Errors
/// One sentence, when it is there and cannot be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Why a file cannot be read, as a sentence.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    let known = [
        (io::ErrorKind::PermissionDenied, "give yourself the right to read it"),
        (io::ErrorKind::NotFound, "name a file that exists"),
        (io::ErrorKind::InvalidData, "it must be text in UTF-8"),
        (io::ErrorKind::IsADirectory, "name a file, not a folder"),
    ];
    let found = known.into_iter().find(|(kind, _)| *kind == error.kind());
    let advice = found.map_or("see whether the disk is well", |(_, advice)| advice);
    anyhow!("cannot read `{}` ({error}): {advice}", path.display())
}

/// Refuses a secret file that others on this machine can read.
fn refuse_if_open(path: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(anyhow!("others on this machine can read the key in `{path}`: run `chmod 600 {path}`"))
}

/// Writes a text that only its owner may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private_bytes(path, text.as_bytes())
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// One sentence, when it cannot be written; what was there before stays.
pub(crate) fn write_private_bytes(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&draft);
        anyhow!("cannot write `{}` ({error}): see whether the folder may be written to and has room", path.display())
    })
}

#[cfg(test)]
mod tests;
