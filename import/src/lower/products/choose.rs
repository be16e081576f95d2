//! Which kind of layer a product becomes.

use super::sites::{Kind, Site};
use crate::recognise::{Base, Kinds, Quantized};

/// Weights, and what their activations are.
#[derive(Debug)]
pub(super) enum Form {
    /// Sign planes and bases.
    Binary(Quantized, Vec<Base>),
    /// Bytes: activations that are whole numbers on a scale, and such weights.
    Int8(Quantized, Vec<i8>, Vec<f64>),
    /// Floats and signs.
    BinaryWeight(Base),
    /// Floats and codes.
    Codebook(Vec<u8>, Vec<f32>),
    /// Floats.
    Float(Vec<f32>),
}

impl Form {
    /// How the activations are quantized, if the layer does it.
    pub(super) fn quantized(&self) -> Option<&Quantized> {
        match self {
            Self::Binary(quantized, _) | Self::Int8(quantized, _, _) => Some(quantized),
            Self::BinaryWeight(_) | Self::Codebook(..) | Self::Float(_) => None,
        }
    }
}

/// Products a clock cycle that a core with 256-bit vectors is taken to make: estimates, not measurements. Only their ratios count here.
pub(crate) mod rates {
    pub(crate) const BIT: f64 = 180.0;
    pub(crate) const INT8: f64 = 26.0;
    pub(crate) const BINARY_WEIGHT: f64 = 20.0;
    pub(crate) const CODEBOOK: f64 = 11.0;
    pub(crate) const FLOAT: f64 = 13.0;
}

/// Bits of a word, of which a tap takes whole ones.
const WORD: usize = 32;
/// The longest sums of bytes.
const MAX_INT8_DEPTH: usize = 1 << 16;

/// The fastest kind that the weights and the activations allow, and what should be known about it.
pub(super) fn choose(kinds: Kinds, weights: Vec<f32>, quantized: Option<Quantized>, site: &Site) -> (Form, String) {
    let Kinds { bases, codebook, integers } = kinds;
    let depth = weights.len() / site.filters;
    let channels = depth / site.window.taps();
    let upsampled = matches!(site.kind, Kind::Window { upsampled } if upsampled != [1; 2]);
    let binary_clocks = |bases: &Vec<Base>, quantized: &Quantized| {
        let bits = channels.next_multiple_of(WORD) * quantized.scales.len() * bases.len();
        bits as f64 / rates::BIT
    };
    let clocks = |rate: f64| channels as f64 / rate;
    let single = bases.as_ref().is_some_and(|bases| bases.len() == 1);
    // Zeros between pixels are no signs.
    let quantized = quantized.filter(|_| !upsampled);
    let note = match (&quantized, &bases) {
        (None, Some(bases)) => {
            let count = bases.len();
            format!("weights are binary ({count} {}), the input stays float", if count == 1 { "base" } else { "bases" })
        }
        (Some(quantized), None) => {
            format!("the input has {} levels, the weights are no sum of 4 sign bases", quantized.levels.len())
        }
        _ => String::new(),
    };
    let mut best = (Form::Float(Vec::new()), clocks(rates::FLOAT));
    let mut offer = |form: Form, clocks: f64| {
        if clocks < best.1 {
            best = (form, clocks);
        }
    };
    if let Some((codes, entries)) = codebook.filter(|_| site.groups == 1) {
        // Slower than floats where those lie in a cache, but an eighth of the bytes.
        offer(Form::Codebook(codes, entries), clocks(rates::CODEBOOK).min(clocks(rates::FLOAT) * 0.99));
    }
    if let Some(bases) = bases.as_ref().filter(|_| single && channels > 1) {
        offer(Form::BinaryWeight(bases[0].clone()), clocks(rates::BINARY_WEIGHT));
    }
    if let (Some(quantized), Some((whole, scales))) = (&quantized, integers)
        && depth <= MAX_INT8_DEPTH
        && zero_point(quantized).is_some()
    {
        offer(Form::Int8(quantized.clone(), whole, scales), clocks(rates::INT8));
    }
    if let (Some(quantized), Some(bases)) = (&quantized, bases) {
        let clocks = binary_clocks(&bases, quantized);
        offer(Form::Binary(quantized.clone(), bases), clocks);
    }
    match best.0 {
        Form::Float(_) => (Form::Float(weights), note),
        form @ (Form::Binary(..) | Form::Int8(..)) => {
            let ties = form.quantized().is_some_and(|quantized| quantized.ties);
            let of_ties = "an input exactly on a threshold goes away from the middle (0 counts as +1)";
            (form, if ties { of_ties.into() } else { String::new() })
        }
        form => (form, note),
    }
}

/// The byte that stands for 0, where the levels are whole steps from it.
pub(super) fn zero_point(quantized: &Quantized) -> Option<u8> {
    let step = quantized.step()?;
    let (low, high) = (quantized.levels[0] / step, quantized.levels[quantized.levels.len() - 1] / step);
    let zero = (-low).round().max(0.0);
    let whole = (low - low.round()).abs() < 1e-4;
    let rises = quantized.gain > 0.0;
    (whole && rises && zero <= 255.0 && (high + zero).round() <= 255.0).then_some(zero as u8)
}
