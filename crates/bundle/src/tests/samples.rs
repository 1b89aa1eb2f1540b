//! Bundles to test with.

use std::collections::BTreeMap;

use bytes::Bytes;
use commonwatt_core::call::{Image, Item, Part, RawJson, Reasoning, Role, ToolCall};
use commonwatt_core::turn::{Party, SessionId, Turn, TurnId};
use commonwatt_wire::{Dialect, turns};

use crate::{Blobs, Bundle, Session, SigningKey, StoredTurn, TurnState};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn message(role: Role, content: Vec<Part>) -> Item {
    Item::Message { role, content }
}

pub(crate) fn empty_session(id: &str, salt: [u8; 32]) -> Session {
    Session {
        id: SessionId(id.into()),
        name: None,
        title: None,
        salt,
        head: turns::root(&salt),
        branches: BTreeMap::new(),
        created_ms: None,
        updated_ms: None,
        data_class: None,
        meta: BTreeMap::new(),
        turns: Vec::new(),
    }
}

/// Says something after `parent`, and returns its id.
pub(crate) fn say(
    (session, blobs): (&mut Session, &mut Blobs),
    parent: TurnId,
    (party, items): (Party, Vec<Item>),
    about: (Option<u64>, TurnState),
) -> TurnId {
    let dialect = Dialect::AnthropicMessages.word();
    let canonical = turns::canonical(&Turn { parent, party, dialect, items });
    for attachment in &canonical.attachments {
        blobs.insert(attachment.sha256, attachment.bytes.clone());
    }
    let is_model = party == Party::Model;
    session.turns.push(StoredTurn {
        id: canonical.id,
        canonical: canonical.bytes,
        state: about.1,
        made_ms: about.0,
        by: is_model.then(|| "claude-eu".to_owned()),
        model: is_model.then(|| "claude-sonnet-5".to_owned()),
        meta: BTreeMap::new(),
    });
    canonical.id
}

/// A small bundle with everything in it: branches, an attachment, seals, opaque parts, a cut turn, an empty session.
pub(crate) fn bundle() -> Bundle {
    let mut blobs = Blobs::new();
    let mut session = empty_session("0198c0de-baker", [3; 32]);
    session.name = Some("bread".to_owned());
    session.title = Some("Brot & \u{1f35e}".to_owned());
    session.created_ms = Some(1_779_999_000_000);
    session.updated_ms = Some(1_779_999_009_000);
    session.data_class = Some("internal".to_owned());
    session.meta.insert("project".to_owned(), "bakery".to_owned());
    let pixel = Image::Base64 { media_type: "image/png".into(), data: "iVBORw==".into(), detail: None };
    let asked = vec![message(
        Role::User,
        vec![
            Part::Text("How long does this rise?\n".into()),
            Part::Field("cache_control".into(), RawJson(r#"{"type":"ephemeral"}"#.into())),
            Part::Image(pixel),
        ],
    )];
    let looked = vec![
        Item::Reasoning(Reasoning { text: "hm".into(), signature: Some("c2ln".into()), ..Reasoning::default() }),
        message(Role::Assistant, vec![Part::Text("Let me look.".into())]),
        Item::ToolCall(ToolCall { id: "t1".into(), name: "look".into(), arguments: "{}".into(), signature: None }),
    ];
    let result =
        vec![Item::ToolOutput { call_id: "t1".into(), content: vec![Part::Text("dough".into())], is_error: false }];
    let answer = |text: &str| vec![message(Role::Assistant, vec![Part::Text(text.into())])];
    let all = &mut blobs;
    let (done, cut) = (TurnState::Complete, TurnState::Unfinished);
    let root = session.root();
    let asked = say((&mut session, all), root, (Party::User, asked), (Some(1), done));
    let looked = say((&mut session, all), asked, (Party::Model, looked), (Some(2), done));
    let result = say((&mut session, all), looked, (Party::Tool, result), (Some(3), done));
    let first = say((&mut session, all), result, (Party::Model, answer("An hour.")), (Some(4), cut));
    session.head = say((&mut session, all), result, (Party::Model, answer("Two hours.")), (Some(5), done));
    session.branches.insert("first try".to_owned(), first);
    let sessions = vec![session, empty_session("empty", [4; 32])];
    Bundle { issuer: "alpha".to_owned(), made_unix_s: 1_780_000_000, sessions, blobs }
}

pub(crate) fn written(bundle: &Bundle) -> Vec<u8> {
    let mut out = Vec::new();
    crate::write(bundle, &key(), &mut out).unwrap();
    out
}

pub(crate) fn blob(bytes: &'static [u8]) -> ([u8; 32], Bytes) {
    (crate::seal::sha256(bytes), Bytes::from_static(bytes))
}
