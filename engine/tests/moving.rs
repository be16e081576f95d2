//! Operations that move values and images of another size, against their formulas, on every instruction set.

mod common;

use common::random::{self, rng};
use common::{Net, PlainOp, assert_same_bits, isas, keep, options, run};
use horq::error::InputError;
use horq::graph::Shape;
use horq::ops::{
    AdaptiveAveragePool, AdaptiveMaxPool, Affine, Basis, BinaryConv2d, BinaryDense, Border, Conv2d, Coordinates,
    Gather, Join, Outside, Pad, Quantizer, Rearrange, Relu, Resize, Rounding, Slice, ZeroInsert,
};
use horq::{Error, Order, Padding, Session, SessionOptions, Threads, Window};
use rand::Rng;
use rand::rngs::SmallRng;

fn image([height, width, channels]: [usize; 3]) -> Shape {
    Shape::Image { height, width, channels }
}

/// Runs one node on every instruction set, alone and on threads, and gives its answer, which is the same on all.
fn answer(shape: Shape, op: PlainOp, input: &[f32]) -> Vec<f32> {
    let what = format!("{shape} {op:?}");
    // An operation that only renames would otherwise not run at all.
    let model = Net::new(shape).then("y", op).model();
    let samples = input.len() / shape.len();
    let mut answers: Vec<Vec<f32>> = Vec::new();
    for isa in isas() {
        for threads in [Threads::Inline, Threads::Own(3)] {
            let mut session = Session::new(&model, options(samples, isa).threads(threads)).unwrap();
            answers.push(run(&mut session, input));
            assert_same_bits(&answers[0], &answers[answers.len() - 1], &what);
        }
    }
    answers.swap_remove(0)
}

/// The image whose value at (row, column, channel) is what `value` makes of it, for each sample.
fn made(samples: usize, shape: [usize; 3], value: impl Fn(usize, [usize; 3]) -> f32) -> Vec<f32> {
    let mut made = Vec::new();
    for sample in 0..samples {
        for i in 0..shape[0] {
            for j in 0..shape[1] {
                made.extend((0..shape[2]).map(|c| value(sample, [i, j, c])));
            }
        }
    }
    made
}

/// Reads an image of those sizes.
fn at(x: &[f32], size: [usize; 3], sample: usize, [i, j, c]: [usize; 3]) -> f32 {
    x[((sample * size[0] + i) * size[1] + j) * size[2] + c]
}

fn sizes(rng: &mut SmallRng) -> [usize; 3] {
    [rng.random_range(1..7), rng.random_range(1..7), [1, 2, 3, 5, 16, 17, 33, 40][rng.random_range(0..8)]]
}

/// A permutation of that many axes.
fn order(rng: &mut SmallRng, axes: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..axes).collect();
    (1..axes).for_each(|i| order.swap(i, rng.random_range(0..=i)));
    order
}

#[test]
fn rearranged_values_are_where_their_axes_go() {
    let rng = &mut rng(1);
    for round in 0..300 {
        let axes = rng.random_range(1..=6);
        let largest = if axes < 4 { 40 } else { 6 };
        let sizes: Vec<usize> = (0..axes).map(|_| rng.random_range(1..=largest)).collect();
        let order = order(rng, axes);
        let (len, samples) = (sizes.iter().product::<usize>(), 1 + round % 3);
        let input = random::values(rng, samples * len);
        // Odometers over the result's axes, in a form of their own: place by place, no stride merged.
        let mut expected = Vec::new();
        for sample in input.chunks(len) {
            let mut place = vec![0; axes];
            for _ in 0..len {
                let mut from = 0;
                for axis in 0..axes {
                    from = from * sizes[axis] + place[order.iter().position(|&o| o == axis).unwrap()];
                }
                expected.push(sample[from]);
                for i in (0..axes).rev() {
                    place[i] += 1;
                    if place[i] < sizes[order[i]] {
                        break;
                    }
                    place[i] = 0;
                }
            }
        }
        let op = Rearrange::new(sizes, order, Shape::Flat(len));
        let what = format!("{op:?}");
        assert_same_bits(&answer(Shape::Flat(len), op.into(), &input), &expected, &what);
    }
}

