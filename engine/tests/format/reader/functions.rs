//! Functions and reductions, from the tables of section 4 of `docs/format.md`. What the document leaves open by a unit in the last
//! place is computed in f64 by the standard library.

use serde_json::Value;

use super::{Reader, Tensor};

/// The operations whose last place the document leaves open.
const TO_ONE_ULP: [&str; 14] = [
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "gelu_tanh",
    "erf",
    "exp",
    "log",
    "softplus",
    "mish",
    "sin",
    "cos",
    "elu",
    "power",
];

/// Whether the document leaves the last place of an operation open.
pub(crate) fn is_open(op: &str) -> bool {
    ["softmax", "log_softmax", "lrn"].contains(&op) || TO_ONE_ULP.contains(&op)
}

/// 2 / sqrt(pi) times the integral of e^(-s^2) from `t` >= 0 to infinity: a continued fraction where it converges fast, the series
/// elsewhere.
fn erfc(t: f64) -> f64 {
    if t < 2.0 {
        // e^(-t^2) times the sum of 2^n t^(2n+1) / (1 * 3 * 5 ... (2n+1)).
        let (mut term, mut sum) = (t, t);
        for n in 1..100 {
            term *= 2.0 * t * t / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - std::f64::consts::FRAC_2_SQRT_PI * (-t * t).exp() * sum;
    }
    let fraction = (1..200).rev().fold(t, |below, n| t + f64::from(n) / 2.0 / below);
    (-t * t).exp() / std::f64::consts::PI.sqrt() / fraction
}

fn of_one(op: &str, x: f64, constant: f64) -> Option<f64> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    Some(match op {
        "sigmoid" => sigmoid(x),
        "tanh" => x.tanh(),
        "silu" => x * sigmoid(x),
        "gelu" => {
            let tail = erfc(x.abs() / 2.0f64.sqrt()) / 2.0;
            x * if x < 0.0 { tail } else { 1.0 - tail }
        }
        "gelu_tanh" => x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)),
        "erf" => x.signum() * (1.0 - erfc(x.abs())),
        "exp" => x.exp(),
        "log" => x.ln(),
        "softplus" => softplus(x),
        "mish" => x * softplus(x).tanh(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "elu" if x >= 0.0 => x,
        "elu" => f64::from(x.exp_m1() as f32) * constant,
        "power" => x.powf(constant),
        "sqrt" => x.sqrt(),
        "reciprocal" => 1.0 / x,
        "abs" => x.abs(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round_ties_even(),
        _ => return None,
    })
}

fn of_several(op: &str, x: &[f32]) -> Option<f32> {
    let truth = |holds| if holds { 1.0 } else { 0.0 };
    Some(match (op, x) {
        ("broadcast_add", [a, b]) => a + b,
        ("subtract", [a, b]) => a - b,
        ("multiply", [a, b]) => a * b,
        ("divide", [a, b]) => a / b,
        ("minimum", [a, b]) => a.min(*b),
        ("maximum", [a, b]) => a.max(*b),
        ("greater", [a, b]) => truth(a > b),
        ("less", [a, b]) => truth(a < b),
        ("equal", [a, b]) => truth(a == b),
        ("where", [a, b, c]) => *if *a != 0.0 { b } else { c },
        _ => return None,
    })
}

fn of_all(op: &str, x: &[f64]) -> Option<f64> {
    let sum = |f: fn(f64) -> f64| x.iter().fold(0.0, |s, &x| s + f(x));
    Some(match op {
        "reduce_sum" => sum(|x| x),
        "reduce_mean" => sum(|x| x) / x.len() as f64,
        "reduce_l2" => sum(|x| x * x).sqrt(),
        "reduce_product" => x.iter().fold(1.0, |s, x| s * x),
        "reduce_max" => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "reduce_min" => x.iter().copied().fold(f64::INFINITY, f64::min),
        _ => return None,
    })
}

/// The places of an image of that shape, in memory order.
pub(super) fn places([height, width, channels]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..height).flat_map(move |h| (0..width).flat_map(move |w| (0..channels).map(move |c| [h, w, c])))
}

impl Tensor {
    /// The value at a place, or the one that stands for it.
    pub(super) fn at(&self, place: [usize; 3]) -> f32 {
        let [h, w, c] = [0, 1, 2].map(|axis| if self.shape[axis] == 1 { 0 } else { place[axis] });
        self.x[(h * self.shape[1] + w) * self.shape[2] + c]
    }
}

/// What a node of the tables makes of its inputs; none if it is none of them.
pub(super) fn node(reader: &Reader<'_>, node: &Value, inputs: &[Tensor]) -> Option<Tensor> {
    let op = node["op"].as_str().unwrap();
    let scalar = |field: &str| node.get(field).map(|field| reader.floats(field)[0]);
    let x = &inputs[0];
    if op == "clip" {
        let (low, high) = (scalar("low")?, scalar("high")?);
        return Some(Tensor { shape: x.shape, x: x.x.iter().map(|x| x.max(low).min(high)).collect() });
    }
    if let Some(axes) = node.get("axes") {
        let axes: [usize; 3] = serde_json::from_value(axes.clone()).unwrap();
        let shape = [0, 1, 2].map(|axis| if axes[axis] == 1 { 1 } else { x.shape[axis] });
        let values = places(shape).map(|to| {
            let along = places(x.shape).filter(|from| [0, 1, 2].iter().all(|&a| axes[a] == 1 || from[a] == to[a]));
            of_all(op, &along.map(|from| f64::from(x.at(from))).collect::<Vec<_>>()).map(|y| y as f32)
        });
        return Some(Tensor { shape, x: values.collect::<Option<_>>()? });
    }
    let constant = scalar("alpha").or(scalar("exponent")).unwrap_or(0.0);
    let shape = [0, 1, 2].map(|axis| inputs.iter().map(|x| x.shape[axis]).max().unwrap());
    let values = places(shape).map(|place| {
        let operands: Vec<f32> = inputs.iter().map(|x| x.at(place)).collect();
        match operands[..] {
            [x] => of_one(op, x.into(), constant.into()).map(|y| y as f32),
            _ => of_several(op, &operands),
        }
    });
    Some(Tensor { shape, x: values.collect::<Option<_>>()? })
}
