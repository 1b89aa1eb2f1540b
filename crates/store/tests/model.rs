//! Any order of commits, branches, handoffs, erasures and re-openings, against a model of a few lines.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests, helpers included")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::lease::{Claim, HandoffId, Holder, Terms};
use commonwatt_core::turn::{Epoch, Party, SessionId, TurnId};
use commonwatt_store::{
    Accept, Commit, HandoffError, Link, NewHandoff, NewSession, NewTurn, NodeKey, Options, State, Store, StoreError,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// What may happen. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Begins a session, again if it exists.
    Begin {
        session: u8,
    },
    /// Says so many turns after one of the turns there are, as the holder of the epoch so far back.
    Say {
        session: u8,
        after: u8,
        turns: u8,
        behind: u8,
    },
    /// Says a turn that was said already.
    Repeat {
        session: u8,
        turn: u8,
    },
    /// Says a turn after one that does not exist.
    Orphan {
        session: u8,
    },
    /// Offers the session at its root and accepts it.
    HandOver {
        session: u8,
    },
    Erase {
        session: u8,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..4_u8;
    prop_oneof![
        3 => session.clone().prop_map(|session| Step::Begin { session }),
        8 => (session.clone(), any::<u8>(), 1..4_u8, prop_oneof![4 => Just(0), 1 => 1..3_u8])
            .prop_map(|(session, after, turns, behind)| Step::Say { session, after, turns, behind }),
        1 => (session.clone(), any::<u8>()).prop_map(|(session, turn)| Step::Repeat { session, turn }),
        1 => session.clone().prop_map(|session| Step::Orphan { session }),
        1 => session.clone().prop_map(|session| Step::HandOver { session }),
        1 => session.prop_map(|session| Step::Erase { session }),
        1 => Just(Step::Reopen),
    ]
}

/// A session as it ought to be.
#[derive(Default)]
struct Model {
    /// Each with its parent; the root is no turn.
    turns: Vec<(TurnId, TurnId)>,
    head: Option<TurnId>,
    epoch: u64,
    erased: bool,
}

struct World {
    folder: TempDir,
    store: Option<Store>,
    sessions: BTreeMap<u8, Model>,
    said: u32,
}

fn id(kind: u8, n: u32) -> TurnId {
    let mut id = [kind; 32];
    id[..4].copy_from_slice(&n.to_le_bytes());
    TurnId(id)
}

fn root(session: u8) -> TurnId {
    id(255, session.into())
}

fn name(session: u8) -> SessionId {
    SessionId(format!("session {session}").into())
}

fn turn(id: TurnId, parent: TurnId) -> NewTurn {
    NewTurn {
        id,
        parent,
        party: Party::User,
        made_ms: 0,
        by: None,
        model: None,
        state: State::Complete,
        body: Bytes::copy_from_slice(&id.0),
        meta: Bytes::new(),
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self { folder: TempDir::new().unwrap(), store: None, sessions: BTreeMap::new(), said: 0 };
        world.reopen();
        world
    }

    fn reopen(&mut self) {
        self.store = None;
        let path = self.folder.path().join("store.db");
        let clock_ms: commonwatt_store::Clock = Arc::new(|| 1);
        let options = Options { path, node_key: NodeKey::new([1; 32]), clock_ms, bytes_max: 0 };
        self.store = Some(Store::open(options).unwrap());
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn new_turn(&mut self) -> TurnId {
        self.said += 1;
        id(1, self.said)
    }

    async fn take(&mut self, step: Step) {
        let store = self.store();
        match step {
            Step::Begin { session } => self.begin(&store, session).await,
            Step::Say { session, after, turns, behind } => self.say(&store, session, (after, turns), behind).await,
            Step::Repeat { session, turn: n } => {
                let Some(model) = self.sessions.get(&session).filter(|model| !model.turns.is_empty()) else { return };
                let (id, parent) = model.turns[usize::from(n) % model.turns.len()];
                let again = Commit { turns: vec![turn(id, parent)], ..Commit::to(name(session), Epoch(model.epoch)) };
                let expected = if model.erased { Err(StoreError::Erased) } else { Ok(()) };
                assert_eq!(store.commit(again).await, expected);
            }
            Step::Orphan { session } => {
                let Some(epoch) = self.sessions.get(&session).map(|model| model.epoch) else { return };
                let (good, orphan) = (self.new_turn(), self.new_turn());
                let turns = vec![turn(good, root(session)), turn(orphan, id(9, 9))];
                let refused = store.commit(Commit { turns, ..Commit::to(name(session), Epoch(epoch)) }).await;
                let erased = self.sessions[&session].erased;
                let expected = if erased { StoreError::Erased } else { StoreError::UnknownTurn(id(9, 9)) };
                assert_eq!(refused, Err(expected));
            }
            Step::HandOver { session } => self.hand_over(&store, session).await,
            Step::Erase { session } => {
                let erased = store.erase(&name(session)).await;
                match self.sessions.get_mut(&session) {
                    Some(model) => {
                        assert_eq!(erased, Ok(()));
                        model.erased = true;
                    }
                    None => assert_eq!(erased, Err(StoreError::UnknownSession)),
                }
            }
            Step::Reopen => {
                drop(store);
                self.reopen();
            }
        }
    }

    async fn begin(&mut self, store: &Store, session: u8) {
        let begin = NewSession {
            principal: "ada".into(),
            name: Some(session.to_string()),
            salt: [session; 32],
            root: root(session),
            holder: "0".into(),
            title: None,
            expires_ms: None,
            data_class: None,
        };
        let model = self.sessions.entry(session).or_default();
        let begun = store.commit(Commit { begin: Some(begin), ..Commit::to(name(session), Epoch(model.epoch)) }).await;
        assert_eq!(begun, if model.erased { Err(StoreError::Erased) } else { Ok(()) });
    }

    async fn say(&mut self, store: &Store, session: u8, (after, count): (u8, u8), behind: u8) {
        let ids: Vec<_> = (0..count).map(|_| self.new_turn()).collect();
        let unknown = Model::default();
        let model = self.sessions.get(&session).unwrap_or(&unknown);
        let epoch = model.epoch.saturating_sub(behind.into());
        let places = model.turns.len() + 1;
        let mut parent = model.turns.get(usize::from(after) % places).map_or(root(session), |(id, _)| *id);
        let mut edges = Vec::new();
        for id in ids {
            edges.push((id, parent));
            parent = id;
        }
        let commit = Commit {
            turns: edges.iter().map(|(id, parent)| turn(*id, *parent)).collect(),
            head: Some(parent),
            links: vec![Link { hash: parent.0, turn: parent }],
            ..Commit::to(name(session), Epoch(epoch))
        };
        let committed = store.commit(commit).await;
        let Some(model) = self.sessions.get_mut(&session) else {
            assert_eq!(committed, Err(StoreError::UnknownSession));
            return;
        };
        if model.erased {
            assert_eq!(committed, Err(StoreError::Erased));
        } else if epoch < model.epoch {
            let holder = model.epoch.to_string();
            assert_eq!(committed, Err(StoreError::Fenced { holder, epoch: Epoch(model.epoch) }));
        } else {
            assert_eq!(committed, Ok(()));
            model.turns.extend(edges);
            model.head = Some(parent);
        }
    }

    async fn hand_over(&mut self, store: &Store, session: u8) {
        self.said += 1;
        let handoff = u128::from(self.said).to_le_bytes();
        let Some(model) = self.sessions.get_mut(&session) else { return };
        let holder = |epoch: u64| Holder(epoch.to_string().into());
        let (handoff, head) = (HandoffId(handoff), root(session));
        let (by, epoch) = (holder(model.epoch), Epoch(model.epoch));
        let terms = Terms { handoff, by, epoch, head, to: None, expires_s: 10 };
        let offered = store.offer(NewHandoff { session: name(session), terms, details: Bytes::new() }).await;
        let claim = Claim { by: holder(model.epoch + 1), key: [0; 16] };
        let accept = Accept { handoff, token_revocation_ids: Vec::new(), claim };
        let accepted = store.accept(accept).await.map(|accepted| accepted.lease.tenure.epoch);
        if model.erased {
            assert_eq!((offered, accepted), (Err(StoreError::Erased.into()), Err(HandoffError::Unknown)));
        } else {
            model.epoch += 1;
            model.head = None;
            assert!(offered.is_ok(), "{offered:?}");
            assert_eq!(accepted, Ok(Epoch(model.epoch)));
        }
    }

    /// The store is what the model is.
    async fn compare(&self) {
        let store = self.store();
        let listed = store.sessions(Some("ada"), None, 100).await.unwrap().sessions;
        assert_eq!(listed.len(), self.sessions.len());
        for (session, model) in &self.sessions {
            let found = store.session(&name(*session), "ada").await.unwrap().unwrap();
            let head = model.head.unwrap_or(root(*session));
            assert_eq!((found.head, found.epoch.0, found.erased_ms.is_some()), (head, model.epoch, model.erased));
            assert_eq!(found.turns, model.turns.len() as u64);
            assert_eq!(found.name.is_some(), !model.erased);
            let tree = store.tree(&name(*session)).await.unwrap();
            assert_eq!(tree.iter().map(|node| (node.id, node.parent)).collect::<Vec<_>>(), model.turns);
            let link = store.linked(head.0).await.unwrap();
            let path = store.path(&name(*session), head, 1_000).await;
            if model.erased {
                assert_eq!((path, link), (Err(StoreError::Erased), None));
                continue;
            }
            assert_eq!(link, model.head.map(|head| (name(*session), head)));
            let mut expected = Vec::new();
            let mut at = head;
            while let Some((id, parent)) = model.turns.iter().find(|(id, _)| *id == at) {
                expected.push(Bytes::copy_from_slice(&id.0));
                at = *parent;
            }
            expected.reverse();
            assert_eq!(path.unwrap().into_iter().map(|turn| turn.body).collect::<Vec<_>>(), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_changes_leaves_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await;
            }
            world.compare().await;
            world.reopen();
            world.compare().await;
        });
    }
}
