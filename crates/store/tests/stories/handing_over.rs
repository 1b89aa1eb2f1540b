//! Who holds a session.

use bytes::Bytes;
use commonwatt_core::lease::{Claim, HandoffId, Holder, OfferState, Refused, Terms};
use commonwatt_core::turn::Epoch;
use commonwatt_store::{Accept, Commit, HandoffError, NewHandoff, Store, StoreError};

use crate::world::{World, begin, beginning, id, look, more, said, session, turn};

fn name(name: &str) -> Holder {
    Holder(name.into())
}

fn offer(n: u8, epoch: u64) -> NewHandoff {
    let (handoff, by, epoch, head) = (HandoffId([n; 16]), name("here"), Epoch(epoch), id("a"));
    let terms = Terms { handoff, by, epoch, head, to: None, expires_s: 5 };
    NewHandoff { session: session("s"), terms, details: Bytes::from_static(b"on these terms") }
}

fn wish(n: u8) -> Accept {
    let claim = Claim { by: name("there"), key: [1; 16] };
    Accept { handoff: HandoffId([n; 16]), token_revocation_ids: vec![vec![n]], claim }
}

fn used(by: &str) -> HandoffError {
    Refused::AlreadyAccepted { by: name(by) }.into()
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
    assert_eq!((accepted.lease.session, accepted.lease.head), (session("s"), id("a")));
    assert_eq!(accepted.lease.tenure.epoch, Epoch(1));
    let fenced = StoreError::Fenced { holder: "there".into(), epoch: Epoch(1) };
    assert_eq!(store.commit(more("s", "a", "late")).await, Err(fenced));
    let late = store.offer(offer(2, 0)).await.unwrap_err();
    assert_eq!(late.to_string(), "the session was handed on: `there` holds it now, in epoch 1");
    assert_eq!(look(&store, "s").await.head, id("a"));

    store.commit(Commit { epoch: Epoch(1), ..more("s", "a", "b") }).await.unwrap();
    let found = look(&store, "s").await;
    assert_eq!((found.head, found.epoch, found.holder.as_str()), (id("b"), Epoch(1), "there"));
    let ahead = Commit { epoch: Epoch(2), ..more("s", "b", "c") };
    assert_eq!(store.commit(ahead).await, Err(StoreError::EpochNotGiven(Epoch(1))));
}

#[tokio::test]
async fn whoever_accepts_begins_where_it_was_offered_and_what_the_giver_said_since_is_a_branch() {
    let world = World::new();
    let store = offered(&world).await;
    store.commit(more("s", "a", "since")).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    assert_eq!(look(&store, "s").await.head, id("a"));
    assert_eq!(said(&store, "s", "since").await, ["said a", "said since"]);
}

#[tokio::test]
async fn a_handoff_is_accepted_once_and_who_was_not_answered_is_told_again_after_a_restart_too() {
    let world = World::new();
    let store = offered(&world).await;
    let first = store.accept(wish(1)).await.unwrap();
    drop(store);
    let store = world.open();
    let again = store.accept(wish(1)).await.unwrap();
    assert_eq!((again.lease, again.offer, again.again), (first.lease, first.offer, true));
    let claim = Claim { key: [2; 16], ..wish(1).claim };
    assert_eq!(store.accept(Accept { claim, ..wish(1) }).await, Err(used("there")));
    assert_eq!(look(&store, "s").await.epoch, Epoch(1));
}

#[tokio::test]
async fn a_copy_is_begun_once_with_its_handoff_and_the_session_stays_where_it_is() {
    let world = World::new();
    let store = offered(&world).await;
    let copy = |name: &str| Commit { begin: Some(begin("there")), ..beginning(name, &["a"]) };
    let first = store.branch(wish(1), copy("t")).await.unwrap();
    let again = store.branch(wish(1), copy("u")).await.unwrap();
    assert_eq!((&first.session, &again.session, again.again), (&session("t"), &session("t"), true));
    assert_eq!(said(&store, "t", "a").await, ["said a"]);
    assert_eq!(store.session(&session("u"), "there").await, Ok(None));
    assert_eq!(look(&store, "s").await.epoch, Epoch(0));
    assert_eq!(store.accept(wish(1)).await, Err(used("there")));
    // What cannot be begun uses nothing up.
    store.offer(offer(2, 0)).await.unwrap();
    let orphan = Commit { turns: vec![turn("nowhere", "b")], ..copy("v") };
    assert_eq!(store.branch(wish(2), orphan).await, Err(StoreError::UnknownTurn(id("nowhere")).into()));
    assert!(store.read_offered(wish(2)).await.is_ok());
}

#[tokio::test]
async fn each_reason_not_to_accept_has_its_name_and_changes_nothing() {
    let world = World::new();
    let store = offered(&world).await;
    assert_eq!(store.accept(wish(9)).await, Err(HandoffError::Unknown));
    store.revoke_tokens(vec![vec![7, 7]]).await.unwrap();
    let with_revoked = Accept { token_revocation_ids: vec![vec![1], vec![7, 7]], ..wish(1) };
    assert_eq!(store.accept(with_revoked.clone()).await, Err(HandoffError::TokenRevoked));
    assert_eq!(store.read_offered(with_revoked).await, Err(HandoffError::TokenRevoked));
    store.offer(offer(2, 0)).await.unwrap();
    let stranger = store.revoke(HandoffId([2; 16]), name("there")).await;
    assert_eq!(stranger, Err(Refused::NotTheGiver { from: name("here") }.into()));
    assert_eq!(store.revoke(HandoffId([2; 16]), name("here")).await.unwrap().state, OfferState::Revoked);
    assert_eq!(store.accept(wish(2)).await, Err(Refused::Revoked { from: name("here") }.into()));
    let for_one = NewHandoff { terms: Terms { to: Some(name("eve")), ..offer(4, 0).terms }, ..offer(4, 0) };
    store.offer(for_one).await.unwrap();
    assert_eq!(store.accept(wish(4)).await, Err(Refused::ForSomebodyElse { to: name("eve") }.into()));
    assert_eq!(look(&store, "s").await.epoch, Epoch(0));

    store.offer(offer(3, 0)).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    assert_eq!(store.accept(wish(3)).await, Err(Refused::Overtaken { holder: name("there") }.into()));
    assert_eq!(store.revoke(HandoffId([1; 16]), name("here")).await, Err(used("there")));
    world.pass_ms(4_000);
    assert_eq!(store.accept(wish(3)).await, Err(Refused::Expired { at_s: 5 }.into()));
    store.erase(&session("s")).await.unwrap();
    assert_eq!(store.accept(wish(3)).await, Err(StoreError::Erased.into()));
}