#[test]
fn layouts_and_shuffles_of_real_sizes_are_right() {
    let rng = &mut rng(2);
    let size = [14, 14, 192];
    let input = random::values(rng, 2 * 14 * 14 * 192);
    let flat = Rearrange::new([14 * 14, 192], [1, 0], Shape::Flat(14 * 14 * 192));
    let planes = |sample, [_, _, k]: [usize; 3]| {
        let (c, pixel) = (k / 196, k % 196);
        at(&input, size, sample, [pixel / 14, pixel % 14, c])
    };
    let expected = made(2, [1, 1, 14 * 14 * 192], planes);
    assert_same_bits(&answer(image(size), flat.into(), &input), &expected, "NHWC to NCHW");
    // ShuffleNet, three groups: channel c of the result is channel c / 3 of group c mod 3.
    let shuffle = Rearrange::new([14 * 14, 3, 64], [0, 2, 1], image(size));
    let expected = made(2, size, |sample, [i, j, c]| at(&input, size, sample, [i, j, c % 3 * 64 + c / 3]));
    assert_same_bits(&answer(image(size), shuffle.into(), &input), &expected, "channel shuffle");
    // torch.nn.PixelShuffle(2): channel c of pixel (2 i + a, 2 j + b) is channel 4 c + 2 a + b of pixel (i, j).
    let pixels = Rearrange::new([14, 14, 48, 2, 2], [0, 3, 1, 4, 2], image([28, 28, 48]));
    let from = |[i, j, c]: [usize; 3]| [i / 2, j / 2, 4 * c + 2 * (i % 2) + j % 2];
    let expected = made(2, [28, 28, 48], |sample, to| at(&input, size, sample, from(to)));
    assert_same_bits(&answer(image(size), pixels.into(), &input), &expected, "pixel shuffle");
}

#[test]
fn slices_gathers_and_joins_pick_what_they_name() {
    let rng = &mut rng(3);
    for round in 0..200 {
        let (size, samples) = (sizes(rng), 1 + round % 3);
        let input = random::values(rng, samples * size.iter().product::<usize>());
        let start = size.map(|n| rng.random_range(0..n));
        let stop = [0, 1, 2].map(|axis| rng.random_range(start[axis] + 1..=size[axis]));
        let step = [0; 3].map(|_| [1, 1, 2, 3, usize::MAX][rng.random_range(0..5)]);
        let reverse = [0; 3].map(|_: usize| rng.random_range(0..2));
        let places = [0, 1, 2].map(|axis| {
            let mut places: Vec<usize> = (start[axis]..stop[axis]).step_by(step[axis].min(1000)).collect();
            if reverse[axis] == 1 {
                places.reverse();
            }
            places
        });
        let shape = [0, 1, 2].map(|axis| places[axis].len());
        let expected =
            made(samples, shape, |sample, to| at(&input, size, sample, [0, 1, 2].map(|axis| places[axis][to[axis]])));
        let op = Slice::new(start, stop).step(step).reverse(reverse);
        assert_same_bits(&answer(image(size), op.into(), &input), &expected, &format!("{size:?} {op:?}"));

        let axis = round % 3;
        let n = rng.random_range(1..9);
        let indices: Vec<usize> = (0..n).map(|_| rng.random_range(0..size[axis])).collect();
        let mut shape = size;
        shape[axis] = n;
        let expected = made(samples, shape, |sample, mut to| {
            to[axis] = indices[to[axis]];
            at(&input, size, sample, to)
        });
        let op = Gather::new(axis, indices);
        let what = format!("{size:?} {op:?}");
        assert_same_bits(&answer(image(size), op.into(), &input), &expected, &what);

        let axis = round % 2;
        let mut shape = size;
        shape[axis] *= 2;
        let joined = Net::new(image(size)).then("a", Relu).node("y", &["x", "a"], Join::new(axis)).model();
        let mut session = Session::new(&joined, SessionOptions::new().batch(samples)).unwrap();
        let expected = made(samples, shape, |sample, mut to| {
            let second = to[axis] >= size[axis];
            to[axis] %= size[axis];
            let x = at(&input, size, sample, to);
            if second && x < 0.0 { 0.0 } else { x }
        });
        assert_same_bits(&run(&mut session, &input), &expected, &format!("{size:?} join {axis}"));
    }
}

