//! Functions of one number, exactly: pieces of polynomials between breaks.
//!
//! What a chain of comparisons, clips, roundings, masks and sums computes of a value is such a function. Written down like this it
//! does not matter by which operations somebody has spelt it: a sign is two constant pieces, a uniform quantizer is a staircase, and
//! the detours that PyTorch code takes for the sake of gradients cancel.

/// Coefficients from the constant on. Two products of two masked lines are the most that published networks take.
pub(crate) type Polynomial = [f64; DEGREE + 1];

const DEGREE: usize = 3;
/// More breaks than an 8-bit quantizer with its straight-through detour makes.
const MAX_BREAKS: usize = 1200;
/// Beyond the steps of 8 bits, rounding is not followed: the outer pieces are lines near it, and only a clip makes an end of them.
const MAX_STEP: f64 = 300.0;
/// Relative: coefficients that sums of the same numbers have left.
const NOISE: f64 = 1e-9;

/// A function of one number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    /// Where pieces end, in rising order.
    pub(crate) breaks: Vec<f64>,
    /// The value at each break.
    pub(crate) at: Vec<f64>,
    /// The pieces, one more than breaks, each open at both ends.
    pub(crate) pieces: Vec<Polynomial>,
    /// How far from each piece the function may be: 0 where the piece is exact.
    errors: Vec<f64>,
}

/// How a whole number is made of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    HalfEven,
    Floor,
    Ceil,
    Truncate,
}

impl Rounding {
    pub(crate) fn of(self, x: f64) -> f64 {
        match self {
            Self::HalfEven => x.round_ties_even(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Truncate => x.trunc(),
        }
    }

    /// Whether it changes at whole numbers; at the middles between them otherwise.
    fn at_whole(self) -> bool {
        self != Self::HalfEven
    }
}

fn value(p: &Polynomial, x: f64) -> f64 {
    p.iter().rev().fold(0.0, |sum, c| if *c == 0.0 && sum == 0.0 { 0.0 } else { sum * x + c })
}

fn degree(p: &Polynomial) -> usize {
    p.iter().rposition(|&c| c != 0.0).unwrap_or(0)
}

/// Coefficients of a polynomial with those that are noise beside `scale` taken out.
fn cleaned(mut p: Polynomial, scale: &Polynomial) -> Polynomial {
    for (c, s) in p.iter_mut().zip(scale) {
        if c.abs() <= NOISE * s {
            *c = 0.0;
        }
    }
    p
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= NOISE * a.abs().max(b.abs())
}

impl Function {
    pub(crate) fn constant(c: f64) -> Self {
        Self::polynomial([c, 0.0, 0.0, 0.0])
    }

    pub(crate) fn identity() -> Self {
        Self::polynomial([0.0, 1.0, 0.0, 0.0])
    }

    fn polynomial(p: Polynomial) -> Self {
        Self { breaks: Vec::new(), at: Vec::new(), pieces: vec![p], errors: vec![0.0] }
    }

    /// Slope and shift, if it is one line that is not level.
    pub(crate) fn line(&self) -> Option<[f64; 2]> {
        let ([p], [0.0]) = (&self.pieces[..], &self.errors[..]) else { return None };
        (degree(p) == 1).then_some([p[1], p[0]])
    }

    /// Its value, if it has but one.
    pub(crate) fn only(&self) -> Option<f64> {
        let ([p], [0.0]) = (&self.pieces[..], &self.errors[..]) else { return None };
        (degree(p) == 0).then_some(p[0])
    }

    /// The value of each piece from left to right, if all are level.
    pub(crate) fn steps(&self) -> Option<Vec<f64>> {
        let level = |(p, error): (&Polynomial, &f64)| (degree(p) == 0 && *error == 0.0).then_some(p[0]);
        self.pieces.iter().zip(&self.errors).map(level).collect()
    }

    /// Its value at x, where it is known exactly.
    pub(crate) fn value(&self, x: f64) -> Option<f64> {
        let piece = self.breaks.partition_point(|&b| b < x);
        if self.breaks.get(piece) == Some(&x) {
            return Some(self.at[piece]);
        }
        (self.errors[piece] == 0.0).then(|| value(&self.pieces[piece], x))
    }

