//! `commonwatt session list`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::paper;
use crate::admin::Admin;
use crate::admin::sessions::{List, PAGE_MAX, understood};
use crate::term::{self, Paint};
use crate::when;

/// What can be asked for.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub(super) async fn run(admin: &Admin, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let said = fetch(admin, arguments.limit.max(1)).await?;
    if arguments.json {
        term::json(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let List { sessions, next } = understood(said)?;
    let paint = Paint::for_stdout();
    term::text(paper::list(&sessions, &when::now(), paint, term::columns()))?;
    if next.is_some() {
        let more = arguments.limit.saturating_mul(10);
        term::line(paint.dim(&format!("and older ones: `commonwatt session list --limit {more}` shows more")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// So many sessions, page by page.
async fn fetch(admin: &Admin, limit: usize) -> anyhow::Result<Value> {
    let (mut sessions, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let mut page = admin.sessions((limit - sessions.len()).min(PAGE_MAX), cursor.as_deref()).await?;
        if let Some(Value::Array(more)) = page.get_mut("sessions").map(Value::take) {
            sessions.extend(more);
        }
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || sessions.len() >= limit {
            return Ok(json!({ "sessions": sessions, "next": cursor }));
        }
    }
}
