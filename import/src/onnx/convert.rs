//! From the messages of a file to the graph.

use super::body::{Bodies, Names};
use super::functions::{Functions, Versions, domain};
use super::{Options, input, normalise, schema, tensor};
use crate::error::{Error, Refusal, Refusals};
use crate::graph::{Attribute, Graph, Node, OPSET, Tensor, Value};
use ndarray::{ArrayD, IxDyn, arr0};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How deep functions and branches may call each other.
const DEEPEST: usize = 48;
/// What functions may add to a file, where a node costs [`NODE_COST`], its name its length and its tensors their elements.
const INLINED: usize = 1 << 26;
const NODE_COST: usize = 256;

/// Domains that are names of `qonnx.custom_op.general`.
const QONNX: [&str; 3] = ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"];

type Attributes = BTreeMap<String, Attribute>;

struct Converter<'a> {
    folder: Option<&'a Path>,
    functions: Functions<'a>,
    versions: Versions,
    bodies: Bodies,
    refusals: Refusals,
    /// The batch that the file fixes, of which one sample is taken.
    batch: Option<usize>,
    depth: usize,
    /// How many calls of functions we are in, and what they have cost so far.
    calls: usize,
    cost: usize,
}

/// The graph of a file.
pub(super) fn convert(model: &schema::Model, folder: Option<&Path>, options: &Options) -> Result<Graph, Error> {
    let graph =
        model.graph.as_deref().ok_or_else(|| Error::Malformed("it holds no graph; export the network again".into()))?;
    let mut converter = Converter {
        folder,
        functions: Functions::of(model),
        versions: Versions::of(&model.opset_import),
        bodies: Bodies::default(),
        refusals: Refusals::default(),
        batch: None,
        depth: 0,
        calls: 0,
        cost: 0,
    };
    let version = converter.versions.version("");
    if !(7..=OPSET).contains(&version) {
        let reason = format!("it has operator set {version}");
        let instead = format!("operator sets 7 to {OPSET} can be had: onnx.version_converter changes them");
        return Err(Refusal::at("", "model", reason, instead).into());
    }
    converter.bodies.enter();
    converter.constants(graph);
    converter.inputs(graph, options);
    converter.body(graph, &Attributes::new());
    converter.take_one_sample(graph);
    converter.bodies.check(&mut converter.refusals);
    let (graph, _) = converter.bodies.leave();
    converter.refusals.finish()?;
    Ok(graph)
}

