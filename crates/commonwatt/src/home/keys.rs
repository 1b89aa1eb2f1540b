//! Keys on disk: the first one in plain text for the command line, all of them as hashes for the daemon.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use commonwatt_core::admission::Grants;
use commonwatt_core::fleet::{Tier, Tiers};
use commonwatt_grid::identity::{Key, KeyHash, hash_key};
use serde::{Deserialize, Serialize};

use super::{Home, read, refuse_if_open, write_private};
use crate::env::{self, Env};
use crate::secret::Secret;

/// The name of the key that is made on first run.
pub(crate) const FIRST: &str = "first";

/// What `keys.toml` opens with.
const KEYS_HEAD: &str = "\
# Keys that may call this daemon, as BLAKE3 hashes: the keys themselves are not kept here.
# Written by `commonwatt key add` and `commonwatt key remove`.

";

/// The first key, where its text is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstKey {
    /// The key.
    pub(crate) key: Secret,
    /// Where it came from.
    pub(crate) origin: KeyOrigin,
}

/// Where the first key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// `COMMONWATT_KEY`.
    Environment,
    /// The key file.
    File(PathBuf),
}

/// A key as `keys.toml` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredKey {
    /// Its name.
    pub(crate) name: String,
    /// `blake3:` and 64 hexadecimal digits.
    pub(crate) hash: String,
    /// When it was made.
    pub(crate) created: String,
    /// Tiers that calls with it may reach.
    pub(crate) tiers: Vec<String>,
}

impl StoredKey {
    /// The entry for a key made now.
    pub(crate) fn new(name: &str, key: &Secret, tiers: &[Tier]) -> Self {
        Self {
            name: name.to_owned(),
            hash: hash_text(&hash_key(key.reveal())),
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            tiers: tiers.iter().map(|tier| tier.word().to_owned()).collect(),
        }
    }

    /// The key as the keyring wants it.
    fn settled(&self) -> anyhow::Result<Key> {
        let hash = parse_hash(&self.hash).ok_or_else(|| anyhow!("the hash of key `{}` is damaged", self.name))?;
        let tier =
            |word: &String| Tier::from_word(word).ok_or_else(|| anyhow!("key `{}` has no tier `{word}`", self.name));
        let tiers = self.tiers.iter().map(tier).collect::<anyhow::Result<Tiers>>()?;
        Ok(Key { name: self.name.clone(), hash, grants: Grants { tiers } })
    }
}

/// `keys.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeysFile {
    keys: Vec<StoredKey>,
}

impl Home {
    /// All keys, as hashes.
    pub(crate) fn keys_file(&self) -> PathBuf {
        self.dir.join("keys.toml")
    }

    /// The first key, if its text is to be had: `COMMONWATT_KEY`, else the key file.
    ///
    /// # Errors
    /// One sentence, when there is one that must not or cannot be used.
    pub(crate) fn first_key(&self, env: &Env) -> anyhow::Result<Option<FirstKey>> {
        let (key, origin) = match env.get(env::KEY) {
            Some(text) => (Secret::new(text), KeyOrigin::Environment),
            None => {
                let path = self.key_file();
                let Some(text) = read(&path)? else { return Ok(None) };
                refuse_if_open(&path)?;
                (Secret::new(&text), KeyOrigin::File(path))
            }
        };
        if !key.is_sendable() {
            let place = match &origin {
                KeyOrigin::Environment => "`COMMONWATT_KEY`".to_owned(),
                KeyOrigin::File(path) => format!("`{}`", path.display()),
            };
            return Err(anyhow!(
                "the key in {place} is empty or has spaces or line breaks in it: write it as one word"
            ));
        }
        Ok(Some(FirstKey { key, origin }))
    }

    /// Sees to it that there is a key: on the very first run one is made. Says whether it was.
    ///
    /// # Errors
    /// One sentence, when the home folder cannot be used.
    pub(crate) fn ensure_key(&self, env: &Env) -> anyhow::Result<bool> {
        let stored = self.stored_keys()?;
        let first = self.first_key(env)?;
        if stored.iter().any(|key| key.name == FIRST) {
            return Ok(false);
        }
        match first {
            Some(FirstKey { origin: KeyOrigin::Environment, .. }) => Ok(false),
            Some(FirstKey { key, origin: KeyOrigin::File(_) }) => {
                self.store_keys([vec![StoredKey::new(FIRST, &key, &Tier::ALL)], stored].concat())?;
                Ok(false)
            }
            None if !stored.is_empty() => Ok(false),
            None => {
                let key = new_key()?;
                write_private(&self.key_file(), &format!("{}\n", key.reveal()))?;
                self.store_keys([vec![StoredKey::new(FIRST, &key, &Tier::ALL)], stored].concat())?;
                Ok(true)
            }
        }
    }

    /// All keys that may call, by what is on disk and in the environment. `COMMONWATT_KEY` takes the place of the first.
    ///
    /// # Errors
    /// One sentence, when a file cannot be read or is damaged.
    pub(crate) fn keyring(&self, env: &Env) -> anyhow::Result<Vec<Key>> {
        let stored = self.stored_keys()?;
        let preset = env.get(env::KEY).is_some();
        let unlisted = stored.iter().all(|key| key.name != FIRST);
        let mut keys = Vec::new();
        if let Some(first) = self.first_key(env)?.filter(|_| preset || unlisted) {
            let hash = hash_key(first.key.reveal());
            keys.push(Key { name: FIRST.to_owned(), hash, grants: Grants::default() });
        }
        for key in stored.iter().filter(|key| !(preset && key.name == FIRST)) {
            let settled = key.settled();
            keys.push(settled.with_context(|| format!("cannot use `{}`", self.keys_file().display()))?);
        }
        Ok(keys)
    }

    /// Deletes the plain text of the first key, which is of no use any more.
    ///
    /// # Errors
    /// One sentence, when it is there and cannot be deleted.
    pub(crate) fn forget_first_key(&self) -> anyhow::Result<()> {
        let path = self.key_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(anyhow!("cannot delete `{}` ({error}): delete it yourself", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The keys as `keys.toml` has them.
    ///
    /// # Errors
    /// One sentence, when the file cannot be read or is damaged.
    pub(crate) fn stored_keys(&self) -> anyhow::Result<Vec<StoredKey>> {
        let path = self.keys_file();
        let Some(text) = read(&path)? else { return Ok(Vec::new()) };
        let file: KeysFile = toml::from_str(&text).map_err(|error| {
            let said = error.message().replace('\n', ", ");
            anyhow!("`{}` is damaged ({said}): mend it, or delete it and make new keys", path.display())
        })?;
        Ok(file.keys)
    }

    /// Replaces `keys.toml`.
    ///
    /// # Errors
    /// One sentence, when it cannot be written.
    pub(crate) fn store_keys(&self, keys: Vec<StoredKey>) -> anyhow::Result<()> {
        self.prepare()?;
        let body = toml::to_string(&KeysFile { keys }).context("cannot write the keys as TOML")?;
        write_private(&self.keys_file(), &format!("{KEYS_HEAD}{body}"))
    }
}

/// A new key: `cw-` and 256 random bits.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn new_key() -> anyhow::Result<Secret> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    Ok(Secret::new(&format!("cw-{text}")))
}

/// A hash as files have it.
pub(crate) fn hash_text(hash: &KeyHash) -> String {
    let mut text = "blake3:".to_owned();
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A hash as files have it, read back.
pub(crate) fn parse_hash(text: &str) -> Option<KeyHash> {
    let digits = text.strip_prefix("blake3:").filter(|digits| digits.len() == 64)?;
    let mut hash = KeyHash::default();
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}
