//! Keys, limits, paths, scripts: what happens before an answer.

use std::time::Duration;

use commonwatt_sim::{Dialect, Fault, Script};
use serde_json::{Value, json};

use crate::client::{End, Seen, ask, ask_with, question, send, sim};
use crate::spoken::CONVERSING;

#[tokio::test]
async fn a_wrong_key_is_refused_in_every_dialect() {
    let sim = sim(|settings| settings.api_key = Some("sk-good".to_owned())).await;
    let bearer = "authorization: Bearer sk-good";
    for (dialect, good, kind) in [
        (Dialect::ChatCompletions, bearer, json!("invalid_request_error")),
        (Dialect::Messages, "x-api-key: sk-good", json!("authentication_error")),
        (Dialect::Responses, bearer, json!("invalid_request_error")),
        (Dialect::Completions, bearer, json!("invalid_request_error")),
        (Dialect::OllamaChat, bearer, Value::Null),
        (Dialect::OllamaGenerate, bearer, Value::Null),
    ] {
        let refused = ask(&sim, dialect, &question(true), &["authorization: Bearer sk-bad"]).await;
        assert_eq!((refused.status(), &refused.json()["error"]["type"]), (401, &kind));
        assert_eq!(ask(&sim, dialect, &question(true), &[]).await.status(), 401);
        assert_eq!(ask(&sim, dialect, &question(true), &[good]).await.status(), 200);
    }
}

