//! What is wrong with the configuration: where, why, and what to do.
//!
//! A problem reads as one sentence (`commonwatt.toml:3:1: unknown key …`) in logs and answers, and as a picture of the
//! line on a terminal.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::term::Paint;

/// A configuration file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// What it says, without the keys that should not be in it.
    text: String,
}

impl Source {
    /// A file's text, with the keys in it blacked out: the text is shown around problems, keys are shown nowhere.
    pub(crate) fn new(path: PathBuf, text: &str) -> Self {
        Self { path, text: blacked_out(text) }
    }

    /// Line and column of a byte, both from 1, columns in characters.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before.get(line_start..).map_or(0, |text| text.chars().count()) + 1)
    }
}

/// The text with each value of `key = …` replaced by as many asterisks, unless it says where the key is. Works on text
/// that is no TOML as well.
fn blacked_out(text: &str) -> String {
    let mut shown = text.to_owned();
    for (at, _) in text.match_indices("key") {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-') {
            continue;
        }
        let after = text.get(at + "key".len()..).unwrap_or_default();
        let Some(value) = after.trim_start_matches(['"', '\'', ' ', '\t']).strip_prefix('=') else { continue };
        let value = value.trim_start_matches([' ', '\t', '"', '\'', '\n', '\r']);
        if value.starts_with("env:") || value.starts_with("file:") {
            continue;
        }
        let secret = value.split(['"', '\'', '\n', '\r', ',', '}']).next().unwrap_or_default();
        let start = text.len() - value.len();
        shown.replace_range(start..start + secret.len(), &"*".repeat(secret.len()));
    }
    shown
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    message: String,
    help: Option<String>,
    place: Option<(Arc<Source>, Range<usize>)>,
}

impl Problem {
    /// Something wrong outside of any file: a variable, a key on disk.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, place: None }
    }

    /// Something wrong with these bytes of a file.
    pub(crate) fn at(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, place: Some((Arc::clone(source), span)) }
    }

    /// With what to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// What is wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// File, line and column.
    pub(crate) fn position(&self) -> Option<(&Path, usize, usize)> {
        let (source, span) = self.place.as_ref()?;
        let (line, column) = source.position(span.start);
        Some((&source.path, line, column))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, line, column)) = self.position() {
            write!(f, "{}:{line}:{column}: ", path.display())?;
        }
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for Problem {}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// All problems as pictures of their lines.
    pub(crate) fn render(&self, paint: Paint, columns: Option<usize>) -> String {
        let theme = match paint.is_on() {
            true => miette::GraphicalTheme::unicode(),
            false => miette::GraphicalTheme::unicode_nocolor(),
        };
        let handler = miette::GraphicalReportHandler::new_themed(theme)
            .with_width(columns.unwrap_or(usize::from(u16::MAX)))
            .with_wrap_lines(columns.is_some())
            .with_links(false);
        let mut all = String::new();
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                all.push('\n');
            }
            let picture = Picture::of(problem);
            if handler.render_report(&mut all, &picture).is_err() {
                all.push_str(&problem.to_string());
                all.push('\n');
            }
        }
        all
    }
}

/// A problem in the shape that miette draws.
#[derive(Debug)]
struct Picture<'a> {
    problem: &'a Problem,
    source: Option<miette::NamedSource<String>>,
}

impl<'a> Picture<'a> {
    fn of(problem: &'a Problem) -> Self {
        let named = |(source, _): &(Arc<Source>, Range<usize>)| {
            miette::NamedSource::new(source.path.to_string_lossy(), source.text.clone())
        };
        Self { problem, source: problem.place.as_ref().map(named) }
    }
}

impl fmt::Display for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Picture<'_> {}

impl miette::Diagnostic for Picture<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let (_, span) = self.problem.place.as_ref()?;
        let label = miette::LabeledSpan::underline((span.start, span.len()));
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source::new("commonwatt.toml".into(), text))
    }

    #[test]
    fn a_problem_is_one_sentence_with_its_place() {
        let source = source("a = 1\nlisten = 'x'\n");
        let problem = Problem::at(&source, 15..18, "`x` is not an address").help("write `127.0.0.1:4600`");
        assert_eq!(problem.to_string(), "commonwatt.toml:2:10: `x` is not an address (write `127.0.0.1:4600`)");
    }

    #[test]
    fn a_problem_is_drawn_with_its_line() {
        let source = source("a = 1\nlisten = 'x'\n");
        let problem = Problem::at(&source, 15..18, "`x` is not an address").help("write `127.0.0.1:4600`");
        let picture = Problems::from(problem).render(Paint::PLAIN, None);
        assert!(picture.contains("commonwatt.toml:2:10"), "{picture}");
        assert!(picture.contains("listen = 'x'"), "{picture}");
        assert!(picture.contains("help: write `127.0.0.1:4600`"), "{picture}");
    }

    #[test]
    fn a_key_is_blacked_out_wherever_the_file_is_shown() {
        for text in [
            "key = 'sk-secret'\nlisten = 'x'\n",
            "listen = 'x'\nproviders.openai.key=\"sk-secret\"",
            "providers.openai = { \"key\" = \"sk-secret\", tier = 'free' }",
            "key = sk-secret\n",
        ] {
            let source = source(text);
            let problem = Problem::at(&source, 0..3, "wrong");
            let picture = Problems::from(problem).render(Paint::PLAIN, None);
            assert!(!picture.contains("secret"), "{picture}");
            assert_eq!(source.text.len(), text.len());
        }
        let named = "key = 'env:OPENAI_API_KEY'\n[[keys]]\nname = 'x'\nmonkey = 'banana'";
        assert_eq!(source(named).text, named);
    }

    #[test]
    fn columns_are_counted_in_characters() {
        let source = source("name = 'é' # ü\nx");
        assert_eq!(source.position("name = 'é' # ".len()), (1, 14));
    }
}
