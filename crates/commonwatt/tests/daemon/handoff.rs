//! A session goes from one key to another, over HTTP.

use std::time::Duration;

use commonwatt_grid::identity::hash_key;
use commonwatt_pass::{Narrowing, Scope, Scopes, Seed, narrow};
use commonwatt_sim::{Dialect, Running};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::sessions::cli;
use crate::world::{Daemon, KEY, Start, Tell, Told, sim};

const BOB: &str = "cw-bobs-key";
const EVE: &str = "cw-eves-key";

/// A daemon with two suppliers that speak different dialects, and three who may call: `first`, `bob` and `eve`.
struct Scene {
    daemon: Daemon,
    alpha: Running,
    beta: Running,
}

fn provider(id: &str, dialect: &str, base_url: &str) -> String {
    format!(
        "[providers.{id}]\nname = '{id}'\ndialect = '{dialect}'\nbase_url = '{base_url}'\ntier = 'frontier'\n\
         default_model = 'm'\n"
    )
}

fn key(name: &str, text: &str) -> String {
    let hash: String = hash_key(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[keys]]\nname = '{name}'\nhash = 'blake3:{hash}'\ntiers = ['frontier']\n")
}

async fn scene() -> Scene {
    let (alpha, beta) = (sim().await, sim().await);
    let start = Start::default()
        .config(&key("bob", BOB))
        .config(&key("eve", EVE))
        .config(&provider("alpha", "openai-chat", &alpha.base_url(Dialect::ChatCompletions)))
        .config(&provider("beta", "anthropic-messages", &beta.base_url(Dialect::Messages)));
    Scene { daemon: start.daemon().await, alpha, beta }
}

impl Scene {
    async fn post(&self, key: &str, path: &str, body: &Value) -> Told {
        let request = self.daemon.http.post(format!("{}{path}", self.daemon.base)).bearer_auth(key);
        request.json(body).send().await.unwrap().told(false).await
    }

    /// The same as a client of Anthropic's.
    async fn post_as_anthropic(&self, key: &str, path: &str, body: &Value) -> Told {
        let request = self.daemon.http.post(format!("{}{path}", self.daemon.base)).header("x-api-key", key);
        request.header("anthropic-version", "2023-06-01").json(body).send().await.unwrap().told(false).await
    }

    /// A session of the first key's with one answer: its id, and what was asked and answered.
    async fn session(&self) -> (String, Vec<Value>) {
        let question = json!({ "role": "user", "content": "Plan the move." });
        let body = json!({ "model": "alpha/m", "messages": [question.clone()] });
        let told = self.post(KEY, "/v1/chat/completions", &body).await;
        assert!(told.is_complete(), "{told:?}");
        let answer = told.json()["choices"][0]["message"].clone();
        (told.header("x-commonwatt-session").to_owned(), vec![question, answer])
    }

    async fn offer(&self, key: &str, session: &str, terms: &Value) -> Told {
        self.post(key, &format!("/admin/v1/sessions/{session}/handoff"), terms).await
    }

    async fn token(&self, session: &str, terms: &Value) -> String {
        let told = self.offer(KEY, session, terms).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.json()["token"].as_str().unwrap().to_owned()
    }

    async fn accept(&self, key: &str, body: &Value) -> Told {
        self.post(key, "/admin/v1/handoffs/accept", body).await
    }

    async fn get(&self, key: &str, path: &str) -> Told {
        let request = self.daemon.http.get(format!("{}{path}", self.daemon.base)).bearer_auth(key);
        request.send().await.unwrap().told(false).await
    }

    async fn revoke(&self, key: &str, handoff: &str) -> Told {
        let request = self.daemon.http.delete(format!("{}/admin/v1/handoffs/{handoff}", self.daemon.base));
        request.bearer_auth(key).send().await.unwrap().told(false).await
    }
}

