//! Operations that compute each element of the result from one element of each input.
//!
//! Floats are computed in f64 and rounded once, which gives the bits of the same IEEE operation in f32: addition, multiplication, division
//! and square root of f32 values lose nothing by it. Functions such as `exp` come from `libm`, so they have the same bits on every CPU.

use super::held::{Held, cast, float_tensor, saturated, wrapped};
use super::view::View;
use crate::error::Refusal;
use crate::graph::{Data, ElementType, Node, Tensor};
use ndarray::{ArrayD, IxDyn, Zip};

type Function = Box<dyn Fn(f64) -> f64>;

/// What an elementwise operation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// The type of the first input.
    Same,
    /// Truth.
    Truth,
    /// The type of the second input, as `Where` does.
    Second,
}

/// Whether an operation is elementwise with broadcasting, and what it gives.
pub(super) fn gives(node: &Node) -> Option<Gives> {
    if !node.domain.is_empty() {
        return None;
    }
    Some(match node.op.as_str() {
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN"
        | "IsInf" => Gives::Truth,
        "Where" => Gives::Second,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Min" | "Max" | "Sum" | "Mean" | "PRelu" | "Clip"
        | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitwiseNot" | "BitShift" => Gives::Same,
        _ => return function(node).map(|_| Gives::Same),
    })
}

/// The function of one number that a node computes.
fn function(node: &Node) -> Option<Function> {
    let alpha = |default: f32| f64::from(node.float("alpha", default));
    Some(match node.op.as_str() {
        "Identity" => Box::new(|x| x),
        "Abs" => Box::new(f64::abs),
        "Neg" => Box::new(|x| -x),
        "Sign" => Box::new(|x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }),
        "Floor" => Box::new(f64::floor),
        "Ceil" => Box::new(f64::ceil),
        "Round" => Box::new(f64::round_ties_even),
        "Sqrt" => Box::new(f64::sqrt),
        "Reciprocal" => Box::new(|x| 1.0 / x),
        "Exp" => Box::new(libm::exp),
        "Log" => Box::new(libm::log),
        "Sin" => Box::new(libm::sin),
        "Cos" => Box::new(libm::cos),
        "Tan" => Box::new(libm::tan),
        "Asin" => Box::new(libm::asin),
        "Acos" => Box::new(libm::acos),
        "Atan" => Box::new(libm::atan),
        "Sinh" => Box::new(libm::sinh),
        "Cosh" => Box::new(libm::cosh),
        "Tanh" => Box::new(libm::tanh),
        "Asinh" => Box::new(libm::asinh),
        "Acosh" => Box::new(libm::acosh),
        "Atanh" => Box::new(libm::atanh),
        "Erf" => Box::new(libm::erf),
        "Sigmoid" => Box::new(sigmoid),
        "Relu" => Box::new(|x| if x < 0.0 { 0.0 } else { x }),
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "ThresholdedRelu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x > alpha { x } else { 0.0 })
        }
        "Elu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x < 0.0 { alpha * libm::expm1(x) } else { x })
        }
        "Celu" => {
            let alpha = alpha(1.0);
            Box::new(move |x| if x < 0.0 { alpha * libm::expm1(x / alpha) } else { x })
        }
        "Selu" => {
            let (alpha, gamma) = (alpha(1.673_263_2), f64::from(node.float("gamma", 1.050_701)));
            Box::new(move |x| gamma * if x < 0.0 { alpha * libm::expm1(x) } else { x })
        }
        "Softplus" => Box::new(softplus),
        "Softsign" => Box::new(|x| x / (1.0 + x.abs())),
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), f64::from(node.float("beta", 0.5)));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Swish" => {
            let alpha = alpha(1.0);
            Box::new(move |x| x * sigmoid(alpha * x))
        }
        "Mish" => Box::new(|x| x * libm::tanh(softplus(x))),
        "Gelu" if node.text("approximate", "none") == "tanh" => Box::new(|x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + libm::tanh(inner))
        }),
        "Gelu" => Box::new(|x| 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2))),
        "Shrink" => {
            let (bias, limit) = (f64::from(node.float("bias", 0.0)), f64::from(node.float("lambd", 0.5)));
            Box::new(move |x| {
                if x < -limit {
                    x + bias
                } else if x > limit {
                    x - bias
                } else {
                    0.0
                }
            })
        }
        _ => return None,
    })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// The result of an elementwise operation on constants, which has this shape; none if it knows no such elements.
