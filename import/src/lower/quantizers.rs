//! Staircases and uniform quantizers whose values are needed as floats.

use super::placed::Placed;
use super::{Lowering, Rule, axis};
use crate::error::Refusal;
use crate::graph::{Node, ValueId};
use crate::recognise::{Cut, Function, Rounding, first_above, quant_range, quant_rounding, trunc_rounding};
use horq::graph::Shape;
use horq::ops::{Ceil, Clip, FakeQuantize, Floor, MultiThreshold, Round, Sign};
use ndarray::ArrayD;

pub(super) const RULES: &[Rule] = &[
    ("BipolarQuant", |to, node| to.bipolar(node)),
    ("DequantizeLinear", |to, node| to.dequantize(node)),
    ("MultiThreshold", |to, node| to.multi_threshold(node)),
    ("IntQuant", |to, node| to.quant(node)),
    ("Quant", |to, node| to.quant(node)),
    ("QuantizeLinear", |to, node| to.quantize(node)),
    ("Trunc", |to, node| to.trunc(node)),
];

/// Thresholds beyond which a rounding is faster than comparisons.
const MANY: usize = 16;
const NOISE: f64 = 1e-5;

/// Thresholds with what is added at each: the value at a break may be one of its own.
struct Stairs {
    thresholds: Vec<f32>,
    first: f64,
    step: f64,
}

impl Stairs {
    /// The staircase as equal steps at thresholds, if it is one.
    fn of(f: &Function) -> Option<Self> {
        let steps = f.steps()?;
        let mut levels = vec![*steps.first()?];
        let mut thresholds = Vec::new();
        for (i, (&at, &threshold)) in f.at.iter().zip(&f.breaks).enumerate() {
            let (left, right) = (steps[i], steps[i + 1]);
            if at != left {
                thresholds.push(first_above(threshold, false));
                levels.push(at);
            }
            if at != right {
                thresholds.push(first_above(threshold, true));
                levels.push(right);
            }
        }
        let step = (levels[levels.len() - 1] - levels[0]) / (levels.len() as f64 - 1.0);
        let even = levels.windows(2).all(|pair| (pair[1] - pair[0] - step).abs() <= NOISE * step.abs());
        (even && step != 0.0).then_some(Self { thresholds, first: levels[0], step })
    }
}

/// Whether the engine makes that staircase in one go.
pub(super) fn can_make(f: &Function) -> bool {
    Stairs::of(f).is_some()
}

