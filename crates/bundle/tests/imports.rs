//! What other systems export, in their shapes and our words: each with a snapshot of what becomes of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture that cannot be read fails")]

use std::io::{Cursor, Write as _};

use commonwatt_bundle::import::{BadImport, Imported, ImportedSession, chatgpt, claude, letta};
use commonwatt_bundle::{Blobs, Bundle, Limits, Session, SigningKey, StoredTurn, TurnState, read, write};
use commonwatt_core::turn::SessionId;
use proptest::prelude::*;

const CHATGPT: &str = include_str!("fixtures/chatgpt.json");
const CLAUDE: &str = include_str!("fixtures/claude.json");
const LETTA: &str = include_str!("fixtures/letta.af");

type Reader = fn(&[u8]) -> Result<Imported, BadImport>;

const READERS: [(&str, Reader); 3] = [
    (CHATGPT, |bytes| chatgpt::read(bytes, &mut salts())),
    (CLAUDE, |bytes| claude::read(bytes, &mut salts())),
    (LETTA, |bytes| letta::read(bytes, &mut salts())),
];

/// A new salt each time, and the same ones each run.
fn salts() -> impl FnMut() -> [u8; 32] {
    let mut next = 0;
    move || {
        next += 1;
        [next; 32]
    }
}

/// An import as a page: turns by number, with the number of their parent.
fn told(imported: &Imported) -> String {
    let mut page = String::new();
    for session in &imported.sessions {
        page += &told_session(session);
    }
    page += "skipped:\n";
    for loss in &imported.skipped {
        page += &format!("  {loss}\n");
    }
    page
}

