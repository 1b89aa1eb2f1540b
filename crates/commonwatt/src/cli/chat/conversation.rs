//! What has been said so far, and the request for what comes next.

use std::path::Path;

use serde_json::{Value, json};

use crate::admin::sessions::SessionLine;

/// A conversation.
///
/// As long as nobody says at which turn of a session it stands, everything that was said goes along with each question,
/// and a bus that is there recognises it. Once a turn is known, the bus puts what was said up to it before the question.
#[derive(Debug)]
pub(super) struct Conversation {
    model: String,
    system: Option<String>,
    exchanges: Vec<Exchange>,
    /// The session's name or id.
    session: Option<String>,
    /// What people call it, where that is not what stands in `session`.
    name: Option<String>,
    /// Whether an answer came from it.
    is_kept: bool,
    /// The turn that the first exchange follows, where the bus knows more of the session than is told here.
    floor: Option<String>,
}

/// A question and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) question: String,
    pub(super) answer: String,
    pub(super) is_complete: bool,
    /// The turn of the session at which it ended, where that is known.
    pub(super) after: Option<String>,
}

/// A question, as it goes to the daemon.
#[derive(Debug)]
pub(super) struct Request {
    /// In OpenAI's dialect.
    pub(super) body: Value,
    /// The header that says which session it belongs to.
    pub(super) session: Option<(&'static str, String)>,
}

impl Conversation {
    /// A conversation in which nothing has been said.
    pub(super) fn new(model: String, system: Option<String>) -> Self {
        Self { model, system, exchanges: Vec::new(), session: None, name: None, is_kept: false, floor: None }
    }

    /// Who is asked.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Another one is asked from now on, with all that was said so far.
    pub(super) fn set_model(&mut self, model: String) {
        self.model = model;
    }

    /// What the model is told beforehand.
    pub(super) fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// Forgets what was said; the next answer begins another session.
    pub(super) fn clear(&mut self) {
        self.exchanges.clear();
        (self.session, self.name, self.is_kept, self.floor) = (None, None, false, None);
    }

    /// Nothing was said yet in a session of that name.
    pub(super) fn begin(&mut self, name: String) {
        self.clear();
        self.session = Some(name);
    }

    /// Goes on with a session of which so much is at hand.
    pub(super) fn go_on(&mut self, session: &SessionLine, floor: String, exchanges: Vec<Exchange>) {
        self.exchanges = exchanges;
        (self.session, self.name) = (Some(session.id.clone()), session.name.clone());
        (self.is_kept, self.floor) = (true, Some(floor));
    }

    /// The session's name or id.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// What to call it on another day, once there is something to go on with.
    pub(super) fn kept(&self) -> Option<&str> {
        self.name.as_deref().or(self.session()).filter(|_| self.is_kept)
    }

    /// An answer came from this session.
    pub(super) fn keep(&mut self, session: String) {
        // A name says more than an id.
        if self.session.is_none() {
            self.session = Some(session);
        }
        self.is_kept = true;
    }

    /// Whether anything was said.
    pub(super) fn has_begun(&self) -> bool {
        !self.exchanges.is_empty()
    }

    /// The turn that the next question follows, where that is known.
    pub(super) fn place(&self) -> Option<&str> {
        let known = self.exchanges.iter().rev().find_map(|exchange| exchange.after.as_deref());
        known.or(self.floor.as_deref())
    }

    /// The last answer is this turn of the session.
    pub(super) fn stand_at(&mut self, turn: String) {
        if let Some(last) = self.exchanges.last_mut() {
            last.after = Some(turn);
        }
    }

