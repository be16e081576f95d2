//! From the graph to the engine's operations.
//!
//! It goes through the nodes twice: from the last to the first to decide what becomes of each, so that what nobody needs any more is
//! left out (a quantizer that a binary layer does itself), and from the first to the last to build.

mod broadcast;
mod elementwise;
mod moves;
mod norms;
mod own;
mod placed;
mod pools;
mod ports;
mod products;
mod quantizers;
mod reduce;
mod sequence;
mod spatial;

use crate::error::{Error, Refusal, Refusals};
use crate::graph::{Graph, Node, ValueId};
use crate::recognise::{Analysis, Function};
use horq::graph::Op;
use horq::{Builder, PlainValues};
use placed::Placed;
pub use ports::{Golden, Port};
pub(crate) use products::rates;
use std::collections::{HashMap, HashSet};

/// What lowers a node.
type Rule = (&'static str, fn(&mut Lowering<'_>, &Node) -> Result<(), Refusal>);

/// The rules of all families.
const FAMILIES: &[&[Rule]] = &[
    elementwise::RULES,
    moves::RULES,
    norms::RULES,
    pools::RULES,
    products::RULES,
    quantizers::RULES,
    reduce::RULES,
    sequence::RULES,
    spatial::RULES,
];

/// The names of all operations that may stand in a network, in the order of the alphabet.
pub fn operations() -> Vec<&'static str> {
    let folded = ["Constant", "ConstantOfShape", "Shape", "Size", "Range", "If", "EyeLike", "NonZero"];
    let rules = FAMILIES.iter().flat_map(|family| family.iter().map(|rule| rule.0));
    let mut names: Vec<_> = rules.chain(folded).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What became of a part of the network.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The name of the engine's node.
    pub(crate) name: String,
    /// The node of the network.
    pub(crate) node: String,
    /// Its operation there.
    pub(crate) op: String,
    /// What should be known about it; empty if nothing.
    pub(crate) note: String,
}

/// A network in the engine's operations.
pub(crate) struct Lowered {
    pub(crate) file: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

/// What becomes of a node.
enum Plan {
    /// Nothing: nobody needs it.
    Nothing,
    /// Its first result is a staircase of an earlier value and made of that at once.
    Stairs(ValueId, Function),
    /// A convolution or matrix product with constant weights.
    Product(Box<products::Product>),
    /// What its rule says.
    Rule,
}

struct Lowering<'g> {
    graph: &'g Graph,
    analysis: &'g Analysis,
    builder: Builder,
    /// What each value is in the engine.
    values: HashMap<ValueId, Placed>,
    /// Values in another order or under another shape that there are already, by name, order and shape.
    arranged: HashMap<(String, Vec<usize>, [usize; 4]), String>,
    /// Who needs a value: so many nodes and answers.
    needs: HashMap<ValueId, usize>,
    names: HashSet<String>,
    layers: Vec<Layer>,
    /// Values behind a scale and a shift of one number each, by those.
    affines: HashMap<(ValueId, u64, u64), Placed>,
    /// The engine's names of the answers so far.
    outputs: HashSet<String>,
}

/// How a network is built.
pub(crate) struct Settings<'a> {
    /// Inputs and outputs keep the order of their axes.
    pub(crate) same_layout: bool,
    /// Notes for the file.
    pub(crate) notes: &'a std::collections::BTreeMap<String, String>,
    /// What the file names as its producer.
    pub(crate) producer: Option<&'a str>,
    /// Values for a self-test.
    pub(crate) golden: Option<&'a Golden>,
}

