//! What is kept of conversations, and what a person sees of it.

use commonwatt_sim::Running;
use serde_json::{Value, json};

use crate::world::{Daemon, KEY, Start, Tell, command, question, sim};

/// What the command line said: its exit code, its output, its complaints.
pub(crate) async fn cli(daemon: &Daemon, key: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(daemon.home.path().into(), "127.0.0.1:9", &[]);
    let output = command.env("COMMONWATT_KEY", key).args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

async fn shown(daemon: &Daemon, arguments: &[&str]) -> Value {
    let (code, out, err) = cli(daemon, KEY, arguments).await;
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// Three suppliers, who are asked by the names of their models.
async fn three() -> ([Running; 3], Daemon) {
    let sims = [sim().await, sim().await, sim().await];
    let third = format!(
        "[providers.third]\ndialect = 'openai-chat'\nbase_url = '{}'\ntier = 'free'\nkey = 'env:THIRD'\n\
         default_model = 'm'\n",
        sims[2].base_url(commonwatt_sim::Dialect::ChatCompletions)
    );
    let start = Start::default().openai(&sims[0]).anthropic(&sims[1]).variable("THIRD", "x").config(&third);
    let daemon = start.daemon().await;
    (sims, daemon)
}

/// Asks a model within a session, whose history the bus has; the session's id.
async fn ask(daemon: &Daemon, header: (&str, &str), model: &str, text: &str) -> String {
    let body = json!({ "model": model, "max_tokens": 24, "messages": [{ "role": "user", "content": text }] });
    let request = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth(KEY);
    let told = request.header(header.0, header.1).json(&body).send().await.unwrap().told(false).await;
    assert_eq!(told.status, 200, "{told:?}");
    told.header("x-commonwatt-session").to_owned()
}

const NAMED: &str = "x-commonwatt-session";
const CONTINUED: &str = "x-commonwatt-continue";

fn speakers(told: &Value) -> Vec<String> {
    let turns = told["turns"].as_array().unwrap();
    let speaker = |turn: &Value| {
        let by = turn["by"].as_str().and_then(|by| by.split('/').next());
        by.or(turn["party"].as_str()).unwrap().to_owned()
    };
    turns.iter().map(speaker).collect()
}

#[tokio::test]
async fn three_models_speak_in_one_session_and_it_is_told_who_said_what() {
    let (_sims, daemon) = three().await;
    let id = ask(&daemon, (NAMED, "trip"), "openai/gpt-x", "to Bern?").await;
    assert_eq!(ask(&daemon, (CONTINUED, "trip"), "anthropic/claude-x", "to Rome?").await, id);
    assert_eq!(ask(&daemon, (CONTINUED, &id), "third/m", "to Oslo?").await, id);
    let told = shown(&daemon, &["session", "show", "trip", "--json"]).await;
    assert_eq!(speakers(&told), ["user", "openai", "user", "anthropic", "user", "third"]);
    assert_eq!(told["turns"][2]["said"], json!([{ "kind": "text", "text": "to Rome?" }]));
    assert_eq!(told["turns"][4]["items"][0]["content"][0]["text"], "to Oslo?");
    assert!(told["turns"][5]["usage"]["output"].as_u64().unwrap() > 0, "{told}");

    let (_, out, _) = cli(&daemon, KEY, &["session", "show", "trip"]).await;
    assert!(out.contains("\nanthropic/claude-x · ") && out.contains("\n  to Rome?\n"), "{out}");
    let (_, out, _) = cli(&daemon, KEY, &["session", "list"]).await;
    assert!(out.contains("  trip  ") && out.contains("  6      to Bern?\n"), "{out}");
    let status = daemon.get("/admin/v1/status").await.json::<Value>().await.unwrap();
    assert_eq!((&status["bus"]["sessions"], &status["bus"]["and_more"]), (&json!(1), &json!(false)));
    assert!(status["bus"]["bytes"].as_u64().unwrap() > 0);
    let (_, out, _) = cli(&daemon, KEY, &["status"]).await;
    assert!(out.contains("sessions  1 of this key, "), "{out}");
}

#[tokio::test]
async fn a_conversation_goes_on_from_an_earlier_turn_and_both_branches_stay() {
    let (sims, daemon) = three().await;
    let id = ask(&daemon, (NAMED, "trip"), "third/m", "one").await;
    ask(&daemon, (CONTINUED, "trip"), "third/m", "two").await;
    let tree = shown(&daemon, &["session", "tree", "trip", "--json"]).await;
    let second = tree["turns"][1]["id"].as_str().unwrap();
    ask(&daemon, (CONTINUED, &format!("{id}@{second}")), "third/m", "other").await;
    let asked: Value = serde_json::from_slice(&sims[2].requests().last().unwrap().body).unwrap();
    let contents: Vec<_> = asked["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(contents, ["user", "assistant", "user"]);
    let (_, drawn, _) = cli(&daemon, KEY, &["session", "tree", &id]).await;
    let rows: Vec<&str> = drawn.lines().skip(4).map(|row| row.split(" ·").next().unwrap()).collect();
    assert_eq!(rows, ["1  ● user", "2  ● third/m", "3  ├─○ user", "4  │ ○ third/m", "5  ● user", "6  ● third/m"]);
    let told = shown(&daemon, &["session", "show", &id, "--turn", "4", "--json"]).await;
    assert_eq!((speakers(&told).len(), &told["turns"][2]["said"][0]["text"]), (4, &json!("two")));

    let nowhere = format!("trip@{}", "0".repeat(64));
    let request = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth(KEY);
    let told = request.header(CONTINUED, nowhere).json(&question("third/m", false)).send().await.unwrap();
    let told = told.told(false).await;
    assert!(told.status == 404 && told.body.contains("is not in this session"), "{told:?}");
}

#[tokio::test]
async fn what_was_erased_is_gone_for_everybody() {
    let (_sims, daemon) = three().await;
    let id = ask(&daemon, (NAMED, "secret"), "third/m", "a secret").await;
    let (code, _, err) = cli(&daemon, KEY, &["session", "erase", "secret"]).await;
    assert!(code == 1 && err.contains("say `--yes`"), "{err}");
    let erased = shown(&daemon, &["session", "erase", "secret", "--yes", "--json"]).await;
    assert_eq!(erased, json!({ "erased": id }));
    for arguments in [["show", &id], ["tree", &id], ["show", "secret"]] {
        let (code, _, err) = cli(&daemon, KEY, &["session", arguments[0], arguments[1]]).await;
        assert!(code == 1 && err.contains("there is no session `"), "{err}");
    }
    assert_eq!(shown(&daemon, &["session", "list", "--json"]).await, json!({ "sessions": [], "next": null }));
}

#[tokio::test]
async fn a_session_is_found_by_as_much_of_its_id_as_tells_it_apart() {
    let (_sims, daemon) = three().await;
    let ids = [ask(&daemon, (NAMED, "one"), "third/m", "1").await, ask(&daemon, (NAMED, "two"), "third/m", "2").await];
    let (code, _, err) = cli(&daemon, KEY, &["session", "show", &ids[0][..5]]).await;
    assert!(code == 1 && err.contains("is the beginning of several sessions"), "{err}");
    assert!(ids.iter().all(|id| err.contains(id.as_str())), "{err}");
    let told = shown(&daemon, &["session", "show", &ids[1][..35], "--json"]).await;
    assert_eq!(told["session"]["name"], "two");
    let page = shown(&daemon, &["session", "list", "--limit", "1", "--json"]).await;
    assert_eq!(page["sessions"][0]["name"], "two");
    let next = format!("/admin/v1/sessions?cursor={}", page["next"].as_str().unwrap());
    let rest = daemon.get(&next).await.json::<Value>().await.unwrap();
    assert_eq!((&rest["sessions"][0]["name"], &rest["next"]), (&json!("one"), &Value::Null));
}

#[tokio::test]
async fn another_key_sees_nothing_of_it() {
    let (_sims, daemon) = three().await;
    let id = ask(&daemon, (NAMED, "mine"), "third/m", "x").await;
    let other = shown(&daemon, &["key", "add", "other", "--json"]).await["key"].as_str().unwrap().to_owned();
    let (code, out, _) = cli(&daemon, &other, &["session", "list"]).await;
    assert!(code == 0 && out.starts_with("no sessions yet"), "{out}");
    for arguments in [["show", id.as_str()], ["show", &id[..35]], ["tree", "mine"]] {
        let (code, _, err) = cli(&daemon, &other, &["session", arguments[0], arguments[1]]).await;
        assert!(code == 1 && err.contains("there is no session `"), "{err}");
    }
    let url = format!("{}/admin/v1/sessions/{id}", daemon.base);
    let told = daemon.http.delete(&url).bearer_auth(&other).send().await.unwrap();
    assert_eq!(told.status(), 404);
    assert_eq!(daemon.http.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(shown(&daemon, &["session", "show", "mine", "--json"]).await["session"]["turns"], 2);
}

/// The same JSON with everything that differs from run to run replaced by what it is.
fn still(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(still),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match name.as_str() {
                    "id" | "parent" | "root" | "head" if value.is_string() => *value = "…".into(),
                    "created_ms" | "updated_ms" | "made_ms" if value.is_u64() => *value = 0.into(),
                    "input" | "output" if value.is_u64() => *value = 1.into(),
                    "text" if value.as_str().is_some_and(|text| text.len() > 9) => *value = "an answer".into(),
                    _ => still(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn programs_are_told_of_sessions_in_a_form_that_stays() {
    let (_sims, daemon) = three().await;
    ask(&daemon, (NAMED, "trip"), "third/m", "to Bern?").await;
    let mut shows = shown(&daemon, &["session", "show", "trip", "--json"]).await;
    let mut tree = shown(&daemon, &["session", "tree", "trip", "--json"]).await;
    still(&mut shows);
    still(&mut tree);
    let session = json!({"id": "…", "name": "trip", "title": "to Bern?", "owner": "first", "holder": "first",
        "created_ms": 0, "updated_ms": 0, "expires_ms": null, "data_class": null, "turns": 2, "root": "…", "head": "…"});
    let usage = json!({"input": 1, "cache_read": 0, "cache_write": 0, "output": 1, "reasoning": 0});
    assert_eq!(
        shows,
        json!({"session": session, "turns": [
            {"id": "…", "parent": "…", "party": "user", "by": null, "model": null, "state": "complete", "made_ms": 0,
             "finish": null, "usage": null, "said": [{"kind": "text", "text": "to Bern?"}],
             "items": [{"content": [{"text": "to Bern?", "type": "input_text"}], "role": "user", "type": "message"}]},
            {"id": "…", "parent": "…", "party": "model", "by": "third/m", "model": "m", "state": "complete", "made_ms": 0,
             "finish": "length", "usage": usage, "said": [{"kind": "text", "text": "an answer"}],
             "items": [{"content": [{"text": "an answer", "type": "output_text"}], "role": "assistant", "type": "message"}]},
        ], "earlier": null})
    );
    let node = |number, party, by: Option<&str>| {
        json!({"number": number, "id": "…", "parent": "…", "party": party, "by": by, "model": by.map(|_| "m"),
               "state": "complete", "made_ms": 0, "on_path": true})
    };
    assert_eq!(
        tree,
        json!({"session": session, "turns": [node(1, "user", None), node(2, "model", Some("third/m"))], "left_out": 0})
    );
}

#[tokio::test]
async fn a_chat_goes_on_where_another_program_left_off() {
    let (sims, daemon) = three().await;
    ask(&daemon, (NAMED, "trip"), "openai/gpt-x", "to Bern?").await;
    let (code, _, err) = cli(&daemon, KEY, &["chat", "--session", "trip", "--model", "third/m", "and", "back?"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("— going on with ") && err.contains("chat --session trip` goes on\n"), "{err}");
    let asked: Value = serde_json::from_slice(&sims[2].requests().last().unwrap().body).unwrap();
    assert_eq!(asked["messages"][0]["content"], "to Bern?");
    assert_eq!(asked["messages"][2]["content"], "and back?");
    let told = shown(&daemon, &["session", "show", "trip", "--json"]).await;
    assert_eq!(speakers(&told), ["user", "openai", "user", "third"]);
}

#[tokio::test]
async fn without_a_bus_everything_else_works_and_whoever_asks_is_told() {
    let frontier = sim().await;
    let daemon = Start::default().openai(&frontier).config("[bus]\nenabled = false\n").daemon().await;
    for arguments in [&["session", "list"][..], &["session", "show", "x"], &["chat", "--session", "x", "hi"]] {
        let (code, _, err) = cli(&daemon, KEY, arguments).await;
        assert!(
            code == 1 && err.contains("this daemon keeps no sessions: set `enabled = true` under `[bus]`"),
            "{err}"
        );
    }
    let (code, out, err) = cli(&daemon, KEY, &["chat", "hello"]).await;
    assert!(code == 0 && !out.is_empty() && !err.contains("goes on"), "{err}");
    let (_, out, _) = cli(&daemon, KEY, &["status"]).await;
    assert!(out.contains("sessions  not kept"), "{out}");
}
