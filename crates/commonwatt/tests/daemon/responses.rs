//! The stateful part of the Responses API, and answers whose callers leave.

use std::time::Duration;

use commonwatt_grid::identity::hash_key;
use commonwatt_sim::{Running, Settings, Sim};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{Daemon, KEY, Start, Tell, sim};

const OTHER_KEY: &str = "cw-somebody-else";

/// A supplier that takes about two seconds for an answer.
async fn slow() -> Running {
    let mut settings = Settings { gap_ms: 60, ..Settings::default() };
    settings.answer.text = Some("Somebody says something. ".repeat(20));
    Sim::start(settings).await.unwrap()
}

impl Daemon {
    async fn ask(&self, method: &str, path: &str, key: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base)).bearer_auth(key);
        let request = body.iter().fold(request, |request, body| request.json(body));
        let told = request.send().await.unwrap().told(false).await;
        (told.status, told.json())
    }

    async fn asked(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, told) = self.ask(method, path, KEY, body).await;
        assert_eq!(status, 200, "{method} {path}: {told}");
        told
    }

    async fn created(&self, more: Value) -> Value {
        let mut body = json!({ "model": "auto", "input": "What is Commonwatt?" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.asked("POST", "/v1/responses", Some(body)).await
    }

    /// Polls until a response has ended.
    async fn ended(&self, id: &str) -> Value {
        loop {
            let response = self.asked("GET", &format!("/v1/responses/{id}"), None).await;
            if !matches!(response["status"].as_str(), Some("queued" | "in_progress")) {
                return response;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn id_of(thing: &Value) -> String {
    thing["id"].as_str().unwrap().to_owned()
}

/// Reads a stream until it has said that, and leaves it.
async fn heard_until(mut response: reqwest::Response, word: &str) -> String {
    let mut said = String::new();
    while !said.contains(word) {
        said.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    said
}

fn events(said: &str) -> Vec<Value> {
    let data = said.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_response_is_kept_shown_listed_and_deleted_and_nobody_else_sees_it() {
    let sim = sim().await;
    let hash: String = hash_key(OTHER_KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = format!("[[keys]]\nname = 'other'\nhash = 'blake3:{hash}'\n");
    let daemon = Start::default().openai(&sim).config(&keys).daemon().await;
    let first = daemon.created(json!({})).await;
    let second = daemon.created(json!({ "previous_response_id": first["id"] })).await;
    let path = format!("/v1/responses/{}", id_of(&second));
    assert_eq!(daemon.asked("GET", &format!("{path}?include[]=x"), None).await, second);
    let listed = daemon.asked("GET", &format!("{path}/input_items?order=asc&limit=2"), None).await;
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["has_more"]), (2, &json!(true)));
    let rest = format!("{path}/input_items?order=asc&after={}", listed["last_id"].as_str().unwrap());
    assert_eq!(daemon.asked("GET", &rest, None).await["data"].as_array().unwrap().len(), 1);
    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/input_items"))] {
        assert_eq!(daemon.ask(method, &path, OTHER_KEY, None).await.0, 404, "{method} {path}");
        assert_eq!(daemon.ask(method, &path, "cw-wrong", None).await.0, 401, "{method} {path}");
    }
    let deleted = daemon.asked("DELETE", &path, None).await;
    assert_eq!(deleted, json!({ "id": second["id"], "object": "response", "deleted": true }));
    let (status, gone) = daemon.ask("GET", &path, KEY, None).await;
    let message = format!("Response with id '{}' not found.", id_of(&second));
    let error = json!({ "message": message, "type": "invalid_request_error", "param": null, "code": null });
    assert_eq!((status, &gone["error"]), (404, &error));
    let follows = json!({ "model": "auto", "input": "x", "previous_response_id": second["id"] });
    let (status, refused) = daemon.ask("POST", "/v1/responses", KEY, Some(follows)).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("previous_response_not_found")));
    let unkept = daemon.created(json!({ "store": false })).await;
    assert_eq!(daemon.ask("GET", &format!("/v1/responses/{}", id_of(&unkept)), KEY, None).await.0, 404);
}

#[tokio::test]
async fn ids_and_queries_of_any_letters_are_refused_in_words() {
    let sim = sim().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    let long = "x".repeat(5_000);
    for id in ["%00", "..%2F..%2Fbus.db", "%27%20OR%201%3D1", "%F0%9F%98%80", "%FF", "resp_%0A", long.as_str()] {
        for path in [format!("/v1/responses/{id}"), format!("/v1/conversations/{id}"), format!("/v1/answers/{id}")] {
            let (status, refused) = daemon.ask("GET", &path, KEY, None).await;
            assert_eq!((status, &refused["error"]["type"]), (404, &json!("invalid_request_error")), "{path}");
        }
        let (status, _) = daemon.ask("POST", &format!("/v1/responses/{id}/cancel"), KEY, None).await;
        assert_eq!(status, 404, "{id}");
    }
    let id = id_of(&daemon.created(json!({})).await);
    for query in ["input_items?limit=0", "input_items?limit=-1", "input_items?order=up", "input_items?after=%00"] {
        assert_eq!(daemon.ask("GET", &format!("/v1/responses/{id}/{query}"), KEY, None).await.0, 400, "{query}");
    }
    assert_eq!(daemon.ask("GET", &format!("/v1/responses/{id}?stream=true&starting_after=x"), KEY, None).await.0, 400);
    assert_eq!(daemon.ask("GET", &format!("/v1/responses/{id}?stream=true"), KEY, None).await.0, 400);
    let wrong = daemon.http.post(format!("{}/v1/responses/{id}", daemon.base)).bearer_auth(KEY).send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), &wrong.headers()["allow"]), (405, &"GET, DELETE".parse().unwrap()));
}

