//! Commits and what is read after them.

use std::future::Future;

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, SessionId};
use commonwatt_store::{Again, COMMIT_ROWS_MAX, Commit, Link, NewResponse, StoreError, Whose};

use crate::world::{World, begin, beginning, id, look, more, said, session, turn};

#[tokio::test]
async fn what_was_committed_is_there_after_the_store_is_opened_again() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a", "b"])).await.unwrap();
    store.close().await;

    let store = world.open();
    let found = look(&store, "s").await;
    assert_eq!((found.head, found.turns, found.epoch), (id("b"), 2, Epoch(0)));
    assert_eq!((found.salt, found.title.as_deref()), (Some([5; 32]), Some("a title")));
    assert_eq!(said(&store, "s", "b").await, ["said a", "said b"]);
}

#[tokio::test]
async fn a_branch_leaves_the_other_branch_as_it_was() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a", "b", "c"])).await.unwrap();
    store.commit(more("s", "a", "b2")).await.unwrap();
    assert_eq!(said(&store, "s", "c").await, ["said a", "said b", "said c"]);
    assert_eq!(said(&store, "s", "b2").await, ["said a", "said b2"]);
    let tree = store.tree(&session("s")).await.unwrap();
    let edges: Vec<_> = tree.iter().map(|node| (node.parent, node.id)).collect();
    assert_eq!(edges, [(id("root"), id("a")), (id("a"), id("b")), (id("b"), id("c")), (id("a"), id("b2"))],);
}

#[tokio::test]
async fn the_same_commit_twice_is_as_good_as_once() {
    let world = World::new();
    let store = world.open();
    let mut commit = beginning("s", &["a", "b"]);
    commit.responses.push(NewResponse { id: "resp".into(), turn: id("b"), body: Bytes::from_static(b"{}") });
    commit.links.push(Link { hash: [1; 32], turn: id("b") });
    store.commit(commit.clone()).await.unwrap();
    store.commit(commit).await.unwrap();
    assert_eq!(look(&store, "s").await.turns, 2);
}

