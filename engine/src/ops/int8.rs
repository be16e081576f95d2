//! Convolution and matrix product of 8-bit weights and activations.

use super::epilogue::Steps;
use super::product::{Kernel, Site, Weights, packed};
use super::{Body, Context, Fields, Flat, Inputs, Sliding, Weighted};
use crate::Error;
use crate::macs::Macs;
use crate::tensor::{Content, PerFilter, PlainValues, TensorSpec, View};
use horq_kernels::float_env::in_default;
use horq_kernels::weights::int8;
use horq_kernels::{Geometry, Int8Call, Int8Conv, Int8Spec, Memory, Window};
use serde::Serialize;

/// 8-bit weights and activations: y = alpha * (sum of (q - zero_point) * w) + bias.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Int8<T = String> {
    /// The quantized activation that stands for 0.
    pub zero_point: u8,
    /// What a step of the quantized activations stands for: one value, finite and at least [`f32::MIN_POSITIVE`].
    pub input_scale: T,
    /// 8-bit panels. Plain values are i8 from -127 to 127, `[filter][kernel row][kernel column][channel of the group]` or
    /// `[filter][feature]`.
    pub weight: T,
    /// The factor of each filter's integer sum: the activations' scale times the weights'.
    pub alpha: T,
}

/// Convolution of 8-bit weights and activations.
pub type Int8Conv2d<T = String> = Weighted<Sliding, Int8<T>, T>;

/// Matrix product of 8-bit weights and activations.
pub type Int8Dense<T = String> = Weighted<Flat, Int8<T>, T>;

/// How an 8-bit layer quantizes its input: x stands as scale * (q - zero_point), q from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int8Quantize {
    /// What a step of q stands for; at least [`f32::MIN_POSITIVE`], and finite.
    pub scale: f32,
    /// The q that stands for 0.
    pub zero_point: u8,
}

impl Int8Quantize {
    /// The quantizer whose 256 steps cover `low` to `high`, which is widened to hold 0: what a calibration has seen.
    /// A range of nothing but 0 gets the scale 1.
    ///
    /// ```
    /// use horq::ops::Int8Quantize;
    ///
    /// assert_eq!(Int8Quantize::of_range(0.0, 127.5), Int8Quantize { scale: 0.5, zero_point: 0 });
    /// assert_eq!(Int8Quantize::of_range(-32.0, 95.5), Int8Quantize { scale: 0.5, zero_point: 64 });
    /// ```
    pub fn of_range(low: f32, high: f32) -> Self {
        in_default(|| {
            let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
            let scale = ((high - low) / 255.0) as f32;
            if scale < f32::MIN_POSITIVE {
                return Self { scale: 1.0, zero_point: 0 };
            }
            Self { scale, zero_point: (-low / f64::from(scale)).round().clamp(0.0, 255.0) as u8 }
        })
    }
}

impl<'a> Int8<PlainValues<'a>> {
    fn new(quantize: Int8Quantize, weight: impl Into<PlainValues<'a>>, alpha: impl Into<PlainValues<'a>>) -> Self {
        let Int8Quantize { scale, zero_point } = quantize;
        Self { zero_point, input_scale: vec![scale].into(), weight: weight.into(), alpha: alpha.into() }
    }
}

impl<'a> Int8Conv2d<PlainValues<'a>> {
    /// A convolution without groups and bias.
    pub fn new(
        window: Window,
        filters: usize,
        quantize: Int8Quantize,
        weight: impl Into<PlainValues<'a>>,
        alpha: impl Into<PlainValues<'a>>,
    ) -> Self {
        Self::sliding(window, filters, Int8::new(quantize, weight, alpha))
    }
}

impl<'a> Int8Dense<PlainValues<'a>> {
    /// A matrix product without bias.
    pub fn new(
        filters: usize,
        quantize: Int8Quantize,
        weight: impl Into<PlainValues<'a>>,
        alpha: impl Into<PlainValues<'a>>,
    ) -> Self {
        Self::flat(filters, Int8::new(quantize, weight, alpha))
    }
}

impl<T> Body<T> for Int8<T> {
    type With<U> = Int8<U>;

    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error> {
        let (zero_point, input_scale) = (fields.byte("zero_point")?, fields.scalar("input_scale")?);
        Ok(Self { zero_point, input_scale, weight: fields.tensor("weight")?, alpha: fields.tensor("alpha")? })
    }

    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Int8<U> {
        let (input_scale, weight) = (f("input_scale", self.input_scale), f("weight", self.weight));
        Int8 { zero_point: self.zero_point, input_scale, weight, alpha: f("alpha", self.alpha) }
    }
}

impl Int8 {
    fn spec(&self, context: &Context<'_>, Site { geometry, .. }: Site) -> Int8Spec {
        let scale = context.tensors.f32s(&self.input_scale)[0];
        let (max_batch, dot) = (context.batch, context.isa.has_dot());
        Int8Spec { geometry, scale, zero_point: self.zero_point, max_batch, dot }
    }
}

impl Weights for Int8 {
    fn check(&self, inputs: &Inputs<'_>, geometry: &Geometry) -> Result<(), Error> {
        int8::check_depth(geometry).map_err(|error| inputs.misfit(inputs.shapes[0], error))
    }

    fn tensors(&self, geometry: Geometry) -> Vec<TensorSpec<'_>> {
        vec![
            TensorSpec::new(&self.weight, Content::Int8Panels(geometry)),
            TensorSpec::new(&self.input_scale, Content::InputScale),
            TensorSpec::vector(&self.alpha, geometry.filters),
        ]
    }

    fn vectors(&self, geometry: Geometry) -> (Geometry, usize) {
        (geometry, 1)
    }

    fn macs(&self, products: u64) -> Macs {
        Macs { int8: products, ..Macs::default() }
    }

    fn memory(&self, context: &Context<'_>, site: Site) -> Result<Memory, Error> {
        Int8Conv::memory(context.isa, self.spec(context, site)).map_err(context.refusal())
    }

    fn kernel(&self, context: &Context<'_>, site: Site, _: &Steps) -> Result<Box<dyn Kernel>, Error> {
        let panels = View::new(context.tensors, |tensors| tensors.i8s(&self.weight));
        let kernel = Int8Conv::new(context.isa, self.spec(context, site), &panels).map_err(context.refusal())?;
        let alpha = PerFilter::new(context.tensors, &self.alpha, &site.geometry)?;
        packed(panels, alpha, move |panels, alpha, call, epilogue| {
            let (input, parallel, clock) = (call.operands.get(0), call.parallel, call.clock);
            let operands = Int8Call { input, panels, alpha, epilogue, parallel, clock };
            kernel.run(operands, call.output, &mut call.words[..kernel.scratch_len()])
        })
    }
}
