//! Real, unmodified clients: official SDKs, frameworks and agents, against a daemon whose frontier is simulated.

use std::path::PathBuf;

use commonwatt_sim::Running;

use crate::world::{KEY, Start, sim};

/// Runs `tests/clients/run GROUP` against a daemon with this supplier on its frontier.
async fn suite(group: &str, start: Start, sim: &Running) {
    let daemon = start.daemon().await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/run");
    let mut command = tokio::process::Command::new(script);
    command
        .arg(group)
        .env("BASE", &daemon.base)
        .env("KEY", KEY)
        .env("MODEL", "auto")
        .env("STRICT", "1")
        .env("SIM", format!("http://{}", sim.addr()));
    let output = command.kill_on_drop(true).output().await.unwrap();
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{group}:\n{told}\n{complaints}");
}

#[tokio::test]
async fn the_python_sdks_work_unmodified_over_an_openai_supplier() {
    let sim = sim().await;
    suite("python", Start::default().openai(&sim), &sim).await;
}

#[tokio::test]
async fn the_python_sdks_work_unmodified_over_an_anthropic_supplier() {
    let sim = sim().await;
    suite("python", Start::default().anthropic(&sim), &sim).await;
}

#[tokio::test]
async fn the_typescript_sdks_work_unmodified_over_an_openai_supplier() {
    let sim = sim().await;
    suite("typescript", Start::default().openai(&sim), &sim).await;
}

#[tokio::test]
async fn the_typescript_sdks_work_unmodified_over_an_anthropic_supplier() {
    let sim = sim().await;
    suite("typescript", Start::default().anthropic(&sim), &sim).await;
}

#[tokio::test]
async fn langchain_works_unmodified_over_an_openai_supplier() {
    let sim = sim().await;
    suite("langchain", Start::default().openai(&sim), &sim).await;
}

#[tokio::test]
async fn langchain_works_unmodified_over_an_anthropic_supplier() {
    let sim = sim().await;
    suite("langchain", Start::default().anthropic(&sim), &sim).await;
}

#[tokio::test]
#[ignore = "slow: it installs half a gigabyte of agents"]
async fn coding_agents_write_and_change_files_over_an_openai_supplier() {
    let sim = sim().await;
    suite("agents", Start::default().openai(&sim), &sim).await;
}

#[tokio::test]
#[ignore = "slow: it installs half a gigabyte of agents"]
async fn coding_agents_write_and_change_files_over_an_anthropic_supplier() {
    let sim = sim().await;
    suite("agents", Start::default().anthropic(&sim), &sim).await;
}
