//! `commonwatt status`: what the running daemon has to offer, and how it is.

use std::process::ExitCode;

use anyhow::Context as _;

use super::Context;
use crate::admin::{BusLine, Status};
use crate::table;
use crate::term::{self, Paint};

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print everything, as JSON.
    #[arg(long)]
    json: bool,
    /// Also show models that only a caller who names them gets.
    #[arg(long)]
    all: bool,
}

/// Asks and prints.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let admin = context.admin()?;
    let said = admin.status().await?;
    if arguments.json {
        term::json(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let status: Status = serde_json::from_value(said)
        .with_context(|| format!("the daemon at {} answers in a way this program does not understand", admin.url()))?;
    let paint = Paint::for_stdout();
    let shown = status.deployments.iter().filter(|line| line.in_auto || arguments.all);
    let rows: Vec<table::Row> = shown.map(|line| line.row()).collect();
    term::text(table::fleet(&rows, paint, term::columns()))?;
    let hidden = status.deployments.len() - rows.len();
    if hidden > 0 {
        term::line(paint.dim(&format!("and {hidden} that only a caller who names them gets: `--all` shows them")))?;
    }
    print_rest(&status, paint)?;
    Ok(ExitCode::SUCCESS)
}

fn print_rest(status: &Status, paint: Paint) -> std::io::Result<()> {
    term::line("")?;
    for absent in &status.absent {
        term::line(format!("{}  {}", paint.dim(&format!("{:>12}", absent.provider)), term::tame(&absent.hint)))?;
    }
    if !status.absent.is_empty() {
        term::line("")?;
    }
    let fact = |name: &str, value: &str| term::line(format!("{}  {value}", paint.dim(&format!("{name:>12}"))));
    fact("listening", &status.listen)?;
    fact("running", &format!("{}, version {}", term::span(status.uptime_s), status.version))?;
    fact("home", &status.home)?;
    fact("key", &format!("in {}", status.key_file))?;
    if !status.routes.is_empty() {
        fact("routes", &status.routes.join(", "))?;
    }
    let reloads = status.generation.saturating_sub(1);
    fact("reloads", &reloads.to_string())?;
    fact("under way", &calls(status.calls_under_way))?;
    fact("sessions", &sessions(status.bus.as_ref()))
}

/// `12 of this key, 640 MiB on disk`
fn sessions(bus: Option<&BusLine>) -> String {
    let Some(bus) = bus else { return "not kept".to_owned() };
    let more = if bus.and_more { " and more" } else { "" };
    let size = bus.bytes.map(|bytes| format!(", {} on disk", term::bytes(bytes))).unwrap_or_default();
    format!("{}{more} of this key{size}", bus.sessions)
}

fn calls(count: u64) -> String {
    if count == 1 { "1 call".to_owned() } else { format!("{count} calls") }
}
