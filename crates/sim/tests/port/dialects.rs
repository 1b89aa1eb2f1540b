//! What gateways trip over, as they meet it on the wire: signatures, ids, arguments, windows.

use commonwatt_sim::{Dialect, Script};
use serde_json::{Value, json};

use crate::client::{ask, question, send, sim};
use crate::spoken::CONVERSING;

async fn post(sim: &commonwatt_sim::Running, path: &str, body: &Value, headers: &[&str]) -> (u16, Value) {
    let seen = send(sim, "POST", path, body.to_string().as_bytes(), headers).await;
    (seen.status(), seen.json())
}

/// The text of a whole answer.
fn text(dialect: Dialect, body: &Value) -> String {
    let path = match dialect {
        Dialect::ChatCompletions => "/choices/0/message/content",
        Dialect::Messages => "/content/0/text",
        Dialect::Responses => "/output/0/content/0/text",
        Dialect::Gemini => "/candidates/0/content/parts/0/text",
        Dialect::OllamaChat => "/message/content",
        Dialect::OllamaGenerate => "/response",
        Dialect::Completions => "/choices/0/text",
    };
    body.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn the_same_question_gets_the_same_answer_in_every_dialect() {
    let sim = sim(|_| {}).await;
    let mut answers = Vec::new();
    for dialect in Dialect::ALL {
        answers.push(text(dialect, &ask(&sim, dialect, &question(false), &[]).await.json()));
    }
    assert!(answers[0].len() > 100 && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_limit_on_tokens_is_kept_in_every_dialect() {
    let sim = sim(|settings| settings.answer.text = Some("one two three four five".to_owned())).await;
    let mut body = question(false);
    body["max_tokens"] = json!(2);
    for dialect in Dialect::ALL {
        let seen = ask(&sim, dialect, &body, &[]).await;
        assert_eq!(text(dialect, &seen.json()), "one two ");
        let reasons = ["\"length\"", "\"max_tokens\"", "\"max_output_tokens\"", "\"MAX_TOKENS\""];
        assert!(reasons.iter().any(|reason| seen.text().contains(reason)), "{}", seen.text());
    }
    let without = json!({ "model": "m", "prompt": "Count." });
    let (_, body) = post(&sim, "/v1/completions", &without, &[]).await;
    assert_eq!(body["usage"]["completion_tokens"], 6, "sixteen tokens would be enough");
}

#[tokio::test]
async fn a_prefill_can_be_refused_by_a_word() {
    let sim = sim(|_| {}).await;
    let mut body = question(false);
    body["messages"].as_array_mut().unwrap().push(json!({ "role": "assistant", "content": "The" }));
    for dialect in CONVERSING {
        assert_eq!(ask(&sim, dialect, &body, &[]).await.status(), 200);
        let refused = ask(&sim, dialect, &body, &["x-sim-fault: answer prefill=refuse"]).await;
        assert_eq!(refused.status(), 400, "{}", refused.text());
        assert!(!refused.error().is_empty());
    }
}

#[tokio::test]
async fn what_a_prompt_had_in_the_cache_is_told_in_every_dialect() {
    let sim = sim(|settings| settings.answer.cached_tokens = 7).await;
    for (dialect, path) in [
        (Dialect::ChatCompletions, "/usage/prompt_tokens_details/cached_tokens"),
        (Dialect::Messages, "/usage/cache_read_input_tokens"),
        (Dialect::Responses, "/usage/input_tokens_details/cached_tokens"),
        (Dialect::Gemini, "/usageMetadata/cachedContentTokenCount"),
        (Dialect::Completions, "/usage/prompt_tokens_details/cached_tokens"),
    ] {
        let body = ask(&sim, dialect, &question(false), &[]).await.json();
        assert_eq!(body.pointer(path), Some(&json!(7)), "{body}");
    }
    let chat = ask(&sim, Dialect::ChatCompletions, &question(false), &[]).await.json();
    let messages = ask(&sim, Dialect::Messages, &question(false), &[]).await.json();
    let input = messages["usage"]["input_tokens"].as_u64().unwrap();
    assert_eq!(chat["usage"]["prompt_tokens"].as_u64(), Some(input + 7), "Anthropic counts them apart");
}

#[tokio::test]
async fn encrypted_reasoning_may_come_back_to_its_model_and_to_no_other() {
    let sim = sim(|_| {}).await;
    let user = json!({ "role": "user", "content": "Why?" });
    let first = json!({
        "model": "m", "input": [user], "reasoning": { "effort": "high" }, "store": false,
        "include": ["reasoning.encrypted_content"],
    });
    let (_, answered) = post(&sim, "/v1/responses", &first, &[]).await;
    assert!(answered["output"][0]["encrypted_content"].is_string());
    let mut input = vec![user.clone()];
    input.extend(answered["output"].as_array().unwrap().iter().cloned());
    input.push(user);
    let second = |model: &str| json!({ "model": model, "input": input });
    assert_eq!(post(&sim, "/v1/responses", &second("m"), &[]).await.0, 200);
    let (status, refused) = post(&sim, "/v1/responses", &second("other"), &[]).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("invalid_encrypted_content")));
    let trusting = "x-sim-fault: answer check_signatures=false";
    assert_eq!(post(&sim, "/v1/responses", &second("other"), &[trusting]).await.0, 200);
}

#[tokio::test]
async fn a_thinking_block_may_come_back_to_its_model_and_to_no_other() {
    let sim = sim(|_| {}).await;
    let user = json!({ "role": "user", "content": "Why?" });
    let body = |model: &str, messages: Value| json!({ "model": model, "max_tokens": 900, "thinking": { "type": "adaptive" }, "messages": messages });
    let (_, answered) = post(&sim, "/v1/messages", &body("m", json!([user])), &[]).await;
    assert_eq!(answered["content"][0]["type"], "thinking");
    let history = json!([user, { "role": "assistant", "content": answered["content"] }, user]);
    assert_eq!(post(&sim, "/v1/messages", &body("m", history.clone()), &[]).await.0, 200);
    let (status, refused) = post(&sim, "/v1/messages", &body("other", history.clone()), &[]).await;
    let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
    assert_eq!((status, &refused["error"]["message"]), (400, &json!(message)));
    assert_eq!(refused["error"]["type"], "invalid_request_error");
    sim.script(Script::from_words("answer check_signatures=false").unwrap()).unwrap();
    assert_eq!(post(&sim, "/v1/messages", &body("other", history), &[]).await.0, 200);
}

#[tokio::test]
async fn a_loop_of_tools_works_with_gemini_3_as_long_as_signatures_come_back() {
    let sim = sim(|settings| {
        settings.answer.gemini_3 = true;
        settings.answer.tool_calls = 2;
    })
    .await;
    let user = json!({ "role": "user", "parts": [{ "text": "Which coat?" }] });
    let declarations = json!([{ "name": "weather", "parameters": { "type": "OBJECT", "properties": { "city": { "type": "STRING" } } } }]);
    let body = |contents: Value| json!({ "contents": contents, "tools": [{ "functionDeclarations": declarations }] });
    let path = "/v1beta/models/gemini-3:generateContent";
    let (_, answered) = post(&sim, path, &body(json!([user])), &[]).await;
    let step = answered["candidates"][0]["content"].clone();
    let parts = step["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert!(parts[0]["thoughtSignature"].is_string() && parts[1].get("thoughtSignature").is_none());
    assert!(parts[0]["functionCall"]["args"]["city"].is_string());
    let result = |part: &Value| json!({ "functionResponse": { "id": part["functionCall"]["id"], "name": "weather", "response": { "sky": "rain" } } });
    let results = json!({ "role": "user", "parts": parts.iter().map(result).collect::<Vec<_>>() });
    let (status, done) = post(&sim, path, &body(json!([user, step, results])), &[]).await;
    assert_eq!((status, &done["candidates"][0]["finishReason"]), (200, &json!("STOP")));
    assert!(done["candidates"][0]["content"]["parts"][0]["text"].is_string());
    let mut stripped = step.clone();
    stripped["parts"][0].as_object_mut().unwrap().remove("thoughtSignature");
    let (status, refused) = post(&sim, path, &body(json!([user, stripped, results])), &[]).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
    let other = "/v1beta/models/gemini-2:generateContent";
    let (status, refused) = post(&sim, other, &body(json!([user, step, results])), &[]).await;
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("Corrupted thought signature.")));
}

#[tokio::test]
async fn ollama_streams_unless_told_not_to() {
    let sim = sim(|_| {}).await;
    for (path, body) in [
        ("/api/chat", json!({ "model": "m", "messages": [{ "role": "user", "content": "Hello" }] })),
        ("/api/generate", json!({ "model": "m", "prompt": "Hello" })),
    ] {
        let seen = send(&sim, "POST", path, body.to_string().as_bytes(), &[]).await;
        assert!(seen.chunks.len() > 10);
        let cut =
            send(&sim, "POST", path, body.to_string().as_bytes(), &["x-sim-fault: error after=3 status=500"]).await;
        let last = cut.text().lines().last().unwrap().to_owned();
        assert_eq!(cut.chunks.len(), 4);
        assert_eq!(last, r#"{"error":"an error was encountered while running the model: unexpected EOF"}"#);
    }
}
