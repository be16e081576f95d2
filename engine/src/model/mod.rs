//! A model: the bytes of a `.horq` file, validated, with views into them.

mod open;
mod points;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Error;
use crate::error::{FileError, GraphError, InputError};
use crate::format::{BYTES_PER_BYTE, Contents, GoldenRef, Layout, Metadata, check_values, sha256};
use crate::graph::{Graph, Node, Shape, TensorSpec};
use crate::limits::Limits;
use crate::tensor::{Memory, Plain, Tensors, headroom};
use horq_kernels::float_env::in_default;

/// An immutable model, shared by all sessions made from it. Cloning copies a pointer.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    tensors: Arc<Tensors>,
    metadata: Metadata,
    /// The shape of each node's value.
    shapes: Vec<Shape>,
    limits: Limits,
}

/// Inputs and the answers that the producer got for them, at every layer's full order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Golden<'a> {
    /// How many samples.
    pub samples: usize,
    /// The samples of each input, in the model's order.
    pub inputs: Vec<&'a [f32]>,
    /// Their answers, for each output in the model's order.
    pub outputs: Vec<&'a [f32]>,
}

impl<'a> Golden<'a> {
    /// The samples of the first input, which most models have alone.
    pub fn input(&self) -> &'a [f32] {
        self.inputs[0]
    }

    /// The answers of the first output, which most models have alone.
    pub fn output(&self) -> &'a [f32] {
        self.outputs[0]
    }
}

impl Model {
    /// Reads a mapped file's pages now, all at once, so that neither the check of a first session nor a run has to wait for one
    /// after the other. A model that was read or copied has its pages already.
    pub fn prefault(&self) {
        self.0.tensors.prefault();
    }

    /// The one way to a model; the values of its tensors are not checked yet.
    fn new(contents: Contents, memory: Memory, limits: &Limits) -> Result<Self, Error> {
        headroom(0)?;
        let Contents { metadata, layout: Layout { shapes, tensors }, data_start } = contents;
        let tensors = Arc::new(Tensors::new(memory, data_start, tensors));
        Ok(Self(Arc::new(Inner { tensors, metadata, shapes, limits: *limits })))
    }

    /// A model whose values are checked.
    fn checked(contents: Contents, memory: Memory, limits: &Limits) -> Result<Self, Error> {
        let model = Self::new(contents, memory, limits)?;
        model.check().map(|()| model)
    }

    /// Checks the values of all tensors, which reads the whole file once: floats are finite, codes in range, padding is zero.
    ///
    /// Only a model of [`Self::map`] or [`Self::from_shared_fd`] has something left to check, and its first session does it;
    /// later calls return at once.
    ///
    /// # Errors
    /// [`Error::Tensor`] with the first value that breaks a rule.
    pub fn check(&self) -> Result<(), Error> {
        let Inner { tensors, metadata, shapes, .. } = &*self.0;
        tensors.check_once(|| {
            self.headroom()?;
            in_default(|| check_values(metadata, shapes, tensors))
        })
    }

