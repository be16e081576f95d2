//! What is known of the network's values: of which earlier value they are a function, and on which levels they lie.

use super::function::{Function, Rounding};
use crate::graph::{ElementType, Graph, Node, Value, ValueId};

/// Earlier values that a value is followed back to.
const MAX_SOURCES: usize = 4;
/// Levels that are kept of a value.
const MAX_LEVELS: usize = 256;

/// What is known of a value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Values that it is a function of, element by element, the nearest first. Itself is one of them unless a farther one says
    /// more.
    pub(crate) sources: Vec<(ValueId, Function)>,
    /// The values that its elements have, in rising order.
    pub(crate) levels: Option<Vec<f64>>,
    /// Whether no element is negative.
    pub(crate) positive: bool,
    /// Whether elements that are exactly 0 are common: of an input, behind a rectifier or padding. What a sign makes of 0 then counts.
    pub(crate) zeros: bool,
}

/// Facts of all values of a graph, by value.
#[derive(Debug, Default)]
pub(crate) struct Analysis(Vec<Facts>);

impl Analysis {
    /// What is known of a value.
    pub(crate) fn of(&self, value: ValueId) -> &Facts {
        &self.0[value.0 as usize]
    }

    /// The nearest source of which the value is a staircase, and the stairs.
    pub(crate) fn stairs(&self, value: ValueId) -> Option<(ValueId, Function)> {
        let sources = &self.of(value).sources;
        let stairs = |(source, f): &(ValueId, Function)| {
            let f = if self.of(*source).positive { f.clone().of_positive() } else { f.clone() };
            (f.only().is_none() && f.steps().is_some() && f.breaks.len() < MAX_LEVELS).then_some((*source, f))
        };
        sources.iter().find_map(stairs)
    }
}

/// Goes through a graph, its nodes in order. What a quantizer does before values move or the largest are taken it does as well
/// behind that: so the graph gets nodes that move the quantizer's source, for whoever wants the quantizer to come last.
pub(crate) fn analyse(graph: &mut Graph) -> Analysis {
    let mut analysis = Analysis(vec![Facts::default(); graph.values.len()]);
    for &input in &graph.inputs {
        analysis.0[input.0 as usize] =
            Facts { sources: vec![(input, Function::identity())], zeros: true, ..Facts::default() };
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        move_quantizer(graph, &mut analysis, &mut node);
        graph.nodes.push(node);
    }
    analysis
}

fn move_quantizer(graph: &mut Graph, analysis: &mut Analysis, node: &mut Node) {
    let (facts, source) = facts(graph, analysis, node);
    let Some(result) = node.output(0) else { return };
    analysis.0[result.0 as usize] = facts;
    for other in node.outputs.iter().skip(1).flatten() {
        analysis.0[other.0 as usize].sources = vec![(*other, Function::identity())];
    }
    if let Some((source, f)) = source {
        let Value { name, element, shape, .. } = graph.value(result).clone();
        let name = format!("{name} before its quantizer");
        let moved = graph.add_value(Value { name, element, shape, constant: None });
        let facts = Facts { sources: vec![(moved, Function::identity())], ..analysis.of(source).clone() };
        analysis.0.push(Facts { levels: None, ..facts });
        let mut before = node.clone();
        before.inputs[0] = Some(source);
        before.outputs = vec![Some(moved)];
        before.name = format!("{}/source", node.name);
        graph.nodes.push(before);
        analysis.0[result.0 as usize].sources = vec![(moved, f)];
    }
}

