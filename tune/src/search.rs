//! The front of an additive model.

use crate::Orders;

/// A mixture by the additive model.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// The order of each layer.
    pub orders: Orders,
    /// Its time, in the unit of the table.
    pub time: f64,
    /// Its loss, in the unit of the table.
    pub loss: f64,
}

/// The most mixtures that are carried from layer to layer.
const MOST: usize = 4096;

/// The mixtures that no other is better than in both time and loss, from the fastest to the slowest, where `table[layer][order - 1]` is
/// the time and the loss that the layer adds at that order.
///
/// Exact for sums: a part of a best mixture is a best mixture of its layers, so all that is worse can be left out layer by layer. Beyond
/// some thousand of them those that are close in time are thinned out.
pub fn front(table: &[Vec<[f64; 2]>]) -> Vec<Guess> {
    let mut best = vec![Guess { orders: Vec::new(), time: 0.0, loss: 0.0 }];
    for layer in table {
        let with = |guess: &Guess, (i, [time, loss]): (usize, &[f64; 2])| {
            let orders = guess.orders.iter().copied().chain([i + 1]).collect();
            Guess { orders, time: guess.time + time, loss: guess.loss + loss }
        };
        let all = best.iter().flat_map(|guess| layer.iter().enumerate().map(|order| with(guess, order)));
        best = undominated(all.collect(), |guess| [guess.time, guess.loss]);
        if best.len() > MOST {
            let count = best.len();
            best = (0..MOST).map(|i| best[i * (count - 1) / (MOST - 1)].clone()).collect();
        }
    }
    best
}

/// Those that no other is at least as good as in both figures, sorted by the first.
pub fn undominated<T>(mut all: Vec<T>, figures: impl Fn(&T) -> [f64; 2]) -> Vec<T> {
    all.sort_by(|a, b| {
        let ([time, loss], [other_time, other_loss]) = (figures(a), figures(b));
        time.total_cmp(&other_time).then(loss.total_cmp(&other_loss))
    });
    let mut least = f64::INFINITY;
    all.retain(|one| {
        let keep = figures(one)[1] < least;
        least = least.min(figures(one)[1]);
        keep
    });
    all
}

/// At most `count` of a front, spread evenly over its times, the two ends among them.
pub fn spread<T: Clone>(front: &[T], count: usize, time: impl Fn(&T) -> f64) -> Vec<T> {
    let (Some(first), Some(last)) = (front.first(), front.last()) else { return Vec::new() };
    let mut chosen: Vec<usize> = Vec::new();
    for i in 0..count.min(front.len()) {
        let wanted = time(first) + (time(last) - time(first)) * i as f64 / (count.min(front.len()) - 1).max(1) as f64;
        let free = (0..front.len()).filter(|place| !chosen.contains(place));
        let apart = |&place: &usize| (time(&front[place]) - wanted).abs();
        chosen.extend(free.min_by(|a, b| apart(a).total_cmp(&apart(b))));
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|place| front[place].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All mixtures of a table.
    fn all(table: &[Vec<[f64; 2]>]) -> Vec<Guess> {
        let start = vec![Guess { orders: vec![], time: 0.0, loss: 0.0 }];
        table.iter().fold(start, |guesses, layer| {
            let longer = |guess: Guess| {
                layer.iter().enumerate().map(move |(i, [time, loss])| Guess {
                    orders: [&guess.orders[..], &[i + 1]].concat(),
                    time: guess.time + time,
                    loss: guess.loss + loss,
                })
            };
            guesses.into_iter().flat_map(longer).collect()
        })
    }

    #[test]
    fn the_front_is_that_of_all_mixtures() {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        for _ in 0..20 {
            let table: Vec<Vec<[f64; 2]>> =
                [4, 3, 1, 4, 2].iter().map(|&orders| (0..orders).map(|_| [next(), next()]).collect()).collect();
            let expected = undominated(all(&table), |guess| [guess.time, guess.loss]);
            let found = front(&table);
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                assert!(a.orders == b.orders && (a.time - b.time).abs() < 1e-9 && (a.loss - b.loss).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_front_has_no_two_of_which_one_is_worse() {
        let points = vec![[3.0, 1.0], [1.0, 5.0], [2.0, 5.0], [2.0, 2.0], [4.0, 1.0], [1.0, 6.0]];
        assert_eq!(undominated(points, |point| *point), [[1.0, 5.0], [2.0, 2.0], [3.0, 1.0]]);
    }

    #[test]
    fn a_spread_has_both_ends_and_no_one_twice() {
        let front: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(spread(&front, 5, |time| *time), [0.0, 25.0, 49.0, 74.0, 99.0]);
        assert_eq!(spread(&front[..3], 9, |time| *time), [0.0, 1.0, 2.0]);
        assert_eq!(spread(&front[..1], 4, |time| *time), [0.0]);
        assert!(spread(&front[..0], 4, |time| *time).is_empty());
    }
}
