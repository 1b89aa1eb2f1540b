//! Notices that the configuration, the keys or the vault have changed.
//!
//! By looking once a second at sizes and times of a few files: that works on every file system, in containers, and for
//! editors that replace files, and costs a few system calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::settings::Settings;

/// What a file looked like: when it was changed, and how long it was.
type Look = Option<(SystemTime, u64)>;

/// Watches the files that a generation is made of.
pub(crate) struct Watcher {
    files: Vec<PathBuf>,
    vault: PathBuf,
    seen: BTreeMap<PathBuf, Look>,
}

impl Watcher {
    /// Watches the files of these settings from now on.
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut watcher = Self { files: Vec::new(), vault: PathBuf::new(), seen: BTreeMap::new() };
        watcher.follow(settings);
        watcher
    }

    /// Watches the files of other settings.
    pub(crate) fn follow(&mut self, settings: &Settings) {
        let origin = &settings.origin;
        self.files = vec![origin.file(), origin.home.keys_file()];
        self.vault.clone_from(&settings.engine.vault);
        self.seen = self.look();
    }

    /// Whether anything has changed since it was last asked.
    pub(crate) fn has_changed(&mut self) -> bool {
        let now = self.look();
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    fn look(&self) -> BTreeMap<PathBuf, Look> {
        let stored = std::fs::read_dir(&self.vault).into_iter().flatten().flatten().map(|entry| entry.path());
        let models = stored.filter(|path| path.extension().is_some_and(|ending| ending == "gguf"));
        self.files.iter().cloned().chain(models).map(|path| (path.clone(), look(&path))).collect()
    }
}

fn look(path: &Path) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