/// Operations that change the places of elements, not the elements.
pub(crate) const MOVES: &[&str] =
    &["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "DepthToSpace", "SpaceToDepth"];

/// What a node makes known of its first result; and the source and stairs that shall be moved behind it.
fn facts(graph: &Graph, analysis: &Analysis, node: &Node) -> (Facts, Option<(ValueId, Function)>) {
    let Some(result) = node.output(0) else { return (Facts::default(), None) };
    let own = || vec![(result, Function::identity())];
    let runtime: Vec<ValueId> =
        node.inputs.iter().flatten().copied().filter(|&id| graph.value(id).constant.is_none()).collect();
    let op = if node.domain.is_empty() || node.op == "MultiThreshold" { node.op.as_str() } else { "" };
    let first = runtime.first().map(|&id| analysis.of(id));
    if let (true, Some(facts)) = (MOVES.contains(&op) || op == "MaxPool", first) {
        let moved =
            analysis.stairs(runtime[0]).filter(|(source, f)| *source != runtime[0] && (op != "MaxPool" || f.rises()));
        let facts = Facts { sources: own(), ..facts.clone() };
        return (facts, moved);
    }
    if let Some(sources) = functions(graph, analysis, node, &runtime, result) {
        let positive = |(source, f): &(ValueId, Function)| {
            let f = if analysis.of(*source).positive { f.clone().of_positive() } else { f.clone() };
            f.never_negative()
        };
        let positive = sources.iter().any(positive);
        let levels = sources.iter().find_map(|(source, f)| {
            let of_source = || analysis.of(*source).levels.as_ref()?.iter().map(|&l| f.value(l)).collect::<Option<_>>();
            let mut levels = f.steps().or_else(of_source)?;
            if analysis.of(*source).zeros {
                // A value at a break is no accident there: inputs are often exactly 0.
                levels.extend(f.steps().map(|_| &f.at).into_iter().flatten());
            }
            sorted(levels)
        });
        let zeros = sources.iter().any(|(source, f)| {
            let level = f.pieces.iter().any(|p| p.iter().all(|&c| c == 0.0));
            level || analysis.of(*source).zeros && f.value(0.0).is_none_or(|value| value == 0.0)
        });
        return (Facts { sources, levels, positive, zeros }, None);
    }
    let all = |fact: &dyn Fn(&Facts) -> bool| !runtime.is_empty() && runtime.iter().all(|&id| fact(analysis.of(id)));
    let positive = match op {
        "Sigmoid" | "Softmax" | "Exp" | "Sqrt" | "Softplus" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => true,
        "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceSum" | "ReduceMax"
        | "ReduceMin" | "Slice" | "Split" | "Gather" | "Expand" | "Tile" | "Concat" | "Add" | "Mul" | "Min"
        | "Resize" => {
            all(&|facts| facts.positive)
                && runtime.len() == node.inputs.iter().flatten().count().min(runtime.len().max(1))
        }
        _ => false,
    };
    let levels = match op {
        "Slice" | "Split" | "Gather" | "Expand" | "Tile" | "ReduceMax" | "ReduceMin" | "GlobalMaxPool" => {
            first.and_then(|facts| facts.levels.clone())
        }
        "Concat" if runtime.len() == node.inputs.len() => {
            let all: Option<Vec<&Vec<f64>>> = runtime.iter().map(|&id| analysis.of(id).levels.as_ref()).collect();
            all.and_then(|all| sorted(all.into_iter().flatten().copied().collect()))
        }
        "Pad" => padded(graph, node).and_then(|value| {
            let mut levels = first?.levels.clone()?;
            levels.extend(value);
            sorted(levels)
        }),
        "Add" | "Sub" => match runtime[..] {
            [a, b] => {
                let sign = if op == "Add" { 1.0 } else { -1.0 };
                let of = |id: ValueId| analysis.of(id).levels.as_ref();
                of(a)
                    .zip(of(b))
                    .and_then(|(a, b)| sorted(a.iter().flat_map(|&a| b.iter().map(move |&b| a + sign * b)).collect()))
            }
            _ => None,
        },
        "MultiThreshold" => of_thresholds(graph, node),
        _ => None,
    };
    let any = runtime.iter().any(|&id| analysis.of(id).zeros);
    let zeros = match op {
        "HardSwish" | "ThresholdedRelu" => true,
        "Pad" => any || padded(graph, node).flatten() == Some(0.0),
        "Slice" | "Split" | "Gather" | "Expand" | "Tile" | "Concat" | "Mul" | "PRelu" | "Elu" | "Selu" | "Celu" => any,
        // Of rectified values, windows of nothing but zeros are common.
        "AveragePool" | "GlobalMaxPool" | "ReduceMax" | "Resize" => positive && any,
        // Sums of a few levels cancel often, unless a bias is added.
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "XnorPopcountMatMul" => {
            let bias = node.input(2).map(|id| graph.value(id).constant.as_ref());
            let none = bias.is_none_or(|bias| bias.is_some_and(|bias| bias.doubles().iter().all(|&b| b == 0.0)));
            none && first.is_some_and(|facts| facts.levels.is_some())
        }
        _ => false,
    };
    let zeros = zeros || levels.as_ref().is_some_and(|levels| levels.contains(&0.0));
    (Facts { sources: own(), levels, positive, zeros }, None)
}

/// Distinct values in rising order, unless they are too many.
fn sorted(mut levels: Vec<f64>) -> Option<Vec<f64>> {
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    (levels.len() <= MAX_LEVELS).then_some(levels)
}

/// What a `Pad` adds to the levels: its constant; nothing in the other modes.
fn padded(graph: &Graph, node: &Node) -> Option<Option<f64>> {
    if node.text("mode", "constant") != "constant" {
        return Some(None);
    }
    node.input(2).map_or(Some(Some(0.0)), |id| scalar(graph, id).map(Some))
}

/// The levels of a `MultiThreshold`, whatever its thresholds.
fn of_thresholds(graph: &Graph, node: &Node) -> Option<Vec<f64>> {
    let thresholds = graph.value(node.input(1)?).constant.as_ref()?;
    let count = *thresholds.shape().last()?;
    let (scale, bias) = (f64::from(node.float("out_scale", 1.0)), f64::from(node.float("out_bias", 0.0)));
    sorted((0..=count).map(|n| bias + scale * n as f64).collect())
}

/// The value of a constant of one value, or of equal ones.
pub(crate) fn scalar(graph: &Graph, id: ValueId) -> Option<f64> {
    let tensor = graph.value(id).constant.as_ref()?;
    let values = tensor.doubles();
    let first = *values.iter().next()?;
    values.iter().all(|&value| value == first).then_some(first)
}

/// An operand of an operation by elements.
enum Operand {
    Number(f64),
    Value(ValueId),
}

/// The sources of a result by elements and the functions of them; none if the operation is no function by elements that is
/// followed.
fn functions(
    graph: &Graph,
    analysis: &Analysis,
    node: &Node,
    runtime: &[ValueId],
    result: ValueId,
) -> Option<Vec<(ValueId, Function)>> {
    let shape = graph.value(result).shape.as_ref()?;
    if runtime.is_empty() || runtime.iter().any(|&id| graph.value(id).shape.as_ref() != Some(shape)) {
        return None;
    }
    let operand = |id: &Option<ValueId>| -> Option<Operand> {
        let id = (*id)?;
        if runtime.contains(&id) { Some(Operand::Value(id)) } else { scalar(graph, id).map(Operand::Number) }
    };
    let operands: Vec<Option<Operand>> = node.inputs.iter().map(operand).collect();
    let nearest = &analysis.of(runtime[0]).sources;
    let mut sources = Vec::new();
    for (source, _) in nearest.iter().take(MAX_SOURCES) {
        let function = |place: usize| -> Option<Function> {
            match operands.get(place)?.as_ref()? {
                Operand::Number(number) => Some(Function::constant(*number)),
                Operand::Value(id) => {
                    let of = analysis.of(*id).sources.iter().find(|(other, _)| other == source);
                    of.map(|(_, f)| f.clone())
                }
            }
        };
        if let Some(f) = by_elements(graph, node, &function) {
            sources.push((*source, f));
        }
    }
    let bent = sources.iter().any(|(_, f)| f.line().is_none());
    if sources.is_empty() {
        return None;
    }
    if !bent {
        sources.insert(0, (result, Function::identity()));
    }
    Some(sources)
}

/// What a node makes of functions of one source: those of its operands by their places.
fn by_elements(graph: &Graph, node: &Node, operand: &dyn Fn(usize) -> Option<Function>) -> Option<Function> {
    let number = |place: usize| operand(place)?.only();
    let constant = Function::constant;
    let x = operand(0)?;
    let choose = |condition: &Function, a: &Function, b: &Function| -> Option<Function> {
        condition.times(&a.plus(b, -1.0)?)?.plus(b, 1.0)
    };
    let difference = |factor: f64| operand(1).and_then(|y| x.plus(&y, -1.0)?.times(&constant(factor)));
    Some(match (node.domain.as_str(), node.op.as_str()) {
        ("", "Identity" | "Dropout") => x,
        ("", "Cast") => cast(graph, node, x)?,
        ("", "Neg") => x.times(&constant(-1.0))?,
        ("", "Relu") => x.then(&Function::bent(0.0, 1.0))?,
        ("", "LeakyRelu") => x.then(&Function::bent(node.float("alpha", 0.01).into(), 1.0))?,
        ("", "Abs") => x.then(&Function::bent(-1.0, 1.0))?,
        ("", "Sign") => x.then(&Function::two(0.0, -1.0, 0.0, 1.0))?,
        ("", "Round") => x.then(&Function::round(Rounding::HalfEven))?,
        ("", "Floor") => x.then(&Function::round(Rounding::Floor))?,
        ("", "Ceil") => x.then(&Function::round(Rounding::Ceil))?,
        ("", "Clip") => {
            let bound = |place| if node.input(place).is_some() { number(place).map(Some) } else { Some(None) };
            x.then(&Function::clip(bound(1)?, bound(2)?))?
        }
        ("", "HardSigmoid") => {
            let line = x.times(&constant(node.float("alpha", 0.2).into()))?;
            let line = line.plus(&constant(node.float("beta", 0.5).into()), 1.0)?;
            line.then(&Function::clip(Some(0.0), Some(1.0)))?
        }
        ("", "Add") => x.plus(&operand(1)?, 1.0)?,
        ("", "Sub") => x.plus(&operand(1)?, -1.0)?,
        ("", "Mul" | "And") => x.times(&operand(1)?)?,
        // Whole numbers are divided towards 0.
        ("", "Div") if graph.value(node.output(0)?).element.is_none_or(ElementType::is_float) => {
            let by = number(1).filter(|by| *by != 0.0)?;
            x.divided(by)
        }
        ("", "Pow") => match number(1)? {
            1.0 => x,
            2.0 => x.times(&x)?,
            3.0 => x.times(&x)?.times(&x)?,
            _ => return None,
        },
        ("", "Max" | "Or") if node.inputs.len() == 2 => {
            let y = operand(1)?;
            choose(&difference(1.0)?.at_least(0.0)?, &x, &y)?
        }
        ("", "Min") if node.inputs.len() == 2 => {
            let y = operand(1)?;
            choose(&difference(1.0)?.at_least(0.0)?, &y, &x)?
        }
        ("", "Not") => constant(1.0).plus(&x, -1.0)?,
        ("", "Greater") => difference(1.0)?.more_than(0.0)?,
        ("", "GreaterOrEqual") => difference(1.0)?.at_least(0.0)?,
        ("", "Less") => difference(-1.0)?.more_than(0.0)?,
        ("", "LessOrEqual") => difference(-1.0)?.at_least(0.0)?,
        ("", "Where") => choose(&x, &operand(1)?, &operand(2)?)?,
        ("", "QuantizeLinear") => {
            let (scale, zero) = (number(1)?, zero_point(number, node, 2)?);
            let range = graph.value(node.output(0)?).element.and_then(ElementType::range)?;
            let q = x.divided(scale).then(&Function::round(Rounding::HalfEven))?.plus(&constant(zero), 1.0)?;
            q.then(&Function::clip(Some(range.0 as f64), Some(range.1 as f64)))?
        }
        ("", "DequantizeLinear") => {
            let (scale, zero) = (number(1)?, zero_point(number, node, 2)?);
            x.plus(&constant(-zero), 1.0)?.times(&constant(scale))?
        }
        (_, "BipolarQuant") => {
            let scale = number(1)?;
            x.then(&Function::two(0.0, -scale, scale, scale))?
        }
        (_, "Quant" | "IntQuant") => {
            let Uniform { scale, zero, low, high, rounding } = Uniform::of(node, &number)?;
            let q = x.divided(scale).plus(&constant(zero), 1.0)?.then(&Function::clip(Some(low), Some(high)))?;
            q.then(&Function::round(rounding))?.plus(&constant(-zero), 1.0)?.times(&constant(scale))?
        }
        (_, "Trunc") => {
            let Cut { scale, zero, lost, range, result_scale, result_zero } = Cut::of(node, &number)?;
            let whole = x.divided(scale).plus(&constant(zero), 1.0)?.then(&Function::round(Rounding::HalfEven))?;
            let mut less = whole.divided(lost);
            if let Some((low, high)) = range {
                less = less.then(&Function::clip(Some(low), Some(high)))?;
            }
            let less = less.then(&Function::round(trunc_rounding(node)?))?;
            less.plus(&constant(-result_zero), 1.0)?.times(&constant(result_scale))?
        }
        (_, "MultiThreshold") => {
            let thresholds = graph.value(node.input(1)?).constant.as_ref()?.doubles();
            let count = *thresholds.shape().last()?;
            let values: Vec<f64> = thresholds.iter().copied().collect();
            if count == 0 || count > MAX_LEVELS || !values.chunks_exact(count).all(|row| row == &values[..count]) {
                return None;
            }
            let mut sum = constant(0.0);
            for &threshold in &values[..count] {
                sum = sum.plus(&x.at_least(threshold)?, 1.0)?;
            }
            let sum = sum.times(&constant(node.float("out_scale", 1.0).into()))?;
            sum.plus(&constant(node.float("out_bias", 0.0).into()), 1.0)?
        }
        _ => return None,
    })
}

fn cast(graph: &Graph, node: &Node, x: Function) -> Option<Function> {
    let element = |id: Option<ValueId>| graph.value(id?).element;
    let (from, to) = (element(node.input(0))?, element(node.output(0))?);
    if to == ElementType::Bool {
        // Not 0: of 0 and 1 that is the value itself.
        return if from == ElementType::Bool { Some(x) } else { x.then(&Function::two(0.0, 1.0, 0.0, 1.0)) };
    }
    if from.is_float() && matches!(to, ElementType::Int4 | ElementType::UInt4) {
        return None;
    }
    if from.is_float() && !to.is_float() { x.then(&Function::round(Rounding::Truncate)) } else { Some(x) }
}

fn zero_point(number: impl Fn(usize) -> Option<f64>, node: &Node, place: usize) -> Option<f64> {
    if node.input(place).is_some() { number(place) } else { Some(0.0) }
}

/// A quantizer of QONNX with numbers for a whole tensor.
pub(crate) struct Uniform {
    pub(crate) scale: f64,
    pub(crate) zero: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) rounding: Rounding,
}

