//! `commonwatt models pull`: from a hub into the vault.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use commonwatt_engine::gguf::Header;
use commonwatt_upstream::hub::{Hub, Listing, Progress, Pulled, RemoteFile, Wanted};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::Context;
use crate::secret::Secret;
use crate::table;
use crate::term::{self, Paint};

/// What is wanted.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// `owner/repository/file.gguf`, `owner/repository` to choose one of its files, either with `@revision`, or an address.
    model: String,
    /// The hub; by default `https://huggingface.co`.
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Print what was pulled as JSON.
    #[arg(long)]
    json: bool,
}

/// Fetches it.
pub(super) async fn run(context: &Context, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = context.origin()?.load()?;
    let url = arguments.hub.unwrap_or(settings.hub.url);
    let hub = Hub::new(&url, settings.hub.token.as_ref().map(Secret::reveal))?;
    let wanted = match hub.wanted(&arguments.model)? {
        Wanted::Repository { repository, revision } => {
            let listing = hub.list(&repository, &revision).await?;
            let Some(path) = choose(&repository, &listing)? else { return Ok(ExitCode::FAILURE) };
            Wanted::File { repository, revision, path }
        }
        chosen @ (Wanted::File { .. } | Wanted::Address(_)) => chosen,
    };
    let mut pulled = Vec::new();
    for part in parts(wanted) {
        pulled.push(pull(&hub, &part, &settings.engine.vault).await?);
    }
    let Some(first) = pulled.first() else { return Ok(ExitCode::FAILURE) };
    if arguments.json {
        let line =
            |p: &Pulled| json!({ "path": p.path, "bytes": p.bytes, "sha256": p.sha256, "announced": p.announced });
        term::json(&pulled.iter().map(line).collect::<Vec<_>>())?;
    } else {
        report(first, pulled.len())?;
    }
    tell(context).await;
    Ok(ExitCode::SUCCESS)
}

/// Which file of a repository. Asks, where there is somebody to ask; else says what there is.
fn choose(repository: &str, listing: &Listing) -> anyhow::Result<Option<String>> {
    // Of a split model, the first part stands for all.
    let files: Vec<&RemoteFile> =
        listing.files.iter().filter(|file| part_of(&file.path).is_none_or(|(_, part, _)| part == 1)).collect();
    match files.as_slice() {
        [] => bail!("`{repository}` has no GGUF files: look for a repository of the same name that ends in `-GGUF`"),
        [only] => return Ok(Some(only.path.clone())),
        [..] => {}
    }
    let row = |(at, file): (usize, &&RemoteFile)| {
        let parts = part_of(&file.path).map(|(_, _, parts)| format!("{parts} parts")).unwrap_or_default();
        let size = file.bytes.filter(|_| parts.is_empty()).map(term::bytes).unwrap_or(parts);
        [(at + 1).to_string(), term::tame(&file.path), size]
    };
    let rows: Vec<_> = files.iter().enumerate().map(row).collect();
    term::text(table::plain(&["", "FILE", "SIZE"], &rows, Paint::for_stdout(), term::columns()))?;
    if !io::stdin().is_terminal() {
        term::note(format!("name one of them: `commonwatt models pull {repository}/FILE`"));
        return Ok(None);
    }
    loop {
        term::text("which one? ")?;
        let mut answer = String::new();
        if io::stdin().lock().read_line(&mut answer).context("cannot read standard input")? == 0 {
            return Ok(None);
        }
        let chosen = answer.trim().parse::<usize>().ok().and_then(|number| files.get(number.checked_sub(1)?));
        match chosen {
            Some(file) => return Ok(Some(file.path.clone())),
            None if answer.trim().is_empty() => return Ok(None),
            None => term::line(format!("type a number from 1 to {}, or nothing to leave", files.len()))?,
        }
    }
}

/// The file, or all parts of a split model.
fn parts(wanted: Wanted) -> Vec<Wanted> {
    let Wanted::File { repository, revision, path } = &wanted else { return vec![wanted] };
    let Some((base, _, parts)) = part_of(path) else { return vec![wanted] };
    let part = |number: u32| Wanted::File {
        repository: repository.clone(),
        revision: revision.clone(),
        path: format!("{base}-{number:05}-of-{parts:05}.gguf"),
    };
    (1..=parts).map(part).collect()
}

