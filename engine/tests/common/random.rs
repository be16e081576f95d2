//! Random layers and networks.

use super::{Net, PlainOp, floats, keep, quantizer};
use horq::graph::{Op, Shape};
use horq::ops::{
    Add, Affine, AffineByOrder, AveragePool, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, BinaryWeightDense,
    CodebookConv2d, CodebookDense, Concat, Conv2d, Dense, Flatten, GlobalAveragePool, HardSwish, Int8Conv2d, Int8Dense,
    Int8Quantize, MaxPool, Prelu, Quantizer, Relu, Softmax,
};
use horq::{MAX_ORDER, Padding, PlainValues, ScaleMode, Window};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub const MODES: [ScaleMode; 5] = ScaleMode::ALL;

pub fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

/// Values around zero, some of them zeros of either sign.
pub fn values(rng: &mut SmallRng, n: usize) -> Vec<f32> {
    let value = |rng: &mut SmallRng| match rng.random_range(0..32) {
        0 => 0.0,
        1 => -0.0,
        _ => rng.random_range(-1.5..1.5f32),
    };
    (0..n).map(|_| value(rng)).collect()
}

fn scaled(rng: &mut SmallRng, n: usize, range: std::ops::Range<f32>) -> &'static [f32] {
    keep((0..n).map(|_| rng.random_range(range.clone())).collect())
}

fn bias(rng: &mut SmallRng, n: usize) -> Option<&'static [f32]> {
    rng.random_bool(0.5).then(|| scaled(rng, n, -0.5..0.5))
}

/// Filters around the panels' width.
pub fn filters(rng: &mut SmallRng) -> usize {
    [1, 2, 7, 15, 16, 17, 31, 32, 33, 40][rng.random_range(0..10)]
}

/// A window that fits; where `full`, every window holds a pixel.
pub fn window(rng: &mut SmallRng, height: usize, width: usize, full: bool) -> Window {
    loop {
        let mut pair = |most: usize| [rng.random_range(1..=most), rng.random_range(1..=most)];
        let (kernel, stride, dilation) = (pair(4), pair(3), pair(2));
        let padding = std::array::from_fn(|_| rng.random_range(0..3));
        let window = Window { kernel, stride, dilation, padding };
        let span = |axis: usize| (kernel[axis] - 1) * dilation[axis] + 1;
        let touches = |axis: usize| {
            let most = padding[axis].max(padding[axis + 2]);
            most < span(axis) && (most == 0 || dilation[axis] <= [height, width][axis])
        };
        if window.output(height, width).is_ok() && (!full || touches(0) && touches(1)) {
            return window;
        }
    }
}

pub fn quantize(rng: &mut SmallRng, mode: ScaleMode, order: usize) -> Quantizer<PlainValues<'static>> {
    let scales = mode.has_constants().then(|| scaled(rng, order, 0.05..1.0));
    quantizer(order, mode, scales)
}

fn bases(rng: &mut SmallRng, filters: usize, depth: usize) -> Vec<Basis<PlainValues<'static>>> {
    let base = |rng: &mut SmallRng| {
        Basis::new(keep(values(rng, filters * depth)), scaled(rng, filters, 0.1 / depth as f32..1.5 / depth as f32))
    };
    (0..rng.random_range(1..=3)).map(|_| base(rng)).collect()
}

pub fn conv(rng: &mut SmallRng, [height, width, channels]: [usize; 3], filters: usize) -> PlainOp {
    let groups = groups(rng, channels, filters);
    let window = window(rng, height, width, false);
    let depth = window.taps() * channels / groups;
    let weight = scaled(rng, filters * depth, -1.0 / (depth as f32).sqrt()..1.0 / (depth as f32).sqrt());
    Conv2d::new(window, filters, weight).groups(groups).maybe_bias(bias(rng, filters)).into()
}

pub fn dense(rng: &mut SmallRng, features: usize, filters: usize) -> PlainOp {
    let limit = 1.0 / (features as f32).sqrt();
    Dense::new(filters, scaled(rng, filters * features, -limit..limit)).maybe_bias(bias(rng, filters)).into()
}

pub fn binary_conv(
    rng: &mut SmallRng,
    [height, width, channels]: [usize; 3],
    filters: usize,
    quantize: Quantizer<PlainValues<'static>>,
) -> PlainOp {
    let groups = groups(rng, channels, filters);
    let window = window(rng, height, width, quantize.mode == ScaleMode::Window);
    let pad_value = if rng.random() { Padding::One } else { Padding::ValidTaps };
    let bases = bases(rng, filters, window.taps() * channels / groups);
    BinaryConv2d::new(window, filters, quantize, bases)
        .groups(groups)
        .pad_value(pad_value)
        .maybe_bias(bias(rng, filters))
        .into()
}

