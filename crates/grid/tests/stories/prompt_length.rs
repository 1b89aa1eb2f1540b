//! How long a prompt is, asked of a supplier that counts inside whole requests.

use bytes::Bytes;
use commonwatt_grid::request::Arrival;
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::Dialect;
use serde_json::{Value, json};

use crate::world::{Ask, Scene, Supplier};

fn asks(scene: &Scene, dialect: Dialect, body: &Value) -> Arrival {
    let arrival = Ask::new(dialect, false).arrival(&scene.grid);
    Arrival { body: KeptBody::Memory(Bytes::from(body.to_string())), ..arrival }
}

/// What the supplier was asked last.
fn heard(scene: &Scene) -> (String, Value) {
    let last = scene.sim("alpha").requests().pop().unwrap();
    (last.path, serde_json::from_slice(&last.body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn another_dialects_system_prompt_and_tools_are_counted_by_gemini() {
    let scene = Scene::new([Supplier::frontier("alpha").speaking(Dialect::Gemini)]);
    let body = json!({
        "model": "auto", "system": "Be short.", "messages": [{ "role": "user", "content": "Who is there?" }],
        "tools": [{ "name": "look", "description": "Looks.", "input_schema": { "type": "object" } }],
    });
    let counted = scene.grid.count_tokens(asks(&scene, Dialect::AnthropicMessages, &body)).await.unwrap();
    assert!(!counted.estimated && counted.tokens > 0);
    let (path, heard) = heard(&scene);
    let inside = &heard["generateContentRequest"];
    assert_eq!((path.as_str(), &inside["model"]), ("/v1beta/models/alpha-1:countTokens", &json!("models/alpha-1")));
    assert_eq!(inside["systemInstruction"]["parts"][0]["text"], "Be short.");
    assert_eq!(inside["tools"][0]["functionDeclarations"][0]["name"], "look");
    assert_eq!(heard.as_object().unwrap().len(), 1, "nothing may stand beside a whole request");
}

#[tokio::test(start_paused = true)]
async fn geminis_clients_count_a_conversation_or_a_whole_request() {
    let scene = Scene::new([Supplier::frontier("alpha").speaking(Dialect::Gemini)]);
    let contents = json!([{ "role": "user", "parts": [{ "text": "Who is there?" }] }]);
    let bare = json!({ "contents": contents });
    let whole = json!({ "generateContentRequest": { "model": "models/auto", "contents": contents } });
    let mut counts = Vec::new();
    for body in [&bare, &whole] {
        let counted = scene.grid.count_tokens(asks(&scene, Dialect::Gemini, body)).await.unwrap();
        assert!(!counted.estimated, "{body}");
        assert_eq!(heard(&scene).1["generateContentRequest"]["model"], "models/alpha-1", "{body}");
        counts.push(counted.tokens);
    }
    assert_eq!(counts[0], counts[1]);
    let estimating = Scene::new([Supplier::frontier("alpha")]);
    assert!(estimating.grid.count_tokens(asks(&estimating, Dialect::Gemini, &whole)).await.unwrap().estimated);
}
