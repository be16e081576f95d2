//! Networks in plain floats for the tests: built into a model by `horq::Builder`, and computed by an interpreter that
//! shares nothing with the engine (plain loops over `horq_oracle`, one node at a time, nothing fused).

#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod float_mode;
pub mod lenet;
pub mod random;

use horq::graph::Shape;
use horq::{AffineRow, BinaryBase, Builder, Isa, Layer, Model, Padding, Session, SessionOptions};
use horq_kernels::{Geometry, Step};
use horq_oracle::{self as oracle, Basis, BinaryLayer};
use std::collections::HashMap;

/// A network in plain floats. Layers live as long as the test.
#[derive(Clone)]
pub struct Net {
    pub input: Shape,
    pub nodes: Vec<(String, Vec<String>, Layer<'static>)>,
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
    pub fn then(mut self, name: &str, layer: Layer<'static>) -> Self {
        let before = self.nodes.last().map_or("x", |(name, ..)| name).to_owned();
        self.nodes.push((name.into(), vec![before], layer));
        self
    }

    pub fn node(mut self, name: &str, inputs: &[&str], layer: Layer<'static>) -> Self {
        self.nodes.push((name.into(), inputs.iter().map(|input| input.to_string()).collect(), layer));
        self
    }

    pub fn output(&self) -> &str {
        &self.nodes.last().expect("a net has nodes").0
    }

    pub fn builder(&self) -> Builder {
        let mut builder = Builder::new("x", self.input);
        for (name, inputs, layer) in &self.nodes {
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            builder.add(name, &inputs, *layer).unwrap_or_else(|error| panic!("{name}: {error}"));
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
        let mut values = HashMap::from([("x", (self.input, input.to_vec()))]);
        for (name, inputs, layer) in &self.nodes {
            let inputs: Vec<&(Shape, Vec<f32>)> = inputs.iter().map(|input| &values[input.as_str()]).collect();
            let decides = if let Layer::AffineByOrder { order_of, .. } = layer { order_of } else { name.as_str() };
            let value = interpret(layer, &inputs, |highest| order(decides, highest));
            values.insert(name, value);
        }
        values.remove(self.output()).unwrap().1
    }
}

fn interpret(layer: &Layer<'_>, inputs: &[&(Shape, Vec<f32>)], order: impl Fn(usize) -> usize) -> (Shape, Vec<f32>) {
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
    match *layer {
        Layer::Conv2d { window, filters, groups, weight, bias } => {
            let geometry = Geometry { height, width, channels, filters, groups, window };
            let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
            let out = window.output(height, width).unwrap();
            (image(out, filters), oracle::float_conv(&geometry, x, weight, &steps))
        }
        Layer::Dense { filters, weight, bias } => {
            let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
            (Shape::Flat(filters), oracle::float_conv(&Geometry::dense(channels, filters), x, weight, &steps))
        }
        Layer::BinaryConv2d { window, filters, groups, pad_value, quantize, bases, bias } => {
            let geometry = Geometry { height, width, channels, filters, groups, window };
            let out = window.output(height, width).unwrap();
            (image(out, filters), binary(geometry, pad_value, order(quantize.order), quantize, bases, bias, x))
        }
        Layer::BinaryDense { filters, quantize, bases, bias } => {
            let geometry = Geometry::dense(channels, filters);
            let padding = Padding::ValidTaps;
            (Shape::Flat(filters), binary(geometry, padding, order(quantize.order), quantize, bases, bias, x))
        }
        Layer::BinaryWeightConv2d { window, filters, groups, base, bias } => {
            let geometry = Geometry { height, width, channels, filters, groups, window };
            let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
            let out = window.output(height, width).unwrap();
            (image(out, filters), oracle::binary_weight_conv(&geometry, x, base.weight, base.alpha, &steps))
        }
        Layer::BinaryWeightDense { filters, base, bias } => {
            let geometry = Geometry::dense(channels, filters);
            let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
            (Shape::Flat(filters), oracle::binary_weight_conv(&geometry, x, base.weight, base.alpha, &steps))
        }
        Layer::CodebookConv2d { window, filters, groups, codes, codebook, bias } => {
            let weight: Vec<f32> = codes.iter().map(|&code| codebook[usize::from(code)]).collect();
            interpret(&Layer::Conv2d { window, filters, groups, weight: &weight, bias }, inputs, order)
        }
        Layer::CodebookDense { filters, codes, codebook, bias } => {
            let weight: Vec<f32> = codes.iter().map(|&code| codebook[usize::from(code)]).collect();
            interpret(&Layer::Dense { filters, weight: &weight, bias }, inputs, order)
        }
        Layer::Int8Conv2d { window, filters, groups, quantize, weight, alpha, bias } => {
            let geometry = Geometry { height, width, channels, filters, groups, window };
            let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
            let (out, quantizer) = (window.output(height, width).unwrap(), (quantize.scale, quantize.zero_point));
            (image(out, filters), oracle::int8_conv(&geometry, x, quantizer, weight, alpha, &steps))
        }
        Layer::Int8Dense { filters, quantize, weight, alpha, bias } => {
            let geometry = Geometry::dense(channels, filters);
            let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
            let quantizer = (quantize.scale, quantize.zero_point);
            (Shape::Flat(filters), oracle::int8_conv(&geometry, x, quantizer, weight, alpha, &steps))
        }
        Layer::Affine { scale, shift } => {
            let affine = |c: usize, x: f32| {
                let product = x * scale[c];
                product + shift[c]
            };
            (*shape, by_channel(&affine))
        }
        Layer::AffineByOrder { rows, .. } => {
            let AffineRow { scale, shift } = rows[order(rows.len()) - 1];
            interpret(&Layer::Affine { scale, shift }, inputs, order)
        }
        Layer::Relu => (*shape, by_channel(&|_, x| if x < 0.0 { 0.0 } else { x })),
        Layer::Prelu { slope } => (*shape, by_channel(&|c, x| if x >= 0.0 { x } else { x * slope[c] })),
        Layer::MaxPool { window } => {
            let out = window.output(height, width).unwrap();
            (image(out, channels), oracle::max_pool(&window, [height, width, channels], x))
        }
        Layer::AveragePool { window } => {
            let out = window.output(height, width).unwrap();
            (image(out, channels), oracle::average_pool(&window, [height, width, channels], x))
        }
        Layer::GlobalAveragePool => {
            let pixels = height * width;
            let mean = |sample: &[f32], c: usize| {
                (0..pixels).fold(0.0f32, |sum, pixel| sum + sample[pixel * channels + c]) / pixels as f32
            };
            let means = x.chunks(shape.len()).flat_map(|sample| (0..channels).map(move |c| mean(sample, c)));
            (Shape::Flat(channels), means.collect())
        }
        Layer::Add => (*shape, x.iter().zip(&inputs[1].1).map(|(a, b)| a + b).collect()),
        Layer::Concat => {
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
        Layer::Flatten => (Shape::Flat(shape.len()), x.clone()),
        Layer::Softmax => (*shape, oracle::softmax(channels, x).into_iter().map(|y| y as f32).collect()),
        _ => panic!("the interpreter does not know {layer:?}"),
    }
}

fn binary(
    geometry: Geometry,
    padding: Padding,
    order: usize,
    quantize: horq::Quantize<'_>,
    bases: &[BinaryBase<'_>],
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<f32> {
    let bases: Vec<Basis<'_>> = bases.iter().map(|base| Basis { weights: base.weight, alpha: base.alpha }).collect();
    let steps: Vec<Step<'_>> = bias.map(Step::Bias).into_iter().collect();
    let scales = quantize.scales.unwrap_or(&[]);
    let layer =
        BinaryLayer { geometry, padding, mode: quantize.mode, order, scales, bases: &bases, steps: &steps, pool: None };
    layer.run(x).unwrap()
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
