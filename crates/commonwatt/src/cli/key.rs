//! `commonwatt key`: make, list and remove keys. They live in the home folder, as hashes.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use commonwatt_core::fleet::Tier;
use serde_json::json;

use super::Context;
use crate::home::{FIRST, StoredKey, new_key};
use crate::table;
use crate::term::{self, Paint};

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key. It is shown once.
    Add {
        /// Its name, for people and logs.
        name: String,
        /// Tiers that calls with it may reach; by default all.
        #[arg(long, value_delimiter = ',', value_parser = ["frontier", "free", "local"])]
        tiers: Vec<String>,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the keys.
    List {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a key: calls with it are refused from now on.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Does it, and lets a running daemon know.
pub(super) async fn run(context: &Context, arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Add { name, tiers, json } => add(context, &name, &tiers, json).await?,
        Command::List { json } => list(context, json)?,
        Command::Remove { name } => remove(context, &name).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(context: &Context, name: &str, tiers: &[String], json: bool) -> anyhow::Result<()> {
    let home = context.origin()?.home;
    let mut keys = home.stored_keys()?;
    if name.is_empty() || name.chars().any(char::is_control) {
        bail!("`{}` is no name for a key: use a word", term::tame(name));
    }
    if name == FIRST || keys.iter().any(|key| key.name == name) {
        bail!("there is a key of the name `{name}`: choose another, or remove it with `commonwatt key remove {name}`");
    }
    let tiers: Vec<Tier> = match tiers {
        [] => Tier::ALL.to_vec(),
        words => words.iter().filter_map(|word| Tier::from_word(word)).collect(),
    };
    let key = new_key()?;
    let stored = StoredKey::new(name, &key, &tiers);
    let hash = stored.hash.clone();
    keys.push(stored);
    home.store_keys(keys)?;
    if json {
        term::json(&json!({ "name": name, "key": key.reveal(), "hash": hash }))?;
    } else {
        let paint = Paint::for_stdout();
        term::line(paint.bold(key.reveal()))?;
        term::line(paint.dim(&format!("shown once; kept as {hash}")))?;
    }
    tell(context).await
}

fn list(context: &Context, json: bool) -> anyhow::Result<()> {
    let keys = context.origin()?.home.stored_keys()?;
    if json {
        term::json(&keys)?;
        return Ok(());
    }
    let row = |key: &StoredKey| [key.name.clone(), key.created.clone(), key.tiers.join(", ")];
    let rows: Vec<_> = keys.iter().map(row).collect();
    term::text(table::plain(&["NAME", "MADE", "TIERS"], &rows, Paint::for_stdout(), term::columns()))?;
    Ok(())
}

async fn remove(context: &Context, name: &str) -> anyhow::Result<()> {
    let home = context.origin()?.home;
    let mut keys = home.stored_keys()?;
    let before = keys.len();
    keys.retain(|key| key.name != name);
    if keys.len() == before {
        bail!("there is no key of the name `{name}`: see `commonwatt key list`");
    }
    if keys.is_empty() {
        bail!("`{name}` is the only key: make another first, with `commonwatt key add NAME`");
    }
    home.store_keys(keys)?;
    term::line(format!("removed `{name}`"))?;
    tell(context).await?;
    if name == FIRST {
        home.forget_first_key()?;
        term::note("the command line has no key any more: set `COMMONWATT_KEY` to another one");
    }
    Ok(())
}

/// Makes a running daemon read its keys anew. That none runs is no fault.
async fn tell(context: &Context) -> anyhow::Result<()> {
    if context.origin()?.home.daemon().is_none() {
        return Ok(());
    }
    if let Err(error) = context.admin()?.reload().await {
        term::note(format!("the running daemon has not taken note of it ({error}): start it again"));
    }
    Ok(())
}