impl Lowering<'_> {
    /// The first result of a node as a staircase of an earlier value.
    pub(super) fn stairs(&mut self, node: &Node, source: ValueId, f: &Function) -> Result<(), Refusal> {
        let stairs = Stairs::of(f).ok_or_else(|| Refusal::of(node, "its steps are not equal", ""))?;
        let placed = self.placed(source)?;
        let view = placed.view.clone();
        let placed = match &stairs.thresholds[..] {
            [threshold] if *threshold == 0.0 => {
                let placed = self.step(node, "", placed, Sign)?;
                self.pending(node, placed, stairs.step / 2.0, stairs.first + stairs.step / 2.0)
            }
            thresholds if thresholds.len() > MANY && rounds(f, &stairs) => {
                let count = thresholds.len() as f64;
                let zero = (-stairs.first / stairs.step).round();
                let number = |value: f64| vec![value as f32];
                let op = FakeQuantize::new(number(stairs.step), number(zero), number(0.0), number(count));
                self.step(node, "", placed, op)?
            }
            thresholds => {
                let op = MultiThreshold::new(1, thresholds.to_vec(), stairs.step as f32, stairs.first as f32);
                self.step(node, "", placed, op)?
            }
        };
        self.alias(node, placed, view);
        Ok(())
    }

    /// A value whose channels are the axis along which constants differ, or any value where they don't.
    fn by_channel(&mut self, node: &Node, numbers: [&ArrayD<f64>; 4]) -> Result<(Placed, [Vec<f32>; 4]), Refusal> {
        let value = self.operand(node, 0)?;
        let mut placed = self.placed(value)?;
        let mut vectors = [const { Vec::new() }; 4];
        if numbers.iter().all(|numbers| numbers.len() == 1) {
            let one = numbers.map(|numbers| numbers.iter().map(|&n| n as f32).collect());
            return Ok((placed, one));
        }
        for (vector, numbers) in vectors.iter_mut().zip(numbers) {
            (placed, *vector) = self.vector_of(node, placed, numbers.clone())?;
        }
        let channels = placed.shape.sizes()[2];
        if vectors.iter().any(|vector| vector.len() != channels) {
            return Err(Refusal::of(
                node,
                "its constants differ along different axes",
                "per tensor and per channel work",
            ));
        }
        Ok((placed, vectors))
    }

    fn quant(&mut self, node: &Node) -> Result<(), Refusal> {
        let constant = |place: usize| {
            let numbers = self.constant(node, place)?;
            numbers.ok_or_else(|| Refusal::of(node, format!("its input {place} is missing"), ""))
        };
        let (scale, zero, bits) = (constant(1)?, constant(2)?, constant(3)?);
        if quant_rounding(node) != Some(Rounding::HalfEven) {
            let mode = node.text("rounding_mode", "ROUND");
            return Err(Refusal::of(node, format!("it rounds by `{mode}` beyond 8 bits or by channel"), "ROUND works"));
        }
        let low = bits.mapv(|bits| quant_range(node, bits).0);
        let high = bits.mapv(|bits| quant_range(node, bits).1);
        let (placed, [scale, zero, low, high]) = self.by_channel(node, [&scale, &zero, &low, &high])?;
        let view = placed.view.clone();
        let placed = self.step(node, "", placed, FakeQuantize::new(scale, zero, low, high))?;
        self.alias(node, placed, view);
        Ok(())
    }

    /// Scale and zero point of a node of ONNX's, in the shape of what they are broadcast to.
    fn linear(&self, node: &Node, rank: usize) -> Result<[ArrayD<f64>; 2], Refusal> {
        let scale = self.constant(node, 1)?.ok_or_else(|| Refusal::of(node, "its scale is missing", ""))?;
        let zero = self.constant(node, 2)?.unwrap_or_else(|| ArrayD::zeros(scale.raw_dim()));
        if node.int("block_size", 0) != 0 {
            return Err(Refusal::of(node, "it quantizes by blocks", "per tensor and per channel work"));
        }
        if zero.len() != scale.len() {
            let what = format!("it has {} scales and {} zero points", scale.len(), zero.len());
            return Err(Refusal::of(node, what, "give as many of one as of the other"));
        }
        let place = if scale.len() > 1 { axis(node, node.int("axis", 1), rank)? } else { 0 };
        let ranked = |numbers: ArrayD<f64>| {
            let mut shape = vec![1; rank];
            if let Some(size) = shape.get_mut(place) {
                *size = numbers.len();
            }
            numbers.into_shape_with_order(shape)
        };
        let refused = |_| Refusal::of(node, "its scale has no single axis", "per tensor and per channel work");
        Ok([ranked(scale).map_err(refused)?, ranked(zero).map_err(refused)?])
    }

    fn quantize(&mut self, node: &Node) -> Result<(), Refusal> {
        let rank = self.result_shape(node)?.len();
        let [scale, zero] = self.linear(node, rank)?;
        let range = node.output(0).and_then(|id| self.graph.value(id).element).and_then(|element| element.range());
        let Some((low, high)) = range else {
            return Err(Refusal::of(node, "it quantizes to floats", "whole numbers of up to 16 bits work"));
        };
        let (low, high) = (zero.mapv(|_| low as f64), zero.mapv(|_| high as f64));
        let one = scale.mapv(|scale| 1.0 / scale);
        let (placed, [by, zeros, low, high]) = self.by_channel(node, [&scale, &zero, &low, &high])?;
        let placed = self.step(node, "", placed, FakeQuantize::new(by, zeros, low, high))?;
        let next = super::placed::Pending {
            scale: one,
            shift: zero,
            node: format!("{}/whole", node.name),
            op: node.op.clone(),
        };
        let view = placed.view.clone();
        self.alias(node, Placed { pending: Some(next), ..placed }, view);
        Ok(())
    }

    fn dequantize(&mut self, node: &Node) -> Result<(), Refusal> {
        let rank = self.result_shape(node)?.len();
        let [scale, zero] = self.linear(node, rank)?;
        let shift = -&zero * &scale;
        let value = self.operand(node, 0)?;
        self.affine(node, value, scale, shift)
    }

    fn bipolar(&mut self, node: &Node) -> Result<(), Refusal> {
        let scale = self.constant(node, 1)?.ok_or_else(|| Refusal::of(node, "its scale is missing", ""))?;
        self.unary(node, Sign)?;
        let Some(result) = node.output(0) else { return Ok(()) };
        self.affine(node, result, scale, ArrayD::zeros(ndarray::IxDyn(&[])))
    }

    /// Bits cut off below: rounded, scaled down, and rounded in the node's way.
    fn trunc(&mut self, node: &Node) -> Result<(), Refusal> {
        let number = |place| {
            let number = self.number(node, place)?;
            number.ok_or_else(|| Refusal::of(node, format!("its input {place} is missing"), ""))
        };
        let needed = if node.inputs.len() < 6 { 1..5 } else { 1..6 };
        for place in needed {
            number(place)?;
        }
        let known = |place: usize| number(place).ok();
        let Some(Cut { scale, zero, lost, range, result_scale, result_zero }) = Cut::of(node, &known) else {
            return Err(Refusal::of(node, "its numbers are missing", ""));
        };
        let value = self.operand(node, 0)?;
        let placed = self.placed(value)?;
        let steps = self.pending(node, placed, 1.0 / scale, zero);
        let whole = self.step(node, "/whole", steps, Round)?;
        let mut less = self.pending(node, whole, 1.0 / lost, 0.0);
        if let Some((low, high)) = range {
            less = self.step(node, "/kept", less, Clip::new(low as f32, high as f32))?;
        }
        let cut = match trunc_rounding(node) {
            Some(Rounding::HalfEven) => self.step(node, "/cut", less, Round)?,
            Some(Rounding::Floor) => self.step(node, "/cut", less, Floor)?,
            Some(Rounding::Ceil) => self.step(node, "/cut", less, Ceil)?,
            _ => return Err(Refusal::of(node, "it rounds in a way of its own", "FLOOR, ROUND and CEIL work")),
        };
        let done = self.pending(node, cut, result_scale, -result_zero * result_scale);
        let view = done.view.clone();
        self.alias(node, done, view);
        Ok(())
    }

    fn multi_threshold(&mut self, node: &Node) -> Result<(), Refusal> {
        let thresholds = self.constant(node, 1)?.ok_or_else(|| Refusal::of(node, "its thresholds are missing", ""))?;
        let [rows, steps] = thresholds.shape()[..] else {
            return Err(Refusal::of(node, "its thresholds are no table", ""));
        };
        let value = self.operand(node, 0)?;
        let mut placed = self.placed(value)?;
        let rank = placed.view.axes.len();
        let layout = node.text("data_layout", if rank == 3 { "NWC" } else { "NC" });
        let channels = layout.find('C').unwrap_or(1).min(rank.saturating_sub(1));
        let found = self.shape(value)?.get(channels).copied().unwrap_or(1);
        if rows != 1 && rows != found {
            let reason = format!("it has thresholds for {rows} channels, and its input has {found}");
            return Err(Refusal::of(node, reason, "one row, or a row for each channel, works"));
        }
        let row_of: Vec<usize> = if rows == 1 {
            vec![0]
        } else {
            if placed.view.innermost(channels).is_none() {
                let rest: Vec<usize> = (0..rank).filter(|&axis| axis != channels).collect();
                placed = self.grouped_placed(placed, [&[], &rest, &[channels]], true)?;
            }
            let place = placed.view.innermost(channels).unwrap_or_default();
            if placed.shape.sizes()[2] != rows {
                let positions = placed.shape.len() / rows;
                let shape = if positions == 1 { Shape::Flat(rows) } else { super::placed::image(1, positions, rows) };
                placed = self.reshaped(placed, shape)?;
            }
            place
        };
        let table: Vec<f32> = row_of
            .iter()
            .flat_map(|&row| (0..steps).map(move |step| [row, step]))
            .map(|at| first_above(thresholds[at.as_slice()], false))
            .collect();
        let (scale, bias) = (node.float("out_scale", 1.0), node.float("out_bias", 0.0));
        let view = placed.view.clone();
        let placed = self.step(node, "", placed, MultiThreshold::new(row_of.len(), table, scale, bias))?;
        self.alias(node, placed, view);
        Ok(())
    }
}

/// Whether the staircase is that of rounding to the nearest of its levels.
fn rounds(f: &Function, stairs: &Stairs) -> bool {
    let whole = stairs.first / stairs.step;
    let nearest = |(i, b): (usize, &f64)| {
        (b - (stairs.first + stairs.step * (i as f64 + 0.5))).abs() <= NOISE * stairs.step.abs()
    };
    stairs.step > 0.0
        && (whole - whole.round()).abs() <= NOISE
        && f.breaks.len() == stairs.thresholds.len()
        && f.breaks.iter().enumerate().all(nearest)
}
