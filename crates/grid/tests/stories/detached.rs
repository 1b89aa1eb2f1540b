//! Answers that are made without their callers: in the background, and for callers who leave and come back.
//!
//! The store has a thread of its own, so these stories run on the real clock.

use std::sync::Arc;

use commonwatt_core::refusal::RefusalKind;
use commonwatt_grid::relay::{AnswerBody, Answered};
use commonwatt_sim::Outcome;
use commonwatt_wire::Dialect;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, sleep, timeout};

use crate::heard::read;
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier, speech};

const MINE: &str = "anywhere";
const THEIRS: &str = "local only";

fn scene(supplier: Supplier) -> (TempDir, Arc<Scene>) {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), [supplier]);
    (dir, scene)
}

/// A supplier that takes a second or so to say what it says.
fn slow(dialect: Dialect) -> Supplier {
    Supplier::local("alpha").speaking(dialect).with(|settings| settings.gap_ms = 30)
}

fn ask(body: Value) -> Ask {
    Ask { whole: Some(body), ..Ask::new(Dialect::OpenAiResponses, false) }
}

fn in_background(stream: bool) -> Ask {
    ask(json!({ "model": "auto", "input": "one", "background": true, "stream": stream, "temperature": 0.5 }))
}

impl Scene {
    async fn begins(&self, ask: &Ask) -> Answered {
        self.grid.call(ask.arrival(&self.grid)).await.unwrap()
    }

    /// Asks for an answer in the background; the response that was promised.
    async fn promised(&self) -> Value {
        let AnswerBody::Whole(response) = self.begins(&in_background(false)).await.body else { panic!("no promise") };
        serde_json::from_slice(&response).unwrap()
    }

    async fn response(&self, id: &Value) -> Value {
        let response = self.grid.response(MINE, id.as_str().unwrap()).await.unwrap();
        serde_json::from_slice(&response).unwrap()
    }

