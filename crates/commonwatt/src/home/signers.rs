//! Whose bundles are believed: this node's own key, and the signers that somebody here trusts.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use commonwatt_bundle::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};

use super::{Home, read, refuse_if_open, write_private};

/// Signers that are remembered: each was named by somebody who holds a key.
const SIGNERS_MAX: usize = 1_024;

/// What `signers.toml` opens with.
const SIGNERS_HEAD: &str = "\
# Who signs bundles that callers of this daemon take in. Each is trusted by one caller.
# Written by `commonwatt session import --trust`; delete an entry to trust it no longer.

";

/// `signers.toml`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SignersFile {
    signers: Vec<Signer>,
}

/// A signer and who trusts it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signer {
    key: String,
    /// The name of the key of the caller who trusts it.
    trusted_by: String,
    /// How it calls its node.
    node: String,
    since: String,
}

impl Home {
    /// The key with which this node signs what is taken along.
    pub(crate) fn bundle_key_file(&self) -> PathBuf {
        self.dir.join("bundle.key")
    }

    /// The signers that somebody here trusts.
    pub(crate) fn signers_file(&self) -> PathBuf {
        self.dir.join("signers.toml")
    }

    /// The key with which this node signs, made if there is none.
    ///
    /// # Errors
    /// One sentence, when it cannot be made, or there is one that must not or cannot be used.
    pub(crate) fn ensure_bundle_key(&self) -> anyhow::Result<SigningKey> {
        if let Some(key) = self.bundle_key()? {
            return Ok(key);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
        let mut text = String::with_capacity(65);
        for byte in seed {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        write_private(&self.bundle_key_file(), &text)?;
        Ok(SigningKey::from_bytes(&seed))
    }

    /// Whether this caller believes that signer: whoever it trusts, and this node itself.
    ///
    /// # Errors
    /// One sentence, when a file cannot be read or is damaged.
    pub(crate) fn knows_signer(&self, caller: &str, signer: &PublicKey) -> anyhow::Result<bool> {
        if self.bundle_key()?.is_some_and(|key| PublicKey::of(&key) == *signer) {
            return Ok(true);
        }
        let key = signer.to_string();
        Ok(self.signers()?.signers.iter().any(|known| known.key == key && known.trusted_by == caller))
    }

    /// Notes that this caller trusts that signer.
    ///
    /// # Errors
    /// One sentence, when the file cannot be read or written, or is full.
    pub(crate) fn trust_signer(&self, caller: &str, signer: &PublicKey, node: &str) -> anyhow::Result<()> {
        if self.knows_signer(caller, signer)? {
            return Ok(());
        }
        let mut file = self.signers()?;
        if file.signers.len() >= SIGNERS_MAX {
            let path = self.signers_file();
            bail!("`{}` names {SIGNERS_MAX} signers already: delete those that are not needed", path.display());
        }
        file.signers.push(Signer {
            key: signer.to_string(),
            trusted_by: caller.to_owned(),
            node: node.to_owned(),
            since: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let body = toml::to_string(&file).context("cannot write the signers as TOML")?;
        write_private(&self.signers_file(), &format!("{SIGNERS_HEAD}{body}"))
    }

    fn bundle_key(&self) -> anyhow::Result<Option<SigningKey>> {
        let path = self.bundle_key_file();
        let Some(text) = read(&path)? else { return Ok(None) };
        refuse_if_open(&path)?;
        // A public key has the same digits, so its reader serves.
        let seed = format!("ed25519:{}", text.trim()).parse::<PublicKey>();
        let PublicKey(seed) = seed.map_err(|_| {
            anyhow!("`{}` is damaged: put 64 hexadecimal digits there, or delete it for a new one", path.display())
        })?;
        Ok(Some(SigningKey::from_bytes(&seed)))
    }

    fn signers(&self) -> anyhow::Result<SignersFile> {
        let path = self.signers_file();
        let Some(text) = read(&path)? else { return Ok(SignersFile::default()) };
        toml::from_str(&text).map_err(|error| {
            let said = error.message().replace('\n', ", ");
            anyhow!("`{}` is damaged ({said}): mend it, or delete it and trust anew", path.display())
        })
    }
}
