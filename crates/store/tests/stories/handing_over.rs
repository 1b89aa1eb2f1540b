//! Who holds a session.

use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::turn::Epoch;
use commonwatt_store::{Accept, Commit, HandoffState, NewHandoff, NotAccepted, Store, StoreError};

use crate::world::{World, beginning, id, look, more, said, session, turn};

fn offer(n: u8, epoch: u64) -> NewHandoff {
    NewHandoff {
        id: [n; 16],
        session: session("s"),
        head: id("a"),
        epoch: Epoch(epoch),
        by: "here".into(),
        expires_ms: 5_000,
        details: Bytes::from_static(b"on these terms"),
    }
}

fn wish(n: u8) -> Accept {
    Accept { id: [n; 16], token_revocation_ids: vec![vec![n]], holder: "there".into(), now_ms: 2_000 }
}

async fn offered(world: &World) -> Store {
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    store.offer(offer(1, 0)).await.unwrap();
    store
}

#[tokio::test]
async fn an_accepted_handoff_fences_off_the_previous_holder() {
    let world = World::new();
    let store = offered(&world).await;
    let accepted = store.accept(wish(1)).await.unwrap();
    assert_eq!((accepted.session, accepted.head, accepted.epoch), (session("s"), id("a"), Epoch(1)));
    let fenced = StoreError::Fenced { holder: "there".into(), epoch: Epoch(1) };
    assert_eq!(store.commit(more("s", "a", "late")).await, Err(fenced.clone()));
    assert_eq!(store.offer(offer(2, 0)).await, Err(fenced));
    assert_eq!(look(&store, "s").await.head, id("a"));

    store.commit(Commit { epoch: Epoch(1), ..more("s", "a", "b") }).await.unwrap();
    let found = look(&store, "s").await;
    assert_eq!((found.head, found.epoch, found.holder.as_str()), (id("b"), Epoch(1), "there"));
    let ahead = Commit { epoch: Epoch(2), ..more("s", "b", "c") };
    assert_eq!(store.commit(ahead).await, Err(StoreError::EpochNotGiven(Epoch(1))));
}

#[tokio::test]
async fn a_handoff_is_accepted_once() {
    let world = World::new();
    let store = offered(&world).await;
    store.accept(wish(1)).await.unwrap();
    assert_eq!(store.accept(wish(1)).await, Err(NotAccepted::Used));
    assert_eq!(look(&store, "s").await.epoch, Epoch(1));
}

#[tokio::test]
async fn each_reason_not_to_accept_has_its_name_and_changes_nothing() {
    let world = World::new();
    let store = offered(&world).await;
    assert_eq!(store.accept(wish(9)).await, Err(NotAccepted::Unknown));
    assert_eq!(store.accept(Accept { now_ms: 5_000, ..wish(1) }).await, Err(NotAccepted::Expired));
    store.revoke_tokens(vec![vec![7, 7]]).await.unwrap();
    let with_revoked = Accept { token_revocation_ids: vec![vec![1], vec![7, 7]], ..wish(1) };
    assert_eq!(store.accept(with_revoked).await, Err(NotAccepted::Revoked));
    store.offer(offer(2, 0)).await.unwrap();
    assert_eq!(store.revoke([2; 16]).await, Ok(true));
    assert_eq!(store.accept(wish(2)).await, Err(NotAccepted::Revoked));
    assert_eq!(look(&store, "s").await.epoch, Epoch(0));

    store.offer(offer(3, 0)).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    assert_eq!(store.accept(wish(3)).await, Err(NotAccepted::Stale));
    assert_eq!(store.revoke([1; 16]).await, Ok(false), "it was used already");
    store.erase(&session("s")).await.unwrap();
    assert_eq!(store.accept(wish(3)).await, Err(NotAccepted::Erased));
}