#[test]
fn vectors_stay_vectors_where_the_result_is_one_pixel() {
    let shape = |op: PlainOp| Net::new(Shape::Flat(6)).then("y", op).model().output_shape();
    assert_eq!(shape(Slice::new([0, 0, 1], [1, 1, 5]).into()), Shape::Flat(4));
    assert_eq!(shape(Pad::constant([0; 3], [0, 0, 2], &[0.5]).into()), Shape::Flat(8));
    assert_eq!(shape(Pad::constant([0; 3], [1, 0, 2], &[0.5]).into()), image([2, 1, 8]));
    assert_eq!(shape(Gather::new(2, [5, 0]).into()), Shape::Flat(2));
    assert_eq!(shape(Rearrange::reshape(image([2, 3, 1])).into()), image([2, 3, 1]));
}

#[test]
fn borders_hold_what_their_mode_says() {
    let rng = &mut rng(4);
    for round in 0..200 {
        let (size, samples) = (sizes(rng), 1 + round % 3);
        let input = random::values(rng, samples * size.iter().product::<usize>());
        // Some borders are wider than the image.
        let (before, after) = (size.map(|_| rng.random_range(0..8)), size.map(|_| rng.random_range(0..8)));
        let shape = [0, 1, 2].map(|axis| before[axis] + size[axis] + after[axis]);
        for mode in [Border::Constant, Border::Edge, Border::Reflect, Border::Wrap] {
            // Walks from the image outwards one step at a time.
            let walk = |p: isize, n: isize| -> Option<isize> {
                let (mut at, mut step) = (0, 1);
                for _ in 0..p.abs() {
                    match mode {
                        Border::Constant => {
                            at += p.signum();
                            if at < 0 || at >= n {
                                return None;
                            }
                        }
                        Border::Edge => at = (at + p.signum()).clamp(0, n - 1),
                        Border::Wrap => at = (at + p.signum() + n) % n,
                        Border::Reflect if n == 1 => {}
                        Border::Reflect => {
                            let next = at + step;
                            if next < 0 || next >= n {
                                step = -step;
                            }
                            at += step;
                        }
                    }
                }
                Some(at)
            };
            let expected = made(samples, shape, |sample, to| {
                let place = |axis: usize| walk(to[axis] as isize - before[axis] as isize, size[axis] as isize);
                match [place(0), place(1), place(2)] {
                    [Some(i), Some(j), Some(c)] => at(&input, size, sample, [i, j, c].map(|i| i as usize)),
                    _ => -0.75,
                }
            });
            let op: PlainOp = match mode {
                Border::Constant => Pad::constant(before, after, &[-0.75]).into(),
                mode => Pad::of_image(before, after, mode).into(),
            };
            let what = format!("{size:?} {op:?}");
            assert_same_bits(&answer(image(size), op, &input), &expected, &what);
        }
    }
}

#[test]
fn adaptive_windows_share_the_image() {
    let rng = &mut rng(5);
    for round in 0..100 {
        let (size @ [height, width, channels], samples) = (sizes(rng), 1 + round % 3);
        let out = [rng.random_range(1..9), rng.random_range(1..9)];
        let input = random::values(rng, samples * height * width * channels);
        let window = |i: usize, out: usize, n: usize| {
            let from = (i as f64 * n as f64 / out as f64).floor() as usize;
            from..((i + 1) as f64 * n as f64 / out as f64).ceil() as usize
        };
        let taps = |sample: usize, [i, j, c]: [usize; 3]| -> Vec<f32> {
            let down = window(i, out[0], height);
            let pixels = down.flat_map(|row| window(j, out[1], width).map(move |column| [row, column, c]));
            pixels.map(|pixel| at(&input, size, sample, pixel)).collect()
        };
        let shape = [out[0], out[1], channels];
        let largest = made(samples, shape, |sample, to| taps(sample, to).into_iter().fold(f32::MIN, f32::max));
        let found = answer(image(size), AdaptiveMaxPool::new(out).into(), &input);
        assert!(found == largest, "{size:?} to {out:?}: {found:?}, expected {largest:?}");
        let found = answer(image(size), AdaptiveAveragePool::new(out).into(), &input);
        let means = made(samples, shape, |sample, to| {
            let taps = taps(sample, to);
            (taps.iter().map(|&x| f64::from(x)).sum::<f64>() / taps.len() as f64) as f32
        });
        for (y, mean) in found.iter().zip(&means) {
            assert!((y - mean).abs() <= 36.0 * f32::EPSILON, "{size:?} to {out:?}: {y}, expected {mean}");
        }
    }
}

