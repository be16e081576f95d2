//! The functions beside those of the standard library in f64.

use super::*;

/// Every how many-th bit pattern is tried: a prime, so that all mantissas' low bits come by.
const STRIDE: usize = if cfg!(miri) { 40_000_003 } else { 5_003 };

fn finite() -> impl Iterator<Item = f32> {
    let all = (0..=u32::MAX).step_by(STRIDE).map(f32::from_bits).filter(|x| x.is_finite());
    // Where results are neither rounded away nor overflow.
    let near = (-200_000..200_000).step_by(if cfg!(miri) { 9_973 } else { 7 }).map(|i| i as f32 / 1_500.0);
    all.chain(near)
}

/// How many units in the last place `y` is off.
fn ulps(y: f32, expected: f64) -> f64 {
    let nearest = expected as f32;
    if nearest.is_infinite() || !y.is_finite() {
        return if y == nearest { 0.0 } else { f64::INFINITY };
    }
    let exponent = nearest.abs().max(f32::MIN_POSITIVE).to_bits() >> 23;
    let unit = f64::from(exponent as i32 - 127 - 23).exp2();
    (f64::from(y) - expected).abs() / unit
}

/// The largest error over many finite x is at most half a unit and a millionth.
fn check(name: &str, function: impl Fn(f32) -> f32, reference: impl Fn(f64) -> f64) {
    let (mut worst, mut at) = (0.0, 0.0);
    for x in finite() {
        let expected = reference(f64::from(x));
        let y = function(x);
        if expected.is_nan() {
            assert!(y.is_nan(), "{name}({x:e}) is {y:e}");
            continue;
        }
        let error = ulps(y, expected);
        if error > worst {
            (worst, at) = (error, x);
        }
    }
    println!("{name}: {worst:.6} units in the last place at {at:e}");
    assert!(worst < 0.500_01, "{name}({at:e}) is {:e}, {worst} units off {:e}", function(at), reference(f64::from(at)));
    for lost in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!function(lost).is_finite(), "{name}({lost})");
    }
}

fn sigmoid_of(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus_of(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The continued fraction of erfc where it converges fast, the series of erf elsewhere.
fn erfc_of(t: f64) -> f64 {
    if t > 27.5 {
        return 0.0;
    }
    if t > 2.0 {
        let fraction = (1..200).rev().fold(t, |below, n| t + f64::from(n) / 2.0 / below);
        return (-t * t).exp() / std::f64::consts::PI.sqrt() / fraction;
    }
    1.0 - erf_of(t)
}

fn erf_of(t: f64) -> f64 {
    let (mut term, mut sum) = (t, t);
    for n in 1..100 {
        term *= 2.0 * t * t / f64::from(2 * n + 1);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-t * t).exp() * sum
}

#[test]
fn exponentials_and_logarithms_are_correct_to_the_last_place() {
    check("exp", exp, f64::exp);
    check("exp_minus_one", exp_minus_one, f64::exp_m1);
    check("log", log, f64::ln);
    check("softplus", softplus, softplus_of);
}

#[test]
fn activations_are_correct_to_the_last_place() {
    check("sigmoid", sigmoid, sigmoid_of);
    check("silu", silu, |x| x * sigmoid_of(x));
    check("tanh", tanh, f64::tanh);
    check("mish", mish, |x| x * softplus_of(x).tanh());
    let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    check("gelu_tanh", gelu_tanh, |x| x * sigmoid_of(2.0 * inner(x)));
}

#[test]
fn the_error_function_is_correct_to_the_last_place() {
    check("erf", erf, |x| if x.abs() > 2.0 { x.signum() * (1.0 - erfc_of(x.abs())) } else { erf_of(x) });
    let gelu_of = |x: f64| {
        let tail = erfc_of(x.abs() / 2.0f64.sqrt()) / 2.0;
        x * if x < 0.0 { tail } else { 1.0 - tail }
    };
    check("gelu", gelu, gelu_of);
}

#[test]
fn angles_are_correct_to_the_last_place() {
    check("sin", sin, f64::sin);
    check("cos", cos, f64::cos);
    // The f32 nearest to a multiple of a quarter turn.
    assert!(ulps(cos(f32::from_bits(0x5f02_2c01)), f64::from(f32::from_bits(0x5f02_2c01)).cos()) < 0.501);
}

#[test]
fn powers_are_correct_to_the_last_place() {
    for exponent in [2.0, 3.0, 0.5, -0.5, -1.0, -3.0, 0.333, 1.0, 2.2, 17.0, -40.5, 0.0, 1e9, 1e-9] {
        check(&format!("power {exponent}"), |x| power(x, exponent), |x| x.powf(f64::from(exponent)));
    }
    assert!(power(0.0, -1.0).is_infinite() && power(-8.0, 0.333).is_nan() && power(2.0, f32::NAN).is_nan());
}