#[tokio::test]
async fn the_offers_of_a_session_are_told_with_what_became_of_them() {
    let world = World::new();
    let store = offered(&world).await;
    for n in [2, 3] {
        store.offer(offer(n, 0)).await.unwrap();
    }
    store.offer(offer(3, 0)).await.unwrap();
    store.revoke(HandoffId([2; 16]), name("here")).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    let offers = store.handoffs(&session("s")).await.unwrap();
    let states: Vec<_> = offers.iter().map(|kept| (kept.offer.handoff.0[0], &kept.offer.state)).collect();
    let accepted = OfferState::Accepted { claim: wish(1).claim, epoch: Epoch(1) };
    assert_eq!(states, [(3, &OfferState::Open), (2, &OfferState::Revoked), (1, &accepted)]);
    assert_eq!((offers[2].used_ms, offers[2].made_ms), (Some(1_000), 1_000));
    assert_eq!(offers[2].details, offer(1, 0).details);
}

#[tokio::test]
async fn whoever_holds_a_session_finds_it_by_its_id_its_name_and_in_its_list() {
    let world = World::new();
    let store = world.open();
    let named = commonwatt_store::NewSession { name: Some("plan".into()), ..begin("ada") };
    store.commit(Commit { begin: Some(named), ..beginning("s", &["a"]) }).await.unwrap();
    store.commit(Commit { begin: Some(begin("there")), ..beginning("t", &["a"]) }).await.unwrap();
    store.offer(offer(1, 0)).await.unwrap();
    store.accept(wish(1)).await.unwrap();
    for principal in ["ada", "there"] {
        let found = store.session_named(principal, "plan").await.unwrap().unwrap();
        assert_eq!((found.id, found.holder.as_str()), (session("s"), "there"));
        assert!(store.session(&session("s"), principal).await.unwrap().is_some());
    }
    let first = store.sessions(Some("there"), None, 1).await.unwrap();
    let rest = store.sessions(Some("there"), first.next, 1).await.unwrap();
    let listed: Vec<_> = first.sessions.iter().chain(&rest.sessions).map(|listed| &*listed.id.0).collect();
    assert_eq!((listed, rest.next), (vec!["t", "s"], None));
    assert_eq!(store.sessions(Some("ada"), None, 9).await.unwrap().sessions.len(), 1);
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
    let (mut head, mut giver) = (String::from("a"), name("here"));
    for round in 0..1_000_u64 {
        let handoff = HandoffId(u128::from(round).to_le_bytes());
        let terms = Terms { handoff, by: giver.clone(), head: id(&head), ..offer(0, round).terms };
        store.offer(NewHandoff { terms, ..offer(0, round) }).await.unwrap();
        let last = format!("{round}-stay");
        let (stay, one, two) = tokio::join!(
            tokio::spawn(write(store.clone(), head.clone(), last.clone(), round)),
            tokio::spawn(take(store.clone(), handoff, format!("{round}-one"))),
            tokio::spawn(take(store.clone(), handoff, format!("{round}-two"))),
        );
        let (stay, one, two) = (stay.unwrap(), one.unwrap(), two.unwrap());
        giver = match (one, two) {
            (Ok(winner), Err(lost)) | (Err(lost), Ok(winner)) => {
                assert_eq!(lost, used(&winner.0));
                winner
            }
            other => panic!("{other:?}"),
        };
        let found = look(&store, "s").await;
        assert_eq!((found.epoch, &*found.holder), (Epoch(round + 1), &*giver.0));
        // The previous holder wrote before it was fenced off, beside what is continued, or not at all.
        assert_eq!(found.head, id(&head));
        let tree = store.tree(&session("s")).await.unwrap();
        match stay {
            Ok(()) => assert_eq!(tree.last().unwrap().id, id(&last)),
            Err(StoreError::Fenced { .. }) => assert!(tree.iter().all(|node| node.id != id(&last))),
            Err(other) => panic!("{other}"),
        }
        let next = format!("{round}");
        write(store.clone(), head, next.clone(), round + 1).await.unwrap();
        head = next;
    }
    assert_eq!(said(&store, "s", &head).await.len(), 1_001);
}

async fn write(store: Store, parent: String, word: String, epoch: u64) -> Result<(), StoreError> {
    let commit =
        Commit { turns: vec![turn(&parent, &word)], head: Some(id(&word)), ..Commit::to(session("s"), Epoch(epoch)) };
    store.commit(commit).await
}

async fn take(store: Store, handoff: HandoffId, holder: String) -> Result<Holder, HandoffError> {
    let claim = Claim { by: Holder(holder.into()), key: [0; 16] };
    let accept = Accept { handoff, token_revocation_ids: Vec::new(), claim };
    store.accept(accept).await.map(|accepted| accepted.lease.tenure.holder)
}
