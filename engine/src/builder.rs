//! Makes `.horq` files from layers in plain row-major floats.

mod sources;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use horq_kernels::float_env::in_default;
use horq_kernels::{Padding, ScaleMode, Window};
use sources::{Sources, describe, padded};

use crate::files::replace_file;
use crate::format::{GoldenRef, Limits, Parts, TensorData, assemble};
use crate::graph::{Graph, Input, Node, Shape, check_name, check_size, infer};
use crate::memory::filled;
use crate::{Error, Model};

/// A layer in plain floats. Weights are `[filter][kernel row][kernel column][channel of the group]` or
/// `[filter][feature]`; vectors have one value a filter or channel. [`crate::graph::Op`] says what each layer computes.
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
    /// Convolution of 8-bit weights and activations quantized to 8 bits.
    Int8Conv2d {
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Output channels.
        filters: usize,
        /// Channel groups.
        groups: usize,
        /// How activations become bytes.
        quantize: Int8Quantize,
        /// The weights, -127 to 127.
        weight: &'a [i8],
        /// The factor of each filter's integer sum: the activations' scale times the weights'.
        alpha: &'a [f32],
        /// One value a filter.
        bias: Option<&'a [f32]>,
    },
    /// The same for a flat value.
    Int8Dense {
        /// Output features.
        filters: usize,
        /// How activations become bytes.
        quantize: Int8Quantize,
        /// The weights, -127 to 127.
        weight: &'a [i8],
        /// The factor of each filter's integer sum: the activations' scale times the weights'.
        alpha: &'a [f32],
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
    /// y = x * scale + shift by channel, with a row for each order of a binary layer.
    AffineByOrder {
        /// The binary layer whose present order decides; it may be added later.
        order_of: &'a str,
        /// One for each order from 1 to the layer's highest.
        rows: &'a [AffineRow<'a>],
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

/// What a [`Layer::AffineByOrder`] is at one order, in plain floats.
#[derive(Clone, Copy, Debug)]
pub struct AffineRow<'a> {
    /// One value a channel.
    pub scale: &'a [f32],
    /// One value a channel.
    pub shift: &'a [f32],
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

impl Quantize<'static> {
    /// The quantizer that is exact on 8-bit images: odd integers from -255 to 255, which [`Builder::add_image8`] makes of
    /// them, are sums of ±128, ±64 .. ±1, one sign each. The layer's sums are then exact integers (to a depth of 2^16).
    ///
    /// A tap padded with [`Padding::ValidTaps`] stands for the middle of the range, as zero padding does behind a
    /// normalization to -1..1; with [`Padding::One`] for white. It takes eight planes, so what it costs is that of order 8:
    /// less than f32 for images of 32 and more channels and for matrix products at batch 1, more for stems of 3 channels
    /// (a word of bits holds 3 of 32), where [`Layer::Int8Conv2d`] is the fast one.
    pub const fn image8() -> Self {
        Self { order: 8, mode: ScaleMode::Fixed, scales: Some(&[128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0]) }
    }
}

/// How an 8-bit layer quantizes its input: x stands as scale * (q - zero_point), q from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int8Quantize {
    /// What a step of q stands for; at least [`f32::MIN_POSITIVE`], and finite.
    pub scale: f32,
    /// The q that stands for 0.
    pub zero_point: u8,
}

impl Int8Quantize {
    /// The quantizer whose 256 steps cover `low` to `high`, which is widened to hold 0: what a calibration has seen.
    /// A range of nothing but 0 gets the scale 1.
    ///
    /// ```
    /// use horq::Int8Quantize;
    ///
    /// assert_eq!(Int8Quantize::of_range(0.0, 127.5), Int8Quantize { scale: 0.5, zero_point: 0 });
    /// assert_eq!(Int8Quantize::of_range(-32.0, 95.5), Int8Quantize { scale: 0.5, zero_point: 64 });
    /// ```
    pub fn of_range(low: f32, high: f32) -> Self {
        in_default(|| {
            let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
            let scale = ((high - low) / 255.0) as f32;
            if scale < f32::MIN_POSITIVE {
                return Self { scale: 1.0, zero_point: 0 };
            }
            Self { scale, zero_point: (-low / f64::from(scale)).round().clamp(0.0, 255.0) as u8 }
        })
    }
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
            shapes.push(self.read(name, input)?);
        }
        let node = Node {
            name: name.into(),
            inputs: inputs.iter().map(|&input| input.into()).collect(),
            op: describe(name, &layer),
        };
        let shape = infer(&node, &shapes, &Limits::default())?;
        let mut sources = Sources::new(name, node.op.geometry(shapes[0]));
        in_default(|| sources.pack(&layer, shapes[0]))?;
        let (specs, packed) = (node.op.tensors(shapes[0]), sources.finish());
        debug_assert_eq!(specs.len(), packed.len());
        self.tensors
            .extend(specs.iter().zip(packed).map(|(spec, data)| (spec.name.into(), spec.content.shape(), data)));
        self.nodes.push(node);
        self.shapes.insert(name.into(), shape);
        Ok(self)
    }

    /// Adds the affine before a layer that quantizes with [`Quantize::image8`]: x * 510 / `white` - 255, which makes odd
    /// integers of 8-bit values. `white` is what the byte 255 is given as: 255, or 1 for fractions, whose rounding the
    /// quantizer takes out again.
    ///
    /// # Errors
    /// As [`Self::add`]; [`Error::NotFinite`] also if `white` is 0 or not finite.
    pub fn add_image8(&mut self, name: &str, input: &str, white: f32) -> Result<&mut Self, Error> {
        let channels = self.read(name, input)?.channels();
        // A `white` that is infinite would make a scale of 0.
        let scale = if white.is_finite() { in_default(|| 510.0 / white) } else { f32::NAN };
        let (scale, shift) = (filled(channels, scale)?, filled(channels, -255.0)?);
        self.add(name, &[input], Layer::Affine { scale: &scale, shift: &shift })
    }

    /// The shape of a value that a node reads. That of the graph's input is checked here, that of a node's was when it was
    /// added.
    fn read(&self, node: &str, input: &str) -> Result<Shape, Error> {
        if input == self.input.name {
            check_name(input)?;
            check_size(input, self.input.shape, &Limits::default())?;
        }
        let shape = self.shape(input);
        shape.ok_or_else(|| Error::UnknownInput { node: node.into(), input: input.into() })
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
                    let values = padded(values)?;
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
    /// [`replace_file`](crate::replace_file) does it and says what becomes of links, permissions and devices.
    ///
    /// # Errors
    /// As [`Self::to_bytes`], and [`Error::Io`] or [`Error::NotReplaceable`].
    pub fn write(&self, output: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        replace_file(path, &self.to_bytes(output)?)
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
