//! `commonwatt models verify`: whether the files are the ones that were pulled.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use commonwatt_engine::vault::{self, VaultError, VaultModel};
use commonwatt_upstream::hub::checksum_of;
use serde_json::{Value, json};

use super::pull::bar;
use crate::cli::Context;
use crate::config::nearest;
use crate::term::{self, Paint};

/// What can be asked for.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Names of models; by default all in the vault.
    names: Vec<String>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// What became of a model.
enum Verdict {
    /// It is the one that was pulled.
    Whole(String),
    /// It looks like a model, and nobody has said what its checksum should be.
    Unsworn(String),
    /// It is not.
    Broken(String),
}

/// Checks them.
pub(super) fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = super::vault(context)?;
    let stored = vault::list(&folder).map_err(|error| super::unreadable(&folder, &error))?;
    let chosen = choose(&stored, &arguments.names, &folder)?;
    let paint = Paint::for_stdout();
    let mut all_well = true;
    let mut lines = Vec::new();
    for model in chosen {
        let verdict = judge(model);
        let (word, detail) = match &verdict {
            Verdict::Whole(sum) => (paint.good("whole"), format!("sha256 {sum}")),
            Verdict::Unsworn(sum) => (paint.warn("no checksum to compare with"), format!("sha256 {sum}")),
            Verdict::Broken(why) => (paint.bad("broken"), why.clone()),
        };
        all_well &= !matches!(verdict, Verdict::Broken(_));
        if arguments.json {
            lines.push(verdict_json(model, &verdict));
        } else {
            term::line(format!("{}  {word}  {}", term::tame(&model.name), paint.dim(&detail)))?;
        }
    }
    if arguments.json {
        term::json(&lines)?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose<'a>(stored: &'a [VaultModel], names: &[String], folder: &Path) -> anyhow::Result<Vec<&'a VaultModel>> {
    if names.is_empty() {
        return Ok(stored.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let bare = name.strip_prefix("engine/").unwrap_or(name);
        let bare = bare.strip_suffix(".gguf").unwrap_or(bare);
        let Some(model) = stored.iter().find(|model| model.name == bare) else {
            let known: Vec<&str> = stored.iter().map(|model| model.name.as_str()).collect();
            let hint = nearest(bare, &known).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.unwrap_or_else(|| "`commonwatt models` lists what there is".to_owned());
            bail!("there is no model `{name}` in `{}`: {hint}", folder.display());
        };
        chosen.push(model);
    }
    Ok(chosen)
}

fn judge(model: &VaultModel) -> Verdict {
    if let Err(error) = &model.header {
        return Verdict::Broken(error.to_string());
    }
    let parts = match vault::parts(&model.path) {
        Ok(parts) => parts,
        Err(error) => return Verdict::Broken(error.to_string()),
    };
    let mut first = None;
    let mut sworn = true;
    for part in &parts {
        match judge_file(part) {
            Ok((sum, known)) => {
                sworn &= known;
                first.get_or_insert(sum);
            }
            Err(error) => return Verdict::Broken(error.to_string()),
        }
    }
    let sum = first.unwrap_or_default();
    if sworn { Verdict::Whole(sum) } else { Verdict::Unsworn(sum) }
}

/// The checksum of a file, and whether it was known beforehand.
fn judge_file(path: &Path) -> Result<(String, bool), VaultError> {
    let total = path.metadata().map(|metadata| metadata.len()).ok();
    let bar = bar(&path.file_name().unwrap_or_default().to_string_lossy(), total);
    let progress = |bytes| bar.set_position(bytes);
    let outcome = match checksum_of(path) {
        Some(expected) => vault::verify(path, &expected, progress).map(|()| (expected, true)),
        None => vault::sha256(path, progress)
            .map(|sum| (sum, false))
            .map_err(|source| VaultError::Unreadable { path: path.display().to_string(), source }),
    };
    bar.finish_and_clear();
    outcome
}

fn verdict_json(model: &VaultModel, verdict: &Verdict) -> Value {
    let (word, sum, why) = match verdict {
        Verdict::Whole(sum) => ("whole", Some(sum), None),
        Verdict::Unsworn(sum) => ("no_checksum", Some(sum), None),
        Verdict::Broken(why) => ("broken", None, Some(why)),
    };
    json!({ "name": model.name, "path": model.path, "verdict": word, "sha256": sum, "because": why })
}