fn told_session(session: &ImportedSession) -> String {
    let number = |id| session.turns.iter().position(|turn| turn.canonical.id == id).map_or(0, |at| at + 1);
    let ImportedSession { title, source_id, created_ms, updated_ms, head, .. } = session;
    let mut page = format!("{title:?} {source_id:?} {created_ms:?}–{updated_ms:?}, head {}\n", number(*head));
    for (at, turn) in (1..).zip(&session.turns) {
        let parent = number(turn.turn.parent);
        let said: serde_json::Value = serde_json::from_slice(&turn.canonical.bytes).unwrap();
        let state = if turn.state == TurnState::Unfinished { ", unfinished" } else { "" };
        page += &format!("  {at} after {parent}, {:?} {:?} {:?}{state}\n", turn.turn.party, turn.model, turn.made_ms);
        for item in said["items"].as_array().unwrap() {
            page += &format!("      {item}\n");
        }
    }
    page
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn chatgpt_conversations_come_with_every_branch() {
    insta::assert_snapshot!(told(&chatgpt::read(CHATGPT.as_bytes(), &mut salts()).unwrap()));
}

#[test]
fn chatgpt_archives_are_read_as_they_are_downloaded() {
    let halves: Vec<serde_json::Value> = serde_json::from_str(CHATGPT).unwrap();
    let (first, second) = (serde_json::json!([halves[0]]), serde_json::json!([halves[1]]));
    let archive = zipped(&[
        ("export/conversations-001.json", second.to_string().as_bytes()),
        ("export/conversations-000.json", first.to_string().as_bytes()),
        ("__MACOSX/export/._conversations-000.json", b"\0"),
        ("export/file_00a1-dough.png", b"\x89PNG\r\n\x1a\n"),
        ("export/file-unseen.webp", b"RIFF\0\0\0\0WEBP"),
        ("export/user.json", b"{}"),
        ("export/chat.html", b"<html>"),
    ]);
    let imported = chatgpt::read(&archive, &mut salts()).unwrap();
    assert_eq!(imported.sessions[0].title.as_deref(), Some("Sourdough timing"));
    assert_eq!(imported.sessions[1].title.as_deref(), Some("Empty"));
    let images: usize = imported.sessions[0].turns.iter().map(|turn| turn.canonical.attachments.len()).sum();
    assert_eq!(images, 1);
    insta::assert_snapshot!(imported.skipped.join("\n"));
}

#[test]
fn an_image_that_unpacks_to_more_than_any_provider_takes_is_named() {
    let mut bomb = b"\x89PNG\r\n\x1a\n".to_vec();
    bomb.resize((20 << 20) + 1, 0);
    let archive = zipped(&[("conversations.json", CHATGPT.as_bytes()), ("file_00a1-dough.png", &bomb)]);
    assert!(archive.len() < 100_000);
    let imported = chatgpt::read(&archive, &mut salts()).unwrap();
    let named = "an image whose bytes are not in the export or too large (2 times, first in `Sourdough timing`)";
    assert!(imported.skipped.iter().any(|loss| loss == named), "{:?}", imported.skipped);
}

#[test]
fn claude_conversations_come_with_calls_results_and_branches() {
    insta::assert_snapshot!(told(&claude::read(CLAUDE.as_bytes(), &mut salts()).unwrap()));
    let archive = zipped(&[("conversations.json", CLAUDE.as_bytes()), ("users.json", b"[]")]);
    let imported = claude::read(&archive, &mut salts()).unwrap();
    assert_eq!(imported.sessions, claude::read(CLAUDE.as_bytes(), &mut salts()).unwrap().sessions);
    assert!(imported.skipped.contains(&"the file `users.json` of the archive (once)".to_owned()));
}

#[test]
fn letta_agents_come_as_sessions_and_their_memory_is_named() {
    insta::assert_snapshot!(told(&letta::read(LETTA.as_bytes(), &mut salts()).unwrap()));
}

#[test]
fn what_is_no_export_is_refused_with_a_sentence() {
    let told = |reader: usize, text: &str| READERS[reader].1(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(told(0, "hello"), "not an export of ChatGPT: neither JSON nor a zip");
    assert_eq!(told(0, CLAUDE), "not an export of ChatGPT: its conversations have no `mapping`");
    assert_eq!(told(1, CHATGPT), "not an export of Claude: its conversations have no `chat_messages`");
    assert_eq!(told(1, LETTA), "not an export of Claude: its conversations have no `chat_messages`");
    assert_eq!(told(2, CLAUDE), "not an export of Letta: it has no `agents`");
    assert_eq!(told(2, r#"{"core_memory": []}"#), "not an export of Letta: an agent file from before mid-2025");
    assert!(told(0, "PK\u{3}\u{4}").starts_with("the archive cannot be unpacked"));
    assert_eq!(told(0, &zip_without_conversations()), "not an export of ChatGPT: the archive has no conversations");
}

/// The end of an archive without files is ASCII.
fn zip_without_conversations() -> String {
    format!("PK\u{5}\u{6}{}", "\0".repeat(18))
}

#[test]
fn what_follows_itself_or_nobody_is_named() {
    let node = |parent: &str| serde_json::json!({"parent": parent, "message": {"author": {"role": "user"}, "content": {"parts": ["x"]}}});
    let loop_and_orphan = serde_json::json!([{"mapping": {"a": node("b"), "b": node("a"), "c": node("gone")}}]);
    let imported = chatgpt::read(loop_and_orphan.to_string().as_bytes(), &mut salts()).unwrap();
    assert_eq!(imported.sessions[0].turns.len(), 1);
    assert_eq!(
        imported.skipped,
        [
            "a message that follows itself (2 times, first in `untitled`)",
            "what came before a message: its parent is not in the export (once, first in `untitled`)"
        ]
    );
}

#[test]
fn a_chain_of_a_hundred_thousand_messages_does_not_exhaust_the_stack() {
    let mut mapping = serde_json::Map::new();
    for at in 0..100_000_u32 {
        let message = serde_json::json!({"author": {"role": "user"}, "content": {"parts": [at.to_string()]}});
        let parent = at.checked_sub(1).map(|parent| parent.to_string());
        mapping.insert(at.to_string(), serde_json::json!({"parent": parent, "message": message}));
    }
    let export = serde_json::json!([{"mapping": mapping}]).to_string();
    let imported = chatgpt::read(export.as_bytes(), &mut salts()).unwrap();
    assert_eq!(imported.sessions[0].turns.len(), 100_000);
    let deep = format!("[{{\"mapping\":{}1{}}}]", "[".repeat(100_000), "]".repeat(100_000));
    let imported = chatgpt::read(deep.as_bytes(), &mut salts()).unwrap();
    assert_eq!(imported.skipped, ["a conversation that is nested too deeply or holds numbers out of range (once)"]);
}

/// An import as a session that can be taken along.
fn session(number: usize, imported: &ImportedSession, blobs: &mut Blobs) -> Session {
    let stored = |turn: &commonwatt_bundle::import::ImportedTurn| StoredTurn {
        id: turn.canonical.id,
        canonical: turn.canonical.bytes.clone(),
        state: turn.state,
        made_ms: turn.made_ms,
        by: None,
        model: turn.model.clone(),
        meta: Default::default(),
    };
    let attached = imported.turns.iter().flat_map(|turn| &turn.canonical.attachments);
    blobs.extend(attached.map(|attachment| (attachment.sha256, attachment.bytes.clone())));
    Session {
        id: SessionId(format!("s{number}").into()),
        name: None,
        title: imported.title.clone(),
        salt: imported.salt,
        head: imported.head,
        branches: Default::default(),
        created_ms: imported.created_ms,
        updated_ms: imported.updated_ms,
        data_class: None,
        meta: Default::default(),
        turns: imported.turns.iter().map(stored).collect(),
    }
}

/// Whatever was imported can be bundled: its turns hold together.
fn check_that_it_can_be_taken_along(imported: &Imported) {
    let mut blobs = Blobs::new();
    let sessions =
        imported.sessions.iter().enumerate().map(|(number, imported)| session(number, imported, &mut blobs)).collect();
    let bundle = Bundle { issuer: "alpha".to_owned(), made_unix_s: 1, sessions, blobs };
    let mut bytes = Vec::new();
    write(&bundle, &SigningKey::from_bytes(&[1; 32]), &mut bytes).unwrap();
    read(&*bytes, &Limits::default(), None).unwrap();
}

#[test]
fn what_was_imported_can_be_taken_along() {
    for (fixture, reader) in READERS {
        check_that_it_can_be_taken_along(&reader(fixture.as_bytes()).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_bytes_break_an_importer(bytes in prop::collection::vec(any::<u8>(), 0..400), is_zip in any::<bool>()) {
        let bytes = if is_zip { [b"PK\x03\x04".as_slice(), &bytes].concat() } else { bytes };
        for (_, reader) in READERS {
            let _ = reader(&bytes);
        }
    }

    /// Good files with pieces of themselves in other places: mostly still JSON, of strange shapes.
    #[test]
    fn no_mutation_of_a_good_export_breaks_an_importer(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
        byte in any::<u8>(),
    ) {
        for (fixture, reader) in READERS {
            let mut values = Vec::new();
            let value: serde_json::Value = serde_json::from_str(fixture).unwrap();
            collect(&value, "", &mut values);
            let mut mutated = value.clone();
            for (from, to) in &cuts {
                let (_, taken) = from.get(&values).clone();
                let (path, _) = to.get(&values);
                if let Some(place) = mutated.pointer_mut(path) {
                    *place = taken;
                }
            }
            if let Ok(imported) = reader(mutated.to_string().as_bytes()) {
                check_that_it_can_be_taken_along(&imported);
            }
            let mut bytes = fixture.as_bytes().to_vec();
            let at = cuts[0].0.index(bytes.len());
            bytes[at] = byte;
            let _ = reader(&bytes);
        }
    }
}

/// Every value in a value, by path.
fn collect(value: &serde_json::Value, path: &str, into: &mut Vec<(String, serde_json::Value)>) {
    into.push((path.to_owned(), value.clone()));
    let members = value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value));
    let items = value.as_array().into_iter().flatten().enumerate().map(|(at, value)| (at.to_string(), value));
    for (name, value) in members.chain(items) {
        collect(value, &format!("{path}/{name}"), into);
    }
}