#[tokio::test]
async fn a_turn_without_its_parent_is_refused_and_nothing_of_its_commit_is_written() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    let mut orphan = more("s", "a", "b");
    orphan.turns.push(turn("nobody", "c"));
    assert_eq!(store.commit(orphan).await, Err(StoreError::UnknownTurn(id("nobody"))));
    assert_eq!(look(&store, "s").await.head, id("a"));
    assert_eq!(store.tree(&session("s")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_turn_of_another_session_is_no_parent() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.commit(beginning("t", &["x"])).await.unwrap();
    assert_eq!(store.commit(more("s", "x", "b")).await, Err(StoreError::UnknownTurn(id("x"))));
}

#[tokio::test]
async fn a_head_or_a_link_or_a_response_to_no_turn_is_refused() {
    let world = World::new();
    let store = world.open();
    let commit = || Commit { begin: Some(begin("ada")), ..Commit::to(session("s"), Epoch(0)) };
    let nowhere = id("nowhere");
    let body = Bytes::new();
    for wrong in [
        Commit { head: Some(nowhere), ..commit() },
        Commit { links: vec![Link { hash: [0; 32], turn: nowhere }], ..commit() },
        Commit { responses: vec![NewResponse { id: "r".into(), turn: nowhere, body }], ..commit() },
    ] {
        assert_eq!(store.commit(wrong).await, Err(StoreError::UnknownTurn(nowhere)));
    }
    assert_eq!(store.session(&session("s"), "ada").await, Ok(None), "the session was not begun either");
}

#[tokio::test]
async fn a_session_is_its_principals_alone() {
    let world = World::new();
    let store = world.open();
    let mut commit = beginning("s", &["a"]);
    commit.responses.push(NewResponse { id: "resp".into(), turn: id("a"), body: Bytes::from_static(b"{}") });
    store.commit(commit).await.unwrap();
    assert_eq!(store.session(&session("s"), "eve").await, Ok(None));
    assert_eq!(store.response("eve", "resp").await, Ok(None));
    assert!(store.sessions(Some("eve"), None, 10).await.unwrap().sessions.is_empty());
    let stolen = Commit { begin: Some(begin("eve")), ..Commit::to(session("s"), Epoch(0)) };
    assert_eq!(store.commit(stolen).await, Err(StoreError::Conflict { what: "session" }));
}

#[tokio::test]
async fn a_name_is_given_once_for_each_principal() {
    let world = World::new();
    let store = world.open();
    let named = |name: &str, principal: &str| {
        let begin = commonwatt_store::NewSession { name: Some("work".into()), ..begin(principal) };
        Commit { begin: Some(begin), ..Commit::to(session(name), Epoch(0)) }
    };
    store.commit(named("s", "ada")).await.unwrap();
    store.commit(named("t", "bob")).await.unwrap();
    assert_eq!(store.commit(named("u", "ada")).await, Err(StoreError::NameTaken));
    assert_eq!(store.session_named("ada", "work").await.unwrap().unwrap().id, session("s"));
    assert_eq!(store.session_named("bob", "work").await.unwrap().unwrap().id, session("t"));
    assert_eq!(store.session_named("eve", "work").await, Ok(None));
}

#[tokio::test]
async fn a_hash_leads_to_what_was_linked_last() {
    let world = World::new();
    let store = world.open();
    let link = |name: &str| Commit { links: vec![Link { hash: [9; 32], turn: id("a") }], ..beginning(name, &["a"]) };
    assert_eq!(store.linked([9; 32]).await, Ok(None));
    store.commit(link("s")).await.unwrap();
    store.commit(link("t")).await.unwrap();
    assert_eq!(store.linked([9; 32]).await, Ok(Some((session("t"), id("a")))));
    store.commit(link("s")).await.unwrap();
    assert_eq!(store.linked([9; 32]).await, Ok(Some((session("s"), id("a")))));
    store.erase(&session("s")).await.unwrap();
    assert_eq!(store.linked([9; 32]).await, Ok(Some((session("t"), id("a")))));
}

#[tokio::test]
async fn a_response_is_found_by_its_id_until_it_is_deleted() {
    let world = World::new();
    let store = world.open();
    let answer = |turn, text| vec![NewResponse { id: "resp".into(), turn, body: Bytes::from_static(text) }];
    store.commit(Commit { responses: answer(id("a"), b"one"), ..beginning("s", &["a", "b"]) }).await.unwrap();
    let found = store.response("here", "resp").await.unwrap().unwrap();
    assert_eq!((found.session, found.turn, &*found.body), (session("s"), id("a"), &b"one"[..]));
    let other = Commit { responses: answer(id("b"), b"two"), ..Commit::to(session("s"), Epoch(0)) };
    assert_eq!(store.commit(other).await, Err(StoreError::Conflict { what: "response" }));
    assert_eq!(store.delete_response("here", "resp").await, Ok(true));
    assert_eq!(store.delete_response("here", "resp").await, Ok(false));
    assert_eq!(store.response("here", "resp").await, Ok(None));
    assert_eq!(said(&store, "s", "b").await.len(), 2);
}

#[tokio::test]
async fn a_list_is_told_page_by_page_without_repeating_what_is_written_meanwhile() {
    let world = World::new();
    let store = world.open();
    for name in ["a", "b", "c", "d", "e"] {
        store.commit(beginning(name, &["x"])).await.unwrap();
    }
    let mut names = Vec::new();
    let mut from = None;
    loop {
        let page = store.sessions(Some("ada"), from, 2).await.unwrap();
        names.extend(page.sessions.iter().map(|found| found.id.to_string()));
        store.commit(more("e", "x", "y")).await.unwrap();
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(names, ["e", "d", "c", "b", "a"]);
    assert_eq!(store.sessions(None, None, 100).await.unwrap().sessions.len(), 5);
}

#[tokio::test]
async fn a_path_of_ten_thousand_turns_is_quick_and_its_tail_quicker() {
    let world = World::new();
    let store = world.open();
    let words: Vec<_> = (0..10_000).map(|n| format!("{n:05}")).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    store.commit(beginning("s", &words)).await.unwrap();

    let started = std::time::Instant::now();
    let path = store.path(&session("s"), id("09999"), 10_000).await.unwrap();
    assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    assert!(path.windows(2).all(|pair| pair[1].node.parent == pair[0].node.id));
    assert_eq!((path.len(), path[0].node.parent), (10_000, id("root")));

    let tail = store.tail(&session("s"), id("09999"), 3).await.unwrap();
    assert_eq!(tail, path[9_997..]);
    assert!(store.tail(&session("s"), id("09999"), 0).await.unwrap().is_empty());
    assert!(store.path(&session("s"), id("root"), 0).await.unwrap().is_empty());
    let longer = StoreError::TooLarge { what: "a path", found: 10_000, max: 9_999 };
    assert_eq!(store.path(&session("s"), id("09999"), 9_999).await, Err(longer));
}

#[tokio::test]
async fn what_is_past_a_bound_is_refused_before_it_is_queued() {
    let world = World::new();
    let store = world.open();
    let mut commit = beginning("s", &["a"]);
    commit.turns[0].body = Bytes::from(vec![0; commonwatt_store::BODY_BYTES_MAX + 1]);
    let refused = store.commit(commit).await.unwrap_err();
    assert_eq!((refused.whose(), refused.again()), (Whose::Callers, Again::Never));
    assert_eq!(refused.to_string(), "a body of 67108865 is past the bound of 67108864");

    let mut far = beginning("s", &["a"]);
    far.turns[0].made_ms = u64::MAX;
    assert!(matches!(store.commit(far).await, Err(StoreError::TooLarge { .. })));

    let links = vec![Link { hash: [0; 32], turn: id("root") }; COMMIT_ROWS_MAX + 1];
    assert!(store.commit(Commit { links, ..beginning("s", &[]) }).await.is_err());
    let long = SessionId("x".repeat(5_000).into());
    assert!(store.commit(Commit { session: long, ..beginning("s", &[]) }).await.is_err());
}

#[tokio::test]
async fn a_change_whose_answer_nobody_waits_for_is_written_all_the_same() {
    let world = World::new();
    let store = world.open();
    {
        let mut lost = std::pin::pin!(store.commit(beginning("s", &["a"])));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // Polled once, hence queued; then whoever waited is gone.
        assert!(lost.as_mut().poll(&mut context).is_pending());
    }
    // Asking again is safe, and is answered after it.
    store.commit(beginning("s", &["a"])).await.unwrap();
    assert_eq!(look(&store, "s").await.turns, 1);
}
