//! Windows whose numbers may be anything: each file is refused or answers as the specification says. Nothing overflows.

use horq::error::GraphError;
use horq::graph::{Op, Shape};
use horq::ops::{
    Affine, AveragePool, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, BinaryWeightDense, CodebookConv2d,
    CodebookDense, Conv2d, Dense, Flatten, GlobalAveragePool, Int8Conv2d, Int8Dense, Int8Quantize, MaxPool, Prelu,
    Quantizer, Relu, Softmax,
};
use horq::{Builder, Error, Limits, Model, Order, Padding, PlainValues, ScaleMode, Window};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::forge::Forge;
use crate::memory::peak;
use crate::reader::Reader;
use crate::zoo::{answers, noise, quantizer};

const IMAGE: [usize; 3] = [5, 4, 6];
const OPS: [&str; 13] = [
    "conv2d",
    "depthwise",
    "window",
    "image",
    "fixed",
    "halving",
    "none",
    "one",
    "codebook",
    "int8",
    "binary_weight",
    "max_pool",
    "average_pool",
];

/// A file whose last node, `y`, is one layer with a window, behind a binary layer that may hand planes over.
fn file(op: &str, kernel: [usize; 2]) -> Vec<u8> {
    let [height, width, channels] = IMAGE;
    let window = Window { kernel, ..Window::square(1) };
    let groups = if op == "depthwise" { channels } else { 1 };
    let filters = if op == "depthwise" { channels } else { 3 };
    let depth = window.taps() * channels / groups;
    let (weight, alpha) = (noise(1, filters * depth), noise(2, filters));
    let base = Basis::new(&weight, &alpha);
    let bytes: Vec<i8> = weight.iter().map(|w| (w * 127.0) as i8).collect();
    let codes: Vec<u8> = (0..weight.len()).map(|i| (i % 5) as u8).collect();
    let scales = [0.75, 0.25];
    let binary = |pad_value, mode, scales| {
        BinaryConv2d::new(window, filters, quantizer(2, mode, scales), std::slice::from_ref(&base))
            .groups(groups)
            .pad_value(pad_value)
    };
    let layer: Op<PlainValues<'_>> = match op {
        "conv2d" | "depthwise" => Conv2d::new(window, filters, &weight).groups(groups).into(),
        "window" => binary(Padding::ValidTaps, ScaleMode::Window, None).into(),
        "image" => binary(Padding::ValidTaps, ScaleMode::Image, None).into(),
        "fixed" => binary(Padding::ValidTaps, ScaleMode::Fixed, Some(&scales[..])).into(),
        "halving" => binary(Padding::ValidTaps, ScaleMode::Halving, Some(&scales[..])).into(),
        "none" => binary(Padding::ValidTaps, ScaleMode::None, None).into(),
        "one" => binary(Padding::One, ScaleMode::None, None).into(),
        "codebook" => CodebookConv2d::new(window, filters, &codes, noise(3, 5)).groups(groups).into(),
        "int8" => {
            let quantize = Int8Quantize::of_range(-1.0, 2.0);
            Int8Conv2d::new(window, filters, quantize, &bytes, &alpha).groups(groups).into()
        }
        "binary_weight" => BinaryWeightConv2d::new(window, filters, &weight, &alpha).groups(groups).into(),
        "max_pool" => MaxPool::new(window).into(),
        "average_pool" => AveragePool::new(window).into(),
        op => panic!("{op}"),
    };
    let mut builder = Builder::new("x", Shape::Image { height, width, channels });
    let (first, alpha) = (noise(4, channels * channels), noise(5, channels));
    let bases = [Basis::new(&first, &alpha)];
    let quantize = Quantizer::new(Order::ONE, ScaleMode::None);
    let (window, pad_value, filters) = (Window::square(1), Padding::ValidTaps, channels);
    let before = BinaryConv2d::new(window, filters, quantize, &bases).pad_value(pad_value);
    builder.add("before", &["x"], before).unwrap();
    builder.add("y", &["before"], layer).unwrap();
    builder.to_bytes("y").unwrap()
}

