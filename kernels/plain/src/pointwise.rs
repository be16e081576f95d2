//! Functions of one, two or three values that stand in the same place.
//!
//! A value that is NaN or infinite gives NaN or an infinity, whatever the function's limit there is.

use crate::broadcast::{Broadcast, broadcast};
use crate::math;
use crate::pixels::by_value;
use horq_kernels::Runner;
use serde::Serialize;

/// A function of a value of each operand.
pub trait Pointwise: Send + Sync + 'static {
    /// One value an operand: `[f32; N]`.
    type Operands;
    /// What sixteen values cost in vector operations, roughly.
    const WORK: usize;
    /// The function.
    fn value(x: Self::Operands) -> f32;
}

/// The unit structs of functions, each with what it computes and what sixteen values of it cost.
macro_rules! functions {
    ($($(#[doc = $doc:literal])* $name:ident($work:literal) = |$x:ident: [f32; $n:literal]| $value:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
        pub struct $name;

        impl Pointwise for $name {
            type Operands = [f32; $n];
            const WORK: usize = $work;

            #[inline(always)]
            fn value($x: [f32; $n]) -> f32 {
                $value
            }
        }
    )*};
}

/// `x` if it is finite, else NaN.
#[inline(always)]
fn finite_or_nan(x: f32) -> f32 {
    let zero = x * 0.0;
    zero + x
}

/// 1 where `holds`, else 0; NaN where an operand is not finite.
#[inline(always)]
fn truth(holds: bool, [a, b]: [f32; 2]) -> f32 {
    let lost = a * 0.0 + b * 0.0;
    (if holds { 1.0 } else { 0.0 }) + lost
}

functions! {
    /// y = 1 / (1 + e^-x).
    Sigmoid(100) = |x: [f32; 1]| math::sigmoid(x[0]);
    /// y = (e^x - e^-x) / (e^x + e^-x).
    Tanh(100) = |x: [f32; 1]| math::tanh(x[0]);
    /// y = x / (1 + e^-x), also called swish.
    Silu(100) = |x: [f32; 1]| math::silu(x[0]);
    /// y = x (1 + erf(x / sqrt 2)) / 2, as `torch.nn.GELU()`.
    Gelu(150) = |x: [f32; 1]| math::gelu(x[0]);
    /// y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, as `torch.nn.GELU("tanh")`.
    GeluTanh(110) = |x: [f32; 1]| math::gelu_tanh(x[0]);
    /// The error function.
    Erf(200) = |x: [f32; 1]| math::erf(x[0]);
    /// y = e^x.
    Exp(80) = |x: [f32; 1]| math::exp(x[0]);
    /// The natural logarithm; not finite of 0 and below.
    Log(100) = |x: [f32; 1]| math::log(x[0]);
    /// The square root; not finite below 0.
    Sqrt(10) = |x: [f32; 1]| finite_or_nan(x[0]).sqrt();
    /// y = 1 / x; not finite of 0.
    Reciprocal(10) = |x: [f32; 1]| 1.0 / finite_or_nan(x[0]);
    /// y = x where x >= 0, else -x.
    Abs(1) = |x: [f32; 1]| x[0].abs();
    /// The largest integer that is not above x.
    Floor(2) = |x: [f32; 1]| x[0].floor();
    /// The smallest integer that is not below x.
    Ceil(2) = |x: [f32; 1]| x[0].ceil();
    /// The nearest integer, ties to even.
    Round(2) = |x: [f32; 1]| x[0].round_ties_even();
    /// y = log(1 + e^x).
    Softplus(180) = |x: [f32; 1]| math::softplus(x[0]);
    /// y = x tanh(log(1 + e^x)).
    Mish(110) = |x: [f32; 1]| math::mish(x[0]);
    /// The sine of an angle in radians.
    Sin(500) = |x: [f32; 1]| math::sin(x[0]);
    /// The cosine of an angle in radians.
    Cos(500) = |x: [f32; 1]| math::cos(x[0]);

    /// a + b.
    BroadcastAdd(1) = |x: [f32; 2]| x[0] + x[1];
    /// a - b.
    Subtract(1) = |x: [f32; 2]| x[0] - x[1];
    /// a * b.
    Multiply(1) = |x: [f32; 2]| x[0] * x[1];
    /// a / b; not finite where b is 0.
    Divide(10) = |x: [f32; 2]| x[0] / finite_or_nan(x[1]);
    /// The smaller of a and b.
    Minimum(4) = |x: [f32; 2]| {
        let (a, b) = (finite_or_nan(x[0]), finite_or_nan(x[1]));
        // A NaN is less than nothing, and must come out.
        if b < a || b.is_nan() { b } else { a }
    };
    /// The larger of a and b.
    Maximum(4) = |x: [f32; 2]| {
        let (a, b) = (finite_or_nan(x[0]), finite_or_nan(x[1]));
        if b > a || b.is_nan() { b } else { a }
    };
    /// 1 where a > b, else 0.
    Greater(4) = |x: [f32; 2]| truth(x[0] > x[1], x);
    /// 1 where a < b, else 0.
    Less(4) = |x: [f32; 2]| truth(x[0] < x[1], x);
    /// 1 where a = b, else 0.
    Equal(4) = |x: [f32; 2]| truth(x[0] == x[1], x);

    /// The second operand where the first is not 0, else the third.
    Where(3) = |x: [f32; 3]| (if x[0] != 0.0 { x[1] } else { x[2] }) + x[0] * 0.0;
}

/// A function of operands that are broadcast to one shape.
///
/// # Panics
/// If a length does not match.
pub fn pointwise<const N: usize, F: Pointwise<Operands = [f32; N]>>(
    runner: Runner<'_>,
    shapes: &Broadcast<N>,
    inputs: [&[f32]; N],
    output: &mut [f32],
) {
    if shapes.is_elementwise() {
        by_value(runner, inputs, output, F::WORK, F::value);
    } else {
        broadcast(runner, shapes, inputs, output, F::WORK, F::value);
    }
}

/// y = x where x >= 0, else alpha (e^x - 1), the product rounded after e^x - 1.
///
/// # Panics
/// If the lengths differ.
pub fn elu(runner: Runner<'_>, alpha: f32, input: &[f32], output: &mut [f32]) {
    by_value(
        runner,
        [input],
        output,
        100,
        #[inline(always)]
        |[x]| {
            let below = alpha * math::exp_minus_one(x);
            if x >= 0.0 { x } else { below }
        },
    );
}

/// x to the power of `exponent`: not finite of 0 where the exponent is below 0, and of a negative number unless the exponent is an
/// integer; 1 of any number where the exponent is 0.
///
/// # Panics
/// If the lengths differ.
pub fn power(runner: Runner<'_>, exponent: f32, input: &[f32], output: &mut [f32]) {
    by_value(
        runner,
        [input],
        output,
        250,
        #[inline(always)]
        |[x]| math::power(x, exponent),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some places of the operands that are not finite; all others are 1.
    fn lost<const N: usize, F: Pointwise<Operands = [f32; N]>>() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for i in 0..N {
                let mut x = [1.0; N];
                x[i] = bad;
                assert!(!F::value(x).is_finite(), "{} of {x:?} is {}", std::any::type_name::<F>(), F::value(x));
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_not_lost() {
        lost::<1, Sigmoid>();
        lost::<1, Tanh>();
        lost::<1, Silu>();
        lost::<1, Gelu>();
        lost::<1, GeluTanh>();
        lost::<1, Erf>();
        lost::<1, Exp>();
        lost::<1, Log>();
        lost::<1, Sqrt>();
        lost::<1, Reciprocal>();
        lost::<1, Abs>();
        lost::<1, Floor>();
        lost::<1, Ceil>();
        lost::<1, Round>();
        lost::<1, Softplus>();
        lost::<1, Mish>();
        lost::<1, Sin>();
        lost::<1, Cos>();
        lost::<2, BroadcastAdd>();
        lost::<2, Subtract>();
        lost::<2, Multiply>();
        lost::<2, Divide>();
        lost::<2, Minimum>();
        lost::<2, Maximum>();
        lost::<2, Greater>();
        lost::<2, Less>();
        lost::<2, Equal>();
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(!Where::value([bad, 1.0, 1.0]).is_finite() && !Where::value([1.0, bad, 1.0]).is_finite());
            assert_eq!(Where::value([1.0, 2.0, bad]), 2.0, "what is not chosen is not looked at");
        }
    }

    #[test]
    fn functions_of_two_values_are_what_they_say() {
        for (a, b) in [(1.0, 2.0), (2.0, -1.0), (-3.0, -3.0), (0.0, -0.0)] {
            let x = [a, b];
            assert_eq!(BroadcastAdd::value(x), a + b);
            assert_eq!(Subtract::value(x), a - b);
            assert_eq!(Multiply::value(x), a * b);
            assert_eq!(Minimum::value(x), a.min(b));
            assert_eq!(Maximum::value(x), a.max(b));
            assert_eq!(Greater::value(x), f32::from(u8::from(a > b)));
            assert_eq!(Less::value(x), f32::from(u8::from(a < b)));
            assert_eq!(Equal::value(x), f32::from(u8::from(a == b)));
            assert_eq!(Where::value([a, b, 7.0]), if a == 0.0 { 7.0 } else { b });
        }
        assert_eq!(Divide::value([1.0, 3.0]), 1.0 / 3.0);
        assert!(!Divide::value([1.0, 0.0]).is_finite() && !Divide::value([0.0, 0.0]).is_finite());
    }

    #[test]
    fn rounding_is_to_even() {
        let x = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.500_001, 8_388_609.0];
        assert_eq!(x.map(|x| Round::value([x])), [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 3.0, 8_388_609.0]);
        assert_eq!(x.map(|x| Floor::value([x])), x.map(f32::floor));
        assert_eq!(x.map(|x| Ceil::value([x])), x.map(f32::ceil));
    }
}
