//! What a tensor of weights is.

use super::planes::{NOISE, Planes, planes};
use std::collections::BTreeSet;

/// Weight bases that the recogniser takes, the one of the offset among them.
pub(crate) const MAX_BASES: usize = 4;
/// Values of a codebook.
const MAX_ENTRIES: usize = 32;
/// Below that many weights, codes save nothing.
const MIN_CODED: usize = 1024;
/// Filters of fewer weights than this have two values whatever they are.
const MIN_DEPTH: usize = 4;

/// Weights as a sum of signs with factors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Base {
    /// +1 and -1, in the order of the weights.
    pub(crate) signs: Vec<f32>,
    /// A factor a filter.
    pub(crate) alpha: Vec<f64>,
}

/// What weights are besides floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kinds {
    /// W = sum of alpha_l B_l.
    pub(crate) bases: Option<Vec<Base>>,
    /// Codes and entries.
    pub(crate) codebook: Option<(Vec<u8>, Vec<f32>)>,
    /// Whole numbers from -127 to 127 and a scale a filter.
    pub(crate) integers: Option<(Vec<i8>, Vec<f64>)>,
}

/// Looks at weights, filter by filter.
pub(crate) fn kinds(weights: &[f32], filters: usize) -> Kinds {
    let depth = weights.len() / filters.max(1);
    if depth == 0 || !weights.iter().all(|w| w.is_finite()) {
        return Kinds::default();
    }
    Kinds {
        bases: (depth >= MIN_DEPTH).then(|| bases(weights, depth)).flatten(),
        codebook: (weights.len() >= MIN_CODED).then(|| codebook(weights)).flatten(),
        integers: integers(weights, depth),
    }
}

/// Distinct values in rising order, those that differ by noise taken for one; none if there are more than the bases make.
fn levels(filter: &[f32]) -> Option<Vec<f64>> {
    let largest = filter.iter().fold(0.0f64, |m, &w| m.max(f64::from(w).abs()));
    let mut sorted: Vec<f64> = Vec::new(); // one of each group, in rising order
    for w in filter.iter().map(|&w| f64::from(w)) {
        let place = sorted.partition_point(|&level| level < w - NOISE * largest);
        if sorted.get(place).is_some_and(|level| (level - w).abs() <= NOISE * largest) {
            continue;
        }
        if sorted.len() == 1 << MAX_BASES {
            return None;
        }
        sorted.insert(place, w);
    }
    Some(sorted)
}

/// The signs and factors of one filter.
fn filter_planes(filter: &[f32]) -> Option<Planes> {
    let levels = levels(filter)?;
    match levels[..] {
        [] => None,
        [only] => Some(Planes { center: 0.0, scales: vec![only.abs()] }),
        // Many values in a short filter are chance, not structure.
        _ if levels.len() > 2 && filter.len() < 2 * levels.len() => None,
        _ => planes(&levels, MAX_BASES),
    }
}

fn bases(weights: &[f32], depth: usize) -> Option<Vec<Base>> {
    let planes: Vec<Planes> = weights.chunks_exact(depth).map(filter_planes).collect::<Option<_>>()?;
    let offset = planes.iter().any(|p| p.center != 0.0);
    let count = planes.iter().map(|p| p.scales.len()).max()?;
    if count + usize::from(offset) > MAX_BASES {
        return None;
    }
    let mut bases = vec![Base { signs: vec![1.0; weights.len()], alpha: vec![0.0; planes.len()] }; count];
    for (f, (filter, p)) in weights.chunks_exact(depth).zip(&planes).enumerate() {
        for (base, scale) in bases.iter_mut().zip(&p.scales) {
            base.alpha[f] = *scale;
        }
        let signs = |w: f32| -> u32 {
            match p.scales.len() {
                1 => u32::from(f64::from(w) < p.center),
                _ => p.signs(w.into()),
            }
        };
        for (i, &w) in filter.iter().enumerate() {
            let signs = signs(w);
            for (l, base) in bases.iter_mut().enumerate() {
                if signs >> l & 1 == 1 {
                    base.signs[f * depth + i] = -1.0;
                }
            }
        }
    }
    if offset {
        let alpha = planes.iter().map(|p| p.center).collect();
        bases.push(Base { signs: vec![1.0; weights.len()], alpha });
    }
    Some(bases)
}

fn codebook(weights: &[f32]) -> Option<(Vec<u8>, Vec<f32>)> {
    let mut entries = BTreeSet::new();
    for w in weights {
        // +0 and -0 are one entry: their products differ in the sign of a zero alone.
        entries.insert((w + 0.0).to_bits());
        if entries.len() > MAX_ENTRIES {
            return None;
        }
    }
    let entries: Vec<u32> = entries.into_iter().collect();
    let codes = weights.iter().map(|w| entries.binary_search(&(w + 0.0).to_bits()).unwrap_or(0) as u8).collect();
    Some((codes, entries.into_iter().map(f32::from_bits).collect()))
}

