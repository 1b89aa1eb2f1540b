//! What always holds.

use commonwatt_core::call::{Image, Item, Part, RawJson, Reasoning, Role, ToolCall};
use commonwatt_core::turn::Party;
use proptest::prelude::*;

use super::samples::{bundle, empty_session, key, message, say, written};
use crate::{Blobs, Bundle, Limits, PublicKey, TurnState, read};

fn opened(bytes: &[u8]) -> crate::Opened {
    read(bytes, &Limits::default(), None).unwrap()
}

#[test]
fn what_was_written_is_read_and_says_who_signed() {
    let bundle = bundle();
    let opened = opened(&written(&bundle));
    assert_eq!(opened.bundle, bundle);
    assert_eq!(opened.signer, PublicKey::of(&key()));
    assert_eq!(opened.signer.to_string().parse(), Ok(opened.signer));
}

/// Other programs can be tried with it; `docs/reference/bundle.md` has one.
#[test]
fn the_published_example_is_what_is_written_here() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/example.cwb");
    assert!(std::fs::read(path).unwrap() == written(&bundle()), "the format has changed, or the example");
}

#[test]
fn a_system_tar_reads_it() {
    let folder = std::env::temp_dir().join(format!("cwb-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a.cwb"), written(&bundle())).unwrap();
    let listed = std::process::Command::new("tar").args(["-tf", "a.cwb"]).current_dir(&folder).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(names.lines().next(), Some("manifest.json"));
    assert_eq!(names.lines().last(), Some("sessions/empty.jsonl"));
    assert!(listed.stderr.is_empty(), "{}", String::from_utf8_lossy(&listed.stderr));
}

#[test]
fn turns_stand_after_their_parents_and_then_by_time() {
    let mut shuffled = bundle();
    shuffled.sessions[0].turns.reverse();
    shuffled.sessions.reverse();
    assert_eq!(written(&shuffled), written(&bundle()), "the order in which a store returns them does not matter");
    let turns = &opened(&written(&shuffled)).bundle.sessions[0].turns;
    assert_eq!(turns.iter().map(|turn| turn.made_ms.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

/// What a generated turn holds.
type Sketch = (prop::sample::Index, u8, String, Option<u64>);

fn items(kind: u8, text: &str) -> (Party, Vec<Item>) {
    let said = |role, parts| message(role, parts);
    let json = |text: &str| RawJson(serde_json::Value::from(text).to_string().into());
    match kind % 8 {
        0 => (Party::User, vec![said(Role::User, vec![Part::Text(text.into())])]),
        1 => (Party::System, vec![said(Role::System, vec![Part::Text(text.into()), Part::Text("x".into())])]),
        2 => (
            Party::Model,
            vec![
                Item::Reasoning(Reasoning { text: text.into(), encrypted: Some("e".into()), ..Reasoning::default() }),
                said(Role::Assistant, vec![Part::Refusal(text.into())]),
                Item::ToolCall(ToolCall { id: text.into(), arguments: text.into(), ..ToolCall::default() }),
            ],
        ),
        3 => (
            Party::Tool,
            vec![Item::ToolOutput { call_id: text.into(), content: vec![Part::Text(text.into())], is_error: true }],
        ),
        4 => (Party::User, vec![said(Role::User, vec![Part::Opaque("document".into(), json(&text.repeat(900)))])]),
        5 => {
            use base64::Engine as _;
            let data = base64::engine::general_purpose::STANDARD.encode(text).as_str().into();
            let image = Image::Base64 { media_type: "image/webp".into(), data, detail: Some("low".into()) };
            (Party::User, vec![said(Role::User, vec![Part::Image(image)])])
        }
        6 => (
            Party::Model,
            vec![Item::Opaque("web_search_call".into(), json(text)), Item::Field("f".into(), json(text))],
        ),
        _ => (Party::Model, Vec::new()),
    }
}

fn generated(sketches: Vec<Vec<Sketch>>, order: u64) -> Bundle {
    let mut blobs = Blobs::new();
    let sessions = (0_u8..).zip(sketches).map(|(number, sketches)| {
        let mut session = empty_session(&format!("s{number}"), [number; 32]);
        let mut ids = vec![session.root()];
        for (parent, kind, text, made_ms) in sketches {
            let state = if kind & 128 == 0 { TurnState::Complete } else { TurnState::Unfinished };
            let parent = *parent.get(&ids);
            let before = session.turns.len();
            let id = say((&mut session, &mut blobs), parent, items(kind, &text), (made_ms, state));
            if ids.contains(&id) {
                session.turns.truncate(before);
                continue;
            }
            session.branches.insert(text, id);
            ids.push(id);
        }
        session.head = *ids.last().unwrap();
        let turns = session.turns.len().max(1);
        session.turns.rotate_left(order as usize % turns);
        session
    });
    let sessions = sessions.collect();
    Bundle { issuer: "beta \"2\"".to_owned(), made_unix_s: order >> 12, sessions, blobs }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Export → import → export, with the time and the issuer that the manifest carries, and the same key.
    #[test]
    fn an_export_of_an_import_is_the_same_bytes(
        sketches in prop::collection::vec(
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), ".{0,12}", prop::option::of(0..(1_u64 << 53))), 0..12),
            0..4,
        ),
        order in any::<u64>(),
    ) {
        let first = written(&generated(sketches, order));
        let opened = opened(&first);
        let again = written(&opened.bundle);
        prop_assert!(first == again);
        prop_assert_eq!(super::laws::opened(&again), opened);
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        prop_assert!(read(&*bytes, &Limits::default(), None).is_err());
    }

    /// Pieces of a good bundle cut out, doubled or moved: other bytes are never accepted.
    #[test]
    fn a_mutated_bundle_is_refused_unless_it_is_the_same_bytes(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..1_100_usize, any::<bool>()), 1..4),
    ) {
        let good = written(&bundle());
        let mut bytes = good.clone();
        for (from, to, length, is_cut) in edits {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let end = (from + length).min(bytes.len());
            if is_cut {
                bytes.drain(from..end);
            } else {
                let piece = bytes[from..end].to_vec();
                let until = (to + piece.len()).min(bytes.len());
                bytes.splice(to..until, piece);
            }
            if bytes.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(&*bytes, &Limits::default(), None).is_ok(), bytes == good);
    }
}
