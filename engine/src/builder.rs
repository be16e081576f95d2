//! Makes `.horq` files from layers in plain row-major floats.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use horq_kernels::codebook::pack_codes;
use horq_kernels::panel::{LANES, pack_bits, pack_floats};
use horq_kernels::{Geometry, Padding, ScaleMode, Window};

use crate::format::{GoldenRef, Limits, Parts, TensorData, assemble, write_atomic};
use crate::graph::{Base, Graph, Input, Node, Op, Quantizer, Shape, check_name, code_bits, infer};
use crate::{Error, Model};

/// A layer in plain floats. Weights are `[filter][kernel row][kernel column][channel of the group]` or
/// `[filter][feature]`; vectors have one value a filter or channel. [`Op`] says what each layer computes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Layer<'a> {
    /// f32 convolution.
    Conv2d {
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// The weights.
        weight: &'a [f32],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// f32 matrix product.
    Dense {
        /// Output features.
        filters: usize,
        /// The weights.
        weight: &'a [f32],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// Convolution of residual-quantized activations with binary weights.
    BinaryConv2d {
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// What a padded tap stands for.
        pad_value: Padding,
        /// How activations become planes.
        quantize: Quantize<'a>,
        /// The weight bases, one or more.
        bases: &'a [BinaryBase<'a>],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// The same for a flat value.
    BinaryDense {
        /// Output features.
        filters: usize,
        /// How activations become planes.
        quantize: Quantize<'a>,
        /// The weight bases, one or more.
        bases: &'a [BinaryBase<'a>],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// Convolution of f32 activations with binary weights.
    BinaryWeightConv2d {
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// The weights and their factors.
        base: BinaryBase<'a>,
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// The same for a flat value.
    BinaryWeightDense {
        /// Output features.
        filters: usize,
        /// The weights and their factors.
        base: BinaryBase<'a>,
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// f32 convolution whose weights are entries of a codebook.
    CodebookConv2d {
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// The entry that each weight is, in the order of weights.
        codes: &'a [u8],
        /// The entries, 1 to 32.
        codebook: &'a [f32],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// The same for a flat value.
    CodebookDense {
        /// Output features.
        filters: usize,
        /// The entry that each weight is, in the order of weights.
        codes: &'a [u8],
        /// The entries, 1 to 32.
        codebook: &'a [f32],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// y = x * scale + shift by channel.
    Affine {
        /// One value a channel.
        scale: &'a [f32],
        /// One value a channel.
        shift: &'a [f32],
    },
    /// y = max(x, 0).
    Relu,
    /// y = x where x >= 0, else x * slope by channel.
    Prelu {
        /// One value a channel.
        slope: &'a [f32],
    },
    /// The largest value of each window.
    MaxPool {
        /// Kernel, stride, dilation, padding.
        window: Window,
    },
    /// The mean of each window.
    AveragePool {
        /// Kernel, stride, dilation, padding.
        window: Window,
    },
    /// The mean of each channel over the image.
    GlobalAveragePool,
    /// The sum of two values of one shape.
    Add,
    /// Channels of two or more values side by side.
    Concat,
    /// An image as a vector.
    Flatten,
    /// exp(x - max x) / sum over channels.
    Softmax,
}

/// One weight basis in plain floats: W ~ alpha sign(weight).
#[derive(Clone, Copy, Debug)]
pub struct BinaryBase<'a> {
    /// Weights, of which only the signs count; sign(0) = sign(-0.0) = +1.
    pub weight: &'a [f32],
    /// alpha, one value a filter.
    pub alpha: &'a [f32],
}

/// How a binary layer quantizes its input.
#[derive(Clone, Copy, Debug)]
pub struct Quantize<'a> {
    /// The highest order, 1 to 8.
    pub order: usize,
    /// Over what each plane's scale is the mean.
    pub mode: ScaleMode,
    /// The constants of mode fixed, one an order, positive; none in every other mode.
    pub scales: Option<&'a [f32]>,
}

/// Makes a `.horq` file node by node.
///
/// ```
/// use horq::{BinaryBase, Builder, Layer, Model, Quantize, ScaleMode, graph::Shape};
///
/// let base = BinaryBase { weight: &[0.3, -0.1, -0.7, 0.2], alpha: &[0.2, 0.45] };
/// let quantize = Quantize { order: 2, mode: ScaleMode::Image, scales: None };
/// let mut builder = Builder::new("x", Shape::Flat(2));
/// builder.add("hidden", &["x"], Layer::BinaryDense { filters: 2, quantize, bases: &[base], bias: None })?;
/// builder.add("y", &["hidden"], Layer::Softmax)?;
/// let model = Model::from_bytes(&builder.to_bytes("y")?)?;
/// assert_eq!(model.output_shape(), Shape::Flat(2));
/// # Ok::<(), horq::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    input: Input,
    nodes: Vec<Node>,
    /// The shape of each value by name.
    shapes: HashMap<String, Shape>,
    tensors: Vec<(String, Vec<usize>, TensorData)>,
    golden: Option<(Vec<f32>, Vec<f32>)>,
    producer: String,
    notes: BTreeMap<String, String>,
}

impl Builder {
    /// A graph without nodes.
    pub fn new(input_name: &str, shape: Shape) -> Self {
        Self {
            input: Input { name: input_name.into(), shape },
            nodes: Vec::new(),
            shapes: HashMap::from([(input_name.into(), shape)]),
            tensors: Vec::new(),
            golden: None,
            producer: concat!("horq ", env!("CARGO_PKG_VERSION")).into(),
            notes: BTreeMap::new(),
        }
    }

    /// Adds a node that reads the graph's input or earlier nodes; packs and copies what the layer holds.
    ///
    /// # Errors
    /// The rule that the node breaks, or [`Error::SourceLength`] or [`Error::NotFinite`] about its values. The builder is
    /// then as it was before.
    pub fn add(&mut self, name: &str, inputs: &[&str], layer: Layer<'_>) -> Result<&mut Self, Error> {
        check_name(name)?;
        if self.shapes.contains_key(name) {
            return Err(Error::DuplicateName { node: name.into() });
        }
        let mut shapes = Vec::with_capacity(inputs.len());
        for &input in inputs {
            let shape = self.shapes.get(input);
            shapes.push(*shape.ok_or_else(|| Error::UnknownInput { node: name.into(), input: input.into() })?);
        }
        let node = Node {
            name: name.into(),
            inputs: inputs.iter().map(|&input| input.into()).collect(),
            op: describe(name, &layer),
        };
        let shape = infer(&node, &shapes, &Limits::default())?;
        let mut sources = Sources { node: name, geometry: node.op.geometry(shapes[0]), packed: Vec::new() };
        sources.pack(&layer, shapes[0])?;
        let (specs, packed) = (node.op.tensors(shapes[0]), sources.packed);
        debug_assert_eq!(specs.len(), packed.len());
        self.tensors
            .extend(specs.iter().zip(packed).map(|(spec, data)| (spec.name.into(), spec.content.shape(), data)));
        self.nodes.push(node);
        self.shapes.insert(name.into(), shape);
        Ok(self)
    }

    /// The shape of the graph's input or of a node's value.
    pub fn shape(&self, value: &str) -> Option<Shape> {
        self.shapes.get(value).copied()
    }

    /// Gives the file an input and its answer for a self-test: a whole number of samples each, checked by
    /// [`Self::to_bytes`].
    pub fn golden(&mut self, input: &[f32], output: &[f32]) -> &mut Self {
        self.golden = Some((input.to_vec(), output.to_vec()));
        self
    }

    /// Names the program that makes the file; `horq` and its version by default.
    pub fn producer(&mut self, producer: &str) -> &mut Self {
        self.producer = producer.into();
        self
    }

    /// Adds a note, or replaces the one of that key.
    pub fn note(&mut self, key: &str, value: &str) -> &mut Self {
        self.notes.insert(key.into(), value.into());
        self
    }

    /// The file's bytes, with that node as the output. The same calls give the same bytes.
    ///
    /// # Errors
    /// The rule of the format that the whole breaks: the validator of [`Model::open`] reads every file that is made.
    pub fn to_bytes(&self, output: &str) -> Result<Vec<u8>, Error> {
        let graph = Graph { input: self.input.clone(), output: output.into(), nodes: self.nodes.clone() };
        let mut tensors = self.tensors.clone();
        let golden = match (&self.golden, self.shapes.get(output)) {
            (Some((input, answer)), Some(&shape)) => {
                let samples = self.golden_samples(input.len(), answer.len(), shape)?;
                let golden = GoldenRef { samples, input: "golden.input".into(), output: "golden.output".into() };
                for (name, values) in [(&golden.input, input), (&golden.output, answer)] {
                    let values = padded(values);
                    tensors.push((name.clone(), vec![values.len()], TensorData::F32(values)));
                }
                Some(golden)
            }
            _ => None,
        };
        let bytes = assemble(&Parts {
            graph: &graph,
            golden: golden.as_ref(),
            producer: &self.producer,
            notes: &self.notes,
            tensors: &tensors,
        });
        Model::from_bytes(&bytes)?;
        Ok(bytes)
    }

    /// Writes the file so that whoever opens the path sees the old file or the whole new one, also after a crash.
    ///
    /// # Errors
    /// As [`Self::to_bytes`], and [`Error::Io`].
    pub fn write(&self, output: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        write_atomic(path.as_ref(), &self.to_bytes(output)?)
    }

    fn golden_samples(&self, input: usize, output: usize, output_shape: Shape) -> Result<usize, Error> {
        let (input_len, output_len) = (self.input.shape.len(), output_shape.len());
        let samples = input.checked_div(input_len).unwrap_or(0);
        if samples == 0 || samples * input_len != input || samples.checked_mul(output_len) != Some(output) {
            return Err(Error::GoldenLength { input, output, input_len, output_len });
        }
        Ok(samples)
    }
}

/// The operation of a layer. Tensors are named after the node and their role, which no two nodes can share.
fn describe(node: &str, layer: &Layer<'_>) -> Op {
    let tensor = |role: &str| format!("{node}.{role}");
    let bias = |bias: Option<&[f32]>| bias.map(|_| tensor("bias"));
    let bases = |bases: &[BinaryBase<'_>]| {
        (0..bases.len())
            .map(|i| Base { weight: tensor(&format!("weight.{i}")), alpha: tensor(&format!("alpha.{i}")) })
            .collect()
    };
    let quantizer = |quantize: Quantize<'_>| Quantizer {
        order: quantize.order,
        mode: quantize.mode,
        scales: quantize.scales.map(|_| tensor("scales")),
    };
    match *layer {
        Layer::Conv2d { window, filters, groups, bias: b, .. } => {
            Op::Conv2d { window, filters, groups, weight: tensor("weight"), bias: bias(b) }
        }
        Layer::Dense { filters, bias: b, .. } => Op::Dense { filters, weight: tensor("weight"), bias: bias(b) },
        Layer::BinaryConv2d { window, filters, groups, pad_value, quantize, bases: l, bias: b } => Op::BinaryConv2d {
            window,
            filters,
            groups,
            pad_value,
            quantizer: quantizer(quantize),
            bases: bases(l),
            bias: bias(b),
        },
        Layer::BinaryDense { filters, quantize, bases: l, bias: b } => {
            Op::BinaryDense { filters, quantizer: quantizer(quantize), bases: bases(l), bias: bias(b) }
        }
        Layer::BinaryWeightConv2d { window, filters, groups, bias: b, .. } => Op::BinaryWeightConv2d {
            window,
            filters,
            groups,
            weight: tensor("weight"),
            alpha: tensor("alpha"),
            bias: bias(b),
        },
        Layer::BinaryWeightDense { filters, bias: b, .. } => {
            Op::BinaryWeightDense { filters, weight: tensor("weight"), alpha: tensor("alpha"), bias: bias(b) }
        }
        Layer::CodebookConv2d { window, filters, groups, codebook, bias: b, .. } => Op::CodebookConv2d {
            window,
            filters,
            groups,
            entries: codebook.len(),
            codes: tensor("codes"),
            codebook: tensor("codebook"),
            bias: bias(b),
        },
        Layer::CodebookDense { filters, codebook, bias: b, .. } => Op::CodebookDense {
            filters,
            entries: codebook.len(),
            codes: tensor("codes"),
            codebook: tensor("codebook"),
            bias: bias(b),
        },
        Layer::Affine { .. } => Op::Affine { scale: tensor("scale"), shift: tensor("shift") },
        Layer::Relu => Op::Relu,
        Layer::Prelu { .. } => Op::Prelu { slope: tensor("slope") },
        Layer::MaxPool { window } => Op::MaxPool { window },
        Layer::AveragePool { window } => Op::AveragePool { window },
        Layer::GlobalAveragePool => Op::GlobalAveragePool,
        Layer::Add => Op::Add,
        Layer::Concat => Op::Concat,
        Layer::Flatten => Op::Flatten,
        Layer::Softmax => Op::Softmax,
    }
}

/// Checks and packs a layer's values, in the order in which [`Op::tensors`] names them.
struct Sources<'a> {
    node: &'a str,
    geometry: Option<Geometry>,
    packed: Vec<TensorData>,
}

