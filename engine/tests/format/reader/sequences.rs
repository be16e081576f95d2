//! Section 4, products of values, normalization and steps.

use serde_json::Value;

use super::{Reader, Tensor};

/// The value of a node; none if its operation is another.
pub(super) fn node(reader: &Reader<'_>, node: &Value, inputs: &[Tensor]) -> Option<Tensor> {
    let x = &inputs[0];
    let [height, width, channels] = x.shape;
    let count = |field: &str| node[field].as_u64().unwrap() as usize;
    let scalar = |field: &str| reader.floats(&node[field])[0];
    let by_pixel = |f: &dyn Fn(&[f32]) -> Vec<f32>| {
        let values: Vec<f32> = x.x.chunks(channels).flat_map(f).collect();
        Tensor { shape: [height, width, values.len() / (height * width)], x: values }
    };
    let by_value = |f: &dyn Fn(f32, usize) -> f32| Tensor {
        shape: x.shape,
        x: x.x.iter().enumerate().map(|(i, &x)| f(x, i % channels)).collect(),
    };
    Some(match node["op"].as_str().unwrap() {
        "matmul" => matmul(&inputs[0], &inputs[1], count("transposed") == 1),
        "layer_norm" => {
            let scaled = by_pixel(&|x| {
                let m = sum(x.iter().map(|&x| f64::from(x))) / channels as f64;
                let v = sum(x.iter().map(|&x| (f64::from(x) - m) * (f64::from(x) - m))) / channels as f64;
                let d = (v + f64::from(scalar("epsilon"))).sqrt();
                x.iter().map(|x| (x - m as f32) / d as f32).collect()
            });
            scale_shift(reader, node, scaled)
        }
        "rms_norm" => {
            let scaled = by_pixel(&|x| {
                let q = sum(x.iter().map(|&x| f64::from(x) * f64::from(x))) / channels as f64;
                let d = (q + f64::from(scalar("epsilon"))).sqrt() as f32;
                x.iter().map(|x| x / d).collect()
            });
            scale_shift(reader, node, scaled)
        }
        "group_norm" => {
            let n = channels / count("groups");
            // The sum over the group of channel c of what `f` makes of each value.
            let of_group = |c: usize, f: &dyn Fn(f64) -> f64| {
                let of_channel = |c: usize| x.x.chunks(channels).fold(0.0, |s, pixel| s + f(f64::from(pixel[c])));
                let s = (c / n * n..(c / n + 1) * n).fold(0.0, |s, c| s + of_channel(c));
                s / (height * width * n) as f64
            };
            let statistics: Vec<[f32; 2]> = (0..channels)
                .map(|c| {
                    let m = of_group(c, &|x| x);
                    let v = of_group(c, &|x| (x - m) * (x - m));
                    [m as f32, (v + f64::from(scalar("epsilon"))).sqrt() as f32]
                })
                .collect();
            scale_shift(reader, node, by_value(&|x, c| (x - statistics[c][0]) / statistics[c][1]))
        }
        "lrn" => {
            let (size, [alpha, beta, bias]) = (count("size"), ["alpha", "beta", "bias"].map(scalar));
            by_pixel(&|x| {
                let y = |c: usize| {
                    let window = c.saturating_sub((size - 1) / 2)..=(c + size / 2).min(channels - 1);
                    let q = x[window].iter().fold(0.0, |q, &x| q + f64::from(x) * f64::from(x));
                    let t = f64::from(bias) + f64::from(alpha) * q / size as f64;
                    x[c] / (t as f32).powf(beta)
                };
                (0..channels).map(y).collect()
            })
        }
        "log_softmax" => by_pixel(&|x| {
            let m = x.iter().copied().reduce(f32::max).unwrap();
            let s = x.iter().fold(0.0, |s, x| s + (x - m).exp());
            x.iter().map(|x| x - m - s.ln()).collect()
        }),
        "embedding" => {
            let (features, weight) = (count("features"), reader.floats(&node["weight"]));
            let y = x.x.iter().flat_map(|&r| weight[r as usize * features..][..features].to_vec()).collect();
            // A vector is an image of one row and as many columns here.
            Tensor { shape: [height, x.x.len() / height, features], x: y }
        }
        "sign" => by_value(&|x, _| if x >= 0.0 { 1.0 } else { -1.0 }),
        "fake_quantize" => {
            let vectors = ["scale", "zero_point", "low", "high"].map(|field| reader.floats(&node[field]));
            by_value(&|x, c| {
                let c = if count("values") == 1 { 0 } else { c };
                let [s, z, low, high] = [0, 1, 2, 3].map(|i| vectors[i][c]);
                let q = ((x / s).round_ties_even() + z).max(low).min(high);
                (q - z) * s
            })
        }
        "multi_threshold" => {
            let (rows, steps, t) = (count("rows"), count("steps"), reader.floats(&node["thresholds"]));
            by_value(&|x, c| {
                let row = if rows == 1 { 0 } else { c };
                let n = t[row * steps..][..steps].iter().filter(|&&t| x >= t).count();
                scalar("scale") * n as f32 + scalar("shift")
            })
        }
        "arg_max" => by_pixel(&|x| order(x)[..1].to_vec()),
        "top_k" => by_pixel(&|x| order(x)[..count("k")].to_vec()),
        _ => return None,
    })
}

fn scale_shift(reader: &Reader<'_>, node: &Value, Tensor { shape, mut x }: Tensor) -> Tensor {
    for (field, step) in [("scale", (|x, v| x * v) as fn(f32, f32) -> f32), ("shift", |x, v| x + v)] {
        if let Some(vector) = node.get(field).filter(|vector| !vector.is_null()) {
            let vector = reader.floats(vector);
            x.iter_mut().enumerate().for_each(|(i, x)| *x = step(*x, vector[i % shape[2]]));
        }
    }
    Tensor { shape, x }
}

fn matmul(a: &Tensor, b: &Tensor, transposed: bool) -> Tensor {
    let ([ha, m, k], [hb, rows, columns]) = (a.shape, b.shape);
    let (h, n) = (ha.max(hb), if transposed { rows } else { columns });
    let mut y = Vec::new();
    for i in 0..h {
        let (a, b) = (&a.x[i.min(ha - 1) * m * k..], &b.x[i.min(hb - 1) * k * n..]);
        for j in 0..m {
            for f in 0..n {
                let b = |c: usize| if transposed { b[f * k + c] } else { b[c * n + f] };
                y.push((0..k).fold(0.0, |s, c| a[j * k + c].mul_add(b(c), s)));
            }
        }
    }
    Tensor { shape: [h, m, n], x: y }
}

/// Section 5's sum of one run, in binary64.
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; 16];
    terms.enumerate().for_each(|(j, term)| lanes[j % 16] += term);
    for half in [8, 4, 2, 1] {
        (0..half).for_each(|i| lanes[i] += lanes[i + half]);
    }
    lanes[0]
}

/// The places of the channels, those of the largest first.
fn order(x: &[f32]) -> Vec<f32> {
    let mut places: Vec<usize> = (0..x.len()).collect();
    places.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap());
    places.into_iter().map(|place| place as f32).collect()
}
