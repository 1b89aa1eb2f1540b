//! Responses that are kept, and conversations: who may fetch what, and whether it tells the truth.
//!
//! The store has a thread of its own, so these stories run on the real clock.

use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::refusal::RefusalKind;
use commonwatt_grid::bus::Bus;
use commonwatt_wire::Dialect;
use commonwatt_wire::conversations::{read_conversation_update, read_new_conversation, read_new_items};
use commonwatt_wire::items::Listed;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::heard::Told;
use crate::world::{Ask, LOCAL_KEY, Scene, Supplier, speech};

/// As whom the two keys are known.
const MINE: &str = "anywhere";
const THEIRS: &str = "local only";

fn scene(supplier: Dialect) -> (TempDir, Arc<Scene>) {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::kept(dir.path(), [Supplier::local("alpha").speaking(supplier)]);
    (dir, scene)
}

fn ask(body: Value) -> Ask {
    Ask { whole: Some(body), ..Ask::new(Dialect::OpenAiResponses, false) }
}

/// The response that a caller heard, streamed or whole.
fn response(told: &Told) -> Value {
    let text = String::from_utf8(told.raw.clone()).unwrap();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    match last {
        Some(event) => serde_json::from_str::<Value>(event).unwrap()["response"].clone(),
        None => serde_json::from_str(&text).unwrap(),
    }
}

