//! Section 4 of the specification: operations that move values, and images of another size.

use super::functions::places;
use super::{Reader, Tensor};
use serde_json::Value;

/// The integers of an array.
fn numbers(field: &Value) -> Vec<usize> {
    serde_json::from_value(field.clone()).unwrap()
}

/// The image of that shape whose value at a place is what `value` makes of the place.
fn made(shape: [usize; 3], value: impl Fn([usize; 3]) -> f32) -> Tensor {
    Tensor { shape, x: places(shape).map(value).collect() }
}

/// What a node of the table makes of its inputs; none if it is none of them.
pub(super) fn node(reader: &Reader<'_>, node: &Value, inputs: &[Tensor]) -> Option<Tensor> {
    let x = &inputs[0];
    let list = |name: &str| numbers(&node[name]);
    Some(match node["op"].as_str().unwrap() {
        "rearrange" => rearrange(x, &list("sizes"), &list("order"), &list("shape")),
        "slice" => {
            let [start, stop, step, reverse] = ["start", "stop", "step", "reverse"].map(list);
            let count = |a: usize| (stop[a] - start[a]).div_ceil(step[a]);
            let place = |a: usize, i: usize| {
                let i = if reverse[a] == 1 { count(a) - 1 - i } else { i };
                start[a] + i * step[a]
            };
            made([0, 1, 2].map(count), |at| x.at([0, 1, 2].map(|a| place(a, at[a]))))
        }
        "pad" => {
            let (before, after) = (list("before"), list("after"));
            let value = node.get("value").map(|value| reader.floats(value)[0]);
            let shape = [0, 1, 2].map(|a| before[a] + x.shape[a] + after[a]);
            let mode = node["mode"].as_str().unwrap();
            made(shape, |at| {
                let place = |a: usize| border(at[a] as i64 - before[a] as i64, x.shape[a] as i64, mode);
                match [place(0), place(1), place(2)] {
                    [Some(i), Some(j), Some(c)] => x.at([i, j, c]),
                    _ => value.unwrap(),
                }
            })
        }
        "join" => {
            let axis = node["axis"].as_u64().unwrap() as usize;
            let mut shape = x.shape;
            shape[axis] = inputs.iter().map(|input| input.shape[axis]).sum();
            made(shape, |mut at| {
                let mut rest = inputs.iter();
                loop {
                    let input = rest.next().unwrap();
                    if at[axis] < input.shape[axis] {
                        return input.at(at);
                    }
                    at[axis] -= input.shape[axis];
                }
            })
        }
        "zero_insert" => {
            let stride = list("stride");
            let [height, width, channels] = x.shape;
            let shape = [(height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1, channels];
            made(shape, |[i, j, c]| match (i % stride[0], j % stride[1]) {
                (0, 0) => x.at([i / stride[0], j / stride[1], c]),
                _ => 0.0,
            })
        }
        "gather" => {
            let (axis, indices) = (node["axis"].as_u64().unwrap() as usize, list("indices"));
            let mut shape = x.shape;
            shape[axis] = indices.len();
            made(shape, |mut at| {
                at[axis] = indices[at[axis]];
                x.at(at)
            })
        }
        "resize" => resize(reader, node, x),
        "adaptive_average_pool" => {
            adaptive_pool(x, &list("size"), |window| window.iter().fold(0.0, |s, x| s + x) / window.len() as f32)
        }
        "adaptive_max_pool" => {
            adaptive_pool(x, &list("size"), |window| window.iter().copied().reduce(f32::max).unwrap())
        }
        _ => return None,
    })
}

/// What `pool` makes of the values of each window.
fn adaptive_pool(x: &Tensor, size: &[usize], pool: impl Fn(&[f32]) -> f32) -> Tensor {
    let [height, width, channels] = x.shape;
    let window = |i: usize, n: usize, m: usize| i * m / n..((i + 1) * m).div_ceil(n);
    made([size[0], size[1], channels], |[i, j, c]| {
        let rows = window(i, size[0], height);
        let pixels = rows.flat_map(|row| window(j, size[1], width).map(move |column| [row, column, c]));
        pool(&pixels.map(|pixel| x.at(pixel)).collect::<Vec<f32>>())
    })
}

fn rearrange(x: &Tensor, sizes: &[usize], order: &[usize], shape: &[usize]) -> Tensor {
    let strides: Vec<usize> = (0..sizes.len()).map(|axis| sizes[axis + 1..].iter().product()).collect();
    let value = |mut at: usize| {
        let mut from = 0;
        for &axis in order.iter().rev() {
            from += at % sizes[axis] * strides[axis];
            at /= sizes[axis];
        }
        x.x[from]
    };
    let shape = if let [n] = *shape { [1, 1, n] } else { [shape[0], shape[1], shape[2]] };
    Tensor { shape, x: (0..x.x.len()).map(value).collect() }
}

fn border(p: i64, n: i64, mode: &str) -> Option<usize> {
    if (0..n).contains(&p) {
        return Some(p as usize);
    }
    let period = 2 * n - 2;
    let at = match mode {
        "constant" => return None,
        "edge" if p < 0 => 0,
        "edge" => n - 1,
        "wrap" => p.rem_euclid(n),
        "reflect" if n == 1 => 0,
        "reflect" => p.rem_euclid(period).min(period - p.rem_euclid(period)),
        mode => panic!("{mode}"),
    };
    Some(at as usize)
}

fn resize(reader: &Reader<'_>, node: &Value, x: &Tensor) -> Tensor {
    let size = numbers(&node["size"]);
    let word = |name: &str| node[name].as_str().unwrap_or_default();
    let scale = node.get("scale").map(|scale| reader.floats(scale));
    let a = node.get("cubic").map_or(0.0, |cubic| f64::from(reader.floats(cubic)[0]));
    // The pixels of x that pixel X of an axis is made of, and their weights.
    let taps = |axis: usize, at: usize| -> Vec<(usize, f32)> {
        let (at, size, n) = (at as f32, size[axis] as f32, x.shape[axis] as f32);
        let s = scale.as_ref().map_or(size / n, |scale| scale[axis]);
        let half_pixel = (at + 0.5) / s - 0.5;
        let u = match word("coordinates") {
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" | "align_corners" if size == 1.0 => 0.0,
            "pytorch_half_pixel" => half_pixel,
            "half_pixel_symmetric" => {
                let d = f64::from(n / 2.0 * (1.0 - size / (s * n)));
                ((d + (f64::from(at) + 0.5) / f64::from(s)) - 0.5) as f32
            }
            "asymmetric" => at / s,
            "align_corners" => at * (n - 1.0) / (if scale.is_some() { s * n } else { size } - 1.0),
            other => panic!("{other}"),
        };
        let u = u.max(-1.0).min(n);
        let u = if word("mode") == "linear" { u.max(0.0).min(n - 1.0) } else { u };
        let (b, r) = (u.floor(), u - u.floor());
        let inside = |pixel: f32| pixel.max(0.0).min(n - 1.0) as usize;
        match word("mode") {
            "linear" => vec![(inside(b), 1.0 - r), (inside(b + 1.0), r)],
            "nearest" => {
                let next = match word("rounding") {
                    "round_prefer_floor" => r > 0.5,
                    "round_prefer_ceil" => r >= 0.5,
                    "ceil" => r > 0.0,
                    "floor" => false,
                    other => panic!("{other}"),
                };
                vec![(inside(if next { b + 1.0 } else { b }), 1.0)]
            }
            _ => {
                let r = f64::from(r);
                let f = |t: f64| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
                let n_of = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
                let mut weights = [f(r + 1.0), n_of(r), n_of(1.0 - r), f((1.0 - r) + 1.0)];
                let pixels = [b - 1.0, b, b + 1.0, b + 2.0];
                if word("outside") == "exclude" {
                    for (weight, pixel) in weights.iter_mut().zip(pixels) {
                        *weight = if pixel < 0.0 || pixel >= n { 0.0 } else { *weight };
                    }
                    let sum = weights.iter().fold(0.0, |s, weight| s + weight);
                    weights = weights.map(|weight| weight / sum);
                }
                pixels.into_iter().map(inside).zip(weights.map(|weight| weight as f32)).collect()
            }
        }
    };
    made([size[0], size[1], x.shape[2]], |[i, j, c]| {
        let (rows, columns) = (taps(0, i), taps(1, j));
        if word("mode") == "nearest" {
            return x.at([rows[0].0, columns[0].0, c]);
        }
        rows.iter().fold(0.0, |y, &(row, v)| {
            let t = columns.iter().fold(0.0, |t, &(column, w)| t + w * x.at([row, column, c]));
            y + v * t
        })
    })
}
