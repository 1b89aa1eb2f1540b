//! Chance that replays: a seeded generator and a stable digest.
//!
//! Both are written out here (splitmix64; multiply and rotate) rather than taken from a library, because a seed written down in
//! a bug report must give the same run after every upgrade.

/// A seeded generator of numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let drawn = self.number().checked_rem(limit).unwrap_or(0);
        usize::try_from(drawn).unwrap_or(0)
    }

    /// A number from 0 (included) to 1 (excluded).
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of `choices`; the default when there are none.
    pub(crate) fn pick<T: Copy + Default>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len());
        choices.get(index).copied().unwrap_or_default()
    }

    /// `length` characters of the alphabet that providers use in identifiers.
    pub(crate) fn name(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..length).map(|_| char::from(self.pick(ALPHABET))).collect()
    }
}

/// One number for several byte strings; their boundaries count.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    const PRIME: u64 = 0x9e37_79b1_85eb_ca87;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(29);
    for part in parts {
        // Words rather than bytes, because prompts are long.
        let (words, rest) = part.as_chunks::<8>();
        words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
        add(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        // The length parts `ab` + `c` from `a` + `bc`.
        add(u64::try_from(part.len()).unwrap_or(u64::MAX));
    }
    mixed(hash)
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut chance = Chance::new(1234567);
        // The published test vector of splitmix64.
        assert_eq!(chance.number(), 6457827717110365317);
        assert_eq!(chance.number(), 3203168211198807973);
    }

    #[test]
    fn a_digest_depends_on_where_its_parts_end() {
        assert_ne!(digest([b"ab".as_slice(), b"c"]), digest([b"a".as_slice(), b"bc"]));
    }

    #[test]
    fn a_digest_depends_on_every_byte_and_is_the_same_for_ever() {
        let text = b"every byte of this text counts";
        for at in 0..text.len() {
            let mut other = *text;
            other[at] ^= 1;
            assert_ne!(digest([text.as_slice()]), digest([other.as_slice()]));
        }
        assert_eq!(digest([text.as_slice()]), 3927997444339632687);
    }

    #[test]
    fn fractions_stay_below_one() {
        let mut chance = Chance::new(7);
        assert!((0..1000).map(|_| chance.fraction()).all(|f| (0.0..1.0).contains(&f)));
    }
}
