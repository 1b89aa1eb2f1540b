//! What a run found: everything as it was measured, and the figures that follow from it.

use serde::Serialize;

use crate::amounts::Amounts;
use crate::cell::Cell;
use crate::machine::Machine;
use crate::process::Memory;
use crate::statistics::{Spread, median};

/// The path without a gateway; latencies are compared with it.
pub(crate) const DIRECT: &str = "direct";
/// The bare proxy; CPU time is compared with it.
pub(crate) const FLOOR: &str = "floor";
/// The path through the daemon.
pub(crate) const COMMONWATT: &str = "commonwatt";
/// The same with the bus off: nothing is kept.
pub(crate) const STATELESS: &str = "stateless";

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// When it began, in UTC.
    pub(crate) began: String,
    pub(crate) machine: Machine,
    /// `quick`, `usual` or `full`.
    pub(crate) thoroughness: &'static str,
    /// Whether the gateway had a core for itself, and shared none.
    pub(crate) pinned: bool,
    /// Milliseconds between the events of a stream.
    pub(crate) gap_ms: u64,
    /// Callers at a time, at full load.
    pub(crate) crowd: usize,
    pub(crate) memory: Vec<MemoryReport>,
    pub(crate) cells: Vec<CellReport>,
}

/// Memory of one gateway, with 64 KB streams as load.
#[derive(Debug, Default, Serialize)]
pub(crate) struct MemoryReport {
    pub(crate) path: String,
    /// Before any call.
    pub(crate) at_rest: Option<Memory>,
    /// Under load, at the end of the slope.
    pub(crate) plateau: Option<Memory>,
    /// Whether the slope had an end before patience had.
    pub(crate) is_flat: bool,
    /// After five seconds without load.
    pub(crate) rested: Option<Memory>,
    /// After all cells, those with 1 MB included.
    pub(crate) after_all: Option<Memory>,
    /// What was resident, every quarter of a second under load.
    pub(crate) rss_kib: Vec<u64>,
    pub(crate) failure: Option<String>,
}

/// One cell.
#[derive(Debug, Serialize)]
pub(crate) struct CellReport {
    #[serde(serialize_with = "as_text")]
    pub(crate) cell: Cell,
    pub(crate) amounts: Amounts,
    pub(crate) paths: Vec<PathReport>,
}

/// One path in one cell.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PathReport {
    pub(crate) path: String,
    /// What follows from the slices.
    pub(crate) figures: Figures,
    /// Why the path was not measured to the end: the first answer that was wrong.
    pub(crate) failure: Option<String>,
    pub(crate) paced: Vec<PacedSlice>,
    pub(crate) crowd: Vec<CrowdSlice>,
}

/// Requests at a fixed rate.
#[derive(Debug, Serialize)]
pub(crate) struct PacedSlice {
    pub(crate) total: Spread,
    pub(crate) first: Spread,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) total_ns: Vec<u64>,
    pub(crate) first_ns: Vec<u64>,
}

/// Requests at full load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CrowdSlice {
    pub(crate) requests_per_s: f64,
    /// CPU time for a request.
    pub(crate) cpu_us: Option<f64>,
}

/// Medians over slices; none where there was nothing to measure or to compare with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// From the first byte sent to the last received.
    pub(crate) total: Option<Spread>,
    /// From the first byte sent to the first content.
    pub(crate) first: Option<Spread>,
    /// What `total` has over that of the direct path in the same turn.
    pub(crate) added: Option<Spread>,
    /// What `first` has over that of the direct path in the same turn.
    pub(crate) added_first: Option<Spread>,
    /// Requests a second at full load.
    pub(crate) requests_per_s: Option<f64>,
    /// CPU time for a request at full load.
    pub(crate) cpu_us: Option<f64>,
    /// That, as a multiple of what the bare proxy spent in the same turn.
    pub(crate) cpu_ratio: Option<f64>,
    /// CPU time for a request at the fixed rate, where each wakes a process that sleeps.
    pub(crate) paced_cpu_us: Option<f64>,
}

impl CellReport {
    /// Works out the figures, once all slices are there.
    pub(crate) fn conclude(&mut self) {
        let named = |name| self.paths.iter().find(|path| path.path == name);
        let (direct, floor) = (named(DIRECT), named(FLOOR));
        let figures: Vec<_> = self.paths.iter().map(|path| path.conclusion(direct, floor)).collect();
        for (path, figures) in self.paths.iter_mut().zip(figures) {
            path.figures = figures;
        }
    }
}

