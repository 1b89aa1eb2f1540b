//! Model files in a folder.
//!
//! Knows file names and checksums. Does not know where models come from. Everything here blocks: call it from a thread
//! that may.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::gguf::{GgufError, Header};

/// Folders inside folders that are searched: publisher and model, as hubs arrange them.
const DEPTH: u32 = 3;
/// Files that are looked at in one vault. A folder with more is something else.
const MAX_FILES: usize = 4096;

/// A model in a vault.
#[derive(Debug)]
pub struct VaultModel {
    /// File name without its ending and without the number of its part.
    pub name: String,
    /// The file to load; of a split model, the first part.
    pub path: PathBuf,
    /// All files of the model, in order.
    pub parts: Vec<PathBuf>,
    /// Size of all files together.
    pub bytes: u64,
    /// What the (first) file says about itself, or why it is no model.
    pub header: Result<Header, GgufError>,
}

/// Why the files of a model are not complete.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A part of a split model is missing.
    #[error("part {part} of {parts} is missing: `{path}` does not exist")]
    MissingPart {
        /// Its number, from 1.
        part: u32,
        /// How many there should be.
        parts: u32,
        /// Where it should be.
        path: String,
    },
    /// The file is not there or cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Its content is not what it should be.
    #[error("`{path}` has the SHA-256 checksum {found}, not {expected}: pull it again")]
    WrongChecksum {
        /// The file.
        path: String,
        /// In hexadecimal digits.
        expected: String,
        /// In hexadecimal digits.
        found: String,
    },
}

/// All models in a folder, by path. A folder that does not exist has none. Hidden files are skipped, and so are files
/// that are still being pulled.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<VaultModel>> {
    let mut files = Vec::new();
    match search(folder, DEPTH, &mut files) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        searched => searched?,
    }
    files.sort();
    // Of a split model only the first part is listed.
    Ok(files.iter().filter(|path| split(path).is_none_or(|split| split.part == 1)).map(|path| model(path)).collect())
}

fn search(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || files.len() >= MAX_FILES {
            continue;
        }
        if path.is_dir() {
            if depth > 1 {
                // A folder that may not be read hides its own models only.
                let _ = search(&path, depth - 1, files);
            }
        } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            files.push(path);
        }
    }
    Ok(())
}

fn model(path: &Path) -> VaultModel {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = split(path).map_or(stem, |split| split.base);
    let parts = parts(path).unwrap_or_else(|_| vec![path.to_owned()]);
    let bytes = parts.iter().filter_map(|part| part.metadata().ok()).map(|file| file.len()).sum();
    VaultModel { name, path: path.to_owned(), parts, bytes, header: Header::read_file(path) }
}

/// The files of the model that this file belongs to, in order: itself, or all parts of a split model.
///
/// # Errors
/// When one of them is not there.
pub fn parts(path: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let paths = match split(path) {
        None => vec![path.to_owned()],
        Some(split) => (1..=split.parts).map(|part| path.with_file_name(split.name(part))).collect(),
    };
    for (part, file) in (1..).zip(&paths) {
        let exists = file.try_exists();
        let path = || file.display().to_string();
        match exists {
            Ok(true) => {}
            Ok(false) if paths.len() > 1 => {
                let parts = u32::try_from(paths.len()).unwrap_or(u32::MAX);
                return Err(VaultError::MissingPart { part, parts, path: path() });
            }
            Ok(false) => {
                let source = io::Error::from(io::ErrorKind::NotFound);
                return Err(VaultError::Unreadable { path: path(), source });
            }
            Err(source) => return Err(VaultError::Unreadable { path: path(), source }),
        }
    }
    Ok(paths)
}

/// `<base>-00002-of-00005.gguf`, as llama.cpp names the parts of a model.
struct Split {
    base: String,
    part: u32,
    parts: u32,
}

impl Split {
    fn name(&self, part: u32) -> String {
        format!("{}-{part:05}-of-{:05}.gguf", self.base, self.parts)
    }
}

fn split(path: &Path) -> Option<Split> {
    let stem = path.file_stem()?.to_str()?;
    let (rest, parts) = stem.rsplit_once("-of-")?;
    let (base, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| (digits.len() == 5).then(|| digits.parse::<u32>().ok()).flatten();
    let (part, parts) = (number(part)?, number(parts)?);
    // A thousand parts are more than anybody cuts.
    ((1..=parts).contains(&part) && parts <= 1000).then(|| Split { base: base.to_owned(), part, parts })
}

/// The SHA-256 checksum of a file in lower-case hexadecimal digits. `progress` is told how many bytes were read so far.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path, mut progress: impl FnMut(u64)) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        read += u64::try_from(count).unwrap_or(0);
        progress(read);
    }
}

/// Checks a file against its checksum; upper and lower case are the same.
///
/// # Errors
/// When it cannot be read or differs.
pub fn verify(path: &Path, expected: &str, progress: impl FnMut(u64)) -> Result<(), VaultError> {
    let shown = path.display().to_string();
    let found = sha256(path, progress).map_err(|source| VaultError::Unreadable { path: shown.clone(), source })?;
    if found.eq_ignore_ascii_case(expected.trim()) {
        return Ok(());
    }
    Err(VaultError::WrongChecksum { path: shown, expected: expected.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"not a model").unwrap();
        }
        folder
    }

    #[test]
    fn a_vault_lists_models_in_folders_and_counts_a_split_one_once() {
        let vault = vault(&[
            "small.gguf",
            "hub/big/big-00001-of-00002.gguf",
            "hub/big/big-00002-of-00002.gguf",
            "half.gguf.partial",
            ".hidden.gguf",
            "readme.md",
        ]);
        let models = list(vault.path()).unwrap();
        let found: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.parts.len(), m.bytes)).collect();
        assert_eq!(found, [("big", 2, 22), ("small", 1, 11)]);
        assert!(models.iter().all(|m| matches!(m.header, Err(GgufError::NotGguf { .. }))));
        assert!(list(&vault.path().join("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn a_missing_part_is_named() {
        let vault = vault(&["big-00001-of-00003.gguf", "big-00003-of-00003.gguf"]);
        let error = parts(&vault.path().join("big-00001-of-00003.gguf")).unwrap_err().to_string();
        assert!(error.starts_with("part 2 of 3 is missing"), "{error}");
    }

    #[test]
    fn a_name_that_only_looks_split_is_not() {
        assert!(split(Path::new("a-1-of-2.gguf")).is_none());
        assert!(split(Path::new("a-00003-of-00002.gguf")).is_none());
        assert!(split(Path::new("best-of-00002.gguf")).is_none());
    }

    #[test]
    fn a_checksum_is_verified() {
        let vault = vault(&["a.gguf"]);
        let path = vault.path().join("a.gguf");
        let mut seen = 0;
        let sum = sha256(&path, |bytes| seen = bytes).unwrap();
        assert_eq!((sum.len(), seen), (64, 11));
        verify(&path, &sum.to_uppercase(), |_| {}).unwrap();
        let error = verify(&path, "00", |_| {}).unwrap_err();
        assert!(matches!(error, VaultError::WrongChecksum { found, .. } if found == sum));
    }
}
