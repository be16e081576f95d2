//! Operations that are others in disguise.

use super::infer::resize_axes;
use super::movement::Movement;
use super::quantize::QONNX;
use super::reduce;
use super::view::View;
use super::window::{self, Window};
use super::{einsum, integers};
use crate::error::Refusal;
use crate::graph::{Attribute, Graph, Node, Tensor, Value, ValueId};
use ndarray::Array1;

/// The operations that [`rewrite`] knows and nothing behind it.
pub(super) const DISGUISES: [&str; 18] = [
    "Split",
    "DepthToSpace",
    "SpaceToDepth",
    "Dropout",
    "CastLike",
    "Mean",
    "ReduceL1",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
    "MeanVarianceNormalization",
    "Einsum",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "Sum",
    "IntQuant",
];

/// Nodes that take the place of one.
pub(super) struct Writer<'g> {
    pub(super) graph: &'g mut Graph,
    name: String,
    nodes: Vec<Node>,
}

impl<'g> Writer<'g> {
    pub(super) fn new(graph: &'g mut Graph, node: &Node) -> Self {
        Self { graph, name: node.name.clone(), nodes: Vec::new() }
    }

    /// Adds a node and gives its result.
    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: Vec<Option<ValueId>>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Option<ValueId> {
        let output = Some(self.graph.add_value(Value { name: self.name.clone(), ..Value::default() }));
        self.nodes.push(Node {
            name: self.name.clone(),
            op: op.to_owned(),
            inputs,
            outputs: vec![output],
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Node::default()
        });
        output
    }

    pub(super) fn ints(&mut self, values: &[i64]) -> Option<ValueId> {
        Some(self.graph.add_constant("", Tensor::ints(Array1::from(values.to_vec()).into_dyn())))
    }

    pub(super) fn reshape(&mut self, x: Option<ValueId>, shape: &[usize]) -> Option<ValueId> {
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let shape = self.ints(&shape);
        self.node("Reshape", vec![x, shape], [("allowzero", Attribute::Int(1))])
    }

    pub(super) fn transpose(&mut self, x: Option<ValueId>, order: &[usize]) -> Option<ValueId> {
        let order = order.iter().map(|&axis| axis as i64).collect();
        self.node("Transpose", vec![x], [("perm", Attribute::Ints(order))])
    }

    /// Gives the last node the attributes of another.
    pub(super) fn last_attributes(&mut self, node: &Node) {
        if let Some(last) = self.nodes.last_mut() {
            last.attributes.clone_from(&node.attributes);
        }
    }

    /// Lets the last node make the value of that name.
    pub(super) fn give(&mut self, output: Option<ValueId>) {
        if let Some(last) = self.nodes.last_mut() {
            last.outputs = vec![output];
        }
    }

    pub(super) fn finish(mut self, output: Option<ValueId>) -> Vec<Node> {
        self.give(output);
        self.nodes
    }
}

/// The nodes that a node is in disguise, or none if it is itself.
pub(super) fn rewrite(graph: &mut Graph, node: &Node) -> Result<Option<Vec<Node>>, Refusal> {
    let view = View { graph, node };
    if node.domain == QONNX && node.op == "IntQuant" {
        return Ok(Some(vec![Node { op: "Quant".into(), ..node.clone() }]));
    }
    if !node.domain.is_empty() {
        return Ok(None);
    }
    match node.op.as_str() {
        "Split" => split(graph, node).map(Some),
        "DepthToSpace" | "SpaceToDepth" => blocks(graph, node).map(Some),
        "Softmax" | "LogSoftmax" | "Hardmax" if node.int("flat", 0) != 0 => flat(graph, node).map(Some),
        "Dropout" => dropout(&view).map(Some),
        "CastLike" => {
            let element = view.element(1)?;
            let mut cast = Node { op: "Cast".into(), inputs: vec![node.input(0)], ..node.clone() };
            cast.attributes.insert("to".into(), Attribute::Int(i64::from(element.code())));
            Ok(Some(vec![cast]))
        }
        "Sum" | "Min" | "Max" if view.len() != 2 => variadic(graph, node, node.op.as_str()).map(Some),
        "Sum" => Ok(Some(vec![Node { op: "Add".into(), ..node.clone() }])),
        "Mean" => mean(graph, node).map(Some),
        "ReduceL1" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => Ok(Some(reduction(graph, node))),
        "GroupNormalization" => group_norm(graph, node),
        "MeanVarianceNormalization" => mean_variance(graph, node).map(Some),
        "Einsum" => einsum::rewrite(graph, node).map(Some),
        _ => integers::rewrite(graph, node),
    }
}