impl Sources<'_> {
    fn pack(&mut self, layer: &Layer<'_>, input: Shape) -> Result<(), Error> {
        match *layer {
            Layer::Conv2d { filters, weight, bias, .. } | Layer::Dense { filters, weight, bias } => {
                self.weight(weight, |geometry, weight| TensorData::F32(pack_floats(geometry, weight)))?;
                self.bias(bias, filters)
            }
            Layer::BinaryConv2d { filters, quantize, bases, bias, .. }
            | Layer::BinaryDense { filters, quantize, bases, bias } => {
                for base in bases {
                    self.weight(base.weight, |geometry, weight| TensorData::U32(pack_bits(geometry, weight)))?;
                    self.vector("alpha", base.alpha, filters)?;
                }
                if let Some(scales) = quantize.scales {
                    self.vector("scales", scales, quantize.order)?;
                }
                self.bias(bias, filters)
            }
            Layer::BinaryWeightConv2d { filters, base, bias, .. }
            | Layer::BinaryWeightDense { filters, base, bias } => {
                self.weight(base.weight, |geometry, weight| TensorData::U32(pack_bits(geometry, weight)))?;
                self.vector("alpha", base.alpha, filters)?;
                self.bias(bias, filters)
            }
            Layer::CodebookConv2d { filters, codes, codebook, bias, .. }
            | Layer::CodebookDense { filters, codes, codebook, bias } => {
                self.codes(codes, codebook.len())?;
                self.vector("codebook", codebook, codebook.len())?;
                self.bias(bias, filters)
            }
            Layer::Affine { scale, shift } => {
                self.vector("scale", scale, input.channels())?;
                self.vector("shift", shift, input.channels())
            }
            Layer::Prelu { slope } => self.vector("slope", slope, input.channels()),
            _ => Ok(()),
        }
    }

    fn weight(&mut self, values: &[f32], pack: impl Fn(&Geometry, &[f32]) -> TensorData) -> Result<(), Error> {
        let geometry = self.geometry.expect("inference has given every layer with weights its geometry");
        self.check("weight", values, geometry.filters * geometry.depth())?;
        self.packed.push(pack(&geometry, values));
        Ok(())
    }

    fn codes(&mut self, codes: &[u8], entries: usize) -> Result<(), Error> {
        let geometry = self.geometry.expect("inference has given every layer with weights its geometry");
        let (node, expected, found) = (self.node.to_owned(), geometry.filters * geometry.depth(), codes.len());
        if found != expected {
            return Err(Error::SourceLength { node, source_name: "codes", expected, found });
        }
        if let Some(index) = codes.iter().position(|&code| usize::from(code) >= entries) {
            let tensor = format!("{node}.codes");
            return Err(Error::CodeBeyond { node, tensor, index, code: codes[index], entries });
        }
        let packed = pack_codes(&geometry, code_bits(entries), codes);
        self.packed.push(TensorData::U32(packed.expect("number and size of the codes were just checked")));
        Ok(())
    }

    fn bias(&mut self, bias: Option<&[f32]>, filters: usize) -> Result<(), Error> {
        bias.map_or(Ok(()), |bias| self.vector("bias", bias, filters))
    }

    fn vector(&mut self, source: &'static str, values: &[f32], expected: usize) -> Result<(), Error> {
        self.check(source, values, expected)?;
        self.packed.push(TensorData::F32(padded(values)));
        Ok(())
    }

    fn check(&self, source_name: &'static str, values: &[f32], expected: usize) -> Result<(), Error> {
        let (node, found) = (self.node.to_owned(), values.len());
        if found != expected {
            return Err(Error::SourceLength { node, source_name, expected, found });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                let tensor = format!("{node}.{source_name}");
                Err(Error::NotFinite { node, tensor, index, value: values[index] })
            }
            None => Ok(()),
        }
    }
}

/// Values and zeros up to whole lines.
fn padded(values: &[f32]) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(values.len().next_multiple_of(LANES), 0.0);
    padded
}
