//! How many durable commits a second, how long each takes, and how quick a long path is read.
//!
//! ```text
//! cargo run --release -p commonwatt-store --example commit_speed [FOLDER]
//! ```
//!
//! The folder's disk is what is measured.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a measurement for developers")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, Party, SessionId, TurnId};
use commonwatt_store::{Commit, Link, NewResponse, NewSession, NewTurn, NodeKey, Options, State, Store};

const WRITERS: u64 = 64;
const TIME: Duration = Duration::from_secs(4);
const BODY_BYTES: usize = 400;
const PATH: u64 = 10_000;

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let folder = tempfile::TempDir::new_in(folder).unwrap();
    for writers in [1, WRITERS] {
        let store = open(&folder.path().join(format!("{writers}.db")));
        commits(&store, writers).await;
        store.close().await;
    }
    path(&open(&folder.path().join("path.db"))).await;
}

/// Each writer goes on with its own session: one turn, its link and its response a commit.
async fn commits(store: &Store, writers: u64) {
    let started = Instant::now();
    let writing: Vec<_> = (0..writers).map(|writer| tokio::spawn(write(store.clone(), writer, started))).collect();
    let mut times = Vec::new();
    for writer in writing {
        times.extend(writer.await.unwrap());
    }
    let per_second = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 1_000].as_secs_f64() * 1e3;
    println!(
        "{writers:>2} writers: {per_second:>6.0} durable commits/s; p50 {:.2} ms, p99 {:.2} ms, worst {:.1} ms",
        at(500),
        at(990),
        at(1_000),
    );
}

async fn write(store: Store, writer: u64, started: Instant) -> Vec<Duration> {
    let session = SessionId(format!("session-{writer}").into());
    let mut parent = id(writer, 0);
    store.commit(Commit { begin: Some(begin(parent)), ..Commit::to(session.clone(), Epoch(0)) }).await.unwrap();
    let mut times = Vec::new();
    for n in 1.. {
        if started.elapsed() > TIME {
            break;
        }
        let id = id(writer, n);
        let commit = Commit {
            turns: vec![turn(id, parent)],
            head: Some(id),
            links: vec![Link { hash: id.0, turn: id }],
            responses: vec![NewResponse { id: id.to_string(), turn: id, body: Bytes::from_static(b"{}") }],
            ..Commit::to(session.clone(), Epoch(0))
        };
        let asked = Instant::now();
        store.commit(commit).await.unwrap();
        times.push(asked.elapsed());
        parent = id;
    }
    times
}

async fn path(store: &Store) {
    let session = SessionId("long".into());
    let begin = Some(begin(id(0, 0)));
    let turns = (1..=PATH).map(|n| turn(id(0, n), id(0, n - 1))).collect();
    let started = Instant::now();
    store.commit(Commit { begin, turns, ..Commit::to(session.clone(), Epoch(0)) }).await.unwrap();
    println!("{PATH} turns in one commit: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    for _ in 0..3 {
        let started = Instant::now();
        let read = store.path(&session, id(0, PATH), PATH as usize).await.unwrap().len();
        println!("path of {read} turns: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    }
    let started = Instant::now();
    store.tail(&session, id(0, PATH), 20).await.unwrap();
    println!("its last 20: {:.2} ms", started.elapsed().as_secs_f64() * 1e3);
}

fn begin(root: TurnId) -> NewSession {
    NewSession {
        principal: "bench".into(),
        name: None,
        salt: [0; 32],
        root,
        holder: "here".into(),
        title: None,
        expires_ms: None,
        data_class: None,
    }
}

fn turn(id: TurnId, parent: TurnId) -> NewTurn {
    NewTurn {
        id,
        parent,
        party: Party::Model,
        made_ms: 0,
        by: Some("here/model".into()),
        model: Some("model".into()),
        state: State::Complete,
        body: Bytes::from(vec![7; BODY_BYTES]),
        meta: Bytes::from_static(b"{}"),
    }
}

fn id(writer: u64, n: u64) -> TurnId {
    TurnId(*blake3::hash(format!("{writer} {n}").as_bytes()).as_bytes())
}

fn open(path: &Path) -> Store {
    let clock_ms: commonwatt_store::Clock = Arc::new(|| 1);
    Store::open(Options { path: path.into(), node_key: NodeKey::new([1; 32]), clock_ms, bytes_max: 0 }).unwrap()
}
