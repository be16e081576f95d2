//! Normalizations and softmax.

use super::broadcast::Two;
use super::elementwise::operation;
use super::placed::Placed;
use super::{Lowering, Rule, axis};
use crate::error::Refusal;
use crate::graph::Node;
use horq::PlainValues;
use horq::graph::Op;
use horq::ops::{Abs, GroupNorm, LayerNorm, LogSoftmax, Lrn, ReduceL2, ReduceSum, RmsNorm, Softmax};
use ndarray::{ArrayD, IxDyn};

pub(super) const RULES: &[Rule] = &[
    ("BatchNormalization", |to, node| to.batch_norm(node)),
    ("GroupNormalization", |to, node| {
        let groups = usize::try_from(node.int("num_groups", 1)).unwrap_or(1);
        to.group_norm(node, Some(groups), node.float("epsilon", 1e-5))
    }),
    ("InstanceNormalization", |to, node| to.group_norm(node, None, node.float("epsilon", 1e-5))),
    ("LRN", |to, node| to.lrn(node)),
    ("LayerNormalization", |to, node| to.layer_norm(node)),
    ("LogSoftmax", |to, node| to.over_axis(node, LogSoftmax)),
    ("LpNormalization", |to, node| to.lp_normalization(node)),
    ("MeanVarianceNormalization", |to, node| to.mean_variance(node)),
    ("RMSNormalization", |to, node| to.rms_norm(node)),
    ("Softmax", |to, node| to.over_axis(node, Softmax)),
];