impl Uniform {
    /// The quantizer of a `Quant` node, whose inputs are x, scale, zero point and bits.
    pub(crate) fn of(node: &Node, number: &dyn Fn(usize) -> Option<f64>) -> Option<Self> {
        let bits = number(3)?;
        let (low, high) = quant_range(node, bits);
        let rounding = quant_rounding(node)?;
        Some(Self { scale: number(1)?, zero: number(2)?, low, high, rounding })
    }
}

/// What a `Trunc` node does with the whole numbers that it cuts bits off.
pub(crate) struct Cut {
    /// The step of what it reads.
    pub(crate) scale: f64,
    /// The whole number of 0 in what it reads.
    pub(crate) zero: f64,
    /// What it divides by.
    pub(crate) lost: f64,
    /// The lowest and the highest number that it makes, where it has a range.
    pub(crate) range: Option<(f64, f64)>,
    /// The step of what it makes.
    pub(crate) result_scale: f64,
    /// The number of 0 in what it makes.
    pub(crate) result_zero: f64,
}

impl Cut {
    /// Of version 1, whose inputs are x, scale, zero point, bits and the bits left, or of version 2, which has the scale
    /// of its result before the bits left, and a range.
    pub(crate) fn of(node: &Node, number: &dyn Fn(usize) -> Option<f64>) -> Option<Self> {
        let (scale, zero) = (number(1)?, number(2)?);
        if node.inputs.len() < 6 {
            let lost = (number(3)? - number(4)?).exp2();
            return Some(Self { scale, zero, lost, range: None, result_scale: scale, result_zero: zero });
        }
        let (result_scale, bits) = (number(4)?, number(5)?);
        let lost = (result_scale / scale).log2().round_ties_even().exp2();
        let range = Some(quant_range(node, bits));
        Some(Self { scale, zero, lost, range, result_scale, result_zero: zero / lost })
    }
}