    /// The next request. What the bus knows is not sent again.
    pub(super) fn request(&self, question: &str) -> Request {
        let known = self.exchanges.iter().rposition(|exchange| exchange.after.is_some()).map_or(0, |at| at + 1);
        let mut messages = self.messages(self.exchanges.get(known..).unwrap_or_default());
        messages.push(json!({ "role": "user", "content": question }));
        let body = json!({
            "model": self.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let session = self.session.as_ref().map(|session| match self.place() {
            Some(turn) => ("x-commonwatt-continue", format!("{session}@{turn}")),
            None => ("x-commonwatt-session", session.clone()),
        });
        Request { body, session }
    }

    /// Remembers a question and what came of it.
    pub(super) fn add(&mut self, question: String, answer: String, is_complete: bool) {
        self.exchanges.push(Exchange { question, answer, is_complete, after: None });
    }

    /// Takes the last question back, with its answer, to ask it again.
    pub(super) fn take_last(&mut self) -> Option<String> {
        self.exchanges.pop().map(|exchange| exchange.question)
    }

    /// Everything, for a file: as JSON that can be sent again where the name ends in `.json`, else as Markdown.
    pub(super) fn saved(&self, path: &Path) -> String {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return format!("{:#}\n", json!({ "model": self.model, "messages": self.messages(&self.exchanges) }));
        }
        let mut text = format!("# Conversation with {}\n", self.model);
        if let Some(system) = &self.system {
            text.push_str(&format!("\n_{}_\n", system.trim()));
        }
        for turn in &self.exchanges {
            let mark = if turn.is_complete { "" } else { "\n\n_(broke off)_" };
            let quoted = turn.question.trim().replace('\n', "\n> ");
            text.push_str(&format!("\n> {quoted}\n\n{}{mark}\n", turn.answer.trim()));
        }
        text
    }

    /// What was said, as messages. A question that got no answer is left out: two questions in a row confuse models,
    /// and some refuse them.
    fn messages(&self, exchanges: &[Exchange]) -> Vec<Value> {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(json!({ "role": "system", "content": system }));
        }
        for exchange in exchanges.iter().filter(|exchange| !exchange.answer.is_empty()) {
            messages.push(json!({ "role": "user", "content": exchange.question }));
            messages.push(json!({ "role": "assistant", "content": exchange.answer }));
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Conversation {
        let mut conversation = Conversation::new("auto".into(), Some("Be brief.".into()));
        conversation.add("One?".into(), "1".into(), true);
        conversation.add("Nobody?".into(), String::new(), false);
        conversation.add("Two?".into(), "2 and".into(), false);
        conversation
    }

    #[test]
    fn a_request_carries_everything_that_was_answered() {
        let request = conversation().request("Three?").body;
        let said: Vec<_> = request["messages"].as_array().expect("messages").iter().map(|m| &m["content"]).collect();
        assert_eq!(said, ["Be brief.", "One?", "1", "Two?", "2 and", "Three?"]);
        assert_eq!(request["stream_options"]["include_usage"], true);
    }

    #[test]
    fn the_last_question_can_be_asked_again_without_its_answer() {
        let mut conversation = conversation();
        assert_eq!(conversation.take_last().as_deref(), Some("Two?"));
        assert!(!conversation.request("Two?").body.to_string().contains("2 and"));
    }

    #[test]
    fn what_the_bus_knows_is_not_sent_again() {
        let mut conversation = conversation();
        let sent = |conversation: &Conversation| {
            let Request { body, session } = conversation.request("Three?");
            (body["messages"].as_array().map(Vec::len), session.map(|(name, value)| format!("{name}: {value}")))
        };
        assert_eq!(sent(&conversation), (Some(6), None));
        conversation.keep("id".into());
        assert_eq!(sent(&conversation), (Some(6), Some("x-commonwatt-session: id".into())));
        conversation.stand_at("t4".into());
        assert_eq!(sent(&conversation), (Some(2), Some("x-commonwatt-continue: id@t4".into())));
        conversation.add("Four?".into(), "4".into(), true);
        assert_eq!(sent(&conversation), (Some(4), Some("x-commonwatt-continue: id@t4".into())));
    }

    #[test]
    fn going_back_beyond_what_is_at_hand_stays_in_the_session() {
        let mut conversation = Conversation::new("auto".into(), None);
        let exchange =
            Exchange { question: "q".into(), answer: "a".into(), is_complete: true, after: Some("t9".into()) };
        let session = serde_json::json!({"id": "id", "owner": "o", "holder": "o", "created_ms": 0, "updated_ms": 0,
                                         "turns": 2, "root": "t0", "head": "t9"});
        conversation.go_on(&serde_json::from_value(session).expect("a session"), "t7".into(), vec![exchange]);
        assert_eq!(conversation.place(), Some("t9"));
        conversation.take_last();
        assert_eq!(conversation.request("q").session, Some(("x-commonwatt-continue", "id@t7".into())));
        conversation.clear();
        assert_eq!(conversation.request("q").session, None);
    }

    #[test]
    fn a_conversation_is_saved_for_people_and_for_programs() {
        let markdown = conversation().saved(Path::new("talk.md"));
        assert!(markdown.contains("\n> Two?\n\n2 and\n\n_(broke off)_\n"), "{markdown}");
        let json: Value = serde_json::from_str(&conversation().saved(Path::new("talk.json"))).expect("JSON");
        assert_eq!(json["messages"].as_array().map(Vec::len), Some(5));
    }
}
