//! What Google's clients alone expect of a door.

use serde_json::{Value, json};

use crate::world::{Start, Tell, Told, sim, sim_that};

fn question() -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": "Who is there?" }] }] })
}

fn elements(told: &Told) -> Vec<Value> {
    assert!(told.header("content-type").starts_with("application/json"), "{told:?}");
    told.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn a_stream_is_one_array_for_whoever_does_not_ask_for_events() {
    let sim = sim().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    let told = daemon.post("/v1beta/models/auto:streamGenerateContent", &question()).await.told(true).await;
    let elements = elements(&told);
    assert!(elements.len() > 2, "{told:?}");
    assert_eq!(elements.last().unwrap()["candidates"][0]["finishReason"], "STOP");
    let events = daemon.post("/v1beta/models/auto:streamGenerateContent?alt=sse", &question()).await.told(true).await;
    assert_eq!(events.events().len(), elements.len(), "{events:?}");
}

#[tokio::test]
async fn an_array_that_breaks_off_ends_in_an_error_and_is_closed() {
    let sim = sim_that("eof after=3").await;
    let daemon = Start::default().openai(&sim).quick().daemon().await;
    let told = daemon.post("/v1beta/models/auto:streamGenerateContent", &question()).await.told(true).await;
    let elements = elements(&told);
    assert!(elements[0]["candidates"].is_array(), "{told:?}");
    assert_eq!(elements.last().unwrap()["error"]["status"], "UNAVAILABLE", "{told:?}");
}

#[tokio::test]
async fn a_refusal_of_a_stream_is_an_array_too() {
    let daemon = Start::default().daemon().await;
    let told = daemon.post("/v1beta/models/nobody:streamGenerateContent", &question()).await.told(true).await;
    assert_eq!((told.status, &elements(&told)[0]["error"]["status"]), (404, &json!("NOT_FOUND")));
}
