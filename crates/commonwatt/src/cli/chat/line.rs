//! The line that is typed: editing, history, completion of commands, pasted text in one piece.

use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Helper};

use super::command::WORDS;
use crate::home::Home;

/// Lines that are remembered from one conversation to the next.
const HISTORY_LINES: usize = 1_000;

/// What the user did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Typed something.
    Line(String),
    /// Thought better of it (Ctrl-C).
    Cleared,
    /// Left (Ctrl-D).
    Left,
}

/// The editor.
pub(super) struct Editor {
    editor: rustyline::Editor<Slash, FileHistory>,
    history: PathBuf,
}

impl Editor {
    /// An editor that remembers what was typed in earlier conversations.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub(super) fn open(home: &Home) -> anyhow::Result<Self> {
        let config = Config::builder().max_history_size(HISTORY_LINES)?.history_ignore_space(true).build();
        let mut editor = rustyline::Editor::with_config(config).context("cannot use this terminal")?;
        editor.set_helper(Some(Slash));
        let history = home.history_file();
        // The first conversation has none.
        let _ = editor.load_history(&history);
        Ok(Self { editor, history })
    }

    /// Waits for a line.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn read(&mut self) -> anyhow::Result<Typed> {
        loop {
            match self.editor.readline("\n> ") {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    // A history that cannot be kept is no reason to stop talking.
                    let _ = self.editor.add_history_entry(line.as_str());
                    let _ = self.editor.append_history(&self.history);
                    return Ok(Typed::Line(line.replace("\\\n", "\n")));
                }
                Err(ReadlineError::Interrupted) => return Ok(Typed::Cleared),
                Err(ReadlineError::Eof) => return Ok(Typed::Left),
                Err(ReadlineError::Signal(_)) => {}
                Err(error) => return Err(error).context("cannot read from this terminal"),
            }
        }
    }
}

/// Completes commands, and lets a line that ends in `\` go on.
struct Slash;

impl Helper for Slash {}
impl Highlighter for Slash {}

impl Hinter for Slash {
    type Hint = String;
}

impl Completer for Slash {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or(line);
        let fits = WORDS.iter().filter(|word| typed.starts_with('/') && word.starts_with(typed));
        Ok((0, fits.map(|word| format!("{word} ")).collect()))
    }
}

impl Validator for Slash {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let goes_on = context.input().ends_with('\\');
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}
