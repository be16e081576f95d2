//! Activations that are sums of sign planes.

use super::activations::Analysis;
use super::function::Function;
use super::planes::{NOISE, planes, step};
use crate::graph::ValueId;

/// The most planes of an activation.
pub(crate) const MAX_ORDER: usize = 8;

/// A value as planes of another: center + gain (b_1 H_1 + ... + b_K H_K), H the planes of ratio source + shift.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantized {
    /// Whose planes they are.
    pub(crate) source: ValueId,
    pub(crate) ratio: f64,
    pub(crate) shift: f64,
    /// +1, or -1 where the value falls as the source rises.
    pub(crate) gain: f64,
    /// b_1 to b_K.
    pub(crate) scales: Vec<f64>,
    pub(crate) center: f64,
    /// The levels in rising order.
    pub(crate) levels: Vec<f64>,
    /// Whether a source that lies on a threshold may get another level than in the network.
    pub(crate) ties: bool,
}

impl Quantized {
    /// The distance of the levels, if they lie at equal ones.
    pub(crate) fn step(&self) -> Option<f64> {
        step(&self.levels)
    }
}

/// The value as planes, if it can be had: of what it was quantized from, or of its own levels.
pub(crate) fn quantized(analysis: &Analysis, value: ValueId) -> Option<Quantized> {
    let of_source = analysis.stairs(value).and_then(|(source, f)| {
        // A sign of what is often exactly 0 has three values (torch.sign(0) is 0).
        let zeros = analysis.of(source).zeros && undecided(&f);
        if zeros { None } else { of_stairs(source, &f) }
    });
    of_source.or_else(|| {
        let levels = analysis.of(value).levels.clone().filter(|levels| levels.len() > 1)?;
        let planes = planes(&levels, MAX_ORDER)?;
        let center = planes.center;
        let greedy = Greedy::of(&planes.scales);
        let near = |level: f64, made: f64| (made - level).abs() <= 1e-5 * step_or_one(&levels);
        let exact = |level: &f64| greedy.0.value(level - center).is_some_and(|made| near(level - center, made));
        levels.iter().all(exact).then(|| Quantized {
            source: value,
            ratio: 1.0,
            shift: -center,
            gain: 1.0,
            scales: planes.scales,
            center,
            levels,
            ties: false,
        })
    })
}

fn step_or_one(levels: &[f64]) -> f64 {
    levels.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min)
}

/// Whether the value at some break belongs neither to the left nor to the right of it.
pub(crate) fn undecided(f: &Function) -> bool {
    let Some(steps) = f.steps() else { return false };
    f.at.iter().zip(steps.windows(2)).any(|(&at, pair)| at != pair[0] && at != pair[1])
}

/// The first number in f32 that is at least `x`, or more than it.
pub(crate) fn first_above(x: f64, strict: bool) -> f32 {
    let near = x as f32;
    let exact = (f64::from(near) - x).abs() <= 1e-12 * x.abs();
    if strict && (exact || f64::from(near) <= x) || !strict && !exact && f64::from(near) < x {
        near.next_up()
    } else {
        near
    }
}

/// The residual quantizer with constant scales, as a function.
struct Greedy(Function);

impl Greedy {
    fn of(scales: &[f64]) -> Self {
        let sign = Function::two(0.0, -1.0, 1.0, 1.0);
        let mut residual = Function::identity();
        let mut sum = Function::constant(0.0);
        for &scale in scales {
            let plane = residual.then(&sign).expect("a sign of lines");
            residual = residual.plus(&plane, -scale).expect("few breaks");
            sum = sum.plus(&plane, scale).expect("few breaks");
        }
        Self(sum)
    }
}

