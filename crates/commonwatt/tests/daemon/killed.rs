//! A daemon that is killed under load: what a caller saw complete is on the bus, and what was half said is kept as such.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commonwatt_core::turn::SessionId;
use commonwatt_store::{NodeKey, Options, State, Store};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{KEY, Start, Tell, Told, sim_that};

/// Callers at once.
const CALLERS: u64 = 8;

/// An answer that a caller saw complete: the session it belongs to, and what it said.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

#[tokio::test]
async fn what_a_caller_saw_complete_is_there_after_a_kill() {
    lives(8).await;
}

#[tokio::test]
#[ignore = "slow"]
async fn what_a_caller_saw_complete_is_there_after_two_hundred_kills() {
    lives(200).await;
}

/// Daemons in the same home, one after the other, each killed at a moment of its own.
async fn lives(lives: u64) {
    let supplier = sim_that("pass\npass\ndrip bytes=200 gap_ms=20").await;
    let (seen, questions) = (Seen::default(), Arc::new(AtomicU64::new(0)));
    let mut home = tempfile::tempdir().unwrap();
    for life in 0..lives {
        let daemon = Start::default().openai(&supplier).at(home).await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(talk(daemon.base.clone(), Arc::clone(&seen), Arc::clone(&questions))))
            .collect();
        // Any moment of the first second: a prime step goes through them all.
        sleep(Duration::from_millis(30 + life * 379 % 970)).await;
        home = daemon.ended_by("KILL").await;
        callers.iter().for_each(tokio::task::JoinHandle::abort);
    }
    let daemon = Start::default().openai(&supplier).at(home).await;
    sleep(Duration::from_millis(300)).await;
    let home = daemon.ended_by("KILL").await;
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() as u64 > lives, "the callers had too little time: {} answers", seen.len());
    all_is_kept(home.path(), &seen).await;
    drop(supplier);
}

/// A conversation of three turns, then another.
async fn talk(base: String, seen: Seen, questions: Arc<AtomicU64>) {
    let http = reqwest::Client::new();
    loop {
        let mut messages = Vec::new();
        for _ in 0..3 {
            let question = format!("question {}", questions.fetch_add(1, Ordering::Relaxed));
            messages.push(json!({ "role": "user", "content": question }));
            let body = json!({ "model": "auto", "stream": true, "messages": messages });
            let sent = http.post(format!("{base}/v1/chat/completions")).bearer_auth(KEY).json(&body).send().await;
            let Ok(response) = sent else { return };
            let told = response.told(true).await;
            if !told.is_complete() {
                return;
            }
            let answer = text(&told);
            seen.lock().unwrap().push((told.header("x-commonwatt-session").to_owned(), answer.clone()));
            messages.push(json!({ "role": "assistant", "content": answer }));
        }
    }
}

fn text(told: &Told) -> String {
    let events = told.events().into_iter().filter(|event| *event != "[DONE]");
    let parsed = events.map(|event| serde_json::from_str::<Value>(event).unwrap());
    parsed.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

/// Looks into the store as it was left behind.
async fn all_is_kept(home: &Path, seen: &[(String, String)]) {
    let store = Store::open(Options {
        path: home.join("bus.db"),
        node_key: NodeKey::from_file(&home.join("node.key")).unwrap(),
        clock_ms: Arc::new(|| 0),
        bytes_max: 0,
    });
    let store = store.unwrap();
    for (session, answer) in seen {
        let found = store.session(&SessionId(session.as_str().into()), "first").await.unwrap();
        let found = found.unwrap_or_else(|| panic!("session {session} is lost"));
        let turns = store.path(&found.id, found.head, 1_000).await.unwrap();
        let wanted = serde_json::to_string(answer).unwrap();
        let is_there = |body: &[u8]| String::from_utf8_lossy(body).contains(wanted.trim_matches('"'));
        assert!(turns.iter().any(|turn| is_there(&turn.body)), "an answer of session {session} is lost");
    }
    let (mut from, mut unfinished) = (None, 0);
    loop {
        let page = store.sessions(None, from, 1_000).await.unwrap();
        for session in &page.sessions {
            let turns = store.path(&session.id, session.head, 1_000).await.unwrap();
            unfinished += turns.iter().filter(|turn| turn.node.state == State::Unfinished).count();
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert!(unfinished > 0, "no answer was cut while it was said");
    assert!(store.open_journals(10).await.unwrap().is_empty(), "a journal stayed open");
}