#[tokio::test]
async fn gemini_takes_its_key_in_a_header_or_in_the_query_and_refuses_it_with_400() {
    let sim = sim(|settings| settings.api_key = Some("k-good".to_owned())).await;
    let state = |seen: &Seen| seen.json()["error"]["status"].clone();
    let missing = ask(&sim, Dialect::Gemini, &question(true), &["authorization: Bearer k-good"]).await;
    assert_eq!((missing.status(), state(&missing)), (403, json!("PERMISSION_DENIED")));
    let wrong = ask(&sim, Dialect::Gemini, &question(true), &["x-goog-api-key: k-bad"]).await;
    assert_eq!((wrong.status(), state(&wrong)), (400, json!("INVALID_ARGUMENT")));
    assert_eq!(wrong.json()["error"]["details"][0]["reason"], "API_KEY_INVALID");
    assert_eq!(ask(&sim, Dialect::Gemini, &question(true), &["x-goog-api-key: k-good"]).await.status(), 200);
    for (key, status) in [("k-good", 200), ("k-bad", 400)] {
        assert_eq!(send(&sim, "GET", &format!("/v1beta/models?key={key}"), b"", &[]).await.status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_per_minute_are_refused_until_the_window_has_moved_on() {
    let sim = sim(|settings| {
        settings.tokens_per_minute = Some(120);
        settings.answer.text = Some("x".repeat(200));
    })
    .await;
    for (dialect, remaining) in [
        (Dialect::ChatCompletions, "x-ratelimit-remaining-tokens"),
        (Dialect::Messages, "anthropic-ratelimit-tokens-remaining"),
        (Dialect::Responses, "x-ratelimit-remaining-tokens"),
    ] {
        sim.reset();
        let seen = ask(&sim, dialect, &question(false), &[]).await;
        assert_eq!((seen.status(), seen.header(remaining)), (200, Some("54")));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(ask(&sim, dialect, &question(false), &[]).await.status(), 200);
        let refused = ask(&sim, dialect, &question(true), &[]).await;
        assert_eq!(refused.status(), 429);
        assert!(refused.text().contains("120 tokens per minute"), "{}", refused.text());
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((49..=51).contains(&seconds), "{seconds}");
        tokio::time::sleep(Duration::from_secs(seconds) - Duration::from_secs(2)).await;
        assert_eq!(ask(&sim, dialect, &question(true), &[]).await.status(), 429);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ask(&sim, dialect, &question(true), &[]).await.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_per_minute_are_refused_and_use_up_no_step() {
    let sim = sim(|settings| settings.requests_per_minute = Some(1)).await;
    sim.script(Script::from_words("pass\nstatus=503").unwrap()).unwrap();
    assert_eq!(ask(&sim, Dialect::Messages, &question(false), &[]).await.status(), 200);
    assert_eq!(ask(&sim, Dialect::Messages, &question(false), &[]).await.status(), 429);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(ask(&sim, Dialect::Messages, &question(false), &[]).await.status(), 503);
}

#[tokio::test]
async fn a_step_serves_one_call_whoever_makes_it() {
    let sim = sim(|settings| {
        let fault = Fault::Status { status: 529, retry_after_s: None, message: None, code: None };
        settings.script = Script::of([fault, Fault::Empty {}]);
    })
    .await;
    assert_eq!(send(&sim, "GET", "/v1/models", b"", &[]).await.status(), 200);
    assert_eq!(ask(&sim, Dialect::Messages, &question(true), &[]).await.status(), 529);
    assert_eq!(ask(&sim, Dialect::ChatCompletions, &question(true), &[]).await.body, b"");
    assert_eq!(ask(&sim, Dialect::ChatCompletions, &question(true), &[]).await.end, End::Complete);
}

#[tokio::test]
async fn a_script_is_replaced_in_json_toml_or_words() {
    let sim = sim(|_| {}).await;
    for script in [
        r#"{"steps":[{"faults":[{"kind":"status","status":502}]}]}"#,
        "[[steps]]\nfaults = [{ kind = 'status', status = 502 }]",
        "status=502",
    ] {
        let replaced = send(&sim, "POST", "/sim/script", script.as_bytes(), &[]).await;
        assert_eq!(replaced.json(), json!({ "steps": 1 }));
        assert_eq!(ask(&sim, Dialect::Messages, &question(true), &[]).await.status(), 502);
        assert_eq!(ask(&sim, Dialect::Messages, &question(true), &[]).await.status(), 200);
    }
    for (script, said) in
        [("{\"step\":1}", "step"), ("[[steps]]\nx = 1", "x"), ("bang", "`bang`"), ("status=200", "400 to 599")]
    {
        let refused = send(&sim, "POST", "/sim/script", script.as_bytes(), &[]).await;
        assert_eq!(refused.status(), 400);
        assert!(refused.json()["error"].as_str().unwrap().contains(said), "{}", refused.text());
    }
    assert_eq!(send(&sim, "GET", "/sim/nothing", b"", &[]).await.status(), 404);
}

#[tokio::test]
async fn a_directive_in_the_last_message_goes_before_the_script_and_a_header_before_both() {
    let sim = sim(|settings| settings.script = Script::from_words("status=500").unwrap()).await;
    let mut body = question(true);
    body["messages"][0]["content"] = json!("Hello [[sim: status=529 retry_after_s=2]]");
    for dialect in CONVERSING {
        let seen = ask(&sim, dialect, &body, &[]).await;
        assert_eq!((seen.status(), seen.header("retry-after")), (529, Some("2")));
        assert_eq!(ask(&sim, dialect, &body, &["x-sim-fault: status=413"]).await.status(), 413);
        let mut older = body.clone();
        older["messages"].as_array_mut().unwrap().extend([
            json!({ "role": "assistant", "content": "Hi." }),
            json!({ "role": "user", "content": "And now?" }),
        ]);
        let expected = if dialect == Dialect::ChatCompletions { 500 } else { 200 };
        assert_eq!(ask(&sim, dialect, &older, &[]).await.status(), expected, "the script had one step");
    }
    let misspelt = ask_with(&sim, Dialect::Messages, true, "explode").await;
    assert_eq!(misspelt.status(), 400);
    assert!(misspelt.text().contains("`explode` is not understood"), "{}", misspelt.text());
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_in_the_dialect() {
    let sim = sim(|settings| settings.max_body_bytes = 1000).await;
    let status = async |method: &str, path: &str, body: &str, header: &str| {
        let seen = send(&sim, method, path, body.as_bytes(), &[header]).await;
        assert!(!seen.error().is_empty());
        seen.status()
    };
    for dialect in Dialect::ALL {
        assert_eq!(status("POST", dialect.path(), "{", "x: y").await, 400);
        assert_eq!(status("GET", dialect.path(), "", "x: y").await, 405);
    }
    assert_eq!(status("POST", "/v1beta/models/m:sing", "{}", "x: y").await, 404);
    assert_eq!(status("POST", "/api/pull", "{}", "x: y").await, 404);
    assert_eq!(status("POST", "/v1/chat/completions", "{", "x: y").await, 400);
    assert_eq!(status("POST", "/v1/messages", "{}", "x: y").await, 400);
    assert_eq!(status("POST", "/v1/messages", "{}", "no-version: 1").await, 400);
    assert_eq!(status("GET", "/v1/messages", "", "x: y").await, 405);
    assert_eq!(status("POST", "/v1/nothing", "", "x: y").await, 404);
    assert_eq!(status("POST", "/v1/chat/completions", &"x".repeat(1001), "x: y").await, 413);
}

#[tokio::test]
async fn models_and_token_counts_are_told() {
    let sim = sim(|settings| settings.models = vec!["a".to_owned(), "b".to_owned()]).await;
    let chat = send(&sim, "GET", "/v1/models", b"", &[]).await.json();
    assert_eq!((&chat["object"], &chat["data"][1]["id"]), (&json!("list"), &json!("b")));
    let messages = send(&sim, "GET", "/v1/models", b"", &["anthropic-version: 2023-06-01"]).await.json();
    assert_eq!((&messages["data"][0]["type"], &messages["last_id"]), (&json!("model"), &json!("b")));
    let unknown = ask(&sim, Dialect::ChatCompletions, &question(true), &[]).await;
    assert_eq!((unknown.status(), &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));

    let mut body = question(false);
    body["model"] = json!("a");
    let counted = send(&sim, "POST", "/v1/messages/count_tokens", body.to_string().as_bytes(), &[]).await.json();
    let answered = ask(&sim, Dialect::Messages, &body, &[]).await.json();
    assert_eq!(counted["input_tokens"], answered["usage"]["input_tokens"]);
    assert_eq!(send(&sim, "GET", "/v1/models", b"", &["x-sim-fault: status=500"]).await.status(), 500);
}
