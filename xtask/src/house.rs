//! The tree as it lies on disk, read once. Rules are functions of this value, so that a test can build a small one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Folders that hold nothing of ours.
const FOREIGN: &[&str] = &[".git", "target", "node_modules", ".venv", "__pycache__"];

/// All files of the repository: paths relative to its root, with `/` between their parts.
#[derive(Debug, Default)]
pub struct House {
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
}

impl House {
    /// The repository that this program was compiled from.
    ///
    /// # Errors
    /// When a folder or a file cannot be read.
    pub fn here() -> io::Result<Self> {
        Self::read(&root())
    }

    /// The tree below `root`. Files that are not UTF-8 are known by name only.
    ///
    /// # Errors
    /// When a folder or a file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut house = Self::default();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_dir() {
                    if !FOREIGN.contains(&name.as_str()) {
                        folders.push(path);
                    }
                } else if let Ok(relative) = path.strip_prefix(root) {
                    house.note(relative, fs::read(&path)?);
                }
            }
        }
        Ok(house)
    }

    /// A house made of these files.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut house = Self::default();
        for (path, text) in files {
            house.note(Path::new(path), text.as_bytes().to_vec());
        }
        house
    }

    fn note(&mut self, path: &Path, bytes: Vec<u8>) {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let path = parts.join("/");
        self.paths.insert(path.clone());
        if let Ok(text) = String::from_utf8(bytes) {
            self.texts.insert(path, text);
        }
    }

    /// What a file says; none when there is no such text file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether there is such a file or folder.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.paths.contains(path) || self.paths.range(folder.clone()..).next().is_some_and(|p| p.starts_with(&folder))
    }

    /// Text files whose path ends with one of `endings`.
    pub fn texts<'a>(&'a self, endings: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let wanted = move |path: &&str| endings.iter().any(|ending| path.ends_with(ending));
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).filter(move |(path, _)| wanted(path))
    }

    /// Rust files below a folder.
    pub fn rust<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts(&[".rs"]).filter(move |(path, _)| path.starts_with(folder))
    }

    /// The folders that hold a crate: `crates/core`, …, `xtask`.
    pub fn crates(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().filter_map(|path| path.strip_suffix("/Cargo.toml"))
    }
}

/// The root of the repository that this program was compiled from.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
