//! The matrix product of two values.

use super::epilogue::Steps;
use super::inputs::Inputs;
use super::layer::{Call, Compute, LayerError};
use super::product::Product;
use super::{Body, Context, Fields, Operation, Quantizer, Role};
use crate::Error;
use crate::macs::Macs;
use crate::shape::Shape;
use crate::tensor::{PerFilter, TensorSpec};
use horq_kernels::{
    BinarySpec, Epilogue, FloatCall, FloatConv, Geometry, Isa, Memory, Runner, Stage, Step, Window, timed,
};
use horq_plain::matmul::pack_matrix;
use serde::Serialize;

/// The matrix products of the rows of two images: for each row, a matrix of so many pixels and channels, the first's times the
/// second's. One of them may have a single row, which then goes with every row of the other: the heads of an attention are rows.
/// A vector counts as an image of one pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MatMul {
    /// 1 if the second's matrices are transposed before the product, so that the channels of both are summed over; else 0.
    pub transposed: usize,
}

impl MatMul {
    /// The product of the first value and the second: [h, m, k] times [h, k, n] is [h, m, n].
    pub fn new() -> Self {
        Self::default()
    }

    /// The product of the first value and the transposed second: [h, m, k] times [h, n, k] is [h, m, n].
    pub fn transposed() -> Self {
        Self { transposed: 1 }
    }

    fn sizes(&self, inputs: &Inputs<'_>) -> Result<Sizes, Error> {
        let [first, second] = inputs.exactly()?;
        if self.transposed > 1 {
            return Err(inputs.misfit(second, format!("transposed is {}; it must be 0 or 1", self.transposed)));
        }
        let ([heads, m, k], [other_heads, rows, columns]) = (matrices(first), matrices(second));
        let [depth, n] = if self.transposed == 1 { [columns, rows] } else { [rows, columns] };
        if depth != k {
            let rule = match self.transposed {
                0 => "make the channels of the first equal to the width of the second",
                _ => "make the channels of the two equal",
            };
            return Err(inputs.differ(first, second, rule));
        }
        if heads != other_heads && heads != 1 && other_heads != 1 {
            return Err(inputs.differ(first, second, "make the heights equal, or one of them 1"));
        }
        let geometry = Geometry::dense(k, n);
        geometry.validate().map_err(|error| inputs.misfit(second, error))?;
        Ok(Sizes { heads: [heads, other_heads], m, geometry, transposed: self.transposed == 1 })
    }
}

/// Matrices of a value, their rows and columns.
fn matrices(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::Image { height, width, channels } => [height, width, channels],
        Shape::Flat(features) => [1, 1, features],
    }
}

/// The sizes of the products.
#[derive(Clone, Copy)]
struct Sizes {
    /// Matrices of the two values: equal, or one of them 1.
    heads: [usize; 2],
    /// Rows of a matrix of the first.
    m: usize,
    /// A row of the first times a matrix of the second.
    geometry: Geometry,
    transposed: bool,
}

impl Sizes {
    fn all_heads(&self) -> usize {
        self.heads[0].max(self.heads[1])
    }
}

impl<T> Body<T> for MatMul {
    type With<U> = Self;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        Ok(Self { transposed: fields.count("transposed", Some(0))? })
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl Operation for MatMul {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let sizes = self.sizes(inputs)?;
        let (height, channels) = (sizes.all_heads(), sizes.geometry.filters);
        match inputs.shapes[0] {
            Shape::Flat(_) if height == 1 => Ok(Shape::Flat(channels)),
            _ => Ok(Shape::Image { height, width: sizes.m, channels }),
        }
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Product(self)
    }
}

impl Product for MatMul {
    fn window(&self) -> Option<&Window> {
        None
    }

    fn geometry(&self, _: Shape) -> Result<Geometry, &'static str> {
        Err("two values, whose shapes decide together")
    }

    fn products(&self, input: Shape, output: Shape) -> Option<u64> {
        Some(output.len() as u64 * input.channels() as u64)
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        None
    }

    fn binary(&self, _: Shape, _: usize) -> Option<BinarySpec> {
        None
    }

    fn macs(&self, products: u64) -> Macs {
        Macs { float: products, ..Macs::default() }
    }

    fn memory(&self, context: &Context<'_>) -> Result<Memory, Error> {
        let geometry = self.sizes(&context.inputs())?.geometry;
        let kernel = FloatConv::memory(context.isa, geometry).map_err(context.refusal())?;
        let vectors = Steps::vectors(context) * PerFilter::bytes(&geometry);
        let floats = kernel.floats.saturating_add(geometry.float_panel_len());
        Ok(Memory { tables: kernel.tables.saturating_add(vectors), floats, ..kernel })
    }

    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let sizes = self.sizes(&context.inputs())?;
        let steps = Steps::new(context, &sizes.geometry, None)?;
        let kernel = FloatConv::new(context.isa, sizes.geometry).map_err(context.refusal())?;
        let rows = sizes.all_heads() * sizes.m;
        let macs = self.macs((rows * sizes.geometry.filters) as u64 * sizes.geometry.depth() as u64);
        Ok(Box::new(MatMulLayer { isa: context.isa, sizes, kernel, steps, macs }))
    }
}

/// A matrix product whose weights are a value: the kernel of a dense layer, after the weights are packed.
struct MatMulLayer {
    isa: Isa,
    sizes: Sizes,
    kernel: FloatConv,
    steps: Steps,
    macs: Macs,
}

impl Compute for MatMulLayer {
    fn run(&self, call: Call<'_>) -> Result<(), LayerError> {
        let Sizes { heads: [heads, other_heads], m, geometry, transposed } = self.sizes;
        let Geometry { channels: k, filters: n, .. } = geometry;
        let (first, second) = (call.operands.get(0), call.operands.get(1));
        let (panels, scratch) = call.floats.split_at_mut(geometry.float_panel_len());
        let runner = Runner { isa: self.isa, parallel: call.parallel };
        let steps = self.steps.resolve(&call.operands);
        let all = self.sizes.all_heads();
        for (i, output) in call.output.chunks_exact_mut(m * n).enumerate() {
            let (sample, head) = (i / all, i % all);
            if head < other_heads {
                let matrix = &second[(sample * other_heads + head) * k * n..][..k * n];
                timed(call.clock, Stage::Float, || pack_matrix(runner, k, transposed, matrix, panels));
            }
            let input = &first[(sample * heads + head.min(heads - 1)) * m * k..][..m * k];
            // Each product has its part of a summand.
            let steps = steps.map(|step| match step {
                Step::Add(values) => Step::Add(&values[i * m * n..][..m * n]),
                step => step,
            });
            let epilogue = Epilogue { steps: &steps[..self.steps.len()] };
            let (parallel, clock) = (call.parallel, call.clock);
            self.kernel.run(FloatCall { input, weight: panels, epilogue, parallel, clock }, output, scratch);
        }
        Ok(())
    }

    fn macs(&self) -> Macs {
        self.macs
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        self.steps.weights(each);
    }
}