/// The largest whole number of 8-bit weights.
const LARGEST: u32 = 127;
/// How far from whole numbers f32 products of them with a scale are, at most.
const OFF: f64 = 2e-5;

fn integers(weights: &[f32], depth: usize) -> Option<(Vec<i8>, Vec<f64>)> {
    let mut whole = Vec::with_capacity(weights.len());
    let mut scales = Vec::with_capacity(weights.len() / depth);
    for filter in weights.chunks_exact(depth) {
        let largest = filter.iter().fold(0.0f64, |m, &w| m.max(f64::from(w).abs()));
        if largest == 0.0 {
            scales.push(1.0);
            whole.extend(filter.iter().map(|_| 0));
            continue;
        }
        let fits = |scale: f64| {
            filter.iter().all(|&w| {
                let q = f64::from(w) / scale;
                (q - q.round()).abs() <= OFF
            })
        };
        let scale = (1..=LARGEST).map(|n| largest / f64::from(n)).find(|&scale| fits(scale))?;
        scales.push(scale);
        whole.extend(filter.iter().map(|&w| (f64::from(w) / scale).round() as i8));
    }
    Some((whole, scales))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bases: &[Base], depth: usize) -> Vec<f64> {
        let len = bases[0].signs.len();
        (0..len).map(|i| bases.iter().map(|b| b.alpha[i / depth] * f64::from(b.signs[i])).sum()).collect()
    }

    fn check(weights: &[f32], filters: usize, count: usize) {
        let bases = kinds(weights, filters).bases.expect("it is a sum of bases");
        assert_eq!(bases.len(), count);
        let made = sum(&bases, weights.len() / filters);
        assert!(made.iter().zip(weights).all(|(a, &w)| (a - f64::from(w)).abs() < 1e-6), "{made:?} for {weights:?}");
    }

    #[test]
    fn two_values_a_filter_are_one_base() {
        check(&[0.5, -0.5, -0.5, 0.5, 2.0, 2.0, -2.0, 2.0], 2, 1);
        check(&[0.1 + 1e-8, -0.1, -0.1, 0.1, -3.0, -3.0, -3.0, -3.0], 2, 1);
    }

    #[test]
    fn signs_with_an_offset_have_a_base_of_ones() {
        check(&[0.7, -0.3, -0.3, 0.7, -0.5, 0.5, 0.5, -0.5], 2, 2);
    }

    #[test]
    fn ternary_and_two_bit_weights_are_two_bases() {
        check(&[0.5, 0.0, -0.5, 0.0, 0.5, 0.0, -0.5, 0.0], 1, 2);
        check(&[1.5, 0.5, -0.5, -1.5, 1.5, 0.5, -0.5, -1.5], 1, 2);
        // -2 .. 1 steps: a base for the offset as well.
        check(&[0.25, 0.0, -0.25, -0.5, 0.25, 0.0, -0.25, -0.5], 1, 3);
    }

    #[test]
    fn sums_of_bases_are_found() {
        check(&[1.4, 0.6, -0.6, -1.4, 1.4, 0.6, -0.6, -1.4], 1, 2);
    }

    #[test]
    fn a_filter_of_zeros_and_floats() {
        check(&[0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 1.0, 1.0], 2, 1);
        let floats: Vec<f32> = (0..40).map(|i| (i * i) as f32 * 0.37 - 3.0).collect();
        assert_eq!(kinds(&floats, 2), Kinds::default());
    }

    #[test]
    fn few_values_in_the_whole_tensor_are_a_codebook() {
        let weights: Vec<f32> = (0..2048).map(|i| [0.0, 0.125, -0.25, 1.0, -0.0, 3.1][i * i % 6]).collect();
        let (codes, entries) = kinds(&weights, 2).codebook.unwrap();
        assert!(codes.iter().zip(&weights).all(|(&code, &w)| entries[usize::from(code)] == w));
        assert!(kinds(&weights[..100], 2).codebook.is_none());
    }

    #[test]
    fn whole_numbers_on_a_scale_are_integers() {
        let weights: Vec<f32> = (0..60).map(|i| (i * 37 % 255 - 127) as f32 * 0.013).collect();
        let (whole, scales) = kinds(&weights, 3).integers.unwrap();
        let back = |i: usize| f64::from(whole[i]) * scales[i / 20];
        assert!((0..60).all(|i| (back(i) - f64::from(weights[i])).abs() < 1e-6));
    }
}
