//! How long a run takes at each operating point, learned while running.
//!
//! The time of a run is taken as a product: the *base* of its point, which is its median time, and the *load*, by which all
//! points are slower or faster at the moment. So each run tells something about every point. A base moves by a small step
//! towards each time that it meets, which follows the median and does not mind how far off a single time is. Loads are kept
//! for the last [`WINDOW`] runs, in order of size, and one near their top is expected of the next run. A mean with a multiple
//! of the deviation, which is what networks use, answers a single run that the system put off with a bound that is too
//! high for a hundred more; a quantile of a window leaves such runs out until there are some of them.

/// How many runs are remembered.
const WINDOW: usize = 256;
/// How many of [`WINDOW`] runs may have taken longer than what is expected.
const ABOVE: usize = 2;
/// By which part a base moves with a run.
const STEP: f64 = 1.0 / 512.0;
/// A run is taken to a better point than the one before it only if there is so much more time than that needs.
const RISE: f64 = 1.02;

/// The times of a session's points.
pub(super) struct Pace {
    /// Nanoseconds of a sample by point, then by [`size`]; 0 where nothing is known yet.
    bases: Vec<f64>,
    sizes: usize,
    /// The points, best first.
    ranked: Vec<usize>,
    /// The loads of the last runs, in order of time, and the same in order of size.
    recent: Vec<f64>,
    sorted: Vec<f64>,
    /// The place of the oldest in `recent` once that is full.
    oldest: usize,
    /// The point of the last run.
    last: Option<usize>,
}

/// A point for the time that is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) point: usize,
    /// Nanoseconds that the run is expected to take at most.
    pub(super) expected: f64,
    /// Whether that is more than there are.
    pub(super) is_too_slow: bool,
}

/// Runs of 1, 2, 3 to 4, 5 to 8 samples and so on are told apart.
pub(super) fn size(samples: usize) -> usize {
    samples.max(1).next_power_of_two().trailing_zeros() as usize
}

impl Pace {
    /// Knows nothing yet of as many points, `ranked` from the best to the worst, for runs of up to `batch` samples.
    pub(super) fn new(ranked: Vec<usize>, batch: usize) -> Self {
        let sizes = size(batch) + 1;
        Self {
            bases: vec![0.0; ranked.len() * sizes],
            sizes,
            ranked,
            recent: Vec::with_capacity(WINDOW),
            sorted: Vec::with_capacity(WINDOW),
            oldest: 0,
            last: None,
        }
    }