pub(super) fn evaluate(
    view: &View<'_>,
    inputs: &[Option<&Tensor>],
    shape: &[usize],
) -> Result<Option<Tensor>, Refusal> {
    let node = view.node;
    let Some(first) = inputs.first().copied().flatten() else { return Ok(None) };
    if node.op == "Identity" {
        return Ok(Some(first.clone()));
    }
    if node.op == "Clip" {
        return Ok(clip(first, inputs, node));
    }
    let operands: Vec<&Tensor> = inputs.iter().copied().flatten().collect();
    Ok(match operands.as_slice() {
        [x] => unary(node, x),
        [condition, a, b] if node.op == "Where" => choice(condition, a, b, shape),
        [a, b] if gives(node) == Some(Gives::Truth) => compare(&node.op, a, b, shape),
        [a, rest @ ..] => {
            let mut sum = Tensor::clone(a);
            for b in rest {
                let Some(next) = binary(view, &sum, b, shape)? else { return Ok(None) };
                sum = next;
            }
            if node.op == "Mean" {
                let count = operands.len() as f64;
                sum = float_tensor(sum.element, sum.doubles().mapv(|value| value / count));
            }
            Some(sum)
        }
        [] => None,
    })
}

fn unary(node: &Node, x: &Tensor) -> Option<Tensor> {
    let data = match (&x.data, node.op.as_str()) {
        (Data::Bool(values), "Not") => return Some(truth(values.mapv(|value| !value))),
        (_, "IsNaN") => return Some(truth(x.doubles().mapv(f64::is_nan))),
        (_, "IsInf") => {
            let (negative, positive) = (node.int("detect_negative", 1) != 0, node.int("detect_positive", 1) != 0);
            let found = |value: f64| value.is_infinite() && if value < 0.0 { negative } else { positive };
            return Some(truth(x.doubles().mapv(found)));
        }
        (Data::Int(values), op) => {
            let whole = whole_function(op)?;
            Data::Int(values.mapv(|value| wrapped(x.element, whole(value))))
        }
        // A sum of one is itself.
        (_, "Sum" | "Mean" | "Min" | "Max") => x.data.clone(),
        (Data::Bool(_), _) => return None,
        _ => {
            let function = function(node)?;
            return Some(float_tensor(x.element, x.doubles().mapv(function)));
        }
    };
    Some(Tensor { element: x.element, data })
}

fn whole_function(op: &str) -> Option<fn(i64) -> i64> {
    Some(match op {
        "Abs" => i64::wrapping_abs,
        "Neg" => i64::wrapping_neg,
        "Sign" => i64::signum,
        "Relu" => |value| value.max(0),
        "BitwiseNot" => |value| !value,
        "Sum" | "Mean" | "Min" | "Max" | "Floor" | "Ceil" | "Round" => |value| value,
        _ => return None,
    })
}

fn binary(view: &View<'_>, a: &Tensor, b: &Tensor, shape: &[usize]) -> Result<Option<Tensor>, Refusal> {
    let node = view.node;
    let element = a.element;
    // `Pow` may have an exponent of another type.
    let b = &cast(b, if node.op == "Pow" && a.element.is_float() { a.element } else { b.element });
    Ok(match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            let Some(whole) = whole_operation(node) else { return Ok(None) };
            let values = zip(x, y, shape, whole);
            let Some(values) = values else { return Ok(None) };
            if values.iter().any(Option::is_none) {
                return Err(
                    view.refuse("it divides by zero or goes beyond 64 bits", "the network computes no such value")
                );
            }
            Some(Tensor { element, data: Data::Int(values.mapv(|value| wrapped(element, value.unwrap_or(0)))) })
        }
        (Data::Float(_) | Data::Double(_), Data::Float(_) | Data::Double(_)) => {
            let Some(operation) = operation(node) else { return Ok(None) };
            zip(&a.doubles(), &b.doubles(), shape, operation).map(|values| float_tensor(element, values))
        }
        _ => None,
    })
}

fn operation(node: &Node) -> Option<fn(f64, f64) -> f64> {
    Some(match node.op.as_str() {
        "Add" | "Sum" | "Mean" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => libm::pow,
        "Mod" => libm::fmod,
        "Min" => |a, b| if b < a || b.is_nan() { b } else { a },
        "Max" => |a, b| if b > a || b.is_nan() { b } else { a },
        "PRelu" => |x, slope| if x < 0.0 { slope * x } else { x },
        _ => return None,
    })
}