    /// The same network for inputs of other sizes, one shape an input, with the same weights, which the two models share.
    /// The shapes of all values are inferred anew.
    ///
    /// The result has no [`Self::golden`] values; those are of the file's size. [`Self::file`] and [`Self::digest`] remain
    /// those of the file.
    ///
    /// ```
    /// use horq::graph::Shape;
    /// use horq::ops::{Affine, GlobalAveragePool};
    /// use horq::{Builder, Model};
    ///
    /// let mut builder = Builder::new("x", Shape::Image { height: 8, width: 8, channels: 1 });
    /// builder.add("scaled", &["x"], Affine::new(&[2.0], &[0.5]))?.add("mean", &["scaled"], GlobalAveragePool)?;
    /// let model = Model::from_bytes(&builder.to_bytes("mean")?)?;
    /// let larger = model.resized(&[Shape::Image { height: 20, width: 30, channels: 1 }])?;
    /// assert_eq!(larger.shape("scaled"), Some(Shape::Image { height: 20, width: 30, channels: 1 }));
    /// # Ok::<(), horq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InputError::ShapeCount`](crate::error::InputError::ShapeCount) for another number of shapes than there are inputs; the rule that the graph breaks at
    /// that size, which names the first node that cannot be computed; [`GraphError::Resized`](crate::error::GraphError::Resized) with the first node whose
    /// tensors would have to be others, such as a matrix product behind a flattened image; [`Error::Tensor`] as [`Self::check`].
    pub fn resized(&self, shapes: &[Shape]) -> Result<Self, Error> {
        // Here, since the golden values can be checked at the file's own size alone.
        self.check()?;
        self.headroom()?;
        let Inner { tensors, metadata, shapes: old, limits } = &*self.0;
        let mut metadata = Metadata { golden: None, ..metadata.clone() };
        let inputs = &mut metadata.graph.inputs;
        if shapes.len() != inputs.len() {
            return Err(InputError::ShapeCount { found: shapes.len(), expected: inputs.len() }.into());
        }
        inputs.iter_mut().zip(shapes).for_each(|(input, &shape)| input.shape = shape);
        let old = self.graph().values(old);
        let accept = |node: &Node, shape: Shape| same_tensors(node, old[node.inputs[0].as_str()], shape);
        let shapes = metadata.graph.shapes_where(limits, accept)?;
        Ok(Self(Arc::new(Inner { tensors: tensors.clone(), metadata, shapes, limits: *limits })))
    }

    /// Checks that memory is left for lists of the graph's nodes and values.
    pub(crate) fn headroom(&self) -> Result<(), Error> {
        headroom(self.0.tensors.data_start().saturating_mul(BYTES_PER_BYTE))
    }

    /// The same network with the value of one more node as its last output; layers fuse as before where the node's value is
    /// one that a layer writes. The node must be one of the graph.
    pub(crate) fn with_output(&self, node: &str) -> Self {
        let Inner { tensors, metadata, shapes, limits } = &*self.0;
        let mut metadata = Metadata { golden: None, ..metadata.clone() };
        metadata.graph.outputs.retain(|output| output != node);
        metadata.graph.outputs.push(node.into());
        Self(Arc::new(Inner { tensors: tensors.clone(), metadata, shapes: shapes.clone(), limits: *limits }))
    }

    /// The most bytes that a session may take.
    pub(crate) fn session_bytes(&self) -> usize {
        self.0.limits.session_bytes
    }

    /// The tensors, which layers keep alive.
    pub(crate) fn tensors(&self) -> &Arc<Tensors> {
        &self.0.tensors
    }

    /// What the model computes.
    pub fn graph(&self) -> &Graph {
        &self.0.metadata.graph
    }

    /// The shape of each node's value, in the order of the graph's nodes.
    pub fn shapes(&self) -> &[Shape] {
        &self.0.shapes
    }

