//! The terminal: the one door through which the command line prints.
//!
//! Writes return [`io::Result`], so that a reader that went away (`commonwatt models | head -1`) ends the program
//! quietly instead of with a panic; `main` knows that error. Colours are for terminals only.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Whether the user wants no colours, wherever something is printed: said once, at the start.
static PLAIN: OnceLock<bool> = OnceLock::new();

/// Columns where nobody says how wide the terminal is.
const COLUMNS: usize = 80;

/// Remembers what the environment says about colours. Until then there are none.
pub(crate) fn begin(env: &crate::env::Env) {
    // Whoever said it first is right; there is one beginning.
    let _ = PLAIN.set(env.no_color());
}

/// Prints a line.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints text as it is, at once.
pub(crate) fn text(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// Prints a value as JSON, for programs.
pub(crate) fn json(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    line(text)
}

/// Prints a line beside the output: for people, not for pipes. That it cannot be written hinders nothing.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns of the terminal; `None` where output goes elsewhere and may be as long as it likes.
pub(crate) fn columns() -> Option<usize> {
    if !is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    Some(size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS))
}

/// How output is painted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// No paint: what pipes and files get.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { on: false };

    /// Paint where standard output is a terminal and nobody asked for none.
    pub(crate) fn for_stdout() -> Self {
        Self { on: is_terminal() && !Self::unwanted() }
    }

    /// The same for standard error.
    pub(crate) fn for_stderr() -> Self {
        Self { on: io::stderr().is_terminal() && !Self::unwanted() }
    }

    fn unwanted() -> bool {
        PLAIN.get().copied().unwrap_or(true)
    }

    /// Whether there is any.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// Less bright: what is said by the way.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrapped("2", text)
    }

    /// Bold: names and headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrapped("1", text)
    }

    /// Green: it works.
    pub(crate) fn good(self, text: &str) -> String {
        self.wrapped("32", text)
    }

    /// Yellow: it may not.
    pub(crate) fn warn(self, text: &str) -> String {
        self.wrapped("33", text)
    }

    /// Red: it does not.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrapped("31", text)
    }

    fn wrapped(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut to `columns` columns with `…` at its end where it is longer.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or_default();
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The text without characters that steer a terminal, which strangers' texts may contain.
pub(crate) fn tame(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || turns_the_line(*c))).collect()
}

/// The same in one line: breaks and tabs are blanks.
pub(crate) fn tame_line(text: &str) -> String {
    tame(&text.replace(['\n', '\r', '\t'], " "))
}

/// Whether a character changes the direction of all that follows it, beyond the text it stands in. Arabic and Hebrew
/// need none of these.
fn turns_the_line(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes for people: `640 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const STEP: f64 = 1_024.0;
    let mut amount = count as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < STEP {
            break;
        }
        amount /= STEP;
        unit = larger;
    }
    if amount < 10.0 && unit != "B" { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

/// A span of time for people: `3 h 12 min`.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_columns_and_not_by_letters() {
        assert_eq!(cut("frontier", 8), "frontier");
        assert_eq!(cut("frontier", 5), "fron…");
        assert_eq!(cut("日本語テキスト", 7), "日本語…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        assert_eq!(tame("a\x1b[2Jb\r\n\tc\u{9b}d"), "a[2Jb\n\tcd");
        assert_eq!(tame("pay \u{202e}lived\u{2066}x"), "pay livedx");
        assert_eq!(tame("שלום"), "שלום");
        assert_eq!(tame_line("a\r\nb\tc"), "a  b c");
    }

    #[test]
    fn amounts_are_written_for_people() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(4_683_073_952), "4.4 GiB");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(11_530), "3 h 12 min");
        assert_eq!(span(200_000), "2 d 7 h");
    }

    #[test]
    fn plain_paint_leaves_the_text_alone() {
        assert_eq!(Paint::PLAIN.dim("x"), "x");
    }
}
