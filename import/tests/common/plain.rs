//! Operations that the evaluator of constants leaves alone, in plain loops and f64.

use horq_import::graph::Node;
use ndarray::{ArrayD, Axis, Dimension, IxDyn};

/// The first result of a node whose inputs are known.
pub(crate) fn evaluate(node: &Node, inputs: &[ArrayD<f64>], shape: &[usize]) -> ArrayD<f64> {
    match node.op.as_str() {
        "Conv" => convolution(node, inputs, shape),
        "ConvTranspose" => transposed(node, inputs, shape),
        "MaxPool" => pool(node, &inputs[0], shape, |taps, _| taps.iter().copied().fold(f64::MIN, f64::max)),
        "AveragePool" => pool(node, &inputs[0], shape, |taps, counted| taps.iter().sum::<f64>() / counted as f64),
        "GlobalAveragePool" => spatial(&inputs[0], shape, |values| values.iter().sum::<f64>() / values.len() as f64),
        "GlobalMaxPool" => spatial(&inputs[0], shape, |values| values.iter().copied().fold(f64::MIN, f64::max)),
        "LayerNormalization" => layer_norm(node, inputs),
        "InstanceNormalization" => group_norm(node, inputs, inputs[0].shape()[1]),
        "GroupNormalization" => group_norm(node, inputs, node.int("num_groups", 1) as usize),
        "LRN" => lrn(node, &inputs[0]),
        "LpNormalization" => lp(node, &inputs[0]),
        "Resize" => resize(node, &inputs[0], shape),
        "XnorPopcountMatMul" => ArrayD::from_shape_fn(IxDyn(shape), |at| {
            let equal = |k: &usize| inputs[0][[at[0], *k].as_slice()] == inputs[1][[*k, at[1]].as_slice()];
            (0..inputs[1].shape()[0]).filter(equal).count() as f64
        }),
        other => panic!("no plain {other}"),
    }
}

fn list(node: &Node, name: &str, default: i64, len: usize) -> Vec<i64> {
    node.ints(name).map_or_else(|| vec![default; len], <[i64]>::to_vec)
}

/// All places of a shape.
fn places(shape: &[usize]) -> Vec<Vec<usize>> {
    ndarray::indices(IxDyn(shape)).into_iter().map(|place| place.as_array_view().to_vec()).collect()
}

/// A tap of a window: its place in the kernel, and in the input if it lies there.
type Tap = (Vec<usize>, Option<Vec<usize>>);

/// Where each tap of a window lies, none for a padded one; and how many taps lie on the padded image.
fn taps(node: &Node, kernel: &[usize], at: &[usize], size: &[usize]) -> (Vec<Tap>, usize) {
    let axes = kernel.len();
    let (strides, dilations) = (list(node, "strides", 1, axes), list(node, "dilations", 1, axes));
    let pads = list(node, "pads", 0, 2 * axes);
    let mut on_image = 0;
    let all = places(kernel).into_iter().map(|tap| {
        let place: Vec<i64> =
            (0..axes).map(|a| at[a] as i64 * strides[a] + tap[a] as i64 * dilations[a] - pads[a]).collect();
        on_image += usize::from((0..axes).all(|a| place[a] < size[a] as i64 + pads[a + axes]));
        let valid = (0..axes).all(|a| (0..size[a] as i64).contains(&place[a]));
        (tap, valid.then(|| place.iter().map(|&p| p as usize).collect()))
    });
    let all = all.collect();
    (all, on_image)
}

fn convolution(node: &Node, inputs: &[ArrayD<f64>], shape: &[usize]) -> ArrayD<f64> {
    let (x, w) = (&inputs[0], &inputs[1]);
    let (own, each) = (w.shape()[1], w.shape()[0] / node.int("group", 1) as usize);
    ArrayD::from_shape_fn(IxDyn(shape), |at| {
        let filter = at[1];
        let mut sum = inputs.get(2).map_or(0.0, |bias| bias[filter]);
        let at: Vec<usize> = at.as_array_view().to_vec();
        for (tap, place) in taps(node, &w.shape()[2..], &at[2..], &x.shape()[2..]).0 {
            let Some(place) = place else { continue };
            for channel in 0..own {
                let from = [vec![0, filter / each * own + channel], place.clone()].concat();
                sum += x[&from[..]] * w[&[vec![filter, channel], tap.clone()].concat()[..]];
            }
        }
        sum
    })
}

fn transposed(node: &Node, inputs: &[ArrayD<f64>], shape: &[usize]) -> ArrayD<f64> {
    let (x, w) = (&inputs[0], &inputs[1]);
    let axes = x.ndim() - 2;
    let groups = node.int("group", 1) as usize;
    let (strides, pads) = (list(node, "strides", 1, axes), list(node, "pads", 0, 2 * axes));
    let mut y = ArrayD::zeros(IxDyn(shape));
    for from in places(x.shape()) {
        for to in places(&w.shape()[1..]) {
            let group = from[1] / (x.shape()[1] / groups);
            let mut at = vec![0, group * w.shape()[1] + to[0]];
            let place = (0..axes).map(|a| from[2 + a] as i64 * strides[a] + to[1 + a] as i64 - pads[a]);
            let place: Vec<i64> = place.collect();
            if (0..axes).all(|a| (0..shape[2 + a] as i64).contains(&place[a])) {
                at.extend(place.iter().map(|&p| p as usize));
                y[&at[..]] += x[&from[..]] * w[&[vec![from[1]], to.clone()].concat()[..]];
            }
        }
    }
    y
}

