//! Operations by elements.

use super::broadcast::Two;
use super::placed::{Pending, Placed, narrowed};
use super::{Lowering, Rule};
use crate::error::Refusal;
use crate::graph::{Node, ValueId};
use crate::recognise::{Function, first_above};
use horq::PlainValues;
use horq::graph::Op;
use horq::ops::{
    Abs, Add, BroadcastAdd, Ceil, Clip, Cos, Divide, Elu, Equal, Erf, Exp, Floor, Gelu, GeluTanh, Greater, HardSwish,
    Less, Log, Maximum, Minimum, Mish, MultiThreshold, Multiply, Power, Prelu, Reciprocal, Relu, Round, Sigmoid, Silu,
    Sin, Softplus, Sqrt, Subtract, Tanh, Where,
};
use ndarray::{ArrayD, IxDyn};

pub(super) const RULES: &[Rule] = &[
    ("Abs", |to, node| to.unary(node, Abs)),
    ("Add", |to, node| to.arithmetic(node, Two::Add)),
    ("And", |to, node| to.arithmetic(node, Two::Multiply)),
    ("Cast", |to, node| to.cast(node)),
    ("CastLike", |to, node| to.cast(node)),
    ("Ceil", |to, node| to.unary(node, Ceil)),
    ("Celu", |to, node| to.celu(node)),
    ("Clip", |to, node| to.clip(node)),
    ("Cos", |to, node| to.unary(node, Cos)),
    ("Div", |to, node| to.arithmetic(node, Two::Divide)),
    ("Dropout", |to, node| to.identity(node)),
    ("Elu", |to, node| to.unary(node, Elu::new(node.float("alpha", 1.0)))),
    ("Equal", |to, node| to.arithmetic(node, Two::Equal)),
    ("Erf", |to, node| to.unary(node, Erf)),
    ("Exp", |to, node| to.unary(node, Exp)),
    ("Floor", |to, node| to.unary(node, Floor)),
    ("Gelu", |to, node| match node.text("approximate", "none") {
        "tanh" => to.unary(node, GeluTanh),
        _ => to.unary(node, Gelu),
    }),
    ("Greater", |to, node| to.arithmetic(node, Two::Greater)),
    ("GreaterOrEqual", |to, node| to.negated(node, Two::Less)),
    ("HardSigmoid", |to, node| to.hard_sigmoid(node)),
    ("HardSwish", |to, node| to.unary(node, HardSwish)),
    ("Identity", |to, node| to.identity(node)),
    ("LeakyRelu", |to, node| to.leaky_relu(node)),
    ("Less", |to, node| to.arithmetic(node, Two::Less)),
    ("LessOrEqual", |to, node| to.negated(node, Two::Greater)),
    ("Log", |to, node| to.unary(node, Log)),
    ("Max", |to, node| to.several(node, Two::Maximum)),
    ("Mean", |to, node| to.mean(node)),
    ("Min", |to, node| to.several(node, Two::Minimum)),
    ("Mish", |to, node| to.unary(node, Mish)),
    ("Mul", |to, node| to.arithmetic(node, Two::Multiply)),
    ("Neg", |to, node| to.scaled(node, -1.0, 0.0)),
    ("Not", |to, node| to.scaled(node, -1.0, 1.0)),
    ("Or", |to, node| to.several(node, Two::Maximum)),
    ("PRelu", |to, node| to.prelu(node)),
    ("Pow", |to, node| to.power(node)),
    ("Reciprocal", |to, node| to.unary(node, Reciprocal)),
    ("Relu", |to, node| to.unary(node, Relu)),
    ("Round", |to, node| to.unary(node, Round)),
    ("Selu", |to, node| to.selu(node)),
    ("Sigmoid", |to, node| to.unary(node, Sigmoid)),
    ("Sign", |to, node| {
        let x = to.operand(node, 0)?;
        to.stairs(node, x, &Function::two(0.0, -1.0, 0.0, 1.0))
    }),
    ("Sin", |to, node| to.unary(node, Sin)),
    ("Softplus", |to, node| to.unary(node, Softplus)),
    ("Softsign", |to, node| to.softsign(node)),
    ("Sqrt", |to, node| to.unary(node, Sqrt)),
    ("Sub", |to, node| to.arithmetic(node, Two::Subtract)),
    ("Sum", |to, node| to.several(node, Two::Add)),
    ("Swish", |to, node| to.swish(node)),
    ("Tanh", |to, node| to.unary(node, Tanh)),
    ("ThresholdedRelu", |to, node| to.thresholded_relu(node)),
    ("Where", |to, node| to.choose(node)),
    ("Xor", |to, node| to.xor(node)),
];

