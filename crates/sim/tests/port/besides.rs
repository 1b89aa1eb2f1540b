//! What a provider answers besides answers: models, counts, vectors, and the window that the ledger knows of.

use commonwatt_sim::{Dialect, Window};
use serde_json::{Value, json};

use crate::client::{ask, question, send, sim};

async fn post(sim: &commonwatt_sim::Running, path: &str, body: &Value) -> (u16, Value) {
    let seen = send(sim, "POST", path, body.to_string().as_bytes(), &[]).await;
    (seen.status(), seen.json())
}

#[tokio::test]
async fn gemini_tells_models_and_counts_tokens() {
    let sim = sim(|settings| settings.models = vec!["a".to_owned()]).await;
    let models = send(&sim, "GET", "/v1beta/models", b"", &[]).await.json();
    assert_eq!(models["models"][0]["name"], "models/a");
    assert_eq!(models["models"][0]["supportedGenerationMethods"], json!(["generateContent", "countTokens"]));
    let contents = json!([{ "role": "user", "parts": [{ "text": "Which coat?" }] }]);
    let body = json!({ "contents": contents });
    let (_, answered) = post(&sim, "/v1beta/models/a:generateContent", &body).await;
    let expected = json!({
        "totalTokens": answered["usageMetadata"]["promptTokenCount"],
        "promptTokensDetails": answered["usageMetadata"]["promptTokensDetails"],
    });
    assert!(expected["totalTokens"].as_u64().unwrap() > 10);
    assert_eq!(post(&sim, "/v1beta/models/a:countTokens", &body).await, (200, expected.clone()));
    let nested = json!({ "generateContentRequest": { "model": "models/a", "contents": contents } });
    assert_eq!(post(&sim, "/v1beta/models/a:countTokens", &nested).await, (200, expected));
    let (status, unknown) = post(&sim, "/v1beta/models/b:generateContent", &body).await;
    assert_eq!((status, &unknown["error"]["status"]), (404, &json!("NOT_FOUND")));
}

#[tokio::test]
async fn ollama_tells_its_models_and_its_release() {
    let sim = sim(|settings| settings.models = vec!["llama3:8b".to_owned()]).await;
    let tags = send(&sim, "GET", "/api/tags", b"", &[]).await.json();
    let model = &tags["models"][0];
    assert_eq!(
        (&model["name"], &model["model"], &model["details"]["format"]),
        (&json!("llama3:8b"), &json!("llama3:8b"), &json!("gguf"))
    );
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    let (status, shown) = post(&sim, "/api/show", &json!({ "model": "llama3:8b" })).await;
    assert_eq!((status, &shown["capabilities"]), (200, &json!(["completion", "tools", "thinking"])));
    assert_eq!(shown["model_info"]["sim.context_length"], 131_072);
    let missing = post(&sim, "/api/show", &json!({ "model": "other" })).await;
    assert_eq!(missing, (404, json!({ "error": "model 'other' not found" })));
    let version = send(&sim, "GET", "/api/version", b"", &[]).await.json();
    assert_eq!(version, json!({ "version": "0.12.6" }));
    assert_eq!(send(&sim, "GET", "/api/tags", b"", &["x-sim-fault: status=503"]).await.status(), 503);
}

#[tokio::test]
async fn texts_become_vectors_and_documents_are_put_in_order() {
    let sim = sim(|_| {}).await;
    let (status, embedded) = post(&sim, "/v1/embeddings", &json!({ "model": "e", "input": "a well" })).await;
    let vector = &embedded["data"][0]["embedding"];
    assert_eq!((status, vector.as_array().unwrap().len()), (200, 64));
    let (status, own) = post(&sim, "/api/embed", &json!({ "model": "e", "input": ["a well"] })).await;
    assert_eq!((status, &own["embeddings"]), (200, &json!([vector])));
    let documents = json!(["a train", "a well"]);
    let (status, ranked) =
        post(&sim, "/v1/rerank", &json!({ "model": "e", "query": "well", "documents": documents })).await;
    let order: Vec<_> = ranked["results"].as_array().unwrap().iter().map(|result| result["index"].clone()).collect();
    assert_eq!((status, order), (200, vec![json!(1), json!(0)]));
    let (status, refused) = post(&sim, "/v1/embeddings", &json!({ "model": "e" })).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("input")));
    let (status, refused) = post(&sim, "/api/embed", &json!({ "input": "a" })).await;
    assert_eq!((status, refused), (400, json!({ "error": "Missing required parameter: 'model'." })));
    assert_eq!(sim.calls(), 0, "none of these is a call for an answer");
}

#[tokio::test]
async fn the_ledger_knows_which_window_a_call_was_given() {
    let sim = sim(|_| {}).await;
    let long = "x".repeat(40_000);
    for options in [json!({}), json!({ "num_ctx": 100_000 })] {
        let messages = json!([{ "role": "user", "content": long }, { "role": "user", "content": "And?" }]);
        let body = json!({ "model": "m", "stream": false, "messages": messages, "options": options });
        let (status, answered) = post(&sim, "/api/chat", &body).await;
        assert_eq!((status, &answered["done_reason"]), (200, &json!("stop")), "nothing tells the caller");
    }
    ask(&sim, Dialect::ChatCompletions, &question(false), &[]).await;
    let windows: Vec<_> = sim.requests().iter().map(|request| request.window).collect();
    let whole = Window { num_ctx: 100_000, dropped_tokens: 0 };
    assert_eq!(windows, [Some(Window { num_ctx: 4096, dropped_tokens: 10_000 }), Some(whole), None]);
    let shown = send(&sim, "GET", "/sim/requests", b"", &[]).await.json();
    assert_eq!(shown["requests"][0]["window"], json!({ "num_ctx": 4096, "dropped_tokens": 10_000 }));
}
