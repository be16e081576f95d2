//! Convolution and matrix product of residual-quantized activations with binary weights.

use super::epilogue::Steps;
use super::layer::Call;
use super::product::{Kernel, Site, Weights};
use super::{Body, Context, Fields, Flat, Inputs, Reader, SignPadded, Sliding, Weighted};
use crate::error::GraphError;
use crate::limits::MAX_BASES;
use crate::macs::Macs;
use crate::tensor::{Content, PerFilter, PlainValues, TensorSpec, View};
use crate::{Error, Order};
use bytemuck::{cast_slice, cast_slice_mut};
use horq_kernels::{
    BinaryCall, BinaryConv, BinaryInput, BinaryKernel, BinaryScratch, BinarySpec, Epilogue, Geometry, MAX_ORDER,
    Memory, PackInto, Packing, Padding, PlaneLayout, ScaleMode, ScratchLen, Thresholds, Window,
};
use serde::Serialize;

/// Binary weights of residual-quantized activations: y = sum_l alpha_l * (sum_k b_k (H_k . B_l)) + bias.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Binary<T = String> {
    /// How activations become planes.
    #[serde(flatten)]
    pub quantizer: Quantizer<T>,
    /// The weight bases, 1 to 8.
    pub bases: Vec<Basis<T>>,
}

/// Convolution of residual-quantized activations with binary weights.
pub type BinaryConv2d<T = String> = Weighted<SignPadded, Binary<T>, T>;

/// Matrix product of a residual-quantized vector with binary weights.
pub type BinaryDense<T = String> = Weighted<Flat, Binary<T>, T>;

/// The residual quantizer of a binary layer's input.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Quantizer<T = String> {
    /// The highest order the layer was made for, 1 to 8; a session may run it at a lower one.
    pub order: usize,
    /// Over what each plane's scale is the mean.
    pub mode: ScaleMode,
    /// Positive constants, one an order: b_1.. of mode `fixed`, or the b of each order in mode `halving`, at least 2^-110.
    /// Absent in every other mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scales: Option<T>,
}

impl<T> Quantizer<T> {
    /// A quantizer for orders up to that one, without constants.
    pub fn new(order: Order, mode: ScaleMode) -> Self {
        Self { order: order.get(), mode, scales: None }
    }

    /// A quantizer of mode `fixed` with these constants, one an order.
    pub fn fixed(order: Order, scales: impl Into<T>) -> Self {
        Self { order: order.get(), mode: ScaleMode::Fixed, scales: Some(scales.into()) }
    }

    /// A quantizer of mode `halving` with the b of each order: order K has the scales b_K, b_K / 2 .. b_K / 2^(K-1). If all are the
    /// same, the planes of a lower order are the first ones of a higher order.
    pub fn halving(order: Order, scales: impl Into<T>) -> Self {
        Self { order: order.get(), mode: ScaleMode::Halving, scales: Some(scales.into()) }
    }
}

impl Quantizer<PlainValues<'_>> {
    /// The quantizer that is exact on 8-bit images: odd integers from -255 to 255, which [`crate::Builder::add_image8`] makes of
    /// them, are sums of ±128, ±64 .. ±1, one sign each. The layer's sums are then exact integers (to a depth of 2^16).
    ///
    /// A tap padded with [`Padding::ValidTaps`] stands for the middle of the range, as zero padding does behind a
    /// normalization to -1..1; with [`Padding::One`] for white. It takes eight planes, so what it costs is that of order 8:
    /// less than f32 for images of 32 and more channels and for matrix products at batch 1, more for stems of 3 channels
    /// (a word of bits holds 3 of 32), where [`super::Int8Conv2d`] is the fast one.
    pub fn image8() -> Self {
        Self::fixed(Order::MAX, &[128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0])
    }
}

impl Quantizer {
    /// The name of the constants, in a mode that has them.
    fn constants(&self) -> Option<&str> {
        self.scales.as_deref().filter(|_| self.mode.has_constants())
    }

    /// Whether a pool of 2 x 2 can go into the layer: scales of windows lie in the order of the windows.
    pub(crate) fn takes_pool(&self) -> bool {
        !self.mode.is_per_window()
    }
}

/// One weight basis of a binary layer: W ~ alpha B.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Basis<T = String> {
    /// Bit panels of B. Plain values are f32, of which only the signs count, `[filter][kernel row][kernel column][channel of the
    /// group]` or `[filter][feature]`.
    pub weight: T,
    /// alpha, one value a filter.
    pub alpha: T,
}

impl<T> Basis<T> {
    /// The basis of these weights and their factors.
    pub fn new(weight: impl Into<T>, alpha: impl Into<T>) -> Self {
        Self { weight: weight.into(), alpha: alpha.into() }
    }
}