/// `base-00002-of-00005.gguf`: base, part and parts.
fn part_of(path: &str) -> Option<(&str, u32, u32)> {
    let stem = path.strip_suffix(".gguf")?;
    let (rest, parts) = stem.rsplit_once("-of-").filter(|(_, parts)| parts.len() == 5)?;
    let (base, part) = rest.rsplit_once('-').filter(|(_, part)| part.len() == 5)?;
    let (part, parts) = (part.parse().ok()?, parts.parse().ok()?);
    // A thousand parts are more than anybody cuts.
    (1..=parts).contains(&part).then_some((base, part, parts)).filter(|_| parts <= 1_000)
}

async fn pull(hub: &Hub, wanted: &Wanted, vault: &Path) -> anyhow::Result<Pulled> {
    let name = match wanted {
        Wanted::File { path, .. } => path.rsplit('/').next().unwrap_or(path).to_owned(),
        Wanted::Address(url) => url.path_segments().and_then(Iterator::last).unwrap_or_default().to_owned(),
        Wanted::Repository { repository, .. } => repository.clone(),
    };
    let bar = bar(&name, None);
    let mut show = |step: Progress| match step {
        Progress::Begun { total, have } => {
            bar.set_length(total.unwrap_or(0));
            bar.set_position(have);
            // What was here already says nothing about the pace.
            bar.reset_eta();
        }
        Progress::At(bytes) => bar.set_position(bytes),
        Progress::Broken { cause, pause } => {
            bar.println(format!("{cause}; trying again in {:.1} s", pause.as_secs_f64()));
        }
    };
    let outcome = hub.pull(wanted, vault, &mut show).await;
    bar.finish_and_clear();
    Ok(outcome?)
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn bar(name: &str, total: Option<u64>) -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    let template = "{msg} {wide_bar} {binary_bytes:>10} of {binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━ "));
    }
    bar.set_message(term::cut(&term::tame(name), 32));
    bar
}

fn report(first: &Pulled, parts: usize) -> anyhow::Result<()> {
    let paint = Paint::for_stdout();
    let name = first.path.file_stem().unwrap_or_default().to_string_lossy();
    let name = part_of(&format!("{name}.gguf")).map_or(name.to_string(), |(base, _, _)| base.to_owned());
    let verb = if first.was_there { "was there already" } else { "pulled" };
    term::line(format!("{} {verb}: {}", paint.bold(&name), first.path.display()))?;
    let header = Header::read_file(&first.path);
    match &header {
        Ok(header) => {
            let facts = [
                Some(header.architecture.clone()),
                header.quantisation.clone(),
                header.context_tokens.map(|tokens| format!("window of {tokens} tokens")),
                Some(if parts == 1 { term::bytes(first.bytes) } else { format!("{parts} parts") }),
            ];
            let facts: Vec<String> = facts.into_iter().flatten().map(|fact| term::tame(&fact)).collect();
            term::line(paint.dim(&facts.join(" · ")))?;
        }
        Err(error) => term::line(paint.warn(&format!("the engine will not be able to use it: {error}")))?,
    }
    let sum = &first.sha256;
    if first.announced {
        term::line(paint.dim(&format!("sha256 {sum}, as the hub announced")))?;
    } else {
        term::line(paint.warn(&format!("sha256 {sum}; nobody announced it, so nobody vouches for it")))?;
    }
    if header.is_ok() {
        term::line(format!("talk to it with `commonwatt chat --model engine/{name}`"))?;
    }
    Ok(())
}

/// Lets a running daemon know. That none runs is no fault.
async fn tell(context: &Context) {
    let Ok(origin) = context.origin() else { return };
    if origin.home.daemon().is_none() {
        return;
    }
    let Ok(admin) = context.admin() else { return };
    if let Err(error) = admin.reload().await {
        term::note(format!("the running daemon has not taken note of it ({error}): start it again"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_model_is_pulled_in_all_its_parts() {
        let file = |path: &str| Wanted::File { repository: "o/r".into(), revision: "main".into(), path: path.into() };
        let names = |path: &str| parts(file(path)).len();
        assert_eq!(names("q4/big-00002-of-00003.gguf"), 3);
        assert_eq!(names("small.gguf"), 1);
        assert_eq!(names("odd-2-of-3.gguf"), 1);
        assert_eq!(parts(file("q4/big-00002-of-00003.gguf")).first(), Some(&file("q4/big-00001-of-00003.gguf")));
    }
}
