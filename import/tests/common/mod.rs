//! Small networks by hand, and what they answer by the evaluator that folds constants.

mod plain;

use horq::{Model, Session, SessionOptions};
use horq_import::graph::{Attribute, ElementType, Graph, Node, Tensor, Value, ValueId};
use horq_import::{Imported, Options, fold, import};
use ndarray::{ArrayD, IxDyn};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A network under construction.
pub(crate) struct Draft {
    pub(crate) graph: Graph,
    pub(crate) random: StdRng,
}

impl Draft {
    /// A network without nodes.
    pub(crate) fn new(seed: u64) -> Self {
        Self { graph: Graph::default(), random: StdRng::seed_from_u64(seed) }
    }

    /// An input.
    pub(crate) fn input(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("x{}", self.graph.inputs.len());
        let (element, shape) = (Some(ElementType::Float32), Some(shape.to_vec()));
        let input = self.graph.add_value(Value { name, constant: None, element, shape });
        self.graph.inputs.push(input);
        input
    }

    /// A constant.
    pub(crate) fn constant(&mut self, shape: &[usize], values: &[f32]) -> ValueId {
        let name = format!("c{}", self.graph.values.len());
        let values = ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).expect("as many values");
        self.graph.add_constant(name, Tensor::floats(values))
    }

    /// A constant of one number.
    pub(crate) fn number(&mut self, value: f32) -> ValueId {
        self.constant(&[], &[value])
    }

    /// A constant of whole numbers.
    pub(crate) fn whole(&mut self, values: &[i64]) -> ValueId {
        let name = format!("c{}", self.graph.values.len());
        let values = ArrayD::from_shape_vec(IxDyn(&[values.len()]), values.to_vec()).expect("one axis");
        self.graph.add_constant(name, Tensor::ints(values))
    }

    /// A constant of random numbers from -1 to 1.
    pub(crate) fn floats(&mut self, shape: &[usize]) -> ValueId {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.random.random_range(-1.0..1.0)).collect();
        self.constant(shape, &values)
    }

    /// A constant of random values out of some.
    pub(crate) fn of(&mut self, shape: &[usize], values: &[f32]) -> ValueId {
        let chosen = (0..shape.iter().product()).map(|_| values[self.random.random_range(0..values.len())]);
        let chosen: Vec<f32> = chosen.collect();
        self.constant(shape, &chosen)
    }

    /// A node with one result.
    pub(crate) fn node(&mut self, op: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        self.nodes(op, inputs, attributes, 1)[0]
    }

    /// A node with several results.
    pub(crate) fn nodes(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: &[(&str, Attribute)],
        results: usize,
    ) -> Vec<ValueId> {
        let place = self.graph.nodes.len();
        let result = |i: usize| Value { name: format!("{op}{place}.{i}"), ..Value::default() };
        let results: Vec<ValueId> = (0..results).map(|i| self.graph.add_value(result(i))).collect();
        let custom = ["BipolarQuant", "Quant", "Trunc", "MultiThreshold", "XnorPopcountMatMul"].contains(&op);
        self.graph.nodes.push(Node {
            name: format!("{op}_{place}"),
            domain: if custom { "qonnx.custom_op.general" } else { "" }.into(),
            op: op.into(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: results.iter().copied().map(Some).collect(),
            attributes: attributes.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
        });
        results
    }

    /// Random values of every input.
    pub(crate) fn random_inputs(&mut self) -> Vec<ArrayD<f32>> {
        let shapes: Vec<Vec<usize>> = self
            .graph
            .inputs
            .iter()
            .map(|&input| self.graph.value(input).shape.clone().expect("inputs have one"))
            .collect();
        let random = &mut self.random;
        shapes.iter().map(|shape| ArrayD::from_shape_fn(IxDyn(shape), |_| random.random_range(-2.0..2.0))).collect()
    }

    /// What the network answers by the evaluator of constants: its inputs become some.
    pub(crate) fn reference(&self, inputs: &[ArrayD<f32>]) -> Vec<ArrayD<f32>> {
        let mut graph = self.graph.clone();
        for (&id, input) in self.graph.inputs.iter().zip(inputs) {
            graph.value_mut(id).constant = Some(Tensor::floats(input.clone()).into());
        }
        graph.inputs.clear();
        loop {
            fold::fold(&mut graph).expect("the evaluator knows all of it");
            let known = |id: &Option<ValueId>| id.is_none_or(|id| graph.value(id).constant.is_some());
            let Some(place) = graph.nodes.iter().position(|node| node.inputs.iter().all(known)) else { break };
            let node = graph.nodes.remove(place);
            let inputs: Vec<ArrayD<f64>> = node
                .inputs
                .iter()
                .flatten()
                .filter_map(|&id| Some(graph.value(id).constant.as_ref()?.doubles()))
                .collect();
            let result = node.outputs[0].expect("it has a result");
            let shape = graph.value(result).shape.clone().expect("it is known");
            let values = plain::evaluate(&node, &inputs, &shape).mapv(|value| value as f32);
            graph.value_mut(result).constant = Some(Tensor::floats(values).into());
        }
        let answer = |&id: &ValueId| graph.value(id).constant.as_ref().expect("it is computed").singles();
        graph.outputs.iter().map(answer).collect()
    }

    /// Imports the network.
    pub(crate) fn import(&self) -> Imported {
        self.try_import().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Imports the network, or not.
    pub(crate) fn try_import(&self) -> Result<Imported, horq_import::error::Error> {
        import(self.graph.clone(), &Options::default())
    }

    /// Imports the network, compares answers on random inputs, and gives what became of it.
    pub(crate) fn check(&mut self, tolerance: f32) -> Imported {
        let imported = self.import();
        for _ in 0..3 {
            let inputs = self.random_inputs();
            self.compare(&imported, &inputs, tolerance);
        }
        imported
    }

    /// Compares answers on some inputs.
    pub(crate) fn compare(&self, imported: &Imported, inputs: &[ArrayD<f32>], tolerance: f32) {
        let expected = self.reference(inputs);
        let answers = run(imported, inputs);
        for ((expected, answer), port) in expected.iter().zip(&answers).zip(&imported.outputs) {
            assert_eq!(expected.shape(), answer.shape(), "{}", port.name);
            let largest = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            for (i, (a, b)) in answer.iter().zip(expected).enumerate() {
                assert!((a - b).abs() <= tolerance * largest, "{}: {a} for {b} at {i}\n{}", port.name, imported.report);
            }
        }
    }
}

/// What a file answers, in the network's order.
pub(crate) fn run(imported: &Imported, inputs: &[ArrayD<f32>]) -> Vec<ArrayD<f32>> {
    let model = Model::from_bytes(&imported.file).expect("a valid file");
    let mut session = Session::new(&model, SessionOptions::new()).expect("a session");
    let turned: Vec<Vec<f32>> = inputs
        .iter()
        .zip(&imported.inputs)
        .map(|(input, port)| input.view().permuted_axes(port.order.clone()).iter().copied().collect())
        .collect();
    let values: Vec<horq::Values<'_>> = turned.iter().map(|values| horq::Values::F32(values)).collect();
    let len = |port: &horq_import::Port| port.shape.iter().product();
    let mut outputs: Vec<Vec<f32>> = imported.outputs.iter().map(|port| vec![0.0; len(port)]).collect();
    let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
    session.run_many(&values, &mut slices).expect("an answer");
    let back = |(values, port): (Vec<f32>, &horq_import::Port)| {
        let shape: Vec<usize> = port.order.iter().map(|&axis| port.shape[axis]).collect();
        let memory = ArrayD::from_shape_vec(IxDyn(&shape), values).expect("as many values");
        let mut inverse = vec![0; port.order.len()];
        port.order.iter().enumerate().for_each(|(place, &axis)| inverse[axis] = place);
        memory.permuted_axes(inverse)
    };
    outputs.into_iter().zip(&imported.outputs).map(back).collect()
}

/// The engine's operations of a network, in order.
pub(crate) fn became(imported: &Imported) -> Vec<&str> {
    imported.report.layers.iter().map(|row| row.became.as_str()).collect()
}

/// Whole numbers as an attribute.
pub(crate) fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}