/// Builds the network.
pub(crate) fn lower(graph: &Graph, analysis: &Analysis, settings: &Settings<'_>) -> Result<Lowered, Error> {
    let mut refusals = Refusals::default();
    let mut needs: HashMap<ValueId, usize> = HashMap::new();
    for &output in &graph.outputs {
        *needs.entry(output).or_default() += 1;
    }
    let mut plans = Vec::with_capacity(graph.nodes.len());
    for node in graph.nodes.iter().rev() {
        let needed = node.outputs.iter().flatten().any(|output| needs.contains_key(output));
        let plan = if needed { plan(graph, analysis, node) } else { Ok(Plan::Nothing) };
        let of_node = || node.inputs.iter().flatten().copied().filter(|&id| graph.value(id).constant.is_none());
        let read: Vec<ValueId> = match &plan {
            Ok(Plan::Nothing) => Vec::new(),
            Ok(Plan::Stairs(source, _)) => vec![*source],
            Ok(Plan::Product(product)) => vec![product.operand],
            // What is before a refused node may be refused as well, and is to be told, too.
            Ok(Plan::Rule) | Err(_) => of_node().collect(),
        };
        let plan = plan.unwrap_or_else(|refusal| {
            refusals.push(refusal);
            Plan::Nothing
        });
        for value in read {
            *needs.entry(value).or_default() += 1;
        }
        plans.push(plan);
    }
    let mut lowering = Lowering::new(graph, analysis, needs, settings)?;
    for (node, plan) in graph.nodes.iter().zip(plans.into_iter().rev()) {
        if let Err(refusal) = lowering.node(node, plan) {
            // What reads a refused value is refused for that, which says nothing new.
            if refusal.what != "value" {
                refusals.push(refusal);
            }
        }
    }
    refusals.finish()?;
    lowering.finish(settings)
}

fn plan(graph: &Graph, analysis: &Analysis, node: &Node) -> Result<Plan, Refusal> {
    if let Some(product) = products::plan(graph, analysis, node)? {
        return Ok(Plan::Product(Box::new(product)));
    }
    let stairs = node.output(0).and_then(|value| analysis.stairs(value));
    let made = stairs.filter(|(source, f)| node.output(0) != Some(*source) && quantizers::can_make(f));
    match made {
        Some((source, f)) => Ok(Plan::Stairs(source, f)),
        None if rule(node).is_some() || node.domain == own::DOMAIN => Ok(Plan::Rule),
        None => {
            let what = if node.domain.is_empty() { String::new() } else { format!(" of `{}`", node.domain) };
            let reason = format!("there is no such operation{what} here");
            Err(Refusal::of(node, reason, "write it with the operations of `horq import --operations`"))
        }
    }
}

fn rule(node: &Node) -> Option<&'static Rule> {
    // QONNX's operations have gone by several names of their operator set.
    let quantizers = ["qonnx", "finn", "brevitas"].iter().any(|name| node.domain.contains(name));
    let known = quantizers || ["", "ai.onnx", "horq"].contains(&node.domain.as_str());
    FAMILIES.iter().flat_map(|family| family.iter()).find(|rule| known && rule.0 == node.op)
}

impl<'g> Lowering<'g> {
    fn node(&mut self, node: &Node, plan: Plan) -> Result<(), Refusal> {
        match plan {
            Plan::Nothing => Ok(()),
            Plan::Stairs(source, f) => self.stairs(node, source, &f),
            Plan::Product(product) => self.product(node, *product),
            Plan::Rule if node.domain == own::DOMAIN => self.own(node),
            Plan::Rule => {
                let Some((_, lower)) = rule(node) else { return Ok(()) };
                lower(self, node)
            }
        }
    }

