//! Answers that were under way when the process died.

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, Party};
use commonwatt_store::{Commit, JournalHead, StoreError};

use crate::world::{World, beginning, id, more, session};

fn head(call: &str) -> JournalHead {
    JournalHead {
        call: call.into(),
        session: session("s"),
        epoch: Epoch(0),
        parent: id("a"),
        party: Party::Model,
        by: Some("here/model".into()),
        model: Some("model".into()),
        made_ms: 7,
        meta: Bytes::from_static(b"{\"n\":1}"),
    }
}

fn part(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn what_was_half_said_is_told_after_the_store_is_opened_again_and_not_before() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.journal_begin(head("call")).await.unwrap();
    store.journal_append("call", 0, part("Once upon ")).await.unwrap();
    store.journal_append_soon("call", 1, part("a ti")).unwrap();
    assert!(store.open_journals(10).await.unwrap().is_empty(), "this run's own answers are still coming");
    drop(store);

    let store = world.open();
    let journals = store.open_journals(10).await.unwrap();
    assert_eq!(journals.len(), 1);
    assert_eq!(journals[0].head, head("call"));
    assert_eq!(journals[0].parts.concat(), b"Once upon a ti");
}

#[tokio::test]
async fn a_journal_ends_with_the_commit_of_its_turn() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.journal_begin(head("call")).await.unwrap();
    store.journal_append("call", 0, part("Once")).await.unwrap();
    let commit = Commit { end_journal: Some("call".into()), ..more("s", "a", "b") };
    store.commit(commit.clone()).await.unwrap();
    store.commit(commit).await.unwrap();
    assert_eq!(store.journal_append("call", 1, part("!")).await, Err(StoreError::UnknownJournal));
    drop(store);
    assert!(world.open().open_journals(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_journal_stays_when_the_commit_of_its_turn_is_refused() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.journal_begin(head("call")).await.unwrap();
    let refused = Commit { end_journal: Some("call".into()), ..more("s", "nobody", "b") };
    assert!(store.commit(refused).await.is_err());
    drop(store);
    assert_eq!(world.open().open_journals(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_session_cannot_end_a_journal() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.journal_begin(head("call")).await.unwrap();
    store.commit(Commit { end_journal: Some("call".into()), ..beginning("t", &["a"]) }).await.unwrap();
    let of_another = JournalHead { session: session("t"), ..head("call") };
    assert_eq!(store.journal_begin(of_another).await, Err(StoreError::Conflict { what: "journal" }));
    drop(store);
    assert_eq!(world.open().open_journals(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_came_after_a_lost_part_is_not_told() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.journal_begin(head("call")).await.unwrap();
    for (seq, text) in [(0, "a"), (1, "b"), (1, "twice"), (3, "d")] {
        store.journal_append("call", seq, part(text)).await.unwrap();
    }
    drop(store);
    assert_eq!(world.open().open_journals(10).await.unwrap()[0].parts.concat(), b"ab");
}

#[tokio::test]
async fn a_journal_that_was_given_up_is_gone() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.journal_begin(head("call")).await.unwrap();
    store.journal_end("call").await.unwrap();
    store.journal_end("call").await.unwrap();
    drop(store);
    assert!(world.open().open_journals(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_journal_needs_a_session_and_a_turn_to_follow() {
    let world = World::new();
    let store = world.open();
    assert_eq!(store.journal_begin(head("call")).await, Err(StoreError::UnknownSession));
    store.commit(beginning("s", &["x"])).await.unwrap();
    assert_eq!(store.journal_begin(head("call")).await, Err(StoreError::UnknownTurn(id("a"))));
}
