//! `commonwatt chat`: a conversation in the terminal, or one question from a script.
//!
//! The answer goes to standard output, everything about it (who gave it, what went wrong) to the same place on a
//! terminal and to standard error otherwise, so that a script gets the answer and nothing else.

mod answer;
mod command;
mod conversation;
mod kept;
mod line;
mod screen;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::Context as _;

use self::answer::{Answer, Ending, ask};
use self::command::Command;
use self::conversation::Conversation;
use self::line::{Editor, Typed};
use self::screen::Screen;
use super::Context;
use crate::admin::Admin;
use crate::home::Home;

/// What the shell sees of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A question; without one, a conversation begins. `-` stands for what comes on standard input.
    question: Vec<String>,
    /// Who is asked: a route such as `auto` or `local`, or a model.
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// What the model is told beforehand.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The session to go on with: its name, its id, or the beginning of its id. A name that is new begins one.
    #[arg(long, short, value_name = "SESSION")]
    session: Option<String>,
}

/// Whether what was said before is shown when a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voices {
    /// The last of it is.
    Shown,
    /// The user wants an answer and nothing else.
    Silent,
}

/// A conversation under way.
struct Chat<'a> {
    context: &'a Context,
    admin: Admin,
    conversation: Conversation,
    screen: Screen,
}

/// Talks.
pub(super) async fn run(context: &Context, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let origin = context.origin()?;
    let conversation = Conversation::new(arguments.model, arguments.system);
    let mut chat = Chat { context, admin: context.admin()?, conversation, screen: Screen::new() };
    let is_talk = arguments.question.is_empty() && io::stdin().is_terminal();
    if let Some(session) = &arguments.session {
        chat.open(session, if is_talk { Voices::Shown } else { Voices::Silent }).await?;
    }
    let code = if !arguments.question.is_empty() {
        chat.answer_once(&with_stdin(&arguments.question)?).await
    } else if is_talk {
        chat.converse(&origin.home).await
    } else {
        chat.answer_lines().await
    };
    chat.part()?;
    code
}

/// The question in the words of the command line, with standard input where `-` stands.
fn with_stdin(words: &[String]) -> anyhow::Result<String> {
    let mut parts = Vec::new();
    for word in words {
        if word != "-" {
            parts.push(word.clone());
            continue;
        }
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).context("cannot read standard input: it must be text in UTF-8")?;
        parts.push(text.trim_end().to_owned());
    }
    Ok(parts.join(" "))
}