/// Opens the file with that window, and runs it on two samples where that is possible. Returns whether it ran.
fn try_window(forge: &mut Forge, [kernel, stride, dilation]: [[u64; 2]; 3], padding: [u64; 4], what: &str) -> bool {
    let limits = Limits::new().value_elements(1 << 12).session_bytes(1 << 24);
    let node = forge.node("y");
    (node["kernel"], node["stride"]) = (json!(kernel), json!(stride));
    (node["dilation"], node["padding"]) = (json!(dilation), json!(padding));
    let file = forge.seal();
    let Ok(model) = Model::from_bytes_with(&file, &limits) else { return false };
    let samples = noise(6, 2 * IMAGE.iter().product::<usize>());
    let Ok(answer) = answers(&model, 2, &samples) else { return false };
    let work = kernel[0].saturating_mul(kernel[1]).saturating_mul(answer.len() as u64);
    if work < 1 << 14 {
        let reader = Reader::new(&file, 2);
        let expected: Vec<f32> = samples.chunks(samples.len() / 2).flat_map(|sample| reader.run(sample)).collect();
        // A zero may have the other sign.
        assert_eq!(answer, expected, "{what} with kernel {kernel:?}, {stride:?}, {dilation:?}, {padding:?}");
    }
    true
}

/// Around every bound that sizes have, and those of integers.
const NUMBERS: [u64; 16] = [
    0,
    2,
    3,
    5,
    40,
    1 << 16,
    (1 << 16) + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
    1 << 32,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

#[test]
fn windows_of_any_numbers_are_refused_or_run() {
    let mut rng = StdRng::seed_from_u64(1);
    for op in OPS {
        let mut ran = 0;
        for kernel in [[1, 1], [1, 3], [2, 2], [3, 1]] {
            let mut forge = Forge::open(&file(op, kernel));
            let taps = kernel.map(|taps| taps as u64);
            // One number at a time, then several.
            for number in NUMBERS {
                for at in 0..10 {
                    let mut all = [taps[0], taps[1], 1, 1, 1, 1, 0, 0, 0, 0];
                    all[at] = number;
                    let [a, b, c, d, e, f, padding @ ..] = all;
                    ran += u32::from(try_window(&mut forge, [[a, b], [c, d], [e, f]], padding, op));
                }
            }
            for _ in 0..200 {
                let mut some = |usual: u64| match rng.random_range(0..4) {
                    0 => NUMBERS[rng.random_range(0..NUMBERS.len())],
                    1 => rng.random_range(0..4),
                    _ => usual,
                };
                let kernel = if op.ends_with("pool") { taps.map(&mut some) } else { taps };
                let (stride, dilation) = ([some(1), some(1)], [some(1), some(1)]);
                let padding = [some(0), some(1), some(0), some(1)];
                ran += u32::from(try_window(&mut forge, [kernel, stride, dilation], padding, op));
            }
        }
        assert!(ran > 100, "{op}: only {ran} windows ran");
    }
}

/// A stride that steps past the image is a stride like any other up to the stated bound, and refused in words above it.
#[test]
fn a_window_of_huge_numbers_has_a_bound_that_is_told() {
    for op in OPS {
        for (field, length) in [("kernel", 2), ("stride", 2), ("dilation", 2), ("padding", 4)] {
            let mut forge = Forge::open(&file(op, [1, 1]));
            forge.node("y")[field] = json!(vec![(1u64 << 31) + 1; length]);
            let error = Model::from_bytes(&forge.seal()).unwrap_err().to_string();
            let told = error.contains("must be at most 2147483648, but one of them is 2147483649");
            // Padding that reaches the span of a pool's window is refused before.
            assert!(told || op.ends_with("pool") && error.contains("leaves windows empty"), "{op}, {field}: {error}");
            if ["stride", "dilation"].contains(&field) {
                forge.node("y")[field] = json!([1u64 << 31, 1u64 << 31]);
                let model = Model::from_bytes(&forge.seal()).unwrap();
                answers(&model, 2, &noise(7, 120)).unwrap();
            }
        }
    }
}

/// One layer on an image of its own, compared with the specification.
fn check<'a>(shape: [usize; 3], layer: impl Into<Op<PlainValues<'a>>>) {
    let [height, width, channels] = shape;
    let mut builder = Builder::new("x", Shape::Image { height, width, channels });
    builder.add("y", &["x"], layer).unwrap();
    let file = builder.to_bytes("y").unwrap();
    let sample = noise(8, height * width * channels);
    let answer = answers(&Model::from_bytes(&file).unwrap(), 1, &sample).unwrap();
    assert_eq!(answer, Reader::new(&file, 1).run(&sample), "{shape:?}");
}

