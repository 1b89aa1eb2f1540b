//! Measuring a cell: the paths take turns, so that whatever disturbs the machine disturbs all alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::amounts::{Amounts, CROWD};
use crate::answer::Expected;
use crate::cell::Cell;
use crate::line::{Job, Timing};
use crate::load::{self, Lines};
use crate::process::CpuReading;
use crate::prompt::{self, Address};
use crate::report::{CellReport, CrowdSlice, PacedSlice, PathReport};
use crate::statistics::{Spread, microseconds};

/// A path that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) at: SocketAddr,
    pub(crate) address: Address,
    /// The gateway's process; none for the direct path, and where it is not known.
    pub(crate) process: Option<u32>,
}

/// A path, while one cell is measured.
struct Runner {
    job: Arc<Job>,
    process: Option<u32>,
    paced: Lines,
    crowd: Lines,
    report: PathReport,
}

impl Contestant {
    /// The exchange of a cell on this path.
    pub(crate) fn job(&self, cell: Cell) -> Arc<Job> {
        let request = prompt::request(cell, &self.address);
        Arc::new(Job { at: self.at, request, expected: Expected::of(cell) })
    }
}

/// Measures one cell.
pub(crate) async fn measure(cell: Cell, amounts: Amounts, contestants: &[Contestant]) -> CellReport {
    let mut runners: Vec<_> = contestants.iter().map(|contestant| Runner::new(contestant, cell)).collect();
    for _ in 0..amounts.paced_slices {
        for runner in runners.iter_mut().filter(|runner| runner.report.failure.is_none()) {
            match runner.paced(&amounts).await {
                Ok(slice) => runner.report.paced.push(slice),
                Err(failure) => runner.report.failure = Some(failure),
            }
        }
    }
    for _ in 0..amounts.crowd_slices {
        for runner in runners.iter_mut().filter(|runner| runner.report.failure.is_none()) {
            match runner.crowd(&amounts).await {
                Ok(slice) => runner.report.crowd.push(slice),
                Err(failure) => runner.report.failure = Some(failure),
            }
        }
    }
    let paths = runners.into_iter().map(|runner| runner.report).collect();
    let mut report = CellReport { cell, amounts, paths };
    report.conclude();
    report
}

impl Runner {
    fn new(contestant: &Contestant, cell: Cell) -> Self {
        Self {
            job: contestant.job(cell),
            process: contestant.process,
            paced: Lines::default(),
            crowd: Lines::default(),
            report: PathReport { path: contestant.name.clone(), ..PathReport::default() },
        }
    }

    async fn paced(&mut self, amounts: &Amounts) -> Result<PacedSlice, String> {
        load::gather(&mut self.paced, &self.job, 1).await?;
        let before = self.cpu();
        let timings = load::paced(&mut self.paced, &self.job, amounts.rate, amounts.paced_requests).await?;
        let cpu_us = self.cpu_us_since(before.as_ref(), timings.len());
        let all = |of: fn(&Timing) -> u64| timings.iter().map(of).collect::<Vec<_>>();
        let (total_ns, first_ns) = (all(|timing| timing.total_ns), all(|timing| timing.first_ns));
        let spread = |samples: &[u64]| Spread::of(samples.iter().copied()).ok_or("there were no requests");
        let (total, first) = (spread(&total_ns)?, spread(&first_ns)?);
        Ok(PacedSlice { total, first, cpu_us, total_ns, first_ns })
    }

    async fn crowd(&mut self, amounts: &Amounts) -> Result<CrowdSlice, String> {
        let requests = amounts.crowd_requests;
        load::gather(&mut self.crowd, &self.job, CROWD).await?;
        let before = self.cpu();
        let elapsed = load::crowd(&mut self.crowd, &self.job, CROWD, requests).await?;
        let cpu_us = self.cpu_us_since(before.as_ref(), requests);
        Ok(CrowdSlice { requests_per_s: count(requests) / elapsed.max(Duration::from_nanos(1)).as_secs_f64(), cpu_us })
    }

    fn cpu(&self) -> Option<CpuReading> {
        CpuReading::of(self.process?)
    }

    fn cpu_us_since(&self, before: Option<&CpuReading>, requests: usize) -> Option<f64> {
        let used_ns = self.cpu()?.since(before?);
        Some(microseconds(used_ns) / count(requests.max(1)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands of requests")]
fn count(requests: usize) -> f64 {
    requests as f64
}