/// Where pixel `x` of `to` lies among `from`, in exact arithmetic but for f64's roundings.
fn coordinate(kind: Coordinates, x: f64, [from, to, length]: [f64; 3], scale: f64) -> f64 {
    match kind {
        Coordinates::AlignCorners | Coordinates::PytorchHalfPixel if to == 1.0 => 0.0,
        Coordinates::AlignCorners => x * (from - 1.0) / (length - 1.0),
        Coordinates::Asymmetric => x / scale,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
        Coordinates::HalfPixelSymmetric => {
            let offset = from / 2.0 * (1.0 - to / (scale * from));
            offset + (x + 0.5) / scale - 0.5
        }
    }
}

const COORDINATES: [Coordinates; 5] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::Asymmetric,
    Coordinates::AlignCorners,
];

/// The weight of every pixel of an axis in one pixel of the result, by ONNX's definition in f64.
fn weights(mode: Option<(f64, Outside)>, u: f64, from: usize) -> Vec<f64> {
    let (below, part) = (u.floor(), u - u.floor());
    let kernel = |distance: f64| match mode {
        None => (1.0 - distance).max(0.0),
        // Keys, equation 15 with the coefficient a.
        Some((a, _)) if distance <= 1.0 => (a + 2.0) * distance.powi(3) - (a + 3.0) * distance.powi(2) + 1.0,
        Some((a, _)) if distance < 2.0 => a * (distance.powi(3) - 5.0 * distance.powi(2) + 8.0 * distance - 4.0),
        Some(_) => 0.0,
    };
    let mut weights = vec![0.0; from];
    let mut sum = 0.0;
    for tap in -1..=2 {
        let pixel = below as isize + tap;
        let weight = kernel((part - tap as f64).abs());
        if matches!(mode, Some((_, Outside::Exclude))) && !(0..from as isize).contains(&pixel) {
            continue;
        }
        sum += weight;
        weights[pixel.clamp(0, from as isize - 1) as usize] += weight;
    }
    if matches!(mode, Some((_, Outside::Exclude))) {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights
}

#[test]
fn resized_images_are_those_of_the_definition() {
    let rng = &mut rng(6);
    for round in 0..240 {
        let (size @ [height, width, channels], samples) = (sizes(rng), 1 + round % 2);
        let out = [rng.random_range(1..13), rng.random_range(1..13)];
        let input = random::values(rng, samples * height * width * channels);
        let coordinates = COORDINATES[round % 5];
        // A scale that the sizes are the whole part of, or none.
        let scale = (round % 3 == 0).then(|| {
            let mut of = |axis: usize| ((out[axis] as f64 + rng.random_range(0.0..0.9)) / size[axis] as f64) as f32;
            [of(0), of(1)]
        });
        let ratio = |axis: usize| scale.map_or(out[axis] as f64 / size[axis] as f64, |scale| f64::from(scale[axis]));
        let mode = match round % 4 {
            0 | 1 => None,
            2 => Some((-0.75, Outside::Edge)),
            _ => Some((-0.5, Outside::Exclude)),
        };
        let op: Resize<_> = match mode {
            None => Resize::linear(out),
            Some((a, outside)) => Resize::cubic(out, vec![a as f32], outside),
        };
        let op = op.coordinates(coordinates);
        let op = if let Some(scale) = scale { op.scale(scale.to_vec()) } else { op };
        let along = |axis: usize, x: usize| {
            let (from, to) = (size[axis] as f64, out[axis] as f64);
            let u = coordinate(coordinates, x as f64, [from, to, ratio(axis) * from], ratio(axis));
            // Linear does not look past the border.
            let u = if mode.is_none() { u.clamp(0.0, size[axis] as f64 - 1.0) } else { u };
            weights(mode, u, size[axis])
        };
        let expected = made(samples, [out[0], out[1], channels], |sample, [i, j, c]| {
            let (rows, columns) = (along(0, i), along(1, j));
            let mut sum = 0.0;
            for (row, v) in rows.iter().enumerate() {
                for (column, w) in columns.iter().enumerate() {
                    sum += v * w * f64::from(at(&input, size, sample, [row, column, c]));
                }
            }
            sum as f32
        });
        let what = format!("{size:?} {op:?}");
        let found = answer(image(size), op.into(), &input);
        for (i, (y, expected)) in found.iter().zip(&expected).enumerate() {
            // A place of up to 12 pixels is off by its last bit, by which weights of slope up to 2 are off in turn.
            assert!((y - expected).abs() <= 1e-4, "{what}: value {i} is {y}, expected {expected}");
        }
    }
}

#[test]
fn the_nearest_pixel_is_that_of_whole_numbers() {
    let rng = &mut rng(7);
    for round in 0..300 {
        let (from, to) = (rng.random_range(1..40_usize), rng.random_range(1..40_usize));
        let coordinates = COORDINATES[round % 5];
        for rounding in [Rounding::RoundPreferFloor, Rounding::RoundPreferCeil, Rounding::Floor, Rounding::Ceil] {
            let input: Vec<f32> = (0..from).map(|i| i as f32).collect();
            let op = Resize::nearest([1, to], rounding).coordinates(coordinates);
            let found = answer(image([1, from, 1]), op.into(), &input);
            for (x, y) in found.iter().enumerate() {
                // u = numerator / denominator.
                let (x, n, m) = (x as i64, from as i64, to as i64);
                let (numerator, denominator) = match coordinates {
                    Coordinates::AlignCorners | Coordinates::PytorchHalfPixel if m == 1 => (0, 1),
                    Coordinates::AlignCorners => (x * (n - 1), m - 1),
                    Coordinates::Asymmetric => (x * n, m),
                    _ => ((2 * x + 1) * n - m, 2 * m),
                };
                let floor = |a: i64, b: i64| a.div_euclid(b);
                let ceil = |a: i64, b: i64| -(-a).div_euclid(b);
                let nearest = match rounding {
                    Rounding::RoundPreferFloor => ceil(2 * numerator - denominator, 2 * denominator),
                    Rounding::RoundPreferCeil => floor(2 * numerator + denominator, 2 * denominator),
                    Rounding::Floor => floor(numerator, denominator),
                    Rounding::Ceil => ceil(numerator, denominator),
                };
                // f32 may round a place that is no whole or half number onto one, or off one: ONNX's own arithmetic does so too.
                let expected = nearest.clamp(0, n - 1) as f32;
                let half = 2 * numerator % denominator == 0;
                assert!(
                    *y == expected || half && (y - expected).abs() <= 1.0,
                    "{from} to {to}, {coordinates:?}, {rounding:?}, pixel {x}: {y}, expected {expected}"
                );
            }
        }
    }
}

/// `torch.nn.ConvTranspose2d` by its definition: each pixel adds its filters to a window of the result.
#[test]
fn zeros_between_pixels_make_a_transposed_convolution() {
    let rng = &mut rng(8);
    for _ in 0..40 {
        let [height, width, channels] = [rng.random_range(1..6), rng.random_range(1..6), rng.random_range(1..5)];
        let (filters, kernel) = (rng.random_range(1..5), [rng.random_range(1..4), rng.random_range(1..4)]);
        let stride = [rng.random_range(1..4), rng.random_range(1..4)];
        // Rows and columns that are cut off, and those that are put on at the end.
        let padding = kernel.map(|kernel| rng.random_range(0..kernel));
        let extra = [0, 1].map(|axis| rng.random_range(0..stride[axis]).min(padding[axis]));
        let input = random::values(rng, height * width * channels);
        let weight = random::values(rng, filters * kernel[0] * kernel[1] * channels);
        let size = [height, width];
        let out = [0, 1].map(|axis| (size[axis] - 1) * stride[axis] + kernel[axis] + extra[axis] - 2 * padding[axis]);
        if out.contains(&0) || (0..2).any(|axis| (size[axis] - 1) * stride[axis] + kernel[axis] < 2 * padding[axis]) {
            continue;
        }
        let w = |f: usize, a: usize, b: usize, c: usize| weight[((f * kernel[0] + a) * kernel[1] + b) * channels + c];
        let mut expected = vec![0.0_f64; out[0] * out[1] * filters];
        for i in 0..height {
            for j in 0..width {
                for (a, b) in (0..kernel[0]).flat_map(|a| (0..kernel[1]).map(move |b| (a, b))) {
                    let row = (i * stride[0] + a).checked_sub(padding[0]).filter(|&row| row < out[0]);
                    let column = (j * stride[1] + b).checked_sub(padding[1]).filter(|&column| column < out[1]);
                    let (Some(row), Some(column)) = (row, column) else { continue };
                    for f in 0..filters {
                        let sum = (0..channels)
                            .map(|c| f64::from(input[(i * width + j) * channels + c]) * f64::from(w(f, a, b, c)));
                        expected[(row * out[1] + column) * filters + f] += sum.sum::<f64>();
                    }
                }
            }
        }
        let mut turned = Vec::new();
        for f in 0..filters {
            for (a, b) in (0..kernel[0]).rev().flat_map(|a| (0..kernel[1]).rev().map(move |b| (a, b))) {
                turned.extend((0..channels).map(|c| w(f, a, b, c)));
            }
        }
        let before = [0, 1].map(|axis| kernel[axis] - 1 - padding[axis]);
        let after = [0, 1].map(|axis| before[axis] + extra[axis]);
        let pad = Pad::constant([before[0], before[1], 0], [after[0], after[1], 0], &[0.0]);
        let window = Window { kernel, ..Window::square(1) };
        let net = Net::new(image([height, width, channels]))
            .then("zeros", ZeroInsert::new(stride))
            .then("pad", pad)
            .then("y", Conv2d::new(window, filters, turned));
        let found = run(&mut Session::new(&net.model(), SessionOptions::new()).unwrap(), &input);
        assert_eq!(found.len(), expected.len());
        for (y, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*y) - expected).abs() < 1e-4, "{y}, expected {expected}");
        }
    }
}

