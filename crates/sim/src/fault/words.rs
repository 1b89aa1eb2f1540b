//! Faults in words: `status=529 retry_after_s=2`, `reset after=3 part=tool_call; crlf`.
//!
//! The words stand in the header `x-sim-fault` or in a directive `[[sim: …]]` in the last message of the user. A
//! text that starts with `{` or `[` is read as JSON instead. `;` parts several faults; `answer …` sets how the model
//! answers; `pass` is no fault at all.

use serde_json::{Map, Value};

use super::Fault;
use crate::settings::AnswerSettings;

/// Why a fault cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A status out of range.
    #[error("`{0}` is no status for this fault: use 400 to 599 (a page may also have 200 to 399)")]
    Status(u16),
    /// A redirect that is none.
    #[error("`{0}` is no status of a redirect: use 300 to 399")]
    Redirect(u16),
    /// A location that does not fit into a header.
    #[error("`{0}` does not fit into the header `location`: remove control characters")]
    Location(String),
    /// A cycle too short.
    #[error("`period` of `flapping` must be at least 2; for one call in one use `status`")]
    Period,
    /// Nothing would ever be sent.
    #[error("`bytes` must be at least 1")]
    NoBytes,
    /// A part counted on the wire.
    #[error("`after = {{ wire = … }}` counts the whole body: remove `part`, or count `bytes`")]
    PartOfWire,
    /// A place that nobody knows.
    #[error(
        "`{0}` is no place in an answer: use start, headers, preamble, content, finish, or a number such as 3, \
         120bytes, 999wire"
    )]
    Place(String),
    /// Words that nobody understands.
    #[error("`{words}` is not understood: {reason}; an example is `reset after=3`")]
    Words {
        /// What was written.
        words: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a header or a directive asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Directive {
    pub(crate) faults: Vec<Fault>,
    pub(crate) answer: Option<AnswerSettings>,
}

impl std::str::FromStr for Directive {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let text = text.trim();
        let mut directive = Self::default();
        if text.starts_with('[') {
            directive.faults = serde_json::from_str(text).map_err(|e| not_understood(text, &e))?;
        } else if text.starts_with('{') {
            directive.faults = vec![serde_json::from_str(text).map_err(|e| not_understood(text, &e))?];
        } else {
            for clause in text.split(';').map(str::trim) {
                directive.add(clause)?;
            }
        }
        directive.faults.iter().try_for_each(Fault::check)?;
        Ok(directive)
    }
}

impl Directive {
    /// The directive `[[sim: …]]` in `text`, if there is one.
    pub(crate) fn within(text: &str) -> Option<Result<Self, FaultError>> {
        let (_, rest) = text.split_once("[[sim:")?;
        let (words, _) = rest.split_once("]]")?;
        Some(words.parse())
    }

    fn add(&mut self, clause: &str) -> Result<(), FaultError> {
        let mut words = clause.split_whitespace();
        let Some(first) = words.next() else {
            return Err(not_understood(clause, "it is empty"));
        };
        let (name, value) = first.split_once('=').map_or((first, None), |(name, value)| (name, Some(value)));
        let mut fields = Map::new();
        match name {
            "pass" => return Ok(()),
            "answer" => {}
            "reset" | "close" | "eof" | "stall" | "error" | "malformed" | "garbage" | "done" | "failed" => {
                fields.insert("kind".to_owned(), Value::from("cut"));
                fields.insert("how".to_owned(), Value::from(name));
            }
            kind => {
                fields.insert("kind".to_owned(), Value::from(kind));
            }
        }
        if let Some(value) = value {
            fields.insert(main_field(name).to_owned(), typed(value));
        }
        for word in words {
            let Some((field, value)) = word.split_once('=') else {
                return Err(not_understood(clause, &format!("`{word}` lacks its `=`")));
            };
            fields.insert(field.to_owned(), typed(value));
        }
        if name == "answer" {
            let answer = serde_json::from_value(fields.into()).map_err(|e| not_understood(clause, &e))?;
            self.answer = Some(answer);
        } else {
            self.faults.push(serde_json::from_value(fields.into()).map_err(|e| not_understood(clause, &e))?);
        }
        Ok(())
    }
}

/// The field that `name=value` sets when it opens a clause.
fn main_field(name: &str) -> &'static str {
    match name {
        "cut" => "how",
        "drip" | "split" => "bytes",
        "redirect" => "location",
        "heartbeat" => "chunks",
        "wrong_length" => "missing",
        "stall" => "stall_ms",
        "filter" => "after",
        "answer" => "text",
        "reset" | "close" | "eof" | "malformed" | "garbage" | "done" | "failed" => "after",
        _ => "status",
    }
}

fn typed(value: &str) -> Value {
    match value {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from),
    }
}

fn not_understood(words: &str, reason: &(impl ToString + ?Sized)) -> FaultError {
    FaultError::Words { words: words.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Ending, Part, Place};

    fn check(words: &str, expected: &[Fault]) {
        assert_eq!(words.parse::<Directive>().unwrap().faults, expected, "{words}");
    }

    fn cut(how: Ending, after: Place, part: Option<Part>) -> Fault {
        Fault::Cut { how, after, part, stall_ms: None, status: None }
    }

    #[test]
    fn words_spell_faults() {
        check(
            "status=529 retry_after_s=2",
            &[Fault::Status { status: 529, retry_after_s: Some(2), message: None, code: None }],
        );
        check("reset after=3", &[cut(Ending::Reset, Place::Chunks(3), None)]);
        check("reset=3", &[cut(Ending::Reset, Place::Chunks(3), None)]);
        check("cut=eof after=120bytes part=tool_call", &[cut(Ending::Eof, Place::Bytes(120), Some(Part::ToolCall))]);
        check(" close after=999wire ; crlf", &[cut(Ending::Close, Place::Wire(999), None), Fault::Crlf {}]);
        check(
            "error after=2 status=500",
            &[Fault::Cut {
                how: Ending::Error,
                after: Place::Chunks(2),
                part: None,
                stall_ms: None,
                status: Some(500),
            }],
        );
        check("failed=2", &[cut(Ending::Failed, Place::Chunks(2), None)]);
        check("drip", &[Fault::Drip { bytes: 1, gap_ms: 1 }]);
        check("flapping", &[Fault::Flapping { status: 503, period: 2 }]);
        check("pass", &[]);
        check(r#"{"kind":"cut","how":"stall","after":"preamble"}"#, &[cut(Ending::Stall, Place::Preamble, None)]);
    }

    #[test]
    fn a_directive_is_found_in_a_message() {
        let directive =
            Directive::within("Tell me. [[sim: answer reasoning_characters=9; empty]] Thanks.").unwrap().unwrap();
        assert_eq!(directive.faults, [Fault::Empty {}]);
        assert_eq!(directive.answer.unwrap().reasoning_characters, Some(9));
        assert!(Directive::within("no [[sim here").is_none());
    }

    #[test]
    fn what_is_not_understood_is_said_with_the_users_own_words() {
        for (words, said) in [
            ("explode", "explode"),
            ("status=200", "`200`"),
            ("reset after=soon", "`soon`"),
            ("reset 3", "`3` lacks its `=`"),
            ("crlf colour=red", "colour"),
            ("", "empty"),
            ("flapping period=1", "at least 2"),
            ("reset after=9wire part=text", "remove `part`"),
        ] {
            let error = words.parse::<Directive>().unwrap_err().to_string();
            assert!(error.contains(said), "{words}: {error}");
        }
    }
}
