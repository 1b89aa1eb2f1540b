//! `commonwatt session tree`

use std::process::ExitCode;

use super::paper;
use crate::admin::Admin;
use crate::admin::sessions::understood;
use crate::term::{self, Paint};
use crate::when;

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Its name, its id, or the beginning of its id.
    session: String,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Draws it.
pub(super) async fn run(admin: &Admin, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let id = admin.find_session(&arguments.session).await?.id;
    let said = admin.session_tree(&id).await?;
    if arguments.json {
        term::json(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let tree = understood(said)?;
    term::text(paper::Paper::new(Paint::for_stdout(), term::columns(), true).tree(&tree, &when::now()))?;
    Ok(ExitCode::SUCCESS)
}
