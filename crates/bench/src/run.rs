//! A run: who is measured, in which cells, and where the results go.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;

use crate::amounts::{Amounts, CROWD, Thoroughness};
use crate::args::{Arguments, Other};
use crate::cell::Cell;
use crate::children::{self, KEY, Running};
use crate::load::{self, Lines};
use crate::machine::Machine;
use crate::measure::{Contestant, measure};
use crate::process::{Memory, pin};
use crate::prompt::Address;
use crate::report::{COMMONWATT, DIRECT, FLOOR, Report, STATELESS};
use crate::{memory, say, table};

/// Where each side runs when cores are pinned.
const GATEWAY_CORE: usize = 0;
const OTHER_CORE: usize = 1;

/// Requests between two looks at the clock, under a profiler.
const PROFILE_BURST: usize = 1024;

/// What is measured, and the processes that it needs; they end with it.
struct Stage {
    contestants: Vec<Contestant>,
    running: Vec<Running>,
}

/// Measures, prints the table, keeps the results. An error is a wrong answer or a process that does not start; a missed
/// target is none.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let cells = chosen_cells(&arguments.cells)?;
    let thoroughness = thoroughness(arguments);
    let machine = Machine::here();
    let began = Timestamp::now();
    let stage = Stage::set(arguments).await?;
    if arguments.pin {
        pin(Some(OTHER_CORE)).context("cannot pin the load to a core")?;
    }
    if let Some(seconds) = arguments.profile {
        return stage.load(&cells, Duration::from_secs(seconds)).await;
    }
    say::progress("memory");
    let mut memory = memory::watch(&stage.contestants, thoroughness).await;
    let mut measured = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        say::progress(&format!("{cell} ({} of {})", at + 1, cells.len()));
        measured.push(measure(*cell, Amounts::of(*cell, thoroughness), &stage.contestants).await);
    }
    for line in &mut memory {
        let contestant = stage.contestants.iter().find(|contestant| contestant.name == line.path);
        line.after_all = contestant.and_then(|contestant| contestant.process).and_then(Memory::of);
    }
    let report = Report {
        began: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        machine,
        thoroughness: thoroughness.word(),
        pinned: arguments.pin,
        gap_ms: arguments.gap,
        crowd: CROWD,
        memory,
        cells: measured,
    };
    say::result(&table::render(&report));
    let kept = keep(&report, &results_folder(arguments)?, &began.strftime("%Y%m%dT%H%M%SZ").to_string())?;
    say::progress(&format!("kept in {}", kept.display()));
    let failures = report.failures();
    ensure!(failures.is_empty(), "wrong answers:\n  {}", failures.join("\n  "));
    Ok(())
}

impl Stage {
    async fn set(arguments: &Arguments) -> anyhow::Result<Self> {
        let is_wanted = |name: &str| arguments.paths.is_empty() || arguments.paths.iter().any(|path| path == name);
        for path in &arguments.paths {
            ensure!(
                [DIRECT, FLOOR, STATELESS, COMMONWATT].contains(&path.as_str()),
                "there is no path `{path}`: use {DIRECT}, {FLOOR}, {STATELESS}, {COMMONWATT}"
            );
        }
        let core = |core| arguments.pin.then_some(core);
        let listen = arguments.upstream_listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (listen, gap) = (listen.to_string(), arguments.gap.to_string());
        let upstream = children::helper(&["upstream", "--listen", &listen, "--gap", &gap], core(OTHER_CORE))?;
        let to = upstream.at;
        let mut stage = Self { contestants: Vec::new(), running: vec![upstream] };
        if is_wanted(DIRECT) {
            stage.contestants.push(Contestant::new(DIRECT, to, "simulated", None));
        }
        if is_wanted(FLOOR) {
            let floor = children::helper(&["proxy", "--to", &to.to_string()], core(GATEWAY_CORE))?;
            stage.contestants.push(Contestant::new(FLOOR, floor.at, "simulated", Some(floor.process())));
            stage.running.push(floor);
        }
        for (name, config) in [(STATELESS, "[bus]\nenabled = false\n"), (COMMONWATT, "")] {
            if is_wanted(name) {
                let daemon = children::daemon(&binary(arguments)?, to, config, core(GATEWAY_CORE)).await?;
                stage.contestants.push(Contestant::new(name, daemon.at, "auto", Some(daemon.process())));
                stage.running.push(daemon);
            }
        }
        for other in &arguments.others {
            stage.contestants.push(Contestant::stranger(other).await?);
        }
        Ok(stage)
    }

