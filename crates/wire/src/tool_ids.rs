//! Ids of tool calls, in the shape that a provider accepts.
//!
//! The mapping has no memory: the same id is mapped to the same text in every call, so that a provider's prompt cache
//! still knows the history. It is injective: an id of the right shape is kept, any other becomes a digest of 128 bits
//! under a prefix that no kept id has. An id that comes twice in one conversation, as from servers that count `call_0`
//! anew in every answer, gets a number the second time.

use std::collections::HashSet;

/// The shape of the target, settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Up to 40 bytes.
    Forty,
    /// Up to 64 letters, digits, `_` and `-`.
    Word,
    /// Exactly nine letters and digits.
    Nine,
}

const PREFIX: &str = "cw_";

/// Begins the ids made for calls of Gemini's, which often have none: it is not sent them.
pub(crate) const MADE_FOR_GEMINI: &str = "gemini_";

/// Hands out ids for one conversation, or for one answer.
#[derive(Debug)]
pub(crate) struct ToolIds {
    shape: Shape,
    given: HashSet<String>,
}

impl ToolIds {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, given: HashSet::new() }
    }

    /// The id under which the next tool call is written.
    pub(crate) fn give(&mut self, source: &str) -> String {
        let mut id = self.shape.fit(source);
        let mut again = 1_u32;
        while !self.given.insert(id.clone()) {
            again += 1;
            id = self.shape.fit(&format!("{source}_{again}"));
        }
        id
    }
}

impl Shape {
    fn fit(self, source: &str) -> String {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let fits = match self {
            Self::Forty => (1..=40).contains(&source.len()),
            Self::Word => (1..=64).contains(&source.len()) && source.bytes().all(word),
            Self::Nine => source.len() == 9 && source.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        };
        match self {
            Self::Nine if fits => source.to_owned(),
            Self::Nine => nine(digest(source)),
            Self::Forty | Self::Word if fits && !source.starts_with(PREFIX) => source.to_owned(),
            Self::Forty | Self::Word => format!("{PREFIX}{:032x}", digest(source)),
        }
    }
}

/// Nine digits of base 62.
fn nine(mut number: u128) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digit = || {
        let index = usize::try_from(number % 62).unwrap_or_default();
        number /= 62;
        ALPHABET.get(index).copied().map_or('0', char::from)
    };
    (0..9).map(|_| digit()).collect()
}

/// FNV-1a of 128 bits: stable for ever, and only a caller who wants to confuse itself will make two ids collide.
fn digest(text: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_right_shape_is_kept() {
        let mut ids = ToolIds::new(Shape::Word);
        assert_eq!(ids.give("toolu_01A-b"), "toolu_01A-b");
        assert_eq!(ToolIds::new(Shape::Nine).give("a1B2c3D4e"), "a1B2c3D4e");
    }

    #[test]
    fn foreign_ids_map_stably_and_never_two_to_one() {
        let foreign = ["call.1", "call:1", "", "cw_", "cw_0123456789", &"x".repeat(65), &"x".repeat(66), "é"];
        let mapped: Vec<_> = foreign.iter().map(|id| ToolIds::new(Shape::Word).give(id)).collect();
        let again: Vec<_> = foreign.iter().map(|id| ToolIds::new(Shape::Word).give(id)).collect();
        assert_eq!(mapped, again);
        assert_eq!(mapped.iter().collect::<HashSet<_>>().len(), foreign.len());
        assert!(mapped.iter().all(|id| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')));
    }

    #[test]
    fn an_id_that_comes_again_gets_its_own() {
        let mut ids = ToolIds::new(Shape::Nine);
        let (first, second) = (ids.give("call_0"), ids.give("call_0"));
        assert_ne!(first, second);
        assert!(first.len() == 9 && second.len() == 9);
    }
}
