//! The suite `weights`: layers by what their weights are, beside f32 ones.

use crate::cases::{Layer, SQUARE};
use crate::harness::Harness;
use crate::measure::{self, Case};
use crate::text;
use crate::variants::Variant;

/// Runs the suite: the convolutions of the suite `conv` and a square product.
///
/// # Errors
/// A message if a line cannot be written.
pub(crate) fn run(harness: &mut Harness) -> Result<(), String> {
    harness.suite("weights");
    let mut cases = Vec::new();
    for isa in harness.isas.clone() {
        let case = |layer| Case { layer, isa, variants: Variant::PLAIN.to_vec(), scalar: false };
        cases.extend(Layer::stages().into_iter().chain([Layer::product(SQUARE)]).map(case));
    }
    let mut table = Vec::new();
    for (case, records) in cases.iter().zip(measure::layers(harness, "weights", &cases)?) {
        for record in records {
            table.push(vec![
                record.case.clone(),
                case.isa.name().into(),
                record.engine.clone(),
                text::micros(record.ns),
                text::percent(record.spread),
                text::number(record.per_cycle()),
                text::percent(record.limit_fraction),
                text::number(record.speedup_float),
            ]);
        }
    }
    let title = "weights: f32 in, f32 out; weights of 32, 8 (activations too), 5, 4, 3 bits and 1 bit";
    harness.table(title, "layer | isa | engine | us | spread | MAC/cycle | of limit | x float", table);
    Ok(())
}