    /// Full load, and nothing measured.
    async fn load(&self, cells: &[Cell], each: Duration) -> anyhow::Result<()> {
        for (cell, contestant) in cells.iter().flat_map(|cell| self.contestants.iter().map(move |c| (cell, c))) {
            let process = contestant.process.map_or_else(|| "unknown".to_owned(), |process| process.to_string());
            say::progress(&format!("{cell} on {}, process {process}, for {} s", contestant.name, each.as_secs()));
            let (job, mut lines, begun) = (contestant.job(*cell), Lines::default(), Instant::now());
            while begun.elapsed() < each {
                load::crowd(&mut lines, &job, CROWD, PROFILE_BURST).await.map_err(anyhow::Error::msg)?;
            }
        }
        Ok(())
    }
}

impl Contestant {
    fn new(name: &str, at: SocketAddr, model: &str, process: Option<u32>) -> Self {
        let address = Address { host: at.to_string(), prefix: String::new(), key: KEY.into(), model: model.into() };
        Self { name: name.to_owned(), at, address, process }
    }

    async fn stranger(other: &Other) -> anyhow::Result<Self> {
        let Other { name, host, prefix, process, model, key } = other.clone();
        let found = tokio::net::lookup_host(&host).await.with_context(|| format!("cannot find `{host}`"))?.next();
        let at = found.with_context(|| format!("`{host}` has no address"))?;
        Ok(Self { name, at, address: Address { host, prefix, key, model }, process })
    }
}

impl Thoroughness {
    fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Usual => "usual",
            Self::Full => "full",
        }
    }
}

fn thoroughness(arguments: &Arguments) -> Thoroughness {
    match (arguments.quick, arguments.full) {
        (true, _) => Thoroughness::Quick,
        (false, true) => Thoroughness::Full,
        (false, false) => Thoroughness::Usual,
    }
}

fn chosen_cells(words: &[String]) -> anyhow::Result<Vec<Cell>> {
    let is_chosen = |cell: &Cell| words.is_empty() || words.iter().any(|word| cell.to_string().contains(word));
    let cells: Vec<_> = Cell::all().filter(is_chosen).collect();
    if cells.is_empty() {
        let all: Vec<_> = Cell::all().map(|cell| cell.to_string()).collect();
        bail!("no cell is called that; there are: {}", all.join(", "));
    }
    Ok(cells)
}

/// The daemon's binary: cargo puts it beside this program.
fn binary(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    match &arguments.binary {
        Some(binary) => Ok(binary.clone()),
        None => Ok(std::env::current_exe()?.with_file_name("commonwatt")),
    }
}

fn results_folder(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &arguments.keep {
        return Ok(folder.clone());
    }
    let program = std::env::current_exe()?;
    let target =
        program.parent().and_then(Path::parent).context("this program lies in no target folder: use --keep")?;
    Ok(target.join("bench"))
}

fn keep(report: &Report, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let json = serde_json::to_vec(report)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    for file in [&file, &folder.join("latest.json")] {
        std::fs::write(file, &json).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_chosen_by_parts_of_their_names() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen_cells(&words).map(|cells| cells.len())
        };
        assert_eq!(names(&[]).unwrap(), 12);
        assert_eq!(names(&["stream-1k"]).unwrap(), 2);
        assert_eq!(names(&["1m", "across"]).unwrap(), 8);
        assert!(names(&["huge"]).unwrap_err().to_string().contains("plain-1k-same"));
    }
}