    /// Adds a node to the engine's graph, named after the network's, with what should be known about it.
    fn emit<'a>(
        &mut self,
        node: &Node,
        suffix: &str,
        inputs: &[&str],
        op: impl Into<Op<PlainValues<'a>>>,
    ) -> Result<String, Refusal> {
        self.emit_as(&node.name, &node.op, suffix, inputs, op, "")
    }

    fn emit_as<'a>(
        &mut self,
        node: &str,
        network_op: &str,
        suffix: &str,
        inputs: &[&str],
        op: impl Into<Op<PlainValues<'a>>>,
        note: &str,
    ) -> Result<String, Refusal> {
        let name = self.name(&format!("{node}{suffix}"));
        if let Err(error) = self.builder.add(&name, inputs, op) {
            self.names.remove(&name);
            return Err(Refusal::at(node, network_op, format!("the engine refuses it: {error}"), ""));
        }
        let (node, op, note) = (node.to_owned(), network_op.to_owned(), note.to_owned());
        self.layers.push(Layer { name: name.clone(), node, op, note });
        Ok(name)
    }

    /// A name that the engine takes and that nobody has.
    fn name(&mut self, wanted: &str) -> String {
        let name = clean_name(wanted);
        let mut unique = name.clone();
        let mut count = 1;
        while !self.names.insert(unique.clone()) {
            count += 1;
            unique = format!("{name}#{count}");
        }
        unique
    }

    /// Whether but one node or answer needs a value.
    fn needed_once(&self, value: ValueId) -> bool {
        self.needs.get(&value).is_some_and(|&count| count == 1)
    }

    /// The shape of a value of the network.
    fn shape(&self, value: ValueId) -> Result<&'g [usize], Refusal> {
        let value = self.graph.value(value);
        let unknown = || Refusal::at(&value.name, "value", "its shape is not known", "give the inputs fixed sizes");
        value.shape.as_deref().ok_or_else(unknown)
    }

    /// The shape of a node's first result.
    fn result_shape(&self, node: &Node) -> Result<&'g [usize], Refusal> {
        let result = node.output(0).ok_or_else(|| Refusal::of(node, "it has no result", ""))?;
        self.shape(result)
    }

    /// The input of a place that has to be there and to be computed.
    fn operand(&self, node: &Node, place: usize) -> Result<ValueId, Refusal> {
        let missing = || Refusal::of(node, format!("its input {place} is missing"), "");
        let value = node.input(place).ok_or_else(missing)?;
        if self.graph.value(value).constant.is_some() {
            let reason = format!("its input {place} is a constant");
            return Err(Refusal::of(node, reason, "swap the operands, or make it an input of the network"));
        }
        Ok(value)
    }

    /// The numbers of a constant input, if there is one.
    fn constant(&self, node: &Node, place: usize) -> Result<Option<ndarray::ArrayD<f64>>, Refusal> {
        let Some(value) = node.input(place) else { return Ok(None) };
        let constant = self.graph.value(value).constant.as_ref();
        let unknown = || Refusal::of(node, format!("its input {place} is computed"), "make it a constant");
        constant.map(|tensor| Some(tensor.doubles())).ok_or_else(unknown)
    }

    /// The whole numbers of a constant input, if there is one.
    fn whole(&self, node: &Node, place: usize) -> Result<Option<Vec<i64>>, Refusal> {
        let numbers = self.constant(node, place)?;
        Ok(numbers.map(|numbers| numbers.iter().map(|&number| number as i64).collect()))
    }

    /// The one number of a constant input, if there is one.
    fn number(&self, node: &Node, place: usize) -> Result<Option<f64>, Refusal> {
        let numbers = self.constant(node, place)?;
        Ok(numbers.and_then(|numbers| numbers.iter().next().copied()))
    }
}

/// A name without what the engine refuses in names.
fn clean_name(wanted: &str) -> String {
    const MOST: usize = 200; // leaves room for a number
    let mut name: String = wanted.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    if name.len() > MOST {
        let start = (name.len() - MOST..name.len()).find(|&i| name.is_char_boundary(i)).unwrap_or(name.len());
        name = name[start..].to_owned();
    }
    if name.is_empty() { "node".to_owned() } else { name }
}

/// The axis that a number of ONNX means, counted from the end where it is negative.
fn axis(node: &Node, axis: i64, rank: usize) -> Result<usize, Refusal> {
    let place = if axis < 0 { axis + rank as i64 } else { axis };
    let found = usize::try_from(place).ok().filter(|&place| place < rank);
    found.ok_or_else(|| Refusal::of(node, format!("axis {axis} of a value of {rank} axes"), ""))
}
