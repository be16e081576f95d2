//! Networks in plain floats for the tests: built into a model by `horq::Builder`, and computed by an interpreter that
//! shares nothing with the engine (plain loops over `horq_oracle`, one node at a time, nothing fused).

#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod everywhere;
pub mod float_mode;
pub mod lenet;
pub mod random;

use horq::graph::{Op, Shape};
use horq::ops::{Binary, Quantizer};
use horq::{Builder, Isa, Model, Order, Padding, PlainValues, ScaleMode, Session, SessionOptions};
use horq_kernels::{Geometry, Step};
use horq_oracle::{self as oracle, BinaryLayer};
use std::collections::HashMap;

/// An operation with its values, which live as long as the test.
pub type PlainOp = Op<PlainValues<'static>>;

/// A network in plain floats.
#[derive(Clone)]
pub struct Net {
    pub input: Shape,
    pub nodes: Vec<(String, Vec<String>, PlainOp)>,
}

/// A quantizer with or without constants.
pub fn quantizer<'a>(order: usize, mode: ScaleMode, scales: Option<&'a [f32]>) -> Quantizer<PlainValues<'a>> {
    let mut quantizer = Quantizer::new(Order::new(order).unwrap(), mode);
    quantizer.scales = scales.map(Into::into);
    quantizer
}

/// The values of an f32 tensor.
pub fn floats<'a>(values: &'a PlainValues<'_>) -> &'a [f32] {
    let PlainValues::F32(values) = values else { panic!("{values:?} are no floats") };
    values
}

/// A value that lives as long as the test.
pub fn keep<T>(values: Vec<T>) -> &'static [T] {
    values.leak()
}

impl Net {
    pub fn new(input: Shape) -> Self {
        Self { input, nodes: Vec::new() }
    }

    /// Adds a node that reads the one before it.
    pub fn then(mut self, name: &str, op: impl Into<PlainOp>) -> Self {
        let before = self.nodes.last().map_or("x", |(name, ..)| name).to_owned();
        self.nodes.push((name.into(), vec![before], op.into()));
        self
    }

    pub fn node(mut self, name: &str, inputs: &[&str], op: impl Into<PlainOp>) -> Self {
        self.nodes.push((name.into(), inputs.iter().map(|input| input.to_string()).collect(), op.into()));
        self
    }

    pub fn output(&self) -> &str {
        &self.nodes.last().expect("a net has nodes").0
    }

    pub fn builder(&self) -> Builder {
        self.builder_with(&[])
    }

