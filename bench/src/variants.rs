//! The ways in which our kernels compute a layer, prepared on operands of their own and ready to run.

use crate::cases::{FIXED_SCALES, Layer};
use crate::data::{Numbers, copied, zeros};
use horq_kernels::{
    Aligned, Basis, BinaryCall, BinaryConv, BinaryInput, BinaryKernel, BinaryScratch, BinarySpec, BinaryWeightCall,
    BinaryWeightConv, CodebookCall, CodebookConv, Epilogue, FloatCall, FloatConv, Geometry, Inline, Int8Call, Int8Conv,
    Int8Spec, Isa, PackInto, Packing, Padding, Parallel, PlaneLayout, ScaleMode, StageClock, weights as packed,
};
use horq_probe::peak::Unit;
use std::cell::RefCell;
use std::rc::Rc;

/// Float operands that all layers of a suite share, as long as the longest needs: layers take turns, so they are all held at once.
pub(crate) struct Operands {
    pub input: Aligned<f32>,
    pub weights: Aligned<f32>,
    /// What float baselines write.
    pub scratch: RefCell<Scratch>,
}

/// Memory for windows laid out as rows, and for results.
pub(crate) struct Scratch {
    pub unfolded: Aligned<f32>,
    pub output: Aligned<f32>,
}

impl Operands {
    /// So many values of each.
    pub(crate) fn new(input: usize, weights: usize, unfolded: usize, output: usize) -> Rc<Self> {
        let mut numbers = Numbers::new(2);
        let (input, weights) = (numbers.floats(input), numbers.floats(weights));
        let scratch = RefCell::new(Scratch { unfolded: zeros(unfolded), output: zeros(output) });
        Rc::new(Self { input, weights, scratch })
    }

    /// For these layers; with room for the baselines if those run.
    ///
    /// # Errors
    /// A message that names a layer which is none.
    pub(crate) fn of_layers<'a>(
        layers: impl IntoIterator<Item = &'a Layer>,
        baselines: bool,
    ) -> Result<Rc<Self>, String> {
        let mut longest = [0; 4];
        for layer in layers {
            let [m, n, k] = layer.sizes()?;
            let unfolded = if layer.samples == 1 { m * k } else { 0 };
            let baselines = if baselines { [unfolded, m * n] } else { [0; 2] };
            let lens = [layer.samples * layer.geometry.input_len(), n * k, baselines[0], baselines[1]];
            longest.iter_mut().zip(lens).for_each(|(longest, len)| *longest = len.max(*longest));
        }
        let [input, weights, unfolded, output] = longest;
        Ok(Self::new(input, weights, unfolded, output))
    }
}

/// A layer's part of the input that it shares.
struct Input {
    operands: Rc<Operands>,
    len: usize,
}

impl Input {
    fn values(&self) -> &[f32] {
        &self.operands.input[..self.len]
    }
}

/// One run of a layer.
pub(crate) type Work = Box<dyn FnMut(&dyn Parallel, Option<&StageClock>)>;

/// How a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// f32 activations, f32 weights.
    Float,
    /// 8 bits of activations and of weights; f32 in and out.
    Int8,
    /// f32 activations, binary weights.
    BinaryWeight,
    /// f32 activations, weights from a codebook of so many bits.
    Codebook(u32),
    /// Planes of activations, binary weights; f32 in and out.
    Binary { order: usize, mode: ScaleMode },
    /// The same by popcount, whatever is faster.
    Counted { order: usize, mode: ScaleMode },
    /// Planes of activations with constant scales, binary weights; packed planes in and out, as between the layers of a network.
    Packed { order: usize },
}

impl Variant {
    /// The layers without planes, those whose weights take the most memory first.
    pub(crate) const PLAIN: [Self; 6] =
        [Self::Float, Self::Int8, Self::Codebook(5), Self::Codebook(4), Self::Codebook(3), Self::BinaryWeight];

