//! The steps after a convolution or matrix product that run in its own pass over a row.

use super::view::PerFilter;
use super::{Context, MAX_STEPS, Operands};
use crate::Error;
use crate::graph::Op;
use bytemuck::cast_slice;
use horq_kernels::{Geometry, Step};

/// A layer's epilogue, its vectors in the layout of the kernels.
#[derive(Default)]
pub(super) struct Steps(Vec<Prepared>);

enum Prepared {
    Bias(PerFilter),
    Affine {
        scale: PerFilter,
        shift: PerFilter,
    },
    /// Scale and shift for each order of the layer with that index.
    AffineByOrder {
        layer: usize,
        rows: Vec<[PerFilter; 2]>,
    },
    Relu,
    Prelu(PerFilter),
    /// The index of the other operand among the layer's inputs.
    Add(usize),
}

impl Prepared {
    /// The step where each layer has the order that `order` makes of its index; none if it depends on more of the call.
    fn at(&self, order: impl Fn(usize) -> Option<usize>) -> Option<Step<'_>> {
        Some(match self {
            Self::Bias(bias) => Step::Bias(bias),
            Self::Affine { scale, shift } => Step::Affine { scale, shift },
            Self::AffineByOrder { layer, rows } => {
                let [scale, shift] = &rows[order(*layer)? - 1];
                Step::Affine { scale, shift }
            }
            Self::Relu => Step::Relu,
            Self::Prelu(slope) => Step::Prelu(slope),
            Self::Add(_) => return None,
        })
    }
}

impl Steps {
    /// The layer's own bias and the nodes that were fused into it.
    pub(super) fn new(context: &Context<'_>, geometry: &Geometry, bias: Option<&str>) -> Result<Self, Error> {
        let vector = |name: &str| PerFilter::new(context.model, name, geometry);
        let mut steps = Vec::new();
        if let Some(bias) = bias {
            steps.push(Prepared::Bias(vector(bias)?));
        }
        let mut operand = 0;
        for &node in &context.planned().fused {
            steps.push(match &context.graph.nodes[node].op {
                Op::Affine { scale, shift } => Prepared::Affine { scale: vector(scale)?, shift: vector(shift)? },
                Op::AffineByOrder { order_of, rows } => Prepared::AffineByOrder {
                    layer: context.layer_of(order_of),
                    rows: rows
                        .iter()
                        .map(|row| Ok([vector(&row.scale)?, vector(&row.shift)?]))
                        .collect::<Result<_, Error>>()?,
                },
                Op::Relu => Prepared::Relu,
                Op::Prelu { slope } => Prepared::Prelu(vector(slope)?),
                Op::Add => {
                    operand += 1; // input 0 is the kernel's own
                    Prepared::Add(operand)
                }
                Op::MaxPool { .. } => continue, // see `Self::before_pool`
                op => unreachable!("{op:?} is never fused"),
            });
        }
        assert!(steps.len() <= MAX_STEPS, "the plan fuses at most that many");
        Ok(Self(steps))
    }

    /// Bytes that [`Self::new`] takes: its vectors, where they are copied.
    pub(super) fn bytes(context: &Context<'_>, geometry: &Geometry, bias: bool) -> usize {
        let vectors = |&node: &usize| match &context.graph.nodes[node].op {
            Op::Affine { .. } => 2,
            Op::AffineByOrder { rows, .. } => 2 * rows.len(),
            Op::Prelu { .. } => 1,
            _ => 0,
        };
        let vectors = context.planned().fused.iter().map(vectors).sum::<usize>() + usize::from(bias);
        vectors * PerFilter::bytes(geometry)
    }

    /// The number of steps before the pool that was fused into a layer, with a bias or not; none if it has no pool.
    pub(super) fn before_pool(context: &Context<'_>, bias: bool) -> Option<usize> {
        let mut fused = context.planned().fused.iter();
        let pool = fused.position(|&node| matches!(context.graph.nodes[node].op, Op::MaxPool { .. }));
        pool.map(|steps| steps + usize::from(bias))
    }

    /// The steps for one call, on the stack; the first [`Self::len`] of them count.
    pub(super) fn resolve<'a>(&'a self, operands: &Operands<'a>) -> [Step<'a>; MAX_STEPS] {
        std::array::from_fn(|i| match self.0.get(i) {
            Some(Prepared::Add(i)) => Step::Add(operands.get(*i)),
            Some(step) => step.at(|layer| Some(operands.orders[layer])).expect("an addend is dealt with above"),
            None => Step::Relu,
        })
    }

    /// The steps of every call in which the layers of these indices have order 1; none where one depends on more of it.
    pub(super) fn at_order_1_of(&self, layers: &[usize]) -> Option<Vec<Step<'_>>> {
        self.0.iter().map(|step| step.at(|layer| layers.contains(&layer).then_some(1))).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Calls `each` with every vector.
    pub(super) fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        for step in &self.0 {
            match step {
                Prepared::Bias(vector) | Prepared::Prelu(vector) => each(cast_slice(vector)),
                Prepared::Affine { scale, shift } => {
                    each(cast_slice(scale));
                    each(cast_slice(shift));
                }
                Prepared::AffineByOrder { rows, .. } => rows.iter().flatten().for_each(|row| each(cast_slice(row))),
                Prepared::Relu | Prepared::Add(_) => {}
            }
        }
    }
}