fn json_of(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn texts(items: &[Listed]) -> Vec<String> {
    let item = |item: &Listed| json_of(&item.json.0)["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    items.iter().map(item).collect()
}

impl Scene {
    fn keeps(&self) -> &Bus {
        self.grid.bus().unwrap()
    }

    fn last_asked(&self) -> String {
        String::from_utf8(self.sim("alpha").requests().pop().unwrap().body.to_vec()).unwrap()
    }
}

/// Both ways in which an answer reaches its caller: as its provider wrote it, and written anew.
const SUPPLIERS: [Dialect; 2] = [Dialect::OpenAiResponses, Dialect::OpenAiChat];

#[tokio::test]
async fn a_response_is_fetched_as_it_was_told_until_it_is_deleted() {
    for supplier in SUPPLIERS {
        for stream in [false, true] {
            let (_dir, scene) = scene(supplier);
            let body = json!({ "model": "auto", "input": "one", "stream": stream, "temperature": 0.5 });
            let told = response(&scene.call(&ask(body)).await.unwrap());
            let id = told["id"].as_str().unwrap();
            assert_eq!((&told["store"], &told["temperature"]), (&json!(true), &json!(0.5)), "{supplier}");
            let kept = json_of(&scene.keeps().response(MINE, id).await.unwrap());
            assert_eq!(kept, told, "{supplier}, stream {stream}");
            scene.keeps().delete_response(MINE, id).await.unwrap();
            for gone in [
                scene.keeps().response(MINE, id).await.err(),
                scene.keeps().delete_response(MINE, id).await.err(),
                scene.keeps().input_items(MINE, id).await.err(),
            ] {
                assert_eq!(gone.map(|refused| refused.kind), Some(RefusalKind::NotKept));
            }
        }
    }
}

#[tokio::test]
async fn an_answer_tells_truly_what_it_follows_and_whether_it_is_kept() {
    for supplier in SUPPLIERS {
        for stream in [false, true] {
            let (_dir, scene) = scene(supplier);
            let first = response(&scene.call(&ask(json!({ "model": "auto", "input": "one" }))).await.unwrap());
            assert_eq!((&first["previous_response_id"], &first["conversation"]), (&Value::Null, &Value::Null));
            let follows = json!({ "model": "auto", "input": "two", "stream": stream, "instructions": "Be brief.",
                                  "previous_response_id": first["id"], "store": false });
            let second = response(&scene.call(&ask(follows)).await.unwrap());
            assert_eq!(second["previous_response_id"], first["id"], "{supplier}, stream {stream}");
            assert_eq!(second["store"], json!(false), "{supplier}, stream {stream}");
            let id = second["id"].as_str().unwrap();
            assert_eq!(scene.keeps().response(MINE, id).await.unwrap_err().kind, RefusalKind::NotKept);
        }
    }
}

#[tokio::test]
async fn input_items_are_all_that_was_asked_and_nothing_of_the_answer() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let first = response(&scene.call(&ask(json!({ "model": "auto", "input": "one" }))).await.unwrap());
    let follows = json!({ "model": "auto", "input": "two", "previous_response_id": first["id"] });
    let second = response(&scene.call(&ask(follows)).await.unwrap());
    let items = scene.keeps().input_items(MINE, second["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(texts(&items), ["one".to_owned(), speech("alpha"), "two".to_owned()]);
}

#[tokio::test]
async fn nobody_sees_anothers_responses_or_conversations() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let told = response(&scene.call(&ask(json!({ "model": "auto", "input": "one" }))).await.unwrap());
    let id = told["id"].as_str().unwrap();
    let bus = scene.keeps();
    let begun = bus.begin_conversation(MINE, read_new_conversation(&Bytes::new()).unwrap()).await.unwrap();
    let update = read_conversation_update(&Bytes::from_static(br#"{"metadata":{}}"#)).unwrap();
    let items = read_new_items(&Bytes::from_static(br#"{"items":[{"role":"user","content":"x"}]}"#)).unwrap();
    for refused in [
        bus.response(THEIRS, id).await.err(),
        bus.delete_response(THEIRS, id).await.err(),
        bus.input_items(THEIRS, id).await.err(),
        bus.conversation(THEIRS, &begun.id).await.err(),
        bus.describe_conversation(THEIRS, &begun.id, update).await.err(),
        bus.conversation_items(THEIRS, &begun.id).await.err(),
        bus.add_items(THEIRS, &begun.id, items).await.err(),
        bus.delete_item(THEIRS, &begun.id, "msg_x").await.err(),
        bus.delete_conversation(THEIRS, &begun.id).await.err(),
    ] {
        assert_eq!(refused.map(|refused| refused.kind), Some(RefusalKind::NotKept));
    }
    for (name, value, kind) in [
        ("previous_response_id", json!(id), RefusalKind::UnknownPrevious),
        ("conversation", json!({ "id": begun.id }), RefusalKind::NotKept),
    ] {
        let body = json!({ "model": "auto", "input": "x", name: value });
        let refused = scene.call(&Ask { key: LOCAL_KEY, ..ask(body) }).await.unwrap_err();
        assert_eq!(refused.kind, kind, "{name}");
    }
    assert!(bus.response(MINE, id).await.is_ok() && bus.conversation(MINE, &begun.id).await.is_ok());
}

#[tokio::test]
async fn ids_of_any_letters_are_not_found_and_nothing_worse() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let bus = scene.keeps();
    let long = "x".repeat(100_000);
    for id in ["", "resp_", "conv_", "' OR 1=1 --", "../../bus.db", "\0", "conv_\u{1f600}", "%00", &long] {
        let response = bus.response(MINE, id).await.unwrap_err();
        let conversation = bus.conversation(MINE, id).await.unwrap_err();
        let items = bus.conversation_items(MINE, &format!("conv_{id}")).await.unwrap_err();
        for refused in [response, conversation, items] {
            assert_eq!(refused.kind, RefusalKind::NotKept, "{id}");
            assert!(refused.message.len() < 500, "{id}");
        }
    }
}

#[tokio::test]
async fn a_conversation_gathers_what_was_put_in_and_what_was_said_in_it() {
    for supplier in SUPPLIERS {
        let (_dir, scene) = scene(supplier);
        let new = br#"{"items":[{"role":"system","content":"Be kind."},{"role":"user","content":"zero"}],"metadata":{"topic":"x"}}"#;
        let new = read_new_conversation(&Bytes::from_static(new)).unwrap();
        let begun = scene.keeps().begin_conversation(MINE, new).await.unwrap();
        assert_eq!(json_of(&begun.metadata.0), json!({ "topic": "x" }));
        let one = json!({ "model": "auto", "input": "one", "conversation": begun.id });
        let told = response(&scene.call(&ask(one)).await.unwrap());
        assert_eq!(told["conversation"], json!({ "id": begun.id }), "{supplier}");
        assert_eq!(told["previous_response_id"], Value::Null);
        let more = read_new_items(&Bytes::from_static(br#"{"items":[{"role":"user","content":"more"}]}"#)).unwrap();
        let added = scene.keeps().add_items(MINE, &begun.id, more).await.unwrap();
        assert_eq!(texts(&added), ["more"]);
        let two = json!({ "model": "auto", "input": "two", "conversation": { "id": begun.id } });
        scene.call(&ask(two)).await.unwrap();
        let asked = scene.last_asked();
        for words in ["Be kind.", "zero", "one", speech("alpha").trim(), "more", "two"] {
            assert!(asked.contains(words), "{words} is not in {asked}");
        }
        let items = scene.keeps().conversation_items(MINE, &begun.id).await.unwrap();
        let said = speech("alpha");
        assert_eq!(texts(&items), ["Be kind.", "zero", "one", &said, "more", "two", &said]);
        let update = read_conversation_update(&Bytes::from_static(br#"{"metadata":{"topic":"y"}}"#)).unwrap();
        let described = scene.keeps().describe_conversation(MINE, &begun.id, update).await.unwrap();
        assert_eq!((json_of(&described.metadata.0), described.id), (json!({ "topic": "y" }), begun.id));
    }
}

#[tokio::test]
async fn a_deleted_item_is_shown_to_nobody_and_sent_to_no_model() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let new = br#"{"items":[{"role":"user","content":"keep this"},{"role":"user","content":"drop this"},{"role":"user","content":"and keep that"}]}"#;
    let begun = scene.keeps().begin_conversation(MINE, read_new_conversation(&Bytes::from_static(new)).unwrap());
    let begun = begun.await.unwrap();
    let before = scene.keeps().conversation_items(MINE, &begun.id).await.unwrap();
    let dropped = before[1].id.clone();
    scene.keeps().delete_item(MINE, &begun.id, &dropped).await.unwrap();
    let again = scene.keeps().delete_item(MINE, &begun.id, &dropped).await.unwrap_err();
    assert_eq!(again.kind, RefusalKind::NotKept);
    let after = scene.keeps().conversation_items(MINE, &begun.id).await.unwrap();
    assert_eq!(after, [before[0].clone(), before[2].clone()]);
    let told = scene.call(&ask(json!({ "model": "auto", "input": "now", "conversation": begun.id }))).await.unwrap();
    let asked = scene.last_asked();
    assert!(asked.contains("keep this") && asked.contains("and keep that") && !asked.contains("drop this"), "{asked}");
    let items = scene.keeps().input_items(MINE, response(&told)["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(texts(&items), ["keep this", "and keep that", "now"]);
}

#[tokio::test]
async fn a_deleted_conversation_is_gone_with_all_its_responses() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let begun = scene.keeps().begin_conversation(MINE, read_new_conversation(&Bytes::new()).unwrap()).await.unwrap();
    let body = json!({ "model": "auto", "input": "one", "conversation": begun.id });
    let told = response(&scene.call(&ask(body.clone())).await.unwrap());
    scene.keeps().delete_conversation(MINE, &begun.id).await.unwrap();
    let id = told["id"].as_str().unwrap();
    assert_eq!(scene.keeps().response(MINE, id).await.unwrap_err().kind, RefusalKind::NotKept);
    assert_eq!(scene.keeps().conversation(MINE, &begun.id).await.unwrap_err().kind, RefusalKind::NotKept);
    assert_eq!(scene.call(&ask(body)).await.unwrap_err().kind, RefusalKind::NotKept);
}

#[tokio::test]
async fn a_request_follows_a_response_or_a_conversation_and_not_both() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let body = json!({ "model": "auto", "input": "x", "previous_response_id": "resp_1", "conversation": "conv_1" });
    assert_eq!(scene.call(&ask(body)).await.unwrap_err().kind, RefusalKind::BadRequest);
}

#[tokio::test]
async fn items_that_are_added_at_the_same_moment_are_all_there() {
    let (_dir, scene) = scene(Dialect::OpenAiChat);
    let begun = scene.keeps().begin_conversation(MINE, read_new_conversation(&Bytes::new()).unwrap()).await.unwrap();
    let add = |number: usize| {
        let (scene, id) = (Arc::clone(&scene), begun.id.clone());
        let body = json!({ "items": [{ "role": "user", "content": format!("item {number}") }] }).to_string();
        tokio::spawn(async move {
            scene.keeps().add_items(MINE, &id, read_new_items(&body.into()).unwrap()).await.unwrap();
        })
    };
    let adding: Vec<_> = (0..20).map(add).collect();
    for added in adding {
        added.await.unwrap();
    }
    assert_eq!(scene.keeps().conversation_items(MINE, &begun.id).await.unwrap().len(), 20);
}
