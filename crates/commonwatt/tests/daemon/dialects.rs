//! Every door, with nothing but the pilot behind it.

use serde_json::{Value, json};

use crate::world::{Daemon, Start, Tell};

const ASKED: &str = "What is Commonwatt?";

/// What a whole answer says, wherever its dialect puts it.
fn said(body: &Value) -> String {
    let places = [
        &body["choices"][0]["text"],
        &body["candidates"][0]["content"]["parts"][0]["text"],
        &body["output"][0]["content"][0]["text"],
        &body["message"]["content"],
        &body["response"],
    ];
    places.iter().find_map(|place| place.as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_dialect_is_answered_by_the_pilot() {
    let daemon = Start::default().daemon().await;
    let asked = [
        ("/v1/responses", json!({ "model": "auto", "input": ASKED, "max_output_tokens": 24 })),
        ("/v1/completions", json!({ "model": "auto", "prompt": ASKED, "max_tokens": 24 })),
        ("/v1beta/models/auto:generateContent", json!({ "contents": [{ "parts": [{ "text": ASKED }] }] })),
        ("/api/chat", json!({ "model": "auto", "stream": false, "messages": [{ "role": "user", "content": ASKED }] })),
        ("/api/generate", json!({ "model": "auto", "stream": false, "prompt": ASKED })),
    ];
    for (path, body) in asked {
        let told = daemon.post(path, &body).await.told(false).await;
        assert_eq!((told.status, told.header("x-commonwatt-deployment")), (200, "engine/pilot"), "{path}: {told:?}");
        assert!(said(&told.json()).len() > 10, "{path}: {told:?}");
    }
}

#[tokio::test]
async fn every_dialect_is_streamed_in_its_own_framing() {
    let daemon = Start::default().daemon().await;
    let asked = [
        (
            "/v1/responses",
            json!({ "model": "auto", "stream": true, "input": ASKED }),
            "text/event-stream",
            "response.completed",
        ),
        ("/v1/completions", json!({ "model": "auto", "stream": true, "prompt": ASKED }), "text/event-stream", "[DONE]"),
        (
            "/v1beta/models/auto:streamGenerateContent?alt=sse",
            json!({ "contents": [{ "parts": [{ "text": ASKED }] }] }),
            "text/event-stream",
            "\"finishReason\"",
        ),
        (
            "/api/chat",
            json!({ "model": "auto", "messages": [{ "role": "user", "content": ASKED }] }),
            "application/x-ndjson",
            "\"done\":true",
        ),
        ("/api/generate", json!({ "model": "auto", "prompt": ASKED }), "application/x-ndjson", "\"done\":true"),
    ];
    for (path, body, kind, end) in asked {
        let told = daemon.post(path, &body).await.told(true).await;
        assert_eq!(told.status, 200, "{path}: {told:?}");
        assert!(told.header("content-type").starts_with(kind), "{path}: {told:?}");
        assert!(told.body.lines().filter(|line| !line.is_empty()).count() > 3, "{path}: {told:?}");
        let last = told.body.lines().rfind(|line| line.starts_with("data: ") || line.starts_with('{')).unwrap();
        assert!(last.contains(end), "{path}: {last}");
    }
}

#[tokio::test]
async fn texts_become_vectors_in_both_dialects_and_alike() {
    let daemon = Start::default().daemon().await;
    let openai = daemon.post("/v1/embeddings", &json!({ "model": "auto", "input": ["grid", "bus"] })).await;
    let openai = openai.told(false).await.json();
    let ollama = daemon.post("/api/embed", &json!({ "model": "auto", "input": ["grid", "bus"] })).await;
    let ollama = ollama.told(false).await.json();
    for at in 0..2 {
        let vector = openai["data"][at]["embedding"].as_array().unwrap();
        assert!(vector.len() > 100 && vector.iter().any(|number| number.as_f64() != Some(0.0)));
        assert_eq!(Some(vector), ollama["embeddings"][at].as_array());
    }
    assert!(openai["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    let told = daemon.post("/v1/rerank", &json!({ "model": "auto", "query": "a", "documents": ["b"] })).await;
    assert_eq!(told.told(false).await.status, 400, "nobody here reranks");
}

#[tokio::test]
async fn models_are_listed_for_every_client() {
    let daemon = Start::default().daemon().await;
    let listed = async |daemon: &Daemon, path: &str| daemon.get(path).await.told(false).await.json();
    assert_eq!(listed(&daemon, "/v1beta/models").await["models"][0]["name"], "models/auto");
    assert_eq!(listed(&daemon, "/api/tags").await["models"][0]["name"], "auto");
    assert_eq!(listed(&daemon, "/v1beta/models/engine%2Fpilot").await["name"], "models/engine/pilot");
    assert!(listed(&daemon, "/api/version").await["version"].is_string());
    let shown = daemon.post("/api/show", &json!({ "model": "engine/pilot:latest" })).await.told(false).await;
    assert!(shown.json()["capabilities"].as_array().unwrap().contains(&json!("completion")), "{shown:?}");
}

#[tokio::test]
async fn mistakes_are_told_in_the_words_of_the_door() {
    let daemon = Start::default().daemon().await;
    let gemini = daemon.post("/v1beta/models/nobody:generateContent", &json!({ "contents": [] })).await;
    let gemini = gemini.told(false).await;
    assert_eq!((gemini.status, &gemini.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    let ollama = daemon.post("/api/chat", &json!({ "model": "auto" })).await.told(false).await;
    assert_eq!(ollama.status, 400);
    assert!(ollama.json()["error"].as_str().unwrap().contains("`messages` is missing"), "{ollama:?}");
    let responses = daemon.post("/v1/responses", &json!({ "model": "auto", "input": {} })).await.told(false).await;
    assert!(responses.json()["error"]["message"].as_str().unwrap().contains("`input`"), "{responses:?}");
    let method = daemon.get("/api/chat").await.told(false).await;
    assert_eq!((method.status, method.header("allow")), (405, "POST"));
}
