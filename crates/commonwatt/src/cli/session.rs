//! `commonwatt session`: what was said through the daemon, by whom, on which branch; forgetting it, taking it along, and
//! bringing it in.

mod accept;
mod erase;
mod export;
pub(super) mod handoff;
mod import;
mod list;
pub(super) mod paper;
mod show;
mod tree;

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
    /// List the sessions of the command line's key, newest first.
    List(list::Arguments),
    /// Show what was said in a session, and who said it.
    Show(show::Arguments),
    /// Show how a session branches.
    Tree(tree::Arguments),
    /// Erase a session: what was said in it is gone for good.
    Erase(erase::Arguments),
    /// Offer a session to another key: prints the token with which it is taken over.
    Handoff(handoff::Arguments),
    /// Take over a session with a token, and show what was said in it.
    Accept(accept::Arguments),
    /// Write sessions into a signed file that can be taken along.
    Export(export::Arguments),
    /// Bring in sessions from such a file, or from an export of ChatGPT, Claude or Letta.
    Import(import::Arguments),
}

/// Does it.
pub(super) async fn run(context: &Context, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let admin = context.admin()?;
    match arguments.command {
        None => list::run(&admin, &arguments.list).await,
        Some(Command::List(list)) => list::run(&admin, &list).await,
        Some(Command::Show(show)) => show::run(&admin, &show).await,
        Some(Command::Tree(tree)) => tree::run(&admin, &tree).await,
        Some(Command::Erase(erase)) => erase::run(&admin, &erase).await,
        Some(Command::Handoff(handoff)) => handoff::run(&admin, &handoff).await,
        Some(Command::Accept(accept)) => accept::run(&admin, &accept).await,
        Some(Command::Export(export)) => export::run(context, &export).await,
        Some(Command::Import(import)) => import::run(context, &import).await,
    }
}
