//! Inputs and outputs of the network, and the way into and out of the engine's graph.

use super::placed::{Placed, image};
use super::{Layer, Lowered, Lowering, Settings};
use crate::error::{Error, Refusal, Refusals};
use crate::graph::{Graph, ValueId};
use crate::layout::View;
use crate::recognise::{Analysis, MOVES};
use horq::Builder;
use horq::graph::Shape;
use horq::ops::Rearrange;
use ndarray::ArrayD;
use std::collections::{HashMap, HashSet};

/// Values of the inputs and of the answers to them, each as the network lays it out: samples along the first axis.
#[derive(Clone, Debug, Default)]
pub struct Golden {
    /// Of each input, in order.
    pub inputs: Vec<ArrayD<f32>>,
    /// Of each answer, in order.
    pub outputs: Vec<ArrayD<f32>>,
}

/// An input or an output: how the network's values lie in the engine's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Port {
    /// The network's name of it.
    pub name: String,
    /// The engine's name of it.
    pub engine_name: String,
    /// Its shape in the network, with the batch of one.
    pub shape: Vec<usize>,
    /// The order of those axes in the engine's memory, outermost first: `[0, 2, 3, 1]` for an image of ONNX.
    pub order: Vec<usize>,
    /// Its shape in the engine.
    pub engine_shape: Vec<usize>,
}

impl<'g> Lowering<'g> {
    pub(super) fn new(
        graph: &'g Graph,
        analysis: &'g Analysis,
        needs: HashMap<ValueId, usize>,
        settings: &Settings<'_>,
    ) -> Result<Self, Error> {
        let mut refusals = Refusals::default();
        let mut builder: Option<Builder> = None;
        let (mut values, mut names) = (HashMap::new(), HashSet::new());
        for &input in &graph.inputs {
            let value = graph.value(input);
            let Some(shape) = value.shape.as_deref().filter(|shape| shape.iter().all(|&size| size > 0)) else {
                refusals.push(Refusal::at(&value.name, "input", "its sizes are not known", "give it fixed ones"));
                continue;
            };
            if shape.first().is_some_and(|&batch| batch != 1) {
                let reason = format!("its first size is {}, which is taken for the batch", shape[0]);
                refusals.push(Refusal::at(&value.name, "input", reason, "export it with a batch of 1"));
                continue;
            }
            let order =
                if settings.same_layout { (0..shape.len()).collect() } else { input_order(graph, input, shape.len()) };
            let view = View::ordered(shape, &order);
            let engine_shape = engine_shape(shape, &order);
            let mut name = super::clean_name(&value.name);
            while !names.insert(name.clone()) {
                name.push('_');
            }
            match &mut builder {
                None => builder = Some(Builder::new(&name, engine_shape)),
                Some(builder) => {
                    if let Err(error) = builder.add_input(&name, engine_shape) {
                        refusals.push(Refusal::at(&value.name, "input", format!("the engine refuses it: {error}"), ""));
                    }
                }
            }
            values.insert(input, Placed { name, shape: engine_shape, view, pending: None });
        }
        refusals.finish()?;
        let Some(builder) = builder else {
            return Err(Refusal::at("", "model", "it has no input: its answer is a constant", "").into());
        };
        Ok(Self {
            graph,
            analysis,
            builder,
            values,
            arranged: HashMap::new(),
            needs,
            names,
            layers: Vec::new(),
            affines: HashMap::new(),
            outputs: HashSet::new(),
        })
    }

    pub(super) fn finish(mut self, settings: &Settings<'_>) -> Result<Lowered, Error> {
        let mut refusals = Refusals::default();
        let mut outputs = Vec::new();
        for &output in &self.graph.outputs {
            match self.answer(output, settings.same_layout) {
                Ok(port) => outputs.push(port),
                Err(refusal) => refusals.push(refusal),
            }
        }
        refusals.finish()?;
        let inputs = self.graph.inputs.iter().map(|&input| {
            let (value, placed) = (self.graph.value(input), &self.values[&input]);
            let shape = value.shape.clone().unwrap_or_default();
            let order = order_of(&placed.view, false).unwrap_or_default();
            Port {
                name: value.name.clone(),
                engine_name: placed.name.clone(),
                shape,
                order,
                engine_shape: placed.shape.into(),
            }
        });
        let inputs: Vec<Port> = inputs.collect();
        for (key, note) in settings.notes {
            self.builder.note(key, note);
        }
        for (key, ports) in [("onnx.inputs", &inputs), ("onnx.outputs", &outputs)] {
            let text = serde_json::to_string(ports).expect("names and numbers are JSON");
            self.builder.note(key, &text);
        }
        if let Some(producer) = settings.producer {
            self.builder.producer(producer);
        }
        if let Some(golden) = settings.golden {
            let [inputs, outputs] =
                [(&inputs, &golden.inputs), (&outputs, &golden.outputs)].map(|(ports, values)| arranged(ports, values));
            let [inputs, outputs] =
                [&inputs, &outputs].map(|values| values.iter().map(Vec::as_slice).collect::<Vec<&[f32]>>());
            self.builder.golden_many(&inputs, &outputs);
        }
        let names: Vec<&str> = outputs.iter().map(|port: &Port| port.engine_name.as_str()).collect();
        let file = self.builder.to_bytes_many(&names);
        let file = file.map_err(|error| Refusal::at("", "model", format!("the engine refuses it: {error}"), ""))?;
        Ok(Lowered { file, layers: self.layers, inputs, outputs })
    }

