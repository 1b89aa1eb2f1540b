//! Erasing a session, and what stays of it.

use bytes::Bytes;
use commonwatt_core::turn::Epoch;
use commonwatt_store::{Commit, Link, NewResponse, NewSession, StoreError};

use crate::world::{World, begin, beginning, id, look, more, session};

fn full(name: &str) -> Commit {
    let begin = NewSession { name: Some("my work".into()), ..begin("ada") };
    Commit {
        begin: Some(begin),
        links: vec![Link { hash: [3; 32], turn: id("b") }],
        responses: vec![NewResponse { id: "resp".into(), turn: id("b"), body: Bytes::from_static(b"{}") }],
        ..beginning(name, &["a", "b"])
    }
}

#[tokio::test]
async fn an_erased_session_keeps_its_shape_and_nothing_else() {
    let world = World::new();
    let store = world.open();
    store.commit(full("s")).await.unwrap();
    store.put_derived(&session("s"), id("b"), "summary", Bytes::from_static(b"short")).await.unwrap();
    let shape = store.tree(&session("s")).await.unwrap();
    world.pass_ms(10);
    store.erase(&session("s")).await.unwrap();
    store.erase(&session("s")).await.unwrap();

    let found = look(&store, "s").await;
    assert_eq!((found.erased_ms, found.salt, found.title, found.name), (Some(1_010), None, None, None));
    assert_eq!((found.root, found.head, found.turns), (id("root"), id("b"), 2));
    assert_eq!(store.tree(&session("s")).await.unwrap(), shape);
    assert_eq!(store.path(&session("s"), id("b"), 10).await, Err(StoreError::Erased));
    assert_eq!(store.derived(&session("s"), id("b"), "summary").await, Err(StoreError::Erased));
    assert_eq!(store.linked([3; 32]).await, Ok(None));
    assert_eq!(store.response("here", "resp").await, Ok(None));
    assert_eq!(store.session_named("ada", "my work").await, Ok(None));
}

#[tokio::test]
async fn nothing_is_written_to_an_erased_session_and_its_id_is_not_used_again() {
    let world = World::new();
    let store = world.open();
    store.commit(full("s")).await.unwrap();
    store.erase(&session("s")).await.unwrap();
    assert_eq!(store.commit(more("s", "b", "c")).await, Err(StoreError::Erased));
    assert_eq!(store.commit(full("s")).await, Err(StoreError::Erased));
    assert_eq!(store.put_derived(&session("s"), id("b"), "k", Bytes::new()).await, Err(StoreError::Erased));
    store.commit(full("another with the same name")).await.unwrap();
}

#[tokio::test]
async fn an_unknown_session_cannot_be_erased() {
    let world = World::new();
    assert_eq!(world.open().erase(&session("s")).await, Err(StoreError::UnknownSession));
}

#[tokio::test]
async fn sessions_are_erased_when_their_time_is_over_and_not_before() {
    let world = World::new();
    let store = world.open();
    for (name, expires_ms) in [("s", Some(2_000)), ("t", Some(3_000)), ("u", None)] {
        let begin = NewSession { expires_ms, ..begin("ada") };
        store.commit(Commit { begin: Some(begin), ..Commit::to(session(name), Epoch(0)) }).await.unwrap();
    }
    assert!(store.expire(1_999).await.unwrap().is_empty());
    assert_eq!(store.expire(2_000).await.unwrap(), [session("s")]);
    assert_eq!(store.expire(9_000).await.unwrap(), [session("t")]);
    assert!(store.expire(u64::MAX).await.unwrap().is_empty());
    assert_eq!(look(&store, "u").await.erased_ms, None);
}

#[tokio::test]
async fn what_was_derived_is_replaced_by_what_is_derived_later() {
    let world = World::new();
    let store = world.open();
    store.commit(full("s")).await.unwrap();
    for text in ["first", "second"] {
        store.put_derived(&session("s"), id("b"), "summary", Bytes::from(text)).await.unwrap();
    }
    assert_eq!(store.derived(&session("s"), id("b"), "summary").await.unwrap().unwrap(), "second");
    assert_eq!(store.derived(&session("s"), id("b"), "other").await, Ok(None));
    assert_eq!(store.derived(&session("s"), id("a"), "summary").await, Ok(None));
}
