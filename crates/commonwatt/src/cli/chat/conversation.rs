//! What has been said so far, and the request for what comes next.

use std::path::Path;

use serde_json::{Value, json};

/// A conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    model: String,
    system: Option<String>,
    turns: Vec<Turn>,
}

/// A question and its answer.
#[derive(Debug)]
struct Turn {
    question: String,
    answer: String,
    is_complete: bool,
}

impl Conversation {
    /// A conversation in which nothing has been said.
    pub(super) fn new(model: String, system: Option<String>) -> Self {
        Self { model, system, turns: Vec::new() }
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

    /// Forgets what was said.
    pub(super) fn clear(&mut self) {
        self.turns.clear();
    }

    /// The next request, in OpenAI's dialect.
    pub(super) fn request(&self, question: &str) -> Value {
        let mut messages = self.messages();
        messages.push(json!({ "role": "user", "content": question }));
        json!({
            "model": self.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        })
    }

    /// Remembers a question and what came of it.
    pub(super) fn add(&mut self, question: String, answer: String, is_complete: bool) {
        self.turns.push(Turn { question, answer, is_complete });
    }

    /// Takes the last question back, with its answer, to ask it again.
    pub(super) fn take_last(&mut self) -> Option<String> {
        self.turns.pop().map(|turn| turn.question)
    }

    /// Everything, for a file: as JSON that can be sent again where the name ends in `.json`, else as Markdown.
    pub(super) fn saved(&self, path: &Path) -> String {
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return format!("{:#}\n", json!({ "model": self.model, "messages": self.messages() }));
        }
        let mut text = format!("# Conversation with {}\n", self.model);
        if let Some(system) = &self.system {
            text.push_str(&format!("\n_{}_\n", system.trim()));
        }
        for turn in &self.turns {
            let mark = if turn.is_complete { "" } else { "\n\n_(broke off)_" };
            let quoted = turn.question.trim().replace('\n', "\n> ");
            text.push_str(&format!("\n> {quoted}\n\n{}{mark}\n", turn.answer.trim()));
        }
        text
    }

    /// What was said, as messages. A question that got no answer is left out: two questions in a row confuse models,
    /// and some refuse them.
    fn messages(&self) -> Vec<Value> {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(json!({ "role": "system", "content": system }));
        }
        for turn in self.turns.iter().filter(|turn| !turn.answer.is_empty()) {
            messages.push(json!({ "role": "user", "content": turn.question }));
            messages.push(json!({ "role": "assistant", "content": turn.answer }));
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
        let request = conversation().request("Three?");
        let said: Vec<_> = request["messages"].as_array().expect("messages").iter().map(|m| &m["content"]).collect();
        assert_eq!(said, ["Be brief.", "One?", "1", "Two?", "2 and", "Three?"]);
        assert_eq!(request["stream_options"]["include_usage"], true);
    }

    #[test]
    fn the_last_question_can_be_asked_again_without_its_answer() {
        let mut conversation = conversation();
        assert_eq!(conversation.take_last().as_deref(), Some("Two?"));
        assert!(!conversation.request("Two?").to_string().contains("2 and"));
    }

    #[test]
    fn a_conversation_is_saved_for_people_and_for_programs() {
        let markdown = conversation().saved(Path::new("talk.md"));
        assert!(markdown.contains("\n> Two?\n\n2 and\n\n_(broke off)_\n"), "{markdown}");
        let json: Value = serde_json::from_str(&conversation().saved(Path::new("talk.json"))).expect("JSON");
        assert_eq!(json["messages"].as_array().map(Vec::len), Some(5));
    }
}
