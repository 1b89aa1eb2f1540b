//! From samples to figures.

use serde::Serialize;

/// The middle and the tail of a slice, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of the samples are below.
    pub(crate) p50_us: f64,
    /// Ninety-nine of a hundred are below.
    pub(crate) p99_us: f64,
}

impl Spread {
    /// The spread of samples in nanoseconds; none if there are none.
    pub(crate) fn of(samples_ns: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = samples_ns.into_iter().collect();
        sorted.sort_unstable();
        Some(Self { p50_us: percentile(&sorted, 50)?, p99_us: percentile(&sorted, 99)? })
    }

    /// What this has over another: a difference of percentiles, below zero where noise is larger than it.
    pub(crate) fn over(self, other: Self) -> Self {
        Self { p50_us: self.p50_us - other.p50_us, p99_us: self.p99_us - other.p99_us }
    }

    /// The median of each percentile over all slices; none if there are none.
    pub(crate) fn median_of(slices: &[Self]) -> Option<Self> {
        let p50_us = median(slices.iter().map(|slice| slice.p50_us))?;
        let p99_us = median(slices.iter().map(|slice| slice.p99_us))?;
        Some(Self { p50_us, p99_us })
    }
}

/// The nearest-rank percentile of sorted nanoseconds, in microseconds.
fn percentile(sorted_ns: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted_ns.len() * percent).div_ceil(100).max(1);
    sorted_ns.get(rank - 1).map(|ns| microseconds(*ns))
}

/// Nanoseconds as microseconds.
#[expect(clippy::cast_precision_loss, reason = "exact up to a hundred days")]
pub(crate) fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// The median; between the two in the middle, if there are two. None if there are no figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_occurred() {
        let spread = Spread::of((1..=200).rev().map(|us| us * 1000)).unwrap();
        assert_eq!(spread, Spread { p50_us: 100.0, p99_us: 198.0 });
        assert_eq!(Spread::of([7_000]), Some(Spread { p50_us: 7.0, p99_us: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_slice_that_was_disturbed_does_not_move_the_median() {
        let calm = Spread { p50_us: 10.0, p99_us: 12.0 };
        let disturbed = Spread { p50_us: 900.0, p99_us: 9000.0 };
        assert_eq!(Spread::median_of(&[calm, disturbed, calm]), Some(calm));
        assert_eq!(median([1.0, 4.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn what_is_added_is_a_difference_of_percentiles() {
        let (path, direct) = (Spread { p50_us: 15.0, p99_us: 30.0 }, Spread { p50_us: 5.0, p99_us: 10.0 });
        assert_eq!(path.over(direct), Spread { p50_us: 10.0, p99_us: 20.0 });
    }
}
