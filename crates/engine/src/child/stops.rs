//! Text on its way out: whole characters only, and nothing that may turn out to be a stop string.

/// Turns bytes into text as soon as characters are complete.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// At most three bytes: the beginning of a character.
    held: Vec<u8>,
}

impl Utf8 {
    /// The text that these bytes complete. What can never become a character is replaced, and so is the zero character,
    /// which C strings cannot carry.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.held);
        let mut text = String::new();
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_grow(invalid) {
                self.held = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
    }

    /// What is left when no more bytes come.
    pub(super) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.held).is_empty() { "" } else { "\u{FFFD}" }
    }
}

/// Whether more bytes can make a character of these.
fn may_grow(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// Looks for stop strings across the borders of tokens.
#[derive(Debug, Default)]
pub(super) struct Stops {
    strings: Vec<String>,
    /// Text that may be the beginning of a stop string; shorter than the longest of them.
    held: String,
}

/// What a piece of text led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Text that no stop string can claim any more.
    pub(super) text: String,
    /// The stop string that was met; everything after it is dropped.
    pub(super) hit: Option<String>,
}

impl Stops {
    pub(super) fn new(strings: impl IntoIterator<Item = String>) -> Self {
        Self { strings: strings.into_iter().filter(|s| !s.is_empty()).collect(), held: String::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> Passed {
        self.held.push_str(text);
        let hit = self
            .strings
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at, stop)))
            // The earliest; of several at one place the longest.
            .min_by_key(|(at, stop)| (*at, usize::MAX - stop.len()));
        if let Some((at, stop)) = hit {
            let hit = Some(stop.clone());
            self.held.truncate(at);
            return Passed { text: std::mem::take(&mut self.held), hit };
        }
        let keep = self.strings.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let kept = self.held.split_off(self.held.len().saturating_sub(keep));
        Passed { text: std::mem::replace(&mut self.held, kept), hit: None }
    }

    /// What was held back, when nothing more comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` with which `stop` begins, short of all of it.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .rev()
        .find(|at| stop.get(..*at).is_some_and(|head| text.ends_with(head)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut stops = Stops::new(stops.iter().map(|s| (*s).to_owned()));
        let mut out = String::new();
        for piece in pieces {
            let passed = stops.push(piece);
            out.push_str(&passed.text);
            if passed.hit.is_some() {
                return (out, passed.hit);
            }
        }
        out.push_str(&stops.finish());
        (out, None)
    }

    #[test]
    fn a_stop_string_across_tokens_is_found_and_not_shown() {
        assert_eq!(feed(&["END"], &["one E", "N", "D two"]), ("one ".to_owned(), Some("END".to_owned())));
        assert_eq!(feed(&["END"], &["one E", "N", "X"]), ("one ENX".to_owned(), None));
    }

    #[test]
    fn the_earliest_stop_string_wins_and_the_longest_at_one_place() {
        assert_eq!(feed(&["b", "ab", "abc"], &["xabcd"]), ("x".to_owned(), Some("abc".to_owned())));
    }

    #[test]
    fn stop_strings_may_have_wide_characters() {
        assert_eq!(feed(&["🚀🚀"], &["go 🚀", "🚀!"]), ("go ".to_owned(), Some("🚀🚀".to_owned())));
        assert_eq!(feed(&["🚀🚀"], &["go 🚀", "!"]), ("go 🚀!".to_owned(), None));
    }

    #[test]
    fn an_empty_stop_string_stops_nothing() {
        assert_eq!(feed(&[""], &["a"]), ("a".to_owned(), None));
    }

    #[test]
    fn a_character_in_pieces_comes_out_whole() {
        let mut utf8 = Utf8::default();
        let rocket = "🚀".as_bytes();
        assert_eq!(utf8.push(&rocket[..1]), "");
        assert_eq!(utf8.push(&rocket[1..3]), "");
        assert_eq!(utf8.push(&rocket[3..]), "🚀");
        assert_eq!(utf8.push(&[0xff, b'a', 0]), "\u{FFFD}a\u{FFFD}");
        assert_eq!(utf8.push(&rocket[..2]), "");
        assert_eq!(utf8.finish(), "\u{FFFD}");
        assert_eq!(utf8.finish(), "");
    }

    proptest! {
        #[test]
        fn cutting_text_anywhere_changes_nothing(text in "[abE🚀ü ND]{0,40}", cuts in proptest::collection::vec(0_usize..160, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut utf8 = Utf8::default();
            let mut stops = Stops::new(["END".to_owned(), "a🚀".to_owned()]);
            let (mut out, mut hit, mut from) = (String::new(), None, 0);
            for cut in cuts {
                let passed = stops.push(&utf8.push(&bytes[from..cut]));
                from = cut;
                out.push_str(&passed.text);
                if passed.hit.is_some() {
                    hit = passed.hit;
                    break;
                }
            }
            if hit.is_none() {
                out.push_str(&stops.finish());
            }
            let expected = ["END", "a🚀"].iter().filter_map(|s| text.find(s)).min();
            prop_assert_eq!(hit.is_some(), expected.is_some());
            prop_assert_eq!(out.as_str(), &text[..expected.unwrap_or(text.len())]);
        }

        #[test]
        fn any_bytes_become_text(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..10)) {
            let mut utf8 = Utf8::default();
            let mut out: String = chunks.iter().map(|c| utf8.push(c)).collect();
            out.push_str(utf8.finish());
            prop_assert_eq!(out, String::from_utf8_lossy(&chunks.concat()).replace('\0', "\u{FFFD}"));
        }
    }
}
