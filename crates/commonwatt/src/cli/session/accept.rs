//! `commonwatt session accept`

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::json;

use super::handoff::{asked, text};
use crate::admin::Admin;
use crate::term;

/// Letters of the longest token.
const TOKEN_MAX: usize = 16 * 1_024;

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The token; `-` reads it from standard input, so that it stands in no shell's history.
    token: String,
    /// What the conversation is written as: `markdown`, `openai`, `anthropic`, `responses`, `gemini`, `ollama`.
    #[arg(long, default_value = "markdown")]
    format: String,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Takes a session over, and shows what was said in it.
pub(super) async fn run(admin: &Admin, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let token = token(&arguments.token)?;
    let body = json!({ "token": token, "format": arguments.format });
    let said = asked(admin, Method::POST, "/admin/v1/handoffs/accept", Some(&body)).await?;
    if arguments.json {
        term::json(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = term::tame_line(text(&said, "session"));
    term::note(format!("session {session}: go on with `commonwatt chat --session {session}`"));
    let projection = said.get("projection");
    match projection.and_then(|projection| projection.get("markdown")).and_then(serde_json::Value::as_str) {
        Some(page) => term::line(term::tame(page))?,
        None => term::json(&projection)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn token(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.trim().to_owned());
    }
    let mut token = String::new();
    std::io::stdin().take(TOKEN_MAX as u64 + 1).read_to_string(&mut token).context("cannot read standard input")?;
    if token.len() > TOKEN_MAX {
        bail!("what came on standard input is longer than any token");
    }
    Ok(token.trim().to_owned())
}