    /// Whether it never falls.
    pub(crate) fn rises(&self) -> bool {
        let levels_rise = |steps: Vec<f64>| steps.windows(2).all(|pair| pair[0] <= pair[1]);
        if let Some(steps) = self.steps() {
            let inside = |(i, at): (usize, &f64)| steps[i] <= *at && *at <= steps[i + 1];
            return levels_rise(steps.clone()) && self.at.iter().enumerate().all(inside);
        }
        self.pieces.iter().enumerate().all(|(i, p)| {
            let joins = i == 0 || {
                let (low, at) = (self.breaks[i - 1], self.at[i - 1]);
                value(&self.pieces[i - 1], low) <= at + NOISE * at.abs() && at <= value(p, low) + NOISE * at.abs()
            };
            joins && degree(p) <= 1 && p[1] >= 0.0 && self.errors[i] == 0.0
        })
    }

    /// The function on x >= 0 alone, for a value that is never negative: what it is below does not count.
    pub(crate) fn of_positive(mut self) -> Self {
        let below = self.breaks.partition_point(|&b| b < 0.0);
        self.breaks.drain(..below);
        self.at.drain(..below);
        self.pieces.drain(..below);
        self.errors.drain(..below);
        if self.breaks.first() == Some(&0.0) {
            // The value at 0 is that of everything up to it.
            self.pieces[0] = [self.at[0], 0.0, 0.0, 0.0];
            self.errors[0] = 0.0;
        }
        self.merged()
    }

    /// Takes out the breaks at which nothing happens.
    fn merged(self) -> Self {
        let (pieces, errors) = (vec![self.pieces[0]], vec![self.errors[0]]);
        let mut kept = Self { breaks: Vec::new(), at: Vec::new(), pieces, errors };
        for (i, (&b, &at)) in self.breaks.iter().zip(&self.at).enumerate() {
            let (left, right) = (kept.pieces[kept.pieces.len() - 1], self.pieces[i + 1]);
            let error = self.errors[i + 1];
            let same = kept.errors.last() == Some(&error)
                && left.iter().zip(&right).all(|(&l, &r)| close(l, r))
                && close(at, value(&right, b));
            if !same {
                kept.breaks.push(b);
                kept.at.push(at);
                kept.pieces.push(right);
                kept.errors.push(error);
            }
        }
        kept
    }

    /// All breaks of both, and both cut there.
    fn aligned(&self, other: &Self) -> Option<(Vec<f64>, Self, Self)> {
        let mut breaks: Vec<f64> = self.breaks.iter().chain(&other.breaks).copied().collect();
        breaks.sort_by(f64::total_cmp);
        breaks.dedup();
        Some((breaks.clone(), self.cut(&breaks)?, other.cut(&breaks)?))
    }

    /// The same function with breaks at least there; `breaks` holds all that it has. None if it is not known there.
    fn cut(&self, breaks: &[f64]) -> Option<Self> {
        let at = breaks.iter().map(|&b| self.value(b)).collect::<Option<_>>()?;
        let right = breaks.iter().map(|&b| self.breaks.partition_point(|&own| own <= b));
        let place: Vec<usize> = std::iter::once(0).chain(right).collect();
        let pieces = place.iter().map(|&i| self.pieces[i]).collect();
        Some(Self { breaks: breaks.to_vec(), at, pieces, errors: place.iter().map(|&i| self.errors[i]).collect() })
    }

    /// Combines two functions piece by piece, each piece by `pieces`, each value at a break by `values`, and what the pieces are off
    /// by `errors`.
    fn zip(
        &self,
        other: &Self,
        pieces: impl Fn(&Polynomial, &Polynomial) -> Option<Polynomial>,
        values: impl Fn(f64, f64) -> f64,
        errors: impl Fn([&Polynomial; 2], [f64; 2]) -> Option<f64>,
    ) -> Option<Self> {
        let (breaks, a, b) = self.aligned(other)?;
        if breaks.len() > MAX_BREAKS {
            return None;
        }
        let at = a.at.iter().zip(&b.at).map(|(&a, &b)| values(a, b)).collect();
        let pieces = a.pieces.iter().zip(&b.pieces).map(|(a, b)| pieces(a, b)).collect::<Option<Vec<_>>>()?;
        let error = |i: usize| errors([&a.pieces[i], &b.pieces[i]], [a.errors[i], b.errors[i]]);
        let errors = (0..a.errors.len()).map(error).collect::<Option<Vec<_>>>()?;
        Some(Self { breaks, at, pieces, errors }.merged())
    }