impl PathReport {
    fn conclusion(&self, direct: Option<&Self>, floor: Option<&Self>) -> Figures {
        let spreads = |of: fn(&PacedSlice) -> Spread| self.paced.iter().map(of).collect::<Vec<_>>();
        let added = |of: fn(&PacedSlice) -> Spread| {
            let turns = self.paced.iter().zip(&direct.filter(|direct| direct.path != self.path)?.paced);
            let added: Vec<_> = turns.map(|(here, there)| of(here).over(of(there))).collect();
            Spread::median_of(&added)
        };
        let ratios = floor.into_iter().flat_map(|floor| self.crowd.iter().zip(&floor.crowd));
        Figures {
            total: Spread::median_of(&spreads(|slice| slice.total)),
            first: Spread::median_of(&spreads(|slice| slice.first)),
            added: added(|slice| slice.total),
            added_first: added(|slice| slice.first),
            requests_per_s: median(self.crowd.iter().map(|slice| slice.requests_per_s)),
            cpu_us: median(self.crowd.iter().filter_map(|slice| slice.cpu_us)),
            cpu_ratio: median(ratios.filter_map(|(here, there)| Some(here.cpu_us? / there.cpu_us?))),
            paced_cpu_us: median(self.paced.iter().filter_map(|slice| slice.cpu_us)),
        }
    }
}

impl Report {
    /// What went wrong, a line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let cells = self.cells.iter().flat_map(|cell| {
            let failed = cell.paths.iter().filter_map(|path| Some((path, path.failure.as_ref()?)));
            failed.map(|(path, failure)| format!("{} {}: {failure}", cell.cell, path.path))
        });
        let memory =
            self.memory.iter().filter_map(|line| Some(format!("memory {}: {}", line.path, line.failure.as_ref()?)));
        cells.chain(memory).collect()
    }
}

fn as_text<S: serde::Serializer>(cell: &Cell, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str, latencies_us: &[f64], cpu_us: &[f64]) -> PathReport {
        let paced = latencies_us.iter().map(|us| {
            let spread = Spread { p50_us: *us, p99_us: 2.0 * us };
            PacedSlice { total: spread, first: spread, cpu_us: None, total_ns: Vec::new(), first_ns: Vec::new() }
        });
        let crowd = cpu_us.iter().map(|us| CrowdSlice { requests_per_s: 10.0, cpu_us: Some(*us) });
        PathReport { path: name.to_owned(), paced: paced.collect(), crowd: crowd.collect(), ..PathReport::default() }
    }

    fn concluded(paths: Vec<PathReport>) -> Vec<Figures> {
        let cell = Cell::all().next().unwrap();
        let amounts = Amounts::of(cell, crate::amounts::Thoroughness::Quick);
        let mut report = CellReport { cell, amounts, paths };
        report.conclude();
        report.paths.iter().map(|path| path.figures).collect()
    }

    #[test]
    fn each_slice_is_compared_with_its_own_turn() {
        // In the second turn the machine was three times as slow, for all alike.
        let paths = vec![
            path(DIRECT, &[10.0, 30.0, 10.0], &[]),
            path(FLOOR, &[20.0, 60.0, 20.0], &[40.0, 120.0, 40.0]),
            path(COMMONWATT, &[25.0, 75.0, 25.0], &[50.0, 150.0, 50.0]),
        ];
        let figures = concluded(paths);
        let [direct, floor, commonwatt] = figures.as_slice() else { panic!("three paths") };
        assert_eq!(direct.added, None);
        assert_eq!(floor.added, Some(Spread { p50_us: 10.0, p99_us: 20.0 }));
        assert_eq!(commonwatt.added, Some(Spread { p50_us: 15.0, p99_us: 30.0 }));
        assert_eq!((floor.cpu_ratio, commonwatt.cpu_ratio), (Some(1.0), Some(1.25)));
    }

    #[test]
    fn without_something_to_compare_with_there_is_no_comparison() {
        let figures = concluded(vec![path(COMMONWATT, &[25.0], &[50.0])]);
        assert_eq!(figures.first().map(|f| (f.added, f.cpu_ratio, f.cpu_us)), Some((None, None, Some(50.0))));
    }
}
