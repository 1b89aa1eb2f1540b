//! Sessions that are taken along, and what happens when their arrival fails in the middle.

use std::collections::BTreeMap;
use std::path::Path;

use commonwatt_bundle::import::chatgpt;
use commonwatt_bundle::{Session, SigningKey, TurnState, read, write};
use commonwatt_core::admission::CallId;
use commonwatt_core::call::{Image, Item, Part, Role};
use commonwatt_core::turn::{Party, Turn, TurnId};
use commonwatt_store::{Commit, NodeKey, Options, Store};
use commonwatt_wire::Dialect;
use commonwatt_wire::turns::{canonical, root};

use super::super::BusWorld;
use super::*;

const ME: &str = "me";

fn bus(dir: &Path) -> Arc<Bus> {
    bus_of(dir, 0)
}

fn bus_of(dir: &Path, bytes_max: u64) -> Arc<Bus> {
    let store = Store::open(Options {
        path: dir.join("bus.db"),
        node_key: NodeKey::from_file(&dir.join("node.key")).unwrap(),
        clock_ms: Arc::new(|| 1_900_000_000_000),
        bytes_max,
    });
    let ids = std::sync::atomic::AtomicU64::new(0);
    let new_id = move || CallId(format!("new-{}", ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).into());
    let world = BusWorld {
        new_id: Arc::new(new_id),
        seed: [9; 32],
        handoff_seed: [8; 32],
        unix_ms: Arc::new(|| 1_900_000_000_000),
        retention: crate::bus::Retention::default(),
    };
    Bus::new(store.unwrap(), world)
}

fn session(id: &str) -> Session {
    let salt = [3; 32];
    Session {
        id: SessionId(id.into()),
        name: Some("bread".to_owned()),
        title: Some("Brot".to_owned()),
        salt,
        head: root(&salt),
        branches: BTreeMap::new(),
        created_ms: Some(1_700_000_000_000),
        updated_ms: Some(1_700_000_009_000),
        data_class: Some("internal".to_owned()),
        meta: BTreeMap::from([("project".to_owned(), "bakery".to_owned())]),
        turns: Vec::new(),
    }
}

/// Says something after a turn.
fn say(session: &mut Session, blobs: &mut Blobs, parent: TurnId, text: &str) -> TurnId {
    let party = if session.turns.len().is_multiple_of(2) { Party::User } else { Party::Model };
    let (role, about) = match party {
        Party::Model => (Role::Assistant, Some("alpha/alpha-1".to_owned())),
        Party::User | Party::System | Party::Tool => (Role::User, None),
    };
    let picture = Image::Base64 { media_type: "image/png".into(), data: "iVBORw==".into(), detail: None };
    let content = match text {
        "look" => vec![Part::Text(text.into()), Part::Image(picture)],
        _ => vec![Part::Text(text.into())],
    };
    let items = vec![Item::Message { role, content }];
    let canonical = canonical(&Turn { parent, party, dialect: Dialect::OpenAiChat.word(), items });
    blobs.extend(canonical.attachments.into_iter().map(|attachment| (attachment.sha256, attachment.bytes)));
    let made_ms = (!session.turns.is_empty()).then_some(1_700_000_000_000 + session.turns.len() as u64);
    let meta = match about {
        Some(_) => [("finish", "stop"), ("input", "12"), ("note", "007")].map(|(k, v)| (k.into(), v.into())).into(),
        None => BTreeMap::new(),
    };
    let state = if text == "cut" { TurnState::Unfinished } else { TurnState::Complete };
    session.turns.push(Carried {
        id: canonical.id,
        canonical: canonical.bytes,
        state,
        made_ms,
        by: about.clone(),
        model: about,
        meta,
    });
    session.head = canonical.id;
    canonical.id
}

/// A conversation with a picture, a branch that was cut, and what only a bundle has a place for.
fn conversation() -> (Session, Blobs) {
    let (mut session, mut blobs) = (session("s1"), Blobs::new());
    let root = session.root();
    let asked = say(&mut session, &mut blobs, root, "look");
    let first = say(&mut session, &mut blobs, asked, "cut");
    let again = say(&mut session, &mut blobs, first, "again");
    say(&mut session, &mut blobs, again, "bread");
    say(&mut session, &mut blobs, asked, "other");
    session.branches.insert("first try".to_owned(), first);
    (session, blobs)
}

/// A conversation of more turns than one commit takes.
fn long_conversation() -> (Session, Blobs) {
    let (mut session, mut blobs) = (session("long"), Blobs::new());
    let mut last = session.root();
    for number in 0..2_200 {
        last = say(&mut session, &mut blobs, last, &format!("line {number}"));
    }
    (session, blobs)
}

