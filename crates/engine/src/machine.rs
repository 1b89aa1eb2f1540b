//! What this machine is: cores, instructions, memory of a process.
//!
//! Knows `/sys` and `/proc`. Does not know models.

use std::collections::BTreeSet;
use std::path::Path;

/// Compute threads when nobody says otherwise: physical cores less one, at least one.
///
/// Two threads on one physical core share its arithmetic units and gain nothing; the last core is for the daemon.
pub(crate) fn default_threads() -> u32 {
    let granted = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let physical = physical_cores(Path::new("/sys/devices/system/cpu")).unwrap_or(granted);
    u32::try_from(physical.min(granted).saturating_sub(1)).unwrap_or(1).max(1)
}

/// Cores as the kernel lists them: each names the threads that share it, and every list counts once.
fn physical_cores(cpus: &Path) -> Option<usize> {
    let mut cores = BTreeSet::new();
    for entry in std::fs::read_dir(cpus).ok()?.flatten() {
        if let Ok(siblings) = std::fs::read_to_string(entry.path().join("topology/thread_siblings_list")) {
            cores.insert(siblings);
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// Memory that a process holds in RAM, in bytes. `None` where `/proc` is missing.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// Whether this CPU can run the engine that was compiled in. The child would die of an illegal instruction otherwise.
///
/// # Errors
/// One sentence that says what is missing and what to do.
pub(crate) fn check_cpu() -> Result<(), String> {
    // Written by build.rs: the instruction sets that the C++ part was compiled for.
    let needed = env!("COMMONWATT_ENGINE_CPU");
    let missing: Vec<&str> = needed.split(',').filter(|name| !name.is_empty() && !cpu_has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "this build of the engine needs a CPU with {}, which this machine lacks: build it here with `./dev up`, or use a portable release",
        missing.join(", ")
    ))
}

#[cfg(target_arch = "x86_64")]
fn cpu_has(name: &str) -> bool {
    match name {
        "sse4.2" => is_x86_feature_detected!("sse4.2"),
        "avx" => is_x86_feature_detected!("avx"),
        "avx2" => is_x86_feature_detected!("avx2"),
        "fma" => is_x86_feature_detected!("fma"),
        "f16c" => is_x86_feature_detected!("f16c"),
        "bmi2" => is_x86_feature_detected!("bmi2"),
        "avx512f" => is_x86_feature_detected!("avx512f"),
        "avx512bw" => is_x86_feature_detected!("avx512bw"),
        "avx512dq" => is_x86_feature_detected!("avx512dq"),
        "avx512vl" => is_x86_feature_detected!("avx512vl"),
        "avx512vbmi" => is_x86_feature_detected!("avx512vbmi"),
        "avx512vnni" => is_x86_feature_detected!("avx512vnni"),
        "avx512bf16" => is_x86_feature_detected!("avx512bf16"),
        "avxvnni" => is_x86_feature_detected!("avxvnni"),
        _ => true,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_has(_name: &str) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_that_share_a_list_of_siblings_count_once() {
        let cpus = tempfile::tempdir().unwrap();
        for (cpu, siblings) in [("cpu0", "0,2\n"), ("cpu1", "1,3\n"), ("cpu2", "0,2\n"), ("cpu3", "1,3\n")] {
            let topology = cpus.path().join(cpu).join("topology");
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::write(topology.join("thread_siblings_list"), siblings).unwrap();
        }
        std::fs::create_dir(cpus.path().join("cpufreq")).unwrap();
        assert_eq!(physical_cores(cpus.path()), Some(2));
        assert_eq!(physical_cores(&cpus.path().join("missing")), None);
    }

    #[test]
    fn the_machine_that_builds_the_engine_can_run_it() {
        assert_eq!(check_cpu(), Ok(()));
        assert!(default_threads() >= 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_a_resident_size() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 16);
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
