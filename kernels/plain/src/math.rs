//! Functions of one f32, the same bits everywhere, which those of C libraries are not.
//!
//! Each is computed in f64, in single IEEE operations in one order, and rounded to f32 once. The error in f64 is below 1e-10 of the
//! result, so that the result is the f32 next to the true value, or where that lies all but halfway between two, the other of
//! these. An infinite argument gives NaN, as NaN does: the limit of tanh would hide that a value was lost.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, FRAC_PI_2, LN_2, LOG2_E, SQRT_2};

/// `x` in f64 if it is finite, else NaN.
#[inline(always)]
fn wide(x: f32) -> f64 {
    let zero = x * 0.0;
    f64::from(zero + x)
}

/// c[0] x^(N-1) + ... + c[N-1].
#[inline(always)]
fn polynomial<const N: usize>(x: f64, c: [f64; N]) -> f64 {
    let mut sum = c[0];
    for c in &c[1..] {
        sum = sum * x + c;
    }
    sum
}

/// 1 / n!.
const fn inverse_factorial(n: u32) -> f64 {
    let (mut product, mut i) = (1.0, 2);
    while i <= n {
        product *= i as f64;
        i += 1;
    }
    1.0 / product
}

/// 1 / n! of each n, every other one with a minus: the coefficients of sine and cosine.
const fn alternating<const N: usize>(n: [u32; N]) -> [f64; N] {
    let (mut c, mut i) = ([0.0; N], 0);
    while i < N {
        let sign = if (n[i] / 2).is_multiple_of(2) { 1.0 } else { -1.0 };
        c[i] = sign * inverse_factorial(n[i]);
        i += 1;
    }
    c
}

/// 2^n and e^r - 1 of e^x = 2^n e^r, |r| being at most ln(2) / 2, and x held within 700 of 0, where an f64 has room.
#[inline(always)]
fn exp_parts(x: f64) -> (f64, f64) {
    // Adding it to a small number rounds that to an integer, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    // The series of (e^r - 1) / r.
    const SERIES: [f64; 11] = {
        let mut c = [0.0; 11];
        let mut i = 0;
        while i < 11 {
            c[i] = inverse_factorial(11 - i as u32);
            i += 1;
        }
        c
    };
    let x = if x < -700.0 { -700.0 } else { x };
    let x = if x > 700.0 { 700.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let r = x - (shifted - ROUND) * LN_2;
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    (scale, polynomial(r, SERIES) * r)
}

#[inline(always)]
fn exp_wide(x: f64) -> f64 {
    let (scale, rest) = exp_parts(x);
    scale + scale * rest
}

/// e^x - 1, as exact near 0 as elsewhere.
#[inline(always)]
fn exp_minus_one_wide(x: f64) -> f64 {
    let (scale, rest) = exp_parts(x);
    (scale - 1.0) + scale * rest
}

/// The logarithm of (1 + t) / (1 - t) for |t| up to 0.172: 2 (t + t^3 / 3 + t^5 / 5 + ...).
#[inline(always)]
fn log_ratio(t: f64) -> f64 {
    const SERIES: [f64; 9] = {
        let mut c = [0.0; 9];
        let mut i = 0;
        while i < 9 {
            c[i] = 2.0 / (17 - 2 * i) as f64;
            i += 1;
        }
        c
    };
    polynomial(t * t, SERIES) * t
}

/// The logarithm of an f32 as an f64; negative infinity of 0, NaN below.
#[inline(always)]
fn log_wide(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let m = f64::from_bits(bits & MANTISSA | 1.0f64.to_bits());
    // The exponent as the low bits of 2^52, from which f64 arithmetic gets it.
    let e = f64::from_bits((4_503_599_627_370_496.0f64).to_bits() | bits >> 52) - (4_503_599_627_370_496.0 + 1023.0);
    let large = m > SQRT_2;
    let m = if large { m * 0.5 } else { m };
    let e = if large { e + 1.0 } else { e };
    let log = e * LN_2 + log_ratio((m - 1.0) / (m + 1.0));
    if x > 0.0 {
        log
    } else if x == 0.0 {
        f64::NEG_INFINITY
    } else {
        f64::NAN
    }
}

/// The logarithm of 1 + u for u from 0 to 1, as exact near 0 as elsewhere.
#[inline(always)]
fn log_one_plus_wide(u: f64) -> f64 {
    let large = u > SQRT_2 - 1.0;
    let t = if large { (u - 1.0) / (u + 3.0) } else { u / (u + 2.0) };
    let e = if large { LN_2 } else { 0.0 };
    e + log_ratio(t)
}

/// 2 / sqrt(pi) times the integral of e^(-s^2) from t to infinity, for t >= 0.
///
/// It is e^(-t^2) times a smooth function, of which this is the polynomial in 1 / (t + 3) that interpolates it at the Chebyshev
/// points of 0 <= t <= 12, within 2e-12. Beyond, e^(-t^2) is 0 in f32.
#[inline(always)]
fn erfc_wide(t: f64) -> f64 {
    const C: [f64; 16] = [
        -7.222487609081841e-09,
        3.519445034843104e-08,
        7.936499467848337e-08,
        -5.694649853810745e-07,
        -7.622457313647052e-07,
        7.3512166355833435e-06,
        1.2821141610677116e-05,
        -9.280101278776055e-05,
        -0.0003485721585812631,
        0.00068211960468774,
        0.009387968985187234,
        0.0402857405268072,
        0.11153315544926576,
        0.22714955813212936,
        0.3559882061782668,
        0.25539567631058707,
    ];
    polynomial(7.5 / (t + 3.0) - 1.5, C) * exp_wide(-(t * t))
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid_wide(x: f64) -> f64 {
    1.0 / (1.0 + exp_wide(-x))
}

/// e^x.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    exp_wide(wide(x)) as f32
}

/// e^x - 1.
#[inline(always)]
pub(crate) fn exp_minus_one(x: f32) -> f32 {
    exp_minus_one_wide(wide(x)) as f32
}

/// The natural logarithm; negative infinity of 0, NaN below.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    log_wide(wide(x)) as f32
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    sigmoid_wide(wide(x)) as f32
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    let x = wide(x);
    (x * sigmoid_wide(x)) as f32
}

