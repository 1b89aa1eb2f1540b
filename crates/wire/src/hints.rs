//! What a request says about the session it belongs to.

use bytes::Bytes;

use crate::tape::{Kind, Tape, View};
use crate::{Dialect, Envelope};

/// What a request says about its session. Everything is the client's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The client's name for the session.
    pub session: Option<String>,
    /// The client's name for its end user.
    pub user: Option<String>,
    /// The response that this request follows (Responses).
    pub previous_response: Option<String>,
    /// The conversation that this request belongs to (Responses).
    pub conversation: Option<String>,
    /// Whether the response may be fetched again later (Responses); the API's default is yes.
    pub store: bool,
    /// Whether the client does not wait for the answer (Responses).
    pub background: bool,
}

impl Hints {
    /// Reads them from where each dialect has them.
    #[must_use]
    pub fn read(dialect: Dialect, envelope: &Envelope, body: &Bytes) -> Self {
        let mut hints = Self { store: dialect == Dialect::OpenAiResponses, ..Self::default() };
        let member = |name: &str| envelope.member(body, name);
        let string = |name: &str| {
            let value = member(name)?;
            string_of(&Tape::default().read(&value.0).ok()?)
        };
        let flag = |name: &str| Tape::default().read(&member(name)?.0).ok()?.boolean();
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiCompletions => hints.user = string("user"),
            Dialect::OpenAiResponses => {
                hints.user = string("user");
                hints.previous_response = string("previous_response_id");
                hints.conversation = member("conversation").and_then(|value| {
                    let mut tape = Tape::default();
                    let value = tape.read(&value.0).ok()?;
                    string_of(&value).or_else(|| string_of(&value.get("id")?))
                });
                hints.store = flag("store").unwrap_or(true);
                hints.background = flag("background").unwrap_or(false);
            }
            Dialect::AnthropicMessages | Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => {}
        }
        if let Some(metadata) = member("metadata") {
            let mut tape = Tape::default();
            if let Ok(metadata) = tape.read(&metadata.0) {
                hints.metadata(&metadata);
            }
        }
        hints
    }

    fn metadata(&mut self, metadata: &View<'_>) {
        let named = |name: &str| metadata.get(name).and_then(|value| string_of(&value));
        self.session = named("session_id").or_else(|| named("conversation_id"));
        // Anthropic's field for the end user, in which its coding agent names the session too.
        let Some(user) = named("user_id") else { return };
        let mut tape = Tape::default();
        let inside = tape.read(user.as_bytes()).ok().filter(|value| value.kind() == Kind::Object);
        let in_json = inside.and_then(|value| string_of(&value.get("session_id")?));
        let in_text = user.rsplit_once("_session_").map(|(_, session)| session.to_owned());
        self.session = self.session.take().or(in_json).or(in_text.filter(|session| !session.is_empty()));
        self.user = Some(user);
    }
}

fn string_of(value: &View<'_>) -> Option<String> {
    value.string().filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dialect: Dialect, body: &'static str) -> Hints {
        let body = Bytes::from_static(body.as_bytes());
        let envelope = crate::open(dialect, None, &body).unwrap();
        Hints::read(dialect, &envelope, &body)
    }

    #[test]
    fn responses_name_what_they_follow() {
        let hints = read(
            Dialect::OpenAiResponses,
            r#"{"model":"m","input":"x","previous_response_id":"resp_1","conversation":{"id":"conv_1"},"store":false,"background":true,"user":"u","metadata":{"session_id":"s"}}"#,
        );
        let expected = Hints {
            session: Some("s".into()),
            user: Some("u".into()),
            previous_response: Some("resp_1".into()),
            conversation: Some("conv_1".into()),
            store: false,
            background: true,
        };
        assert_eq!(hints, expected);
        let bare = read(Dialect::OpenAiResponses, r#"{"model":"m","input":"x","conversation":"conv_2","user":null}"#);
        assert_eq!(bare, Hints { conversation: Some("conv_2".into()), store: true, ..Hints::default() });
    }

    #[test]
    fn a_coding_agent_names_its_session_inside_the_users_id() {
        let session = |body| read(Dialect::AnthropicMessages, body).session;
        assert_eq!(
            session(r#"{"model":"m","messages":[],"metadata":{"user_id":"user_ab_account__session_0f-1"}}"#).as_deref(),
            Some("0f-1")
        );
        assert_eq!(
            session(r#"{"model":"m","messages":[],"metadata":{"user_id":"{\"device\":1,\"session_id\":\"s\"}"}}"#)
                .as_deref(),
            Some("s")
        );
        assert_eq!(session(r#"{"model":"m","messages":[],"metadata":{"user_id":"somebody"}}"#), None);
        assert_eq!(session(r#"{"model":"m","messages":[],"metadata":7}"#), None);
    }
}