impl Converter<'_> {
    fn constants(&mut self, graph: &schema::Graph) {
        for tensor in &graph.initializer {
            let value = tensor::read(tensor, self.folder).unwrap_or_else(|refusal| {
                self.refusals.push(refusal);
                nothing()
            });
            self.bodies.constant(tensor.name.as_deref().unwrap_or(""), value);
        }
        for tensor in &graph.sparse_initializer {
            let name = tensor.values.as_ref().and_then(|values| values.name.as_deref()).unwrap_or("");
            self.refusals.push(Refusal::at(name, "tensor", "it is sparse", "store it as a dense tensor"));
        }
    }

    /// The inputs of the network: those that are no constants.
    fn inputs(&mut self, graph: &schema::Graph, options: &Options) {
        let mut names = Vec::new();
        for info in &graph.input {
            let name = info.name.as_deref().unwrap_or("");
            if self.bodies.is_constant(name) {
                continue;
            }
            names.push(name);
            self.batch = self.batch.or(input::batch(info, options));
            let value = Value { name: name.to_owned(), ..Value::default() };
            match input::read(info, options) {
                Ok((element, shape)) => {
                    self.bodies.input(Value { element: Some(element), shape: Some(shape), ..value });
                }
                Err(refusal) => {
                    self.refusals.push(refusal);
                    self.bodies.input(value);
                }
            }
        }
        for name in options.shapes.keys().filter(|name| !names.contains(&name.as_str())) {
            let instead = format!("its inputs are: {}", names.join(", "));
            self.refusals.push(Refusal::at(name, "input", "the network has no such input", instead));
        }
    }

    /// The nodes and outputs of a graph whose inputs and constants are there.
    fn body(&mut self, graph: &schema::Graph, environment: &Attributes) {
        for node in &graph.node {
            self.node(node, "", environment);
        }
        for output in &graph.output {
            let id = self.bodies.read(output.name.as_deref().unwrap_or(""));
            self.bodies.graph().outputs.extend(id);
        }
    }

    /// Where the file fixes a batch, the shapes that name it name one sample, and the answers must have the shapes of one.
    fn take_one_sample(&mut self, source: &schema::Graph) {
        let Some(batch) = self.batch else { return };
        let graph = self.bodies.graph();
        let one = |node: &Node| {
            let shape = node.input(1).filter(|_| node.op == "Reshape" && node.domain.is_empty())?;
            let mut sizes = graph.value(shape).constant.as_deref()?.whole()?.clone();
            let first = sizes.first_mut().filter(|size| **size == batch as i64)?;
            *first = 1;
            (sizes.len() > 1).then_some(sizes)
        };
        let shapes: Vec<Option<ArrayD<i64>>> = graph.nodes.iter().map(one).collect();
        for (place, shape) in shapes.into_iter().enumerate() {
            let Some(shape) = shape else { continue };
            let id = self.bodies.hidden(Tensor::ints(shape));
            self.bodies.graph().nodes[place].inputs[1] = Some(id);
        }
        for (output, place) in source.output.iter().zip(0..) {
            let sizes: Option<Vec<usize>> = input::shape(output).and_then(|sizes| sizes.into_iter().collect());
            let Some(mut sizes) = sizes.filter(|sizes| sizes.first() == Some(&batch)) else { continue };
            sizes[0] = 1;
            let graph = self.bodies.graph();
            if let Some(&id) = graph.outputs.get::<usize>(place) {
                graph.value_mut(id).shape.get_or_insert(sizes);
            }
        }
    }

    /// A node. `prefix` names the calls that it is in, `environment` holds the attributes of the innermost.
    fn node(&mut self, source: &schema::Node, prefix: &str, environment: &Attributes) {
        let own = source.name.as_deref().filter(|name| !name.is_empty());
        let own = own.or_else(|| source.output.iter().map(String::as_str).find(|name| !name.is_empty())).unwrap_or("");
        let mut node = Node {
            name: format!("{prefix}{own}"),
            domain: domain(source.domain.as_deref()).to_owned(),
            op: source.op_type.clone().unwrap_or_default(),
            ..Node::default()
        };
        if self.calls > 0 {
            self.cost = self.cost.saturating_add(NODE_COST + node.name.len());
        }
        if self.depth >= DEEPEST || self.cost > INLINED {
            let reason = "functions call each other too often";
            self.refusals.push(Refusal::at(prefix, "model", reason, "export the model without local functions"));
            return;
        }
        self.depth += 1;
        node.inputs = source.input.iter().map(|name| self.bodies.read(name)).collect();
        // In the order of their names, in which graphs find their inputs among those of the node.
        let attributes: BTreeMap<&str, _> =
            source.attribute.iter().map(|attribute| (attribute.name.as_deref().unwrap_or(""), attribute)).collect();
        for (name, attribute) in attributes {
            match self.attribute(attribute, &mut node, environment) {
                Ok(Some(value)) => {
                    node.attributes.insert(name.to_owned(), value);
                }
                Ok(None) => {}
                Err(refusal) => self.refusals.push(refusal),
            }
        }
        if node.domain.is_empty() && node.op == "Constant" && source.output.len() == 1 {
            self.constant(&node, &source.output[0]);
        } else if let Some(function) = self.functions.called_by(source) {
            self.outputs(&mut node, source);
            self.call(function, &node);
        } else {
            self.outputs(&mut node, source);
            self.operation(node);
        }
        self.depth -= 1;
    }

    fn outputs(&mut self, node: &mut Node, source: &schema::Node) {
        node.outputs = source.output.iter().map(|name| (!name.is_empty()).then(|| self.bodies.name(name))).collect();
    }

    /// An operation that is no function: its newest form.
    fn operation(&mut self, mut node: Node) {
        if QONNX.contains(&node.domain.as_str()) {
            node.domain = QONNX[0].to_owned();
        }
        let version = self.versions.version(&node.domain);
        let newest = match node.domain.is_empty() {
            true => normalise::normalise(&mut node, version, &mut |tensor| self.bodies.hidden(tensor)),
            false => Ok(()),
        };
        if let Err(refusal) = newest.and_then(|()| self.bodies.push(node)) {
            self.refusals.push(refusal);
        }
    }

    /// A function in the place of its call.
    fn call(&mut self, function: &schema::Function, node: &Node) {
        let formal = function.input.iter().cloned();
        let mut names: Names = formal.zip(node.inputs.iter().copied().chain(std::iter::repeat(None))).collect();
        let mut copies = Vec::new();
        for (name, id) in function.output.iter().zip(&node.outputs) {
            let Some(id) = *id else { continue };
            if let Some(existing) = names.get(name) {
                // The function gives on one of its inputs, or one result twice.
                copies.push((*existing, id));
            } else {
                names.insert(name.clone(), Some(id));
            }
        }
        let mut environment = Attributes::new();
        for attribute in &function.attribute_proto {
            let name = attribute.name.clone().unwrap_or_default();
            match self.attribute(attribute, &mut node.clone(), &Attributes::new()) {
                Ok(Some(value)) => {
                    environment.insert(name, value);
                }
                Ok(None) => {}
                Err(refusal) => self.refusals.push(refusal),
            }
        }
        environment.extend(node.attributes.clone());
        let versions = std::mem::replace(&mut self.versions, Versions::of(&function.opset_import));
        let outside = self.bodies.call(names);
        self.calls += 1;
        let prefix = format!("{}/", node.name);
        for inner in &function.node {
            self.node(inner, &prefix, &environment);
        }
        for (from, to) in copies {
            let copy = Node {
                name: node.name.clone(),
                op: "Identity".into(),
                inputs: vec![from],
                outputs: vec![Some(to)],
                ..Node::default()
            };
            if let Err(refusal) = self.bodies.push(copy) {
                self.refusals.push(refusal);
            }
        }
        self.calls -= 1;
        self.bodies.come_back(outside);
        self.versions = versions;
    }

    /// A node that is a constant.
    fn constant(&mut self, node: &Node, output: &str) {
        let tensor = node.attributes.iter().find_map(|(name, value)| match (name.as_str(), value) {
            ("value", Attribute::Tensor(tensor)) => Some(Tensor::clone(tensor)),
            ("value_float", Attribute::Float(value)) => Some(Tensor::floats(arr0(*value).into_dyn())),
            ("value_int", Attribute::Int(value)) => Some(Tensor::ints(arr0(*value).into_dyn())),
            ("value_floats", Attribute::Floats(values)) => Some(Tensor::floats(list(values.clone()))),
            ("value_ints", Attribute::Ints(values)) => Some(Tensor::ints(list(values.clone()))),
            _ => None,
        });
        match tensor {
            Some(tensor) => self.bodies.constant(output, tensor),
            None => {
                self.bodies.constant(output, nothing());
                self.refusals.push(Refusal::of(node, "its value is no dense tensor of numbers", ""));
            }
        }
    }

    /// The value of an attribute. A graph's values from outside become inputs of the node.
    fn attribute(
        &mut self,
        attribute: &schema::Attribute,
        node: &mut Node,
        environment: &Attributes,
    ) -> Result<Option<Attribute>, Refusal> {
        if let Some(name) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) {
            let value = environment.get(name).cloned();
            self.cost = self.cost.saturating_add(value.as_ref().map_or(0, size));
            return Ok(value);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Files of the first format leave the type out.
        let kind = attribute.r#type.filter(|&kind| kind != 0).unwrap_or_else(|| guess(attribute));
        let value = match kind {
            1 => Attribute::Float(attribute.f.unwrap_or(0.0)),
            2 => Attribute::Int(attribute.i.unwrap_or(0)),
            3 => Attribute::Text(text(attribute.s.as_deref().unwrap_or(&[]))),
            4 => match &attribute.t {
                Some(tensor) => {
                    let mut named = tensor::read(tensor, self.folder);
                    if let Err(refusal) = &mut named {
                        (refusal.place, refusal.what) = (node.name.clone(), node.op.clone());
                    }
                    Attribute::Tensor(Arc::new(named?))
                }
                None => return Ok(None),
            },
            5 => match &attribute.g {
                Some(graph) => Attribute::Graph(Box::new(self.branch(graph, node, environment))),
                None => return Ok(None),
            },
            6 => Attribute::Floats(attribute.floats.clone()),
            7 => Attribute::Ints(attribute.ints.clone()),
            8 => Attribute::Texts(attribute.strings.iter().map(|bytes| text(bytes)).collect()),
            _ => {
                let name = attribute.name.as_deref().unwrap_or("");
                let reason = format!("its attribute `{name}` is of a kind that no operation here has");
                return Err(Refusal::of(node, reason, ""));
            }
        };
        if self.calls > 0 {
            self.cost = self.cost.saturating_add(size(&value));
        }
        Ok(Some(value))
    }

    /// A branch of an `If`. Other graphs belong to operations that are refused by name.
    fn branch(&mut self, graph: &schema::Graph, node: &mut Node, environment: &Attributes) -> Graph {
        if node.op != "If" || !graph.input.is_empty() {
            return Graph::default();
        }
        self.bodies.enter();
        self.constants(graph);
        self.body(graph, environment);
        self.bodies.check(&mut self.refusals);
        let (graph, captured) = self.bodies.leave();
        node.inputs.extend(captured.into_iter().map(Some));
        graph
    }
}