fn bundle((session, blobs): (Session, Blobs)) -> Bundle {
    Bundle { issuer: "alpha".to_owned(), made_unix_s: 1_800_000_000, sessions: vec![session], blobs }
}

fn written(bundle: &Bundle) -> Vec<u8> {
    let mut out = Vec::new();
    write(bundle, &SigningKey::from_bytes(&[7; 32]), &mut out).unwrap();
    out
}

impl Bus {
    async fn exported(&self) -> Vec<u8> {
        let stamp = Stamp { issuer: "alpha".to_owned(), made_unix_s: 1_800_000_000 };
        written(&self.export(ME, &Chosen::All, stamp).await.unwrap())
    }

    async fn imported(&self, principal: &str, bundle: &Bundle) -> Brought {
        self.import(principal, bundle.clone()).await.unwrap().pop().unwrap()
    }
}

fn home() -> (tempfile::TempDir, Arc<Bus>) {
    let dir = tempfile::tempdir().unwrap();
    let bus = bus(dir.path());
    (dir, bus)
}

#[tokio::test]
async fn an_export_of_an_import_is_the_same_bytes_and_importing_twice_changes_nothing() {
    let (_dir, bus) = home();
    let bundle = bundle(conversation());
    let bytes = written(&bundle);
    assert_eq!(bus.imported(ME, &bundle).await.outcome, Outcome::Made(5));
    assert_eq!(bus.exported().await, bytes);
    let again = read(&*bytes, &Limits::default(), None).unwrap().bundle;
    assert_eq!(bus.imported(ME, &again).await.outcome, Outcome::Unchanged);
    assert_eq!(bus.exported().await, bytes);
}

#[tokio::test]
async fn a_session_of_an_unknown_age_without_turns_is_the_same_bytes_too() {
    let (_dir, bus) = home();
    let empty = Session { name: None, title: None, created_ms: None, updated_ms: None, ..session("empty") };
    let bundle = bundle((empty, Blobs::new()));
    assert_eq!(bus.imported(ME, &bundle).await.outcome, Outcome::Made(0));
    assert_eq!(bus.exported().await, written(&bundle));
    assert_eq!(bus.imported(ME, &bundle).await.outcome, Outcome::Unchanged);
}

/// Does the first steps of an arrival, as if the process had died after them: whether the session stands where it shall.
async fn arrive_halfway(bus: &Bus, bundle: &Bundle, steps: usize) -> usize {
    let session = bundle.sessions[0].clone();
    let (here, _) = bus.here(ME, &session).await.unwrap().unwrap();
    let Plan { session: id, rows, note, head, .. } = plan::plan(ME, &session, &bundle.blobs, here).unwrap();
    let (rows_len, all) = (rows.len(), rows.len() + 2);
    for rows in rows.into_iter().take(steps) {
        bus.store.commit(rows).await.unwrap();
    }
    if let Some((note, root)) = note.filter(|_| steps > rows_len) {
        bus.store.put_derived(&id, root, NOTE, note.bytes()).await.unwrap();
    }
    let head: Option<Commit> = head.filter(|_| steps > rows_len + 1);
    if let Some(head) = head {
        bus.store.commit(head).await.unwrap();
    }
    all
}

#[tokio::test]
async fn an_arrival_that_failed_is_completed_by_the_next_whether_the_last_step_was_written_or_not() {
    let bundle = bundle(long_conversation());
    let bytes = written(&bundle);
    let (mut steps, mut all) = (0, 1);
    // Before each step: it failed and was not written. After it, which is before the next: it failed, but was written.
    while steps <= all {
        let (_dir, bus) = home();
        all = arrive_halfway(&bus, &bundle, steps).await;
        if steps > 0 {
            let found = bus.session(ME, "long").await.unwrap();
            assert_eq!(
                found.head != found.root,
                steps == all,
                "the head is set by the last of {all} steps, not by {steps}"
            );
        }
        let again = bus.imported(ME, &bundle).await.outcome;
        let is_right = match again {
            Outcome::Made(added) => steps == 0 && added == 2_200,
            Outcome::Grown(added) => steps > 0 && steps < all && added < 2_200,
            Outcome::Unchanged => steps == all,
            Outcome::Refused(_) => false,
        };
        assert!(is_right, "after {steps} of {all} steps: {again:?}");
        assert!(bus.exported().await == bytes, "after {steps} of {all} steps");
        steps += 1;
    }
    assert_eq!(all, 4, "two commits of turns, the note, the head");
}

