//! What suppliers do, and what the caller notices of it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::world::{Start, Tell, question, sim, sim_that};

/// Everything that can go wrong before content, in the simulator's words.
const BEFORE_CONTENT: [&str; 19] = [
    "status=401",
    "status=403",
    "status=404",
    "status=429",
    "status=429 retry_after_s=60",
    "status=500",
    "status=502",
    "status=503",
    "status=529",
    "refuse",
    "stall after=start",
    "stall after=headers",
    "garbage",
    "page",
    "empty",
    "error_in_200",
    "reset after=headers",
    "eof after=headers",
    "redirect=http://127.0.0.1:9/",
];

/// The same, where only a stream can do it.
const BEFORE_CONTENT_STREAMED: [&str; 5] = [
    "stall after=preamble",
    "reset after=preamble",
    "eof after=preamble",
    "error after=preamble",
    "done after=preamble",
];

#[tokio::test]
async fn whatever_the_frontier_does_before_content_the_caller_gets_a_complete_answer() {
    let both = BEFORE_CONTENT.iter().flat_map(|words| [(*words, false), (*words, true)]);
    for (words, stream) in both.chain(BEFORE_CONTENT_STREAMED.map(|words| (words, true))) {
        let frontier = sim_that(words).await;
        let daemon = Start::default().openai(&frontier).quick().daemon().await;
        let (chat, message) = (daemon.chat("auto", stream).await, daemon.message("auto", stream).await);
        assert!(chat.is_complete(), "{words} stream={stream}: {chat:?}");
        assert!(message.is_complete(), "{words} stream={stream}: {message:?}");
        assert_eq!(chat.header("x-commonwatt-tier"), "local", "{words}");
        assert_eq!(chat.header("x-commonwatt-attempts"), "2", "{words}: {chat:?}");
        assert!(chat.header("x-commonwatt-failed").starts_with("openai/"), "{words}");
    }
}

#[tokio::test]
async fn an_unstreamed_answer_that_is_cut_or_broken_is_replaced() {
    for words in
        ["reset after=20bytes", "eof after=20bytes", "close after=20bytes", "wrong_length=100", "garbage", "empty"]
    {
        let frontier = sim_that(words).await;
        let daemon = Start::default().anthropic(&frontier).quick().daemon().await;
        let told = daemon.message("auto", false).await;
        assert!(told.is_complete(), "{words}: {told:?}");
        assert_eq!(told.header("x-commonwatt-tier"), "local", "{words}");
    }
}

