//! Makes `.horq` files from operations with plain row-major values.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use horq_kernels::float_env::in_default;

use crate::error::{GraphError, InputError};
use crate::files::replace_file;
use crate::format::{GoldenRef, Parts, assemble};
use crate::graph::{Graph, Input, Node, Op, Shape, check_name, check_size, infer};
use crate::limits::Limits;
use crate::ops::Affine;
use crate::tensor::{Place, PlainValues, Source, TensorData, filled, padded};
use crate::{Error, Model, Points};

/// Makes a `.horq` file node by node.
///
/// ```
/// use horq::ops::{Basis, BinaryDense, Quantizer, Softmax};
/// use horq::{Builder, Model, Order, ScaleMode, graph::Shape};
///
/// let quantizer = Quantizer::new(Order::new(2)?, ScaleMode::Image);
/// let bases = [Basis::new(&[0.3, -0.1, -0.7, 0.2], &[0.2, 0.45])];
/// let mut builder = Builder::new("x", Shape::Flat(2));
/// builder.add("hidden", &["x"], BinaryDense::new(2, quantizer, bases).bias(&[0.5, 0.0]))?;
/// builder.add("y", &["hidden"], Softmax)?;
/// let model = Model::from_bytes(&builder.to_bytes("y")?)?;
/// assert_eq!(model.output_shape(), Shape::Flat(2));
/// # Ok::<(), horq::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    inputs: Vec<Input>,
    nodes: Vec<Node>,
    /// The shape of each value by name.
    shapes: HashMap<String, Shape>,
    tensors: Vec<(String, Vec<usize>, TensorData)>,
    golden: Option<[Vec<Vec<f32>>; 2]>,
    producer: String,
    notes: BTreeMap<String, String>,
    points: Points,
}

impl Builder {
    /// A graph with that input and without nodes.
    pub fn new(input_name: &str, shape: Shape) -> Self {
        Self {
            inputs: vec![Input { name: input_name.into(), shape }],
            nodes: Vec::new(),
            shapes: HashMap::from([(input_name.into(), shape)]),
            tensors: Vec::new(),
            golden: None,
            producer: concat!("horq ", env!("CARGO_PKG_VERSION")).into(),
            notes: BTreeMap::new(),
            points: Points::default(),
        }
    }

    /// Adds an input to the one that [`Self::new`] was given. A run takes them in the order in which they were added.
    ///
    /// # Errors
    /// The rule that the name or the shape breaks. The builder is then as it was before.
    pub fn add_input(&mut self, name: &str, shape: Shape) -> Result<&mut Self, Error> {
        check_name(name)?;
        check_size(name, shape, &Limits::default())?;
        if self.shapes.contains_key(name) {
            return Err(GraphError::DuplicateName { node: name.into() }.into());
        }
        self.inputs.push(Input { name: name.into(), shape });
        self.shapes.insert(name.into(), shape);
        Ok(self)
    }