fn whole_operation(node: &Node) -> Option<fn(i64, i64) -> Option<i64>> {
    Some(match node.op.as_str() {
        "Add" | "Sum" => |a, b| Some(a.wrapping_add(b)),
        "Sub" => |a, b| Some(a.wrapping_sub(b)),
        "Mul" => |a, b| Some(a.wrapping_mul(b)),
        "Div" => i64::checked_div,
        "Mod" if node.int("fmod", 0) != 0 => i64::checked_rem,
        // The result has the sign of the divisor.
        "Mod" => |a, b| a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        "Pow" => |a, b| u32::try_from(b).ok().map(|b| a.wrapping_pow(b)),
        "Min" => |a, b| Some(a.min(b)),
        "Max" => |a, b| Some(a.max(b)),
        "PRelu" => |x, slope| Some(if x < 0 { x.wrapping_mul(slope) } else { x }),
        "BitwiseAnd" => |a, b| Some(a & b),
        "BitwiseOr" => |a, b| Some(a | b),
        "BitwiseXor" => |a, b| Some(a ^ b),
        "BitShift" if node.text("direction", "") == "LEFT" => {
            |a, b| Some(u32::try_from(b).ok().and_then(|b| a.checked_shl(b)).unwrap_or(0))
        }
        "BitShift" => |a, b| Some(u32::try_from(b).ok().and_then(|b| a.checked_shr(b)).unwrap_or(0)),
        _ => return None,
    })
}

fn compare(op: &str, a: &Tensor, b: &Tensor, shape: &[usize]) -> Option<Tensor> {
    let values = match (&a.data, &b.data) {
        (Data::Bool(a), Data::Bool(b)) => {
            let logic: fn(bool, bool) -> bool = match op {
                "And" => |a, b| a && b,
                "Or" => |a, b| a || b,
                "Xor" => |a, b| a != b,
                "Equal" => |a, b| a == b,
                _ => return None,
            };
            zip(a, b, shape, logic)
        }
        (Data::Int(a), Data::Int(b)) => zip(a, b, shape, comparison(op)?),
        _ => zip(&a.doubles(), &b.doubles(), shape, comparison(op)?),
    };
    values.map(truth)
}

fn comparison<T: PartialOrd>(op: &str) -> Option<fn(T, T) -> bool> {
    Some(match op {
        "Equal" => |a, b| a == b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        _ => return None,
    })
}

fn choice(condition: &Tensor, a: &Tensor, b: &Tensor, shape: &[usize]) -> Option<Tensor> {
    let Data::Bool(condition) = &condition.data else { return None };
    let data = match &a.data {
        Data::Float(_) => chosen::<f32>(condition, a, b, shape),
        Data::Double(_) => chosen::<f64>(condition, a, b, shape),
        Data::Int(_) => chosen::<i64>(condition, a, b, shape),
        Data::Bool(_) => chosen::<bool>(condition, a, b, shape),
    };
    data.map(|data| Tensor { element: a.element, data })
}

fn chosen<T: Held>(condition: &ArrayD<bool>, a: &Tensor, b: &Tensor, shape: &[usize]) -> Option<Data> {
    let (a, b) = (T::of(&a.data)?.broadcast(IxDyn(shape))?, T::of(&b.data)?.broadcast(IxDyn(shape))?);
    let condition = condition.broadcast(IxDyn(shape))?;
    Some(T::data(Zip::from(condition).and(a).and(b).map_collect(|&condition, &a, &b| if condition { a } else { b })))
}

fn clip(x: &Tensor, inputs: &[Option<&Tensor>], node: &Node) -> Option<Tensor> {
    let bound = |place: usize| inputs.get(place).copied().flatten();
    let limit = |place: usize, none: f64| bound(place).map_or(Some(none), |tensor| tensor.doubles().first().copied());
    let (low, high) = (limit(1, f64::NEG_INFINITY)?, limit(2, f64::INFINITY)?);
    debug_assert_eq!(node.op, "Clip");
    match &x.data {
        Data::Int(values) => {
            let (low, high) = (saturated(x.element, low), saturated(x.element, high));
            Some(Tensor { element: x.element, data: Data::Int(values.mapv(|value| value.max(low).min(high))) })
        }
        Data::Bool(_) => None,
        // The maximum wins where the bounds cross, and NaN stays.
        _ => {
            let clipped = |value: f64| {
                let raised = if value < low { low } else { value };
                if raised > high { high } else { raised }
            };
            Some(float_tensor(x.element, x.doubles().mapv(clipped)))
        }
    }
}

fn truth(values: ArrayD<bool>) -> Tensor {
    Tensor { element: ElementType::Bool, data: Data::Bool(values) }
}

/// Both broadcast to the shape, element by element.
fn zip<T: Copy, R>(a: &ArrayD<T>, b: &ArrayD<T>, shape: &[usize], f: impl Fn(T, T) -> R) -> Option<ArrayD<R>> {
    let (a, b) = (a.broadcast(IxDyn(shape))?, b.broadcast(IxDyn(shape))?);
    Some(Zip::from(a).and(b).map_collect(|&a, &b| f(a, b)))
}