    /// The sum of the function and `factor` times another.
    pub(crate) fn plus(&self, other: &Self, factor: f64) -> Option<Self> {
        let pieces = |a: &Polynomial, b: &Polynomial| {
            let sum = std::array::from_fn(|i| a[i] + factor * b[i]);
            let scale = std::array::from_fn(|i| a[i].abs() + (factor * b[i]).abs());
            Some(cleaned(sum, &scale))
        };
        let values = |a: f64, b: f64| {
            let sum = a + factor * b;
            if sum.abs() <= NOISE * (a.abs() + (factor * b).abs()) { 0.0 } else { sum }
        };
        self.zip(other, pieces, values, |_, [a, b]| Some(a + factor.abs() * b))
    }

    /// The product of two functions; none if it gets too bent.
    pub(crate) fn times(&self, other: &Self) -> Option<Self> {
        let pieces = |a: &Polynomial, b: &Polynomial| {
            if degree(a) + degree(b) > DEGREE {
                return None;
            }
            let mut product = [0.0; DEGREE + 1];
            for (i, a) in a.iter().enumerate() {
                for (j, b) in b.iter().enumerate().filter(|(j, b)| i + j <= DEGREE && **b != 0.0) {
                    product[i + j] += a * b;
                }
            }
            Some(product)
        };
        let errors = |[a, b]: [&Polynomial; 2], errors: [f64; 2]| match errors {
            [0.0, 0.0] => Some(0.0),
            [error, 0.0] if degree(b) == 0 => Some(error * b[0].abs()),
            [0.0, error] if degree(a) == 0 => Some(error * a[0].abs()),
            _ => None,
        };
        self.zip(other, pieces, |a, b| a * b, errors)
    }

    /// The function divided by a number. (Not multiplied by the reciprocal: breaks must come out where division puts them.)
    pub(crate) fn divided(&self, by: f64) -> Self {
        let pieces = self.pieces.iter().map(|p| p.map(|c| c / by)).collect();
        let at = self.at.iter().map(|at| at / by).collect();
        let errors = self.errors.iter().map(|error| error / by.abs()).collect();
        Self { breaks: self.breaks.clone(), at, pieces, errors }
    }

    /// Whether no value is negative; false where that is not plain to see.
    pub(crate) fn never_negative(&self) -> bool {
        let piece = |(i, p): (usize, &Polynomial)| match degree(p) {
            0 => p[0] >= 0.0,
            1 => {
                let low = i.checked_sub(1).map_or(f64::NEG_INFINITY, |i| self.breaks[i]);
                let high = self.breaks.get(i).copied().unwrap_or(f64::INFINITY);
                p[0] + p[1] * if p[1] > 0.0 { low } else { high } >= 0.0
            }
            _ => false,
        };
        self.errors.iter().all(|&error| error == 0.0)
            && self.at.iter().all(|&at| at >= 0.0)
            && self.pieces.iter().enumerate().all(piece)
    }

    /// Where pieces of a function of degree 2 or less take the value `target`, as new breaks; none if there is a piece of a
    /// higher degree, or if the function may take it near a piece.
    fn crossings(&self, target: f64) -> Option<Vec<f64>> {
        let mut found = Vec::new();
        for (i, p) in self.pieces.iter().enumerate() {
            let low = if i == 0 { f64::NEG_INFINITY } else { self.breaks[i - 1] };
            let high = self.breaks.get(i).copied().unwrap_or(f64::INFINITY);
            let c = p[0] - target;
            let roots: Vec<f64> = match degree(p) {
                0 => Vec::new(),
                1 => vec![-c / p[1]],
                2 => {
                    let square = p[1] * p[1] - 4.0 * p[2] * c;
                    if square < 0.0 {
                        Vec::new()
                    } else {
                        let root = square.sqrt();
                        vec![(-p[1] - root) / (2.0 * p[2]), (-p[1] + root) / (2.0 * p[2])]
                    }
                }
                _ => return None,
            };
            if self.errors[i] != 0.0 {
                let ends = [low, high].map(|x| p[0] + if p[1] == 0.0 { 0.0 } else { p[1] * x });
                let (least, most) = (ends[0].min(ends[1]) - self.errors[i], ends[0].max(ends[1]) + self.errors[i]);
                if degree(p) > 1 || (least..=most).contains(&target) {
                    return None;
                }
            }
            found.extend(roots.into_iter().filter(|x| low < *x && *x < high));
        }
        Some(found)
    }