    /// Adds a node that reads inputs of the graph or earlier nodes; packs and copies the operation's values. Its tensors are named
    /// after the node and their field (`hidden.bias`), those of a list also after their place in it (`hidden.weight.0`).
    ///
    /// # Errors
    /// The rule that the node breaks, or [`InputError::SourceLength`](crate::error::InputError::SourceLength), [`InputError::SourceKind`](crate::error::InputError::SourceKind) or [`TensorError::NotFinite`](crate::error::TensorError::NotFinite) about its
    /// values. The builder is then as it was before.
    pub fn add<'a>(
        &mut self,
        name: &str,
        inputs: &[&str],
        op: impl Into<Op<PlainValues<'a>>>,
    ) -> Result<&mut Self, Error> {
        check_name(name)?;
        if self.shapes.contains_key(name) {
            return Err(GraphError::DuplicateName { node: name.into() }.into());
        }
        let shapes = inputs.iter().map(|input| self.read(name, input)).collect::<Result<Vec<_>, _>>()?;
        let mut given = HashMap::new();
        let op = op.into().map(|role, values| {
            let tensor = format!("{name}.{role}");
            given.insert(tensor.clone(), (role.to_owned(), values));
            tensor
        });
        let node = Node { name: name.into(), inputs: inputs.iter().map(|&input| input.into()).collect(), op };
        let shape = infer(&node, &shapes, &Limits::default())?;
        let mut packed = Vec::with_capacity(given.len());
        for spec in node.op.tensors(shapes[0]) {
            let (role, values) = &given[spec.name];
            let source = Source { place: Place { node: name, tensor: spec.name }, role };
            let data = in_default(|| spec.content.pack(source, values))?;
            packed.push((spec.name.to_owned(), spec.content.shape(), data));
        }
        self.tensors.extend(packed);
        self.nodes.push(node);
        self.shapes.insert(name.into(), shape);
        Ok(self)
    }

    /// Adds the affine before a layer that quantizes with [`Quantizer::image8`](crate::ops::Quantizer::image8): x * 510 / `white` - 255, which makes odd
    /// integers of 8-bit values. `white` is what the byte 255 is given as: 255, or 1 for fractions, whose rounding the
    /// quantizer takes out again.
    ///
    /// # Errors
    /// As [`Self::add`]; [`TensorError::NotFinite`](crate::error::TensorError::NotFinite) also if `white` is 0 or not finite.
    pub fn add_image8(&mut self, name: &str, input: &str, white: f32) -> Result<&mut Self, Error> {
        let channels = self.read(name, input)?.channels();
        // A `white` that is infinite would make a scale of 0.
        let scale = if white.is_finite() { in_default(|| 510.0 / white) } else { f32::NAN };
        let (scale, shift) = (filled(channels, scale)?, filled(channels, -255.0)?);
        self.add(name, &[input], Affine::new(scale, shift))
    }

    /// The shape of a value that a node reads. That of the first input is checked here, that of another value was when it was
    /// added.
    fn read(&self, node: &str, input: &str) -> Result<Shape, Error> {
        let first = &self.inputs[0];
        if input == first.name {
            check_name(input)?;
            check_size(input, first.shape, &Limits::default())?;
        }
        let shape = self.shape(input);
        shape.ok_or_else(|| Error::Graph(GraphError::UnknownInput { node: node.into(), input: input.into() }))
    }

    /// The shape of an input or of a node's value.
    pub fn shape(&self, value: &str) -> Option<Shape> {
        self.shapes.get(value).copied()
    }

    /// Gives the file an input and its answer for a self-test: a whole number of samples each, checked by
    /// [`Self::to_bytes`].
    pub fn golden(&mut self, input: &[f32], output: &[f32]) -> &mut Self {
        self.golden_many(&[input], &[output])
    }

    /// [`Self::golden`] for a graph with any number of inputs and outputs: the values of each, in the order of the inputs and
    /// of the outputs that [`Self::to_bytes_many`] is given.
    pub fn golden_many(&mut self, inputs: &[&[f32]], outputs: &[&[f32]]) -> &mut Self {
        self.golden = Some([inputs, outputs].map(|values| values.iter().map(|values| values.to_vec()).collect()));
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

    /// Gives the file operating points, in place of those that it had; checked by [`Self::to_bytes`].
    pub fn points(&mut self, points: Points) -> &mut Self {
        self.points = points;
        self
    }

    /// The file's bytes, with that node as the output. The same calls give the same bytes.
    ///
    /// # Errors
    /// The rule of the format that the whole breaks: the validator of [`Model::open`] reads every file that is made.
    pub fn to_bytes(&self, output: &str) -> Result<Vec<u8>, Error> {
        self.to_bytes_many(&[output])
    }

    /// The file's bytes, with those nodes as the outputs, in that order. Other nodes may read the value of an output.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn to_bytes_many(&self, outputs: &[&str]) -> Result<Vec<u8>, Error> {
        if outputs.is_empty() {
            return Err(GraphError::OutputLimit { count: 0, limit: Limits::default().nodes }.into());
        }
        let outputs: Vec<String> = outputs.iter().map(|&output| output.into()).collect();
        let graph = Graph { inputs: self.inputs.clone(), outputs, nodes: self.nodes.clone() };
        let mut tensors = self.tensors.clone();
        let golden = self.golden.as_ref().map(|golden| self.add_golden(golden, &graph.outputs, &mut tensors));
        let golden = golden.transpose()?.flatten();
        // Before figures that are not finite are written, which JSON has no words for.
        self.points.check(&graph).map_err(GraphError::Points)?;
        let bytes = assemble(&Parts {
            graph: &graph,
            golden: golden.as_ref(),
            producer: &self.producer,
            notes: &self.notes,
            points: &self.points,
            tensors: &tensors,
        });
        Model::from_bytes(&bytes)?;
        Ok(bytes)
    }

    /// Writes the file so that whoever opens the path sees the old file or the whole new one, also after a crash.
    /// [`replace_file`](crate::replace_file) does it and says what becomes of links, permissions and devices.
    ///
    /// # Errors
    /// As [`Self::to_bytes`], and [`FileError::Io`](crate::error::FileError::Io) or [`FileError::NotReplaceable`](crate::error::FileError::NotReplaceable).
    pub fn write(&self, output: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        self.write_many(&[output], path)
    }

    /// [`Self::write`] of a file with several outputs.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_many(&self, outputs: &[&str], path: impl AsRef<Path>) -> Result<(), Error> {
        replace_file(path, &self.to_bytes_many(outputs)?)
    }

    /// Adds the tensors of the golden values. None where an output is no node, which the validator refuses.
    fn add_golden(
        &self,
        [inputs, answers]: &[Vec<Vec<f32>>; 2],
        outputs: &[String],
        tensors: &mut Vec<(String, Vec<usize>, TensorData)>,
    ) -> Result<Option<GoldenRef>, Error> {
        let input_names = self.inputs.iter().map(|input| &input.name);
        let names: [Vec<&String>; 2] = [input_names.collect(), outputs.iter().collect()];
        let mut golden = GoldenRef { samples: 0, inputs: Vec::new(), outputs: Vec::new() };
        let both = [("golden input", &names[0], inputs), ("golden output", &names[1], answers)];
        for (kind, names, values) in both {
            if values.len() != names.len() {
                let all = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
                let (found, expected) = (values.len(), names.len());
                return Err(InputError::ValueCount { kind, found, expected, names: all }.into());
            }
            for (number, (&name, values)) in names.iter().zip(values).enumerate() {
                let Some(shape) = self.shape(name) else { return Ok(None) };
                let (found, sample) = (values.len(), shape.len());
                if golden.samples == 0 {
                    golden.samples = found.checked_div(sample).unwrap_or(0).max(1);
                }
                if golden.samples.checked_mul(sample) != Some(found) {
                    let (value, samples) = (name.clone(), golden.samples);
                    return Err(InputError::GoldenLength { value, found, sample, samples }.into());
                }
                let field = kind.replace(' ', ".");
                let tensor = if number == 0 { field } else { format!("{field}.{number}") };
                let values = padded(values)?;
                tensors.push((tensor.clone(), vec![values.len()], TensorData::F32(values)));
                if kind == "golden input" { &mut golden.inputs } else { &mut golden.outputs }.push(tensor);
            }
        }
        Ok(Some(golden))
    }
}
