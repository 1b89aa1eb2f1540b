//! Who answers.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::world::{Start, Tell, question, sim, sim_that};

#[tokio::test]
async fn the_pilot_answers_with_no_configuration_at_all() {
    let daemon = Start::default().daemon().await;
    for stream in [false, true] {
        for told in [daemon.chat("auto", stream).await, daemon.message("auto", stream).await] {
            assert!(told.is_complete(), "{told:?}");
            assert_eq!(told.header("x-commonwatt-deployment"), "engine/pilot");
            assert_eq!(told.header("x-commonwatt-tier"), "local");
            assert_eq!(told.header("x-commonwatt-attempts"), "1");
        }
    }
}

#[tokio::test]
async fn the_frontier_answers_where_there_is_a_key() {
    let (openai, anthropic) = (sim().await, sim().await);
    let daemon = Start::default().openai(&openai).daemon().await;
    let told = daemon.chat("auto", true).await;
    assert!(told.is_complete(), "{told:?}");
    assert!(told.header("x-commonwatt-deployment").starts_with("openai/"));
    assert_eq!(told.header("x-commonwatt-tier"), "frontier");

    let daemon = Start::default().anthropic(&anthropic).daemon().await;
    for told in [daemon.chat("auto", true).await, daemon.message("auto", false).await] {
        assert!(told.is_complete(), "{told:?}");
        assert!(told.header("x-commonwatt-deployment").starts_with("anthropic/"));
    }
}

#[tokio::test]
async fn a_body_in_the_suppliers_dialect_arrives_byte_for_byte_but_for_the_model() {
    let openai = sim().await;
    let daemon = Start::default().openai(&openai).daemon().await;
    let body = "{ \"zeta\": 1.50, \"model\" : \"gpt-x\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9\"}],\"unknown\":{\"b\":1,\"a\":2} }";
    let request = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth(crate::world::KEY);
    let told = request.body(body).send().await.unwrap().told(false).await;
    assert_eq!(told.status, 200, "{told:?}");
    let received = openai.requests();
    assert_eq!(received.last().map(|request| request.body.as_ref()), Some(body.as_bytes()));
}

#[tokio::test]
async fn a_request_can_keep_itself_to_this_machine() {
    let openai = sim().await;
    let daemon = Start::default().openai(&openai).daemon().await;
    let request = daemon.http.post(format!("{}/v1/chat/completions", daemon.base)).bearer_auth(crate::world::KEY);
    let told = request.header("x-commonwatt-tiers", "local").json(&question("auto", false)).send().await.unwrap();
    assert_eq!(told.told(false).await.header("x-commonwatt-tier"), "local");
    assert_eq!(openai.calls(), 0);
}

#[tokio::test]
async fn an_image_never_goes_to_a_model_that_is_known_not_to_see() {
    let daemon = Start::default().daemon().await;
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } });
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": [image] }] });
    let told = daemon.post("/v1/chat/completions", &body).await.told(false).await;
    assert_eq!(told.status, 400, "{told:?}");
    assert!(told.body.contains("cannot do images"), "{told:?}");
}

#[tokio::test]
async fn a_large_request_survives_a_failover() {
    let (openai, other) = (sim_that("status=500").await, sim().await);
    let daemon = Start::default().openai(&openai).config(&provider("other", "free", &other)).daemon().await;
    let text = "x".repeat(3 << 20);
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] });
    let told = daemon.post("/v1/chat/completions", &body).await.told(false).await;
    assert!(told.is_complete(), "{}", told.status);
    assert_eq!(told.header("x-commonwatt-tier"), "free");
    assert!(other.requests().last().is_some_and(|request| request.body.len() > 3 << 20));
}

#[tokio::test]
async fn a_fact_that_nobody_stated_is_shown_as_unknown() {
    let mine = sim().await;
    let daemon = Start::default().config(&provider("mine", "frontier", &mine)).daemon().await;
    let status = daemon.get("/admin/v1/status").await.told(false).await.json();
    let deployments = status["deployments"].as_array().unwrap();
    let mine = deployments.iter().find(|d| d["provider"] == "mine").unwrap();
    assert_eq!((mine["where"].as_str(), mine["law"].as_str()), (Some("unknown"), Some("unknown")));
    assert_eq!(mine["abilities"]["images"], "unknown");
}

#[tokio::test]
async fn a_reload_takes_effect_and_a_bad_file_leaves_the_old_one_in_force() {
    let openai = sim().await;
    let daemon = Start::default().openai(&openai).daemon().await;
    let file = daemon.home.path().join("commonwatt.toml");

    std::fs::write(&file, "[providers.openai]\nenabled = false\n").unwrap();
    wait_until(&daemon, "local").await;

    std::fs::write(&file, "[providers.openai]\nenabeld = true\n").unwrap();
    let told = daemon.post("/admin/v1/reload", &json!({})).await.told(false).await;
    assert_eq!(told.status, 400, "{told:?}");
    assert!(told.body.contains("enabeld") && told.body.contains("enabled"), "{told:?}");
    assert_eq!(daemon.chat("auto", false).await.header("x-commonwatt-tier"), "local");
}

/// A provider of the operator's own, of which nothing is known but where it is.
fn provider(id: &str, tier: &str, sim: &commonwatt_sim::Running) -> String {
    let base_url = sim.base_url(commonwatt_sim::Dialect::ChatCompletions);
    format!(
        "[providers.{id}]\nname = \"{id}\"\ndialect = \"openai-chat\"\nbase_url = \"{base_url}\"\ntier = \"{tier}\"\ndefault_model = \"m\"\n"
    )
}

async fn wait_until(daemon: &crate::world::Daemon, tier: &str) {
    for _ in 0..100 {
        if daemon.chat("auto", false).await.header("x-commonwatt-tier") == tier {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the change of the file was not noticed");
}