fn of_stairs(source: ValueId, f: &Function) -> Option<Quantized> {
    let mut steps = f.steps()?;
    let gain = if steps.last()? < steps.first()? { -1.0 } else { 1.0 };
    if gain < 0.0 {
        steps.reverse();
    }
    if steps.windows(2).any(|pair| pair[0] >= pair[1]) {
        return None;
    }
    let planes = planes(&steps, MAX_ORDER)?;
    let (center, scales) = (planes.center, planes.scales);
    let quantized = |ratio, shift, ties| {
        let (scales, levels) = (scales.clone(), steps.clone());
        Some(Quantized { source, ratio, shift, gain, scales, center, levels, ties })
    };
    let at_right = |i: usize| f.at[i] == f.steps().map_or(f64::NAN, |steps| steps[i + 1]);
    if let [threshold] = f.breaks[..] {
        let strict = !at_right(0) && !undecided(f);
        return quantized(1.0, -f64::from(first_above(threshold, strict)), undecided(f));
    }
    // Where the quantizer's own thresholds fall, beside where these do: a line must lead from these to those.
    let greedy = Greedy::of(&scales).0;
    let own_steps = greedy.steps()?;
    let noise = 1e-5 * step_or_one(&steps);
    let same = own_steps.len() == steps.len()
        && own_steps.iter().zip(&steps).all(|(own, step)| (own + center - step).abs() <= noise);
    if !same {
        return None;
    }
    let (first, last) = (f.breaks[0], f.breaks[f.breaks.len() - 1]);
    let own = &greedy.breaks;
    let mut ratio = (own[own.len() - 1] - own[0]) / (last - first);
    if (ratio - 1.0).abs() <= NOISE {
        ratio = 1.0;
    }
    let mut shift = (own[0] + own[own.len() - 1]) / 2.0 - ratio * (first + last) / 2.0;
    let reach = own[0].abs().max(first.abs() * ratio).max(last.abs() * ratio);
    if shift.abs() <= NOISE * reach {
        shift = 0.0;
    }
    let fits = |(own, there): (&f64, &f64)| (there * ratio + shift - own).abs() <= noise.max(NOISE * reach);
    if !own.iter().zip(&f.breaks).all(fits) {
        return None;
    }
    // Planes take ties away from the middle. If all of these go towards it, a factor just below 1 takes them along.
    let inward = |i: usize| if own[i] < 0.0 { at_right(i) } else { !at_right(i) };
    let all_inward = (0..f.at.len()).all(inward) && !undecided(f);
    let all_outward = (0..f.at.len()).all(|i| own[i] == 0.0 && at_right(i) || own[i] != 0.0 && !inward(i));
    if all_inward && shift == 0.0 && ratio == 1.0 {
        return quantized(f64::from(1.0f32.next_down()), shift, false);
    }
    quantized(ratio, shift, !all_outward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::function::Rounding;

    fn quantizer(low: f64, high: f64, scale: f64) -> Function {
        let x = Function::identity().divided(scale).then(&Function::round(Rounding::HalfEven)).unwrap();
        x.then(&Function::clip(Some(low), Some(high))).unwrap().times(&Function::constant(scale)).unwrap()
    }

    #[test]
    fn a_uniform_quantizer_is_planes_with_halving_scales() {
        let q = of_stairs(ValueId(0), &quantizer(0.0, 15.0, 0.25)).unwrap();
        assert_eq!(q.scales, [1.0, 0.5, 0.25, 0.125]);
        assert_eq!((q.center, q.ratio, q.shift, q.gain), (1.875, 1.0, -1.875, 1.0));
        assert!(q.ties, "half to even is not the planes' rule");
        let narrow = of_stairs(ValueId(0), &quantizer(-1.0, 1.0, 1.0)).unwrap();
        assert_eq!((narrow.scales, narrow.shift, narrow.ties), (vec![0.5, 0.5], 0.0, false));
        assert_eq!(narrow.ratio as f32, 1.0f32.next_down(), "0.5 rounds to 0");
    }

    #[test]
    fn a_sign_has_its_threshold_and_its_direction() {
        let q = of_stairs(ValueId(0), &Function::two(2.5, 3.0, 3.0, -1.0)).unwrap();
        assert_eq!((q.gain, q.center, &q.scales[..]), (-1.0, 1.0, &[2.0][..]));
        assert_eq!(q.shift, -f64::from(2.5f32.next_up()), "2.5 itself is left of the threshold");
        let q = of_stairs(ValueId(0), &Function::two(0.0, -1.0, 1.0, 1.0)).unwrap();
        assert_eq!((q.shift, q.ties), (0.0, false));
        let torch = of_stairs(ValueId(0), &Function::two(0.0, -1.0, 0.0, 1.0)).unwrap();
        assert!(torch.ties);
    }

    #[test]
    fn a_residual_chain_is_planes_of_its_scales() {
        let sign = Function::two(0.0, -1.0, 1.0, 1.0);
        let first = Function::identity().then(&sign).unwrap();
        let rest = Function::identity().plus(&first, -0.8).unwrap();
        let f = first.times(&Function::constant(0.8)).unwrap().plus(&rest.then(&sign).unwrap(), 0.3).unwrap();
        let q = of_stairs(ValueId(0), &f).unwrap();
        assert!((q.scales[0] - 0.8).abs() < 1e-9 && (q.scales[1] - 0.3).abs() < 1e-9, "{q:?}");
        assert_eq!((q.ratio, q.shift, q.ties), (1.0, 0.0, true));
    }

    #[test]
    fn stairs_of_unequal_width_are_no_planes() {
        let f = Function::two(0.0, 0.0, 1.0, 1.0);
        let f = f.plus(&Function::two(1.0, 0.0, 1.0, 1.0), 1.0).unwrap();
        let f = f.plus(&Function::two(5.0, 0.0, 1.0, 1.0), 1.0).unwrap();
        assert_eq!(of_stairs(ValueId(0), &f), None);
    }
}
