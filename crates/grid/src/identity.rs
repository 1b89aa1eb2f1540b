//! Who is calling: keys, kept as hashes and compared in constant time.

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
    pub name: String,
    /// What the call may do.
    pub grants: Grants,
}

/// All keys that may call.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// A keyring of these keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys }
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
        for key in &self.keys {
            if bool::from(key.hash.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        let key = found.ok_or_else(|| {
            refuse("this key is not known here: use the one made on first run (`commonwatt status` says where it is)")
        })?;
        Ok(Principal { name: key.name.clone(), grants: key.grants.clone() })
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
        assert_eq!(keyring().identify(Some("cw-right")).unwrap().name, "first");
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
