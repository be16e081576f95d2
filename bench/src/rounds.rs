//! What takes turns: points of a table or a curve, and what each took in each round.
//!
//! A core's speed changes by itself, with its temperature and with what others do. What is measured one after another meets
//! different speeds; what takes turns meets the same ones, and the differences between its rounds say how large they were.

use crate::workers::Workers;
use horq_kernels::{Isa, StageClock};
use horq_probe::clock::{Repeats, Timing};
use horq_probe::peak::Unit;
use std::time::Duration;

/// What is measured.
type Work<'a> = Box<dyn FnMut(&Workers, Option<&StageClock>) + 'a>;

/// One point: work that takes turns with the other points of its table.
pub(crate) struct Point<'a> {
    /// What is said while it is measured.
    pub label: String,
    /// What its products are, if they have a limit; samples of its loop come between its own.
    pub unit: Option<Unit>,
    /// The backend whose limit it is; the machine's if none.
    pub isa: Option<Isa>,
    /// The order of the byte tables that the products come from, if they do.
    pub tables: Option<usize>,
    /// The work, by stages where a clock is handed over and there are stages.
    pub work: Work<'a>,
    /// What it took.
    pub rounds: Rounds,
    pub repeats: Repeats,
    /// Its longest turn.
    pub longest: Option<Duration>,
}

impl<'a> Point<'a> {
    pub(crate) fn new(
        label: String,
        unit: Option<Unit>,
        isa: Option<Isa>,
        work: impl FnMut(&Workers, Option<&StageClock>) + 'a,
    ) -> Self {
        let (rounds, repeats) = Default::default();
        Self { label, unit, isa, tables: None, work: Box::new(work), rounds, repeats, longest: None }
    }

    /// The same with products from byte tables, if there are any.
    pub(crate) fn with_tables(self, tables: Option<usize>) -> Self {
        Self { tables, ..self }
    }
}

/// What a point took, round by round: never empty once it had a turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<Timing>);

/// A quotient of two points: of the fastest rounds, and the least and the greatest of any round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quotient {
    pub value: f64,
    pub range: [f64; 2],
}

impl Rounds {
    pub(crate) fn add(&mut self, timing: Timing) {
        self.0.push(timing);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The fastest round; its spread is how much longer the slowest one took.
    ///
    /// # Panics
    /// If there was none.
    pub(crate) fn best(&self) -> Timing {
        let slowest = self.0.iter().copied().reduce(|a, b| if b.over(a) > 1.0 { b } else { a });
        let best = self.0.iter().copied().reduce(Timing::min).expect("every point has a turn");
        Timing { spread: slowest.map_or(f64::NAN, |slowest| slowest.over(best) - 1.0), ..best }
    }

    /// The rounds of `share` of the work.
    pub(crate) fn scale(&self, share: f64) -> Self {
        Self(self.0.iter().map(|timing| timing.scale(share)).collect())
    }

    /// The faster of two.
    pub(crate) fn min(self, other: Self) -> Self {
        if self.best().over(other.best()) > 1.0 { other } else { self }
    }

    /// How many times longer this takes than another. The quotient of the fastest rounds lies between the quotients within
    /// rounds: where the other was fastest, this took at least its own best, and the other way round.
    pub(crate) fn over(&self, other: &Self) -> Quotient {
        let value = self.best().over(other.best());
        let within = || self.0.iter().zip(&other.0).map(|(&this, &other)| this.over(other));
        Quotient { value, range: [within().fold(value, f64::min), within().fold(value, f64::max)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(cycles: &[f64]) -> Rounds {
        Rounds(cycles.iter().map(|&cycles| Timing { ns: cycles / 3.0, cycles, spread: f64::NAN }).collect())
    }

    #[test]
    fn the_fastest_round_counts_and_the_slowest_is_kept() {
        let best = rounds(&[14.0, 10.0, 12.0]).best();
        assert_eq!((best.cycles, (best.spread * 100.0).round()), (10.0, 40.0));
        assert_eq!(rounds(&[14.0, 10.0]).scale(2.0).best().cycles, 20.0);
        assert_eq!(rounds(&[9.0, 30.0]).min(rounds(&[10.0, 10.0])).best().cycles, 9.0);
    }

    #[test]
    fn quotients_within_rounds_are_free_of_what_all_points_met() {
        // The core was slower by 1.4 in the second round.
        let same = rounds(&[30.0, 42.0]).over(&rounds(&[10.0, 14.0]));
        assert_eq!(same, Quotient { value: 3.0, range: [3.0, 3.0] });
        // It was so in a part of a round only: the bar says so.
        let torn = rounds(&[30.0, 42.0]).over(&rounds(&[14.0, 10.0]));
        assert_eq!((torn.value, torn.range[1]), (3.0, 4.2));
        assert!(torn.range[0] < 2.2);
        // A point that left early has been compared in the rounds that both had, and in the best ones.
        assert_eq!(rounds(&[30.0]).over(&rounds(&[10.0, 5.0])).range, [3.0, 6.0]);
    }
}
