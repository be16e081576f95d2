//! Where a run's time goes, layer by layer.

use crate::harness::Harness;
use horq::{Error, LayerProfile, ScaleMode, Session, Stage};
use horq_probe::clock::Timing;
use horq_probe::peak::Unit;
use std::time::{Duration, Instant};

/// A round of runs takes at least so long.
const ROUND: Duration = Duration::from_millis(1);

/// The layers of a network in the order of execution, each in its best round.
#[derive(Default)]
pub(super) struct Layers(pub(super) Vec<LayerProfile>);

impl Layers {
    /// Runs a profiling session for `budget`, once at least.
    pub(super) fn take(
        &mut self,
        session: &mut Session,
        budget: Duration,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<(), Error> {
        let best = &mut self.0;
        let end = Instant::now() + budget;
        session.run(input, output)?;
        loop {
            session.reset_profile();
            let start = Instant::now();
            while start.elapsed() < ROUND {
                session.run(input, output)?;
            }
            if best.is_empty() {
                *best = session.profile().to_vec();
            }
            for (best, layer) in best.iter_mut().zip(session.profile()) {
                if nanoseconds(layer) < nanoseconds(best) {
                    best.clone_from(layer);
                }
            }
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    /// Nanoseconds of one run, profiled.
    pub(super) fn total(&self) -> f64 {
        self.0.iter().map(nanoseconds).sum()
    }

    /// Multiply-accumulates of one sample, of bits and floats.
    pub(super) fn macs(&self) -> u64 {
        self.0.iter().map(|layer| products(layer).map(|(_, macs)| macs).iter().sum::<u64>()).sum()
    }
}

/// Nanoseconds of one run of a layer.
pub(super) fn nanoseconds(layer: &LayerProfile) -> f64 {
    layer.wall_nanoseconds as f64 / layer.runs.max(1) as f64
}

/// Nanoseconds of one run by stage: quantize, bits, epilogue, float.
pub(super) fn stages(layer: &LayerProfile) -> [f64; 4] {
    [Stage::Quantize, Stage::Bits, Stage::Epilogue, Stage::Float]
        .map(|stage| layer.stage(stage) as f64 / layer.runs.max(1) as f64)
}

/// What a layer counts, and how many of them in one run.
pub(super) fn macs(layer: &LayerProfile, batch: usize) -> (Unit, f64) {
    let of_layer = products(layer).into_iter().find(|&(_, macs)| macs > 0);
    let (unit, macs) = of_layer.unwrap_or((Unit::Float, 0));
    (unit, macs as f64 * batch as f64)
}

/// Products of one sample by what they are; a layer has one kind.
fn products(layer: &LayerProfile) -> [(Unit, u64); 5] {
    let macs = layer.macs;
    let floats = [(Unit::BinaryWeight, macs.binary_weight), (Unit::Codebook, macs.codebook), (Unit::Float, macs.float)];
    [(Unit::Bit, macs.bit), (Unit::Int8, macs.int8), floats[0], floats[1], floats[2]]
}

/// The part of the limit of the layer's products that it reaches in that time; none for a layer without products, or one in scale
/// mode `halving`, which may take byte tables instead of counting bits.
pub(super) fn fraction(harness: &Harness, layer: &LayerProfile, batch: usize, ns: f64) -> Option<f64> {
    let (unit, macs) = macs(layer, batch);
    let peak = harness.peaks.bound(unit, layer.isa);
    let timing = Timing { ns, cycles: f64::NAN, spread: f64::NAN };
    let counts = layer.binary.is_none_or(|binary| binary.mode != ScaleMode::Halving);
    peak.filter(|_| macs > 0.0 && ns > 0.0 && counts).map(|peak| peak.fraction(macs / harness.threads() as f64, timing))
}
