//! The suite `weights`: layers by what their weights are, beside f32 ones.

use crate::cases::{Layer, SQUARE};
use crate::harness::Harness;
use crate::measure;
use crate::text;
use crate::variants::Variant;

/// Runs the suite: the convolutions of the suite `conv` and a square product.
///
/// # Errors
/// A message if a line cannot be written.
pub(crate) fn run(harness: &mut Harness) -> Result<(), String> {
    harness.suite("weights");
    let mut table = Vec::new();
    for isa in harness.isas.clone() {
        for layer in Layer::stages().into_iter().chain([Layer::product(SQUARE)]) {
            for record in measure::layer(harness, "weights", &layer, isa, &Variant::PLAIN, false)? {
                table.push(vec![
                    record.case.clone(),
                    isa.name().into(),
                    record.engine.clone(),
                    text::micros(record.ns),
                    text::number(record.per_cycle()),
                    text::percent(record.limit_fraction),
                    text::number(record.speedup_float),
                ]);
            }
        }
    }
    let title = "weights: f32 in, f32 out; weights of 32, 8 (activations too), 5, 4, 3 bits and 1 bit";
    harness.table(title, "layer | isa | engine | us | MAC/cycle | of limit | x float", table);
    Ok(())
}
