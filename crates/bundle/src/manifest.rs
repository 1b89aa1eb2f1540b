//! The manifest: what is in a bundle, who made it and when.
//!
//! ```text
//! {"counts":{"blobs":1,"sessions":1,"turns":5},"files":[{"bytes":69,"name":"blobs/sha256/…","sha256":"…"},…],
//!  "format":"commonwatt-bundle","issuer":{"key":"ed25519:…","node":"alpha"},"made_unix_s":1780000000,"version":1}
//! ```

use serde_json::{Value, json};

use crate::bad::{BadBundle, Wrong};
use crate::bundle::Limits;
use crate::jcs::{self, WHOLE_MAX};
use crate::seal::{PublicKey, hex};

/// The manifest's name in the bundle.
pub(crate) const MANIFEST: &str = "manifest.json";

const FORMAT: &str = "commonwatt-bundle";
const VERSION: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) issuer: String,
    pub(crate) key: PublicKey,
    pub(crate) made_unix_s: u64,
    pub(crate) turns: u64,
    /// Sorted by name.
    pub(crate) files: Vec<Listed>,
}

/// A file as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// What a file is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `blobs/sha256/<64 hexadecimal digits>`.
    Blob([u8; 32]),
    /// `sessions/<id>.jsonl`.
    Session(String),
}

impl Kind {
    pub(crate) fn of(name: &str) -> Option<Self> {
        if let Some(digits) = name.strip_prefix("blobs/sha256/") {
            let hash: commonwatt_core::turn::TurnId = digits.parse().ok()?;
            return (hash.to_string() == digits).then_some(Self::Blob(hash.0));
        }
        let id = name.strip_prefix("sessions/")?.strip_suffix(".jsonl")?;
        is_session_id(id).then(|| Self::Session(id.to_owned()))
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Blob(hash) => format!("blobs/sha256/{}", hex(hash)),
            Self::Session(id) => format!("sessions/{id}.jsonl"),
        }
    }
}

/// Whether a session's id can be part of a file's name, on every system.
pub(crate) fn is_session_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl Manifest {
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let count = |prefix: &str| self.files.iter().filter(|file| file.name.starts_with(prefix)).count();
        let file = |file: &Listed| json!({"bytes": file.bytes, "name": file.name, "sha256": hex(&file.sha256)});
        jcs::bytes(&json!({
            "counts": {"blobs": count("blobs/"), "sessions": count("sessions/"), "turns": self.turns},
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "format": FORMAT,
            "issuer": {"key": self.key.to_string(), "node": self.issuer},
            "made_unix_s": self.made_unix_s,
            "version": VERSION,
        }))
    }

    /// Reads a manifest that this signer vouches for.
    pub(crate) fn read(bytes: &[u8], signer: PublicKey, limits: &Limits) -> Result<Self, BadBundle> {
        let form = |what: &str| BadBundle::new(MANIFEST, Wrong::Form(what.to_owned()));
        let value: Value = serde_json::from_slice(bytes).map_err(|_| form("no JSON"))?;
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(form("not the manifest of a bundle"));
        }
        let version = value.get("version").and_then(Value::as_u64).ok_or_else(|| form("no version"))?;
        if version != VERSION {
            return Err(BadBundle::new(MANIFEST, Wrong::Version(version)));
        }
        let manifest = Self::parsed(&value).ok_or_else(|| form("a member is missing or of the wrong kind"))?;
        if manifest.key != signer {
            return Err(form("its issuer is not who signed it"));
        }
        manifest.check_files(limits)?;
        if manifest.bytes().as_deref() != Some(bytes) {
            return Err(form("other bytes than RFC 8785 gives for it"));
        }
        Ok(manifest)
    }

    fn parsed(value: &Value) -> Option<Self> {
        let listed = |file: &Value| {
            let hash: commonwatt_core::turn::TurnId = file.get("sha256")?.as_str()?.parse().ok()?;
            let name = file.get("name")?.as_str()?.to_owned();
            Some(Listed { name, bytes: file.get("bytes")?.as_u64()?, sha256: hash.0 })
        };
        Some(Self {
            issuer: value.pointer("/issuer/node")?.as_str()?.to_owned(),
            key: value.pointer("/issuer/key")?.as_str()?.parse().ok()?,
            made_unix_s: value.get("made_unix_s")?.as_u64().filter(|time| *time <= WHOLE_MAX)?,
            turns: value.pointer("/counts/turns")?.as_u64()?,
            files: value.get("files")?.as_array()?.iter().map(listed).collect::<Option<_>>()?,
        })
    }

    /// Names, order and sizes of the files, before any of them is read or written.
    pub(crate) fn check_files(&self, limits: &Limits) -> Result<(), BadBundle> {
        let too_large = |file: &str, what, limit| Err(BadBundle::new(file, Wrong::TooLarge { what, limit }));
        if self.files.len() > limits.files {
            return too_large(MANIFEST, "files", limits.files as u64);
        }
        if self.turns > limits.turns as u64 {
            return too_large(MANIFEST, "turns", limits.turns as u64);
        }
        let mut sum = 0_u64;
        for file in &self.files {
            if Kind::of(&file.name).is_none() {
                return Err(BadBundle::new(&file.name, Wrong::Name));
            }
            if file.bytes > limits.file_bytes {
                return too_large(&file.name, "bytes of one file", limits.file_bytes);
            }
            sum = sum.saturating_add(file.bytes);
            if sum > limits.bytes {
                return too_large(&file.name, "bytes of all files", limits.bytes);
            }
        }
        if self.files.is_sorted_by(|left, right| left.name < right.name) {
            Ok(())
        } else {
            Err(BadBundle::new(MANIFEST, Wrong::Form("its files are not sorted by name".to_owned())))
        }
    }
}