/// The same node with everything written out that attributes and inputs may leave open.
pub(super) fn explicit(graph: &mut Graph, node: &Node) -> Result<Node, Refusal> {
    let view = View { graph, node };
    if let Some(movement) = Movement::of(&view)? {
        let shape = view.shape(0)?.to_vec();
        return Ok(movement.node(node, &shape, graph));
    }
    if window::is_windowed(node) {
        return Ok(Window::of(&view)?.node(node));
    }
    if reduce::is_reduction(node) || reduce::is_search(node) {
        let axes = reduce::axes(&view)?;
        return Ok(reduce::node(node, &axes, graph));
    }
    if !node.domain.is_empty() {
        return Ok(node.clone());
    }
    let mut whole = node.clone();
    match node.op.as_str() {
        "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" | "LayerNormalization" | "RMSNormalization"
        | "TopK" => {
            let axis = view.axis(node.int("axis", -1), view.shape(0)?.len())?;
            whole.attributes.insert("axis".into(), Attribute::Int(axis as i64));
            whole.attributes.remove("flat");
        }
        "Gather" => {
            let axis = view.axis(node.int("axis", 0), view.shape(0)?.len())?;
            whole.attributes.insert("axis".into(), Attribute::Int(axis as i64));
        }
        "Resize" => return resize(graph, node),
        _ => {}
    }
    Ok(whole)
}

/// A `Resize` with a scale and a size for each axis: inputs X, roi (or none), scales, sizes.
fn resize(graph: &mut Graph, node: &Node) -> Result<Node, Refusal> {
    let view = View { graph, node };
    let (axes, shape) = (resize_axes(&view)?, view.shape(0)?.to_vec());
    let sizes = super::infer::infer(&view)?.remove(0).shape;
    let given = view.floats(2, "scales")?.filter(|scales| !scales.is_empty());
    let by_size = view.ints(3, "sizes")?.is_some_and(|sizes| !sizes.is_empty());
    let mut scales: Vec<f32> = sizes.iter().zip(&shape).map(|(&to, &from)| to as f32 / from.max(1) as f32).collect();
    if let (Some(given), false) = (given, by_size) {
        scales.fill(1.0);
        for (&axis, &scale) in axes.iter().zip(&given) {
            scales[axis] = scale;
        }
    }
    let region = view.known(1, "regions")?.is_some_and(|region| !region.is_empty());
    let mut whole = node.clone();
    for name in ["axes", "keep_aspect_ratio_policy"] {
        whole.attributes.remove(name);
    }
    let defaults =
        [("mode", "nearest"), ("coordinate_transformation_mode", "half_pixel"), ("nearest_mode", "round_prefer_floor")];
    for (name, value) in defaults {
        whole.attributes.entry(name.into()).or_insert(Attribute::Text(value.into()));
    }
    let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
    let scales = graph.add_constant("", Tensor::floats(Array1::from(scales).into_dyn()));
    let sizes = graph.add_constant("", Tensor::ints(Array1::from(sizes).into_dyn()));
    whole.inputs = vec![node.input(0), node.input(1).filter(|_| region), Some(scales), Some(sizes)];
    Ok(whole)
}

fn split(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let shape = view.shape(0)?;
    let axis = view.axis(node.int("axis", 0), shape.len())?;
    let (size, count) = (shape[axis] as i64, node.outputs.len().max(1) as i64);
    let sizes = match view.ints(1, "sizes")? {
        Some(sizes) => sizes,
        // Equal parts, the last one smaller.
        None => {
            let part = (size + count - 1) / count;
            (0..count).map(|at| part.min(size - at * part)).collect()
        }
    };
    let fits = sizes.iter().all(|part| (0..=size).contains(part))
        && sizes.iter().map(|&part| i128::from(part)).sum::<i128>() == size.into();
    if !fits || sizes.len() != node.outputs.len() {
        return Err(view.broken(format!("it splits {size} elements into {sizes:?}")));
    }
    let mut writer = Writer::new(graph, node);
    let mut start = 0;
    for (&part, &output) in sizes.iter().zip(&node.outputs) {
        if output.is_some() {
            let inputs = [&[start], &[start + part], &[axis as i64]].map(|list| writer.ints(list));
            writer.node("Slice", vec![node.input(0), inputs[0], inputs[1], inputs[2]], []);
            writer.give(output);
        }
        start += part;
    }
    Ok(writer.nodes)
}