/// The lowest and the highest whole number of a `Quant` node.
pub(crate) fn quant_range(node: &Node, bits: f64) -> (f64, f64) {
    // Both must be there; qonnx takes these where they are not.
    let (signed, narrow) = (node.int("signed", 1) != 0, node.int("narrow", i64::from(node.op != "Trunc")) != 0);
    let low = match (signed, narrow) {
        (true, true) => -(bits - 1.0).exp2() + 1.0,
        (true, false) => -(bits - 1.0).exp2(),
        (false, _) => 0.0,
    };
    let high = match (signed, narrow) {
        (true, _) => (bits - 1.0).exp2() - 1.0,
        (false, true) => bits.exp2() - 2.0,
        (false, false) => bits.exp2() - 1.0,
    };
    (low, high)
}

/// How a `Quant` node rounds, if it is one of the ways that are followed.
pub(crate) fn quant_rounding(node: &Node) -> Option<Rounding> {
    rounding(node.text("rounding_mode", "ROUND"))
}

/// How a `Trunc` node rounds what it cuts off.
pub(crate) fn trunc_rounding(node: &Node) -> Option<Rounding> {
    rounding(node.text("rounding_mode", "FLOOR"))
}

fn rounding(mode: &str) -> Option<Rounding> {
    Some(match mode.to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => Rounding::HalfEven,
        "FLOOR" => Rounding::Floor,
        "CEIL" => Rounding::Ceil,
        "ROUND_TO_ZERO" | "DOWN" => Rounding::Truncate,
        _ => return None,
    })
}