fn binary_conv(
    rng: &mut SmallRng,
    window: Window,
    channels: usize,
    filters: usize,
) -> BinaryConv2d<horq::PlainValues<'static>> {
    let weight = keep(random::values(rng, filters * window.taps() * channels));
    let base = keep(vec![Basis::new(weight, keep(vec![0.02; filters]))]);
    let quantize = Quantizer::fixed(Order::new(2).unwrap(), &[0.8, 0.4]);
    BinaryConv2d::new(window, filters, quantize, base).pad_value(Padding::ValidTaps)
}

/// A convolution of signs whose border is a value: the same as one on the padded image that is made by hand.
#[test]
fn a_border_before_a_binary_layer_is_a_part_of_its_image() {
    let rng = &mut rng(9);
    let window = Window::square(3);
    for value in [-1.0, 1.0, 0.25] {
        let layer = binary_conv(rng, window, 40, 32);
        let (size, padded) = ([5, 4, 40], [7, 6, 40]);
        let input = random::values(rng, 2 * 5 * 4 * 40);
        let by_hand = made(2, padded, |sample, [i, j, c]| match (1..6).contains(&i) && (1..5).contains(&j) {
            true => at(&input, size, sample, [i - 1, j - 1, c]),
            false => value,
        });
        let pad = Pad::constant([1, 1, 0], [1, 1, 0], vec![value]);
        let found = Net::new(image(size)).then("pad", pad).then("y", layer.clone()).model();
        let expected = Net::new(image(padded)).then("y", layer).model();
        for isa in isas() {
            let found = run(&mut Session::new(&found, options(2, isa)).unwrap(), &input);
            let expected = run(&mut Session::new(&expected, options(2, isa)).unwrap(), &by_hand);
            assert_same_bits(&found, &expected, &format!("{value}, {isa}"));
        }
    }
}

