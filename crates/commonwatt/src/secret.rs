//! A text that is never printed by accident.

use std::fmt;

/// A key or a token. Its `Debug` shows nothing of it; whoever wants the text has to say so.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Keeps a secret; white space around it is dropped, since keys come out of files and clipboards.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it can stand in an HTTP header.
    pub(crate) fn is_sendable(&self) -> bool {
        !self.0.is_empty() && self.0.chars().all(|c| c.is_ascii_graphic())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_in_debug_output() {
        let secret = Secret::new(" cw-hidden\n");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.reveal(), "cw-hidden");
    }

    #[test]
    fn a_key_with_a_space_or_a_line_break_cannot_be_sent() {
        assert!(Secret::new("sk-abc").is_sendable());
        assert!(!Secret::new("sk a").is_sendable());
        assert!(!Secret::new("").is_sendable());
    }
}
