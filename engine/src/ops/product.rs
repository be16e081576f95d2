//! Convolutions and matrix products: what those of all kinds of weights have in common.

use super::epilogue::Steps;
use super::fields::Fields;
use super::layer::{Call, Compute, LayerError};
use super::layout::{Flat, Layout, SignPadded, Sliding};
use super::{Body, Context, Inputs, Listed, Operation, Quantizer, Role};
use crate::Error;
use crate::macs::Macs;
use crate::shape::Shape;
use crate::tensor::{PerFilter, TensorSpec, View};
use bytemuck::{NoUninit, cast_slice};
use horq_kernels::{BinaryKernel, BinarySpec, Epilogue, Geometry, Memory, Padding, Window};
use serde::Serialize;
use std::ops::Deref;

/// A convolution or matrix product: filters that lie on the input as `L` says, with weights of the kind `W`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Weighted<L, W, T = String> {
    /// How the filters lie on the input.
    #[serde(flatten)]
    pub layout: L,
    /// The weights of the filters, with what their kind has beside them.
    #[serde(flatten)]
    pub weights: W,
    /// One value a filter, if there is a bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<T>,
}

impl<L, W, T> Weighted<L, W, T> {
    /// Sets the bias, one value a filter.
    pub fn bias(self, bias: impl Into<T>) -> Self {
        self.maybe_bias(Some(bias))
    }

    /// Sets the bias, one value a filter, or none.
    pub fn maybe_bias(self, bias: Option<impl Into<T>>) -> Self {
        Self { bias: bias.map(Into::into), ..self }
    }
}

impl<W, T> Weighted<Flat, W, T> {
    pub(super) fn flat(filters: usize, weights: W) -> Self {
        Self { layout: Flat { filters }, weights, bias: None }
    }
}

impl<W, T> Weighted<Sliding, W, T> {
    pub(super) fn sliding(window: Window, filters: usize, weights: W) -> Self {
        Self { layout: Sliding { window, filters, groups: 1 }, weights, bias: None }
    }

    /// Sets the channel groups; 1 unless it is called.
    pub fn groups(mut self, groups: usize) -> Self {
        self.layout.groups = groups;
        self
    }
}

impl<W, T> Weighted<SignPadded, W, T> {
    /// Sets the channel groups; 1 unless it is called.
    pub fn groups(mut self, groups: usize) -> Self {
        self.layout.sliding.groups = groups;
        self
    }
}

/// A kind of weights.
pub(super) trait Weights {
    /// Checks what the kind has beside its weights, and that its kernels take the geometry.
    fn check(&self, _: &Inputs<'_>, _: &Geometry) -> Result<(), Error> {
        Ok(())
    }
    /// The tensors beside the bias, in the order in which a builder writes them.
    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>>;
    /// How the per-filter vectors of the layer lie, and how many of them belong to the weights.
    fn vectors(&self, geometry: Geometry) -> (Geometry, usize);
    /// How a binary layer quantizes its input.
    fn quantizer(&self) -> Option<&Quantizer> {
        None
    }
    /// That many products of a filter and a window by their kind; those of a binary layer at order 1.
    fn macs(&self, products: u64) -> Macs;
    /// What the kernel takes beside the per-filter vectors.
    fn memory(&self, context: &Context<'_>, site: Site) -> Result<Memory, Error>;
    /// Makes the kernel of a layer with that epilogue.
    fn kernel(&self, context: &Context<'_>, site: Site, steps: &Steps) -> Result<Box<dyn Kernel>, Error>;
}

/// Where weights are at work in a layer.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) geometry: Geometry,
    /// What a padded tap stands for where the activations are signs.
    pub(super) padding: Padding,
    /// After how many steps the pool comes that the epilogue has taken, if it has.
    pub(super) pool: Option<usize>,
}

/// A kernel with its weights.
pub(super) trait Kernel: Send + Sync {
    /// Computes the output of a call.
    fn run(&self, call: Call<'_>, epilogue: Epilogue<'_>) -> Result<(), horq_kernels::Error>;
    /// Calls `each` with the weights and the vectors of the kernel's own.
    fn weights(&self, each: &mut dyn FnMut(&[u8]));
    /// How a binary kernel multiplies at an order.
    fn binary_kernel(&self, _: usize) -> Option<BinaryKernel> {
        None
    }
    /// Windows of a sample that it computes, given those of the geometry; fewer where the kernel pools.
    fn windows(&self, all: usize) -> usize {
        all
    }
}

/// A kernel with panels of weights and, where its kind has one, a vector beside them.
struct Packed<P, V, R> {
    panels: View<P>,
    vector: V,
    run: R,
}

/// The kernel that computes by `run`, which gets the panels and the vector.
pub(super) fn packed<P: NoUninit + Sync, V: Deref<Target = [f32]> + Send + Sync + 'static>(
    panels: View<P>,
    vector: V,
    run: impl Fn(&[P], &[f32], Call<'_>, Epilogue<'_>) -> Result<(), horq_kernels::Error> + Send + Sync + 'static,
) -> Result<Box<dyn Kernel>, Error> {
    Ok(Box::new(Packed { panels, vector, run }))
}

impl<P: NoUninit + Sync, V: Deref<Target = [f32]> + Send + Sync, R> Kernel for Packed<P, V, R>
where
    R: Fn(&[P], &[f32], Call<'_>, Epilogue<'_>) -> Result<(), horq_kernels::Error> + Send + Sync,
{
    fn run(&self, call: Call<'_>, epilogue: Epilogue<'_>) -> Result<(), horq_kernels::Error> {
        (self.run)(&self.panels, &self.vector, call, epilogue)
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        each(cast_slice(&self.panels));
        each(cast_slice(&self.vector));
    }
}