fn blocks(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let &[batch, channels, height, width] = view.shape(0)? else {
        return Err(view.broken(format!("its input of shape {:?} is no image", view.shape(0)?)));
    };
    let block = view.size(node.int("blocksize", 0))?;
    let square = block.checked_mul(block).filter(|&square| square > 0);
    let square = square.ok_or_else(|| view.broken(format!("its blocksize is {block}")))?;
    let deep = node.op == "DepthToSpace";
    let fits = if deep { channels % square == 0 } else { height % block == 0 && width % block == 0 };
    if !fits {
        return Err(view.broken(format!("blocks of {block} do not fit {:?}", view.shape(0)?)));
    }
    let columns_first = node.text("mode", "DCR") == "CRD";
    let mut writer = Writer::new(graph, node);
    let x = node.input(0);
    if deep {
        let depth = channels / square;
        let (sizes, order) = if columns_first {
            ([batch, depth, block, block, height, width], [0, 1, 4, 2, 5, 3])
        } else {
            ([batch, block, block, depth, height, width], [0, 3, 4, 1, 5, 2])
        };
        let x = writer.reshape(x, &sizes);
        let x = writer.transpose(x, &order);
        writer.reshape(x, &[batch, depth, height * block, width * block]);
    } else {
        let (rows, columns) = (height / block, width / block);
        let x = writer.reshape(x, &[batch, channels, rows, block, columns, block]);
        let x = writer.transpose(x, &[0, 3, 5, 1, 2, 4]);
        writer.reshape(x, &[batch, channels * square, rows, columns]);
    }
    Ok(writer.finish(node.output(0)))
}

/// A softmax of operator sets before 13 ranges over all axes from its own on.
fn flat(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let shape = view.shape(0)?.to_vec();
    let axis = node.int("axis", 1);
    let axis = if axis == shape.len() as i64 { shape.len() } else { view.axis(axis, shape.len())? };
    let long: Vec<usize> = (axis..shape.len()).filter(|&axis| shape[axis] != 1).collect();
    let plain = |axis: usize| {
        let mut plain = node.clone();
        plain.attributes.insert("flat".into(), Attribute::Int(0));
        plain.attributes.insert("axis".into(), Attribute::Int(axis as i64));
        plain
    };
    match (long.as_slice(), axis < shape.len()) {
        (&[one], _) => return Ok(vec![plain(one)]),
        (&[], true) => return Ok(vec![plain(axis)]),
        _ => {}
    }
    let rows: usize = shape[..axis].iter().product();
    let columns: usize = shape[axis..].iter().product();
    let mut writer = Writer::new(graph, node);
    let x = writer.reshape(node.input(0), &[rows, columns]);
    let x = writer.node(&node.op, vec![x], [("axis", Attribute::Int(1)), ("flat", Attribute::Int(0))]);
    writer.reshape(x, &shape);
    Ok(writer.finish(node.output(0)))
}

fn dropout(view: &View<'_>) -> Result<Vec<Node>, Refusal> {
    let node = view.node;
    let trains = view.constant(2).map_or(view.has(2), |flag| flag.doubles().iter().any(|&flag| flag != 0.0));
    if trains || node.output(1).is_some() {
        return Err(view.refuse("it is that of training", "export the network for inference: model.eval() first"));
    }
    let identity = Node {
        name: node.name.clone(),
        op: "Identity".into(),
        inputs: vec![node.input(0)],
        outputs: vec![node.output(0)],
        ..Node::default()
    };
    Ok(vec![identity])
}

