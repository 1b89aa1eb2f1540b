//! Text broken between words, to be read in a terminal.

use unicode_width::UnicodeWidthChar as _;

use crate::term;

/// Lines longer than this are hard to read, however wide the terminal.
pub(crate) const COLUMNS_MAX: usize = 100;

/// A text that is whole already, broken into lines of at most so many columns.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    let mut wrap = Wrap::new(columns);
    let mut out = wrap.push(text);
    out.push_str(&wrap.finish());
    out
}

/// Breaks text between words, as it arrives. What stands between lines of backticks is code and left as it is.
#[derive(Debug)]
pub(crate) struct Wrap {
    columns: usize,
    column: usize,
    /// A word that has not ended yet, and blanks before it.
    blanks: String,
    word: String,
    /// The line as it was sent, to see fences.
    line: String,
    in_code: bool,
}

impl Wrap {
    /// Text that begins at the left edge.
    pub(crate) fn new(columns: usize) -> Self {
        let (blanks, word, line) = (String::new(), String::new(), String::new());
        Self { columns, column: 0, blanks, word, line, in_code: false }
    }

    /// What can be shown after this piece.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => {
                    self.place_word(&mut out);
                    self.blanks.clear();
                    out.push('\n');
                    self.column = 0;
                    if self.line.trim_start().starts_with("```") {
                        self.in_code = !self.in_code;
                    }
                    self.line.clear();
                }
                ' ' | '\t' => {
                    self.place_word(&mut out);
                    self.blanks.push(c);
                    self.line.push(c);
                }
                _ => {
                    self.word.push(c);
                    self.line.push(c);
                    // Scripts without blanks break anywhere; a word longer than the terminal has to.
                    if c.width() == Some(2) || term::width(&self.word) >= self.columns {
                        self.place_word(&mut out);
                    }
                }
            }
        }
        out
    }

    /// What is still held back.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        self.place_word(&mut out);
        *self = Self::new(self.columns);
        out
    }

    fn place_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let (blanks, word) = (term::width(&self.blanks), term::width(&self.word));
        let is_fence = self.line.trim_start().starts_with("```");
        if self.column > 0 && self.column + blanks + word > self.columns && !self.in_code && !is_fence {
            out.push('\n');
            self.column = word;
        } else {
            out.push_str(&self.blanks);
            self.column += blanks + word;
        }
        out.push_str(&self.word);
        self.blanks.clear();
        self.word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arriving(columns: usize, pieces: &[&str]) -> String {
        let mut wrap = Wrap::new(columns);
        let mut out: String = pieces.iter().map(|piece| wrap.push(piece)).collect();
        out.push_str(&wrap.finish());
        out
    }

    #[test]
    fn lines_break_between_words_however_they_arrive() {
        assert_eq!(arriving(10, &["one two three"]), "one two\nthree");
        assert_eq!(arriving(10, &["one tw", "o th", "ree"]), "one two\nthree");
        assert_eq!(arriving(10, &["a\n", "  b"]), "a\n  b");
        assert_eq!(arriving(4, &["abcdefgh"]), "abcd\nefgh");
        assert_eq!(arriving(6, &["日本語日本語"]), "日本語\n日本語");
    }

    #[test]
    fn code_is_left_as_it_is() {
        let code = "```text\nfn a_very_long_line() {}\n```\n";
        assert_eq!(arriving(10, &[code, "one two three"]), format!("{code}one two\nthree"));
    }

    #[test]
    fn a_whole_text_is_broken_as_one_that_arrives() {
        assert_eq!(wrapped("one two three", 10), arriving(10, &["one two three"]));
    }
}