    /// Polls until a response has ended.
    async fn ended(&self, id: &Value) -> Value {
        let ended = async {
            loop {
                let response = self.response(id).await;
                if !matches!(response["status"].as_str(), Some("queued" | "in_progress")) {
                    return response;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), ended).await.unwrap()
    }
}

/// The rest of a stream.
async fn all(body: AnswerBody) -> String {
    let AnswerBody::Followed(mut follower) = body else { panic!("nothing to follow") };
    let mut said = Vec::new();
    while let Some(bytes) = follower.next().await {
        said.extend_from_slice(&bytes);
    }
    String::from_utf8(said).unwrap()
}

fn events(said: &str) -> Vec<Value> {
    let data = said.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn an_answer_in_the_background_is_promised_at_once_and_fetched_when_it_is_there() {
    for supplier in [Dialect::OpenAiResponses, Dialect::OpenAiChat, Dialect::AnthropicMessages] {
        let (_dir, scene) = scene(slow(supplier));
        let promised = scene.promised().await;
        assert_eq!((&promised["status"], &promised["background"]), (&json!("queued"), &json!(true)));
        assert_eq!((&promised["store"], &promised["temperature"]), (&json!(true), &json!(0.5)));
        let ended = scene.ended(&promised["id"]).await;
        assert_eq!((&ended["status"], &ended["id"]), (&json!("completed"), &promised["id"]), "{supplier}");
        assert_eq!(ended["output"][0]["content"][0]["text"], json!(speech("alpha")), "{supplier}");
        assert_eq!(ended["created_at"], promised["created_at"]);
        let follows = json!({ "model": "auto", "input": "two", "previous_response_id": promised["id"] });
        scene.call(&ask(follows)).await.unwrap();
        let asked = String::from_utf8(scene.sim("alpha").requests().pop().unwrap().body.to_vec()).unwrap();
        assert!(asked.contains(speech("alpha").trim()) && !asked.contains("background"), "{asked}");
    }
}

#[tokio::test]
async fn a_thousand_polls_ask_nobody_a_second_time() {
    let (_dir, scene) = scene(slow(Dialect::OpenAiChat));
    let promised = scene.promised().await;
    for _ in 0..1_000 {
        scene.response(&promised["id"]).await;
    }
    scene.ended(&promised["id"]).await;
    assert_eq!(scene.asked("alpha"), 1);
}

#[tokio::test]
async fn a_stream_in_the_background_is_resumed_after_any_event_without_a_second_inference() {
    let (_dir, scene) = scene(slow(Dialect::OpenAiResponses));
    let answered = scene.begins(&in_background(true)).await;
    let AnswerBody::Followed(mut follower) = answered.body else { panic!("a stream was asked for") };
    let first = events(std::str::from_utf8(&follower.next().await.unwrap()).unwrap());
    // The connection breaks.
    drop(follower);
    let id = first[0]["response"]["id"].as_str().unwrap().to_owned();
    let id = id.as_str();
    let after = first.last().unwrap()["sequence_number"].as_u64().unwrap();
    let rest = scene.grid.response_stream(MINE, id, Some(after)).await.unwrap();
    let rest = events(&all(AnswerBody::Followed(rest)).await);
    let whole = [first, rest].concat();
    let numbers: Vec<_> = whole.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..whole.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<_> = whole.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["response.created", "response.queued", "response.in_progress"]);
    assert_eq!(kinds.last(), Some(&"response.completed"));
    let text: String = whole.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((text, scene.asked("alpha")), (speech("alpha"), 1));
    // After its end, from everywhere, and it is the same.
    for after in [None, Some(0), Some(after), Some(whole.len() as u64 - 2), Some(9_999)] {
        let again = scene.grid.response_stream(MINE, id, after).await.unwrap();
        let from = after.map_or(0, |after| usize::try_from(after).unwrap() + 1).min(whole.len());
        assert_eq!(events(&all(AnswerBody::Followed(again)).await), whole[from..], "{after:?}");
    }
    assert_eq!(scene.response(&json!(id)).await, whole.last().unwrap()["response"]);
}

#[tokio::test]
async fn a_cancelled_response_ends_the_call_upstream_and_keeps_what_was_said() {
    // Before the first word, and after it.
    for (words, heard) in [("stall after=start", false), ("pass", true)] {
        let (_dir, scene) = scene(slow(Dialect::OpenAiChat).script(words));
        let AnswerBody::Followed(mut follower) = scene.begins(&in_background(true)).await.body else { panic!() };
        let mut said = String::new();
        while (heard && !said.contains("output_text.delta")) || said.is_empty() {
            said.push_str(std::str::from_utf8(&follower.next().await.unwrap()).unwrap());
        }
        let id = events(&said)[0]["response"]["id"].clone();
        let cancelled = scene.grid.cancel_response(MINE, id.as_str().unwrap()).await.unwrap();
        let cancelled: Value = serde_json::from_slice(&cancelled).unwrap();
        assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &id));
        assert_eq!(cancelled["output"].as_array().unwrap().is_empty(), !heard, "{cancelled}");
        let left = scene.sim("alpha").wait_for(|requests| requests.iter().all(|r| r.outcome == Outcome::ClientLeft));
        timeout(Duration::from_secs(5), left).await.expect("the supplier still plays");
        said.push_str(&all(AnswerBody::Followed(follower)).await);
        let last = events(&said).pop().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.incomplete"), &json!("cancelled")));
        // Cancelled again, it stays what it is; and what was asked is there.
        assert_eq!(scene.grid.cancel_response(MINE, id.as_str().unwrap()).await.unwrap(), cancelled.to_string());
        let items = scene.grid.bus().unwrap().input_items(MINE, id.as_str().unwrap()).await.unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(scene.grid.calls_under_way(), 0);
    }
}

#[tokio::test]
async fn what_goes_wrong_in_the_background_is_told_by_the_response() {
    for words in ["status=400", "reset after=3"] {
        let (_dir, scene) = scene(Supplier::local("alpha").always(words));
        let AnswerBody::Followed(follower) = scene.begins(&in_background(true)).await.body else { panic!() };
        let said = events(&all(AnswerBody::Followed(follower)).await);
        let last = said.last().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
        assert_eq!(last["sequence_number"].as_u64(), Some(said.len() as u64 - 1));
        let kept = scene.ended(&last["response"]["id"]).await;
        assert_eq!(kept["error"], last["response"]["error"], "{words}");
        let is_callers = words == "status=400";
        assert_eq!(kept["error"]["code"], if is_callers { "invalid_prompt" } else { "server_error" }, "{kept}");
        let text = kept["output"][0]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(speech("alpha").starts_with(text) && text.is_empty() == is_callers, "{kept}");
    }
}

