//! From text to the raw configuration, with errors in the words of the file and not of its parser.

use std::ops::Range;
use std::sync::Arc;

use commonwatt_core::route::edit_distance;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use crate::problem::{Problem, Source};

/// Reads the file. `path` is for people.
///
/// # Errors
/// The first thing that is no TOML, no key, or not of its key's kind.
pub(crate) fn parse(path: &std::path::Path, text: &str) -> Result<(Config, Places), Problem> {
    let source = Arc::new(Source::new(path.to_owned(), text));
    match toml::from_str::<Config>(text) {
        Ok(config) => Ok((config, Places { source, text: text.to_owned() })),
        Err(error) => Err(explain(&source, text, &error)),
    }
}

/// Where things stand in a file, for problems that are found later.
#[derive(Debug)]
pub(crate) struct Places {
    source: Arc<Source>,
    text: String,
}

impl Places {
    /// A problem with the value at `path` (keys of tables, positions in lists); with the last part of the path that
    /// is there, where the value itself is not.
    pub(crate) fn problem(&self, path: &[&str], message: impl Into<String>) -> Problem {
        Problem::at(&self.source, self.span(path, Part::Value), message)
    }

    /// A problem with the name that stands last in `path`.
    pub(crate) fn problem_with_name(&self, path: &[&str], message: impl Into<String>) -> Problem {
        Problem::at(&self.source, self.span(path, Part::Name), message)
    }

    /// The folder of the file, which relative paths in it start from.
    pub(crate) fn folder(&self) -> Option<&std::path::Path> {
        self.source.path.parent()
    }

    fn span(&self, path: &[&str], part: Part) -> Range<usize> {
        let Ok(root) = DeTable::parse(&self.text) else { return 0..0 };
        let mut found = 0..0;
        let mut here = Here::Table(root.get_ref());
        for name in path {
            let Some((name_span, value)) = here.child(name) else { return found };
            found = match part {
                Part::Name => name_span.unwrap_or_else(|| value.span()),
                Part::Value => value.span(),
            };
            here = Here::of(value.get_ref());
        }
        found
    }
}

#[derive(Clone, Copy)]
enum Part {
    Name,
    Value,
}

/// A place in the tree of the file.
enum Here<'a> {
    Table(&'a DeTable<'a>),
    List(&'a [Spanned<DeValue<'a>>]),
    Leaf,
}

impl<'a> Here<'a> {
    fn of(value: &'a DeValue<'a>) -> Self {
        match (value.as_table(), value.as_array()) {
            (Some(table), _) => Self::Table(table),
            (None, Some(list)) => Self::List(list),
            (None, None) => Self::Leaf,
        }
    }

    fn child(&self, name: &str) -> Option<(Option<Range<usize>>, &'a Spanned<DeValue<'a>>)> {
        match self {
            Self::Table(table) => table.get_key_value(name).map(|(key, value)| (Some(key.span()), value)),
            Self::List(list) => list.get(name.parse::<usize>().ok()?).map(|value| (None, value)),
            Self::Leaf => None,
        }
    }
}

/// A parser's error in the user's words.
fn explain(source: &Arc<Source>, text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let said = error.message();
    let at = |message: String| Problem::at(source, span.clone(), message);
    if let Some((unknown, known)) = unknown_key(said) {
        let problem = at(format!("unknown key `{unknown}`"));
        return match nearest(unknown, &known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("known here: {}", quoted(&known))),
        };
    }
    if let Some(missing) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return at(format!("`{missing}` is missing here"));
    }
    if let Some((found, wanted)) = wrong_kind(said) {
        let is_model = text.get(span.clone()).is_some_and(|value| value.starts_with(['"', '\'']))
            && key_before(text, span.start) == Some("model");
        let problem = at(format!("{found} stands where {wanted} is wanted"));
        return if is_model {
            problem.help("the model that `auto` uses is written `default_model = \"…\"`")
        } else {
            problem
        };
    }
    at(format!("this is not TOML: {}", said.replace('\n', ", ")))
        .help("see https://toml.io for the format, and `commonwatt config show` for an example")
}

/// The key and the keys that would do, from the words of the derive.
fn unknown_key(said: &str) -> Option<(&str, Vec<&str>)> {
    let rest = said.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// What was found and what was wanted, from the words of the derive.
fn wrong_kind(said: &str) -> Option<(String, &str)> {
    let rest = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "))?;
    let (found, wanted) = rest.rsplit_once(", expected ")?;
    let (kind, shown) = found.split_once(' ').map_or((found, ""), |(kind, rest)| (kind, rest));
    let found = match kind {
        "string" => format!("the text {}", shown.replace('"', "`")),
        "integer" | "floating" => format!("the number {}", shown.trim_start_matches("point ")),
        "boolean" => shown.to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ => found.to_owned(),
    };
    let wanted = match wanted {
        "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" => "text in quotes",
        "a sequence" => "a list",
        _ if wanted.starts_with("struct ") || wanted == "a map" => "a table",
        _ => wanted,
    };
    Some((found, wanted))
}

/// The key to whose value the byte belongs, when both stand on one line.
fn key_before(text: &str, byte: usize) -> Option<&str> {
    let line = text.get(..byte)?.rsplit('\n').next()?;
    line.trim_end().strip_suffix('=')?.trim().rsplit(['.', '{', ',', ' ']).next()
}

/// The candidate that is most like `word`, if any is like it at all: at most a third of its letters differ.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let far = |candidate: &&&str| edit_distance(word, candidate);
    let best = candidates.iter().min_by_key(far)?;
    let letters = word.chars().count().max(best.chars().count());
    (edit_distance(word, best) <= letters.div_ceil(3)).then_some(*best)
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