/// Strips of columns hold at least some, however many bytes a column's step takes.
#[test]
fn a_depthwise_layer_of_many_channels_and_a_large_stride_ends() {
    for (channels, stride) in [(1100, 2), (300, 7), (4, 1 << 31)] {
        let window = Window::square(3).with_padding(1).with_stride(stride);
        let weight = noise(1, 9 * channels);
        let layer = Conv2d::new(window, channels, &weight).groups(channels);
        check([9, 17, channels], layer);
    }
}

/// Of rows that lie far apart, only those that taps read get tables.
#[test]
fn binary_weights_read_rows_that_lie_far_apart() {
    let (weight, alpha) = (noise(1, 3 * 2 * 3 * 5), noise(2, 3));
    for (dilation, stride, padding) in [(2, 1, 1), (30, 1, 2), (30, 3, 33), (3000, 1, 3000), (900, 700, 1000)] {
        let window =
            Window { kernel: [3, 2], dilation: [dilation, 2], stride: [stride, 1], padding: [padding, 1, padding, 0] };
        check([70, 4, 5], BinaryWeightConv2d::new(window, 3, &weight, &alpha));
    }
}

/// A size with no data behind it is refused before memory is taken for it.
#[test]
fn a_builder_refuses_sizes_that_nobody_backs() {
    let image = |height, width, channels| Shape::Image { height, width, channels };
    let window = Window::square(1);
    let (none, codes, weights): (&[f32], &[u8], &[i8]) = (&[], &[], &[]);
    let quantize = || Quantizer::new(Order::ONE, ScaleMode::None);
    let bytes = Int8Quantize::of_range(0.0, 1.0);
    let layers = |filters: usize, groups: usize| -> Vec<Op<PlainValues<'_>>> {
        vec![
            Dense::new(filters, none).into(),
            BinaryDense::new(filters, quantize(), [Basis::new(none, none)]).into(),
            BinaryWeightDense::new(filters, none, none).into(),
            CodebookDense::new(filters, codes, &[1.0]).into(),
            Int8Dense::new(filters, bytes, weights, none).into(),
            Conv2d::new(window, filters, none).groups(groups).into(),
            BinaryWeightConv2d::new(window, filters, none, none).groups(groups).into(),
            CodebookConv2d::new(window, filters, codes, &[1.0]).groups(groups).into(),
            Int8Conv2d::new(window, filters, bytes, weights, none).groups(groups).into(),
            Affine::new(none, none).into(),
            Prelu::new(none).into(),
            Relu.into(),
            Softmax.into(),
            Flatten.into(),
            GlobalAveragePool.into(),
            MaxPool::new(window).into(),
            AveragePool::new(window).into(),
        ]
    };
    let refused = |shape: Shape, add: &dyn Fn(&mut Builder) -> Result<(), Error>| {
        let (error, held) = peak(|| add(&mut Builder::new("x", shape)).unwrap_err());
        assert!(held < 1 << 16, "{shape:?}: {held} bytes taken for {error}");
        error
    };
    let huge = [Shape::Flat(0), Shape::Flat(1 << 40), Shape::Flat(usize::MAX), image(1 << 20, 1 << 20, 1 << 20)];
    for shape in huge.into_iter().chain([image(1, 1, 1 << 40), image(usize::MAX, 1, 1), image(4, 0, 4)]) {
        let error = refused(shape, &|builder| builder.add_image8("y", "x", 255.0).map(drop));
        assert!(matches!(&error, Error::Graph(GraphError::ValueSize { name, .. }) if name == "x"), "{error}");
        for layer in layers(1, 1) {
            let error = refused(shape, &|builder| builder.add("y", &["x"], layer.clone()).map(drop));
            assert!(
                matches!(&error, Error::Graph(GraphError::ValueSize { name, .. }) if name == "x"),
                "{shape:?}: {error}"
            );
        }
    }
    for size in [1 << 25, 1 << 40, usize::MAX / 32 * 32, usize::MAX] {
        for layer in layers(size, size).iter().take(5) {
            refused(Shape::Flat(4), &|builder| builder.add("y", &["x"], layer.clone()).map(drop));
        }
        for layer in &layers(size, size)[5..9] {
            refused(image(2, 2, 4), &|builder| builder.add("y", &["x"], layer.clone()).map(drop));
        }
        for layer in &layers(size, 1)[5..9] {
            refused(image(2, 2, 4), &|builder| builder.add("y", &["x"], layer.clone()).map(drop));
        }
    }
}