#[tokio::test]
async fn a_conversation_is_begun_added_to_continued_and_deleted() {
    let sim = sim().await;
    let daemon = Start::default().anthropic(&sim).daemon().await;
    let begun = daemon.asked("POST", "/v1/conversations", Some(json!({ "metadata": { "topic": "lamps" } }))).await;
    let path = format!("/v1/conversations/{}", id_of(&begun));
    assert_eq!((&begun["object"], &begun["metadata"]), (&json!("conversation"), &json!({ "topic": "lamps" })));
    let items = json!({ "items": [{ "type": "message", "role": "user", "content": "Say little." }] });
    let added = daemon.asked("POST", &format!("{path}/items"), Some(items)).await;
    let item = format!("{path}/items/{}", added["data"][0]["id"].as_str().unwrap());
    assert_eq!(daemon.asked("GET", &item, None).await, added["data"][0]);
    let told = daemon.created(json!({ "conversation": begun["id"] })).await;
    assert_eq!(told["conversation"], json!({ "id": begun["id"] }));
    let listed = daemon.asked("GET", &format!("{path}/items"), None).await;
    let roles: Vec<_> = listed["data"].as_array().unwrap().iter().map(|item| item["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["assistant", "user", "user"]);
    assert_eq!(daemon.asked("DELETE", &item, None).await, begun);
    assert_eq!(daemon.ask("GET", &item, KEY, None).await.0, 404);
    let update = json!({ "metadata": { "topic": "wells" } });
    assert_eq!(daemon.asked("POST", &path, Some(update)).await["metadata"]["topic"], "wells");
    let deleted = daemon.asked("DELETE", &path, None).await;
    assert_eq!(deleted, json!({ "id": begun["id"], "object": "conversation.deleted", "deleted": true }));
    assert_eq!(daemon.ask("GET", &path, KEY, None).await.0, 404);
}

#[tokio::test]
async fn where_nothing_is_kept_nothing_is_found_and_answers_say_so() {
    let sim = sim().await;
    let daemon = Start::default().openai(&sim).config("[bus]\nenabled = false\n").daemon().await;
    let told = daemon.created(json!({})).await;
    assert_eq!(told["store"], json!(false));
    let (status, refused) = daemon.ask("GET", &format!("/v1/responses/{}", id_of(&told)), KEY, None).await;
    assert!(status == 404 && refused["error"]["message"].as_str().unwrap().contains("[bus]"), "{refused}");
    assert_eq!(daemon.ask("POST", "/v1/conversations", KEY, Some(json!({}))).await.0, 404);
}

#[tokio::test]
async fn a_broken_connection_is_resumed_and_a_response_in_the_background_is_cancelled() {
    let sim = slow().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    let body = json!({ "model": "auto", "input": "x", "background": true, "stream": true });
    let said = heard_until(daemon.post("/v1/responses", &body).await, "output_text.delta").await;
    let said = &said[..=said.rfind("\n\n").unwrap()];
    let first = events(said);
    let id = first[0]["response"]["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}?stream=true&starting_after={}", first.last().unwrap()["sequence_number"]);
    let rest = events(&daemon.get(&path).await.text().await.unwrap());
    let whole = [first.clone(), rest].concat();
    for (number, event) in whole.iter().enumerate() {
        assert_eq!(event["sequence_number"], json!(number));
    }
    assert_eq!(whole.last().unwrap()["type"], "response.completed");
    assert_eq!((sim.calls(), daemon.ended(id).await), (1, whole.last().unwrap()["response"].clone()));
    let promised = daemon.created(json!({ "background": true })).await;
    let cancelled = daemon.asked("POST", &format!("/v1/responses/{}/cancel", id_of(&promised)), None).await;
    assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &promised["id"]));
}

