//! The suite `weights`: layers by what their weights are, beside f32 ones.

use crate::baselines::{fast_product, im2col};
use crate::cli::geometry;
use crate::data::{Numbers, zeros};
use crate::harness::Lab;
use crate::report::record::Record;
use crate::suites::conv;
use crate::text;
use crate::variants::Form;
use horq_kernels::{Geometry, Isa};
use horq_probe::peak::Unit;

/// A layer and how many samples it runs on.
struct Layer {
    case: String,
    geometry: Geometry,
    samples: usize,
}

/// The convolutions of the suite `conv` and a square product.
fn layers() -> Vec<Layer> {
    let convolutions = conv::SHAPES.map(|shape| {
        let geometry = geometry(shape, 3, 1);
        Layer { case: conv::case(&geometry), geometry, samples: 1 }
    });
    let product = Layer { case: "1024x1024x1024".into(), geometry: Geometry::dense(1024, 1024), samples: 1024 };
    convolutions.into_iter().chain([product]).collect()
}

/// Runs the suite.
///
/// # Errors
/// A message if a line cannot be written.
pub(crate) fn run(lab: &mut Lab) -> Result<(), String> {
    let mut table = Vec::new();
    for isa in lab.isas().to_vec() {
        for layer in layers() {
            measure(lab, isa, &layer, &mut table)?;
        }
    }
    let header = ["layer", "isa", "engine", "us", "MAC/cycle", "of limit", "x float"];
    lab.table("weights: f32 in, f32 out; weights of 32, 8 (activations too), 5, 4, 3 bits and 1 bit", &header, table);
    Ok(())
}

fn measure(lab: &mut Lab, isa: Isa, layer: &Layer, table: &mut Vec<Vec<String>>) -> Result<(), String> {
    let Layer { case, geometry, samples } = layer;
    let [rows, columns] = geometry.validate().map_err(|error| error.to_string())?;
    let (m, n, k) = (samples * rows * columns, geometry.filters, geometry.depth());
    let macs = m as f64 * n as f64 * k as f64;
    let threads = lab.threads();
    let record = |engine, unit, timing| Record {
        m: Some(m),
        n: Some(n),
        k: Some(k),
        threads,
        ..Record::new("weights", case.clone(), engine, unit, macs, timing)
    };

    lab.step(&format!("weights {case}: float"));
    let mut numbers = Numbers::new(2);
    let (input, weights) = (numbers.floats(samples * geometry.input_len()), numbers.floats(n * k));
    let (mut unfolded, mut output) = (zeros(if *samples == 1 { m * k } else { 0 }), zeros(m * n));
    let (mut float, fraction) = lab.time_products(Unit::Float, None, macs, &mut |workers| {
        workers.install(|| {
            // Rows of a product lie as they are needed.
            let rows: &[f32] = if unfolded.is_empty() {
                &input
            } else {
                im2col(geometry, &input, &mut unfolded);
                &unfolded
            };
            fast_product(m, n, k, rows, &weights, &mut output, threads);
        });
    });
    let engine = if *samples == 1 { "im2col+gemm" } else { "gemm" };
    lab.emit(Record { limit_fraction: fraction, ..record(engine, Unit::Float, float) })?;

    for form in Form::PLAIN {
        lab.step(&format!("weights {case}: {}", form.engine()));
        let mut run = form.prepare(isa, *geometry, *samples)?;
        let (timing, fraction) = lab.time_products(form.unit(), Some(isa), macs, &mut |workers| run(workers, None));
        if form == Form::Float {
            float = float.min(timing);
        }
        let record = Record {
            isa: Some(isa),
            limit_fraction: fraction,
            speedup_float: Some(float.over(timing)),
            ..record(form.engine(), form.unit(), timing)
        };
        table.push(vec![
            case.clone(),
            isa.name().into(),
            form.engine().into(),
            text::micros(timing.ns),
            text::number(record.per_cycle()),
            text::percent(fraction),
            text::number(record.speedup_float),
        ]);
        lab.emit(record)?;
    }
    Ok(())
}