    /// Applies a function of one number that is a polynomial of low degree between its own breaks.
    pub(crate) fn then(&self, outer: &Self) -> Option<Self> {
        let mut breaks = self.breaks.clone();
        // At a crossing the inner value is the outer break by definition, whatever rounding makes of it.
        let mut exact: Vec<(f64, f64)> = Vec::new();
        for (&b, &at) in outer.breaks.iter().zip(&outer.at) {
            for x in self.crossings(b)? {
                exact.push((x, at));
                breaks.push(x);
            }
            if breaks.len() > MAX_BREAKS {
                return None;
            }
        }
        breaks.sort_by(f64::total_cmp);
        breaks.dedup();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0));
        let inner = self.cut(&breaks)?;
        let at =
            breaks.iter().zip(&inner.at).map(|(&b, &inside)| match exact.binary_search_by(|(x, _)| x.total_cmp(&b)) {
                Ok(i) if !self.breaks.contains(&b) => Some(exact[i].1),
                _ => outer.value(inside),
            });
        let at = at.collect::<Option<Vec<f64>>>()?;
        let mut pieces = Vec::with_capacity(inner.pieces.len());
        let mut errors = Vec::with_capacity(inner.pieces.len());
        for (i, p) in inner.pieces.iter().enumerate() {
            let x = match (i.checked_sub(1).map(|i| breaks[i]), breaks.get(i)) {
                (None, None) => 0.0,
                (None, Some(high)) => high - 1.0 - high.abs(),
                (Some(low), None) => low + 1.0 + low.abs(),
                (Some(low), Some(high)) => low + (high - low) / 2.0,
            };
            if degree(p) == 0 && inner.errors[i] == 0.0 {
                pieces.push(Self::constant(outer.value(p[0])?).pieces[0]);
                errors.push(0.0);
                continue;
            }
            let place = outer.breaks.partition_point(|&b| b <= value(p, x));
            let q = &outer.pieces[place];
            if inner.errors[i] != 0.0 && degree(q) > 1 {
                return None;
            }
            pieces.push(composed(q, p)?);
            errors.push(outer.errors[place] + q[1].abs() * inner.errors[i]);
        }
        Some(Self { breaks, at, pieces, errors }.merged())
    }

    /// 1 where it is at least `target`, else 0.
    pub(crate) fn at_least(&self, target: f64) -> Option<Self> {
        self.then(&Self::two(target, 0.0, 1.0, 1.0))
    }

    /// 1 where it is more than `target`, else 0.
    pub(crate) fn more_than(&self, target: f64) -> Option<Self> {
        self.then(&Self::two(target, 0.0, 0.0, 1.0))
    }

    /// Values left of a break, at it and right of it.
    pub(crate) fn two(at: f64, left: f64, middle: f64, right: f64) -> Self {
        let level = |c: f64| [c, 0.0, 0.0, 0.0];
        Self { breaks: vec![at], at: vec![middle], pieces: vec![level(left), level(right)], errors: vec![0.0; 2] }
    }

    /// Lines left and right of 0.
    pub(crate) fn bent(left: f64, right: f64) -> Self {
        let pieces = vec![[0.0, left, 0.0, 0.0], [0.0, right, 0.0, 0.0]];
        Self { breaks: vec![0.0], at: vec![0.0], pieces, errors: vec![0.0; 2] }
    }

    /// min(max(x, low), high), each bound if it is there.
    pub(crate) fn clip(low: Option<f64>, high: Option<f64>) -> Self {
        let mut clip = Self::identity();
        for (bound, first) in [(low, true), (high, false)] {
            let Some(bound) = bound.filter(|bound| bound.is_finite()) else { continue };
            let level = [bound, 0.0, 0.0, 0.0];
            clip.breaks.push(bound);
            clip.at.push(bound);
            clip.pieces.insert(if first { 0 } else { clip.pieces.len() }, level);
            clip.errors.push(0.0);
        }
        match (low, high) {
            // The upper bound wins where they cross.
            (Some(low), Some(high)) if low >= high => Self::constant(high),
            _ => clip,
        }
    }

    /// x rounded to whole numbers, as far as it is followed.
    pub(crate) fn round(rounding: Rounding) -> Self {
        let mut stairs = Self { errors: vec![1.0], ..Self::identity() };
        let shift = if rounding.at_whole() { 0.0 } else { 0.5 };
        let mut x = -MAX_STEP - shift;
        while x <= MAX_STEP + shift {
            stairs.breaks.push(x);
            stairs.at.push(rounding.of(x));
            stairs.pieces.push([rounding.of(x + 0.5 - 0.25), 0.0, 0.0, 0.0]);
            stairs.errors.push(0.0);
            x += 1.0;
        }
        let last = stairs.pieces.len() - 1;
        (stairs.pieces[last], stairs.errors[last]) = (Self::identity().pieces[0], 1.0);
        stairs.merged()
    }
}

