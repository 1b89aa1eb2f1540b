//! The conversation on the bus: which session it is, going on with another, going back to an earlier turn.

use std::time::Duration;

use anyhow::bail;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use super::conversation::Exchange;
use super::{Chat, Voices};
use crate::admin::sessions::{List, SessionLine, Told, Tree, TurnLine, understood};
use crate::cli::session::handoff;
use crate::cli::session::paper::{self, Paper};
use crate::term::{self, Paint};
use crate::when;

/// Turns that are at hand when a session goes on: so far can be gone back without a look at its tree.
const TURNS: usize = 100;
/// Turns that are shown then.
const SHOWN: usize = 4;
/// Sessions that `/sessions` lists.
const LISTED: usize = 10;
/// An answer that was stopped is kept as soon as the daemon has noticed: so often, and so far apart, it is asked.
const LOOKS: usize = 10;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of a session's name; the daemon's own bound.
const NAME_MAX: usize = 128;

impl Chat<'_> {
    /// Goes on with the session that a word names; if there is none, one of that name begins with the next answer.
    ///
    /// # Errors
    /// One sentence, when the daemon keeps no sessions, or the word is no name.
    pub(super) async fn open(&mut self, word: &str, voices: Voices) -> anyhow::Result<()> {
        let Some(session) = self.admin.look_for_session(word).await? else {
            check_name(word)?;
            self.conversation.begin(word.to_owned());
            self.screen.remark(&format!("a new session begins, named `{word}`"))?;
            return Ok(());
        };
        let told: Told = understood(self.admin.session(&session.id, None, TURNS).await?)?;
        let (id, called) = (term::tame_line(&session.id), term::cut(&session.called(), 40));
        self.go_on(&told, &format!("going on with {id}: {called}"), voices)
    }

    /// Goes on from a turn, whichever branch it is on.
    pub(super) async fn branch(&mut self, word: &str) -> anyhow::Result<()> {
        let Some(id) = self.conversation.session().map(str::to_owned) else { return self.no_session_yet() };
        let tree: Tree = understood(self.admin.session_tree(&id).await?)?;
        let node = tree.find(word)?;
        let told: Told = understood(self.admin.session(&id, Some(&node.id), TURNS).await?)?;
        let remark = if node.party == "user" {
            format!("the next question takes the place of turn {}; `/retry` asks that one again", node.number)
        } else {
            format!("the next question follows turn {}", node.number)
        };
        self.go_on(&told, &remark, Voices::Shown)
    }

    fn go_on(&mut self, told: &Told, remark: &str, voices: Voices) -> anyhow::Result<()> {
        let (floor, exchanges) = exchanges(told);
        self.conversation.go_on(&told.session, floor, exchanges);
        match voices {
            Voices::Shown => {
                let (paper, now) = (Paper::new(Paint::for_stdout(), term::columns(), false), when::now());
                let skipped = told.turns.len().saturating_sub(SHOWN);
                for turn in told.turns.iter().skip(skipped) {
                    term::text(format!("\n{}", paper.turn(turn, &now)))?;
                }
                term::line("")?;
            }
            Voices::Silent => {}
        }
        self.screen.remark(remark)?;
        Ok(())
    }

    /// Offers this session, as it stands now, to another key.
    pub(super) async fn hand_over(&mut self, to: Option<String>) -> anyhow::Result<()> {
        let Some(id) = self.conversation.session().map(str::to_owned) else { return self.no_session_yet() };
        let id = self.admin.find_session(&id).await?.id;
        let terms = to.as_ref().map_or_else(|| json!({}), |to| json!({ "audience": to }));
        let path = format!("/admin/v1/sessions/{id}/handoff");
        let offered = handoff::asked(&self.admin, Method::POST, &path, Some(&terms)).await?;
        let whoever = to.as_deref().map_or_else(|| "whoever has it".to_owned(), term::tame_line);
        self.screen.remark(&format!("good for an hour, once, for {whoever}: `commonwatt session accept TOKEN`"))?;
        term::line(handoff::text(&offered, "token"))?;
        Ok(())
    }

    /// Takes the last question back, with its answer.
    pub(super) fn undo(&mut self) -> anyhow::Result<()> {
        match self.conversation.take_last() {
            Some(question) => {
                let question = super::first_line(&term::tame(&question));
                self.screen.remark(&format!("taken back: {question}"))?;
            }
            None => self.screen.remark("there is nothing to take back")?,
        }
        Ok(())
    }

    /// Lists what else there is to go on with.
    pub(super) async fn list_sessions(&mut self) -> anyhow::Result<()> {
        let list: List = understood(self.admin.sessions(LISTED, None).await?)?;
        let table = paper::list(&list.sessions, &when::now(), Paint::for_stdout(), term::columns());
        term::text(table)?;
        self.screen.remark("`/session NAME` goes on with one of them, by its name or its id")?;
        Ok(())
    }

    /// Says where the conversation is.
    pub(super) async fn tell_session(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.conversation.session().map(str::to_owned) else { return self.no_session_yet() };
        match self.admin.look_for_session(&id).await? {
            Some(session) => {
                let remark = format!("{}; asking `{}`", described(&session), self.conversation.model());
                self.screen.remark(&remark)?;
            }
            None => self.screen.remark(&format!("session `{id}` begins with the next answer"))?,
        }
        Ok(())
    }

    /// Draws the branches.
    pub(super) async fn draw_tree(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.conversation.session().map(str::to_owned) else { return self.no_session_yet() };
        let tree: Tree = understood(self.admin.session_tree(&id).await?)?;
        term::text(Paper::new(Paint::for_stdout(), term::columns(), true).tree(&tree, &when::now()))?;
        let place = self.conversation.place();
        let here = tree.turns.iter().find(|node| Some(node.id.as_str()) == place);
        let here = here.map(|node| format!("the next question follows turn {}; ", node.number)).unwrap_or_default();
        self.screen.remark(&format!("{here}`/branch NUMBER` goes on from another turn"))?;
        Ok(())
    }

    fn no_session_yet(&self) -> anyhow::Result<()> {
        self.screen.remark("no session yet: it begins with the first answer, if the daemon keeps sessions")?;
        Ok(())
    }

    /// Learns at which turn a session stands after an answer that followed `before`. If that cannot be learned, the
    /// answer is sent again with the next question.
    pub(super) async fn catch_up(&mut self, before: &str) {
        let Some(id) = self.conversation.session().map(str::to_owned) else { return };
        for _ in 0..LOOKS {
            let Ok(said) = self.admin.session(&id, None, 2).await else { return };
            let Ok(told) = understood::<Told>(said) else { return };
            if let [question, answer] = told.turns.as_slice()
                && (question.parent.as_str(), answer.party.as_str()) == (before, "model")
            {
                return self.conversation.stand_at(answer.id.clone());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The last words: how to go on another day.
    pub(super) fn part(&self) -> anyhow::Result<()> {
        if let Some(session) = self.conversation.kept() {
            let session = term::tame_line(session);
            let session = if session.contains(' ') { format!("'{session}'") } else { session };
            self.screen.remark(&format!("`commonwatt chat --session {session}` goes on"))?;
        }
        Ok(())
    }
}

fn described(session: &SessionLine) -> String {
    let turns = if session.turns == 1 { "1 turn".to_owned() } else { format!("{} turns", session.turns) };
    format!("session {}: {}, {turns}", term::tame_line(&session.id), term::cut(&session.called(), 40))
}

/// A session's name travels in a header.
fn check_name(word: &str) -> anyhow::Result<()> {
    let is_id = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_id {
        bail!("there is no session `{word}` that this key may see: `commonwatt session list` shows those that are");
    }
    let is_name = word.chars().all(|c| c.is_ascii_graphic()) && word != "none" && word.len() <= NAME_MAX;
    if word.is_empty() || !is_name {
        bail!("`{}` cannot name a session: use letters, digits and `-`", term::tame_line(word));
    }
    Ok(())
}

/// What was said, as questions and what came of them; and the turn that the first of them follows.
fn exchanges(told: &Told) -> (String, Vec<Exchange>) {
    let first = told.turns.iter().position(|turn| turn.party == "user").unwrap_or(told.turns.len());
    let (before, after) = told.turns.split_at(first);
    let floor = before.last().map(|turn| &turn.id).or(after.first().map(|turn| &turn.parent));
    let floor = floor.unwrap_or(&told.session.root).clone();
    let mut exchanges: Vec<Exchange> = Vec::new();
    for turn in after {
        if turn.party == "user" {
            let question = text(turn);
            exchanges.push(Exchange { question, answer: String::new(), is_complete: false, after: None });
        } else if let Some(exchange) = exchanges.last_mut() {
            exchange.answer.push_str(&text(turn));
            exchange.is_complete = turn.state == "complete";
            exchange.after = Some(turn.id.clone());
        }
    }
    (floor, exchanges)
}

fn text(turn: &TurnLine) -> String {
    turn.said.iter().filter(|said| said.kind == "text").map(|said| said.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(parties: &[&str]) -> Told {
        let turn = |(at, party): (usize, &&str)| {
            json!({"id": format!("t{at}"), "parent": format!("t{}", at as i64 - 1), "party": party, "by": null,
                   "state": "complete", "made_ms": 0, "said": [{"kind": "text", "text": format!("{party} {at}")}]})
        };
        let turns: Vec<_> = parties.iter().enumerate().map(turn).collect();
        let session = json!({"id": "s", "owner": "o", "holder": "o", "created_ms": 0, "updated_ms": 0, "turns": 1,
                             "root": "root", "head": "t"});
        serde_json::from_value(json!({"session": session, "turns": turns})).expect("the daemon's shape")
    }

    #[test]
    fn what_was_said_becomes_questions_and_what_came_of_them() {
        let (floor, found) = exchanges(&told(&["system", "user", "model", "tool", "model", "user"]));
        assert_eq!((floor.as_str(), found.len()), ("t0", 2));
        let seen: Vec<_> = found.iter().map(|e| (e.question.as_str(), e.answer.as_str(), e.after.as_deref())).collect();
        assert_eq!(seen, [("user 1", "model 2tool 3model 4", Some("t4")), ("user 5", "", None)]);
        assert_eq!(exchanges(&told(&[])).0, "root");
        assert_eq!(exchanges(&told(&["user"])).0, "t-1");
    }

    #[test]
    fn a_word_that_looks_like_an_id_begins_no_session() {
        assert!(check_name("work").is_ok() && check_name("2026-plan").is_ok());
        for wrong in ["01a1ffa8-bb05", "none", "", "über", "two words", &"x".repeat(129)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
