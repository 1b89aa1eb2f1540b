//! A folder, a clock, a store, and short words for turns.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, Party, SessionId, TurnId};
use commonwatt_store::{Clock, Commit, NewSession, NewTurn, NodeKey, Options, State, Store, StoreError};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    now_ms: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), now_ms: Arc::new(AtomicU64::new(1_000)) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    pub(crate) fn options(&self) -> Options {
        let now_ms = Arc::clone(&self.now_ms);
        let clock_ms: Clock = Arc::new(move || now_ms.load(Ordering::Relaxed));
        Options { path: self.path(), node_key: NodeKey::new([1; 32]), clock_ms, bytes_max: 0 }
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open(self.options()).unwrap()
    }

    pub(crate) fn try_open(&self, options: Options) -> Result<Store, StoreError> {
        Store::open(options)
    }

    pub(crate) fn pass_ms(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Whether the bytes stand anywhere in the files of the folder.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        std::fs::read_dir(self.folder.path()).unwrap().any(|file| contains(&file.unwrap().path(), bytes))
    }
}

fn contains(file: &Path, bytes: &[u8]) -> bool {
    std::fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes)
}

pub(crate) fn session(name: &str) -> SessionId {
    SessionId(name.into())
}

/// A turn's id out of a word; `root` is the root of every session here.
pub(crate) fn id(word: &str) -> TurnId {
    let mut id = [0; 32];
    id[..word.len()].copy_from_slice(word.as_bytes());
    TurnId(id)
}

pub(crate) fn begin(principal: &str) -> NewSession {
    NewSession {
        principal: principal.into(),
        name: None,
        salt: [5; 32],
        root: id("root"),
        holder: "here".into(),
        title: Some("a title".into()),
        expires_ms: None,
        data_class: None,
    }
}

pub(crate) fn turn(parent: &str, word: &str) -> NewTurn {
    NewTurn {
        id: id(word),
        parent: id(parent),
        party: Party::User,
        made_ms: 900,
        by: None,
        model: None,
        state: State::Complete,
        body: Bytes::from(format!("said {word}")),
        meta: Bytes::from_static(b"{}"),
    }
}

/// A session of `ada`'s with a path of these turns, the last its head.
pub(crate) fn beginning(name: &str, words: &[&str]) -> Commit {
    let mut commit = Commit { begin: Some(begin("ada")), ..Commit::to(session(name), Epoch(0)) };
    let mut parent = "root";
    for word in words {
        commit.turns.push(turn(parent, word));
        parent = word;
    }
    commit.head = Some(id(parent));
    commit
}

/// One more turn, and the head on it.
pub(crate) fn more(name: &str, parent: &str, word: &str) -> Commit {
    Commit { turns: vec![turn(parent, word)], head: Some(id(word)), ..Commit::to(session(name), Epoch(0)) }
}

/// The bodies of a path, for comparison.
pub(crate) async fn said(store: &Store, name: &str, word: &str) -> Vec<String> {
    let path = store.path(&session(name), id(word), 10_000).await.unwrap();
    path.into_iter().map(|turn| String::from_utf8(turn.body.to_vec()).unwrap()).collect()
}

/// The session as `ada` sees it.
pub(crate) async fn look(store: &Store, name: &str) -> commonwatt_store::Session {
    store.session(&session(name), "ada").await.unwrap().unwrap()
}
