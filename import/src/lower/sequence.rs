//! Products of two computed values, and operations on rows.

use super::placed::Placed;
use super::{Lowering, Rule, axis};
use crate::error::Refusal;
use crate::graph::Node;
use crate::layout::View;
use horq::ops::{ArgMax, MatMul, ReduceMax, TopK};

pub(super) const RULES: &[Rule] = &[
    ("ArgMax", |to, node| to.arg_max(node, false)),
    ("ArgMin", |to, node| to.arg_max(node, true)),
    ("MatMul", |to, node| to.matmul(node)),
    ("TopK", |to, node| to.top_k(node)),
];

impl Lowering<'_> {
    fn matmul(&mut self, node: &Node) -> Result<(), Refusal> {
        let mut operands = Vec::new();
        for place in 0..2 {
            let input = node.input(place).ok_or_else(|| Refusal::of(node, "an operand is missing", ""))?;
            operands.push(self.any_operand(node, input)?);
        }
        let b = operands.pop().ok_or_else(|| Refusal::of(node, "an operand is missing", ""))?;
        let a = operands.pop().ok_or_else(|| Refusal::of(node, "an operand is missing", ""))?;
        let result = self.result_shape(node)?.to_vec();
        let (name, view) = self.multiplied(node, a, b, &result)?;
        self.place(node, name, view);
        Ok(())
    }

    /// The product of two values, row by row and column by column of their last two axes.
    fn multiplied(&mut self, node: &Node, a: Placed, b: Placed, result: &[usize]) -> Result<(String, View), Refusal> {
        let rank = result.len();
        let (shape_a, shape_b) = (a.view.shape(), b.view.shape());
        if shape_a.len() < 2 || shape_b.len() < 2 {
            let reason = "an operand is a vector without an axis of its own";
            return Err(Refusal::of(node, reason, "put an Unsqueeze before it"));
        }
        let batch: usize = result[..rank - 2].iter().product();
        let whole = |shape: &[usize]| [&result[..rank - 2], &shape[shape.len() - 2..]].concat();
        let batches = |shape: &[usize]| shape[..shape.len() - 2].iter().product::<usize>();
        let a = if [1, batch].contains(&batches(&shape_a)) { a } else { self.expanded(node, a, &whole(&shape_a))? };
        let b = if [1, batch].contains(&batches(&shape_b)) { b } else { self.expanded(node, b, &whole(&shape_b))? };
        let grouped = |to: &mut Self, placed: Placed, turned: bool| {
            let rank = placed.view.axes.len();
            let outer: Vec<usize> = (0..rank - 2).collect();
            let (row, column) = if turned { (rank - 1, rank - 2) } else { (rank - 2, rank - 1) };
            to.grouped_placed(placed, [&outer, &[row], &[column]], false)
        };
        let a = grouped(self, a, false)?;
        // The second operand may lie with its rows inside, which saves turning it.
        let rank_b = b.view.axes.len();
        let order: Vec<usize> = (0..rank_b - 2).chain([rank_b - 1, rank_b - 2]).collect();
        let turned = b.view.lies(&b.view.sequence(&order));
        let b = grouped(self, b, turned)?;
        let op = if turned { MatMul::transposed() } else { MatMul::new() };
        let name = self.emit(node, "", &[&a.name, &b.name], op)?;
        Ok((name, View::row_major(result)))
    }

    /// A `Gemm` of two computed values.
    pub(super) fn computed_gemm(&mut self, node: &Node) -> Result<(), Refusal> {
        let mut operands = Vec::new();
        for (place, turned) in [(0, "transA"), (1, "transB")] {
            let input = node.input(place).ok_or_else(|| Refusal::of(node, "an operand is missing", ""))?;
            let placed = self.any_operand(node, input)?;
            let view = if node.int(turned, 0) != 0 { placed.view.transposed(&[1, 0]) } else { placed.view.clone() };
            operands.push(Placed { view, ..placed });
        }
        let b = operands.pop().ok_or_else(|| Refusal::of(node, "an operand is missing", ""))?;
        let a = operands.pop().ok_or_else(|| Refusal::of(node, "an operand is missing", ""))?;
        let result = self.result_shape(node)?.to_vec();
        let (name, view) = self.multiplied(node, a, b, &result)?;
        self.place(node, name, view);
        let Some(value) = node.output(0) else { return Ok(()) };
        let placed = self.lookup(value)?;
        let alpha = f64::from(node.float("alpha", 1.0));
        let product = self.pending(node, placed, alpha, 0.0);
        let Some(third) = node.input(2) else {
            self.values.insert(value, product);
            return Ok(());
        };
        let third = self.any_operand(node, third)?;
        let third = self.pending(node, third, node.float("beta", 1.0).into(), 0.0);
        let both = self.aligned(node, vec![product, third], Some(&result))?;
        let equal = both.values[0].shape == both.values[1].shape;
        let op = super::elementwise::operation(super::broadcast::Two::Add, equal);
        let name = self.emit(node, "/sum", &[&both.values[0].name, &both.values[1].name], op)?;
        self.place(node, name, both.view);
        Ok(())
    }

    /// The operand with an axis inside, turned in sign where the smallest values are wanted.
    fn ranked_along(&mut self, node: &Node, place: usize, smallest: bool) -> Result<Placed, Refusal> {
        let placed = self.innermost(node, place)?;
        if !smallest {
            return Ok(placed);
        }
        let placed = self.pending(node, placed, -1.0, 0.0);
        self.settled(placed)
    }

    fn arg_max(&mut self, node: &Node, smallest: bool) -> Result<(), Refusal> {
        if node.int("select_last_index", 0) != 0 {
            return Err(Refusal::of(node, "it takes the last of equal values", "the first of them works"));
        }
        let rank = self.shape(self.operand(node, 0)?)?.len();
        let place = axis(node, node.int("axis", 0), rank)?;
        let placed = self.ranked_along(node, place, smallest)?;
        let name = self.emit(node, "", &[&placed.name], ArgMax)?;
        let mut view = placed.view;
        let inner = view.axes[place].len();
        view.factors.truncate(view.factors.len() - inner);
        view.axes[place].clear();
        let shape = self.builder.shape(&name).expect("it was just added");
        let result = self.result_shape(node)?;
        let done = self.viewed(node, Placed { name, shape, view, pending: None }, result)?;
        let view = done.view.clone();
        self.alias(node, done, view);
        Ok(())
    }

    fn top_k(&mut self, node: &Node) -> Result<(), Refusal> {
        let rank = self.shape(self.operand(node, 0)?)?.len();
        let place = axis(node, node.int("axis", -1), rank)?;
        let smallest = node.int("largest", 1) == 0;
        let k = self.number(node, 1)?.unwrap_or(1.0) as usize;
        let placed = self.ranked_along(node, place, smallest)?;
        let mut view = placed.view.clone();
        let inner = view.axes[place].len();
        view.factors.truncate(view.factors.len() - inner);
        view.axes[place].clear();
        if k > 1 {
            view.axes[place].push(view.factors.len());
            view.factors.push(k);
        }
        if let Some(values) = node.output(0).filter(|id| self.needs.contains_key(id)) {
            if k > 1 {
                let reason = format!("the {k} largest values are needed");
                return Err(Refusal::of(node, reason, "their places work, and the largest one alone"));
            }
            let name = self.emit(node, "/values", &[&placed.name], ReduceMax::new([false, false, true]))?;
            let shape = self.builder.shape(&name).expect("it was just added");
            let largest = Placed { name, shape, view: view.clone(), pending: None };
            let largest = if smallest { self.pending(node, largest, -1.0, 0.0) } else { largest };
            self.values.insert(values, largest);
        }
        if let Some(places) = node.output(1).filter(|id| self.needs.contains_key(id)) {
            let name = self.emit(node, "", &[&placed.name], TopK::new(k))?;
            self.place_value(places, name, view);
        }
        Ok(())
    }
}