impl Lowering<'_> {
    /// The constants of some places, each of which has to be there.
    fn constants<const N: usize>(&self, node: &Node, first: usize) -> Result<[ArrayD<f64>; N], Refusal> {
        let mut all = Vec::with_capacity(N);
        for place in first..first + N {
            let numbers = self.constant(node, place)?;
            all.push(numbers.ok_or_else(|| Refusal::of(node, format!("its input {place} is missing"), ""))?);
        }
        <[ArrayD<f64>; N]>::try_from(all).map_err(|_| Refusal::of(node, "its inputs are missing", ""))
    }

    fn batch_norm(&mut self, node: &Node) -> Result<(), Refusal> {
        if node.int("training_mode", 0) != 0
            || node.outputs.iter().skip(1).flatten().any(|id| self.needs.contains_key(id))
        {
            let reason = "it is in training mode";
            return Err(Refusal::of(node, reason, "export the network in its mode for inference"));
        }
        let [scale, bias, mean, variance] = self.constants(node, 1)?;
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let rank = self.result_shape(node)?.len();
        // One value a channel, along axis 1.
        let mut shape = vec![1; rank];
        if let Some(size) = shape.get_mut(1) {
            *size = scale.len();
        }
        let scale = &scale / &variance.mapv(|v| (v + epsilon).sqrt());
        let shift = &bias - &mean * &scale;
        let ranked = |numbers: ArrayD<f64>| numbers.into_shape_with_order(IxDyn(&shape));
        let refused = |_| Refusal::of(node, "its constants are not one value a channel", "");
        let value = self.operand(node, 0)?;
        self.affine(node, value, ranked(scale).map_err(refused)?, ranked(shift).map_err(refused)?)
    }

    /// The value with those axes inside, as positions of so many features; the numbers in their order.
    fn features(&mut self, node: &Node, first: usize) -> Result<Placed, Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let rank = placed.view.axes.len();
        let (outer, inner): (Vec<usize>, Vec<usize>) = ((0..first).collect(), (first..rank).collect());
        let inner_len = placed.view.size(&placed.view.sequence(&inner));
        // As it lies, if its features are inside already.
        let sequence = placed.view.sequence(&inner);
        let start = placed.view.factors.len() - sequence.len();
        if sequence.iter().enumerate().all(|(i, &factor)| factor == start + i) {
            if placed.shape.sizes()[2] == inner_len {
                return Ok(placed);
            }
            let positions = placed.shape.len() / inner_len;
            let shape = super::placed::image(1, positions, inner_len);
            let flat = horq::graph::Shape::Flat(inner_len);
            return self.reshaped(placed, if positions == 1 { flat } else { shape });
        }
        self.grouped_placed(placed, [&[], &outer, &inner], true)
    }

    /// One number for each feature, of a constant that is broadcast to that shape.
    fn of_features(&self, node: &Node, place: usize, shape: &[usize]) -> Result<Option<Vec<f32>>, Refusal> {
        let Some(numbers) = self.constant(node, place)? else { return Ok(None) };
        let spread = numbers.broadcast(IxDyn(shape));
        let spread = spread.ok_or_else(|| Refusal::of(node, "its scale does not fit its features", ""))?;
        Ok(Some(spread.iter().map(|&n| n as f32).collect()))
    }

    fn layer_norm(&mut self, node: &Node) -> Result<(), Refusal> {
        let shape = self.result_shape(node)?;
        let first = axis(node, node.int("axis", -1), shape.len())?;
        let placed = self.features(node, first)?;
        let mut op = LayerNorm::new(node.float("epsilon", 1e-5));
        if let Some(scale) = self.of_features(node, 1, &shape[first..])? {
            op = op.scale(scale);
        }
        if let Some(shift) = self.of_features(node, 2, &shape[first..])? {
            op = op.shift(shift);
        }
        let name = self.emit(node, "", &[&placed.name], op)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    fn rms_norm(&mut self, node: &Node) -> Result<(), Refusal> {
        let shape = self.result_shape(node)?;
        let first = axis(node, node.int("axis", -1), shape.len())?;
        let placed = self.features(node, first)?;
        let mut op = RmsNorm::new(node.float("epsilon", 1e-5));
        if let Some(scale) = self.of_features(node, 1, &shape[first..])? {
            op = op.scale(scale);
        }
        let name = self.emit(node, "", &[&placed.name], op)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    /// The value with its channels (axis 1) inside.
    pub(super) fn channels_last(&mut self, node: &Node) -> Result<Placed, Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let rank = placed.view.axes.len();
        if rank < 2 {
            return Err(Refusal::of(node, "its input has no channels", ""));
        }
        let spatial: Vec<usize> = (2..rank).collect();
        let (rows, columns) = spatial.split_at(spatial.len().saturating_sub(1));
        self.grouped_placed(placed, [rows, columns, &[1]], false)
    }

    fn group_norm(&mut self, node: &Node, groups: Option<usize>, epsilon: f32) -> Result<(), Refusal> {
        let placed = self.channels_last(node)?;
        let channels = placed.shape.sizes()[2];
        let groups = groups.unwrap_or(channels);
        let mut op = GroupNorm::new(groups, epsilon);
        let by_channel = |numbers: Option<ArrayD<f64>>| -> Option<Vec<f32>> {
            let numbers: Vec<f32> = numbers?.iter().map(|&n| n as f32).collect();
            let each = channels / numbers.len().max(1);
            Some(numbers.iter().flat_map(|&n| std::iter::repeat_n(n, each)).collect())
        };
        if let Some(scale) = by_channel(self.constant(node, 1)?) {
            op = op.scale(scale);
        }
        if let Some(shift) = by_channel(self.constant(node, 2)?) {
            op = op.shift(shift);
        }
        let name = self.emit(node, "", &[&placed.name], op)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    fn mean_variance(&mut self, node: &Node) -> Result<(), Refusal> {
        if node.ints("axes").is_some_and(|axes| axes != [0, 2, 3]) {
            return Err(Refusal::of(node, "its axes are not those of an image", "write it as a LayerNormalization"));
        }
        self.group_norm(node, None, 1e-9)
    }

    fn lrn(&mut self, node: &Node) -> Result<(), Refusal> {
        let placed = self.channels_last(node)?;
        let size = usize::try_from(node.int("size", 1)).unwrap_or(1);
        let op = Lrn::new(size, node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0));
        let name = self.emit(node, "", &[&placed.name], op)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    /// An operation over the values along an axis.
    fn over_axis(&mut self, node: &Node, op: impl Into<Op<PlainValues<'static>>>) -> Result<(), Refusal> {
        let rank = self.result_shape(node)?.len();
        let place = axis(node, node.int("axis", -1), rank)?;
        let placed = self.innermost(node, place)?;
        let name = self.emit(node, "", &[&placed.name], op)?;
        self.place(node, name, placed.view);
        Ok(())
    }

    /// The value with one axis inside, in its order, as the engine's channels.
    pub(super) fn innermost(&mut self, node: &Node, axis: usize) -> Result<Placed, Refusal> {
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        self.innermost_placed(placed, axis)
    }

    /// As [`Self::innermost`].
    pub(super) fn innermost_placed(&mut self, placed: Placed, axis: usize) -> Result<Placed, Refusal> {
        let view = &placed.view;
        let (size, own) = (view.size(&view.axes[axis]), view.axes[axis].clone());
        let start = view.factors.len() - own.len();
        let inside = own.iter().enumerate().all(|(i, &factor)| factor == start + i);
        if inside && placed.shape.sizes()[2] == size {
            return Ok(placed);
        }
        let positions = placed.shape.len() / size;
        let flat = horq::graph::Shape::Flat(size);
        let shape = if positions == 1 { flat } else { super::placed::image(1, positions, size) };
        let outer = (0..view.factors.len()).filter(|factor| !own.contains(factor));
        let sequence: Vec<usize> = outer.chain(own.iter().copied()).collect();
        self.rearranged(placed, &sequence, shape)
    }

    fn lp_normalization(&mut self, node: &Node) -> Result<(), Refusal> {
        let rank = self.result_shape(node)?.len();
        let place = axis(node, node.int("axis", -1), rank)?;
        let placed = self.innermost(node, place)?;
        let axes = [false, false, true];
        let norm = match node.int("p", 2) {
            2 => self.emit(node, "/norm", &[&placed.name], ReduceL2::new(axes))?,
            1 => {
                let sizes = self.emit(node, "/sizes", &[&placed.name], Abs)?;
                self.emit(node, "/norm", &[&sizes], ReduceSum::new(axes))?
            }
            p => return Err(Refusal::of(node, format!("its p is {p}"), "1 and 2 work")),
        };
        let name = self.emit(node, "", &[&placed.name, &norm], operation(Two::Divide, false))?;
        self.place(node, name, placed.view);
        Ok(())
    }
}
