use commonwatt_core::call::{Image, Item, Part, RawJson, Reasoning, Role, ToolCall};
use commonwatt_core::turn::Party;
use proptest::prelude::*;

use super::*;
use crate::Dialect;

fn turn(parent: TurnId, party: Party, items: Vec<Item>) -> Turn {
    Turn { parent, party, dialect: Dialect::AnthropicMessages.word(), items }
}

fn message(role: Role, content: Vec<Part>) -> Item {
    Item::Message { role, content }
}

/// The turns of `docs/reference/turn-vectors.jsonl`, each the child of the one before.
fn session() -> (TurnId, Vec<Canonical>) {
    let root = root(&[7; 32]);
    let pixel = Image::Base64 { media_type: "image/png".into(), data: "iVBORw==".into(), detail: Some("low".into()) };
    let spoken = [
        (Party::System, vec![message(Role::System, vec![Part::Text("Be brief.".into())])]),
        (
            Party::User,
            vec![message(
                Role::User,
                vec![
                    Part::Text("Grüße, 世界 \u{1f600} \"quoted\" back\\slash\ttab\nline\u{8}\u{c}\u{1}/".into()),
                    Part::Field("cache_control".into(), RawJson(r#"{"type":"ephemeral"}"#.into())),
                    Part::Image(pixel),
                    Part::Opaque("document".into(), RawJson(r#"{"type": "document", "n": 1.50}"#.into())),
                ],
            )],
        ),
        (
            Party::Model,
            vec![
                Item::Reasoning(Reasoning {
                    text: "hm".into(),
                    signature: Some("c2ln".into()),
                    ..Reasoning::default()
                }),
                message(Role::Assistant, vec![Part::Text("Let me look.".into())]),
                Item::ToolCall(ToolCall {
                    id: "toolu_1".into(),
                    name: "look".into(),
                    arguments: r#"{"at": "x"}"#.into(),
                    signature: None,
                }),
            ],
        ),
        (
            Party::Tool,
            vec![Item::ToolOutput {
                call_id: "toolu_1".into(),
                content: vec![Part::Text("not there".into())],
                is_error: true,
            }],
        ),
        (Party::Model, vec![message(Role::Assistant, vec![Part::Refusal("I would rather not.".into())])]),
    ];
    let mut parent = root;
    let said = spoken.map(|(party, items)| {
        let canonical = canonical(&turn(parent, party, items));
        parent = canonical.id;
        canonical
    });
    (root, said.into())
}

fn read_back(canonical: &Canonical) -> Result<Turn, BadTurn> {
    let attachment = |hash: &[u8; 32]| {
        let found = canonical.attachments.iter().find(|attachment| attachment.sha256 == *hash);
        found.map(|attachment| attachment.bytes.clone())
    };
    read_turn(&canonical.bytes, &attachment)
}

/// Another program can recompute every id from the published vectors.
#[test]
fn the_published_vectors_are_what_is_hashed_here() {
    let (root, said) = session();
    let mut lines = vec![serde_json::json!({"salt": hex(&[7; 32]), "id": root.to_string()}).to_string()];
    lines.extend(said.iter().map(|canonical| {
        let form = std::str::from_utf8(&canonical.bytes).unwrap();
        serde_json::json!({"canonical": form, "id": canonical.id.to_string()}).to_string()
    }));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/turn-vectors.jsonl");
    let published = std::fs::read_to_string(path).unwrap();
    assert_eq!(published.lines().collect::<Vec<_>>(), lines);
}

/// RFC 8785 agrees: parsed, sorted and written without white space, the form is the same bytes.
#[test]
fn the_form_is_jcs() {
    for canonical in session().1 {
        let parsed: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&canonical.bytes).unwrap();
        assert_eq!(sorted(&serde_json::json!(parsed)), std::str::from_utf8(&canonical.bytes).unwrap());
    }
}

fn sorted(value: &serde_json::Value) -> String {
    if let Some(members) = value.as_object() {
        let mut names: Vec<_> = members.keys().collect();
        names.sort();
        let members = names.into_iter().map(|name| format!("{}:{}", serde_json::json!(name), sorted(&members[name])));
        return format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    }
    match value.as_array() {
        Some(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        None => value.to_string(),
    }
}

#[test]
fn a_turn_reads_back_as_it_was_said() {
    for canonical in session().1 {
        let read = read_back(&canonical).unwrap();
        assert_eq!(super::canonical(&read), canonical);
        let named: Vec<_> = canonical.attachments.iter().map(|attachment| attachment.sha256).collect();
        assert_eq!(attachments_of(&canonical.bytes), named);
    }
}

#[test]
fn the_same_words_are_the_same_turn_whatever_the_dialect() {
    let said = |dialect: Dialect, text: Part| Turn {
        parent: root(&[0; 32]),
        party: Party::User,
        dialect: dialect.word(),
        items: vec![message(Role::User, vec![text])],
    };
    let escaped = commonwatt_core::text::Text::in_json(Bytes::from_static(br"caf\u00e9"), true);
    let here = canonical(&said(Dialect::OpenAiChat, Part::Text("café".into())));
    assert_eq!(here, canonical(&said(Dialect::Gemini, Part::Text(escaped))));
    let opaque = || Part::Opaque("x".into(), RawJson("{}".into()));
    let (one, other) = (canonical(&said(Dialect::OpenAiChat, opaque())), canonical(&said(Dialect::Gemini, opaque())));
    assert_ne!(one.id, other.id, "what only one dialect understands is bound to it");
}

#[test]
fn what_is_large_travels_beside_the_turn_and_once() {
    let document = RawJson(format!("\"{}\"", "x".repeat(INLINE_MAX)).into());
    let parts = vec![Part::Opaque("document".into(), document.clone()), Part::Opaque("document".into(), document)];
    let canonical = canonical(&turn(root(&[1; 32]), Party::User, vec![message(Role::User, parts)]));
    assert_eq!(canonical.attachments.len(), 1);
    assert!(canonical.bytes.len() < 1_000);
    assert_eq!(super::canonical(&read_back(&canonical).unwrap()), canonical);
    let missing = read_turn(&canonical.bytes, &|_| None).unwrap_err().to_string();
    assert!(missing.ends_with("is not there"), "{missing}");
}

#[test]
fn what_is_no_turn_is_refused_with_a_sentence() {
    let (_, said) = session();
    let good = std::str::from_utf8(&said[0].bytes).unwrap();
    let cases = [
        (good.replace("\"v\":1", "\"v\":2"), "version"),
        (good.replace("system\",\"v", "stranger\",\"v"), "`party`"),
        (good.replace("\"parent\":\"", "\"parent\":\"x"), "`parent`"),
        (good.replace("input_text", "output_sound"), "`type`"),
        (good[1..].to_owned(), "not a turn"),
    ];
    for (bytes, told) in cases {
        let error = read_turn(&bytes.into(), &|_| None).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_reads_back(text in ".*", name in "[a-z]{1,8}", arguments in ".*") {
        let items = vec![
            message(Role::Assistant, vec![Part::Text(text.as_str().into())]),
            Item::ToolCall(ToolCall { id: name.clone(), name, arguments: arguments.as_str().into(), signature: None }),
        ];
        let said = turn(root(&[2; 32]), Party::Model, items);
        let form = canonical(&said);
        let read = read_back(&form).unwrap();
        prop_assert_eq!(&read.items, &said.items);
        prop_assert_eq!(canonical(&read), form);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_turn(&bytes.into(), &|_| None);
    }
}