    /// Makes an answer of a value: in the order that it has, if that is one of its axes, else in the network's.
    fn answer(&mut self, output: ValueId, same_layout: bool) -> Result<Port, Refusal> {
        let name = self.graph.value(output).name.clone();
        if self.graph.value(output).constant.is_some() {
            let reason = "it does not depend on the inputs";
            return Err(Refusal::at(name, "output", reason, "leave it out, and take its value from the file"));
        }
        let shape = self.shape(output)?;
        let mut placed = self.placed(output)?;
        let order = match order_of(&placed.view, same_layout) {
            Some(order) => order,
            None => {
                let order: Vec<usize> = (0..shape.len()).collect();
                let sequence = placed.view.sequence(&order);
                placed = self.rearranged(placed, &sequence, engine_shape(shape, &order))?;
                order
            }
        };
        placed = self.reshaped(placed, engine_shape(shape, &order))?;
        let taken = self.outputs.contains(&placed.name);
        if taken || self.graph.inputs.iter().any(|input| self.values[input].name == placed.name) {
            // An input or another output under a name of its own.
            let op = Rearrange::reshape(placed.shape);
            placed.name = self.emit_as(&name, "Identity", "", &[&placed.name], op, "")?;
        }
        self.outputs.insert(placed.name.clone());
        Ok(Port { name, engine_name: placed.name, shape: shape.to_vec(), order, engine_shape: placed.shape.into() })
    }
}

/// Samples of the network's values in the order of the engine's memory. Values of other shapes than the ports say stay as they
/// are; the engine refuses them.
fn arranged(ports: &[Port], values: &[ArrayD<f32>]) -> Vec<Vec<f32>> {
    let arrange = |(port, values): (&Port, &ArrayD<f32>)| {
        let mut order = port.order.clone();
        let fits = values.shape().get(1..) == port.shape.get(1..) && order.first() == Some(&0);
        if !fits {
            order = (0..values.ndim()).collect();
        }
        values.view().permuted_axes(order).iter().copied().collect()
    };
    ports.iter().zip(values).map(arrange).collect()
}

/// The order of a value's axes in memory: the network's own if it is that one; otherwise, unless that is wanted, the one it is.
fn order_of(view: &View, same_layout: bool) -> Option<Vec<usize>> {
    let rank = view.axes.len();
    let natural: Vec<usize> = (0..rank).collect();
    if view.lies(&view.sequence(&natural)) {
        return Some(natural);
    }
    if same_layout {
        return None;
    }
    let channels_last: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
    if rank > 2 && view.lies(&view.sequence(&channels_last)) { Some(channels_last) } else { view.order() }
}

/// The order of an input's axes in the engine's memory. Images and signals with their channels first have them last here, as
/// everybody gives images to the engine; what the network itself turns to channels first has them last already.
fn input_order(graph: &Graph, input: ValueId, rank: usize) -> Vec<usize> {
    let natural: Vec<usize> = (0..rank).collect();
    let channels_last: Vec<usize> = match rank {
        0..=2 => return natural,
        _ => std::iter::once(0).chain(2..rank).chain([1]).collect(),
    };
    let windows = ["Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization", "GlobalAveragePool"];
    let mut value = input;
    // Through operations by elements to the first that shows what the axes are.
    for _ in 0..32 {
        let reader = graph.nodes.iter().find(|node| node.inputs.contains(&Some(value)));
        let Some(node) = reader else { break };
        if node.op == "Transpose" {
            return if rank == 4 && node.ints("perm") != Some(&[0, 3, 1, 2]) { channels_last } else { natural };
        }
        if windows.contains(&node.op.as_str()) {
            return channels_last;
        }
        let same = node.output(0).is_some_and(|result| graph.value(result).shape == graph.value(value).shape);
        if !same || MOVES.contains(&node.op.as_str()) {
            break;
        }
        value = node.outputs[0].unwrap_or(value);
    }
    if rank == 4 { channels_last } else { natural }
}

/// The engine's shape of a value whose axes lie in that order: the batch left out, those of size 1 in front too where there are
/// more than three.
fn engine_shape(shape: &[usize], order: &[usize]) -> Shape {
    let sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    match sizes.get(1..).unwrap_or(&[]) {
        [] => Shape::Flat(sizes.first().copied().unwrap_or(1)),
        [features] => Shape::Flat(*features),
        [width, channels] => image(1, *width, *channels),
        [height, width, rest @ ..] => image(*height, *width, rest.iter().product()),
    }
}

impl Lowered {
    /// What is known about a layer by the engine's name.
    pub(crate) fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}
