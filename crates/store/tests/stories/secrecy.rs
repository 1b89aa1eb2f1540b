//! What the file tells whoever steals it.

use bytes::Bytes;
use commonwatt_core::lease::{HandoffId, Holder, Terms};
use commonwatt_core::turn::{Epoch, Party};
use commonwatt_store::{
    Commit, JournalHead, Link, NewBlob, NewHandoff, NewResponse, NewSession, NodeKey, Options, StoreError,
};

use crate::world::{World, begin, beginning, id, session, turn};

const MARKER: &str = "the quick brown fox";
const HASH: [u8; 32] = *b"a hash of content, thirty-two by";

/// A marker everywhere where content can be.
async fn fill(store: &commonwatt_store::Store) {
    let marker = Bytes::from_static(MARKER.as_bytes());
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &marker).as_ref().try_into().unwrap();
    let mut commit = beginning("s", &["a"]);
    commit.begin = Some(NewSession { title: Some(MARKER.into()), salt: HASH, ..begin("ada") });
    commit.turns.push(commonwatt_store::NewTurn { body: marker.clone(), meta: marker.clone(), ..turn("a", "b") });
    commit.links.push(Link { hash: HASH, turn: id("b") });
    commit.responses.push(NewResponse { id: "resp".into(), turn: id("b"), body: marker.clone() });
    commit.blobs.push(NewBlob { sha256, bytes: marker.clone() });
    store.commit(commit).await.unwrap();
    let head = JournalHead {
        call: "call".into(),
        session: session("s"),
        epoch: Epoch(0),
        parent: id("b"),
        party: Party::Model,
        by: None,
        model: None,
        made_ms: 0,
        meta: marker.clone(),
    };
    store.journal_begin(head).await.unwrap();
    store.journal_append("call", 0, marker.clone()).await.unwrap();
    store.put_derived(&session("s"), id("b"), "summary", marker.clone()).await.unwrap();
    let (handoff, by) = (HandoffId([1; 16]), Holder("here".into()));
    let terms = Terms { handoff, by, epoch: Epoch(0), head: id("b"), to: None, expires_s: 9 };
    let offer = NewHandoff { session: session("s"), terms, details: marker };
    store.offer(offer).await.unwrap();
}

#[tokio::test]
async fn no_content_stands_in_the_file_or_its_log() {
    let world = World::new();
    let store = world.open();
    fill(&store).await;
    let secret = |world: &World| world.holds(MARKER.as_bytes()) || world.holds(&HASH);
    assert!(!secret(&world), "in the log");
    assert!(world.holds(b"resp"), "ids are in the clear, so this does look at the right files");
    store.close().await;
    assert!(!secret(&world), "in the file");
}

#[tokio::test]
async fn after_erasure_nothing_sealed_is_left_in_the_file_or_its_log() {
    let world = World::new();
    let store = world.open();
    fill(&store).await;
    let sealed = sealed(&world);
    assert_eq!(sealed.len(), 14, "a key, a salt, a title, two bodies and metas, and one of each other kind");
    assert!(sealed.iter().all(|value| world.holds(value)));
    store.erase(&session("s")).await.unwrap();
    for value in &sealed {
        assert!(!world.holds(value), "{} bytes", value.len());
    }
}

/// Every sealed value of a store that is open, as it stands in the file.
fn sealed(world: &World) -> Vec<Vec<u8>> {
    let db = rusqlite::Connection::open(world.path()).unwrap();
    let sql = "SELECT key FROM sessions UNION ALL SELECT salt FROM sessions UNION ALL SELECT title FROM sessions \
         UNION ALL SELECT body FROM turns UNION ALL SELECT meta FROM turns UNION ALL SELECT body FROM responses \
         UNION ALL SELECT body FROM blobs UNION ALL SELECT key FROM blob_keys UNION ALL SELECT meta FROM journals \
         UNION ALL SELECT body FROM journal_parts UNION ALL SELECT details FROM handoffs UNION ALL SELECT body FROM derived";
    let mut rows = db.prepare(sql).unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_wrong_node_key_is_refused_in_one_sentence_and_harms_nothing() {
    let world = World::new();
    let store = world.open();
    fill(&store).await;
    drop(store);
    let wrong = Options { node_key: NodeKey::new([2; 32]), ..world.options() };
    let refused = world.try_open(wrong).err().unwrap();
    assert_eq!(refused, StoreError::WrongNodeKey);
    assert_eq!(refused.to_string(), "the node key does not open this store: it was made with another");
    assert_eq!(crate::world::said(&world.open(), "s", "a").await, ["said a"]);
}

#[tokio::test]
async fn a_sealed_value_moved_to_another_row_is_damage_not_content() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a", "b"])).await.unwrap();
    store.commit(Commit { begin: Some(begin("eve")), ..beginning("t", &["x"]) }).await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(world.path()).unwrap();
    db.execute("UPDATE turns SET body = (SELECT body FROM turns WHERE row = 1) WHERE row = 2", []).unwrap();
    db.execute("UPDATE sessions SET key = (SELECT key FROM sessions WHERE id = 's') WHERE id = 't'", []).unwrap();
    db.close().unwrap();

    let store = world.open();
    let damaged = |what| Err(StoreError::Damaged { what });
    assert_eq!(store.path(&session("s"), id("b"), 9).await, damaged("a turn's body"));
    assert_eq!(store.path(&session("t"), id("x"), 9).await, damaged("a session's key"));
    assert_eq!(crate::world::said(&store, "s", "a").await, ["said a"]);
}