pub fn binary_dense(
    rng: &mut SmallRng,
    features: usize,
    filters: usize,
    quantize: Quantizer<PlainValues<'static>>,
) -> PlainOp {
    BinaryDense::new(filters, quantize, bases(rng, filters, features)).maybe_bias(bias(rng, filters)).into()
}

fn base(rng: &mut SmallRng, filters: usize, depth: usize) -> Basis<PlainValues<'static>> {
    bases(rng, filters, depth).swap_remove(0)
}

fn codes(rng: &mut SmallRng, n: usize, depth: usize) -> (&'static [u8], &'static [f32]) {
    let entries = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32][rng.random_range(0..10)];
    let limit = 1.0 / (depth as f32).sqrt();
    (keep((0..n).map(|_| rng.random_range(0..entries as u8)).collect()), scaled(rng, entries, -limit..limit))
}

/// 8-bit weights, their factors, and how their input is quantized.
fn int8(rng: &mut SmallRng, filters: usize, depth: usize) -> (Int8Quantize, &'static [i8], &'static [f32]) {
    let low = rng.random_range(-2.0..0.0);
    let quantize = Int8Quantize::of_range(low, rng.random_range(0.1..2.0));
    let weight = keep((0..filters * depth).map(|_| rng.random_range(-127..=127)).collect());
    let factor = quantize.scale / (127.0 * (depth as f32).sqrt());
    (quantize, weight, scaled(rng, filters, 0.3 * factor..factor))
}

/// A convolution on packed weights of f32 or 8-bit activations.
pub fn packed_conv(rng: &mut SmallRng, [height, width, channels]: [usize; 3], filters: usize) -> PlainOp {
    let groups = groups(rng, channels, filters);
    let window = window(rng, height, width, false);
    let depth = window.taps() * channels / groups;
    let bias = bias(rng, filters);
    if rng.random_bool(0.4) {
        let (quantize, weight, alpha) = int8(rng, filters, depth);
        Int8Conv2d::new(window, filters, quantize, weight, alpha).groups(groups).maybe_bias(bias).into()
    } else if rng.random_bool(0.5) {
        let base = base(rng, filters, depth);
        BinaryWeightConv2d::new(window, filters, base.weight, base.alpha).groups(groups).maybe_bias(bias).into()
    } else {
        let (codes, codebook) = codes(rng, filters * depth, depth);
        CodebookConv2d::new(window, filters, codes, codebook).groups(groups).maybe_bias(bias).into()
    }
}

/// A matrix product on packed weights of f32 or 8-bit activations.
pub fn packed_dense(rng: &mut SmallRng, features: usize, filters: usize) -> PlainOp {
    let bias = bias(rng, filters);
    if rng.random_bool(0.4) {
        let (quantize, weight, alpha) = int8(rng, filters, features);
        Int8Dense::new(filters, quantize, weight, alpha).maybe_bias(bias).into()
    } else if rng.random_bool(0.5) {
        let base = base(rng, filters, features);
        BinaryWeightDense::new(filters, base.weight, base.alpha).maybe_bias(bias).into()
    } else {
        let (codes, codebook) = codes(rng, filters * features, features);
        CodebookDense::new(filters, codes, codebook).maybe_bias(bias).into()
    }
}

fn groups(rng: &mut SmallRng, channels: usize, filters: usize) -> usize {
    let fitting: Vec<usize> =
        (1..=channels).filter(|&n| channels.is_multiple_of(n) && filters.is_multiple_of(n)).collect();
    if rng.random_bool(0.6) { 1 } else { fitting[rng.random_range(0..fitting.len())] }
}

pub fn affine(rng: &mut SmallRng, channels: usize) -> PlainOp {
    Affine::new(scaled(rng, channels, -1.2..1.2), scaled(rng, channels, -0.5..0.5)).into()
}

pub fn prelu(rng: &mut SmallRng, channels: usize) -> PlainOp {
    Prelu::new(scaled(rng, channels, -0.5..0.9)).into()
}

/// A pool of any kind, often the usual one of 2 x 2.
pub fn max_pool(rng: &mut SmallRng, height: usize, width: usize) -> PlainOp {
    let usual = height.min(width) >= 2 && rng.random();
    MaxPool::new(if usual { Window::square(2).with_stride(2) } else { window(rng, height, width, true) }).into()
}

