//! The suite `conv`: whole binary convolutions, f32 in and f32 out, beside float convolutions of the same shape.

use crate::arguments::{mode, order, positive, sizes};
use crate::cases::{Layer, SHAPES};
use crate::harness::Harness;
use crate::measure::{self, Case};
use crate::text;
use crate::variants::Variant;
use clap::Args;
use horq_kernels::ScaleMode;
use horq_probe::peak::Unit;

/// The paper's scales, the cheap ones, and those for which all orders cost about the same.
const MODES: [ScaleMode; 3] = [ScaleMode::Window, ScaleMode::Image, ScaleMode::Halving];

/// Which convolutions run, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Height x width x channels x filters, for example 14x14x256x256; may be repeated
    #[arg(long = "shape", value_name = "HxWxCxN", value_parser = shape)]
    pub shapes: Vec<[usize; 4]>,
    /// Taps in each direction; padded so that stride 1 keeps the size
    #[arg(long, default_value_t = 3, value_parser = positive)]
    pub kernel: usize,
    /// Pixels between windows
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub stride: usize,
    /// Planes of the activations [default: 1 and 2]
    #[arg(long, value_delimiter = ',', value_parser = order)]
    pub order: Vec<usize>,
    /// Scale modes: window (one scale a receptive field, the paper's), image, fixed, none, halving (beside the same by popcount) [default: window, image, halving]
    #[arg(long, value_delimiter = ',', value_parser = mode)]
    pub mode: Vec<ScaleMode>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { shapes: vec![], kernel: 3, stride: 1, order: vec![], mode: vec![] }
    }
}

fn shape(text: &str) -> Result<[usize; 4], String> {
    sizes(text, "HxWxCxN, for example 14x14x256x256")
}

impl Arguments {
    fn layers(&self) -> Vec<Layer> {
        let shapes = if self.shapes.is_empty() { &SHAPES[..] } else { &self.shapes };
        shapes.iter().map(|&shape| Layer::conv(shape, self.kernel, self.stride)).collect()
    }

    /// What runs before anything is measured.
    ///
    /// # Errors
    /// A message that names a shape that is none.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.layers().iter().try_for_each(|layer| layer.sizes().map(|_| ()))
    }
}

/// The binary variants of a layer in these orders and modes.
pub(crate) fn variants(layer: &Layer, orders: &[usize], modes: &[ScaleMode]) -> Vec<Variant> {
    let of_mode = |&mode: &ScaleMode| orders.iter().map(move |&order| Variant::Binary { order, mode });
    let mut variants: Vec<Variant> = [Variant::Float].into_iter().chain(modes.iter().flat_map(of_mode)).collect();
    if modes.contains(&ScaleMode::Halving) {
        variants.extend(orders.iter().map(|&order| Variant::Counted { order, mode: ScaleMode::Halving }));
    }
    if modes.contains(&ScaleMode::Fixed) && Variant::packs(&layer.geometry) {
        variants.extend(orders.iter().map(|&order| Variant::Packed { order }));
    }
    variants
}

/// Runs the suite.
///
/// # Errors
/// A message if a shape does not fit or a line cannot be written.
pub(crate) fn run(harness: &mut Harness, arguments: &Arguments) -> Result<(), String> {
    harness.suite("conv");
    let orders = if arguments.order.is_empty() { &[1, 2] } else { &arguments.order[..] };
    let modes = if arguments.mode.is_empty() { &MODES[..] } else { &arguments.mode };
    let mut cases = Vec::new();
    for isa in harness.isas.clone() {
        let case = |layer| Case { layer, isa, variants: variants(&layer, orders, modes), scalar: true };
        cases.extend(arguments.layers().into_iter().map(case));
    }
    let mut table = Vec::new();
    for (case, records) in cases.iter().zip(measure::layers(harness, "conv", &cases)?) {
        for (record, variant) in records.iter().zip(&case.variants).filter(|(record, _)| record.unit == Unit::Bit) {
            let stage = |ns: Option<f64>| text::or_dash(ns.map(|ns| format!("{:.0} %", 100.0 * ns / record.ns)));
            table.push(vec![
                record.case.clone(),
                case.isa.name().into(),
                text::or_dash(record.order),
                variant.quantizer().into(),
                text::micros(record.ns),
                text::percent(record.spread),
                text::number(record.per_cycle()),
                text::percent(record.limit_fraction),
                stage(record.quantize),
                stage(record.bits),
                stage(record.epilogue),
                text::number(record.speedup_float),
                text::number(record.speedup_scalar),
            ]);
        }
    }
    let header = "layer (H x W x C x N) | isa | order | mode | us | spread | bMAC/cycle | of limit | quantize | bits | epilogue | x float | x scalar";
    harness.table("conv: whole layers, f32 in, f32 out (packed: planes in, planes out)", header, table);
    Ok(())
}