/// A chain of operations of two inputs.
fn variadic(graph: &mut Graph, node: &Node, op: &str) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let inputs: Vec<ValueId> = node.inputs.iter().copied().flatten().collect();
    let (&first, rest) = inputs.split_first().ok_or_else(|| view.broken("it has no inputs"))?;
    let mut writer = Writer::new(graph, node);
    if rest.is_empty() {
        writer.node("Identity", vec![Some(first)], []);
    }
    let op = if op == "Sum" { "Add" } else { op };
    let mut sum = Some(first);
    for &next in rest {
        sum = writer.node(op, vec![sum, Some(next)], []);
    }
    Ok(writer.finish(node.output(0)))
}

fn mean(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let view = View { graph, node };
    let element = view.element(0)?;
    let count = view.len() as f64;
    let mut nodes = variadic(graph, node, "Sum")?;
    let sum = graph.add_value(Value { name: node.name.clone(), ..Value::default() });
    if let Some(last) = nodes.last_mut() {
        last.outputs = vec![Some(sum)];
    }
    let count = super::held::float_tensor(element, ndarray::arr0(count).into_dyn());
    let count = graph.add_constant("", count);
    let mut writer = Writer::new(graph, node);
    writer.node("Div", vec![Some(sum), Some(count)], []);
    nodes.extend(writer.finish(node.output(0)));
    Ok(nodes)
}

/// Reductions that are a `ReduceSum` between functions.
fn reduction(graph: &mut Graph, node: &Node) -> Vec<Node> {
    let mut writer = Writer::new(graph, node);
    let x = node.input(0);
    let before = match node.op.as_str() {
        "ReduceL1" => writer.node("Abs", vec![x], []),
        "ReduceLogSumExp" => writer.node("Exp", vec![x], []),
        "ReduceSumSquare" => writer.node("Mul", vec![x, x], []),
        _ => x,
    };
    let sum = writer.node("ReduceSum", vec![before, node.input(1)], []);
    writer.last_attributes(node);
    if matches!(node.op.as_str(), "ReduceLogSum" | "ReduceLogSumExp") {
        writer.node("Log", vec![sum], []);
    }
    writer.finish(node.output(0))
}

/// Before operator set 21 scale and bias are one a group.
fn group_norm(graph: &mut Graph, node: &Node) -> Result<Option<Vec<Node>>, Refusal> {
    let view = View { graph, node };
    let channels = view.shape(0)?.get(1).copied().unwrap_or(0);
    let groups = view.size(node.int("num_groups", 0))?;
    if groups == 0 || channels % groups != 0 {
        return Err(view.broken(format!("{groups} groups do not fit {channels} channels")));
    }
    let (scale, bias) = (view.shape(1)?, view.shape(2)?);
    if scale == [channels] && bias == [channels] {
        return Ok(None);
    }
    if scale != [groups] || bias != [groups] {
        return Err(view.broken(format!("its scale of shape {scale:?} does not fit {channels} channels")));
    }
    let mut writer = Writer::new(graph, node);
    let spread = [1, 2].map(|place| {
        let x = writer.reshape(node.input(place), &[groups, 1]);
        let sizes = writer.ints(&[groups as i64, (channels / groups) as i64]);
        let x = writer.node("Expand", vec![x, sizes], []);
        writer.reshape(x, &[channels])
    });
    writer.nodes.push(Node { inputs: vec![node.input(0), spread[0], spread[1]], ..node.clone() });
    Ok(Some(writer.nodes))
}

/// (x - mean) / sqrt(mean of x^2 - mean^2 + 1e-9), as its definition in ONNX has it.
fn mean_variance(graph: &mut Graph, node: &Node) -> Result<Vec<Node>, Refusal> {
    let axes = node.ints("axes").map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let x = node.input(0);
    let mut writer = Writer::new(graph, node);
    let axes = writer.ints(&axes);
    let mean = writer.node("ReduceMean", vec![x, axes], []);
    let centred = writer.node("Sub", vec![x, mean], []);
    let square = writer.node("Mul", vec![centred, centred], []);
    let variance = writer.node("ReduceMean", vec![square, axes], []);
    let epsilon = Some(writer.graph.add_constant("", Tensor::floats(ndarray::arr0(1e-9).into_dyn())));
    let root = writer.node("Sqrt", vec![variance], []);
    let divisor = writer.node("Add", vec![root, epsilon], []);
    writer.node("Div", vec![centred, divisor], []);
    Ok(writer.finish(node.output(0)))
}
