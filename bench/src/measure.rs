//! One layer measured in many ways: the scalar loop, the crate `gemm`, and variants of ours.

use crate::baselines::{fast_product, im2col, scalar_conv};
use crate::cases::Layer;
use crate::data::{Numbers, zeros};
use crate::harness::Harness;
use crate::report::record::Record;
use crate::variants::Variant;
use horq_kernels::{Isa, StageClock};
use horq_probe::clock::Timing;
use horq_probe::peak::Unit;

/// Times a layer as the fastest float product there is, then in each variant; with `scalar` the papers' scalar loop first. Emits
/// all records and gives those of the variants.
///
/// # Errors
/// A message if the shape is none, does not fit, or a line cannot be written.
pub(crate) fn layer(
    harness: &mut Harness,
    suite: &str,
    layer: &Layer,
    isa: Isa,
    variants: &[Variant],
    scalar: bool,
) -> Result<Vec<Record>, String> {
    let (case, geometry) = (layer.name(), &layer.geometry);
    let (sizes @ [m, n, k], macs) = (layer.sizes()?, layer.macs()?);
    let threads = harness.threads();
    let record = |engine: &str, unit, macs, timing| Record {
        threads,
        ..Record::new(suite, &case, engine, unit, macs, timing).of_product(sizes)
    };
    harness.step(&format!("{suite} {case}: float"));
    let mut numbers = Numbers::new(2);
    let (input, weights) = (numbers.floats(layer.samples * geometry.input_len()), numbers.floats(n * k));
    let mut output = zeros(m * n);

    let mut slow = None;
    if scalar {
        // One row in the middle of the image stands for all of them.
        let [rows, columns] = geometry.validate().map_err(|error| error.to_string())?;
        let row = rows / 2 * columns..(rows / 2 + 1) * columns;
        let run = &mut || scalar_conv(geometry, &input, &weights, row.clone(), &mut output);
        let timing = harness.time_scalar(run).scale(rows as f64);
        harness.emit(Record { threads: 1, ..record("scalar", Unit::Float, macs, timing) })?;
        slow = Some(timing);
    }
    let speedup_scalar = |timing: Timing| slow.map(|slow: Timing| slow.over(timing));

    // Rows of a product lie as they are needed.
    let unfolds = layer.samples == 1;
    let mut unfolded = zeros(if unfolds { m * k } else { 0 });
    let (mut float, limit_fraction) = harness.time_products(Unit::Float, None, macs, &mut |workers| {
        workers.install(|| {
            if unfolds {
                im2col(geometry, &input, &mut unfolded);
            }
            fast_product(sizes, if unfolds { &unfolded } else { &input }, &weights, &mut output, threads);
        });
    });
    drop(unfolded);
    let by_crate = record(if unfolds { "im2col+gemm" } else { "gemm" }, Unit::Float, macs, float);
    harness.emit(Record { limit_fraction, speedup_scalar: speedup_scalar(float), ..by_crate })?;

    let mut records = Vec::new();
    for &variant in variants {
        harness.step(&format!("{suite} {case}: {}", variant.label()));
        let mut run = variant.prepare(isa, layer)?;
        let (unit, macs) = (variant.unit(), variant.macs(layer)?);
        let (timing, limit_fraction) = harness.time_products(unit, Some(isa), macs, &mut |workers| run(workers, None));
        if variant == Variant::Float {
            float = float.min(timing);
        }
        let record = Record {
            limit_fraction: limit_fraction.filter(|_| variant.is_bounded()),
            speedup_scalar: speedup_scalar(timing),
            speedup_float: Some(float.over(timing)),
            ..record(variant.engine(), unit, macs, timing).on(isa).with_order(variant.order(), variant.mode())
        };
        let record =
            if unit == Unit::Bit { staged(record, &mut |clock| run(&harness.workers, Some(clock))) } else { record };
        records.push(record.clone());
        harness.emit(record)?;
    }
    Ok(records)
}

/// The record with its time by stage. Reading the clock between stages costs time, so the shares come from runs of their own.
fn staged(record: Record, run: &mut dyn FnMut(&StageClock)) -> Record {
    let clock = StageClock::default();
    (0..3).for_each(|_| run(&clock));
    let [quantize, bits, epilogue, _] = clock.nanoseconds().map(|ns| ns as f64);
    let total = (quantize + bits + epilogue).max(1.0);
    let [quantize, bits, epilogue] = [quantize, bits, epilogue].map(|ns| Some((ns / total * record.ns).round()));
    Record { quantize, bits, epilogue, ..record }
}
