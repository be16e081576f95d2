//! Sums, means and extremes along axes.

use super::broadcast::Two;
use super::elementwise::operation;
use super::placed::{Placed, image};
use super::{Lowering, Rule, axis};
use crate::error::Refusal;
use crate::graph::Node;
use crate::layout::View;
use horq::PlainValues;
use horq::graph::{Op, Shape};
use horq::ops::{
    Abs, Exp, GlobalAveragePool, Log, Multiply, ReduceL2, ReduceMax, ReduceMean, ReduceMin, ReduceProduct, ReduceSum,
};

pub(super) const RULES: &[Rule] = &[
    ("ReduceL1", |to, node| {
        let placed = to.first(node)?;
        let sizes = to.step(node, "/sizes", placed, Abs)?;
        to.reduce_placed(node, sizes, |axes| ReduceSum::new(axes).into())
    }),
    ("ReduceL2", |to, node| to.reduce(node, |axes| ReduceL2::new(axes).into())),
    ("ReduceLogSum", |to, node| {
        to.reduce(node, |axes| ReduceSum::new(axes).into())?;
        to.after(node, Log)
    }),
    ("ReduceLogSumExp", |to, node| to.log_sum_exp(node)),
    ("ReduceMax", |to, node| to.reduce(node, |axes| ReduceMax::new(axes).into())),
    ("ReduceMean", |to, node| {
        to.reduce(node, |axes| match axes {
            [true, true, false] => GlobalAveragePool.into(),
            _ => ReduceMean::new(axes).into(),
        })
    }),
    ("ReduceMin", |to, node| to.reduce(node, |axes| ReduceMin::new(axes).into())),
    ("ReduceProd", |to, node| to.reduce(node, |axes| ReduceProduct::new(axes).into())),
    ("ReduceSum", |to, node| to.reduce(node, |axes| ReduceSum::new(axes).into())),
    ("ReduceSumSquare", |to, node| {
        let placed = to.first(node)?;
        let name = to.emit(node, "/squares", &[&placed.name, &placed.name], Multiply)?;
        to.reduce_placed(node, Placed { name, ..placed }, |axes| ReduceSum::new(axes).into())
    }),
];

/// The engine's operation along those of its axes.
type Reduction = fn([bool; 3]) -> Op<PlainValues<'static>>;

