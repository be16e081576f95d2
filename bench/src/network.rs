//! The suite `network`: a bundled network through the engine, layer by layer, at orders 1 to 4.

use crate::clock::Timing;
use crate::data::Numbers;
use crate::lab::Lab;
use crate::peak::Unit;
use crate::record::Record;
use crate::text;
use horq::graph::Shape;
use horq::{
    BinaryBase, Builder, Layer, LayerProfile, Model, Quantize, ScaleMode, Session, SessionOptions, Stage, Window,
};

const ORDERS: std::ops::RangeInclusive<usize> = 1..=4;
/// Layers are profiled over so many runs at a time, and the best time of each counts.
const RUNS: usize = 10;
const TIMES: usize = 20;

/// Runs the suite.
pub(crate) fn run(lab: &mut Lab) -> Result<(), String> {
    let readable = |error: horq::Error| format!("the bundled network: {error}");
    let model = lenet().map_err(readable)?;
    for isa in lab.isas().to_vec() {
        let mut rows = Vec::new();
        for order in ORDERS {
            lab.step(&format!("network: order {order}"));
            let options = SessionOptions::new().isa(isa).order(order).threads(lab.workers().for_session());
            let mut session = Session::new(&model, options.clone()).map_err(readable)?;
            let input: Vec<f32> = Numbers::new(3).floats(session.input_len()).iter().map(|x| x.abs() * 0.5).collect();
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

/// LeNet-5 in Caffe's form with channel counts rounded to whole words, as `models/` has it, with random weights: times do
/// not depend on their values.
fn lenet() -> Result<Model, horq::Error> {
    let mut numbers = Numbers::new(4);
    let scales = [0.95, 0.42, 0.22, 0.12];
    let quantize = Quantize { order: 4, mode: ScaleMode::Fixed, scales: Some(&scales) };
    let (conv1, conv2) = (numbers.floats(32 * 25), numbers.floats(64 * 25 * 32));
    let (fc1, fc2) = (numbers.floats(512 * 1024), numbers.floats(10 * 512));
    let alpha = [0.05; 512];
    let (one, zero, slope) = ([1.0; 512], [0.1; 512], [0.25; 512]);
    let norm = |n| Layer::Affine { scale: &one[..n], shift: &zero[..n] };
    let prelu = |n| Layer::Prelu { slope: &slope[..n] };
    let pool = Layer::MaxPool { window: Window::square(2).with_stride(2) };
    let window = Window::square(5);
    let bases2 = [BinaryBase { weight: &conv2, alpha: &alpha[..64] }];
    let bases3 = [BinaryBase { weight: &fc1, alpha: &alpha }];
    let mut builder = Builder::new("pixels", Shape::Image { height: 28, width: 28, channels: 1 });
    builder
        .add("conv1", &["pixels"], Layer::Conv2d { window, filters: 32, groups: 1, weight: &conv1, bias: None })?
        .add("pool1", &["conv1"], pool)?
        .add("act1", &["pool1"], prelu(32))?
        .add("norm1", &["act1"], norm(32))?
        .add(
            "conv2",
            &["norm1"],
            Layer::BinaryConv2d {
                window,
                filters: 64,
                groups: 1,
                pad_value: horq::Padding::ValidTaps,
                quantize,
                bases: &bases2,
                bias: None,
            },
        )?
        .add("pool2", &["conv2"], pool)?
        .add("act2", &["pool2"], prelu(64))?
        .add("norm2", &["act2"], norm(64))?
        .add("flat", &["norm2"], Layer::Flatten)?
        .add("fc1", &["flat"], Layer::BinaryDense { filters: 512, quantize, bases: &bases3, bias: None })?
        .add("act3", &["fc1"], prelu(512))?
        .add("norm3", &["act3"], norm(512))?
        .add("fc2", &["norm3"], Layer::Dense { filters: 10, weight: &fc2, bias: None })?;
    Model::from_bytes(&builder.to_bytes("fc2")?)
}
