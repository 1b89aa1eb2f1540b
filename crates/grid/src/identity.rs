//! Who is calling: keys, kept as hashes and compared in constant time.

use std::sync::Arc;

use commonwatt_core::admission::Grants;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use subtle::ConstantTimeEq;

/// A key's hash: BLAKE3 of its text. Keys are random and long, so a slow hash would add nothing.
pub type KeyHash = [u8; 32];

/// Hashes a key as the keyring stores it.
#[must_use]
pub fn hash_key(key: &str) -> KeyHash {
    *blake3::hash(key.as_bytes()).as_bytes()
}

/// A key that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name for people and logs.
    pub name: String,
    /// Its hash.
    pub hash: KeyHash,
    /// What calls with it may do.
    pub grants: Grants,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key's name.
    pub name: Arc<str>,
    /// What the call may do.
    pub grants: Grants,
}

/// All keys that may call.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<(KeyHash, Principal)>,
    keyless: Option<Principal>,
}

impl Keyring {
    /// A keyring of these keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        let principal = |key: Key| (key.hash, Principal { name: key.name.into(), grants: key.grants });
        Self { keys: keys.into_iter().map(principal).collect(), keyless: None }
    }

    /// The same, and whoever on this machine sends no key is taken for the holder of the one of that name; for nobody
    /// where there is none.
    #[must_use]
    pub fn with_keyless(self, name: Option<&str>) -> Self {
        let named = |principal: &&Principal| Some(&*principal.name) == name;
        let keyless = self.keys.iter().map(|(_, principal)| principal).find(named).cloned();
        Self { keyless, ..self }
    }

    /// Who calls from this machine without any key, where that is allowed.
    #[must_use]
    pub fn keyless(&self) -> Option<Principal> {
        self.keyless.clone()
    }

    /// Whose key it is.
    ///
    /// # Errors
    /// A refusal that says how to send a key. It never repeats the key.
    pub fn identify(&self, credential: Option<&str>) -> Result<Principal, Refusal> {
        let refuse = |message: &str| Refusal::new(RefusalKind::Unauthenticated, message);
        let credential = credential.filter(|key| !key.is_empty()).ok_or_else(|| {
            refuse("no key was sent: send it as `Authorization: Bearer …` or `x-api-key: …`; `commonwatt status` says where the first one is")
        })?;
        let hash = hash_key(credential);
        let mut found = None;
        for (known, principal) in &self.keys {
            if bool::from(known.ct_eq(&hash)) {
                found = Some(principal);
            }
        }
        found.cloned().ok_or_else(|| {
            refuse("this key is not known here: use the one made on first run (`commonwatt status` says where it is)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        let key = Key { name: "first".into(), hash: hash_key("cw-right"), grants: Grants::default() };
        Keyring::new(vec![key])
    }

    #[test]
    fn the_right_key_is_known_by_its_name() {
        assert_eq!(keyring().identify(Some("cw-right")).unwrap().name.as_ref(), "first");
    }

    #[test]
    fn nobody_calls_without_a_key_unless_a_key_was_named_for_them() {
        assert_eq!(keyring().keyless(), None);
        assert_eq!(keyring().with_keyless(Some("second")).keyless(), None);
        let keyring = keyring().with_keyless(Some("first"));
        assert_eq!(keyring.keyless().unwrap().name.as_ref(), "first");
        for sent in [None, Some(""), Some("cw-wrong")] {
            assert_eq!(keyring.identify(sent).unwrap_err().kind, RefusalKind::Unauthenticated);
        }
    }

    #[test]
    fn strangers_stop_here_and_their_key_is_not_repeated() {
        let refusal = keyring().identify(Some("cw-wrong")).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Unauthenticated);
        assert!(!refusal.message.contains("cw-wrong"));
        assert_eq!(keyring().identify(None).unwrap_err().kind, RefusalKind::Unauthenticated);
        assert_eq!(keyring().identify(Some("")).unwrap_err().kind, RefusalKind::Unauthenticated);
    }
}