/// A layer that reads one value of that shape; softmax is left out, for its exp is only close to the oracle's.
pub fn layer(rng: &mut SmallRng, shape: Shape) -> PlainOp {
    let (mode, order) = (MODES[rng.random_range(0..5)], rng.random_range(1..=MAX_ORDER.min(4)));
    let quantize = quantize(rng, mode, order);
    let (kind, filters, channels) = (rng.random_range(0..16), filters(rng), shape.channels());
    match (kind, shape) {
        (0..=2, _) => affine(rng, channels),
        (3, _) => Relu.into(),
        (4, _) => HardSwish.into(),
        (5..=6, _) => prelu(rng, channels),
        (7, Shape::Image { height, width, .. }) => max_pool(rng, height, width),
        (8, Shape::Image { height, width, .. }) => AveragePool::new(window(rng, height, width, true)).into(),
        (9, Shape::Image { .. }) if rng.random_bool(0.3) => GlobalAveragePool.into(),
        (9, Shape::Image { .. }) if rng.random_bool(0.3) => Flatten.into(),
        (10..=11, Shape::Image { height, width, .. }) => conv(rng, [height, width, channels], filters),
        (14..=15, Shape::Image { height, width, .. }) => packed_conv(rng, [height, width, channels], filters),
        (_, Shape::Image { height, width, .. }) => binary_conv(rng, [height, width, channels], filters, quantize),
        (7..=10, Shape::Flat(features)) => dense(rng, features, filters),
        (14..=15, Shape::Flat(features)) => packed_dense(rng, features, filters),
        (_, Shape::Flat(features)) => binary_dense(rng, features, filters, quantize),
    }
}

pub fn shape(rng: &mut SmallRng) -> Shape {
    let channels = [1, 2, 3, 15, 16, 31, 32, 33, 36, 64][rng.random_range(0..10)];
    if rng.random_bool(0.2) {
        Shape::Flat(channels * 5)
    } else {
        Shape::Image { height: rng.random_range(1..7), width: rng.random_range(1..7), channels }
    }
}

/// The same network, some of whose affines go by the order of one of its binary layers.
pub fn some_by_order(rng: &mut SmallRng, mut net: Net) -> Net {
    let order = |op: &PlainOp| match op {
        Op::BinaryConv2d(op) => Some(op.weights.quantizer.order),
        Op::BinaryDense(op) => Some(op.weights.quantizer.order),
        _ => None,
    };
    let binary = net.nodes.iter().filter_map(|(name, _, op)| Some((name.clone(), order(op)?)));
    let binary: Vec<(String, usize)> = binary.collect();
    for (_, _, op) in &mut net.nodes {
        if let Op::Affine(affine) = op
            && !binary.is_empty()
            && rng.random_bool(0.6)
        {
            let (order_of, order) = binary[rng.random_range(0..binary.len())].clone();
            let row = |rng: &mut SmallRng| {
                Affine::new(
                    scaled(rng, floats(&affine.scale).len(), -1.2..1.2),
                    scaled(rng, floats(&affine.scale).len(), -0.5..0.5),
                )
            };
            let rows: Vec<_> = (0..order).map(|_| row(rng)).collect();
            *op = AffineByOrder::new(order_of, rows).into();
        }
    }
    net
}

/// A network whose values branch and join. Every node leads to the last one, which is sometimes a softmax.
pub fn net(seed: u64, softmax: bool) -> Net {
    let rng = &mut rng(seed);
    let mut net = Net::new(shape(rng));
    let mut values = vec![("x".to_owned(), net.input)];
    let mut unread: Vec<usize> = vec![0];
    let target = rng.random_range(2..14);
    while net.nodes.len() < target || unread.len() > 1 {
        let closing = net.nodes.len() >= target;
        let old = !closing && rng.random_bool(0.3);
        let first = if old { rng.random_range(0..values.len()) } else { unread[rng.random_range(0..unread.len())] };
        let like = |shape: Shape| match (values[first].1, shape) {
            (Shape::Flat(_), Shape::Flat(_)) => true,
            (Shape::Image { height: a, width: b, .. }, Shape::Image { height, width, .. }) => (a, b) == (height, width),
            _ => false,
        };
        let partners: Vec<usize> = (0..values.len())
            .filter(|&i| i != first && like(values[i].1) && (!closing || unread.contains(&i)))
            .collect();
        let shape = values[first].1;
        let mut reads = vec![first];
        let layer = match partners.len() {
            n if n > 0 && (closing || rng.random_bool(0.4)) => {
                let second = partners[rng.random_range(0..n)];
                reads.insert(rng.random_range(0..2), second);
                if values[second].1 == shape { Add.into() } else { Concat.into() }
            }
            _ if closing && matches!(shape, Shape::Image { .. }) => GlobalAveragePool.into(),
            _ if closing => layer(rng, shape), // the other end is an image still
            _ => layer(rng, shape),
        };
        let name = format!("n{}", net.nodes.len());
        let inputs: Vec<&str> = reads.iter().map(|&i| values[i].0.as_str()).collect();
        net = net.node(&name, &inputs, layer);
        let shape = net.builder().shape(&name).expect("the node just added");
        unread.retain(|i| !reads.contains(i));
        unread.push(values.len());
        values.push((name, shape));
    }
    let net = some_by_order(rng, net);
    if softmax { net.then("answer", Softmax) } else { net }
}
