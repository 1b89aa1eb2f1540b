//! `commonwatt config`: check the file without starting, describe its format, show what is in force.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use crate::config::schema;
use crate::problem::{Problem, Problems};
use crate::settings::{Access, Origin, Settings};
use crate::term::{self, Paint};

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration without starting: exit code 0 when a daemon would start with it, 1 when not.
    Check {
        /// The file; by default the one that `serve` would read.
        file: Option<PathBuf>,
        /// Print the problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the file, for editors.
    Schema,
    /// Show what would be in force: file, environment and defaults together. Keys are not shown.
    Show {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub(super) fn run(context: &Context, arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Check { file, json } => check(context, file, json),
        Command::Schema => {
            term::text(schema()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { json } => show(context, json),
    }
}

fn check(context: &Context, file: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let origin = context.origin()?;
    let file = file.or_else(|| origin.file.clone());
    let origin = Origin { file, ..origin };
    let outcome = origin.load();
    if json {
        let problems = outcome.as_ref().err().map_or(&[][..], |problems| &problems.0);
        let lines: Vec<Value> = problems.iter().map(problem_json).collect();
        term::json(&json!({ "file": origin.file(), "valid": outcome.is_ok(), "problems": lines }))?;
        return Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    match outcome {
        Ok(Settings { file: Some(file), .. }) => term::line(format!("`{}` is valid", file.display()))?,
        Ok(Settings { file: None, .. }) => {
            let place = origin.file();
            term::line(format!("there is no `{}`, and none is needed: the defaults are valid", place.display()))?;
        }
        Err(problems) => return Err(problems.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn problem_json(problem: &Problem) -> Value {
    let position = problem.position();
    json!({
        "message": problem.message(),
        "advice": problem.advice(),
        "file": position.map(|(path, _, _)| path),
        "line": position.map(|(_, line, _)| line),
        "column": position.map(|(_, _, column)| column),
    })
}

fn show(context: &Context, json: bool) -> anyhow::Result<ExitCode> {
    let settings = context.origin()?.load().map_err(|problems: Problems| problems)?;
    let shown = shown(&settings);
    if json {
        term::json(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::for_stdout();
    let place = settings.origin.file();
    match &settings.file {
        Some(file) => term::line(paint.dim(&format!("# from `{}`, the environment and the defaults", file.display())))?,
        None => term::line(
            paint.dim(&format!("# from the environment and the defaults; there is no `{}`", place.display())),
        )?,
    }
    term::text(toml::to_string(&shown)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The settings in the shape of the file. What is not set is left out, keys are named and not shown.
fn shown(settings: &Settings) -> Value {
    let limits = &settings.limits;
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let mut shown = json!({
        "listen": settings.listen,
        "limits": {
            "body_mib": limits.body_bytes >> 20,
            "calls_max": limits.calls_max,
            "attempts_max": limits.attempts.attempts_max,
            "patience_s": seconds(limits.attempts.patience_ms),
            "retry_wait_max_s": seconds(limits.attempts.wait_max_ms),
            "summary_s": seconds(limits.attempts.summary_ms),
        },
        "timeouts": {
            "connect_s": settings.timeouts.connect_s,
            "headers_s": settings.timeouts.headers_s,
            "first_content_s": settings.timeouts.first_content_s,
            "idle_s": settings.timeouts.idle_s,
            "total_s": settings.timeouts.total_s,
        },
        "engine": {
            "enabled": settings.engine.enabled,
            "threads": settings.engine.threads,
            "context_tokens": settings.engine.context_tokens,
            "parallel": settings.engine.parallel,
            "idle_unload_s": settings.engine.idle.as_secs(),
            "vault": settings.engine.vault,
        },
        "hub": { "url": settings.hub.url },
        "routing": { "substitute": settings.substitute },
        "telemetry": {
            "otlp_endpoint": settings.telemetry.otlp_endpoint,
            "service_name": settings.telemetry.service_name,
        },
        "providers": providers(settings),
        "routes": settings.routes.iter().map(|route| {
            (route.name.clone(), json!({ "candidates": route.candidates, "substitute": route.substitute }))
        }).collect::<serde_json::Map<_, _>>(),
    });
    drop_nulls(&mut shown);
    shown
}

fn providers(settings: &Settings) -> serde_json::Map<String, Value> {
    let line = |provider: &crate::settings::Provider| {
        let spec = &provider.spec;
        let key = match &provider.access {
            Access::Key(_) => "there",
            Access::Keyless => "not needed",
            Access::Missing(hint) => hint,
            Access::Off => "switched off",
        };
        let value = json!({
            "name": spec.name,
            "dialect": spec.dialect.word(),
            "base_url": spec.base_url,
            "tier": spec.tier.word(),
            "rank": spec.rank,
            "default_model": spec.auto_model(),
            "key": key,
        });
        (spec.id.clone(), value)
    };
    settings.providers.iter().map(line).collect()
}

/// TOML has no nothing: what is not set is left out.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}