impl Chat<'_> {
    /// One question, one answer.
    async fn answer_once(&mut self, question: &str) -> anyhow::Result<ExitCode> {
        let answer = self.put(question.to_owned()).await?;
        match answer.ending {
            Ending::Complete => Ok(ExitCode::SUCCESS),
            Ending::Stopped => Ok(ExitCode::from(INTERRUPTED)),
            Ending::Broken(_) => Ok(ExitCode::FAILURE),
            Ending::Refused(error) => Err(error),
        }
    }

    /// One question a line, in one conversation.
    async fn answer_lines(&mut self) -> anyhow::Result<ExitCode> {
        for line in io::stdin().lock().lines() {
            let line = line.context("cannot read standard input: it must be text in UTF-8")?;
            if line.trim().is_empty() {
                continue;
            }
            let answer = self.put(line).await?;
            match answer.ending {
                Ending::Complete => {}
                Ending::Stopped => return Ok(ExitCode::from(INTERRUPTED)),
                Ending::Broken(_) => return Ok(ExitCode::FAILURE),
                Ending::Refused(error) => return Err(error),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Reads what is typed until the user leaves. Whatever goes wrong with an answer, the conversation stays.
    async fn converse(&mut self, home: &Home) -> anyhow::Result<ExitCode> {
        // Better to hear now that nobody is there than after typing the question.
        self.admin.status().await?;
        let mut editor = Editor::open(home)?;
        self.screen.greet(self.conversation.model(), self.admin.url())?;
        loop {
            match editor.read()? {
                Typed::Left => return Ok(ExitCode::SUCCESS),
                Typed::Cleared => self.screen.remark("Ctrl-D leaves")?,
                Typed::Line(line) => match Command::parse(&line) {
                    Ok(None) => self.turn(line).await?,
                    Ok(Some(Command::Quit)) => return Ok(ExitCode::SUCCESS),
                    Ok(Some(command)) => self.heed(command).await?,
                    Err(sentence) => self.screen.remark(&sentence)?,
                },
            }
        }
    }

    /// A question of the conversation.
    async fn turn(&mut self, question: String) -> anyhow::Result<()> {
        let answer = self.put(question).await?;
        match answer.ending {
            Ending::Complete => return Ok(()),
            Ending::Stopped => self.screen.remark("stopped; `/retry` asks again")?,
            Ending::Broken(_) => self.screen.remark("what came is kept; `/retry` asks again")?,
            Ending::Refused(error) => {
                self.screen.trouble(&error.to_string())?;
                self.screen.remark("`/retry` asks again")?;
            }
        }
        // A daemon that was started again may listen elsewhere.
        if let Ok(admin) = self.context.admin() {
            self.admin = admin;
        }
        Ok(())
    }

    async fn put(&mut self, question: String) -> anyhow::Result<Answer> {
        let request = self.conversation.request(&question);
        let before = self.conversation.place().map(str::to_owned);
        let answer = ask(&self.admin, &request, &mut self.screen).await?;
        self.conversation.add(question, answer.text.clone(), matches!(answer.ending, Ending::Complete));
        self.screen.sign(&answer)?;
        let Some(served) = &answer.served else { return Ok(answer) };
        if !served.session.is_empty() {
            self.conversation.keep(served.session.clone());
        }
        match before {
            Some(_) if served.session.is_empty() => {
                self.screen
                    .trouble("the daemon keeps no sessions any more: the model was not told what was said before")?;
            }
            Some(before) if !answer.text.is_empty() => self.catch_up(&before).await,
            Some(_) | None => {}
        }
        Ok(answer)
    }

    /// Obeys a command. One that cannot be obeyed ends nothing, unless the terminal is gone.
    async fn heed(&mut self, command: Command) -> anyhow::Result<()> {
        match self.obey(command).await {
            Err(error) if error.downcast_ref::<io::Error>().is_none() => Ok(self.screen.trouble(&error.to_string())?),
            done => done,
        }
    }

    async fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Quit => {}
            Command::Help => self.screen.block(command::HELP)?,
            Command::Clear => {
                self.conversation.clear();
                self.screen.remark("forgotten: the next question begins a new conversation")?;
            }
            Command::Retry => match self.conversation.take_last() {
                Some(question) => {
                    self.screen.remark(&format!("asking again: {}", first_line(&question)))?;
                    self.turn(question).await?;
                }
                None => self.screen.remark("nothing has been asked yet")?,
            },
            Command::Model(None) => self.list_models().await?,
            Command::Model(Some(name)) => {
                let told = if self.conversation.has_begun() { ", and told what was said so far" } else { "" };
                self.screen.remark(&format!("from now on `{name}` is asked{told}"))?;
                self.conversation.set_model(name);
            }
            Command::Undo => self.undo()?,
            Command::Tree => self.draw_tree().await?,
            Command::Branch(turn) => self.branch(&turn).await?,
            Command::Session(None) => self.tell_session().await?,
            Command::Session(Some(name)) => self.open(&name, Voices::Shown).await?,
            Command::Sessions => self.list_sessions().await?,
            Command::Handoff(to) => self.hand_over(to).await?,
            Command::System(text) => {
                let said = if text.is_some() { "the model is told so" } else { "the model is told nothing beforehand" };
                self.conversation.set_system(text);
                self.screen.remark(said)?;
            }
            Command::Save(path) => {
                let text = self.conversation.saved(&path);
                match std::fs::write(&path, text) {
                    Ok(()) => self.screen.remark(&format!("saved in `{}`", path.display()))?,
                    Err(error) => self.screen.trouble(&format!("cannot write `{}` ({error})", path.display()))?,
                }
            }
        }
        Ok(())
    }

    async fn list_models(&mut self) -> anyhow::Result<()> {
        let listed = answer::models(&self.admin).await;
        match listed {
            Ok(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let now = self.conversation.model();
                self.screen.block(&format!("now `{now}`; `/model NAME` asks another:\n  {}\n", names.join("\n  ")))?;
            }
            Err(error) => self.screen.trouble(&error.to_string())?,
        }
        Ok(())
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    crate::term::cut(line, 60)
}