#[tokio::test]
async fn a_task_goes_from_one_key_and_supplier_to_another_and_the_first_is_told_so_in_its_dialect() {
    let scene = scene().await;
    let (session, history) = scene.session().await;
    let terms =
        json!({ "audience": "bob", "scopes": ["continue"], "expires_s": 600, "spend_micros": 7, "note": "go on" });
    let token = scene.token(&session, &terms).await;
    let wish = json!({ "token": token, "format": "anthropic", "key": "07".repeat(16) });
    let taken = scene.accept(BOB, &wish).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let taken = taken.json();
    assert_eq!((&taken["session"], &taken["epoch"], &taken["scope"]), (&json!(session), &json!(1), &json!("continue")));
    assert_eq!((&taken["format"], &taken["spend_micros"]), (&json!("anthropic-messages"), &json!(7)));
    let again = scene.accept(BOB, &wish).await.json();
    assert_eq!((&again["again"], &again["projection"]), (&json!(true), &taken["projection"]));

    let mut body = taken["projection"].clone();
    body["messages"].as_array_mut().unwrap().push(json!({ "role": "user", "content": "And then?" }));
    body["model"] = "beta/m".into();
    body["max_tokens"] = 64.into();
    let goes_on = scene.post_as_anthropic(BOB, "/v1/messages", &body).await;
    assert!(goes_on.is_complete(), "{goes_on:?}");
    assert_eq!(goes_on.header("x-commonwatt-session"), session);
    let asked = String::from_utf8(scene.beta.requests().pop().unwrap().body.to_vec()).unwrap();
    assert!(asked.contains("Plan the move.") && asked.contains(history[1]["content"].as_str().unwrap()), "{asked}");

    // The one before, in each dialect, before anything is sent.
    let calls = (scene.alpha.calls(), scene.beta.calls());
    let late = [history, vec![json!({ "role": "user", "content": "Wait!" })]].concat();
    let late = json!({ "model": "alpha/m", "max_tokens": 64, "messages": late });
    let sentence = "this session was handed over to `bob`: ask there for a handoff, or begin another (`x-commonwatt-session: NAME`)";
    let told = scene.post(KEY, "/v1/chat/completions", &late).await;
    assert_eq!((told.status, told.json()["error"]["message"].as_str()), (409, Some(sentence)));
    let told = scene.post_as_anthropic(KEY, "/v1/messages", &late).await;
    assert_eq!((told.status, &told.json()["error"]["type"]), (409, &json!("conflict_error")));
    assert_eq!(told.json()["error"]["message"], sentence);
    assert_eq!((scene.alpha.calls(), scene.beta.calls()), calls);

    let listed = scene.get(KEY, &format!("/admin/v1/sessions/{session}/handoffs")).await.json();
    let listed = &listed["handoffs"][0];
    assert_eq!(
        (&listed["state"], &listed["used_by"], &listed["note"]),
        (&json!("accepted"), &json!("bob"), &json!("go on"))
    );
}

