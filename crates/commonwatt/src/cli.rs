//! The command line: one file a command.

mod chat;
mod config;
mod explain;
mod key;
mod models;
mod session;
mod sim;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::admin::Admin;
use crate::env::Env;
use crate::settings::Origin;

/// One endpoint for every model: frontier, free, and your own underneath.
#[derive(Parser)]
#[command(name = "commonwatt", version, disable_help_subcommand = true, after_help = after_help())]
struct Arguments {
    /// Configuration file; by default `commonwatt.toml` in the home folder.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the running daemon; by default the one that runs in the home folder.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Serve {
        /// Address to listen on; by default 127.0.0.1:4600.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Show what the running daemon has to offer, and how it is.
    Status(status::Arguments),
    /// Talk to a model.
    Chat(chat::Arguments),
    /// List, check and fetch models.
    Models(models::Arguments),
    /// Show who would answer a request, and why the others would not. Nothing is sent.
    Explain(explain::Arguments),
    /// List, show and erase what was said, whoever answered.
    Session(session::Arguments),
    /// Check, describe and show the configuration.
    Config(config::Arguments),
    /// Make, list and remove keys.
    Key(key::Arguments),
    /// The child process in which one local model runs.
    #[command(hide = true)]
    Engine,
    /// A simulated provider.
    #[command(hide = true)]
    Sim(sim::Arguments),
}

/// What commands share: where to look, and where the daemon is.
struct Context {
    env: Env,
    config: Option<PathBuf>,
    url: Option<String>,
}

impl Context {
    fn origin(&self) -> anyhow::Result<Origin> {
        Origin::new(self.env.clone(), self.config.clone())
    }

    fn admin(&self) -> anyhow::Result<Admin> {
        Admin::find(&self.origin()?, self.url.as_deref())
    }
}

/// Runs the command that the arguments name.
///
/// # Errors
/// What the user should read.
pub(crate) fn run(env: Env) -> anyhow::Result<ExitCode> {
    let Arguments { config, url, command } = Arguments::parse();
    let context = Context { env, config, url };
    match command {
        Command::Engine => Ok(commonwatt_engine::run_child()),
        Command::Serve { listen } => serve(&context, listen),
        Command::Status(arguments) => brief(status::run(&context, &arguments)),
        Command::Chat(arguments) => brief(chat::run(&context, arguments)),
        Command::Models(arguments) => brief(models::run(&context, arguments)),
        Command::Explain(arguments) => brief(explain::run(&context, &arguments)),
        Command::Session(arguments) => brief(session::run(&context, arguments)),
        Command::Config(arguments) => config::run(&context, arguments),
        Command::Key(arguments) => brief(key::run(&context, arguments)),
        Command::Sim(arguments) => brief(sim::run(arguments)),
    }
}

fn serve(context: &Context, listen: Option<String>) -> anyhow::Result<ExitCode> {
    install_tls();
    let settings = Origin { listen, ..context.origin()? }.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the threads of the daemon")?.block_on(crate::serve::run(settings))
}

/// Runs a command that talks to others for a moment, on this thread.
fn brief(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(command)
}

/// Chooses the cryptography for the whole process, once: two providers in the graph must not choose by chance.
fn install_tls() {
    // It fails only when one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn after_help() -> String {
    let mut text = "Environment:\n".to_owned();
    for variable in crate::env::VARIABLES {
        text.push_str(&format!("  {:<28} {}\n", variable.name, variable.says));
    }
    text
}
