//! Watches what a step costs, and takes threads away when they burn time instead of computing.
//!
//! Threads of ggml meet at a barrier many times a token. When one of them has lost its core to another process, the
//! others wait for it and the CPU time of a token grows without any work being done. That is what this looks for: CPU
//! time per step, for steps of one size, against the best of this process so far. Knows durations. Does not know
//! clocks.

use std::time::Duration;

/// Steps that make one judgement: long enough to even out a hiccup, short enough to act within a sentence.
const WINDOW: u32 = 24;

/// A window this many times dearer than the best one is a runaway.
const RUNAWAY: u32 = 3;

/// Windows at the lower count before the higher one gets another chance; doubles with each relapse.
const PROBATION: u32 = 64;

/// Decides the number of threads.
#[derive(Debug)]
pub(super) struct Threads {
    most: u32,
    now: u32,
    /// The best average of a window, by sequences in the step, 1 to 8.
    best: [Option<Duration>; 8],
    size: usize,
    steps: u32,
    spent: Duration,
    calm: u32,
    probation: u32,
}

impl Threads {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            now: most,
            best: [None; 8],
            size: 0,
            steps: 0,
            spent: Duration::ZERO,
            calm: 0,
            probation: PROBATION,
        }
    }

    /// Notes a step that computed one token for each of `sequences`, and what it cost in CPU time. Some when the number
    /// of threads should change.
    pub(super) fn note(&mut self, sequences: usize, cpu: Duration) -> Option<u32> {
        let size = sequences.clamp(1, self.best.len());
        if size != self.size {
            (self.size, self.steps, self.spent) = (size, 0, Duration::ZERO);
        }
        self.steps += 1;
        self.spent += cpu;
        if self.steps < WINDOW {
            return None;
        }
        let average = self.spent / self.steps;
        (self.steps, self.spent) = (0, Duration::ZERO);
        let best = self.best.get_mut(size - 1)?;
        let known = *best.get_or_insert(average);
        *best = Some(known.min(average));
        if average > known * RUNAWAY && self.now > 1 {
            self.calm = 0;
            return self.change(self.now - 1);
        }
        self.calm += 1;
        if self.now < self.most && self.calm >= self.probation {
            self.calm = 0;
            self.probation = self.probation.saturating_mul(2);
            return self.change(self.now + 1);
        }
        None
    }

    fn change(&mut self, threads: u32) -> Option<u32> {
        self.now = threads;
        Some(threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(threads: &mut Threads, sequences: usize, millis: u64) -> Option<u32> {
        (0..WINDOW).filter_map(|_| threads.note(sequences, Duration::from_millis(millis))).last()
    }

    #[test]
    fn steady_work_keeps_its_threads() {
        let mut threads = Threads::new(4);
        for _ in 0..200 {
            assert_eq!(window(&mut threads, 1, 10), None);
        }
    }

    #[test]
    fn a_runaway_costs_a_thread_and_calm_earns_it_back_later_each_time() {
        let mut threads = Threads::new(2);
        assert_eq!(window(&mut threads, 1, 10), None);
        assert_eq!(window(&mut threads, 1, 31), Some(1));
        assert_eq!(window(&mut threads, 1, 500), None, "one thread is the least");
        let calm = (1..).find(|_| window(&mut threads, 1, 10) == Some(2)).unwrap();
        assert!(calm < PROBATION + 1);
        assert_eq!(window(&mut threads, 1, 40), Some(1));
        let again = (1..).find(|_| window(&mut threads, 1, 10) == Some(2)).unwrap();
        assert_eq!(again, PROBATION * 2);
    }

    #[test]
    fn steps_are_compared_with_steps_of_their_size() {
        let mut threads = Threads::new(2);
        assert_eq!(window(&mut threads, 1, 10), None);
        assert_eq!(window(&mut threads, 8, 80), None);
        assert_eq!(window(&mut threads, 8, 90), None);
    }
}
