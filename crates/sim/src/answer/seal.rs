//! What proves that reasoning comes from here.
//!
//! Real providers sign or encrypt reasoning for themselves and refuse what another account or another model made. Here
//! everything is a digest over seed and model, so it proves itself and nothing has to be remembered.

use crate::chance::{Chance, digest};

/// Characters of a seal that say nothing but whose seal it is.
const NAME: usize = 64;
/// Characters that prove the others.
const PROOF: usize = 32;

/// The signature under a thinking block: it belongs to seed, model and text.
pub(crate) fn signature(seed: u64, model: &str, thinking: &str) -> String {
    let key = digest([seed.to_le_bytes().as_slice(), b"thinking", model.as_bytes(), thinking.as_bytes()]);
    format!("{}==", Chance::new(key).name(94))
}

/// A seal on the answer `identity`: it belongs to seed and model. It is good Base64, as some SDKs decode it.
pub(crate) fn seal(seed: u64, model: &str, identity: u64) -> String {
    let name = Chance::new(digest([identity.to_le_bytes().as_slice(), b"seal"])).name(NAME);
    let proof = proof(seed, model, &name);
    name + &proof
}

/// Whether `seal` was made from this seed for this model.
pub(crate) fn is_genuine(seed: u64, model: &str, seal: &str) -> bool {
    seal.split_at_checked(NAME).is_some_and(|(name, rest)| rest == proof(seed, model, name))
}

fn proof(seed: u64, model: &str, name: &str) -> String {
    Chance::new(digest([seed.to_le_bytes().as_slice(), b"proof", model.as_bytes(), name.as_bytes()])).name(PROOF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_belongs_to_seed_model_and_text() {
        let own = signature(1, "m", "hm");
        assert_eq!(own, signature(1, "m", "hm"));
        for other in [signature(2, "m", "hm"), signature(1, "n", "hm"), signature(1, "m", "ah")] {
            assert_ne!(own, other);
        }
    }

    #[test]
    fn a_seal_proves_itself_to_its_seed_and_model_only() {
        let own = seal(1, "m", 7);
        assert_eq!((own.len(), own.len() % 4), (96, 0));
        assert!(is_genuine(1, "m", &own));
        assert!(!is_genuine(2, "m", &own) && !is_genuine(1, "n", &own));
        for at in 0..own.len() {
            let mut changed = own.clone().into_bytes();
            changed[at] ^= 1;
            assert!(!is_genuine(1, "m", &String::from_utf8(changed).unwrap()), "{at}");
        }
        for short in ["", "é", &own[..95], &own[..64]] {
            assert!(!is_genuine(1, "m", short));
        }
    }
}