/// The engine's operation on two values of broadcast shapes; of one shape where `equal` is set.
pub(super) fn operation(two: Two, equal: bool) -> Op<PlainValues<'static>> {
    match two {
        Two::Add if equal => Add.into(),
        Two::Add => BroadcastAdd.into(),
        Two::Subtract => Subtract.into(),
        Two::Multiply => Multiply.into(),
        Two::Divide => Divide.into(),
        Two::Minimum => Minimum.into(),
        Two::Maximum => Maximum.into(),
        Two::Greater => Greater.into(),
        Two::Less => Less.into(),
        Two::Equal => Equal.into(),
    }
}

impl Lowering<'_> {
    /// A node that makes each element of its first input's by that operation.
    pub(super) fn unary(&mut self, node: &Node, op: impl Into<Op<PlainValues<'static>>>) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let name = self.emit(node, "", &[&placed.name], op)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    /// A step by elements on the way to a node's result.
    pub(super) fn step(
        &mut self,
        node: &Node,
        suffix: &str,
        placed: Placed,
        op: impl Into<Op<PlainValues<'static>>>,
    ) -> Result<Placed, Refusal> {
        let placed = self.settled(placed)?;
        let name = self.emit(node, suffix, &[&placed.name], op)?;
        Ok(Placed { name, ..placed })
    }

    /// A value with a scale and a shift to come.
    pub(super) fn pending(&mut self, node: &Node, placed: Placed, scale: f64, shift: f64) -> Placed {
        let next = Pending::of_numbers(placed.view.axes.len(), scale, shift, node);
        let pending = match placed.pending {
            Some(before) => before.then(next),
            None => next,
        };
        Placed { pending: Some(pending), ..placed }
    }

    /// Remembers a value with what is still to be done to it.
    fn keep(&mut self, node: &Node, placed: Placed) -> Result<(), Refusal> {
        let Some(result) = node.output(0) else { return Ok(()) };
        self.values.insert(result, placed);
        Ok(())
    }

    /// The value as it is, or settled where others need it as well.
    fn continued(&mut self, value: ValueId) -> Result<Placed, Refusal> {
        if self.needed_once(value) { self.lookup(value) } else { self.placed(value) }
    }

    /// A node that is a scale and a shift.
    pub(super) fn scaled(&mut self, node: &Node, scale: f64, shift: f64) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.continued(value)?;
        let placed = self.pending(node, placed, scale, shift);
        self.keep(node, placed)
    }

    /// A node that is a scale and a shift which differ by place, of shapes that are broadcast to the result's.
    pub(super) fn affine(
        &mut self,
        node: &Node,
        value: ValueId,
        scale: ArrayD<f64>,
        shift: ArrayD<f64>,
    ) -> Result<(), Refusal> {
        let shape = self.result_shape(node)?;
        let shift = shift.mapv(finite);
        if let Some(bad) = scale.iter().chain(&shift).find(|v| !(**v as f32).is_finite()) {
            let reason = format!("one of its constants is {bad}, and no value here may be infinite");
            return Err(Refusal::of(node, reason, "a mask of -1e9 does what one of -inf does"));
        }
        let mut placed = self.continued(value)?;
        if placed.view.shape() != shape {
            placed = self.settled(placed)?;
            placed = self.expanded(node, placed, shape)?;
        }
        let ranked = |array: ArrayD<f64>| {
            let mut sizes = vec![1; shape.len().saturating_sub(array.ndim())];
            sizes.extend(array.shape());
            array.into_shape_with_order(IxDyn(&sizes))
        };
        let refused = |_| Refusal::of(node, "its constant has more axes than its result", "");
        let (scale, shift) = (ranked(scale).map_err(refused)?, ranked(shift).map_err(refused)?);
        let (scale, shift) = (narrowed(scale), narrowed(shift));
        let next = Pending { scale, shift, node: node.name.clone(), op: node.op.clone() };
        let pending = match placed.pending {
            Some(before) => before.then(next),
            None => next,
        };
        self.keep(node, Placed { pending: Some(pending), ..placed })
    }

    /// A node on two values, one of which may be a constant.
    fn arithmetic(&mut self, node: &Node, two: Two) -> Result<(), Refusal> {
        let element = node.output(0).and_then(|id| self.graph.value(id).element);
        if two == Two::Divide && element.is_some_and(|element| !element.is_float()) {
            let instead = "divide floats and round with Floor, or leave it out";
            return Err(Refusal::of(node, "it divides whole numbers, towards 0", instead));
        }
        let constants = [self.known(node, 0), self.known(node, 1)];
        let number = |value: f64| ArrayD::from_elem(IxDyn(&[]), value);
        match (two, constants) {
            (Two::Add, [None, Some(c)]) => self.affine(node, self.operand(node, 0)?, number(1.0), c),
            (Two::Add, [Some(c), None]) => self.affine(node, self.operand(node, 1)?, number(1.0), c),
            (Two::Subtract, [None, Some(c)]) => self.affine(node, self.operand(node, 0)?, number(1.0), -c),
            (Two::Subtract, [Some(c), None]) => self.affine(node, self.operand(node, 1)?, number(-1.0), c),
            (Two::Multiply, [None, Some(c)]) => self.affine(node, self.operand(node, 0)?, c, number(0.0)),
            (Two::Multiply, [Some(c), None]) => self.affine(node, self.operand(node, 1)?, c, number(0.0)),
            (Two::Divide, [None, Some(c)]) => {
                self.affine(node, self.operand(node, 0)?, c.mapv(|c| 1.0 / c), number(0.0))
            }
            _ => self.several(node, two),
        }
    }

    /// The constant of a place, if it is one.
    fn known(&self, node: &Node, place: usize) -> Option<ArrayD<f64>> {
        node.input(place).and_then(|id| self.graph.value(id).constant.as_ref()).map(|tensor| tensor.doubles())
    }

    /// A node on two or more values, taken two by two; constants become values.
    fn several(&mut self, node: &Node, two: Two) -> Result<(), Refusal> {
        if let Some((place, bounds)) = self.bound(node, two) {
            let clip = match bounds {
                [Some(0.0), None] => Op::from(Relu),
                [low, high] => Clip::new(low.unwrap_or(f32::MIN), high.unwrap_or(f32::MAX)).into(),
            };
            let value = self.operand(node, place)?;
            let placed = self.placed(value)?;
            let name = self.emit(node, "", &[&placed.name], clip)?;
            self.place(node, name, placed.view);
            return Ok(());
        }
        let shape = self.result_shape(node)?;
        let mut sum: Option<Placed> = None;
        for (place, input) in node.inputs.iter().enumerate() {
            let input = input.ok_or_else(|| Refusal::of(node, format!("its input {place} is missing"), ""))?;
            let next = self.any_operand(node, input)?;
            sum = Some(match sum {
                None => next,
                Some(before) => {
                    let suffix = if place + 1 == node.inputs.len() { String::new() } else { format!("/{place}") };
                    let operands = self.aligned(node, vec![before, next], None)?;
                    let [a, b] = &operands.values[..] else { unreachable_pair(node)? };
                    let op = operation(two, a.shape == b.shape);
                    let name = self.emit(node, &suffix, &[&a.name, &b.name], op)?;
                    let shape = self.builder.shape(&name).expect("it was just added");
                    Placed { name, shape, view: operands.view, pending: None }
                }
            });
        }
        let placed = sum.ok_or_else(|| Refusal::of(node, "it has no input", ""))?;
        let placed = if placed.view.shape() == shape { placed } else { self.expanded(node, placed, shape)? };
        let view = placed.view.clone();
        self.alias(node, placed, view);
        Ok(())
    }

    /// The bounds that a `Max` or `Min` with one number sets, and the place of its other input.
    fn bound(&self, node: &Node, two: Two) -> Option<(usize, [Option<f32>; 2])> {
        let place = match (self.known(node, 0), self.known(node, 1)) {
            (None, Some(_)) => 0,
            (Some(_), None) => 1,
            _ => return None,
        };
        let number = crate::recognise::scalar(self.graph, node.input(1 - place)?)? as f32;
        let same = self.result_shape(node).ok() == self.shape(node.input(place)?).ok();
        match two {
            Two::Maximum if node.inputs.len() == 2 && same => Some((place, [Some(number), None])),
            Two::Minimum if node.inputs.len() == 2 && same => Some((place, [None, Some(number)])),
            _ => None,
        }
    }

    /// 1 minus what a comparison says.
    fn negated(&mut self, node: &Node, two: Two) -> Result<(), Refusal> {
        self.several(node, two)?;
        let Some(result) = node.output(0) else { return Ok(()) };
        let placed = self.lookup(result)?;
        let placed = self.pending(node, placed, -1.0, 1.0);
        self.keep(node, placed)
    }

    fn mean(&mut self, node: &Node) -> Result<(), Refusal> {
        self.several(node, Two::Add)?;
        let Some(result) = node.output(0) else { return Ok(()) };
        let placed = self.lookup(result)?;
        let placed = self.pending(node, placed, 1.0 / node.inputs.len() as f64, 0.0);
        self.keep(node, placed)
    }

    fn xor(&mut self, node: &Node) -> Result<(), Refusal> {
        self.several(node, Two::Subtract)?;
        let Some(result) = node.output(0) else { return Ok(()) };
        let placed = self.lookup(result)?;
        let placed = self.step(node, "/differs", placed, Abs)?;
        self.keep(node, placed)
    }

    /// A node that changes nothing.
    pub(super) fn identity(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.continued(value)?;
        self.keep(node, placed)
    }

    fn cast(&mut self, node: &Node) -> Result<(), Refusal> {
        let element = |id: Option<ValueId>| id.and_then(|id| self.graph.value(id).element);
        let (from, to) = (element(node.input(0)), element(node.output(0)));
        let is_float = |element: Option<crate::graph::ElementType>| element.is_none_or(|element| element.is_float());
        let bool = Some(crate::graph::ElementType::Bool);
        if from == bool || from == to || is_float(to) || !is_float(from) && to != bool {
            return self.identity(node);
        }
        if matches!(to, Some(crate::graph::ElementType::Int4 | crate::graph::ElementType::UInt4)) {
            let reason = "whole numbers of 4 bits keep only the lowest bits of what does not fit";
            return Err(Refusal::of(node, reason, "cast to int8, or clip and round"));
        }
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        if to == bool {
            let size = self.step(node, "/size", placed, Abs)?;
            let done = self.step(node, "", size, MultiThreshold::new(1, vec![first_above(0.0, true)], 1.0, 0.0))?;
            return self.keep(node, done);
        }
        // Towards zero: down where it is positive, up where it is negative.
        let positive = self.step(node, "/positive", placed.clone(), Relu)?;
        let down = self.step(node, "/down", positive, Floor)?;
        let turned = self.pending(node, placed, -1.0, 0.0);
        let negative = self.step(node, "/negative", turned, Relu)?;
        let up = self.step(node, "/up", negative, Floor)?;
        let name = self.emit(node, "", &[&down.name, &up.name], Subtract)?;
        self.place(node, name, down.view);
        Ok(())
    }

    fn clip(&mut self, node: &Node) -> Result<(), Refusal> {
        let (low, high) = (self.number(node, 1)?, self.number(node, 2)?);
        let bound = |bound: Option<f64>| bound.map(|b| (b as f32).clamp(f32::MIN, f32::MAX));
        match (bound(low), bound(high)) {
            (None, None) => self.identity(node),
            (Some(0.0), None) => self.unary(node, Relu),
            (low, high) => {
                let high = high.unwrap_or(f32::MAX);
                self.unary(node, Clip::new(low.unwrap_or(f32::MIN).min(high), high))
            }
        }
    }

    fn celu(&mut self, node: &Node) -> Result<(), Refusal> {
        let alpha = f64::from(node.float("alpha", 1.0));
        let value = self.operand(node, 0)?;
        let placed = self.continued(value)?;
        let placed = self.pending(node, placed, 1.0 / alpha, 0.0);
        let placed = self.step(node, "", placed, Elu::new(1.0))?;
        let placed = self.pending(node, placed, alpha, 0.0);
        self.keep(node, placed)
    }

    fn selu(&mut self, node: &Node) -> Result<(), Refusal> {
        let (alpha, gamma) = (node.float("alpha", 1.673_263_2), node.float("gamma", 1.050_701));
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let placed = self.step(node, "", placed, Elu::new(alpha))?;
        let placed = self.pending(node, placed, gamma.into(), 0.0);
        self.keep(node, placed)
    }

    fn hard_sigmoid(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.continued(value)?;
        let placed = self.pending(node, placed, node.float("alpha", 0.2).into(), node.float("beta", 0.5).into());
        let placed = self.step(node, "", placed, Clip::new(0.0, 1.0))?;
        self.keep(node, placed)
    }

    fn leaky_relu(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let channels = placed.shape.sizes()[2];
        self.unary(node, Prelu::new(vec![node.float("alpha", 0.01); channels]))
    }

    fn prelu(&mut self, node: &Node) -> Result<(), Refusal> {
        let slope = self.constant(node, 1)?.ok_or_else(|| Refusal::of(node, "it has no slope", ""))?;
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let (placed, slope) = self.vector_of(node, placed, slope)?;
        let name = self.emit(node, "", &[&placed.name], Prelu::new(slope))?;
        self.place(node, name, placed.view);
        Ok(())
    }

    fn power(&mut self, node: &Node) -> Result<(), Refusal> {
        let number = |place| node.input(place).and_then(|id| crate::recognise::scalar(self.graph, id));
        match (number(0), number(1)) {
            (None, Some(1.0)) => self.identity(node),
            (None, Some(exponent)) => {
                let value = self.operand(node, 0)?;
                let placed = self.placed(value)?;
                let op: Op<PlainValues<'static>> = match exponent {
                    0.5 => Sqrt.into(),
                    -1.0 => Reciprocal.into(),
                    _ => Power::new(exponent as f32).into(),
                };
                let name = self.emit(node, "", &[&placed.name], op)?;
                self.place(node, name, placed.view);
                Ok(())
            }
            (Some(base), None) if base > 0.0 => {
                let value = self.operand(node, 1)?;
                let placed = self.continued(value)?;
                let placed = self.pending(node, placed, base.ln(), 0.0);
                let placed = self.step(node, "", placed, Exp)?;
                self.keep(node, placed)
            }
            _ => {
                let reason = "neither its base nor its exponent is one number";
                Err(Refusal::of(node, reason, "a constant exponent works"))
            }
        }
    }

    fn softsign(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let size = self.step(node, "/size", placed.clone(), Abs)?;
        let size = self.pending(node, size, 1.0, 1.0);
        let size = self.settled(size)?;
        let name = self.emit(node, "", &[&placed.name, &size.name], Divide)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    fn swish(&mut self, node: &Node) -> Result<(), Refusal> {
        let alpha = node.float("alpha", 1.0);
        if alpha == 1.0 {
            return self.unary(node, Silu);
        }
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let scaled = self.pending(node, placed.clone(), alpha.into(), 0.0);
        let gate = self.step(node, "/gate", scaled, Sigmoid)?;
        let name = self.emit(node, "", &[&placed.name, &gate.name], Multiply)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    fn thresholded_relu(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let threshold = first_above(node.float("alpha", 1.0).into(), true);
        let mask = self.step(node, "/mask", placed.clone(), MultiThreshold::new(1, vec![threshold], 1.0, 0.0))?;
        let name = self.emit(node, "", &[&placed.name, &mask.name], Multiply)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    fn choose(&mut self, node: &Node) -> Result<(), Refusal> {
        let shape = self.result_shape(node)?;
        let mut operands = Vec::new();
        for place in 0..3 {
            let input = node.input(place).ok_or_else(|| Refusal::of(node, "an input is missing", ""))?;
            operands.push(self.any_operand(node, input)?);
        }
        let operands = self.aligned(node, operands, Some(shape))?;
        let names: Vec<&str> = operands.values.iter().map(|placed| placed.name.as_str()).collect();
        let name = self.emit(node, "", &names, Where)?;
        self.place(node, name, operands.view);
        Ok(())
    }
}

/// What is added for -inf, which masks add where a softmax shall have 0: no value here may be infinite, and this leaves 0 as well.
pub(super) fn finite(value: f64) -> f64 {
    if value < f64::from(f32::MIN) / 2.0 { f64::from(f32::MIN) / 2.0 } else { value }
}

/// Two operands are always two; a refusal costs less than a proof.
fn unreachable_pair<T>(node: &Node) -> Result<T, Refusal> {
    Err(Refusal::of(node, "it does not have two operands", ""))
}
