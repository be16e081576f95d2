//! How long runs take, one by one, by the wall clock: what a caller waits, neighbours and interruptions included.

use crate::allocations;
use std::time::{Duration, Instant};

/// Fewer runs in a round say nothing about a distribution.
const FEWEST: usize = 3;
/// Memory for so many latencies is reserved before the first run of a round.
const MOST: usize = 1 << 15;
/// Before the first latency is taken.
const WARM_RUNS: usize = 3;

/// The latencies of some runs.
#[derive(Default)]
pub(super) struct Latency {
    /// Nanoseconds, the shortest first once all are there.
    sorted: Vec<f64>,
    /// Calls of the allocator during all runs.
    allocations: u64,
}

impl Latency {
    /// Takes the latency of so many further runs, or of as many as fit into `budget`.
    pub(super) fn take(&mut self, runs: Option<usize>, budget: Duration, run: &mut dyn FnMut()) {
        self.sorted.reserve(runs.unwrap_or(MOST));
        (0..WARM_RUNS).for_each(|_| run());
        let (end, first) = (Instant::now() + budget, self.sorted.len());
        let before = allocations::calls();
        loop {
            let start = Instant::now();
            run();
            let stop = Instant::now();
            self.sorted.push((stop - start).as_nanos() as f64);
            let taken = self.sorted.len() - first;
            let enough = match runs {
                Some(runs) => taken >= runs,
                None => taken >= FEWEST && (stop >= end || taken == MOST),
            };
            if enough {
                break;
            }
        }
        self.allocations += allocations::calls() - before;
        self.sorted.sort_by(f64::total_cmp);
    }

    /// Nanoseconds that this part of the runs stay within; none if there were too few to have one beyond it.
    pub(super) fn percentile(&self, part: f64) -> Option<f64> {
        let runs = self.sorted.len();
        // The tolerance is for what 1 - 0.999 is in binary.
        let beyond = (1.0 - part) * runs as f64 + 1e-6;
        (beyond >= 1.0).then(|| self.sorted[runs - beyond as usize - 1])
    }

    /// The longest.
    pub(super) fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// How much longer than the median nine of ten stay below, as a part of the median.
    pub(super) fn spread(&self) -> Option<f64> {
        Some(self.percentile(0.9)? / self.percentile(0.5)? - 1.0)
    }

    /// Samples a second if one run follows another.
    pub(super) fn throughput(&self, batch: usize) -> f64 {
        let total: f64 = self.sorted.iter().sum();
        (batch * self.sorted.len()) as f64 / total * 1e9
    }

    /// Calls of the allocator a run.
    pub(super) fn allocations(&self) -> f64 {
        self.allocations as f64 / self.sorted.len() as f64
    }

    /// How many runs there were.
    pub(super) fn runs(&self) -> usize {
        self.sorted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(runs: usize) -> Latency {
        Latency { sorted: (1..=runs).map(|i| i as f64).collect(), allocations: 5 }
    }

    #[test]
    fn percentiles_leave_their_part_beyond_them() {
        let latency = of(1000);
        let percentiles = [0.5, 0.9, 0.99, 0.999].map(|part| latency.percentile(part));
        assert_eq!(percentiles, [Some(500.0), Some(900.0), Some(990.0), Some(999.0)]);
        assert_eq!((latency.max(), latency.spread()), (1000.0, Some(0.8)));
        assert_eq!(latency.allocations(), 0.005);
    }

    #[test]
    fn too_few_runs_have_no_high_percentile() {
        assert_eq!(of(999).percentile(0.999), None);
        assert_eq!(of(99).percentile(0.99), None);
        assert_eq!(of(10).percentile(0.9), Some(9.0));
    }

    #[test]
    fn as_many_runs_as_asked_for() {
        let mut count = 0;
        let mut latency = Latency::default();
        latency.take(Some(20), Duration::ZERO, &mut || count += 1);
        latency.take(Some(5), Duration::ZERO, &mut || count += 1);
        assert_eq!((latency.runs(), count), (25, 25 + 2 * WARM_RUNS));
        latency.take(None, Duration::ZERO, &mut || ());
        assert_eq!(latency.runs(), 25 + FEWEST);
        assert!(latency.throughput(2) > 0.0);
    }
}
