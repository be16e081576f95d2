//! The steps after a convolution or matrix product that run in its own pass over a row, or alone where there is none.

use super::layer::{Call, Compute, LayerError, Operands};
use super::{Context, Role};
use crate::Error;
use crate::macs::Macs;
use crate::tensor::PerFilter;
use bytemuck::cast_slice;
use horq_kernels::{Geometry, Isa, Runner, Stage, Step, elementwise, timed};

/// The most steps of one epilogue, the layer's own bias among them.
pub(crate) const MAX_STEPS: usize = 8;

/// Makes a step of its vectors.
type Make = for<'v> fn(&'v [PerFilter]) -> Step<'v>;

/// What an elementwise operation is as a step.
pub(crate) enum StepSpec<'a> {
    /// A step that goes by vectors of one value a channel.
    Vectors {
        /// The names of the vectors: one row, or a row for each order of `order_of`.
        rows: Vec<Vec<&'a str>>,
        /// The binary layer by whose order the row is chosen.
        order_of: Option<&'a str>,
        make: Make,
    },
    /// A step that goes by the first values of these vectors.
    Scalars {
        /// The names of the vectors.
        names: Vec<&'a str>,
        make: fn(&[f32]) -> Step<'static>,
    },
    /// The sum with the operation's other input.
    Addend,
}

impl<'a> StepSpec<'a> {
    /// A step with these vectors whatever the order.
    pub(super) fn new(vectors: impl Into<Vec<&'a str>>, make: Make) -> Self {
        Self::Vectors { rows: vec![vectors.into()], order_of: None, make }
    }

    /// The layer by whose order the step goes, and for how many orders it has vectors.
    pub(super) fn order_of(&self) -> Option<(&'a str, usize)> {
        match self {
            Self::Vectors { rows, order_of, .. } => order_of.map(|layer| (layer, rows.len())),
            Self::Scalars { .. } | Self::Addend => None,
        }
    }
}

/// A step, its vectors in the layout of the kernels.
enum Prepared {
    Vectors {
        rows: Vec<Vec<PerFilter>>,
        /// The index of the layer whose order chooses the row.
        by: Option<usize>,
        make: Make,
    },
    /// A step that goes by nothing of the call.
    Fixed(Step<'static>),
    /// The index of the other operand among the layer's inputs.
    Addend(usize),
}

impl Prepared {
    fn new(context: &Context<'_>, spec: &StepSpec<'_>, addend: usize, geometry: &Geometry) -> Result<Self, Error> {
        let (rows, order_of, make) = match spec {
            StepSpec::Vectors { rows, order_of, make } => (rows, order_of, make),
            StepSpec::Scalars { names, make } => {
                let scalars: Vec<f32> = names.iter().map(|name| context.tensors.f32s(name)[0]).collect();
                return Ok(Self::Fixed(make(&scalars)));
            }
            StepSpec::Addend => return Ok(Self::Addend(addend)),
        };
        let vector = |name: &&str| PerFilter::new(context.tensors, name, geometry);
        let row = |names: &Vec<&str>| names.iter().map(vector).collect();
        let by = order_of.map(context.layer_of);
        Ok(Self::Vectors { rows: rows.iter().map(row).collect::<Result<_, Error>>()?, by, make: *make })
    }

    /// The step where each layer has the order that `order` makes of its index; none if it depends on more of the call.
    fn at(&self, order: impl Fn(usize) -> Option<usize>) -> Option<Step<'_>> {
        match self {
            Self::Vectors { rows, by: None, make } => Some(make(&rows[0])),
            Self::Vectors { rows, by: Some(layer), make } => Some(make(&rows[order(*layer)? - 1])),
            Self::Fixed(step) => Some(*step),
            Self::Addend(_) => None,
        }
    }

    /// The step of one call.
    fn resolve<'a>(&'a self, operands: &Operands<'a>) -> Step<'a> {
        match self {
            Self::Vectors { rows, by, make } => make(&rows[by.map_or(0, |layer| operands.orders[layer] - 1)]),
            Self::Fixed(step) => *step,
            Self::Addend(i) => Step::Add(operands.get(*i)),
        }
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        if let Self::Vectors { rows, .. } = self {
            rows.iter().flatten().for_each(|vector| each(cast_slice(vector)));
        }
    }
}

/// The steps of the operations that were fused into a layer.
fn specs<'a>(context: &Context<'a>) -> impl Iterator<Item = StepSpec<'a>> {
    context.fused.iter().filter_map(|op| if let Role::Step(step) = op.role() { Some(step) } else { None })
}

/// A layer's epilogue.
pub(super) struct Steps(Vec<Prepared>);

impl Steps {
    /// The layer's own bias and the operations that were fused into it.
    pub(super) fn new(context: &Context<'_>, geometry: &Geometry, bias: Option<&String>) -> Result<Self, Error> {
        let bias = bias.map(|bias| StepSpec::new([bias.as_str()], |vectors| Step::Bias(&vectors[0])));
        let mut addend = context.inputs.len() - 1; // the first inputs are the kernel's own
        let steps = bias.into_iter().chain(specs(context)).map(|spec| {
            addend += usize::from(matches!(spec, StepSpec::Addend));
            Prepared::new(context, &spec, addend, geometry)
        });
        let steps: Vec<Prepared> = steps.collect::<Result<_, _>>()?;
        assert!(steps.len() <= MAX_STEPS, "the plan fuses at most that many");
        Ok(Self(steps))
    }

    /// The vectors that [`Self::new`] takes beside the bias.
    pub(super) fn vectors(context: &Context<'_>) -> usize {
        let vectors = |spec| match spec {
            StepSpec::Vectors { rows, .. } => rows.iter().map(Vec::len).sum::<usize>(),
            StepSpec::Scalars { .. } | StepSpec::Addend => 0,
        };
        specs(context).map(vectors).sum()
    }

    /// The number of steps before the pool that was fused into a layer, with a bias or not; none if it has no pool.
    pub(super) fn before_pool(context: &Context<'_>, bias: bool) -> Option<usize> {
        let pool = context.fused.iter().position(|op| matches!(op.role(), Role::Pool { .. }));
        pool.map(|steps| steps + usize::from(bias))
    }

    /// The steps for one call, on the stack; the first [`Self::len`] of them count.
    pub(super) fn resolve<'a>(&'a self, operands: &Operands<'a>) -> [Step<'a>; MAX_STEPS] {
        std::array::from_fn(|i| self.0.get(i).map_or(Step::Relu, |step| step.resolve(operands)))
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
        self.0.iter().for_each(|step| step.weights(each));
    }
}

/// A step that no convolution or matrix product took into its epilogue.
struct Alone {
    isa: Isa,
    channels: usize,
    step: Prepared,
}

/// Prepares a layer that is one step.
pub(super) fn alone(context: &Context<'_>, spec: &StepSpec<'_>) -> Result<Box<dyn Compute>, Error> {
    let channels = context.shapes[0].channels();
    let step = Prepared::new(context, spec, 1, &Geometry::dense(channels, channels))?;
    Ok(Box::new(Alone { isa: context.isa, channels, step }))
}

impl Compute for Alone {
    fn run(&self, call: Call<'_>) -> Result<(), LayerError> {
        let (input, step) = (call.operands.get(0), self.step.resolve(&call.operands));
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        timed(call.clock, Stage::Float, || elementwise::step(runner, self.channels, input, &step, call.output));
        Ok(())
    }

    fn macs(&self) -> Macs {
        Macs::default()
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        self.step.weights(each);
    }
}