    /// The name and the shape of each input, batch left out, in the order in which a run takes them.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, Shape)> {
        self.graph().inputs.iter().map(|input| (input.name.as_str(), input.shape))
    }

    /// The name and the shape of each output, batch left out, in the order in which a run gives them.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, Shape)> {
        let names = self.graph().outputs.iter().map(String::as_str);
        names.map(|name| (name, self.shape(name).expect("an output is a node")))
    }

    /// The shape of the input, batch left out; of the first one where there are several.
    pub fn input_shape(&self) -> Shape {
        self.graph().input().shape
    }

    /// The shape of the output, batch left out; of the first one where there are several.
    pub fn output_shape(&self) -> Shape {
        self.shape(self.graph().output()).expect("an output is a node")
    }

    /// The values of a float tensor, padding included: a view into the file's bytes on a 64-byte boundary. Those of a mapped
    /// model may be anything before [`Self::check`].
    ///
    /// # Panics
    /// If the model has no float tensor of that name. Every name in [`Self::graph`] is there, with the type its field has.
    pub fn f32s(&self, tensor: &str) -> &[f32] {
        self.0.tensors.f32s(tensor)
    }

    /// The words of a tensor of bit panels: a view into the file's bytes on a 64-byte boundary.
    ///
    /// # Panics
    /// If the model has no tensor of bit panels of that name. Every weight of a binary layer in [`Self::graph`] is one.
    pub fn u32s(&self, tensor: &str) -> &[u32] {
        self.0.tensors.u32s(tensor)
    }

    /// The bytes of a tensor of 8-bit panels: a view into the file's bytes on a 64-byte boundary.
    ///
    /// # Panics
    /// If the model has no tensor of 8-bit panels of that name. The weight of every 8-bit layer in [`Self::graph`] is one.
    pub fn i8s(&self, tensor: &str) -> &[i8] {
        self.0.tensors.i8s(tensor)
    }

    /// Unpacks the tensor that a node names in [`Self::graph`]; `None` if no node names it.
    ///
    /// This copies: it is for tools that look into models or go on with their training. Sessions read the file as it is.
    pub fn plain(&self, tensor: &str) -> Option<Plain> {
        let content = self.graph().nodes.iter().find_map(|node| {
            let input = self.shape(&node.inputs[0])?;
            node.op.tensors(input).into_iter().find(|spec| spec.name == tensor).map(|spec| spec.content)
        })?;
        Some(content.unpack(&self.0.tensors, tensor))
    }

    /// The shape of an input or of a node's value, batch left out; `None` if there is no value of that name.
    pub fn shape(&self, value: &str) -> Option<Shape> {
        if let Some(input) = self.graph().inputs.iter().find(|input| input.name == value) {
            return Some(input.shape);
        }
        let node = self.graph().nodes.iter().position(|node| node.name == value)?;
        Some(self.shapes()[node])
    }

    /// The file's bytes, as they were read or mapped.
    pub fn file(&self) -> &[u8] {
        self.0.tensors.file()
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> usize {
        self.file().len()
    }

    /// The format's version that the file states: major, minor.
    pub fn version(&self) -> (u32, u32) {
        self.0.metadata.version
    }

    /// What wrote the file.
    pub fn producer(&self) -> &str {
        &self.0.metadata.producer
    }

    /// Free-form notes: accuracy, licence, input preparation, class labels.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.0.metadata.notes
    }

    /// The inputs and answers that the file carries for a self-test, if it does. A model of another size than its file's
    /// ([`Self::resized`]) has none.
    pub fn golden(&self) -> Option<Golden<'_>> {
        let GoldenRef { samples, inputs, outputs } = self.0.metadata.golden.as_ref()?;
        let view = |(name, (_, shape)): (&String, (&str, Shape))| &self.f32s(name)[..samples * shape.len()];
        Some(Golden {
            samples: *samples,
            inputs: inputs.iter().zip(self.inputs()).map(view).collect(),
            outputs: outputs.iter().zip(self.outputs()).map(view).collect(),
        })
    }

    /// The file's digest, 64 hex digits: the sha256 of the header, which holds the sha256 of the data.
    pub fn digest(&self) -> &str {
        &self.0.metadata.header_sha256
    }

    /// Checks the digest of the data, which reads every byte; the header's was checked when the file was opened.
    ///
    /// It protects against accidents (cut-off copies, failing disks, edits), not against attackers, who can compute it.
    ///
    /// # Errors
    /// [`FileError::Digest`](crate::error::FileError::Digest) with both digests.
    pub fn verify_digest(&self) -> Result<(), Error> {
        let (stored, computed) = (&self.0.metadata.data_sha256, sha256(self.0.tensors.data()));
        if *stored == computed {
            return Ok(());
        }
        Err(FileError::Digest { part: "data", stored: stored.clone(), computed }.into())
    }
}

/// Checks that a node names the same tensors for a first input of either shape.
fn same_tensors(node: &Node, made_for: Shape, shape: Shape) -> Result<(), Error> {
    let (before, after) = (node.op.tensors(made_for), node.op.tensors(shape));
    let differs = |(before, after): &(TensorSpec<'_>, TensorSpec<'_>)| {
        before.name != after.name || !before.content.is_same_for_another_size(&after.content)
    };
    match before.into_iter().zip(after).find(differs) {
        None => Ok(()),
        Some((tensor, _)) => {
            let (node, tensor) = (node.name.clone(), tensor.name.to_owned());
            Err(GraphError::Resized { node, tensor, shape, made_for }.into())
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("digest", &self.digest())
            .field("file_len", &self.file_len())
            .field("nodes", &self.graph().nodes.len())
            .finish_non_exhaustive()
    }
}