/// How many elements an attribute has, about.
fn size(attribute: &Attribute) -> usize {
    match attribute {
        Attribute::Int(_) | Attribute::Float(_) => 1,
        Attribute::Text(text) => text.len(),
        Attribute::Ints(values) => values.len(),
        Attribute::Floats(values) => values.len(),
        Attribute::Texts(texts) => texts.iter().map(|text| NODE_COST + text.len()).sum(),
        Attribute::Tensor(tensor) => tensor.len(),
        Attribute::Graph(graph) => NODE_COST * (graph.nodes.len() + graph.values.len()),
    }
}

fn guess(attribute: &schema::Attribute) -> i32 {
    let has = [
        (1, attribute.f.is_some()),
        (2, attribute.i.is_some()),
        (3, attribute.s.is_some()),
        (4, attribute.t.is_some()),
        (5, attribute.g.is_some()),
        (6, !attribute.floats.is_empty()),
        (7, !attribute.ints.is_empty()),
        (8, !attribute.strings.is_empty()),
    ];
    // An empty list has no field at all.
    has.into_iter().find(|(_, there)| *there).map_or(7, |(kind, _)| kind)
}

/// What stands for a constant that is refused, so that only the cause is listed and not what reads it.
fn nothing() -> Tensor {
    Tensor::floats(list(vec![]))
}

fn list<T>(values: Vec<T>) -> ArrayD<T> {
    ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).expect("as many as there are")
}