/// outer(inner(x)); none if that is too bent.
fn composed(outer: &Polynomial, inner: &Polynomial) -> Option<Polynomial> {
    if degree(outer) * degree(inner).max(1) > DEGREE {
        return None;
    }
    let mut result = [0.0; DEGREE + 1];
    for c in outer.iter().rev() {
        let mut next = [0.0; DEGREE + 1];
        for (i, r) in result.iter().enumerate().filter(|(_, r)| **r != 0.0) {
            for (j, p) in inner.iter().enumerate().filter(|(j, p)| i + j <= DEGREE && **p != 0.0) {
                next[i + j] += r * p;
            }
        }
        next[0] += c;
        result = next;
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_of_a_clip_is_a_staircase_with_even_ties() {
        let f = Function::identity().then(&Function::clip(Some(0.0), Some(3.0))).unwrap();
        let f = f.then(&Function::round(Rounding::HalfEven)).unwrap();
        assert_eq!(f.steps().unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(f.breaks, [0.5, 1.5, 2.5]);
        assert_eq!(f.at, [0.0, 2.0, 2.0]);
        let late = Function::round(Rounding::HalfEven).then(&Function::clip(Some(0.0), Some(3.0))).unwrap();
        assert_eq!(late, f);
    }

    #[test]
    fn floor_and_truncation_break_at_whole_numbers() {
        let clip = Function::clip(Some(-1.0), Some(1.0));
        let floor = Function::round(Rounding::Floor).then(&clip).unwrap();
        assert_eq!((floor.breaks.clone(), floor.steps().unwrap()), (vec![0.0, 1.0], vec![-1.0, 0.0, 1.0]));
        assert_eq!(floor.at, [0.0, 1.0]);
        let truncated = Function::round(Rounding::Truncate).then(&clip).unwrap();
        assert_eq!((truncated.breaks.clone(), truncated.at.clone()), (vec![-1.0, 1.0], vec![-1.0, 1.0]));
    }

    #[test]
    fn rounding_that_is_not_followed_makes_no_steps() {
        let round = Function::round(Rounding::HalfEven);
        // 664 / 16 is 41.5, beyond the steps that are followed: where the second rounding jumps is not known.
        assert!(round.divided(16.0).then(&Function::round(Rounding::HalfEven)).is_none());
        let high = round.then(&Function::clip(Some(0.0), Some(255.0))).unwrap();
        assert_eq!(high.steps().map(|steps| steps.len()), Some(256));
        assert!(round.then(&Function::clip(Some(0.0), Some(1000.0))).is_none());
        let noise = round.plus(&Function::identity(), -1.0).unwrap();
        assert!(noise.steps().is_none(), "round(x) - x is not 0");
        assert_eq!((round.value(7.5), round.value(1e4)), (Some(8.0), None));
    }

    #[test]
    fn the_detour_of_a_gradient_cancels() {
        // Bi-Real-Net: out1 = mask1 * -1 + (1 - mask1) * (x x + 2 x) and so on, sign - out + out.
        let x = Function::identity();
        let square = x.times(&x).unwrap().plus(&x, 2.0).unwrap();
        let mask = x.at_least(-1.0).unwrap().plus(&Function::constant(1.0), -1.0).unwrap();
        let smooth = mask.plus(&square.times(&x.at_least(0.0).unwrap()).unwrap(), 1.0).unwrap();
        let sign = x.then(&Function::two(0.0, -1.0, 0.0, 1.0)).unwrap();
        let f = sign.plus(&smooth, -1.0).unwrap().plus(&smooth, 1.0).unwrap();
        assert_eq!(f.steps().unwrap(), [-1.0, 1.0]);
        assert_eq!((f.breaks, f.at), (vec![0.0], vec![0.0]));
    }

    #[test]
    fn a_value_that_is_never_negative_has_no_sign_below() {
        let f = Function::two(0.0, -1.0, 0.0, 1.0).of_positive();
        assert_eq!((f.steps().unwrap(), f.at), (vec![0.0, 1.0], vec![0.0]));
    }

    #[test]
    fn sums_that_are_not_level_are_no_steps() {
        let x = Function::identity();
        assert_eq!(x.plus(&x, 0.5).unwrap().line(), Some([1.5, 0.0]));
        assert!(x.then(&Function::bent(0.1, 1.0)).unwrap().steps().is_none());
        assert!(x.then(&Function::bent(0.1, 1.0)).unwrap().rises());
        assert!(!x.then(&Function::bent(-1.0, 1.0)).unwrap().rises());
    }
}