/// (e^x - e^-x) / (e^x + e^-x).
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = wide(x);
    let e = exp_minus_one_wide(-2.0 * x.abs());
    let y = e / (e + 2.0);
    (if x < 0.0 { y } else { -y }) as f32
}

/// log(1 + e^x).
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let x = wide(x);
    let above = if x < 0.0 { 0.0 } else { x };
    (above + log_one_plus_wide(exp_wide(-x.abs()))) as f32
}

/// x tanh(log(1 + e^x)).
#[inline(always)]
pub(crate) fn mish(x: f32) -> f32 {
    let x = wide(x);
    // Beyond 40 the factor is 1, and its parts would overflow.
    let e = exp_wide(if x > 40.0 { 40.0 } else { x });
    let part = e * (e + 2.0);
    (x * (part / (part + 2.0))) as f32
}

/// 2 / sqrt(pi) times the integral of e^(-s^2) from 0 to x.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    // The series of erf(x) / x in x^2, whose coefficients are 2 / sqrt(pi) (-1)^n / (n! (2n + 1)).
    const SERIES: [f64; 11] = {
        let mut c = [0.0; 11];
        let mut i = 0;
        while i < 11 {
            let n = 10 - i as u32;
            let sign = if n.is_multiple_of(2) { 1.0 } else { -1.0 };
            c[i] = sign * FRAC_2_SQRT_PI * inverse_factorial(n) / (2 * n + 1) as f64;
            i += 1;
        }
        c
    };
    let x = wide(x);
    let t = x.abs();
    let far = 1.0 - erfc_wide(t);
    let near = polynomial(x * x, SERIES) * t;
    let y = if t < 0.5 { near } else { far };
    (if x < 0.0 { -y } else { y }) as f32
}