    /// The same with more inputs.
    pub fn builder_with(&self, inputs: &[(&str, Shape)]) -> Builder {
        let mut builder = Builder::new("x", self.input);
        for (name, shape) in inputs {
            builder.add_input(name, *shape).unwrap();
        }
        for (name, inputs, op) in &self.nodes {
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            builder.add(name, &inputs, op.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        builder
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.builder().to_bytes(self.output()).unwrap()
    }

    pub fn model(&self) -> Model {
        Model::from_bytes(&self.bytes()).unwrap()
    }

    /// The answer to any number of samples, binary layers at the order that `order` makes of their name and highest order.
    pub fn answer(&self, input: &[f32], order: impl Fn(&str, usize) -> usize) -> Vec<f32> {
        self.values(&[("x", self.input, input)], order).remove(self.output()).unwrap().1
    }

    /// The value of every node and input, given those of the inputs.
    pub fn values(
        &self,
        inputs: &[(&str, Shape, &[f32])],
        order: impl Fn(&str, usize) -> usize,
    ) -> HashMap<String, (Shape, Vec<f32>)> {
        let input = |&(name, shape, values): &(&str, Shape, &[f32])| (name.to_owned(), (shape, values.to_vec()));
        let mut values: HashMap<String, (Shape, Vec<f32>)> = inputs.iter().map(input).collect();
        for (name, inputs, op) in &self.nodes {
            let inputs: Vec<&(Shape, Vec<f32>)> = inputs.iter().map(|input| &values[input.as_str()]).collect();
            let decides = if let Op::AffineByOrder(op) = op { &op.order_of } else { name };
            let value = interpret(op, &inputs, |highest| order(decides, highest));
            values.insert(name.clone(), value);
        }
        values
    }
}

fn interpret(
    op: &Op<PlainValues<'_>>,
    inputs: &[&(Shape, Vec<f32>)],
    order: impl Fn(usize) -> usize,
) -> (Shape, Vec<f32>) {
    let (shape, x) = inputs[0];
    let channels = shape.channels();
    let [height, width] = match *shape {
        Shape::Image { height, width, .. } => [height, width],
        Shape::Flat(_) => [1, 1],
    };
    let image = |[height, width]: [usize; 2], channels| Shape::Image { height, width, channels };
    let by_channel = |f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        x.iter().enumerate().map(|(i, &x)| f(i % channels, x)).collect()
    };
    let sliding = |horq::ops::Sliding { window, filters, groups, .. }: horq::ops::Sliding| {
        let out = window.output(height, width).unwrap();
        (image(out, filters), Geometry { height, width, channels, filters, groups, window })
    };
    let flat = |filters| (Shape::Flat(filters), Geometry::dense(channels, filters));
    // A convolution or matrix product of that kind of weights.
    let product = |(shape, geometry): (Shape, Geometry), bias: &Option<PlainValues<'_>>, kind: Kind<'_>| {
        let steps: Vec<Step<'_>> = bias.iter().map(|bias| Step::Bias(floats(bias))).collect();
        (shape, kind(&geometry, x, &steps))
    };
    match op {
        Op::Conv2d(op) => product(sliding(op.layout), &op.bias, &|geometry, x, steps| {
            oracle::float_conv(geometry, x, floats(&op.weights.weight), steps)
        }),
        Op::Dense(op) => product(flat(op.layout.filters), &op.bias, &|geometry, x, steps| {
            oracle::float_conv(geometry, x, floats(&op.weights.weight), steps)
        }),
        Op::BinaryConv2d(op) => product(sliding(op.layout.sliding), &op.bias, &|geometry, x, steps| {
            binary(geometry, op.layout.pad_value, order(op.weights.quantizer.order), &op.weights, steps, x)
        }),
        Op::BinaryDense(op) => product(flat(op.layout.filters), &op.bias, &|geometry, x, steps| {
            binary(geometry, Padding::ValidTaps, order(op.weights.quantizer.order), &op.weights, steps, x)
        }),
        Op::BinaryWeightConv2d(op) => product(sliding(op.layout), &op.bias, &|geometry, x, steps| {
            oracle::binary_weight_conv(geometry, x, floats(&op.weights.weight), floats(&op.weights.alpha), steps)
        }),
        Op::BinaryWeightDense(op) => product(flat(op.layout.filters), &op.bias, &|geometry, x, steps| {
            oracle::binary_weight_conv(geometry, x, floats(&op.weights.weight), floats(&op.weights.alpha), steps)
        }),
        Op::CodebookConv2d(op) => product(sliding(op.layout), &op.bias, &|geometry, x, steps| {
            oracle::float_conv(geometry, x, &entries(&op.weights.codes, &op.weights.codebook), steps)
        }),
        Op::CodebookDense(op) => product(flat(op.layout.filters), &op.bias, &|geometry, x, steps| {
            oracle::float_conv(geometry, x, &entries(&op.weights.codes, &op.weights.codebook), steps)
        }),
        Op::Int8Conv2d(op) => {
            product(sliding(op.layout), &op.bias, &|geometry, x, steps| int8(geometry, &op.weights, steps, x))
        }
        Op::Int8Dense(op) => {
            product(flat(op.layout.filters), &op.bias, &|geometry, x, steps| int8(geometry, &op.weights, steps, x))
        }
        Op::Affine(op) => {
            let (scale, shift) = (floats(&op.scale), floats(&op.shift));
            let affine = |c: usize, x: f32| {
                let product = x * scale[c];
                product + shift[c]
            };
            (*shape, by_channel(&affine))
        }
        Op::AffineByOrder(op) => {
            let row = op.rows[order(op.rows.len()) - 1].clone();
            interpret(&row.into(), inputs, order)
        }
        Op::Relu(_) => (*shape, by_channel(&|_, x| if x < 0.0 { 0.0 } else { x })),
        Op::HardSwish(_) => (*shape, by_channel(&|_, x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0)),
        Op::Prelu(op) => {
            let slope = floats(&op.slope);
            (*shape, by_channel(&|c, x| if x >= 0.0 { x } else { x * slope[c] }))
        }
        Op::MaxPool(op) => {
            let out = op.window.output(height, width).unwrap();
            (image(out, channels), oracle::max_pool(&op.window, [height, width, channels], x))
        }
        Op::AveragePool(op) => {
            let out = op.window.output(height, width).unwrap();
            (image(out, channels), oracle::average_pool(&op.window, [height, width, channels], x))
        }
        Op::GlobalAveragePool(_) => {
            let pixels = height * width;
            let mean = |sample: &[f32], c: usize| {
                (0..pixels).fold(0.0f32, |sum, pixel| sum + sample[pixel * channels + c]) / pixels as f32
            };
            let means = x.chunks(shape.len()).flat_map(|sample| (0..channels).map(move |c| mean(sample, c)));
            (Shape::Flat(channels), means.collect())
        }
        Op::Add(_) => (*shape, x.iter().zip(&inputs[1].1).map(|(a, b)| a + b).collect()),
        Op::Concat(_) => {
            let total: usize = inputs.iter().map(|(shape, _)| shape.channels()).sum();
            let mut joined = Vec::new();
            for pixel in 0..x.len() / channels {
                for (shape, values) in inputs {
                    joined.extend(&values[pixel * shape.channels()..(pixel + 1) * shape.channels()]);
                }
            }
            let shape =
                if let Shape::Image { .. } = shape { image([height, width], total) } else { Shape::Flat(total) };
            (shape, joined)
        }
        Op::Flatten(_) => (Shape::Flat(shape.len()), x.clone()),
        Op::Softmax(_) => (*shape, oracle::softmax(channels, x).into_iter().map(|y| y as f32).collect()),
        _ => panic!("the interpreter does not know {op:?}"),
    }
}

/// The answer to an input of a convolution or matrix product, given its steps.
type Kind<'a> = &'a dyn Fn(&Geometry, &[f32], &[Step<'_>]) -> Vec<f32>;

fn entries(codes: &PlainValues<'_>, codebook: &PlainValues<'_>) -> Vec<f32> {
    let PlainValues::Codes(codes) = codes else { panic!("{codes:?} are no codes") };
    codes.iter().map(|&code| floats(codebook)[usize::from(code)]).collect()
}

fn int8(geometry: &Geometry, weights: &horq::ops::Int8<PlainValues<'_>>, steps: &[Step<'_>], x: &[f32]) -> Vec<f32> {
    let PlainValues::I8(weight) = &weights.weight else { panic!("{:?} are no bytes", weights.weight) };
    let quantizer = (floats(&weights.input_scale)[0], weights.zero_point);
    oracle::int8_conv(geometry, x, quantizer, weight, floats(&weights.alpha), steps)
}

fn binary(
    geometry: &Geometry,
    padding: Padding,
    order: usize,
    Binary { quantizer, bases, .. }: &Binary<PlainValues<'_>>,
    steps: &[Step<'_>],
    x: &[f32],
) -> Vec<f32> {
    let bases: Vec<oracle::Basis<'_>> = bases
        .iter()
        .map(|basis| oracle::Basis { weights: floats(&basis.weight), alpha: floats(&basis.alpha) })
        .collect();
    let (geometry, mode) = (*geometry, quantizer.mode);
    let scales = quantizer.scales.as_ref().map_or(&[][..], floats);
    let scales = if mode == ScaleMode::Halving { &scales[order - 1..order] } else { scales };
    BinaryLayer { geometry, padding, mode, order, scales, bases: &bases, steps, pool: None }.run(x).unwrap()
}

/// Runs a session on whole samples.
pub fn run(session: &mut Session, input: &[f32]) -> Vec<f32> {
    let mut output = vec![f32::NAN; input.len() / session.input_len() * session.output_len()];
    session.run(input, &mut output).unwrap();
    output
}

/// Every instruction set of this CPU; more than the portable one on the CPUs that tests run on.
pub fn isas() -> Vec<Isa> {
    let isas: Vec<Isa> = Isa::available().collect();
    assert!(isas.contains(&Isa::Portable));
    isas
}

pub fn options(batch: usize, isa: Isa) -> SessionOptions {
    SessionOptions::new().batch(batch).isa(isa)
}

/// Fails unless the bits are equal, naming the first value that differs.
#[track_caller]
pub fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let differs = (0..found.len()).find(|&i| found[i].to_bits() != expected[i].to_bits());
    if let Some(i) = differs {
        panic!("{what}: value {i} of {} is {:?}, expected {:?}", found.len(), found[i], expected[i]);
    }
}

/// Compares a session on each instruction set with the interpreter, at the highest orders.
pub fn check(net: &Net, samples: usize, what: &str) {
    let model = net.model();
    let input = random::values(&mut random::rng(samples as u64), samples * net.input.len());
    let expected = net.answer(&input, |_, highest| highest);
    for isa in isas() {
        let mut session = Session::new(&model, options(samples, isa)).unwrap();
        assert_same_bits(&run(&mut session, &input), &expected, &format!("{what}, {isa}"));
    }
}