#[tokio::test]
async fn a_caller_that_left_comes_back_to_the_same_answer() {
    let sim = slow().await;
    let daemon = Start::default().openai(&sim).daemon().await;
    let body = json!({ "model": "auto", "stream": true, "messages": [{ "role": "user", "content": "x" }] });
    let request = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth(KEY).json(&body);
    let response = request.header("x-commonwatt-detached", "true").send().await.unwrap();
    let call = response.headers()["x-commonwatt-call"].to_str().unwrap().to_owned();
    let said = heard_until(response, "\nid: 3\n").await;
    let (heard, _) = said.split_at(said.find("id: 3\n").unwrap());
    let again = daemon.http.get(format!("{}/v1/answers/{call}", daemon.base)).bearer_auth(KEY);
    let rest = again.header("last-event-id", "2").send().await.unwrap().text().await.unwrap();
    assert!(rest.starts_with("id: 3\n") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    let text = events(&format!("{heard}{rest}"))
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect::<String>();
    assert_eq!((text.as_str(), sim.calls()), ("Somebody says something. ".repeat(20).as_str(), 1));
}

#[tokio::test]
async fn a_daemon_that_is_told_to_go_ends_its_promises_and_one_that_is_killed_tells_what_was_said() {
    for (signal, status) in [("TERM", "completed"), ("KILL", "failed")] {
        let sim = slow().await;
        let daemon = Start::default().openai(&sim).daemon().await;
        let body = json!({ "model": "auto", "input": "x", "background": true, "stream": true });
        let said = heard_until(daemon.post("/v1/responses", &body).await, "output_text.delta").await;
        let id = events(&said[..=said.rfind("\n\n").unwrap()])[0]["response"]["id"].as_str().unwrap().to_owned();
        // As long as the journal may lag behind.
        sleep(Duration::from_millis(400)).await;
        let home = daemon.ended_by(signal).await;
        let daemon = Start::default().openai(&sim).at(home).await;
        let response = daemon.asked("GET", &format!("/v1/responses/{id}"), None).await;
        assert_eq!(response["status"], status, "{response}");
        let text = response["output"][0]["content"][0]["text"].as_str().unwrap_or_default();
        let whole = "Somebody says something. ".repeat(20);
        assert!(!text.is_empty() && whole.starts_with(text), "{response}");
        assert_eq!((text == whole, sim.calls()), (signal == "TERM", 1), "{response}");
    }
}
