//! Ratios of what took turns.

/// The middle of some figures and the middle half of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Of any figures, in any order; not numbers if there are none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let Some(last) = figures.len().checked_sub(1) else { return f64::NAN };
            let place = part * last as f64;
            let below = place.floor();
            let (low, high) = (figures[below as usize], figures[place.ceil() as usize]);
            low + (place - below) * (high - low)
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// Of the quotients of what the same turns took.
    pub(super) fn of_turns(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }

    /// In a table: the median and the middle half.
    pub(super) fn text(self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_quartiles() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(Spread::of([1.0, 2.0]).median, 1.5);
        assert!(Spread::of([]).median.is_nan());
        // A neighbour that disturbs one turn does not move the middle.
        assert_eq!(Spread::of_turns(&[1.0, 10.0, 1.0], &[2.0, 2.0, 2.0]).median, 0.5);
    }
}
