//! Memory of the gateways: at rest, on a plateau under load, and some seconds after.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::amounts::{Amounts, CROWD, REST_S, Thoroughness};
use crate::cell::{Cell, Shape, Size, Way};
use crate::load::{self, Lines};
use crate::measure::Contestant;
use crate::process::Memory;
use crate::report::MemoryReport;

/// How often memory is looked at under load.
const EVERY: Duration = Duration::from_millis(250);
/// Samples that must be alike for the slope to have ended.
const FLAT_SAMPLES: usize = 6;
/// Requests in a burst of load; bursts follow each other without a pause.
const BURST: usize = 512;

/// An agent at work, the load that there is most of.
const CELL: Cell = Cell { shape: Shape::Stream, size: Size::Large, way: Way::Same };

/// Watches every gateway whose process is known.
pub(crate) async fn watch(contestants: &[Contestant], thoroughness: Thoroughness) -> Vec<MemoryReport> {
    let mut reports = Vec::new();
    for (contestant, process) in contestants.iter().filter_map(|contestant| Some((contestant, contestant.process?))) {
        let at_rest = Memory::of(process);
        let mut report = MemoryReport { path: contestant.name.clone(), at_rest, ..MemoryReport::default() };
        report.failure = climb(&mut report, contestant, process, thoroughness).await.err();
        reports.push((process, report));
    }
    if !reports.is_empty() {
        sleep(Duration::from_secs(REST_S)).await;
    }
    let rested = |(process, report)| MemoryReport { rested: Memory::of(process), ..report };
    reports.into_iter().map(rested).collect()
}

/// Loads the gateway until its memory no longer grows.
async fn climb(
    report: &mut MemoryReport,
    contestant: &Contestant,
    process: u32,
    thoroughness: Thoroughness,
) -> Result<(), String> {
    let job = contestant.job(CELL);
    let mut lines = Lines::default();
    let patience = Instant::now() + Duration::from_secs(Amounts::plateau_s(thoroughness));
    let is_over = std::cell::Cell::new(false);
    let watching = async {
        while Instant::now() < patience && !report.is_flat && !is_over.get() {
            sleep(EVERY).await;
            report.plateau = Memory::of(process).or(report.plateau);
            report.rss_kib.extend(report.plateau.map(|memory| memory.rss_kib));
            report.is_flat = is_flat(&report.rss_kib);
        }
        is_over.set(true);
    };
    let loading = async {
        let mut outcome = Ok(());
        while outcome.is_ok() && !is_over.get() {
            outcome = load::crowd(&mut lines, &job, CROWD, BURST).await.map(drop);
        }
        is_over.set(true);
        outcome
    };
    tokio::join!(watching, loading).1
}

/// Whether the last samples lie within 2 % of each other.
fn is_flat(rss_kib: &[u64]) -> bool {
    let Some(last) = rss_kib.len().checked_sub(FLAT_SAMPLES).and_then(|from| rss_kib.get(from..)) else { return false };
    match (last.iter().min(), last.iter().max()) {
        (Some(least), Some(most)) => (most - least) * 50 <= *most,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plateau_is_six_samples_within_two_percent() {
        assert!(!is_flat(&[100, 100, 100, 100, 100]));
        assert!(!is_flat(&[100, 101, 102, 103, 104, 105]));
        assert!(is_flat(&[1, 100, 100, 101, 101, 102, 100]));
    }
}
