//! `commonwatt session import`: sessions out of a bundle, or out of what another system exported.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use commonwatt_bundle::PublicKey;
use commonwatt_server::carry::IMPORT_BYTES_MAX;
use reqwest::Method;
use serde::Deserialize;

use crate::cli::Context;
use crate::home;
use crate::term::{self, Paint};

/// The largest file is checked and written in less.
const ANSWER: Duration = Duration::from_secs(600);

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A bundle (`*.cwb`), or the zip or JSON that ChatGPT, Claude or Letta gave you.
    file: PathBuf,
    /// What it is; by default found out.
    #[arg(long, default_value = "auto", value_parser = ["auto", "cwb", "chatgpt", "claude", "letta"])]
    format: String,
    /// Trust this signer of bundles, now and from now on: `ed25519:` and 64 digits.
    #[arg(long, value_name = "KEY")]
    trust: Option<PublicKey>,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
}

/// Sends the file, and says what came of it. A session that was refused is a failure.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.file;
    let size = std::fs::metadata(path).map_err(|error| home::unreadable(path, &error))?.len();
    if size > IMPORT_BYTES_MAX as u64 {
        bail!("`{}` is larger than {} MiB: bring it in parts", path.display(), IMPORT_BYTES_MAX >> 20);
    }
    let file = std::fs::read(path).map_err(|error| home::unreadable(path, &error))?;
    let admin = context.admin()?;
    let mut address = format!("/admin/v1/import?format={}", arguments.format);
    if let Some(trust) = &arguments.trust {
        address += &format!("&trust={trust}");
    }
    let request = admin.request(Method::POST, &address).header("content-type", "application/octet-stream");
    let answer = admin.send(request.body(file).timeout(ANSWER)).await?;
    let not_understood = "the daemon answers in a way this program does not understand";
    let said: serde_json::Value = answer.json().await.context(not_understood)?;
    let report: Report = serde_json::from_value(said.clone()).context(not_understood)?;
    if arguments.json {
        term::json(&said)?;
    } else {
        report.print()?;
    }
    let is_whole = report.sessions.iter().all(|line| line.outcome != "refused");
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `POST /admin/v1/import` says, as far as people are shown it.
#[derive(Deserialize)]
struct Report {
    format: String,
    signer: Option<String>,
    #[serde(default)]
    sessions: Vec<Line>,
    #[serde(default)]
    skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    title: Option<String>,
    outcome: String,
    why: Option<String>,
    lost: Option<String>,
}

impl Report {
    fn print(&self) -> std::io::Result<()> {
        let paint = Paint::for_stdout();
        let by = self.signer.as_ref().map(|signer| format!(", signed by {signer}")).unwrap_or_default();
        let count = |outcome: &str| self.sessions.iter().filter(|line| line.outcome == outcome).count();
        term::line(format!("read {} ({}{by})", counted(self.sessions.len(), "session"), term::tame(&self.format)))?;
        for (outcome, says) in [
            ("made", "new"),
            ("grown", "with new turns"),
            ("unchanged", "here already, unchanged"),
            ("refused", "refused"),
        ] {
            if count(outcome) > 0 {
                term::line(format!("{:>8}  {says}", count(outcome)))?;
            }
        }
        for line in &self.sessions {
            let name = term::tame(line.title.as_deref().unwrap_or(&line.id));
            if let Some(why) = &line.why {
                term::line(format!("{} {name}: {}", paint.bad("refused:"), term::tame(why)))?;
            }
            if let Some(lost) = &line.lost {
                term::line(format!("{} {name}: {}", paint.warn("lost:"), term::tame(lost)))?;
            }
        }
        for skipped in &self.skipped {
            term::line(format!("{} {}", paint.dim("not carried:"), term::tame(skipped)))?;
        }
        Ok(())
    }
}

/// `1 turn`, `2 turns`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
