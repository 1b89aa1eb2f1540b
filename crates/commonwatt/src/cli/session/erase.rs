//! `commonwatt session erase`

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::admin::Admin;
use crate::admin::sessions::SessionLine;
use crate::term;

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Its name, its id, or the beginning of its id.
    session: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// Erases it, if the user means it.
pub(super) async fn run(admin: &Admin, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let session = admin.find_session(&arguments.session).await?;
    if !arguments.yes && !is_meant(&session)? {
        term::note("nothing was erased");
        return Ok(ExitCode::FAILURE);
    }
    let said = admin.erase_session(&session.id).await?;
    if arguments.json {
        term::json(&said)?;
    } else {
        term::line(format!("erased {}", term::tame_line(&session.id)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_meant(session: &SessionLine) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("erasing is for good, and there is nobody to ask: say `--yes`");
    }
    let turns = if session.turns == 1 { "1 turn".to_owned() } else { format!("{} turns", session.turns) };
    let id = term::tame_line(&session.id);
    term::text(format!("erase {id} ({turns}: {}) for good? [y/N] ", term::cut(&session.called(), 24)))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read standard input")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