    /// Its name in records.
    pub(crate) const fn engine(self) -> &'static str {
        match self {
            Self::Float => "horq-f32",
            Self::Int8 => "horq-int8",
            Self::BinaryWeight => "horq-sign",
            Self::Codebook(3) => "horq-code3",
            Self::Codebook(4) => "horq-code4",
            Self::Codebook(_) => "horq-code5",
            Self::Binary { .. } => "horq",
            Self::Counted { .. } => "horq-popcount",
            Self::Packed { .. } => "horq-packed",
        }
    }

    /// What tables of binary layers call its quantizer.
    pub(crate) fn quantizer(self) -> &'static str {
        match self {
            Self::Binary { mode, .. } => mode.name(),
            Self::Counted { .. } => "popcount",
            Self::Packed { .. } => "packed",
            _ => "-",
        }
    }

    /// Its name for people.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Float => "f32".into(),
            Self::Int8 => "int8".into(),
            Self::BinaryWeight => "f32, binary weights".into(),
            Self::Codebook(bits) => format!("f32, codebook of {bits} bits"),
            Self::Binary { order, .. } | Self::Counted { order, .. } | Self::Packed { order } => {
                format!("{}, order {order}", self.quantizer())
            }
        }
    }

    /// What its products are.
    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Float => Unit::Float,
            Self::Int8 => Unit::Int8,
            Self::BinaryWeight => Unit::BinaryWeight,
            Self::Codebook(_) => Unit::Codebook,
            Self::Binary { .. } | Self::Counted { .. } | Self::Packed { .. } => Unit::Bit,
        }
    }

    /// The order of the byte tables that it takes its products from, where it does.
    pub(crate) fn tables(self, isa: Isa, layer: &Layer) -> Option<usize> {
        let Self::Binary { order, mode } = self else { return None };
        let kernel = BinaryKernel::choose(isa, &spec(layer.geometry, layer.samples, order, mode), order);
        (kernel == BinaryKernel::Tables).then_some(order)
    }

    /// Its order, if it has one.
    pub(crate) const fn order(self) -> Option<usize> {
        match self {
            Self::Binary { order, .. } | Self::Counted { order, .. } | Self::Packed { order } => Some(order),
            _ => None,
        }
    }

    /// Its scale mode, if it has one.
    pub(crate) const fn mode(self) -> Option<ScaleMode> {
        match self {
            Self::Binary { mode, .. } | Self::Counted { mode, .. } => Some(mode),
            Self::Packed { .. } => Some(ScaleMode::Fixed),
            _ => None,
        }
    }

    /// Whether [`Self::Packed`] is possible: the layer reads planes as it packs them.
    pub(crate) fn packs(geometry: &Geometry) -> bool {
        let output = geometry.validate().map(|[rows, columns]| [rows, columns, geometry.filters]);
        output == Ok([geometry.height, geometry.width, geometry.channels])
    }

    /// Multiply-accumulates of a run; each plane's are counted.
    ///
    /// # Errors
    /// A message if the shape is none.
    pub(crate) fn macs(self, layer: &Layer) -> Result<f64, String> {
        Ok(layer.macs()? * self.order().unwrap_or(1) as f64)
    }

    /// Prepares the layer on operands that are long enough for it.
    ///
    /// # Errors
    /// A message if the shape or the backend is none that it can have.
    pub(crate) fn prepare(self, isa: Isa, layer: &Layer, operands: &Rc<Operands>) -> Result<Work, String> {
        let Layer { geometry, samples } = *layer;
        let weights = &operands.weights[..geometry.filters * geometry.depth()];
        let input = Input { operands: operands.clone(), len: samples * geometry.input_len() };
        let mut output = zeros::<f32>(layer.sizes()?[..2].iter().product());
        let alpha = geometry.pad_filters(&vec![0.05; geometry.filters]);
        let epilogue = Epilogue::default();
        let readable = |error: horq_kernels::Error| error.to_string();
        Ok(match self {
            Self::Float => {
                let conv = FloatConv::new(isa, geometry).map_err(readable)?;
                let weight = copied(&packed::floats::pack_floats(&geometry, weights));
                let mut scratch = zeros::<f32>(conv.scratch_len());
                Box::new(move |parallel, clock| {
                    let call = FloatCall { input: input.values(), weight: &weight, epilogue, parallel, clock };
                    conv.run(call, &mut output, &mut scratch);
                })
            }
            Self::Int8 => {
                let values = Numbers::new(3).words(weights.len());
                let values: Vec<i8> = values.iter().map(|word| (word % 255) as i8).map(|w| w.max(-i8::MAX)).collect();
                let panels = copied(&packed::int8::pack_int8(&geometry, &values).map_err(readable)?);
                let spec =
                    Int8Spec { geometry, scale: 2.0 / 128.0, zero_point: 128, max_batch: samples, dot: isa.has_dot() };
                let conv = Int8Conv::new(isa, spec, &panels).map_err(readable)?;
                let mut scratch = zeros::<u32>(conv.scratch_len());
                Box::new(move |parallel, clock| {
                    let (input, panels, alpha) = (input.values(), &panels, &alpha);
                    let call = Int8Call { input, panels, alpha, epilogue, parallel, clock };
                    conv.run(call, &mut output, &mut scratch).expect("the operands are finite");
                })
            }
            Self::BinaryWeight => {
                let conv = BinaryWeightConv::new(isa, geometry).map_err(readable)?;
                let panels = copied(&packed::bits::pack_bits(&geometry, weights));
                let mut scratch = zeros::<f32>(conv.scratch_len());
                Box::new(move |parallel, clock| {
                    let (input, panels, alpha) = (input.values(), &panels, &alpha);
                    let call = BinaryWeightCall { input, panels, alpha, epilogue, parallel, clock };
                    conv.run(call, &mut output, &mut scratch);
                })
            }
            Self::Codebook(bits) => {
                let conv = CodebookConv::new(isa, geometry, bits).map_err(readable)?;
                let mut numbers = Numbers::new(3);
                let book = numbers.floats(1 << bits);
                let picks = numbers.words(weights.len());
                let picks: Vec<u8> = picks.iter().map(|word| (word % (1 << bits)) as u8).collect();
                let codes = copied(&packed::codes::pack_codes(&geometry, bits, &picks).map_err(readable)?);
                let mut scratch = zeros::<f32>(conv.scratch_len());
                Box::new(move |parallel, clock| {
                    let (input, codes, book) = (input.values(), &codes, &book);
                    let call = CodebookCall { input, codes, book, epilogue, parallel, clock };
                    conv.run(call, &mut output, &mut scratch);
                })
            }
            Self::Binary { order, mode } | Self::Counted { order, mode } => {
                let kernel = matches!(self, Self::Counted { .. }).then_some(BinaryKernel::Popcount);
                let (conv, panels, _) = binary(isa, geometry, samples, order, mode, kernel, weights)?;
                let (mut words, mut sums) = (zeros(conv.scratch_len().words), zeros(conv.scratch_len().scales));
                Box::new(move |parallel, clock| {
                    let bases = &[Basis { panels: &panels, alpha: &alpha }];
                    let (input, scales) = (BinaryInput::Values(input.values()), &FIXED_SCALES[..]);
                    let call = BinaryCall { input, pack: None, order, scales, bases, epilogue, parallel, clock };
                    conv.run(call, &mut output, BinaryScratch { words: &mut words, scales: &mut sums })
                        .expect("the operands are finite");
                })
            }
            Self::Packed { order } => {
                let (conv, panels, spec) = binary(isa, geometry, samples, order, ScaleMode::Fixed, None, weights)?;
                let layout = PlaneLayout::new(&spec).filter(|_| Self::packs(&geometry));
                let layout =
                    layout.ok_or("only a layer whose output has the shape of its input reads what it packed")?;
                let thresholds =
                    conv.thresholds(FIXED_SCALES[0], &alpha, epilogue.steps).map_err(|error| error.to_string())?;
                let (mut words, mut sums) = (zeros(conv.scratch_len().words), zeros(conv.scratch_len().scales));
                let (mut planes, mut packed) = (zeros::<u32>(layout.len()), zeros::<u32>(layout.len()));
                let scales = &FIXED_SCALES[..];
                let mut run = move |input: BinaryInput<'_>,
                                    packed: &mut [u32],
                                    parallel: &dyn Parallel,
                                    clock: Option<&StageClock>| {
                    let into = PackInto::new(layout, packed, order, Some(scales));
                    let pack = Some(Packing { into: &into, thresholds: thresholds.as_ref() });
                    let bases = &[Basis { panels: &panels, alpha: &alpha }];
                    let call = BinaryCall { input, pack, order, scales, bases, epilogue, parallel, clock };
                    conv.run(call, &mut [], BinaryScratch { words: &mut words, scales: &mut sums })
                        .expect("the operands are finite");
                };
                // Planes such as the layer before would pack.
                run(BinaryInput::Values(input.values()), &mut planes, &Inline, None);
                Box::new(move |parallel, clock| {
                    run(BinaryInput::Planes { words: &planes, samples }, &mut packed, parallel, clock);
                })
            }
        })
    }
}