/// A value between two binary layers that goes by another name: what passes as planes and what does not, against two models one
/// after the other.
#[test]
fn planes_pass_under_another_name_only_where_their_words_stay() {
    let rng = &mut rng(10);
    let mut packed = 0;
    for channels in [32, 64, 40] {
        let first = binary_conv(rng, Window::square(3).with_padding(1), 16, channels);
        let len = 4 * 4 * channels;
        for shape in [
            image([4, 4, channels]),
            image([1, 1, len]),
            image([2, 8, channels]),
            image([4, 2, 2 * channels]),
            image([4, 8, channels / 2]),
            Shape::Flat(len),
        ] {
            let second: PlainOp = match shape {
                Shape::Flat(_) => {
                    let base = keep(vec![Basis::new(keep(random::values(rng, 24 * len)), &[0.02; 24])]);
                    BinaryDense::new(24, Quantizer::fixed(Order::new(2).unwrap(), &[0.5, 0.2]), base).into()
                }
                Shape::Image { channels, .. } => {
                    binary_conv(rng, Window::square(3).with_padding(1), channels, 24).into()
                }
            };
            let whole = Net::new(image([4, 4, 16]))
                .then("first", first.clone())
                .then("view", Rearrange::reshape(shape))
                .then("again", Rearrange::reshape(shape))
                .then("y", second.clone());
            let input = random::values(rng, 3 * 4 * 4 * 16);
            for isa in isas() {
                let one = |net: &Net, input: &[f32]| {
                    let mut session = Session::new(&net.model(), options(3, isa)).unwrap();
                    (run(&mut session, input), session.profile().iter().filter(|layer| layer.packed).count())
                };
                let (between, _) = one(&Net::new(image([4, 4, 16])).then("y", first.clone()), &input);
                let (expected, _) = one(&Net::new(shape).then("y", second.clone()), &between);
                let (found, planes) = one(&whole, &input);
                assert_same_bits(&found, &expected, &format!("{channels} channels as {shape}, {isa}"));
                packed += planes;
            }
        }
    }
    assert!(packed >= 4 * isas().len(), "{packed} values passed as planes");
}