#[tokio::test]
async fn the_offers_of_a_session_are_told_with_what_became_of_them() {
    let world = World::new();
    let store = offered(&world).await;
    for n in [2, 3] {
        store.offer(offer(n, 0)).await.unwrap();
    }
    store.offer(offer(3, 0)).await.unwrap();
    store.revoke([2; 16]).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    let offers = store.handoffs(&session("s")).await.unwrap();
    let states: Vec<_> = offers.iter().map(|handoff| (handoff.offer.id[0], handoff.state.clone())).collect();
    let used = HandoffState::Used { at_ms: 1_000, holder: "there".into() };
    assert_eq!(states, [(3, HandoffState::Open), (2, HandoffState::Revoked { at_ms: 1_000 }), (1, used)]);
    assert_eq!(offers[2].offer, offer(1, 0));
}

#[tokio::test]
async fn a_partial_answer_of_the_previous_holder_is_refused_too() {
    let world = World::new();
    let store = offered(&world).await;
    let head = commonwatt_store::JournalHead {
        call: "call".into(),
        session: session("s"),
        epoch: Epoch(0),
        parent: id("a"),
        party: commonwatt_core::turn::Party::Model,
        by: None,
        model: None,
        made_ms: 0,
        meta: Bytes::new(),
    };
    store.journal_begin(head).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    let fenced = StoreError::Fenced { holder: "there".into(), epoch: Epoch(1) };
    assert_eq!(store.journal_append("call", 0, Bytes::new()).await, Err(fenced));
}

/// Two accept the same offer at once, and the previous holder goes on writing: a thousand times.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_take_over_at_once_one_wins_and_nothing_interleaves() {
    let world = World::new();
    let store = world.open();
    store.commit(beginning("s", &["a"])).await.unwrap();
    let store = Arc::new(store);
    let mut head = String::from("a");
    for round in 0..1_000_u64 {
        let handoff: [u8; 16] = u128::from(round).to_le_bytes();
        store.offer(NewHandoff { id: handoff, head: id(&head), ..offer(0, round) }).await.unwrap();
        let (stay, one, two) = tokio::join!(
            tokio::spawn(write(Arc::clone(&store), head.clone(), format!("{round}-stay"), round)),
            tokio::spawn(take(Arc::clone(&store), handoff, format!("{round}-one"))),
            tokio::spawn(take(Arc::clone(&store), handoff, format!("{round}-two"))),
        );
        let (stay, one, two) = (stay.unwrap(), one.unwrap(), two.unwrap());
        let winner = match (&one, &two) {
            (Ok(epoch), Err(NotAccepted::Used)) => (format!("{round}-one"), *epoch),
            (Err(NotAccepted::Used), Ok(epoch)) => (format!("{round}-two"), *epoch),
            other => panic!("{other:?}"),
        };
        assert_eq!(winner.1, Epoch(round + 1));
        let found = look(&store, "s").await;
        assert_eq!((found.epoch, &found.holder), (winner.1, &winner.0));
        // The previous holder wrote before it was fenced off, or not at all.
        let last = format!("{round}-stay");
        match stay {
            Ok(()) => head = last,
            Err(StoreError::Fenced { .. }) => {
                let tree = store.tail(&session("s"), found.head, 1).await.unwrap();
                assert_eq!(tree[0].node.id, id(&head));
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(found.head, id(&head));
    }
    assert_eq!(said(&store, "s", &head).await.len() as u64, look(&store, "s").await.turns);
}

async fn write(store: Arc<Store>, parent: String, word: String, epoch: u64) -> Result<(), StoreError> {
    let commit =
        Commit { turns: vec![turn(&parent, &word)], head: Some(id(&word)), ..Commit::to(session("s"), Epoch(epoch)) };
    store.commit(commit).await
}

async fn take(store: Arc<Store>, handoff: [u8; 16], holder: String) -> Result<Epoch, NotAccepted> {
    let accept = Accept { id: handoff, token_revocation_ids: Vec::new(), holder, now_ms: 0 };
    store.accept(accept).await.map(|accepted| accepted.epoch)
}
