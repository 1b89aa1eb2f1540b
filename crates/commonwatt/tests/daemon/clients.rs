//! Real, unmodified clients: the official SDKs, against a daemon whose frontier is simulated.

use std::path::PathBuf;

use commonwatt_sim::Running;

use crate::world::{KEY, Start, sim};

/// Runs `tests/clients/run LANGUAGE` against a daemon with this supplier on its frontier.
async fn suite(language: &str, start: Start, sim: &Running) {
    let daemon = start.daemon().await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/run");
    let mut command = tokio::process::Command::new(script);
    command
        .arg(language)
        .env("BASE", &daemon.base)
        .env("KEY", KEY)
        .env("MODEL", "auto")
        .env("STRICT", "1")
        .env("SIM", format!("http://{}", sim.addr()));
    let output = command.kill_on_drop(true).output().await.unwrap();
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{language}:\n{told}\n{complaints}");
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
