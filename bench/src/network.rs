//! The suite `network`: a bundled network through the engine, layer by layer, at orders 1 to 4.

use crate::clock::Timing;
use crate::data::Numbers;
use crate::lab::Lab;
use crate::peak::Unit;
use crate::record::Record;
use crate::text;
use horq::{LayerProfile, Model, Session, SessionOptions, Stage};

/// LeNet-5 for handwritten digits, trained to serve orders 1 to 4 (`models/lenet5.md`).
const MODEL: &[u8] = include_bytes!("../models/lenet5.horq");

const ORDERS: std::ops::RangeInclusive<usize> = 1..=4;
/// Layers are profiled over so many runs at a time, and the best time of each counts.
const RUNS: usize = 10;
const TIMES: usize = 20;

/// Runs the suite.
pub(crate) fn run(lab: &mut Lab) -> Result<(), String> {
    let readable = |error: horq::Error| format!("the bundled network: {error}");
    let model = Model::from_bytes(MODEL).map_err(readable)?;
    for isa in lab.isas().to_vec() {
        let mut rows = Vec::new();
        for order in ORDERS {
            lab.step(&format!("network: order {order}"));
            let options = SessionOptions::new().isa(isa).order(order).threads(lab.workers().for_session());
            let mut session = Session::new(&model, options.clone()).map_err(readable)?;
            let input: Vec<f32> = Numbers::new(3).floats(session.input_len()).iter().map(|x| x.abs() * 127.0).collect();
            let mut output = vec![0.0; session.output_len()];
            let whole = lab.time_plain(&mut || session.run(&input, &mut output).expect("the input is finite"));

            // Reading the clock between layers costs time, so the layers come from a session of their own.
            let mut session = Session::new(&model, options.profile(true)).map_err(readable)?;
            let mut best: Vec<LayerProfile> = Vec::new();
            for _ in 0..TIMES {
                session.reset_profile();
                for _ in 0..RUNS {
                    session.run(&input, &mut output).map_err(readable)?;
                }
                if best.is_empty() {
                    best = session.profile().to_vec();
                }
                for (best, layer) in best.iter_mut().zip(session.profile()) {
                    if layer.wall_nanoseconds < best.wall_nanoseconds {
                        best.clone_from(layer);
                    }
                }
            }
            let macs: u64 = best.iter().map(|layer| layer.bit_macs + layer.float_macs).sum();
            let record = |case, unit, macs: u64, timing| Record {
                order: Some(order),
                isa: Some(isa),
                threads: lab.threads(),
                ..Record::new("network", case, "horq", unit, macs as f64, timing)
            };
            let mut records = vec![record("lenet5".into(), Unit::Mixed, macs, whole)];
            for layer in &best {
                let (unit, macs) = match (layer.bit_macs, layer.float_macs) {
                    (0, macs) => (Unit::Float, macs),
                    (macs, _) => (Unit::Bit, macs),
                };
                let timing = Timing { ns: layer.wall_nanoseconds as f64 / layer.runs as f64, cycles: f64::NAN };
                let mode = layer.binary.map(|binary| binary.mode);
                let record = Record { mode, ..record(format!("lenet5/{}", layer.name), unit, macs, timing) };
                records.push(Record { order: layer.order(), ..record });
                let stage = |stage| text::micros(layer.stage(stage) as f64 / layer.runs as f64);
                rows.push(vec![
                    format!("{order} {}", layer.name),
                    layer.op.into(),
                    text::micros(timing.ns),
                    stage(Stage::Quantize),
                    stage(Stage::Bits),
                    stage(Stage::Epilogue),
                    stage(Stage::Float),
                    text::number((macs > 0).then(|| macs as f64 / timing.ns)),
                ]);
            }
            let dash = || "-".to_owned();
            rows.push(vec![
                format!("{order} all"),
                "unprofiled".into(),
                text::micros(whole.ns),
                dash(),
                dash(),
                dash(),
                dash(),
                text::number(Some(macs as f64 / whole.ns)),
            ]);
            records.into_iter().try_for_each(|record| lab.emit(record))?;
        }
        let header = ["order, layer", "operation", "us", "quantize", "bits", "epilogue", "float", "MAC/ns"];
        lab.table(&format!("network: LeNet-5, one 28x28 image, {isa}; us by stage"), &header, rows);
    }
    Ok(())
}