    /// Takes the times of calibration in, nanoseconds of runs of so many samples, at least one.
    pub(super) fn calibrate(&mut self, point: usize, samples: usize, times: &mut [f64]) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2].max(1.0);
        self.bases[point * self.sizes + size(samples)] = median / samples as f64;
        for &time in &*times {
            self.remember(time / median);
        }
    }

    /// Nanoseconds that a run of so many samples takes at a point, at the load of the calibration.
    pub(super) fn base(&self, point: usize, samples: usize) -> f64 {
        let of_point = &self.bases[point * self.sizes..][..=size(samples).min(self.sizes - 1)];
        // A sample of a larger run takes hardly longer than one of a smaller.
        of_point.iter().rev().find(|base| **base > 0.0).map_or(0.0, |base| base * samples as f64)
    }

    /// The load that the next run is expected to have at most.
    fn load(&self) -> f64 {
        let Some(last) = self.sorted.len().checked_sub(1) else { return 1.0 };
        self.sorted[last - ABOVE * self.sorted.len() / WINDOW]
    }

    /// Nanoseconds that a run at a point is expected to take at most.
    pub(super) fn expected(&self, point: usize, samples: usize) -> f64 {
        self.base(point, samples) * self.load()
    }

    /// The point that takes the least time.
    pub(super) fn fastest(&self, samples: usize) -> usize {
        let by_time = |a: &&usize, b: &&usize| self.base(**a, samples).total_cmp(&self.base(**b, samples));
        self.ranked.iter().min_by(by_time).copied().unwrap_or(0)
    }

    /// The best point for a run of so many samples that has `left` nanoseconds.
    pub(super) fn choose(&self, samples: usize, left: f64) -> Choice {
        let mut is_rise = self.last.is_some();
        for &point in &self.ranked {
            is_rise &= self.last != Some(point);
            let expected = self.expected(point, samples);
            if expected * if is_rise { RISE } else { 1.0 } <= left {
                return Choice { point, expected, is_too_slow: false };
            }
        }
        let point = self.fastest(samples);
        let expected = self.expected(point, samples);
        Choice { point, expected, is_too_slow: expected > left }
    }

    /// Learns from a run that took so many nanoseconds.
    pub(super) fn learn(&mut self, point: usize, samples: usize, nanoseconds: f64) {
        self.last = Some(point);
        let base = self.base(point, samples).max(1.0);
        let load = nanoseconds / base;
        let median = self.sorted.get(self.sorted.len() / 2).copied().unwrap_or(1.0);
        let own = &mut self.bases[point * self.sizes + size(samples).min(self.sizes - 1)];
        let moved = if load > median { base * (1.0 + STEP) } else { base * (1.0 - STEP) };
        *own = moved / samples as f64;
        self.remember(load);
    }

    /// Puts a load into the window, in place of the oldest where it is full.
    fn remember(&mut self, load: f64) {
        if self.recent.len() < WINDOW {
            self.recent.push(load);
        } else {
            let old = std::mem::replace(&mut self.recent[self.oldest], load);
            self.oldest = (self.oldest + 1) % WINDOW;
            let place = self.sorted.partition_point(|&other| other < old);
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|&other| other < load);
        self.sorted.insert(place, load);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two points, the better one of 1000 ns and the faster one of 400.
    fn two() -> Pace {
        let mut pace = Pace::new(vec![1, 0], 1);
        pace.calibrate(0, 1, &mut [400.0; 9]);
        pace.calibrate(1, 1, &mut [1000.0; 9]);
        pace
    }

    #[test]
    fn the_best_point_that_fits_is_chosen() {
        let pace = two();
        assert_eq!(pace.choose(1, 1000.0), Choice { point: 1, expected: 1000.0, is_too_slow: false });
        assert_eq!(pace.choose(1, 999.0), Choice { point: 0, expected: 400.0, is_too_slow: false });
        assert_eq!(pace.choose(1, 399.0), Choice { point: 0, expected: 400.0, is_too_slow: true });
    }

    #[test]
    fn a_rise_needs_more_time_than_staying() {
        let mut pace = two();
        pace.learn(0, 1, 400.0);
        let expected = pace.expected(1, 1);
        assert_eq!(pace.choose(1, expected).point, 0);
        assert_eq!(pace.choose(1, expected * RISE).point, 1);
        pace.learn(1, 1, 1000.0);
        assert_eq!(pace.choose(1, pace.expected(1, 1)).point, 1);
    }

    #[test]
    fn a_load_on_one_point_lowers_the_other_and_idleness_raises_it() {
        let mut pace = two();
        (0..WINDOW).for_each(|_| pace.learn(0, 1, 1200.0));
        assert!(pace.expected(1, 1) > 2500.0, "{}", pace.expected(1, 1));
        assert_eq!(pace.choose(1, 2000.0).point, 0);
        (0..2 * WINDOW).for_each(|_| pace.learn(0, 1, 400.0));
        assert!(pace.expected(1, 1) < 1300.0, "{}", pace.expected(1, 1));
        assert_eq!(pace.choose(1, 2000.0).point, 1);
    }

    #[test]
    fn a_few_late_runs_are_left_out() {
        let mut pace = two();
        (0..WINDOW).for_each(|_| pace.learn(1, 1, 1000.0));
        let before = pace.expected(1, 1);
        (0..ABOVE).for_each(|_| pace.learn(1, 1, 50_000.0));
        assert!(pace.expected(1, 1) < before * 1.05, "{} of {before}", pace.expected(1, 1));
        pace.learn(1, 1, 50_000.0);
        assert!(pace.expected(1, 1) > 20_000.0);
    }

    #[test]
    fn the_window_stays_in_order_and_bases_follow_the_median() {
        let mut pace = two();
        for i in 0..5000_u32 {
            // The better point takes 1500 ns on this machine, not 1000.
            pace.learn(0, 1, 400.0 + f64::from(i * 7919 % 13));
            pace.learn(1, 1, 1500.0 + f64::from(i * 104_729 % 17));
        }
        assert!(pace.sorted.is_sorted() && pace.sorted.len() == WINDOW && pace.recent.len() == WINDOW);
        let [fast, slow] = [pace.expected(0, 1), pace.expected(1, 1)];
        assert!((400.0..460.0).contains(&fast) && (1500.0..1700.0).contains(&slow), "{fast} {slow}");
    }

    #[test]
    fn sizes_of_runs_are_told_apart() {
        assert_eq!([0, 1, 2, 3, 4, 5, 8, 9].map(size), [0, 0, 1, 2, 2, 3, 3, 4]);
        let mut pace = Pace::new(vec![0], 8);
        pace.calibrate(0, 1, &mut [100.0]);
        assert_eq!(pace.expected(0, 5), 500.0); // nothing else is known
        pace.calibrate(0, 8, &mut [400.0]);
        assert_eq!([1, 2, 8].map(|samples| pace.expected(0, samples)), [100.0, 200.0, 400.0]);
    }
}
