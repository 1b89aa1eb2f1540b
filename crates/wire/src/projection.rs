//! What was said in a session, in the shape in which the clients of each dialect send a conversation: an object whose
//! members go into a request as they stand.
//!
//! ```text
//! {"messages":[…]}                      Chat Completions, Ollama
//! {"system":…,"messages":[…]}           Messages
//! {"instructions":…,"input":[…]}        Responses
//! {"systemInstruction":…,"contents":[…]}   Gemini
//! ```

use commonwatt_core::call::{Call, Item, RawJson};
use commonwatt_core::turn::Turn;

use crate::emit::Object;
use crate::request::{Quirks, Untranslatable, decode, encode};
use crate::tape::Tape;
use crate::turns::localised;
use crate::{Dialect, request};

/// A conversation in a dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The members of a request that hold it.
    pub body: RawJson,
    /// What of it the dialect cannot say.
    pub lossy: Vec<String>,
    /// What a client that sends it back is understood to say.
    pub resent: Vec<Item>,
}

/// Stands where a request names its model: a projection names none.
const NO_MODEL: &str = "-";

/// The conversation of these turns, oldest first.
///
/// # Errors
/// [`Untranslatable`] when the dialect has no room for a conversation, or when part of it lies with a provider alone.
pub fn project(dialect: Dialect, turns: Vec<Turn>) -> Result<Projection, Untranslatable> {
    let mut lossy = Vec::new();
    let items: Vec<Item> = turns.into_iter().flat_map(|turn| localised(turn, dialect, &mut lossy)).collect();
    if let (true, Some(messages)) = (items.is_empty(), members(dialect).last()) {
        // No request can be made of nothing; a conversation can.
        let body = RawJson(format!("{{\"{messages}\":[]}}").into());
        return Ok(Projection { body, lossy, resent: Vec::new() });
    }
    let call = Call { dialect: dialect.word(), model: NO_MODEL.to_owned(), items, ..Call::default() };
    let request::Encoded { body, lossy: unsaid } = encode(dialect, &call, NO_MODEL, &Quirks::default())?;
    lossy.extend(unsaid);
    // A client cannot send back what is no request, such as an empty conversation.
    let resent = decode(dialect, &body).map(|call| call.items).unwrap_or_default();
    let mut tape = Tape::default();
    let whole = tape.read(&body).map_err(|_| Untranslatable::new("the conversation cannot be written"))?;
    let mut out = Vec::with_capacity(body.len());
    let mut object = Object::open(&mut out);
    for name in members(dialect) {
        if let Some(value) = whole.get(name) {
            object.raw(name, value.raw());
        }
    }
    object.close();
    Ok(Projection { body: RawJson(out.into()), lossy, resent })
}

fn members(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenAiChat | Dialect::OllamaChat => &["messages"],
        Dialect::AnthropicMessages => &["system", "messages"],
        Dialect::OpenAiResponses => &["instructions", "input"],
        Dialect::Gemini => &["systemInstruction", "contents"],
        Dialect::OllamaGenerate | Dialect::OpenAiCompletions => &[],
    }
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::{Part, Reasoning, Role, ToolCall};
    use commonwatt_core::turn::{Party, TurnId, utterances};
    use serde_json::{Value, json};

    use super::*;

    fn turns() -> Vec<Turn> {
        let said = |role, text: &str| Item::Message { role, content: vec![Part::Text(text.into())] };
        let items = vec![
            said(Role::System, "be brief"),
            said(Role::User, "look"),
            Item::Reasoning(Reasoning { text: "hm".into(), signature: Some("s".into()), ..Reasoning::default() }),
            said(Role::Assistant, "I look."),
            Item::ToolCall(ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into(), signature: None }),
            Item::ToolOutput { call_id: "c1".into(), content: vec![Part::Text("x".into())], is_error: false },
            said(Role::Assistant, "There is x."),
        ];
        let turn = |(party, items)| Turn { parent: TurnId([0; 32]), party, dialect: "elsewhere", items };
        utterances(items).into_iter().map(turn).collect()
    }

    fn body(projection: &Projection) -> Value {
        serde_json::from_slice(&projection.body.0).unwrap()
    }

    #[test]
    fn a_conversation_is_projected_into_each_dialect() {
        let openai = project(Dialect::OpenAiChat, turns()).unwrap();
        let messages = body(&openai)["messages"].clone();
        let roles: Vec<_> = messages.as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant"]);
        assert_eq!(openai.lossy, ["sealed reasoning"]);
        let anthropic = body(&project(Dialect::AnthropicMessages, turns()).unwrap());
        assert!(anthropic["system"].to_string().contains("be brief"), "{anthropic}");
        assert_eq!(anthropic["messages"][2]["content"][0]["type"], "tool_result", "{anthropic}");
        let responses = body(&project(Dialect::OpenAiResponses, turns()).unwrap());
        let kinds: Vec<_> = responses["input"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
        assert!(
            kinds.ends_with(&[json!("function_call"), json!("function_call_output"), json!("message")]),
            "{kinds:?}"
        );
        assert!(project(Dialect::OpenAiCompletions, turns()).is_err());
    }

    #[test]
    fn a_projection_names_only_its_conversation() {
        for dialect in Dialect::OUT {
            let projection = project(dialect, turns()).unwrap();
            let names: Vec<_> = body(&projection).as_object().unwrap().keys().cloned().collect();
            assert!(names.iter().all(|name| members(dialect).contains(&name.as_str())), "{dialect}: {names:?}");
            let parties =
                utterances(projection.resent).into_iter().map(|(party, _)| party).filter(|p| *p != Party::System);
            assert_eq!(
                parties.collect::<Vec<_>>(),
                [Party::User, Party::Model, Party::Tool, Party::Model],
                "{dialect}"
            );
        }
    }

    #[test]
    fn an_empty_session_is_an_empty_conversation() {
        for dialect in Dialect::OUT {
            assert!(project(dialect, Vec::new()).unwrap().resent.is_empty(), "{dialect}");
        }
    }
}