/// x (1 + erf(x / sqrt 2)) / 2.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let x = wide(x);
    let half = 0.5 * erfc_wide(x.abs() * FRAC_1_SQRT_2);
    (x * if x < 0.0 { half } else { 1.0 - half }) as f32
}

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    let x = wide(x);
    let u = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044715 * (x * x * x));
    (x * sigmoid_wide(2.0 * u)) as f32
}

/// `x` to the power of `exponent`: NaN of a negative number unless the exponent is an integer, 1 where the exponent is 0.
#[inline(always)]
pub(crate) fn power(x: f32, exponent: f32) -> f32 {
    let (x, exponent) = (wide(x), wide(exponent));
    let whole = (exponent - exponent.round_ties_even()).abs() == 0.0;
    let half = exponent * 0.5;
    let odd = whole && (half - half.round_ties_even()).abs() != 0.0;
    let size = exp_wide(exponent * log_wide(x.abs()));
    let zero = if exponent < 0.0 { f64::INFINITY } else { 0.0 };
    let size = if x == 0.0 { zero } else { size };
    let y = if x < 0.0 && odd { -size } else { size };
    let y = if x < 0.0 && !whole { f64::NAN } else { y };
    let y = if exponent == 0.0 { 1.0 + x * 0.0 } else { y };
    y as f32
}

/// An angle as whole quarter turns, of which the lowest two bits count, and what is left of it, within an eighth of a turn.
#[inline(always)]
fn quarter_turns(x: f32) -> (u32, f64) {
    /// 2 / pi in units of 2^-256.
    const TWO_BY_PI: [u128; 2] = [0xa2f9836e_4e441529_fc2757d1_f534ddc0, 0xdb629599_3c439041_fe5163ab_debbc561];
    let bits = x.to_bits() & 0x7fff_ffff;
    if bits < std::f32::consts::FRAC_PI_4.to_bits() {
        return (0, wide(x));
    }
    // |x| = m 2^(e - 23). Of x 2 / pi only what is left by whole turns matters: the bits of 2 / pi from which m makes multiples
    // of four go out at the top. The unit is 2^-126 of a quarter turn.
    let (e, m) = ((bits >> 23) as i32 - 127, u128::from(bits & 0x7f_ffff | 0x80_0000));
    let shift = (153 - e).clamp(26, 154) as u32;
    let window = match shift {
        128.. => TWO_BY_PI[0] >> (shift - 128),
        _ => TWO_BY_PI[0] << (128 - shift) | TWO_BY_PI[1] >> shift,
    };
    let turns = window.wrapping_mul(m);
    let quarter = turns.wrapping_add(1 << 125) >> 126;
    let rest = ((turns << 2) >> 64) as u64 as i64 as f64 * (FRAC_PI_2 / 18_446_744_073_709_551_616.0);
    let lost = f64::from(x * 0.0);
    if x < 0.0 { ((quarter as u32).wrapping_neg(), lost - rest) } else { (quarter as u32, lost + rest) }
}

/// The sine (`shift` 0) or the cosine (`shift` 1) of an angle.
#[inline(always)]
fn turn(x: f32, shift: u32) -> f32 {
    // The series of sin(r) / r and cos(r) in r^2.
    const SINE: [f64; 7] = alternating([13, 11, 9, 7, 5, 3, 1]);
    const COSINE: [f64; 8] = alternating([14, 12, 10, 8, 6, 4, 2, 0]);
    let (quarter, r) = quarter_turns(x);
    let quarter = quarter.wrapping_add(shift);
    let square = r * r;
    let y = if quarter.is_multiple_of(2) { polynomial(square, SINE) * r } else { polynomial(square, COSINE) };
    (if quarter & 2 == 0 { y } else { -y }) as f32
}

/// The sine.
pub(crate) fn sin(x: f32) -> f32 {
    turn(x, 0)
}

/// The cosine.
pub(crate) fn cos(x: f32) -> f32 {
    turn(x, 1)
}

#[cfg(test)]
mod tests;
