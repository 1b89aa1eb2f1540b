//! An export as it is downloaded: a zip, or the JSON out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _};

use bytes::Bytes;
use serde_json::Value;
use zip::ZipArchive;

use super::json::each;
use super::loss::{Losses, shown};
use super::{BadImport, EXPORT_BYTES_MAX, Imported, ImportedSession};

/// Files that an archive may have. The largest known has 9,000, most of them images.
const FILES_MAX: usize = 100_000;
/// Bytes of one image: no provider takes a larger one.
const IMAGE_BYTES_MAX: u64 = 20 << 20;

/// A reader of one conversation; `None` where the value is none.
pub(super) type Take<'a> = dyn FnMut(&Value, &mut Export<'_>, &mut Losses) -> Option<ImportedSession> + 'a;

/// Reads an export of `system`, whose conversations have the member `mark`.
pub(super) fn conversations(
    system: &'static str,
    mark: &str,
    bytes: &[u8],
    take: &mut Take<'_>,
) -> Result<Imported, BadImport> {
    let not_this = |why: String| BadImport::NotThis(system, why);
    let mut export = Export::open(bytes)?;
    let files = std::mem::take(&mut export.conversations);
    if files.is_empty() {
        return Err(not_this("the archive has no conversations".to_owned()));
    }
    let mut losses = Losses::default();
    let mut sessions = Vec::new();
    let mut strangers = 0_u64;
    for file in files {
        let mut take = |conversation: &Value, losses: &mut Losses| match take(conversation, &mut export, losses) {
            Some(session) => sessions.push(session),
            None => {
                strangers += 1;
                losses.add(format!("an entry that is no conversation: it has no `{mark}`"));
            }
        };
        each(&file, &mut losses, &mut take).ok_or_else(|| not_this("neither JSON nor a zip".to_owned()))?;
    }
    if sessions.is_empty() && strangers > 0 {
        return Err(not_this(format!("its conversations have no `{mark}`")));
    }
    export.name_the_rest(&mut losses);
    Ok(Imported { sessions, skipped: losses.told() })
}

/// What was given to be read.
pub(super) struct Export<'a> {
    /// The files with conversations, in the order of their names.
    conversations: Vec<Bytes>,
    archive: Option<ZipArchive<Cursor<&'a [u8]>>>,
    /// What may still be unpacked.
    left: u64,
    /// Where the other files stand in the archive, by name without folders.
    others: BTreeMap<String, usize>,
    /// Those that messages show.
    shown: BTreeSet<String>,
}

impl<'a> Export<'a> {
    /// Opens an export. In an archive, `conversations.json` and `conversations-000.json` onwards are read.
    fn open(bytes: &'a [u8]) -> Result<Self, BadImport> {
        let left = EXPORT_BYTES_MAX;
        if bytes.len() as u64 > left {
            return Err(BadImport::TooLarge);
        }
        if !is_zip(bytes) {
            let conversations = vec![Bytes::copy_from_slice(bytes)];
            return Ok(Self { conversations, archive: None, left, others: BTreeMap::new(), shown: BTreeSet::new() });
        }
        let broken = |error: zip::result::ZipError| BadImport::Archive(shown(&error.to_string()));
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        if archive.len() > FILES_MAX {
            return Err(BadImport::TooLarge);
        }
        let mut names = BTreeSet::new();
        let mut others = BTreeMap::new();
        for index in 0..archive.len() {
            let Some(Ok(path)) = archive.name_for_index(index) else { continue };
            let name = path.rsplit('/').next().unwrap_or_default();
            if name.is_empty() || path.starts_with("__MACOSX/") {
                continue;
            }
            if is_conversations(name) {
                names.insert((path.to_string(), index));
            } else {
                let is_taken = others.contains_key(name);
                others.insert(if is_taken { path.to_string() } else { name.to_owned() }, index);
            }
        }
        let mut export =
            Self { conversations: Vec::new(), archive: Some(archive), left, others, shown: BTreeSet::new() };
        for (_, index) in names {
            let file = export.unpack(index, EXPORT_BYTES_MAX)?;
            export.conversations.push(file);
        }
        Ok(export)
    }

    /// The image whose file name begins with this id.
    pub(super) fn image(&mut self, id: &str) -> Option<(&'static str, Bytes)> {
        let (name, index) = self.others.range(id.to_owned()..).next().filter(|(name, _)| name.starts_with(id))?;
        let (name, index) = (name.clone(), *index);
        let bytes = self.unpack(index, IMAGE_BYTES_MAX).ok()?;
        let media_type = media_type(&bytes)?;
        self.shown.insert(name);
        Some((media_type, bytes))
    }

    /// Names the files of an archive that were not read.
    fn name_the_rest(&self, losses: &mut Losses) {
        losses.enter("");
        for name in self.others.keys().filter(|name| !self.shown.contains(*name)) {
            let is_data = [".json", ".html", ".csv", ".txt", ".md"].iter().any(|end| name.ends_with(end));
            losses.add(if is_data {
                format!("the file `{}` of the archive", shown(name))
            } else {
                "a file of the archive that no message shows".to_owned()
            });
        }
    }

    fn unpack(&mut self, index: usize, limit: u64) -> Result<Bytes, BadImport> {
        let limit = limit.min(self.left);
        let broken = |error: &dyn std::fmt::Display| BadImport::Archive(shown(&error.to_string()));
        let archive = self.archive.as_mut().ok_or_else(|| broken(&"there is none"))?;
        let file = archive.by_index(index).map_err(|error| broken(&error))?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        if bytes.len() as u64 > limit {
            return Err(BadImport::TooLarge);
        }
        self.left -= bytes.len() as u64;
        Ok(bytes.into())
    }
}

/// Whether an archive begins here, or ends here because there is nothing in it.
fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

fn is_conversations(name: &str) -> bool {
    let Some(middle) = name.strip_prefix("conversations").and_then(|rest| rest.strip_suffix(".json")) else {
        return false;
    };
    middle.is_empty() || middle.strip_prefix('-').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What an image is, by its first bytes.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