/// What is asked, and the status and the sentence that answer it.
type Case = (Told, u16, &'static str);

fn told_so(cases: Vec<Case>) {
    for (told, status, sentence) in cases {
        let body = told.json();
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(told.status, status, "{message}");
        assert!(message.contains(sentence), "`{message}` does not say `{sentence}`");
    }
}

#[tokio::test]
async fn each_token_that_is_not_good_is_refused_with_its_reason() {
    let scene = scene().await;
    let (session, _) = scene.session().await;
    let accept = |token: &str| json!({ "token": token });
    let for_bob = scene.token(&session, &json!({ "audience": "bob" })).await;
    let short = scene.token(&session, &json!({ "expires_s": 1 })).await;
    let overtaken = scene.token(&session, &json!({})).await;
    let revoked = scene.offer(KEY, &session, &json!({})).await.json();
    let handoff = revoked["handoff"].as_str().unwrap();
    assert_eq!(scene.revoke(KEY, handoff).await.status, 200);
    let narrowed = |narrowing| narrow(&for_bob, &narrowing, Seed([3; 32])).unwrap().text().to_owned();
    let read_only = narrowed(Narrowing { scopes: Some(Scopes::of(&[Scope::Read])), ..Narrowing::default() });
    let for_two =
        narrowed(Narrowing { audience: Some(commonwatt_core::lease::Holder("eve".into())), ..Narrowing::default() });
    let past = narrowed(Narrowing { expires_s: Some(1), ..Narrowing::default() });
    let mut changed = for_bob.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    let elsewhere = self::scene().await;
    let theirs = elsewhere.token(&elsewhere.session().await.0, &json!({})).await;
    sleep(Duration::from_millis(1_100)).await;

    let continues = |token: &str| json!({ "token": token, "scope": "continue" });
    told_so(vec![
        (scene.accept(EVE, &accept(&for_bob)).await, 403, "this handoff is for somebody else"),
        (scene.accept(EVE, &accept(&for_two)).await, 403, "this handoff is for somebody else"),
        (scene.accept(BOB, &accept(&for_two)).await, 403, "this handoff is for somebody else"),
        (scene.accept(BOB, &accept(&past)).await, 403, "this handoff expired at 1 (Unix time)"),
        (scene.accept(BOB, &accept(&short)).await, 403, "this handoff expired at "),
        (scene.accept(BOB, &continues(&read_only)).await, 403, "this handoff does not allow to continue"),
        (scene.accept(BOB, &accept(revoked["token"].as_str().unwrap())).await, 403, "was revoked by `first`"),
        (scene.accept(BOB, &accept(&theirs)).await, 403, "was not issued by the expected node, or it was changed"),
        (scene.accept(BOB, &accept(&for_bob[..for_bob.len() - 8])).await, 400, "this is not a handoff token"),
        (scene.accept(BOB, &accept("cwh_")).await, 400, "this is not a handoff token"),
        (scene.accept(BOB, &accept(&"x".repeat(20_000))).await, 400, "at most 16384 characters"),
    ]);
    let changed = scene.accept(BOB, &accept(&changed)).await;
    assert!(matches!(changed.status, 400 | 403), "{changed:?}");
    // Nothing of that has used it up.
    assert_eq!(scene.accept(BOB, &accept(&read_only)).await.json()["scope"], "read");
    assert_eq!(scene.accept(BOB, &accept(&for_bob)).await.status, 200);
    told_so(vec![
        (scene.accept(BOB, &accept(&for_bob)).await, 409, "was accepted by `bob` and is good once"),
        (scene.accept(EVE, &accept(&overtaken)).await, 409, "is void: the session was handed on, and `bob` holds it"),
        (scene.revoke(KEY, handoff).await, 200, ""),
        (scene.revoke(EVE, handoff).await, 403, "only `first`, who offered it, may revoke this handoff"),
        (scene.offer(KEY, &session, &json!({})).await, 409, "handed over to `bob`"),
    ]);
}

#[tokio::test]
async fn each_wrong_question_about_a_handoff_is_told_what_is_wrong() {
    let scene = scene().await;
    let (session, _) = scene.session().await;
    let token = scene.token(&session, &json!({})).await;
    let path = format!("/admin/v1/sessions/{session}/handoff");
    told_so(vec![
        (scene.offer("cw-nobody", &session, &json!({})).await, 401, "this key is not known here"),
        (scene.offer(EVE, &session, &json!({})).await, 404, "there is no such session here"),
        (scene.get(EVE, &format!("{path}s")).await, 404, "there is no such session here"),
        (scene.get(KEY, &path).await, 405, "use POST"),
        (scene.offer(KEY, "nothing", &json!({})).await, 404, "there is no such session here"),
        (scene.offer(KEY, &session, &json!({ "scopes": ["all"] })).await, 400, "`all` is not a scope"),
        (scene.offer(KEY, &session, &json!({ "scopes": [] })).await, 400, "name at least one"),
        (scene.offer(KEY, &session, &json!({ "expires": 9 })).await, 400, "unknown field `expires`"),
        (scene.offer(KEY, &session, &json!({ "expires_s": 0 })).await, 400, "1 to 2592000 seconds"),
        (scene.offer(KEY, &session, &json!({ "audience": "" })).await, 400, "the audience must be 1 to 200 bytes"),
        (scene.accept(BOB, &json!({})).await, 400, "missing field `token`"),
        (scene.accept(BOB, &json!({ "token": token, "format": "morse" })).await, 400, "`morse` is not a format"),
        (scene.accept(BOB, &json!({ "token": token, "key": "1" })).await, 400, "32 hexadecimal digits"),
        (scene.revoke(KEY, "nothing").await, 400, "32 hexadecimal digits"),
        (scene.revoke(KEY, &"00".repeat(16)).await, 404, "there is no such handoff"),
    ]);
    let told = scene.post_as_anthropic(EVE, &path, &json!({})).await;
    assert_eq!((told.status, &told.json()["error"]["type"]), (404, &json!("not_found_error")), "{told:?}");
}

#[tokio::test]
async fn a_session_is_handed_over_at_the_command_line() {
    let scene = scene().await;
    let (session, _) = scene.session().await;
    let said = |(code, out, err): (i32, String, String)| {
        assert_eq!(code, 0, "{err}");
        out.trim().to_owned()
    };
    let offer = ["session", "handoff", &session, "--to", "bob", "--note", "the boxes are packed"];
    let token = said(cli(&scene.daemon, KEY, &offer).await);
    assert!(token.starts_with("cwh_"), "{token}");
    let listed = said(cli(&scene.daemon, KEY, &["session", "handoff", &session, "--list"]).await);
    assert!(listed.contains("bob") && listed.contains("the boxes are packed"), "{listed}");

    let (code, _, err) = cli(&scene.daemon, EVE, &["session", "accept", &token]).await;
    assert!(code != 0 && err.contains("somebody else"), "{err}");
    let page = said(cli(&scene.daemon, BOB, &["session", "accept", &token]).await);
    assert!(page.contains("Plan the move."), "{page}");
    let (code, _, err) = cli(&scene.daemon, BOB, &["session", "accept", &token]).await;
    assert!(code != 0 && err.contains("accepted"), "{err}");

    let (session, _) = scene.session().await;
    let offered = said(cli(&scene.daemon, KEY, &["session", "handoff", &session, "--json"]).await);
    let offered: Value = serde_json::from_str(&offered).unwrap();
    let (handoff, token) = (offered["handoff"].as_str().unwrap(), offered["token"].as_str().unwrap());
    said(cli(&scene.daemon, KEY, &["session", "handoff", &session, "--revoke", handoff]).await);
    let (code, _, err) = cli(&scene.daemon, BOB, &["session", "accept", token]).await;
    assert!(code != 0 && err.contains("revoked"), "{err}");
}
