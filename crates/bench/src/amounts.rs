//! How much is measured. Everything is bounded in count, and the counts bound the time.

use serde::Serialize;

use crate::cell::{Cell, Size};

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thoroughness {
    /// Under a minute.
    Quick,
    /// Under four minutes.
    Usual,
    /// As long as it takes.
    Full,
}

/// How often a cell is measured on each path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Amounts {
    /// Slices at a fixed rate; the paths take turns.
    pub(crate) paced_slices: usize,
    /// Requests in such a slice.
    pub(crate) paced_requests: usize,
    /// Requests a second: low enough that no path is busy half of the time.
    pub(crate) rate: u32,
    /// Slices at full load; the paths take turns.
    pub(crate) crowd_slices: usize,
    /// Requests in such a slice.
    pub(crate) crowd_requests: usize,
}

/// Callers at a time, at full load.
pub(crate) const CROWD: usize = 64;
/// How long memory is watched after the load has ended, in seconds.
pub(crate) const REST_S: u64 = 5;

impl Amounts {
    /// The amounts for a cell.
    pub(crate) fn of(cell: Cell, thoroughness: Thoroughness) -> Self {
        let rate = match cell.size {
            Size::Small | Size::Large => 500,
            Size::Huge => 200,
        };
        let (paced_slices, paced_requests, crowd_slices, crowd_requests) = match (thoroughness, cell.size) {
            (Thoroughness::Quick, Size::Small | Size::Large) => (3, 100, 3, 500),
            (Thoroughness::Quick, Size::Huge) => (3, 40, 3, 100),
            (Thoroughness::Usual, Size::Small) => (8, 250, 10, 1000),
            (Thoroughness::Usual, Size::Large) => (8, 250, 10, 500),
            (Thoroughness::Usual, Size::Huge) => (8, 125, 5, 200),
            (Thoroughness::Full, Size::Small | Size::Large) => (20, 500, 20, 2000),
            (Thoroughness::Full, Size::Huge) => (10, 200, 10, 300),
        };
        Self { paced_slices, paced_requests, rate, crowd_slices, crowd_requests }
    }

    /// Seconds of memory under load, at most.
    pub(crate) fn plateau_s(thoroughness: Thoroughness) -> u64 {
        match thoroughness {
            Thoroughness::Quick => 2,
            Thoroughness::Usual => 6,
            Thoroughness::Full => 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_run_has_enough_requests_for_its_figures() {
        for cell in Cell::all().filter(|cell| cell.size != Size::Huge) {
            let amounts = Amounts::of(cell, Thoroughness::Usual);
            assert!(amounts.paced_slices * amounts.paced_requests >= 2000, "{cell}");
            assert!(amounts.crowd_slices * amounts.crowd_requests >= 3000, "{cell}");
        }
        for cell in Cell::all() {
            let amounts = Amounts::of(cell, Thoroughness::Full);
            assert!(amounts.paced_slices * amounts.paced_requests >= 2000, "{cell}");
            assert!(amounts.crowd_slices * amounts.crowd_requests >= 3000, "{cell}");
        }
    }

    #[test]
    fn the_clock_alone_takes_less_than_a_run_may() {
        for (thoroughness, most_s) in [(Thoroughness::Quick, 45.0), (Thoroughness::Usual, 190.0)] {
            let paced_s: f64 = Cell::all()
                .map(|cell| {
                    let amounts = Amounts::of(cell, thoroughness);
                    let requests = u32::try_from(3 * amounts.paced_slices * amounts.paced_requests).unwrap();
                    f64::from(requests) / f64::from(amounts.rate)
                })
                .sum();
            assert!(paced_s < most_s, "{thoroughness:?}: {paced_s} s");
        }
    }
}
