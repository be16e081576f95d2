//! Signs, uniform quantizers, thresholds, places and rows of tables beside plain formulas.

mod common;

use common::everywhere::{everywhere, everywhere_on};
use common::random::{rng, values};
use common::{Net, PlainOp, options};
use horq::error::InputError;
use horq::graph::Shape;
use horq::ops::{Affine, ArgMax, Embedding, FakeQuantize, MultiThreshold, Relu, Sign, TopK};
use horq::{Builder, Error, Isa, Session};
use rand::Rng;

const SHAPES: [Shape; 5] = [
    Shape::Flat(1),
    Shape::Flat(300),
    Shape::Image { height: 3, width: 5, channels: 1 },
    Shape::Image { height: 4, width: 7, channels: 16 },
    Shape::Image { height: 9, width: 2, channels: 37 },
];

#[test]
fn signs_of_zeros_are_positive() {
    for shape in SHAPES {
        let answers = everywhere(&Net::new(shape).then("y", Sign), 1);
        for (x, y) in answers.input.iter().zip(&answers.output) {
            assert_eq!(*y, if *x < 0.0 { -1.0 } else { 1.0 }, "{x}");
        }
    }
    let smallest = f32::from_bits(1);
    let answers = everywhere_on(&Net::new(Shape::Flat(4)).then("y", Sign), vec![-0.0, 0.0, smallest, -smallest]);
    assert_eq!(answers.output, [1.0, 1.0, 1.0, -1.0]);
}

/// In f64, where the quotient of two f32 is a tie only if the f32 quotient is one as well.
#[test]
fn uniform_quantizers_round_ties_to_even() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let channels = shape.channels();
        for per_channel in [1, channels] {
            let rng = &mut rng(i as u64);
            let scale: Vec<f32> = (0..per_channel).map(|_| [0.125, 0.1, 0.3, 1.0][rng.random_range(0..4)]).collect();
            let zero_point: Vec<f32> = (0..per_channel).map(|_| rng.random_range(-3..4) as f32).collect();
            let (low, high) = (vec![-4.0; per_channel], vec![3.0; per_channel]);
            let op = FakeQuantize::new(scale.clone(), zero_point.clone(), low, high);
            let mut input = values(rng, 3 * shape.len());
            // Ties of the scale 0.125.
            input.iter_mut().step_by(3).for_each(|x| *x = (*x * 16.0).round() / 16.0);
            let answers = everywhere_on(&Net::new(shape).then("y", op), input);
            for (place, (x, y)) in answers.input.iter().zip(&answers.output).enumerate() {
                let c = if per_channel == 1 { 0 } else { place % channels };
                let zero_point = f64::from(zero_point[c]);
                let step = (f64::from(x / scale[c]).round_ties_even() + zero_point).clamp(-4.0, 3.0);
                let expected = ((step - zero_point) * f64::from(scale[c])) as f32;
                assert_eq!(*y, expected, "{shape:?}, {x} in steps of {}", scale[c]);
            }
        }
    }
}

#[test]
fn a_quotient_that_overflows_is_the_highest_step() {
    let op = FakeQuantize::new(&[1e-30], &[0.0], &[-8.0], &[7.0]);
    let answers = everywhere_on(&Net::new(Shape::Flat(2)).then("y", op), vec![1e30, -1e30]);
    assert_eq!(answers.output, [7.0 * 1e-30, -8.0 * 1e-30]);
}

#[test]
fn thresholds_are_counted_in_any_order() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let channels = shape.channels();
        for rows in [1, channels] {
            for steps in [1, 3, 15, 255] {
                let rng = &mut rng(i as u64);
                let thresholds = values(rng, rows * steps);
                let mut input = values(rng, 3 * shape.len());
                // Some values lie on a threshold, which they reach.
                for (place, x) in input.iter_mut().enumerate().step_by(5) {
                    let row = if rows == 1 { 0 } else { place % channels };
                    *x = thresholds[row * steps + place % steps];
                }
                let op = MultiThreshold::new(rows, thresholds.clone(), 0.3, -1.7);
                let answers = everywhere_on(&Net::new(shape).then("y", op), input);
                for (place, (x, y)) in answers.input.iter().zip(&answers.output).enumerate() {
                    let row = if rows == 1 { 0 } else { place % channels };
                    let count = thresholds[row * steps..][..steps].iter().filter(|&t| x >= t).count();
                    let product = 0.3 * count as f32;
                    assert_eq!(*y, product - 1.7, "{shape:?}, {rows} x {steps}, {x}");
                }
            }
        }
    }
}

#[test]
fn places_of_the_largest_channels() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let channels = shape.channels();
        // Few values, so that many are equal.
        let input: Vec<f32> = values(&mut rng(i as u64), 3 * shape.len()).iter().map(|x| (x * 3.0).round()).collect();
        let expected = |k: usize| -> Vec<f32> {
            let places = |x: &[f32]| {
                let mut places: Vec<usize> = (0..channels).collect();
                places.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap()); // keeps equal ones in order
                places.into_iter().take(k).map(|place| place as f32).collect::<Vec<_>>()
            };
            input.chunks(channels).flat_map(places).collect()
        };
        let net = Net::new(shape).then("y", ArgMax);
        let of_one = |channels| match shape {
            Shape::Flat(_) => Shape::Flat(channels),
            Shape::Image { height, width, .. } => Shape::Image { height, width, channels },
        };
        assert_eq!(net.model().output_shape(), of_one(1));
        assert_eq!(everywhere_on(&net, input.clone()).output, expected(1));
        for k in [1, channels.div_ceil(2), channels] {
            let net = Net::new(shape).then("y", TopK::new(k));
            assert_eq!(net.model().output_shape(), of_one(k));
            assert_eq!(everywhere_on(&net, input.clone()).output, expected(k), "{shape:?}, {k}");
        }
    }
}

