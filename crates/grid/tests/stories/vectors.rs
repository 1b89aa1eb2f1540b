//! Vectors from a supplier that has words of its own for them.

use bytes::Bytes;
use commonwatt_grid::decode::Asked;
use commonwatt_grid::relay::AnswerBody;
use commonwatt_grid::request::Arrival;
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::{Dialect, EmbedDialect};
use serde_json::{Value, json};

use crate::world::{Ask, Scene, Supplier};

/// That a supplier makes vectors at all.
const ABLE: &str = "abilities = { embeddings = true }";

async fn embedded(scene: &Scene, of: EmbedDialect, body: &Value) -> Value {
    let arrival = Arrival {
        asked: Asked::Embeddings(of),
        body: KeptBody::Memory(Bytes::from(body.to_string())),
        ..Ask::new(of.family(), false).arrival(&scene.grid)
    };
    let answered = scene.grid.call(arrival).await.map_err(|refusal| refusal.message).unwrap();
    let AnswerBody::Whole(bytes) = answered.body else { panic!("vectors are not streamed") };
    serde_json::from_slice(&bytes).unwrap()
}

/// The 32 bits that each number has, however it is spelled.
fn numbers(vector: &Value) -> Vec<f32> {
    serde_json::from_value(vector.clone()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn geminis_vectors_reach_callers_of_every_dialect_alike() {
    let scene = Scene::new([Supplier::frontier("alpha").speaking(Dialect::Gemini).spec(ABLE)]);
    let texts = ["grid", "bus"];
    let one = |text: &str| json!({ "content": { "parts": [{ "text": text }] }, "outputDimensionality": 8 });
    let openai = json!({ "model": "auto", "input": texts, "dimensions": 8 });
    let openai = embedded(&scene, EmbedDialect::OpenAi, &openai).await;
    let ollama = json!({ "model": "auto", "input": texts, "dimensions": 8 });
    let ollama = embedded(&scene, EmbedDialect::Ollama, &ollama).await;
    let gemini = json!({ "requests": texts.map(one) });
    let gemini = embedded(&scene, EmbedDialect::Gemini, &gemini).await;
    for at in 0..2 {
        let vector = numbers(&openai["data"][at]["embedding"]);
        assert_eq!(vector.len(), 8);
        assert_eq!(vector, numbers(&ollama["embeddings"][at]));
        assert_eq!(vector, numbers(&gemini["embeddings"][at]["values"]));
        let single = embedded(&scene, EmbedDialect::GeminiOne, &one(texts[at])).await;
        assert_eq!(vector, numbers(&single["embedding"]["values"]));
    }
    let asked = &scene.sim("alpha").requests()[0];
    assert_eq!(asked.path, "/v1beta/models/alpha-1:batchEmbedContents");
}

#[tokio::test(start_paused = true)]
async fn geminis_callers_are_given_vectors_of_other_suppliers() {
    let scene = Scene::new([Supplier::frontier("alpha").spec(ABLE)]);
    let body = json!({ "requests": [{ "model": "models/auto", "content": { "parts": [{ "text": "grid" }] } }] });
    let told = embedded(&scene, EmbedDialect::Gemini, &body).await;
    assert_eq!(told["embeddings"][0]["values"].as_array().unwrap().len(), 64);
    assert_eq!(scene.sim("alpha").requests()[0].path, "/v1/embeddings");
}
