//! A supplier that does more in a second dialect of its own.

use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::Dialect;
use serde_json::{Value, json};

use crate::world::{Ask, Scene, Supplier};

const RICHER: &str =
    "also = ['openai-responses']\nricher = { dialect = 'openai-responses', tools_models = ['alpha-*'] }";

/// Where the supplier was asked.
async fn asked(spec: &str, dialect: Dialect, tools: bool) -> String {
    let scene = Scene::new([Supplier::frontier("alpha").spec(spec)]);
    let ask = Ask::new(dialect, false);
    let mut body: Value = serde_json::from_slice(&ask.body()).unwrap();
    if tools {
        body["tools"] =
            json!([{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }]);
    }
    let mut arrival = ask.arrival(&scene.grid);
    arrival.body = KeptBody::Memory(body.to_string().into());
    scene.grid.call(arrival).await.map_err(|refusal| refusal.message).unwrap();
    scene.sim("alpha").requests().pop().unwrap().path
}

#[tokio::test(start_paused = true)]
async fn calls_of_other_dialects_are_translated_into_the_richer_one() {
    for dialect in [Dialect::AnthropicMessages, Dialect::Gemini, Dialect::OllamaChat, Dialect::OpenAiResponses] {
        assert_eq!(asked(RICHER, dialect, false).await, "/v1/responses", "{dialect}");
    }
    assert_eq!(asked("", Dialect::AnthropicMessages, false).await, "/v1/chat/completions");
    let unspoken = "richer = { dialect = 'openai-responses', tools_models = ['*'] }";
    assert_eq!(asked(unspoken, Dialect::AnthropicMessages, false).await, "/v1/chat/completions");
    assert_eq!(asked(unspoken, Dialect::OpenAiChat, true).await, "/v1/chat/completions");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_main_dialect_is_translated_where_its_tools_would_be_refused_and_only_there() {
    assert_eq!(asked(RICHER, Dialect::OpenAiChat, false).await, "/v1/chat/completions");
    assert_eq!(asked(RICHER, Dialect::OpenAiChat, true).await, "/v1/responses");
    let others = RICHER.replace("alpha-*", "beta-*");
    assert_eq!(asked(&others, Dialect::OpenAiChat, true).await, "/v1/chat/completions");
}