#[tokio::test]
async fn what_did_not_fit_on_the_disk_is_completed_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = bundle(long_conversation());
    let cramped = bus_of(dir.path(), 1 << 20);
    assert!(cramped.import(ME, bundle.clone()).await.is_err(), "failed, and not persisted");
    cramped.close().await;
    drop(cramped);
    let bus = bus(dir.path());
    assert!(!matches!(bus.imported(ME, &bundle).await.outcome, Outcome::Refused(_)));
    assert!(bus.exported().await == written(&bundle));
}

#[tokio::test]
async fn what_nobody_waited_for_is_completed_by_whoever_asks_again() {
    let (_dir, bus) = home();
    let bundle = bundle(long_conversation());
    let importing = tokio::spawn({
        let (bus, bundle) = (Arc::clone(&bus), bundle.clone());
        async move { bus.import(ME, bundle).await }
    });
    while bus.session(ME, "long").await.is_err() {
        tokio::task::yield_now().await;
    }
    // Failed for whoever asked, but persisted: what is queued is written.
    importing.abort();
    assert!(!matches!(bus.imported(ME, &bundle).await.outcome, Outcome::Refused(_)));
    assert!(bus.exported().await == written(&bundle));
}

#[tokio::test]
async fn what_was_said_elsewhere_is_added_and_a_branch_of_ones_own_keeps_the_head() {
    let (_dir, bus) = home();
    let (mut session, mut blobs) = conversation();
    bus.imported(ME, &bundle((session.clone(), blobs.clone()))).await;
    let before = session.head;
    let there = say(&mut session, &mut blobs, before, "said there");
    session.updated_ms = Some(1_700_000_010_000);
    let grown = bundle((session.clone(), blobs.clone()));
    assert_eq!(bus.imported(ME, &grown).await.outcome, Outcome::Grown(1));
    assert_eq!(bus.exported().await, written(&grown));

    session.turns.pop();
    let elsewhere = say(&mut session, &mut blobs, before, "and elsewhere");
    assert_eq!(bus.imported(ME, &bundle((session, blobs))).await.outcome, Outcome::Grown(1));
    let found = bus.session(ME, "s1").await.unwrap();
    assert_eq!(found.head, there);
    let tree = bus.tree(&found).await.unwrap();
    assert!(tree.iter().any(|node| node.id == elsewhere));
}

#[tokio::test]
async fn what_cannot_be_kept_is_told_and_nothing_of_it_is_written() {
    let (_dir, bus) = home();
    let brought = bundle(conversation());
    bus.imported(ME, &brought).await;
    let taken = bus.imported("somebody else", &brought).await.outcome;
    assert_eq!(taken, Outcome::Refused("another session has its id here".to_owned()));
    assert!(bus.session("somebody else", "s1").await.is_err());

    let mut other = brought.clone();
    other.sessions[0].id = SessionId("s2".into());
    let nameless = bus.imported(ME, &other).await;
    assert_eq!((nameless.outcome, nameless.lost.is_some()), (Outcome::Made(5), true));
    assert_eq!(bus.session(ME, "s2").await.unwrap().name, None);

    let mut long = brought.clone();
    long.sessions[0].id = SessionId("s3".into());
    long.sessions[0].turns[4].model = Some("m".repeat(5_000));
    assert!(matches!(bus.imported(ME, &long).await.outcome, Outcome::Refused(why) if why.contains("4096")));
    assert!(bus.session(ME, "s3").await.is_err());

    let found = bus.session(ME, "s1").await.unwrap();
    bus.erase(&found).await.unwrap();
    assert!(matches!(bus.imported(ME, &brought).await.outcome, Outcome::Refused(why) if why.contains("erased")));
}

const CHATGPT: &[u8] = include_bytes!("../../../../bundle/tests/fixtures/chatgpt.json");

#[tokio::test]
async fn a_conversation_from_elsewhere_that_comes_again_gets_what_is_new() {
    let (_dir, bus) = home();
    let sessions = || chatgpt::read(CHATGPT, &mut || bus.salt()).unwrap().sessions;
    let mut first = sessions();
    let whole = first[0].turns.len();
    // The same conversation a month before: without its last turn.
    let last = first[0].turns.pop().unwrap();
    if first[0].head == last.canonical.id {
        first[0].head = last.turn.parent;
    }
    let brought = bus.import_foreign(ME, System::ChatGpt, first).await.unwrap();
    assert_eq!(brought[0].outcome, Outcome::Made(whole - 1));
    let brought = bus.import_foreign(ME, System::ChatGpt, sessions()).await.unwrap();
    assert_eq!(brought[0].outcome, Outcome::Grown(1));
    let brought = bus.import_foreign(ME, System::ChatGpt, sessions()).await.unwrap();
    assert!(brought.iter().all(|brought| brought.outcome == Outcome::Unchanged), "{brought:?}");
    // And as a bundle it is taken further.
    assert!(!bus.exported().await.is_empty());
}
