//! `commonwatt models`: what is on this machine and what the daemon offers, whether it is whole, and more of it.

mod list;
mod pull;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;

/// What can be asked for; the list when nothing is.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::Arguments,
}

#[derive(Subcommand)]
enum Command {
    /// List the models in the vault, and those that the running daemon offers.
    List(list::Arguments),
    /// Check models in the vault against their checksums.
    Verify(verify::Arguments),
    /// Fetch a model from a hub into the vault: `owner/repository/file.gguf`, or `owner/repository` to choose.
    Pull(pull::Arguments),
}

/// Does it.
pub(super) async fn run(context: &Context, arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        None => list::run(context, &arguments.list).await,
        Some(Command::List(list)) => list::run(context, &list).await,
        Some(Command::Verify(verify)) => verify::run(context, &verify),
        Some(Command::Pull(pull)) => pull::run(context, pull).await,
    }
}

/// Where models lie, by the configuration.
fn vault(context: &Context) -> anyhow::Result<std::path::PathBuf> {
    Ok(context.origin()?.load()?.engine.vault)
}

/// A folder that cannot be read, as a sentence.
fn unreadable(vault: &std::path::Path, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot read the folder `{}` ({error}): give yourself the right to read it", vault.display())
}
