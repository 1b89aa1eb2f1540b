//! Every failure a newcomer can make gives one clear sentence that says what to do.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::{KEY, Start, Tell, Told, command, question};

fn message(told: &Told) -> String {
    told.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_wrong_key_is_told_in_the_callers_dialect_and_not_repeated() {
    let daemon = Start::default().daemon().await;
    let openai = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth("sk-wrong");
    let told = openai.json(&question("auto", false)).send().await.unwrap().told(false).await;
    assert_eq!(told.status, 401);
    assert_eq!(told.json()["error"]["code"], "invalid_api_key");
    assert!(!told.body.contains("sk-wrong"));

    let anthropic = daemon.http.post(format!("{}/v1/messages", daemon.base)).header("x-api-key", "sk-wrong");
    let told = anthropic.json(&question("auto", false)).send().await.unwrap().told(false).await;
    assert_eq!(told.status, 401);
    assert_eq!(told.json()["type"], "error");
    assert_eq!(told.json()["error"]["type"], "authentication_error");
}

#[tokio::test]
async fn json_that_is_none_is_pointed_at() {
    let daemon = Start::default().daemon().await;
    for body in ["", "{", "[]", "{\"model\":\"auto\",\"messages\":[}", "\u{0}", "{\"model\":1,\"messages\":[]}"] {
        let request = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth(KEY);
        let told = request.body(body).send().await.unwrap().told(false).await;
        assert_eq!(told.status, 400, "{body}: {told:?}");
        assert!(!message(&told).is_empty(), "{body}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let daemon = Start::default().config("[limits]\nbody_mib = 1\n").daemon().await;
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "x".repeat(2 << 20) }] });
    let told = daemon.post("/v1/messages", &body).await.told(false).await;
    assert_eq!(told.status, 413, "{told:?}");
    assert!(message(&told).contains("limits.body_mib"), "{told:?}");
}

#[tokio::test]
async fn a_wrong_method_and_a_wrong_path_say_what_is_right() {
    let daemon = Start::default().daemon().await;
    let told = daemon.get("/v1/chat/completions").await.told(false).await;
    assert_eq!((told.status, message(&told).contains("use POST")), (405, true), "{told:?}");
    let told = daemon.get("/v1/nothing").await.told(false).await;
    assert_eq!((told.status, message(&told).contains("/v1/messages")), (404, true), "{told:?}");
}

#[tokio::test]
async fn an_unknown_model_comes_with_suggestions() {
    let daemon = Start::default().daemon().await;
    let told = daemon.chat("pilto", false).await;
    assert_eq!(told.status, 404, "{told:?}");
    assert!(message(&told).contains("`pilot`"), "{told:?}");
}

#[tokio::test]
async fn a_prompt_longer_than_the_window_is_refused_with_numbers() {
    let daemon = Start::default().daemon().await;
    let body = json!({ "model": "local", "messages": [{ "role": "user", "content": "word ".repeat(6_000) }] });
    let told = daemon.post("/v1/chat/completions", &body).await.told(false).await;
    assert_eq!(told.status, 400, "{told:?}");
    assert_eq!(told.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let output = command(home.path().into(), &listen, &[]).arg("serve").stdout(Stdio::piped()).output().await.unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&listen) && told.contains("COMMONWATT_LISTEN"), "{told}");
}

#[tokio::test]
async fn a_broken_configuration_stops_the_start_and_points_at_the_line() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("commonwatt.toml"), "listen = \"127.0.0.1:0\"\n[limts]\nbody_mib = 1\n").unwrap();
    let output = command(home.path().into(), "127.0.0.1:0", &[]).arg("serve").output().await.unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("limts") && told.contains("limits") && told.contains('2'), "{told}");
}

#[tokio::test]
async fn models_are_listed_in_both_dialects() {
    let daemon = Start::default().daemon().await;
    let openai = daemon.get("/v1/models").await.told(false).await.json();
    let ids = |list: &Value| -> Vec<String> {
        list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(ids(&openai).contains(&"auto".to_owned()) && ids(&openai).contains(&"engine/pilot".to_owned()));
    let anthropic = daemon.http.get(format!("{}/v1/models", daemon.base)).header("x-api-key", KEY);
    let anthropic = anthropic.header("anthropic-version", "2023-06-01").send().await.unwrap().told(false).await.json();
    assert_eq!(anthropic["data"][0]["type"], "model");
}

#[tokio::test]
async fn health_needs_no_key_and_tells_no_secret() {
    let daemon = Start::default().daemon().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let told = daemon.http.get(format!("{}{path}", daemon.base)).send().await.unwrap().told(false).await;
        assert_eq!(told.status, 200, "{path}");
        assert!(!told.body.contains(KEY));
    }
}
