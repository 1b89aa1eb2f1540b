//! What the kernel knows of a process: CPU time, memory, and on which cores it may run. Linux only; elsewhere nothing is
//! known, and the table says so.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// CPU time so far, of each thread of a process and of its descendants, in nanoseconds.
///
/// Taken from `schedstat`, which counts in nanoseconds; `stat` counts in ticks of ten milliseconds. A thread that ends
/// takes its count with it: what it did since the reading before is lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuReading(BTreeMap<u32, u64>);

/// Memory of a process and its descendants, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// What is resident.
    pub(crate) rss_kib: u64,
    /// The same, pages that are shared counted by their share.
    pub(crate) pss_kib: u64,
    /// The most that was ever resident.
    pub(crate) peak_kib: u64,
}

impl CpuReading {
    /// Reads; none where the kernel does not tell.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let mut threads = BTreeMap::new();
        for process in family(process) {
            for thread in threads_of(process) {
                let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok();
                threads.extend(text.as_deref().and_then(on_cpu_ns).map(|ns| (thread, ns)));
            }
        }
        (!threads.is_empty()).then_some(Self(threads))
    }

    /// What was used since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or(0);
        self.0.iter().map(|(thread, ns)| ns.saturating_sub(before(thread))).sum()
    }
}

impl Memory {
    /// Reads; none where the kernel does not tell.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let mut memory = Self::default();
        for process in family(process) {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok();
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok();
            let now = |name| rollup.as_deref().and_then(|text| kib(text, name));
            let ever = |name| status.as_deref().and_then(|text| kib(text, name));
            memory.rss_kib += now("Rss").or_else(|| ever("VmRSS"))?;
            memory.pss_kib += now("Pss").unwrap_or(0);
            memory.peak_kib += ever("VmHWM").unwrap_or(0);
        }
        Some(memory)
    }
}

/// Lets the calling thread, and what it starts from now on, run on one core only; `None` lifts that.
#[cfg(target_os = "linux")]
pub(crate) fn pin(core: Option<usize>) -> std::io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut cores = CpuSet::new();
    match core {
        Some(core) => cores.set(core),
        None => (0..CpuSet::MAX_CPU).for_each(|core| cores.set(core)),
    }
    Ok(sched_setaffinity(None, &cores)?)
}

/// Cores cannot be chosen here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_core: Option<usize>) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// A process, its children, theirs, and so on.
fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        for thread in threads_of(parent) {
            let text = fs::read_to_string(format!("/proc/{parent}/task/{thread}/children")).unwrap_or_default();
            family.extend(text.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        at += 1;
    }
    family
}

fn threads_of(process: u32) -> Vec<u32> {
    let Ok(folder) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// `194031308 30507616 440`: time on a core, time in the queue, turns.
fn on_cpu_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// The figure of the line `Name:   4092 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(on_cpu_ns("194031308 30507616 440\n"), Some(194_031_308));
        let rollup = "55f6-7ffd ---p 0 00:00 0 [rollup]\nRss:    4092 kB\nPss:     743 kB\nPss_Dirty:  579 kB\n";
        assert_eq!((kib(rollup, "Rss"), kib(rollup, "Pss"), kib(rollup, "Ps")), (Some(4092), Some(743), None));
    }

    #[test]
    fn a_thread_that_is_new_counts_in_full_and_one_that_ended_not_at_all() {
        let before = CpuReading(BTreeMap::from([(1, 100), (2, 50)]));
        let after = CpuReading(BTreeMap::from([(1, 130), (3, 7)]));
        assert_eq!(after.since(&before), 37);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_very_process_has_used_time_and_memory() {
        let this = std::process::id();
        assert!(CpuReading::of(this).is_some());
        assert!(Memory::of(this).unwrap().rss_kib > 0);
    }
}