#[tokio::test]
async fn nobody_fetches_resumes_or_cancels_anothers_answer() {
    let (_dir, scene) = scene(slow(Dialect::OpenAiChat));
    let id = scene.promised().await["id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(scene.grid.response(THEIRS, id).await.unwrap_err().kind, RefusalKind::NotKept);
    assert_eq!(scene.grid.cancel_response(THEIRS, id).await.unwrap_err().kind, RefusalKind::NotKept);
    assert_eq!(scene.grid.delete_response(THEIRS, id).await.unwrap_err().kind, RefusalKind::NotKept);
    assert_eq!(scene.grid.response_stream(THEIRS, id, None).await.err().unwrap().kind, RefusalKind::NotKept);
    let call = id.strip_prefix("resp_").unwrap();
    assert_eq!(scene.grid.rest_of(THEIRS, call, None).err().unwrap().kind, RefusalKind::NotKept);
    assert_eq!(scene.ended(&json!(id)).await["status"], "completed");
}

#[tokio::test]
async fn what_cannot_be_fetched_later_is_not_made_in_the_background() {
    let (_dir, scene) = scene(slow(Dialect::OpenAiChat));
    let body = json!({ "model": "auto", "input": "x", "background": true, "store": false });
    assert_eq!(scene.call(&ask(body)).await.unwrap_err().kind, RefusalKind::BadRequest);
    let whole = scene.call(&ask(json!({ "model": "auto", "input": "x" }))).await.unwrap();
    let id = serde_json::from_slice::<Value>(&whole.raw).unwrap()["id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(scene.grid.cancel_response(MINE, id).await.unwrap_err().kind, RefusalKind::BadRequest);
    assert_eq!(scene.grid.response_stream(MINE, id, None).await.err().unwrap().kind, RefusalKind::BadRequest);
    let promised = scene.promised().await["id"].clone();
    let promised = promised.as_str().unwrap();
    assert_eq!(scene.grid.response_stream(MINE, promised, None).await.err().unwrap().kind, RefusalKind::BadRequest);
}

#[tokio::test]
async fn a_response_that_is_deleted_while_it_is_made_is_made_no_more() {
    let (_dir, scene) = scene(slow(Dialect::OpenAiChat));
    let id = scene.promised().await["id"].clone();
    scene.grid.delete_response(MINE, id.as_str().unwrap()).await.unwrap();
    assert_eq!(scene.grid.response(MINE, id.as_str().unwrap()).await.unwrap_err().kind, RefusalKind::NotKept);
    timeout(Duration::from_secs(5), scene.grid.detached_over()).await.unwrap();
}

#[tokio::test]
async fn one_caller_does_not_take_all_the_room() {
    let (_dir, scene) = scene(Supplier::local("alpha").always("stall after=start"));
    for _ in 0..32 {
        scene.promised().await;
    }
    assert_eq!(scene.call(&in_background(false)).await.unwrap_err().kind, RefusalKind::Busy);
    let theirs = Ask { key: LOCAL_KEY, ..in_background(false) };
    assert!(scene.grid.call(theirs.arrival(&scene.grid)).await.is_ok());
}

/// A grid that dies in the midst of an answer, and another over what it left.
#[tokio::test]
async fn a_promise_that_a_crash_broke_is_told_as_failed_with_what_was_said() {
    for (words, is_heard) in [("stall after=start", false), ("stall after=6", true)] {
        let dir = tempfile::tempdir().unwrap();
        let before = Scene::kept(dir.path(), [Supplier::local("alpha").always(words)]);
        let AnswerBody::Followed(mut follower) = before.begins(&in_background(true)).await.body else { panic!() };
        let mut said = String::new();
        while (is_heard && !said.contains("output_text.delta")) || said.is_empty() {
            said.push_str(std::str::from_utf8(&follower.next().await.unwrap()).unwrap());
        }
        let id = events(&said)[0]["response"]["id"].clone();
        let bus = Arc::clone(before.grid.bus().unwrap());
        // What a dead process has left: its journal, and no turn.
        bus.close().await;
        drop((bus, follower, before));
        let (_left, after) = reopened(dir.path());
        assert_eq!(after.grid.bus().unwrap().recover().await.unwrap(), 1);
        let kept = after.response(&id).await;
        assert_eq!(
            (&kept["status"], &kept["background"], &kept["temperature"]),
            (&json!("failed"), &json!(true), &json!(0.5))
        );
        assert_eq!(kept["error"]["code"], "server_error");
        let text = kept["output"][0]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(speech("alpha").starts_with(text) && text.is_empty() != is_heard, "{kept}");
        let items = after.grid.bus().unwrap().input_items(MINE, id.as_str().unwrap()).await.unwrap();
        assert_eq!(items.len(), 1);
    }
}

/// A grid over a copy of what is on disk: the store itself belongs to the process that opened it.
fn reopened(dir: &std::path::Path) -> (TempDir, Arc<Scene>) {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap().flatten() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let scene = Scene::kept(copy.path(), [Supplier::local("alpha")]);
    (copy, scene)
}

#[tokio::test]
async fn a_caller_that_leaves_and_comes_back_hears_the_rest_of_the_same_answer() {
    for dialect in Dialect::ALL {
        for supplier in [dialect, Dialect::AnthropicMessages] {
            let supplier = if Dialect::OUT.contains(&supplier) { supplier } else { Dialect::OpenAiChat };
            let (_dir, scene) = scene(slow(supplier).with(|settings| settings.gap_ms = 10));
            let answered = scene.begins(&Ask { detached: true, ..Ask::new(dialect, true) }).await;
            assert!(answered.served.deployment.is_some());
            let call = answered.served.call.clone();
            let AnswerBody::Followed(mut follower) = answered.body else { panic!("nothing to follow") };
            let mut first = String::from_utf8(follower.next().await.unwrap().to_vec()).unwrap();
            drop(follower);
            let has_ids = !matches!(dialect, Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate);
            let heard = match dialect {
                Dialect::OllamaChat | Dialect::OllamaGenerate => first.lines().count(),
                Dialect::Gemini => first.matches("data:").count(),
                Dialect::OpenAiChat
                | Dialect::AnthropicMessages
                | Dialect::OpenAiResponses
                | Dialect::OpenAiCompletions => first.matches("id: ").count(),
            };
            assert_eq!(first.starts_with("id: 0\n"), has_ids, "{first}");
            let (told_in, rest) = scene.grid.rest_of(MINE, &call.0, Some(heard as u64 - 1)).unwrap();
            assert_eq!(told_in, dialect);
            first.push_str(&all(AnswerBody::Followed(rest)).await);
            let (text, _) = read(dialect, true, first.as_bytes());
            assert_eq!((text.trim(), scene.asked("alpha")), (speech("alpha").trim(), 1), "{dialect} from {supplier}");
            assert_eq!(scene.grid.rest_of(THEIRS, &call.0, None).err().unwrap().kind, RefusalKind::NotKept);
        }
    }
}

#[tokio::test]
async fn an_answer_is_made_to_its_end_though_its_caller_left_before_the_first_word() {
    let (_dir, scene) = scene(Supplier::local("alpha").always("stall=300 after=start"));
    let asked = Ask { detached: true, ..Ask::streamed() };
    let (grid, arrival) = (Arc::clone(&scene.grid), asked.arrival(&scene.grid));
    let waiting = tokio::spawn(async move { grid.call(arrival).await.map(drop) });
    sleep(Duration::from_millis(50)).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    timeout(Duration::from_secs(30), scene.grid.detached_over()).await.unwrap();
    let outcomes: Vec<_> = scene.sim("alpha").requests().iter().map(|request| request.outcome).collect();
    assert_eq!(outcomes, [Outcome::Finished]);
    let whole = Ask { detached: true, ..Ask::new(Dialect::OpenAiChat, false) };
    assert_eq!(scene.call(&whole).await.unwrap_err().kind, RefusalKind::BadRequest);
}

#[tokio::test]
async fn an_answer_that_nobody_gives_is_refused_to_a_caller_that_waits_and_leaves_nothing_behind() {
    let (_dir, scene) = scene(Supplier::local("alpha").always("status=400"));
    let asked = Ask { detached: true, ..Ask::streamed() };
    assert_eq!(scene.call(&asked).await.unwrap_err().kind, RefusalKind::BadRequest);
    timeout(Duration::from_secs(5), scene.grid.detached_over()).await.unwrap();
    assert_eq!(scene.grid.calls_under_way(), 0);
}