/// A convolution or matrix product of any kind of weights.
pub(crate) trait Product {
    /// The window of a convolution.
    fn window(&self) -> Option<&Window>;
    /// The geometry on an input of that shape; what the input must be if it is something else.
    fn geometry(&self, input: Shape) -> Result<Geometry, &'static str>;
    /// Products of one sample, given the shapes of the first input and of the value; none if they do not fit.
    fn products(&self, input: Shape, output: Shape) -> Option<u64>;
    /// How a binary layer quantizes its input.
    fn quantizer(&self) -> Option<&Quantizer>;
    /// What a binary layer on an input of that shape is, for so many samples; none for other kinds of weights.
    fn binary(&self, input: Shape, max_batch: usize) -> Option<BinarySpec>;
    /// That many products by their kind; those of a binary layer at order 1.
    fn macs(&self, products: u64) -> Macs;
    /// What the layer takes beside its values; allocates nothing of it.
    fn memory(&self, context: &Context<'_>) -> Result<Memory, Error>;
    /// Prepares the layer.
    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error>;
}

impl<L: Layout, W: Body<T>, T> Body<T> for Weighted<L, W, T> {
    type With<U> = Weighted<L, W::With<U>, U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (layout, weights) = (L::parse(fields)?, W::parse(fields)?);
        Ok(Self { layout, weights, bias: fields.optional_tensor("bias")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Self::With<U> {
        let weights = self.weights.map(f);
        Weighted { layout: self.layout, weights, bias: self.bias.map(|bias| f("bias", bias)) }
    }
}

impl<L: Layout, W: Weights> Operation for Weighted<L, W>
where
    Self: Listed,
{
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        let input = inputs.one()?;
        let geometry = self.layout.geometry(input).map_err(|expected| inputs.rank(input, expected))?;
        let size = geometry.validate().map_err(|error| inputs.misfit(input, error))?;
        self.weights.check(inputs, &geometry)?;
        Ok(self.layout.output(size))
    }

    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        let Ok(geometry) = self.layout.geometry(input) else { return Vec::new() };
        let mut tensors = self.weights.tensors(geometry);
        tensors.extend(self.bias.iter().map(|bias| TensorSpec::vector(bias, geometry.filters)));
        tensors
    }

    fn role(&self) -> Role<'_> {
        Role::Product(self)
    }
}

impl<L: Layout, W: Weights> Product for Weighted<L, W> {
    fn window(&self) -> Option<&Window> {
        self.layout.window()
    }

    fn geometry(&self, input: Shape) -> Result<Geometry, &'static str> {
        self.layout.geometry(input)
    }

    fn products(&self, input: Shape, _: Shape) -> Option<u64> {
        let geometry = self.geometry(input).ok()?;
        let [rows, columns] = geometry.validate().ok()?;
        Some(products(&geometry, rows * columns))
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        self.weights.quantizer()
    }

    fn binary(&self, input: Shape, max_batch: usize) -> Option<BinarySpec> {
        let (quantizer, geometry) = (self.weights.quantizer()?, self.layout.geometry(input).ok()?);
        let (padding, mode, max_order) = (self.layout.pad_value(), quantizer.mode, quantizer.order);
        Some(BinarySpec { geometry, padding, mode, max_order, max_batch, pool: None })
    }

    fn macs(&self, products: u64) -> Macs {
        self.weights.macs(products)
    }

    fn memory(&self, context: &Context<'_>) -> Result<Memory, Error> {
        let site = site(self, context)?;
        let kernel = self.weights.memory(context, site)?;
        let (layout, own) = self.weights.vectors(site.geometry);
        let vectors = own + usize::from(self.bias.is_some()) + Steps::vectors(context);
        let bytes = vectors * PerFilter::bytes(&layout);
        Ok(Memory { tables: kernel.tables.saturating_add(bytes), ..kernel })
    }

    fn prepare(&self, context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
        let site = site(self, context)?;
        let (vectors, _) = self.weights.vectors(site.geometry);
        let steps = Steps::new(context, &vectors, self.bias.as_ref())?;
        let kernel = self.weights.kernel(context, site, &steps)?;
        let [rows, columns] = site.geometry.validate().map_err(context.refusal())?;
        let macs = self.weights.macs(products(&site.geometry, kernel.windows(rows * columns)));
        Ok(Box::new(WeightedLayer { kernel, steps, macs }))
    }
}

fn site<L: Layout, W: Weights>(op: &Weighted<L, W>, context: &Context<'_>) -> Result<Site, Error> {
    let (geometry, padding) = (context.geometry(op)?, op.layout.pad_value());
    Ok(Site { geometry, padding, pool: Steps::before_pool(context, op.bias.is_some()) })
}

/// The products of so many windows.
fn products(geometry: &Geometry, windows: usize) -> u64 {
    (windows * geometry.filters) as u64 * geometry.depth() as u64
}

/// A layer that is a kernel with an epilogue.
struct WeightedLayer {
    kernel: Box<dyn Kernel>,
    steps: Steps,
    macs: Macs,
}

impl Compute for WeightedLayer {
    fn run(&self, call: Call<'_>) -> Result<(), LayerError> {
        let steps = self.steps.resolve(&call.operands);
        Ok(self.kernel.run(call, Epilogue { steps: &steps[..self.steps.len()] })?)
    }

    fn macs(&self) -> Macs {
        self.macs
    }

    fn binary_kernel(&self, order: usize) -> Option<BinaryKernel> {
        self.kernel.binary_kernel(order)
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        self.kernel.weights(each);
        self.steps.weights(each);
    }
}