/// What a binary layer is made from.
const fn spec(geometry: Geometry, max_batch: usize, max_order: usize, mode: ScaleMode) -> BinarySpec {
    let padding = Padding::ValidTaps;
    BinarySpec { geometry, padding, mode, max_order, max_batch, pool: None }
}

/// A binary layer, its panels and what it was made from.
fn binary(
    isa: Isa,
    geometry: Geometry,
    samples: usize,
    order: usize,
    mode: ScaleMode,
    kernel: Option<BinaryKernel>,
    weights: &[f32],
) -> Result<(BinaryConv, Aligned<u32>, BinarySpec), String> {
    let panels = copied(&packed::bits::pack_bits(&geometry, weights));
    let spec = spec(geometry, samples, order, mode);
    let conv = BinaryConv::with_kernel(isa, spec, &[&panels], kernel).map_err(|error| error.to_string())?;
    Ok((conv, panels, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_runs_on_every_backend() {
        let layer = Layer::conv([5, 4, 3, 7], 3, 1);
        let binary = ScaleMode::ALL.map(|mode| Variant::Binary { order: 2, mode });
        let binary = binary.into_iter().chain([Variant::Counted { order: 2, mode: ScaleMode::Halving }]);
        let (square, packed) = (Layer::conv([5, 4, 9, 9], 3, 1), Variant::Packed { order: 2 });
        let product = Layer::product([3, 5, 70]);
        let operands = Operands::of_layers(&[layer, square, product], false).unwrap();
        let mut names = Vec::new();
        for variant in Variant::PLAIN.into_iter().chain(binary) {
            for isa in Isa::available() {
                variant.prepare(isa, &layer, &operands).unwrap()(&Inline, None);
            }
            variant.prepare(Isa::Portable, &product, &operands).unwrap()(&Inline, None);
            let planes = variant.order().unwrap_or(1) as f64;
            assert_eq!(variant.macs(&layer), Ok(planes * 20.0 * 7.0 * 27.0));
            names.push(variant.engine());
        }
        for isa in Isa::available() {
            packed.prepare(isa, &square, &operands).unwrap()(&Inline, None);
        }
        assert!(packed.prepare(Isa::Portable, &layer, &operands).is_err());
        assert_eq!(names[..6], ["horq-f32", "horq-int8", "horq-code5", "horq-code4", "horq-code3", "horq-sign"]);
    }
}