#[tokio::test]
async fn nobody_waits_for_one_supplier_while_another_is_free() {
    let frontier = sim_that("status=429 retry_after_s=62").await;
    let daemon = Start::default().openai(&frontier).daemon().await;
    assert!(daemon.chat("local", false).await.is_complete());
    let began = Instant::now();
    assert!(daemon.chat("auto", false).await.is_complete());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_failed_supplier_is_skipped_by_the_next_calls_until_it_is_probed() {
    let frontier = sim().await;
    frontier.script(commonwatt_sim::Script::from_words("status=503 retry_after_s=3").unwrap()).unwrap();
    let daemon = Start::default().openai(&frontier).daemon().await;
    // The pilot is loaded before the clock of the bench runs: on a busy machine that takes seconds.
    assert!(daemon.chat("local", false).await.is_complete());
    assert_eq!(daemon.chat("auto", false).await.header("x-commonwatt-attempts"), "2");
    assert_eq!(daemon.chat("auto", false).await.header("x-commonwatt-attempts"), "1");
    assert_eq!(frontier.calls(), 1);
    sleep(Duration::from_millis(3_100)).await;
    assert_eq!(daemon.chat("auto", false).await.header("x-commonwatt-tier"), "frontier");
    assert_eq!(daemon.chat("auto", false).await.header("x-commonwatt-tier"), "frontier");
}

#[tokio::test]
async fn when_nobody_else_is_left_the_caller_hears_when_to_come_back() {
    let frontier = sim_that("status=429 retry_after_s=30").await;
    let daemon = Start::default().openai(&frontier).config("[routing]\nsubstitute = false\n").daemon().await;
    for _ in 0..2 {
        let told = daemon.chat("gpt-some", false).await;
        assert_eq!(told.status, 429, "{told:?}");
        assert!(matches!(told.header("retry-after"), "29" | "30"), "{told:?}");
        assert_eq!(told.json()["error"]["type"], "rate_limit_error");
    }
    assert_eq!(frontier.calls(), 1);
}

#[tokio::test]
async fn a_request_that_the_supplier_calls_wrong_is_answered_in_its_words() {
    let frontier = sim_that("status=400").await;
    let daemon = Start::default().openai(&frontier).daemon().await;
    let told = daemon.chat("auto", false).await;
    assert_eq!(told.status, 400, "{told:?}");
    assert_eq!(told.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn a_stream_that_breaks_after_content_says_so_and_fakes_no_end() {
    for words in ["reset after=3", "eof after=3", "stall after=3", "malformed after=3", "error after=3", "done after=3"]
    {
        let frontier = sim_that(words).await;
        let daemon = Start::default().openai(&frontier).quick().daemon().await;
        let chat = daemon.chat("auto", true).await;
        assert_eq!(chat.status, 200);
        assert!(!chat.body.contains("[DONE]"), "{words}: {chat:?}");
        assert!(chat.events().last().is_some_and(|event| event.contains("\"error\"")), "{words}: {chat:?}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_settled_as_abandoned_and_ends_the_call_upstream() {
    let settings = commonwatt_sim::Settings { gap_ms: 100, ..commonwatt_sim::Settings::default() };
    let frontier = commonwatt_sim::Sim::start(settings).await.unwrap();
    let daemon = Start::default().openai(&frontier).daemon().await;
    let mut response = daemon.post("/v1/chat/completions", &question("auto", true)).await;
    let _ = response.chunk().await.unwrap();
    drop(response);
    let left = frontier
        .wait_for(|requests| requests.iter().any(|request| request.outcome == commonwatt_sim::Outcome::ClientLeft));
    timeout(Duration::from_secs(5), left).await.expect("the call upstream goes on");
    let counted = async {
        loop {
            let metrics = daemon.get("/metrics").await.text().await.unwrap();
            if metrics.lines().any(|line| line.contains("outcome=\"abandoned\"") && line.ends_with(" 1")) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(5), counted).await.expect("the call was not settled");
}

#[tokio::test]
async fn a_killed_engine_fails_over_and_the_daemon_lives() {
    let mut daemon = Start::default().daemon().await;
    assert!(daemon.chat("local", false).await.is_complete());
    let pids = daemon.engine_pids();
    assert_eq!(pids.len(), 1);
    let killed = std::process::Command::new("kill").args(["-9", &pids[0].to_string()]).status().unwrap();
    assert!(killed.success());
    let again = async {
        loop {
            let told = daemon.chat("local", false).await;
            if told.is_complete() {
                return;
            }
            assert!(matches!(told.status, 429 | 502 | 503), "{told:?}");
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(30), again).await.expect("the engine was not restarted");
    assert!(daemon.is_running());
}

#[tokio::test]
async fn a_provider_address_that_points_back_here_is_noticed() {
    let listen = crate::world::nobody();
    let start = Start::default()
        .variable("OPENAI_API_KEY", crate::world::KEY)
        .variable("OPENAI_BASE_URL", format!("http://{listen}/v1"))
        .variable("COMMONWATT_LISTEN", listen.to_string());
    let daemon = start.daemon().await;
    let told = daemon.chat("auto", false).await;
    assert!(told.is_complete(), "{told:?}");
    assert_eq!(told.header("x-commonwatt-tier"), "local");
}

#[tokio::test]
async fn tool_calls_and_their_results_cross_the_dialects() {
    let frontier = sim_that("pass").await;
    let daemon = Start::default().openai(&frontier).daemon().await;
    let tool = json!({ "name": "get_weather", "input_schema": { "type": "object", "properties": { "city": { "type": "string" } } } });
    let messages = json!([
        { "role": "user", "content": "weather?" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": { "city": "Bern" } }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "rain" }] },
    ]);
    let body = json!({ "model": "auto", "max_tokens": 64, "tools": [tool], "messages": messages });
    let told = daemon.post("/v1/messages", &body).await.told(false).await;
    assert_eq!(told.status, 200, "{told:?}");
    let sent: serde_json::Value = serde_json::from_slice(&frontier.requests().last().unwrap().body).unwrap();
    assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["name"], "get_weather");
    assert_eq!(sent["messages"][2]["role"], "tool");
    assert_eq!(sent["messages"][2]["content"], "rain");
}