impl Lowering<'_> {
    fn first(&mut self, node: &Node) -> Result<Placed, Refusal> {
        let value = self.operand(node, 0)?;
        self.placed(value)
    }

    /// One more operation on a node's result.
    fn after(&mut self, node: &Node, op: impl Into<Op<PlainValues<'static>>>) -> Result<(), Refusal> {
        let Some(result) = node.output(0) else { return Ok(()) };
        let placed = self.lookup(result)?;
        let placed = self.step(node, "/after", placed, op)?;
        self.values.insert(result, placed);
        Ok(())
    }

    /// The axes that a node reduces.
    fn reduced(&self, node: &Node, rank: usize) -> Result<Vec<usize>, Refusal> {
        let axes = match self.whole(node, 1)? {
            Some(axes) => Some(axes),
            None => node.ints("axes").map(<[i64]>::to_vec),
        };
        match axes.filter(|axes| !axes.is_empty()) {
            Some(axes) => axes.iter().map(|&n| axis(node, n, rank)).collect(),
            None if node.int("noop_with_empty_axes", 0) != 0 => Ok(Vec::new()),
            None => Ok((0..rank).collect()),
        }
    }

    fn reduce(&mut self, node: &Node, op: Reduction) -> Result<(), Refusal> {
        let placed = self.first(node)?;
        self.reduce_placed(node, placed, op)
    }

    fn reduce_placed(&mut self, node: &Node, placed: Placed, op: Reduction) -> Result<(), Refusal> {
        let axes = self.reduced(node, placed.view.axes.len())?;
        let done = self.reduced_along(node, "", placed, &axes, op)?;
        let result = self.result_shape(node)?;
        let done = self.viewed(node, done, result)?;
        let view = done.view.clone();
        self.alias(node, done, view);
        Ok(())
    }

    /// A value reduced along axes, which stay with size 1.
    fn reduced_along(
        &mut self,
        node: &Node,
        suffix: &str,
        placed: Placed,
        axes: &[usize],
        op: Reduction,
    ) -> Result<Placed, Refusal> {
        let placed = self.settled(placed)?;
        let placed = match cut(&placed, axes) {
            Some(_) => placed,
            None => {
                // What stays outside, what goes inside.
                let rank = placed.view.axes.len();
                let kept: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
                self.grouped_placed(placed, [&[], &kept, axes], true)?
            }
        };
        let (flags, [h, w, c]) = cut(&placed, axes).ok_or_else(|| Refusal::of(node, "its axes lie apart", ""))?;
        if flags == [false; 3] {
            return Ok(placed); // axes of size 1 alone
        }
        let placed = if placed.shape.sizes() == [h, w, c] { placed } else { self.reshaped(placed, image(h, w, c))? };
        let placed = match (flags, placed.shape) {
            ([true, true, false], Shape::Flat(_)) => self.reshaped(placed, image(h, w, c))?,
            _ => placed,
        };
        let name = self.emit(node, suffix, &[&placed.name], op(flags))?;
        let kept: Vec<usize> =
            (0..placed.view.factors.len()).filter(|&factor| !axes.contains(&placed.view.axis_of(factor))).collect();
        let place = |factor: &usize| kept.iter().position(|other| other == factor);
        let view = View {
            factors: kept.iter().map(|&factor| placed.view.factors[factor]).collect(),
            axes: placed.view.axes.iter().map(|axis| axis.iter().filter_map(place).collect()).collect(),
        };
        let shape = self.builder.shape(&name).expect("it was just added");
        let done = Placed { name, shape, view, pending: None };
        // Numbers along one axis are a vector.
        let len = done.shape.len();
        if done.shape.sizes()[2] == len || done.view.factors.len() <= 1 {
            self.reshaped(done, Shape::Flat(len))
        } else {
            Ok(done)
        }
    }

    fn log_sum_exp(&mut self, node: &Node) -> Result<(), Refusal> {
        let placed = self.first(node)?;
        let axes = self.reduced(node, placed.view.axes.len())?;
        let largest = self.reduced_along(node, "/max", placed.clone(), &axes, |axes| ReduceMax::new(axes).into())?;
        let both = self.aligned(node, vec![placed, largest.clone()], None)?;
        let names = [&both.values[0].name[..], &both.values[1].name];
        let name = self.emit(node, "/less", &names, operation(Two::Subtract, false))?;
        let shape = self.builder.shape(&name).expect("it was just added");
        let less = Placed { name, shape, view: both.view, pending: None };
        let powers = self.step(node, "/exp", less, Exp)?;
        let sum = self.reduced_along(node, "/sum", powers, &axes, |axes| ReduceSum::new(axes).into())?;
        let log = self.step(node, "/log", sum, Log)?;
        let both = self.aligned(node, vec![log, largest], None)?;
        let op = operation(Two::Add, both.values[0].shape == both.values[1].shape);
        let name = self.emit(node, "", &[&both.values[0].name, &both.values[1].name], op)?;
        let shape = self.builder.shape(&name).expect("it was just added");
        let result = self.result_shape(node)?;
        let done = self.viewed(node, Placed { name, shape, view: both.view, pending: None }, result)?;
        let view = done.view.clone();
        self.alias(node, done, view);
        Ok(())
    }
}

/// The engine's axes that go where these logical ones do, and its sizes, if no more than three parts of memory alternate.
fn cut(placed: &Placed, axes: &[usize]) -> Option<([bool; 3], [usize; 3])> {
    let goes: Vec<bool> = (0..placed.view.factors.len()).map(|f| axes.contains(&placed.view.axis_of(f))).collect();
    // As the engine has it, if its axes are parts that go or stay as a whole.
    let own = placed.shape.sizes();
    let mut rest: Vec<(bool, usize)> = goes.iter().copied().zip(placed.view.factors.iter().copied()).collect();
    let mut flags = [false; 3];
    let fits = (0..3).rev().all(|i| {
        let (mut product, mut flag) = (1, None);
        while product < own[i] {
            let Some((goes, size)) = rest.pop() else { return false };
            if flag.is_some_and(|flag| flag != goes) {
                return false;
            }
            flag = Some(goes);
            product *= size;
        }
        flags[i] = flag.unwrap_or(false);
        product == own[i]
    });
    if fits {
        // Both sides of an image are one window: a row or column of one goes with the other.
        if own[0] == 1 && flags[1] && !flags[2] || own[1] == 1 && flags[0] && !flags[2] {
            (flags[0], flags[1]) = (true, true);
        }
        return Some((flags, own));
    }
    let mut parts: Vec<(bool, usize)> = Vec::new();
    for (goes, size) in goes.into_iter().zip(placed.view.factors.iter().copied()) {
        match parts.last_mut() {
            Some((last, product)) if *last == goes => *product *= size,
            _ => parts.push((goes, size)),
        }
    }
    while parts.len() < 3 {
        parts.insert(0, (false, 1));
    }
    let parts = <[(bool, usize); 3]>::try_from(parts).ok()?;
    Some((parts.map(|part| part.0), parts.map(|part| part.1)))
}