#[test]
fn rows_of_a_table() {
    for (shape, pixels) in [
        (Shape::Flat(9), Shape::Image { height: 1, width: 9, channels: 5 }),
        (Shape::Image { height: 2, width: 40, channels: 1 }, Shape::Image { height: 2, width: 40, channels: 5 }),
    ] {
        let rng = &mut rng(4);
        let table = values(rng, 11 * 5);
        let input: Vec<f32> = (0..3 * shape.len()).map(|_| rng.random_range(0..11) as f32).collect();
        let net = Net::new(shape).then("y", Embedding::new(5, table.clone()));
        assert_eq!(net.model().output_shape(), pixels);
        let expected: Vec<f32> = input.iter().flat_map(|&x| table[x as usize * 5..][..5].to_vec()).collect();
        assert_eq!(everywhere_on(&net, input).output, expected);
    }
}

#[test]
fn a_number_without_a_row_is_named() {
    let net = Net::new(Shape::Flat(4)).then("words", Embedding::new(2, vec![0.5; 6])).then("y", Relu);
    let model = net.model();
    let mut session = Session::new(&model, options(2, Isa::Portable)).unwrap();
    session.run(&[0.0, -0.0, 1.0, 2.0], &mut [0.0; 8]).unwrap();
    for wrong in [3.0, -1.0, 0.5, 1e30, -1e-40, f32::MAX, 2.0000002] {
        // In the second sample, whose first wrong number counts.
        let error = session.run(&[0.0, 1.0, 2.0, 0.0, 1.0, wrong, 7.0, 0.0], &mut [0.0; 16]).unwrap_err();
        let Error::Input(InputError::EmbeddingRow { layer, sample: 1, index: 1, value, rows: 3 }) = &error else {
            panic!("{error}");
        };
        assert_eq!((layer.as_str(), *value), ("words", wrong));
        let text = error.to_string();
        assert!(text.contains(&format!("value 1 that the embedding `words` reads is {wrong};")), "{text}");
        assert!(text.contains("a whole number from 0 to 2"), "{text}");
    }
}

/// As with the quantizers of the binary layers.
#[test]
fn what_is_not_finite_stops_the_run() {
    let ops: [PlainOp; 6] = [
        Sign.into(),
        FakeQuantize::new(&[0.5], &[0.0], &[0.0], &[3.0]).into(),
        FakeQuantize::new(vec![0.5; 4], vec![0.0; 4], vec![0.0; 4], vec![3.0; 4]).into(),
        MultiThreshold::new(1, &[0.0, 1.0], 1.0, 0.0).into(),
        ArgMax.into(),
        TopK::new(2).into(),
    ];
    for op in ops {
        let large = Affine::new(vec![1e30; 4], vec![0.0; 4]);
        let net = Net::new(Shape::Flat(4)).then("large", large.clone()).then("larger", large);
        // The infinity lies behind and before others.
        for input in [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, -1.0]] {
            let net = net.clone().then("stops", op.clone()).then("y", Sign);
            let mut session = Session::new(&net.model(), options(1, Isa::Portable)).unwrap();
            let error = session.run(&input, &mut vec![0.0; session.output_len()]).unwrap_err();
            let Error::Input(InputError::LayerNotFinite { layer, .. }) = &error else { panic!("{error}") };
            assert_eq!(layer, "stops", "{}", op.kind());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |shape: Shape, op: PlainOp| Builder::new("x", shape).add("y", &["x"], op).unwrap_err().to_string();
    let image = Shape::Image { height: 2, width: 2, channels: 6 };
    let expect = |text: String, part: &str| assert!(text.contains(part), "`{text}` does not say `{part}`");
    let two = || vec![1.0; 2];
    let quantize = FakeQuantize::new(two(), two(), two(), two());
    expect(refused(image, quantize.into()), "`values` is 2; it must be 1, or the 6 channels");
    let quantize = FakeQuantize::new(&[-0.5], &[0.0], &[0.0], &[1.0]);
    expect(
        refused(image, quantize.into()),
        "value 0 of tensor `y.scale` of node `y` is -0.5; it must be greater than 0",
    );
    let quantize = FakeQuantize::new(&[0.5], &[0.0, 1.0], &[0.0], &[1.0]);
    expect(refused(image, quantize.into()), "takes 1 values of `zero_point`, but 2 were given");
    expect(
        refused(image, MultiThreshold::new(4, vec![0.0; 8], 1.0, 0.0).into()),
        "`rows` is 4; it must be 1, or the 6",
    );
    expect(refused(image, MultiThreshold::new(1, vec![0.0; 0], 1.0, 0.0).into()), "1 x 0 thresholds");
    expect(refused(image, TopK::new(0).into()), "k is 0; it must be 1 to 6, the channels");
    expect(refused(image, TopK::new(7).into()), "k is 7; it must be 1 to 6, the channels");
    expect(refused(image, Embedding::new(2, vec![0.0; 6]).into()), "needs a vector of numbers, or an image of one");
    expect(refused(Shape::Flat(3), Embedding::new(2, vec![0.0; 0]).into()), "a table of 0 rows");
    expect(refused(Shape::Flat(3), Embedding::new(0, vec![0.0; 6]).into()), "a table of 0 rows");
    expect(refused(Shape::Flat(3), Embedding::new(4, vec![0.0; 6]).into()), "takes 4 values of `weight`, but 6");
}
