//! A process that is killed while it commits: whatever it was told is written, is there.
//!
//! The killed process is this test binary, run again for one test (`a_life`) in a folder of its own.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bytes::Bytes;
use commonwatt_core::turn::{Epoch, Party, SessionId, TurnId};
use commonwatt_store::{Commit, JournalHead, Link, NewResponse, NewSession, NewTurn, NodeKey, Options, State, Store};
use tempfile::TempDir;

/// The file that says to `a_life` that it is the process to be killed. Without it, it does nothing.
const GO: &str = "go";
const SESSIONS: usize = 8;

#[tokio::test]
async fn what_was_acknowledged_survives_kill_nine() {
    lives(20).await;
}

#[tokio::test]
#[ignore = "slow: two hundred lives"]
async fn what_was_acknowledged_survives_kill_nine_two_hundred_times() {
    lives(200).await;
}

#[tokio::test]
#[ignore = "the process that the tests above start and kill"]
async fn a_life() {
    if !Path::new(GO).exists() {
        return;
    }
    let store = open(Path::new("store.db"));
    let life = store.sessions(None, None, 1_000).await.unwrap().sessions.iter().map(|s| s.turns).sum::<u64>();
    let sessions = (0..SESSIONS).map(|n| tokio::spawn(grow(store.clone(), n, life)));
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
}

/// Goes on with a session for ever, and prints what was acknowledged.
async fn grow(store: Store, n: usize, life: u64) {
    let session = SessionId(format!("session-{n}").into());
    let root = turn_id(&format!("root-{n}"));
    let begin = NewSession {
        principal: "ada".into(),
        name: None,
        salt: [0; 32],
        root,
        holder: "here".into(),
        title: None,
        expires_ms: None,
        data_class: None,
    };
    store.commit(Commit { begin: Some(begin), ..Commit::to(session.clone(), Epoch(0)) }).await.unwrap();
    let mut parent = store.session(&session, "ada").await.unwrap().unwrap().head;
    for step in 0.. {
        let word = format!("{n}-{life}-{step}");
        let call = format!("call-{word}");
        let head = JournalHead {
            call: call.clone(),
            session: session.clone(),
            epoch: Epoch(0),
            parent,
            party: Party::Model,
            by: None,
            model: None,
            made_ms: 0,
            meta: Bytes::new(),
        };
        store.journal_begin(head).await.unwrap();
        store.journal_append_soon(&call, 0, Bytes::from(word.clone())).unwrap();
        let id = turn_id(&word);
        store.commit(said(&session, parent, &word, Some(call))).await.unwrap();
        let mut out = std::io::stdout().lock();
        out.write_all(format!("acknowledged {word}\n").as_bytes()).unwrap();
        out.flush().unwrap();
        parent = id;
    }
}

fn said(session: &SessionId, parent: TurnId, word: &str, end_journal: Option<String>) -> Commit {
    let id = turn_id(word);
    let turn = NewTurn {
        id,
        parent,
        party: Party::User,
        made_ms: 0,
        by: None,
        model: None,
        state: State::Complete,
        body: Bytes::from(word.repeat(40)),
        meta: Bytes::new(),
    };
    Commit {
        turns: vec![turn],
        head: Some(id),
        links: vec![Link { hash: id.0, turn: id }],
        responses: vec![NewResponse { id: word.into(), turn: id, body: Bytes::from(word.to_owned()) }],
        end_journal,
        ..Commit::to(session.clone(), Epoch(0))
    }
}

async fn lives(count: u64) {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(GO), "").unwrap();
    let mut acknowledged = HashSet::new();
    for life in 0..count {
        // Some die while the file is being made, some in the middle of their work.
        let told = live_for(folder.path(), Duration::from_millis(life * 37 % 240));
        acknowledged.extend(told);
        look_after(folder.path(), &acknowledged).await;
    }
    assert!(acknowledged.len() as u64 > count, "{} commits in {count} lives prove little", acknowledged.len());
}

/// Starts a process, lets it live so long, kills it; what it was told is written.
fn live_for(folder: &Path, time: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_life", "--ignored", "--nocapture"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines() {
            let line = line.unwrap();
            // The kernel writes a short line to a pipe whole; the test harness may have written before it.
            if let Some((_, word)) = line.split_once("acknowledged ") {
                tell.send(word.to_owned()).unwrap();
            }
        }
    });
    let waited = std::sync::mpsc::channel::<()>();
    assert_eq!(waited.1.recv_timeout(time), Err(RecvTimeoutError::Timeout));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    told.into_iter().collect()
}

/// Every acknowledged turn is there with all of its commit, every head can be read, and the file is sound.
async fn look_after(folder: &Path, acknowledged: &HashSet<String>) {
    let path = folder.join("store.db");
    let store = open(&path);
    let mut found = HashSet::new();
    for session in store.sessions(None, None, 1_000).await.unwrap().sessions {
        let turns = store.path(&session.id, session.head, 1_000_000).await.unwrap();
        assert_eq!(turns.len() as u64, session.turns, "the head is the last of all turns");
        found.extend(turns.iter().map(|turn| turn.node.id));
    }
    for word in acknowledged {
        assert!(found.contains(&turn_id(word)), "{word} was acknowledged");
    }
    for journal in store.open_journals(1_000).await.unwrap() {
        let word = journal.head.call.strip_prefix("call-").unwrap().to_owned();
        assert!(!found.contains(&turn_id(&word)), "a journal ends with its commit");
        assert!(journal.parts.len() <= 1);
        assert_eq!(store.response("ada", &word).await.unwrap(), None, "nor is there any other part of its commit");
        store.journal_end(&journal.head.call).await.unwrap();
    }
    store.close().await;
    let db = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let incomplete = "SELECT (SELECT count(*) FROM turns) - (SELECT count(*) FROM responses)";
    let incomplete: i64 = db.query_row(incomplete, [], |row| row.get(0)).unwrap();
    assert_eq!(incomplete, 0, "a turn and its response come together");
}

fn open(path: &Path) -> Store {
    let clock_ms: commonwatt_store::Clock = Arc::new(|| 1);
    Store::open(Options { path: path.into(), node_key: NodeKey::new([1; 32]), clock_ms, bytes_max: 0 }).unwrap()
}

fn turn_id(word: &str) -> TurnId {
    TurnId(*blake3::hash(word.as_bytes()).as_bytes())
}