fn pool(node: &Node, x: &ArrayD<f64>, shape: &[usize], of: impl Fn(&[f64], usize) -> f64) -> ArrayD<f64> {
    let kernel: Vec<usize> = node.ints("kernel_shape").unwrap().iter().map(|&k| k as usize).collect();
    ArrayD::from_shape_fn(IxDyn(shape), |at| {
        let at: Vec<usize> = at.as_array_view().to_vec();
        let (all, on_image) = taps(node, &kernel, &at[2..], &x.shape()[2..]);
        let valid =
            all.into_iter().filter_map(|(_, place)| place.map(|place| x[&[at[..2].to_vec(), place].concat()[..]]));
        let valid: Vec<f64> = valid.collect();
        let counted = if node.int("count_include_pad", 0) != 0 { on_image } else { valid.len() };
        of(&valid, counted)
    })
}

fn spatial(x: &ArrayD<f64>, shape: &[usize], of: impl Fn(&[f64]) -> f64) -> ArrayD<f64> {
    ArrayD::from_shape_fn(IxDyn(shape), |at| {
        let values: Vec<f64> = x.index_axis(Axis(0), 0).index_axis(Axis(0), at[1]).iter().copied().collect();
        of(&values)
    })
}

fn normalized(values: &[f64], epsilon: f64) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    values.iter().map(|v| (v - mean) / (variance + epsilon).sqrt()).collect()
}

fn layer_norm(node: &Node, inputs: &[ArrayD<f64>]) -> ArrayD<f64> {
    let x = &inputs[0];
    let axis = node.int("axis", -1);
    let axis = if axis < 0 { axis + x.ndim() as i64 } else { axis } as usize;
    let features: usize = x.shape()[axis..].iter().product();
    let all: Vec<f64> = x.iter().copied().collect();
    let values = all.chunks_exact(features).flat_map(|row| normalized(row, f64::from(node.float("epsilon", 1e-5))));
    let mut y = ArrayD::from_shape_vec(IxDyn(x.shape()), values.collect()).unwrap();
    y *= &inputs[1];
    if let Some(bias) = inputs.get(2) {
        y += bias;
    }
    y
}

fn group_norm(node: &Node, inputs: &[ArrayD<f64>], groups: usize) -> ArrayD<f64> {
    let x = &inputs[0];
    let all: Vec<f64> = x.iter().copied().collect();
    let each = all.len() / groups;
    let values = all.chunks_exact(each).flat_map(|group| normalized(group, f64::from(node.float("epsilon", 1e-5))));
    let mut y = ArrayD::from_shape_vec(IxDyn(x.shape()), values.collect()).unwrap();
    for (channel, mut values) in y.axis_iter_mut(Axis(1)).enumerate() {
        values.mapv_inplace(|v| v * inputs[1][channel] + inputs[2][channel]);
    }
    y
}

fn lrn(node: &Node, x: &ArrayD<f64>) -> ArrayD<f64> {
    let size = node.int("size", 1) as usize;
    let [alpha, beta, bias] =
        [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)].map(|(name, default)| f64::from(node.float(name, default)));
    ArrayD::from_shape_fn(IxDyn(x.shape()), |at| {
        let (channel, channels) = (at[1], x.shape()[1]);
        let near = channel.saturating_sub((size - 1) / 2)..(channel + size / 2 + 1).min(channels);
        let squares = near.map(|other| {
            let mut from = at.clone();
            from[1] = other;
            x[&from].powi(2)
        });
        x[&at] / (bias + alpha / size as f64 * squares.sum::<f64>()).powf(beta)
    })
}

fn lp(node: &Node, x: &ArrayD<f64>) -> ArrayD<f64> {
    let axis = node.int("axis", -1);
    let axis = Axis(if axis < 0 { axis + x.ndim() as i64 } else { axis } as usize);
    let norm = match node.int("p", 2) {
        1 => x.mapv(f64::abs).sum_axis(axis),
        _ => x.mapv(|v| v * v).sum_axis(axis).mapv(f64::sqrt),
    };
    x / &norm.insert_axis(axis)
}

/// Half pixels; `nearest` (floor of two) or `linear`.
fn resize(node: &Node, x: &ArrayD<f64>, shape: &[usize]) -> ArrayD<f64> {
    ArrayD::from_shape_fn(IxDyn(shape), |at| {
        let along = |axis: usize| {
            let scale = shape[axis] as f64 / x.shape()[axis] as f64;
            (at[axis] as f64 + 0.5) / scale - 0.5
        };
        let pixel = |row: f64, column: f64| {
            let clamp = |at: f64, size: usize| at.clamp(0.0, size as f64 - 1.0) as usize;
            x[[0, at[1], clamp(row, x.shape()[2]), clamp(column, x.shape()[3])].as_slice()]
        };
        let (row, column) = (along(2), along(3));
        if node.text("mode", "nearest") == "nearest" {
            return pixel((row - 0.5).ceil(), (column - 0.5).ceil());
        }
        let (r, c) = (row.floor(), column.floor());
        let across = |r: f64| pixel(r, c) * (1.0 - (column - c)) + pixel(r, c + 1.0) * (column - c);
        across(r) * (1.0 - (row - r)) + across(r + 1.0) * (row - r)
    })
}
