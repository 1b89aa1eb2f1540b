//! `commonwatt models list`

use std::process::ExitCode;

use commonwatt_engine::vault::{self, VaultModel};
use commonwatt_upstream::hub::{checksum_of, origin_of};
use serde_json::{Value, json};

use crate::admin::{DeploymentLine, Status};
use crate::cli::Context;
use crate::table;
use crate::term::{self, Paint};

/// What can be asked for.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = super::vault(context)?;
    let stored = vault::list(&folder).map_err(|error| super::unreadable(&folder, &error))?;
    // Whether a daemon runs is not the question here: without one, there is the vault.
    let status = match context.admin() {
        Ok(admin) => admin.status().await.ok(),
        Err(_) => None,
    };
    if arguments.json {
        let deployments = status.as_ref().and_then(|status| status.get("deployments"));
        let models: Vec<Value> = stored.iter().map(stored_json).collect();
        term::json(&json!({ "vault": folder, "models": models, "deployments": deployments }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::for_stdout();
    print_stored(&folder, &stored, paint)?;
    let status = status.and_then(|status| serde_json::from_value::<Status>(status).ok());
    match status {
        Some(status) => print_offered(&status, paint)?,
        None => term::line(paint.dim("\nno daemon runs: `commonwatt serve` starts one, which offers these and more"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_stored(folder: &std::path::Path, stored: &[VaultModel], paint: Paint) -> std::io::Result<()> {
    if stored.is_empty() {
        term::line(format!(
            "no models in `{}`: `commonwatt models pull owner/repository` fetches one",
            folder.display()
        ))?;
        return Ok(());
    }
    let rows: Vec<_> = stored.iter().map(stored_row).collect();
    let head = ["IN THE VAULT", "KIND", "PARAMETERS", "WEIGHTS", "WINDOW", "SIZE", "SHA-256"];
    term::text(table::plain(&head, &rows, paint, term::columns()))
}

fn stored_row(model: &VaultModel) -> [String; 7] {
    let name = term::tame(&model.name);
    let size = term::bytes(model.bytes);
    let checksum = checksum_of(&model.path);
    let checksum = checksum.and_then(|sum| sum.get(..12).map(|start| format!("{start}…"))).unwrap_or_default();
    match &model.header {
        Ok(header) => [
            name,
            term::tame(&header.architecture),
            amount(header.parameters),
            header.quantisation.clone().unwrap_or_default(),
            header.context_tokens.map(|tokens| tokens.to_string()).unwrap_or_default(),
            size,
            checksum,
        ],
        Err(error) => {
            let nothing = String::new;
            [name, format!("unusable: {error}"), nothing(), nothing(), nothing(), size, checksum]
        }
    }
}

fn stored_json(model: &VaultModel) -> Value {
    let header = model.header.as_ref().ok();
    let origin = origin_of(&model.path);
    json!({
        "name": model.name,
        "path": model.path,
        "parts": model.parts.len(),
        "bytes": model.bytes,
        "sha256": checksum_of(&model.path),
        "origin": origin,
        "unusable": model.header.as_ref().err().map(ToString::to_string),
        "architecture": header.map(|header| header.architecture.clone()),
        "parameters": header.map(|header| header.parameters),
        "quantisation": header.and_then(|header| header.quantisation.clone()),
        "context_tokens": header.and_then(|header| header.context_tokens),
        "licence": header.and_then(|header| header.licence.clone()),
    })
}

fn print_offered(status: &Status, paint: Paint) -> std::io::Result<()> {
    let row = |line: &DeploymentLine| {
        let able = line.abilities.iter().filter(|(_, able)| *able == "yes").map(|(name, _)| name.replace('_', " "));
        [
            line.tier.clone(),
            term::tame(&line.id),
            line.window_tokens.map(|tokens| tokens.to_string()).unwrap_or_default(),
            able.collect::<Vec<_>>().join(", "),
        ]
    };
    let rows: Vec<_> = status.deployments.iter().map(row).collect();
    term::line("")?;
    term::text(table::plain(&["TIER", "OFFERED BY THE DAEMON", "WINDOW", "CAN"], &rows, paint, term::columns()))
}

/// Parameters as people count them: `1.5 B`.
fn amount(parameters: u64) -> String {
    let count = parameters as f64;
    match parameters {
        0..1_000_000 => format!("{:.0} k", count / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0} M", count / 1e6),
        _ => format!("{:.1} B", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_as_people_do() {
        assert_eq!(amount(7_615_616_512), "7.6 B");
        assert_eq!(amount(494_032_768), "494 M");
        assert_eq!(amount(8_400), "8 k");
    }
}
