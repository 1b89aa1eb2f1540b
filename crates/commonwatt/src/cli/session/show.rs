//! `commonwatt session show`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::paper;
use crate::admin::Admin;
use crate::admin::sessions::{PAGE_MAX, Told, Tree, understood};
use crate::term::{self, Paint};
use crate::when;

/// The last turns, which are shown where nobody asks for everything.
const TURNS: usize = 20;

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Its name, its id, or the beginning of its id.
    session: String,
    /// The turn up to which it is shown, on whichever branch: its number in the tree, or the beginning of its id; by
    /// default the last.
    #[arg(long, value_name = "TURN")]
    turn: Option<String>,
    /// Show everything: all turns, and long ones to their ends.
    #[arg(long)]
    full: bool,
    /// Print everything as JSON, the turns' canonical form included.
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub(super) async fn run(admin: &Admin, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let id = admin.find_session(&arguments.session).await?.id;
    let turn = match &arguments.turn {
        Some(word) => Some(understood::<Tree>(admin.session_tree(&id).await?)?.find(word)?.id.clone()),
        None => None,
    };
    // Whoever reads from a pipe, or a program, gets everything.
    let is_full = arguments.full || arguments.json || !term::is_terminal();
    let said = if is_full {
        fetch_all(admin, &id, turn.as_deref()).await?
    } else {
        admin.session(&id, turn.as_deref(), TURNS).await?
    };
    if arguments.json {
        term::json(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let told: Told = understood(said)?;
    let paper = paper::Paper::new(Paint::for_stdout(), term::columns(), is_full);
    term::text(paper.told(&told, &when::now()))?;
    Ok(ExitCode::SUCCESS)
}

/// The session with all turns of the branch, page by page, from the newest backwards.
async fn fetch_all(admin: &Admin, id: &str, turn: Option<&str>) -> anyhow::Result<Value> {
    let mut page = admin.session(id, turn, PAGE_MAX).await?;
    let session = page.get_mut("session").map(Value::take);
    let mut turns: Vec<Value> = Vec::new();
    loop {
        if let Some(Value::Array(mut older)) = page.get_mut("turns").map(Value::take) {
            older.append(&mut turns);
            turns = older;
        }
        match page.get("earlier").and_then(Value::as_str) {
            Some(earlier) => page = admin.session(id, Some(earlier), PAGE_MAX).await?,
            None => return Ok(json!({ "session": session, "turns": turns, "earlier": null })),
        }
    }
}