impl<T> BinaryConv2d<T> {
    /// A convolution without groups and bias, whose padded taps stand for no value ([`Padding::ValidTaps`]).
    pub fn new(window: Window, filters: usize, quantizer: Quantizer<T>, bases: impl Into<Vec<Basis<T>>>) -> Self {
        let layout = SignPadded { sliding: Sliding { window, filters, groups: 1 }, pad_value: Padding::ValidTaps };
        Self { layout, weights: Binary { quantizer, bases: bases.into() }, bias: None }
    }

    /// Sets what a padded tap stands for.
    pub fn pad_value(mut self, pad_value: Padding) -> Self {
        self.layout.pad_value = pad_value;
        self
    }
}

impl<T> BinaryDense<T> {
    /// A matrix product without bias.
    pub fn new(filters: usize, quantizer: Quantizer<T>, bases: impl Into<Vec<Basis<T>>>) -> Self {
        Self::flat(filters, Binary { quantizer, bases: bases.into() })
    }
}

impl<T> Body<T> for Binary<T> {
    type With<U> = Binary<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (order, mode) = (fields.count("order", None)?, fields.word("mode")?);
        let quantizer = Quantizer { order, mode, scales: fields.optional_tensor("scales")? };
        let bases = fields.pairs("bases", ["weight", "alpha"])?;
        Ok(Self { quantizer, bases: bases.into_iter().map(|[weight, alpha]| Basis { weight, alpha }).collect() })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Binary<U> {
        let Quantizer { order, mode, scales } = self.quantizer;
        let mut basis = |(i, Basis { weight, alpha })| Basis {
            weight: f(&format!("weight.{i}"), weight),
            alpha: f(&format!("alpha.{i}"), alpha),
        };
        let bases = self.bases.into_iter().enumerate().map(&mut basis).collect();
        Binary { quantizer: Quantizer { order, mode, scales: scales.map(|scales| f("scales", scales)) }, bases }
    }
}

impl Weights for Binary {
    fn check(&self, inputs: &Inputs<'_>, _: &Geometry) -> Result<(), Error> {
        let (node, Quantizer { order, scales, .. }) = (inputs.node.to_owned(), &self.quantizer);
        if !(1..=MAX_ORDER).contains(order) {
            return Err(GraphError::Order { node, order: *order, limit: MAX_ORDER }.into());
        }
        if !(1..=MAX_BASES).contains(&self.bases.len()) {
            return Err(GraphError::Bases { node, count: self.bases.len(), limit: MAX_BASES }.into());
        }
        match (self.quantizer.mode.has_constants(), scales) {
            (true, None) => Err(GraphError::ScalesMissing { node }.into()),
            (true, Some(_)) | (false, None) => Ok(()),
            (false, Some(tensor)) => Err(GraphError::ScalesUnexpected { node, tensor: tensor.clone() }.into()),
        }
    }

    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        let bases = self.bases.iter().flat_map(|Basis { weight, alpha }| {
            [TensorSpec::new(weight, Content::BitPanels(geometry)), TensorSpec::vector(alpha, geometry.filters)]
        });
        let Quantizer { order, mode, scales } = &self.quantizer;
        let content = if *mode == ScaleMode::Halving { Content::HalvingScales } else { Content::Scales };
        let scales = scales.iter().map(|scales| TensorSpec::new(scales, content(*order)));
        bases.chain(scales).collect()
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry, self.bases.len())
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        Some(&self.quantizer)
    }

    fn macs(&self, products: u64) -> Macs {
        Macs { bit: products * self.bases.len() as u64, ..Macs::default() }
    }

    fn memory(&self, context: &Context<'_>, site: Site) -> Result<Memory, Error> {
        let spec = self.spec(context, site);
        let kernel = BinaryConv::memory(context.isa, spec, self.bases.len()).map_err(context.refusal())?;
        let mut memory = if context.reads_planes { kernel.of_planes } else { kernel.of_values };
        if context.reader.is_some() {
            memory.tables = memory.tables.saturating_add(kernel.thresholds);
        }
        Ok(memory)
    }

    fn kernel(&self, context: &Context<'_>, site: Site, steps: &Steps) -> Result<Box<dyn Kernel>, Error> {
        let basis = |basis: &Basis| {
            let panels = View::new(context.tensors, |tensors| tensors.u32s(&basis.weight));
            Ok(Planes { panels, alpha: PerFilter::new(context.tensors, &basis.alpha, &site.geometry)? })
        };
        let bases: Vec<Planes> = self.bases.iter().map(basis).collect::<Result<_, Error>>()?;
        let panels: Vec<&[u32]> = bases.iter().map(|base| &*base.panels).collect();
        let kernel = BinaryConv::new(context.isa, self.spec(context, site), &panels).map_err(context.refusal())?;
        let constants = |quantizer: &Quantizer| {
            let values = quantizer.constants().map(|name| View::new(context.tensors, |tensors| tensors.f32s(name)));
            values.map(|values| Constants { values, mode: quantizer.mode })
        };
        let scales = constants(&self.quantizer);
        let pack = |Reader { layer, op, layout }: Reader<'_>| -> Result<Pack, Error> {
            let scale = scales.as_ref().map_or(1.0, |scales| scales.of_order(1)[0]);
            let thresholds = match steps.at_order_1_of(&[context.index, layer]) {
                Some(steps) => kernel.thresholds(scale, &bases[0].alpha, &steps).map_err(context.refusal())?,
                None => None,
            };
            Ok(Pack { layout, scales: op.quantizer().and_then(constants), thresholds })
        };
        let pack = context.reader.map(pack).transpose()?;
        let scratch = if context.reads_planes { kernel.scratch_len_of_planes() } else { kernel.scratch_len() };
        Ok(Box::new(Panels { kernel, bases, scales, pack, scratch }))
    }
}