/// A view of the graph's input that is the answer is copied: the two are different buffers. A view of a view costs nothing.
#[test]
fn views_cost_nothing_but_from_input_to_answer() {
    let input: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let view = || Rearrange::new([2, 1, 3, 4], [1, 0, 2, 3], image([2, 3, 4]));
    let layers = |net: Net, expected: &[f32]| {
        let mut session = Session::new(&net.model(), SessionOptions::new()).unwrap();
        assert_eq!(run(&mut session, &input), expected);
        session.profile().len()
    };
    let start = || Net::new(Shape::Flat(24));
    assert_eq!(layers(start().then("y", view()), &input), 1);
    assert_eq!(layers(start().then("a", view()).then("y", Rearrange::reshape(Shape::Flat(24))), &input), 1);
    assert_eq!(layers(start().then("a", Relu).then("y", view()), &input), 1);
    assert_eq!(layers(start().then("a", view()).then("b", Relu).then("y", view()), &input), 1);
    // An axis of size 1 may go anywhere, others not.
    let turned: Vec<f32> = (0..24).map(|i| (i % 2 * 12 + i / 2) as f32).collect();
    assert_eq!(layers(start().then("a", Relu).then("y", Rearrange::new([2, 12], [1, 0], Shape::Flat(24))), &turned), 2);
}

/// Where every pixel has a part in the answer, an infinity does too: none becomes a finite value on the way.
#[test]
fn an_infinity_is_never_lost() {
    let shape = image([4, 4, 2]);
    let layers: Vec<PlainOp> = vec![
        Rearrange::new([4, 4, 2], [2, 0, 1], Shape::Flat(32)).into(),
        Slice::new([0; 3], [4, 4, 2]).reverse([1, 0, 1]).into(),
        Pad::constant([1; 3], [1; 3], &[0.5]).into(),
        Pad::of_image([3, 5, 1], [1, 0, 2], Border::Reflect).into(),
        Resize::nearest([5, 7], Rounding::Floor).into(),
        Resize::linear([3, 9]).coordinates(Coordinates::AlignCorners).into(),
        Resize::cubic([4, 4], &[-0.75], Outside::Exclude).into(),
        ZeroInsert::new([2, 3]).into(),
        AdaptiveAveragePool::new([3, 3]).into(),
        AdaptiveMaxPool::new([3, 3]).into(),
        AdaptiveMaxPool::new([2, 2]).into(),
        Gather::new(1, [3, 0, 2, 1]).into(),
    ];
    for layer in layers {
        let net = Net::new(shape).then("overflow", Affine::new(&[f32::MAX; 2], &[0.0; 2])).then("y", layer);
        for isa in isas() {
            let mut session = Session::new(&net.model(), SessionOptions::new().isa(isa)).unwrap();
            let mut output = vec![0.0; session.output_len()];
            for (value, at) in [2.0, -2.0].into_iter().flat_map(|value| (0..32).map(move |at| (value, at))) {
                let mut input = vec![0.0; 32];
                input[at] = value;
                let lost =
                    !matches!(session.run(&input, &mut output), Err(Error::Input(InputError::LayerNotFinite { .. })));
                assert!(!lost, "{isa}, {value} at {at}: {output:?} of {:?}", net.nodes[1].2);
            }
            session.run(&[0.0; 32], &mut output).unwrap();
        }
    }
}
