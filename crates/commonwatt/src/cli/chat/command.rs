//! What begins with a slash is meant for the program and not for the model.

use std::path::PathBuf;

use crate::config::nearest;

/// What `/help` prints.
pub(super) const HELP: &str = "  /model NAME    go on with another model; without a name, show what there is
  /system TEXT   tell the model something beforehand; without a text, nothing
  /retry         ask the last question again
  /undo          take the last question back, with its answer
  /tree          show the branches of this session, with a number for each turn
  /branch N      go on from turn N
  /session NAME  go on with another session; without a name, say which this is
  /sessions      list the sessions
  /handoff KEY   offer this session to another key; without a name, to whoever has the token
  /clear         forget the conversation and begin another session
  /save FILE     write it to a file: Markdown, or JSON where the name ends in .json
  /quit          leave, as Ctrl-D does
  Ctrl-C stops an answer. A line that ends in \\ goes on in the next one; pasted lines stay together.
";

/// The words, for completion.
pub(super) const WORDS: [&str; 13] = [
    "/branch",
    "/clear",
    "/handoff",
    "/help",
    "/model",
    "/quit",
    "/retry",
    "/save",
    "/session",
    "/sessions",
    "/system",
    "/tree",
    "/undo",
];

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Model(Option<String>),
    System(Option<String>),
    Retry,
    Undo,
    Tree,
    Branch(String),
    Session(Option<String>),
    Sessions,
    Handoff(Option<String>),
    Clear,
    Save(PathBuf),
    Quit,
}

impl Command {
    /// Reads a line; `None` when it is meant for the model.
    ///
    /// # Errors
    /// One sentence, when nobody knows the command.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        // A path (`/etc/hosts is …`) is no command.
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if !word.starts_with('/') || word.len() < 2 || word.get(1..).is_some_and(|rest| rest.contains('/')) {
            return Ok(None);
        }
        let rest = Some(rest.trim().to_owned()).filter(|rest| !rest.is_empty());
        Ok(Some(match (word, rest) {
            ("/help", _) => Self::Help,
            ("/model", name) => Self::Model(name),
            ("/system", text) => Self::System(text),
            ("/retry", _) => Self::Retry,
            ("/undo", _) => Self::Undo,
            ("/tree", _) => Self::Tree,
            ("/branch", Some(turn)) => Self::Branch(turn),
            ("/branch", None) => return Err("say which turn: `/branch N`; `/tree` shows their numbers".to_owned()),
            ("/session", name) => Self::Session(name),
            ("/sessions", _) => Self::Sessions,
            ("/handoff", to) => Self::Handoff(to),
            ("/clear", _) => Self::Clear,
            ("/save", Some(path)) => Self::Save(path.into()),
            ("/save", None) => return Err("name the file: `/save FILE`".to_owned()),
            ("/quit" | "/exit", _) => Self::Quit,
            (unknown, _) => {
                let near = nearest(unknown, &WORDS).map(|near| format!("did you mean `{near}`? "));
                return Err(format!(
                    "there is no `{unknown}`: {}`/help` lists what there is",
                    near.unwrap_or_default()
                ));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_questions() {
        assert_eq!(Command::parse("/handoff bob"), Ok(Some(Command::Handoff(Some("bob".into())))));
        assert_eq!(Command::parse("/handoff"), Ok(Some(Command::Handoff(None))));
        assert_eq!(Command::parse("what is /help?"), Ok(None));
        assert_eq!(Command::parse("/etc/hosts is empty"), Ok(None));
        assert_eq!(Command::parse("/ "), Ok(None));
        assert_eq!(Command::parse(" /model  local "), Ok(Some(Command::Model(Some("local".into())))));
        assert_eq!(Command::parse("/model"), Ok(Some(Command::Model(None))));
        assert_eq!(Command::parse("/system Be\nbrief."), Ok(Some(Command::System(Some("Be\nbrief.".into())))));
        assert_eq!(Command::parse("/save a b.md"), Ok(Some(Command::Save("a b.md".into()))));
    }

    #[test]
    fn an_unknown_command_gets_the_nearest_one() {
        let said = Command::parse("/modle x").expect_err("unknown");
        assert_eq!(said, "there is no `/modle`: did you mean `/model`? `/help` lists what there is");
        assert!(Command::parse("/save").is_err());
    }

    #[test]
    fn every_word_is_a_command_and_in_the_help() {
        for word in WORDS {
            assert!(matches!(Command::parse(&format!("{word} x")), Ok(Some(_))), "{word}");
            assert!(word == "/help" || HELP.contains(word), "{word}");
        }
    }
}
