//! `commonwatt session export`: sessions as a signed file that can be taken along.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use commonwatt_bundle::{Limits, Opened};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::home;
use crate::term;

/// The largest bundle is read from the disk, hashed and signed in less.
const ANSWER: Duration = Duration::from_secs(600);

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Names or ids of sessions.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    sessions: Vec<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
    /// The file to write, such as `mine.cwb`.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite the file.
    #[arg(long)]
    force: bool,
    /// Say what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks for the bundle, checks every byte of it, and writes it whole or not at all.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    refuse_to_overwrite(arguments)?;
    let asked = if arguments.all { json!({ "sessions": "all" }) } else { json!({ "sessions": arguments.sessions }) };
    let admin = context.admin()?;
    let request = admin.request(Method::POST, "/admin/v1/export").json(&asked).timeout(ANSWER);
    let bytes = admin.send(request).await?.bytes().await;
    let bytes = bytes.map_err(|error| anyhow!("the bundle did not come whole, and is not written: {error}"))?;
    let opened = commonwatt_bundle::read(&*bytes, &Limits::default(), None);
    let opened = opened.context("what the daemon sent is no whole bundle, and is not written")?;
    refuse_to_overwrite(arguments)?;
    home::write_private_bytes(&arguments.output, &bytes)?;
    let told = told(&arguments.output, bytes.len(), &opened);
    if arguments.json {
        term::json(&told)?;
    } else {
        print(&arguments.output, bytes.len(), &opened)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_to_overwrite(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.output;
    if path.is_dir() {
        bail!("`{}` is a folder: name a file", path.display());
    }
    if path.exists() && !arguments.force {
        bail!("`{}` is there already: name another file, or say `--force`", path.display());
    }
    Ok(())
}

fn told(path: &Path, bytes: usize, Opened { bundle, signer }: &Opened) -> Value {
    let session = |session: &commonwatt_bundle::Session| json!({ "id": session.id.to_string(), "name": session.name, "title": session.title, "turns": session.turns.len() });
    json!({
        "file": path.display().to_string(),
        "bytes": bytes,
        "signer": signer.to_string(),
        "node": bundle.issuer,
        "made_unix_s": bundle.made_unix_s,
        "blobs": bundle.blobs.len(),
        "sessions": bundle.sessions.iter().map(session).collect::<Vec<_>>(),
    })
}

fn print(path: &Path, bytes: usize, Opened { bundle, signer }: &Opened) -> std::io::Result<()> {
    let turns: usize = bundle.sessions.iter().map(|session| session.turns.len()).sum();
    term::line(format!(
        "wrote {} and {} to `{}` ({})",
        super::import::counted(bundle.sessions.len(), "session"),
        super::import::counted(turns, "turn"),
        path.display(),
        term::bytes(bytes as u64)
    ))?;
    term::line(format!("signed by {signer}"))?;
    term::note("it is not encrypted: whoever has the file can read it, also after the sessions are erased here");
    Ok(())
}
