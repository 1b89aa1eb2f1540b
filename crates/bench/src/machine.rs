//! What the run ran on.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine, and the state of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// The model of its processor.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// How busy it was before: over 1, 5 and 15 minutes.
    pub(crate) load_before: String,
    /// The commit, with `+` if the tree differs from it.
    pub(crate) revision: String,
}

impl Machine {
    /// Looks around; what cannot be found out is `unknown`.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let load: Vec<_> = read("/proc/loadavg").split_whitespace().take(3).map(str::to_owned).collect();
        Self {
            cpu: known(cpu_model(&read("/proc/cpuinfo"))),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: known(&read("/proc/sys/kernel/osrelease")),
            load_before: known(&load.join(" ")),
            revision: revision(),
        }
    }

    /// Whether other work kept a quarter of the cores occupied.
    pub(crate) fn was_busy(&self) -> bool {
        let last_minute = self.load_before.split(' ').next().and_then(|load| load.parse::<f64>().ok());
        let cores = u32::try_from(self.cores).unwrap_or(u32::MAX);
        last_minute.is_some_and(|load| load > f64::from(cores) / 4.0)
    }
}

fn cpu_model(cpuinfo: &str) -> &str {
    let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find_map(|(name, value)| (name.trim() == "model name").then_some(value)).unwrap_or_default()
}

fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = known(&git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default());
    let differs = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    if differs { format!("{commit}+") } else { commit }
}

fn known(words: &str) -> String {
    let words = words.trim();
    if words.is_empty() { "unknown".to_owned() } else { words.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_its_model() {
        assert_eq!(cpu_model("processor\t: 0\nmodel\t\t: 17\nmodel name\t: EPYC 9B14\n").trim(), "EPYC 9B14");
        assert_eq!(known(cpu_model("")), "unknown");
    }
}