impl Binary {
    fn spec(&self, context: &Context<'_>, Site { geometry, padding, pool }: Site) -> BinarySpec {
        let Quantizer { order, mode, .. } = self.quantizer;
        BinarySpec { geometry, padding, mode, max_order: order, max_batch: context.batch, pool }
    }
}

struct Panels {
    kernel: BinaryConv,
    bases: Vec<Planes>,
    scales: Option<Constants>,
    /// The planes that it writes, if another binary layer reads them.
    pack: Option<Pack>,
    scratch: ScratchLen,
}

/// The constants of a quantizer.
struct Constants {
    values: View<f32>,
    mode: ScaleMode,
}

impl Constants {
    /// Those that the kernels take for an order: from b_1 on, or from the b of that order on.
    fn of_order(&self, order: usize) -> &[f32] {
        let first = if self.mode == ScaleMode::Halving { order - 1 } else { 0 };
        &self.values[first..]
    }
}

struct Planes {
    panels: View<u32>,
    alpha: PerFilter,
}

struct Pack {
    layout: PlaneLayout,
    /// The constants of the reader, if its mode has any.
    scales: Option<Constants>,
    /// What order-1 signs follow from the counts by.
    thresholds: Option<Thresholds>,
}

impl Kernel for Panels {
    fn binary_kernel(&self, order: usize) -> Option<BinaryKernel> {
        Some(self.kernel.kernel(order))
    }

    fn run(&self, call: Call<'_>, epilogue: Epilogue<'_>) -> Result<(), horq_kernels::Error> {
        let mut bases = [horq_kernels::Basis { panels: &[], alpha: &[] }; MAX_BASES];
        for (to, base) in bases.iter_mut().zip(&self.bases) {
            *to = horq_kernels::Basis { panels: &base.panels, alpha: &base.alpha };
        }
        let (into, output) = match &self.pack {
            Some(Pack { layout, scales, thresholds }) => {
                let (order, planes) = (call.reader_order, cast_slice_mut(call.output));
                let scales = scales.as_ref().map(|scales| scales.of_order(order));
                let into = PackInto::new(*layout, planes, order, scales);
                (Some((into, thresholds)), &mut [][..])
            }
            None => (None, call.output),
        };
        let operands = BinaryCall {
            input: match call.operands.planes(0) {
                Some(words) => BinaryInput::Planes { words, samples: call.operands.samples },
                None => BinaryInput::Values(call.operands.get(0)),
            },
            order: call.order,
            scales: self.scales.as_ref().map_or(&[], |scales| scales.of_order(call.order)),
            bases: &bases[..self.bases.len()],
            epilogue,
            pack: into.as_ref().map(|(into, thresholds)| Packing { into, thresholds: thresholds.as_ref() }),
            parallel: call.parallel,
            clock: call.clock,
        };
        let scratch = BinaryScratch {
            words: &mut call.words[..self.scratch.words],
            scales: &mut call.floats[..self.scratch.scales],
        };
        self.kernel.run(operands, output, scratch)
    }

    fn weights(&self, each: &mut dyn FnMut(&[u8])) {
        for base in &self.bases {
            each(cast_slice(&base.panels));
            each(cast_slice(&base.alpha));
        }
        if let Some(scales) = &self.scales {
            each(cast_slice(&scales.values));
        }
    }

    fn windows(&self, _: usize) -> usize {
        self.kernel.windows()
    }
}
