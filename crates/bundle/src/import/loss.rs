//! What could not be carried: each kind once, with how often and where first.

use std::collections::BTreeMap;

/// Kinds that are kept apart. A hostile export could name any number; what is beyond is counted together.
const KINDS_MAX: usize = 1_000;
/// Characters of a name from the source that a sentence shows.
const SHOWN_MAX: usize = 80;

#[derive(Default)]
pub(super) struct Losses {
    kinds: BTreeMap<String, (u64, String)>,
    more: u64,
    place: String,
}

impl Losses {
    /// From here on, losses are in this conversation.
    pub(super) fn enter(&mut self, place: &str) {
        self.place = shown(place);
    }

    /// Something is lost: `what` is a noun phrase.
    pub(super) fn add(&mut self, what: impl Into<String>) {
        let what = what.into();
        if let Some((times, _)) = self.kinds.get_mut(&what) {
            *times += 1;
        } else if self.kinds.len() < KINDS_MAX {
            self.kinds.insert(what, (1, self.place.clone()));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn told(self) -> Vec<String> {
        let sentence = |(what, (times, place)): (String, (u64, String))| {
            let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            if place.is_empty() { format!("{what} ({times})") } else { format!("{what} ({times}, first in `{place}`)") }
        };
        let mut told: Vec<String> = self.kinds.into_iter().map(sentence).collect();
        if self.more > 0 {
            told.push(format!("{} other things of kinds too many to name", self.more));
        }
        told
    }
}

/// A name from the source, fit for a sentence.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect()
}
