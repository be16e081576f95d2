//! Sets of levels as sums of signs with a factor each.

/// Relative to the largest level: what f32 arithmetic leaves of numbers that were meant to be equal.
pub(crate) const NOISE: f64 = 2e-6;

/// Levels c + b_1 s_1 + ... + b_K s_K of signs s, each b positive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planes {
    /// c.
    pub(crate) center: f64,
    /// b_1 to b_K.
    pub(crate) scales: Vec<f64>,
}

/// The step of levels in rising order that lie at equal distances.
pub(crate) fn step(levels: &[f64]) -> Option<f64> {
    let (first, last) = (*levels.first()?, *levels.last()?);
    let step = (last - first) / (levels.len() as f64 - 1.0);
    let noise = NOISE * first.abs().max(last.abs());
    let fits = |(i, level): (usize, &f64)| (level - (first + step * i as f64)).abs() <= noise;
    (levels.len() > 1 && levels.iter().enumerate().all(fits)).then_some(step)
}

/// Two or more levels in rising order as planes, at most `most` of them. Some of the planes' sums may be no level.
///
/// Uniform levels, n of them, take K = ceil(log2 n) planes: with b_2 .. b_K of 2^(K-2) .. 1 halves of a step, which is 2^(K-1) levels,
/// b_1 = (n - 2^(K-1)) / 2 steps puts one such ladder to each side so that together they are n levels, and the residual quantizer
/// takes the nearest. Other levels are sums as of ABC-Net and HORQ: the largest is the sum of all b, and each next one that the
/// b found so far do not make gives a new b.
pub(crate) fn planes(levels: &[f64], most: usize) -> Option<Planes> {
    let (first, last) = (*levels.first()?, *levels.last()?);
    let noise = NOISE * first.abs().max(last.abs());
    let middle = (first + last) / 2.0;
    let center = if middle.abs() <= noise { 0.0 } else { middle };
    let scales = match grid(levels, 1 << most) {
        Some((step, count)) => uniform(step, count),
        None => sums(levels, middle, most, noise)?,
    };
    (scales.len() <= most).then_some(Planes { center, scales })
}

/// The step and the number of points of the coarsest grid that has all levels, if it has at most `most` points.
fn grid(levels: &[f64], most: usize) -> Option<(f64, usize)> {
    let gap = levels.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let (first, last) = (*levels.first()?, *levels.last()?);
    let noise = NOISE * first.abs().max(last.abs());
    let count = ((last - first) / gap).round();
    if gap <= 2.0 * noise || count < 1.0 || count >= most as f64 {
        return None;
    }
    let step = (last - first) / count;
    let fits = |level: &f64| (((level - first) / step).round() * step + first - level).abs() <= noise;
    levels.iter().all(fits).then_some((step, count as usize + 1))
}

fn uniform(step: f64, levels: usize) -> Vec<f64> {
    let order = levels.next_power_of_two().trailing_zeros() as usize;
    let ladder = 1usize << (order - 1);
    let first = step * (levels - ladder) as f64 / 2.0;
    let rest = (1..order).rev().map(|k| step * (1u64 << (k - 1)) as f64 / 2.0);
    std::iter::once(first).chain(rest).collect()
}

fn sums(levels: &[f64], middle: f64, most: usize, noise: f64) -> Option<Vec<f64>> {
    let largest = levels[levels.len() - 1] - middle;
    let mut made = vec![largest];
    let mut scales = Vec::new();
    let known = |made: &[f64], level: f64| made.iter().any(|m| (m - level).abs() <= 2.0 * noise);
    for level in levels.iter().rev().map(|level| level - middle) {
        if known(&made, level) {
            continue;
        }
        if scales.len() == most {
            return None;
        }
        let scale = (largest - level) / 2.0;
        made.extend(made.clone().iter().map(|m| m - 2.0 * scale));
        scales.push(scale);
    }
    let total: f64 = scales.iter().sum();
    scales.reverse();
    ((total - largest).abs() <= 4.0 * noise).then_some(scales)
}

impl Planes {
    /// The signs whose sum is nearest to that level: bit k - 1 is set where s_k is -1.
    pub(crate) fn signs(&self, level: f64) -> u32 {
        let value = |signs: u32| {
            let sign = |k: usize| if signs >> k & 1 == 1 { -1.0 } else { 1.0 };
            self.center + self.scales.iter().enumerate().map(|(k, b)| sign(k) * b).sum::<f64>()
        };
        let nearest = |a: &u32, b: &u32| (value(*a) - level).abs().total_cmp(&(value(*b) - level).abs());
        (0..1u32 << self.scales.len()).min_by(nearest).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scales(levels: &[f64]) -> Vec<f64> {
        planes(levels, 8).unwrap().scales
    }

    #[test]
    fn uniform_levels_take_halving_scales() {
        assert_eq!(scales(&[-0.5, 0.5]), [0.5]);
        assert_eq!(scales(&[-1.0, 0.0, 1.0]), [0.5, 0.5]);
        assert_eq!(scales(&[-3.0, -1.0, 1.0, 3.0]), [2.0, 1.0]);
        assert_eq!(planes(&[0.0, 1.0, 2.0, 3.0], 8), Some(Planes { center: 1.5, scales: vec![1.0, 0.5] }));
        assert_eq!(scales(&[-2.0, -1.0, 0.0, 1.0, 2.0]), [0.5, 1.0, 0.5]);
        let eight: Vec<f64> = (0..256).map(f64::from).collect();
        assert_eq!(scales(&eight), [64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5]);
    }

    #[test]
    fn sums_of_signs_give_their_scales() {
        let two = scales(&[-1.4, -0.6, 0.6, 1.4]);
        assert!((two[0] - 1.0).abs() < 1e-9 && (two[1] - 0.4).abs() < 1e-9, "{two:?}");
        assert_eq!(scales(&[-3.0, -1.0, 3.0]), [2.0, 1.0], "a level that no weight has");
        let three: Vec<f64> = [2.0, 0.7, 0.4].iter().fold(vec![0.0], |sums, b| {
            let mut next: Vec<f64> = sums.iter().flat_map(|s| [s - b, s + b]).collect();
            next.sort_by(f64::total_cmp);
            next
        });
        let found = scales(&three);
        assert!(found.iter().zip([2.0, 0.7, 0.4]).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        assert_eq!(planes(&[-1.0, 0.1, 0.9, 1.3], 8), None, "no sum of signs");
    }

    #[test]
    fn every_level_has_its_signs() {
        for n in 2..40 {
            let levels: Vec<f64> = (0..n).map(|i| f64::from(i) * 0.5 - 2.0).collect();
            let planes = planes(&levels, 8).unwrap();
            for level in &levels {
                let signs = planes.signs(*level);
                let sum: f64 =
                    planes.scales.iter().enumerate().map(|(k, b)| if signs >> k & 1 == 1 { -b } else { *b }).sum();
                assert!((sum + planes.center - level).abs() < 1e-12, "{n} levels, {level}");
            }
        }
    }
}
