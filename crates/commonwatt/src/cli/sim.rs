//! `commonwatt sim`: a simulated provider, for drills and tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use commonwatt_sim::{Dialect, Script, Settings, Sim};

use crate::term;

/// How it behaves.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Its settings, as TOML.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Address to listen on; by default a free port on this machine.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where all its chance comes from.
    #[arg(long)]
    seed: Option<u64>,
    /// What happens to which call, one call a line: `status=429 retry_after_s=2`, `reset after=3`, `pass`.
    #[arg(long, value_name = "WORDS")]
    script: Option<String>,
}

/// Runs it until it is interrupted.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut settings = match &arguments.settings {
        None => Settings::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| crate::home::unreadable(path, &error))?;
            Settings::from_toml(&text)?
        }
    };
    settings.listen = arguments.listen.unwrap_or(settings.listen);
    settings.seed = arguments.seed.unwrap_or(settings.seed);
    if let Some(words) = &arguments.script {
        settings.script = Script::from_words(words)?;
    }
    let sim = Sim::start(settings).await?;
    term::line(format!("OPENAI_BASE_URL={}", sim.base_url(Dialect::ChatCompletions)))?;
    term::line(format!("ANTHROPIC_BASE_URL={}", sim.base_url(Dialect::Messages)))?;
    tokio::signal::ctrl_c().await.context("cannot wait for an interrupt")?;
    sim.stop().await;
    Ok(ExitCode::SUCCESS)
}
