//! Clients that cannot send a key.

use serde_json::{Value, json};

use crate::world::{Daemon, Start, sim};

async fn status(daemon: &Daemon, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    let body: Value = json!({ "model": "auto", "stream": false, "messages": [{ "role": "user", "content": "Hello" }] });
    let mut request = daemon.http.post(format!("{}{path}", daemon.base)).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_caller_without_a_key_is_refused_unless_the_operator_lets_it_in() {
    let sim = sim().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    assert_eq!(status(&daemon, "/api/chat", &[]).await, 401);
    let daemon = Start::default().openai(&sim).config("keyless = 'first'\n").daemon().await;
    assert_eq!(status(&daemon, "/api/chat", &[]).await, 200);
    assert_eq!(daemon.http.get(format!("{}/api/tags", daemon.base)).send().await.unwrap().status(), 200);
    for wrong in [("authorization", "Bearer cw-wrong"), ("authorization", "Basic eDp5"), ("x-api-key", "cw-wrong")] {
        assert_eq!(status(&daemon, "/api/chat", &[wrong]).await, 401, "{wrong:?}");
    }
    assert_eq!(status(&daemon, "/api/chat", &[("origin", "https://page.example")]).await, 401);
    assert_eq!(status(&daemon, "/admin/v1/reload", &[]).await, 401, "whoever runs the house shows a key");
}

#[tokio::test]
async fn a_caller_without_a_key_has_the_tiers_of_the_key_that_was_named() {
    let sim = sim().await;
    let key = "[[keys]]\nname = 'guests'\nhash = 'blake3:0000000000000000000000000000000000000000000000000000000000000000'\n\
               tiers = ['free']\n";
    let daemon = Start::default().openai(&sim).config("keyless = 'guests'\n").config(key).daemon().await;
    assert_eq!(status(&daemon, "/api/chat", &[]).await, 403);
}
