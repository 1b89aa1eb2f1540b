//! The note that a running daemon leaves in the home folder, by which the command line finds it.
//!
//! ```json
//! {"url":"http://127.0.0.1:4600","pid":4711,"version":"0.1.0","started_unix_s":1795000000}
//! ```

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Home, read, write_private};

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Daemon {
    /// Its address, as a URL without a path.
    pub(crate) url: String,
    /// Its process.
    pub(crate) pid: u32,
    /// The program's version.
    pub(crate) version: String,
    /// When it started, in seconds since 1970.
    pub(crate) started_unix_s: u64,
}

/// A note that is there as long as this value lives.
#[derive(Debug)]
pub(crate) struct Announcement {
    home: Home,
    pid: u32,
}

impl Home {
    /// The note.
    pub(super) fn daemon_file(&self) -> PathBuf {
        self.dir.join("daemon.json")
    }

    /// Leaves the note of this process, whole or not at all. It is taken away when the value is dropped.
    ///
    /// # Errors
    /// One sentence, when it cannot be written.
    pub(crate) fn announce(&self, url: &str, started_unix_s: u64) -> anyhow::Result<Announcement> {
        let pid = std::process::id();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let note = Daemon { url: url.to_owned(), pid, version, started_unix_s };
        let text = serde_json::to_string(&note).context("cannot write the note as JSON")?;
        write_private(&self.daemon_file(), &format!("{text}\n"))?;
        Ok(Announcement { home: self.clone(), pid })
    }

    /// The daemon that left a note, if its process is alive. A note that a killed daemon left behind does not count.
    pub(crate) fn daemon(&self) -> Option<Daemon> {
        self.noted().filter(|daemon| is_alive(daemon.pid))
    }

    fn noted(&self) -> Option<Daemon> {
        serde_json::from_str(&read(&self.daemon_file()).ok()??).ok()
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if self.home.noted().is_some_and(|daemon| daemon.pid == self.pid) {
            let _ = fs::remove_file(self.home.daemon_file());
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let Some(pid) = pid else { return false };
    match rustix::process::test_kill_process(pid) {
        Ok(()) | Err(rustix::io::Errno::PERM) => true,
        Err(_) => false,
    }
}
