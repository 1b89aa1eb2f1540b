//! Recognition: a client resends its history, and a chain of hashes over what was said tells which session it is.
//!
//! Clients do not send back what they were given byte for byte: they drop reasoning, trim white space, re-order the
//! members of a tool's arguments, join texts. None of that changes a link. Neither do system prompts, which hold the time
//! of day and the like, nor the ids of tool calls, which differ from dialect to dialect.

use blake3::Hasher;
use commonwatt_core::call::{Image, Item, Part};
use commonwatt_core::turn::Party;
use commonwatt_wire::normal_json;

/// What was said to a caller's knowledge, up to some turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Link(pub(crate) [u8; 32]);

impl Link {
    /// Where the histories of a caller begin: nobody is recognised by another's words. `user` is the caller's own name
    /// for its end user.
    pub(crate) fn seed(principal: &str, user: Option<&str>) -> Self {
        let mut hasher = Hasher::new_derive_key("commonwatt 2026-11-21 recognition of sessions");
        part(&mut hasher, b'p', principal.as_bytes());
        part(&mut hasher, b'u', user.unwrap_or_default().as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The link after what that party said.
    pub(crate) fn after(self, party: Party, items: &[Item]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&self.0);
        let is_said = match party {
            Party::System => false,
            Party::User | Party::Tool => heard(&mut hasher, items),
            Party::Model => answered(&mut hasher, items),
        };
        if is_said { Self(*hasher.finalize().as_bytes()) } else { self }
    }
}

/// A piece and its length, so that no two sequences of pieces are the same bytes.
fn part(hasher: &mut Hasher, kind: u8, bytes: &[u8]) {
    hasher.update(&[kind]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

fn heard(hasher: &mut Hasher, items: &[Item]) -> bool {
    for item in items {
        match item {
            Item::Message { content, .. } => parts(hasher, b'm', content),
            Item::ToolOutput { content, .. } => parts(hasher, b'o', content),
            Item::Opaque(kind, _) => part(hasher, b'x', kind.as_bytes()),
            Item::Reasoning(_) | Item::ToolCall(_) | Item::Field(..) => {}
        }
    }
    true
}

fn parts(hasher: &mut Hasher, kind: u8, parts: &[Part]) {
    part(hasher, kind, text(parts).trim().as_bytes());
    for image in parts {
        match image {
            Part::Image(Image::Url { url, .. }) => part(hasher, b'i', url.as_bytes()),
            Part::Image(Image::Base64 { data, .. }) => part(hasher, b'i', data.as_str().as_bytes()),
            Part::Opaque(kind, _) => part(hasher, b'x', kind.as_bytes()),
            Part::Text(_) | Part::Refusal(_) | Part::Field(..) => {}
        }
    }
}

/// Some clients keep the texts of an answer and its tool calls apart, so their order does not count. An answer of which
/// a client keeps nothing is as good as none.
fn answered(hasher: &mut Hasher, items: &[Item]) -> bool {
    let mut said = String::new();
    for item in items {
        if let Item::Message { content, .. } = item {
            said.push_str(&text(content));
        }
    }
    let said = said.trim();
    let mut is_said = !said.is_empty();
    part(hasher, b'a', said.as_bytes());
    for item in items {
        if let Item::ToolCall(call) = item {
            let arguments = call.arguments.as_str();
            let normal = normal_json(&arguments).unwrap_or_else(|| arguments.trim().as_bytes().to_vec());
            part(hasher, b'f', call.name.as_bytes());
            part(hasher, b'j', &normal);
            is_said = true;
        }
    }
    is_said
}

fn text(parts: &[Part]) -> String {
    let mut said = String::new();
    for part in parts {
        match part {
            Part::Text(text) | Part::Refusal(text) => said.push_str(&text.as_str()),
            Part::Image(_) | Part::Opaque(..) | Part::Field(..) => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::{Reasoning, Role, ToolCall};

    use super::*;

    fn message(role: Role, text: &str) -> Item {
        Item::Message { role, content: vec![Part::Text(text.into())] }
    }

    fn called(id: &str, arguments: &str) -> Item {
        Item::ToolCall(ToolCall {
            id: id.into(),
            name: "look".into(),
            arguments: arguments.into(),
            signature: Some("s".into()),
        })
    }

    fn answer(items: &[Item]) -> Link {
        Link::seed("p", None).after(Party::Model, items)
    }

    #[test]
    fn a_client_that_drops_trims_joins_and_reorders_is_still_recognised() {
        let given = answer(&[
            Item::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() }),
            message(Role::Assistant, "Let me "),
            message(Role::Assistant, "look.\n"),
            called("toolu_1", r#"{"b":1,"a":{"y":2,"x":3}}"#),
        ]);
        let sent_back =
            answer(&[called("call_9", r#"{"a": {"x": 3, "y": 2}, "b": 1}"#), message(Role::Assistant, "Let me look.")]);
        assert_eq!(given, sent_back);
        assert_ne!(given, answer(&[message(Role::Assistant, "Let me look."), called("c", r#"{"b":2}"#)]));
    }

    #[test]
    fn system_prompts_and_mute_answers_change_nothing() {
        let before = Link::seed("p", None).after(Party::User, &[message(Role::User, "hi")]);
        assert_eq!(before, before.after(Party::System, &[message(Role::System, "it is noon")]));
        assert_eq!(before, before.after(Party::Model, &[Item::Reasoning(Reasoning::default())]));
        assert_ne!(before, before.after(Party::User, &[message(Role::User, "")]));
    }

    #[test]
    fn nobody_is_recognised_by_anothers_words() {
        let said = |seed: Link| seed.after(Party::User, &[message(Role::User, "hi")]);
        let here = said(Link::seed("p", None));
        assert_ne!(here, said(Link::seed("q", None)));
        assert_ne!(here, said(Link::seed("p", Some("somebody"))));
        assert_ne!(Link::seed("ab", None), Link::seed("a", Some("b")));
    }
}
