//! Thinking that a provider has sealed: whoever cannot open the seal is asked once more without it.

use commonwatt_grid::relay::AnswerBody;
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::Dialect;
use serde_json::{Value, json};

use crate::world::{Ask, Scene, Supplier};

/// A history with thinking that somebody else has sealed, and what names the seal.
fn histories() -> [(Dialect, Value, &'static str); 3] {
    [
        (
            Dialect::AnthropicMessages,
            json!({ "model": "auto", "max_tokens": 1_000, "messages": [
                { "role": "user", "content": "Who is there?" },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "Who might it be?", "signature": "c29tZWJvZHkgZWxzZQ==" },
                    { "type": "text", "text": "A friend." },
                ] },
                { "role": "user", "content": "Which one?" },
            ] }),
            "c29tZWJvZHkgZWxzZQ==",
        ),
        (
            Dialect::OpenAiResponses,
            json!({ "model": "auto", "input": [
                { "role": "user", "content": "Who is there?" },
                { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c29tZWJvZHkgZWxzZQ==" },
                { "role": "assistant", "content": "A friend." },
                { "role": "user", "content": "Which one?" },
            ] }),
            "c29tZWJvZHkgZWxzZQ==",
        ),
        (
            Dialect::Gemini,
            json!({ "contents": [
                { "role": "user", "parts": [{ "text": "Who is there?" }] },
                { "role": "model", "parts": [
                    { "functionCall": { "name": "look", "args": {} }, "thoughtSignature": "c29tZWJvZHkgZWxzZQ==" },
                ] },
                { "role": "user", "parts": [{ "functionResponse": { "name": "look", "response": { "seen": "a friend" } } }] },
            ] }),
            "c29tZWJvZHkgZWxzZQ==",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_a_foreign_seal_is_asked_once_more_without() {
    for (dialect, history, seal) in histories() {
        let scene = Scene::new([Supplier::frontier("alpha").speaking(dialect)]);
        let mut arrival = Ask::new(dialect, false).arrival(&scene.grid);
        arrival.body = KeptBody::Memory(history.to_string().into());
        let answered = scene.grid.call(arrival).await.unwrap_or_else(|refused| panic!("{dialect}: {refused:?}"));
        assert!(matches!(answered.body, AnswerBody::Whole(_)));
        assert_eq!((&*answered.served.deployment.as_ref().unwrap().0, answered.served.attempts), ("alpha/alpha-1", 1));
        assert!(answered.served.lossy.iter().any(|lost| lost.contains("does not take it back")), "{dialect}");
        let sent: Vec<String> =
            scene.sim("alpha").requests().iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
        let sealed: Vec<bool> = sent.iter().map(|body| body.contains(seal)).collect();
        assert_eq!(sealed, [true, false], "{dialect}: {sent:?}");
        assert!(sent[1].contains("friend"), "{dialect}: what was said stays: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_dialects_seal_never_leaves() {
    for (dialect, history, seal) in histories() {
        for other in Dialect::OUT.into_iter().filter(|other| *other != dialect) {
            let scene = Scene::new([Supplier::frontier("alpha").speaking(other)]);
            let mut arrival = Ask::new(dialect, false).arrival(&scene.grid);
            arrival.body = KeptBody::Memory(history.to_string().into());
            let answered = scene.grid.call(arrival).await.unwrap_or_else(|refused| panic!("{dialect}: {refused:?}"));
            assert_eq!(answered.served.attempts, 1);
            let requests = scene.sim("alpha").requests();
            assert_eq!(requests.len(), 1, "{dialect} to {other}");
            assert!(!String::from_utf8_lossy(&requests[0].body).contains(seal), "{dialect} to {other}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_of_several_dialects_is_asked_again_in_the_same_one() {
    let (dialect, history, _) = histories().into_iter().nth(1).unwrap();
    let alpha = Supplier::frontier("alpha").spec("also = ['openai-responses']");
    let scene = Scene::new([alpha]);
    let mut arrival = Ask::new(dialect, false).arrival(&scene.grid);
    arrival.body = KeptBody::Memory(history.to_string().into());
    assert!(scene.grid.call(arrival).await.is_ok());
    let paths: Vec<String> = scene.sim("alpha").requests().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/v1/responses", "/v1/responses"]);
}
