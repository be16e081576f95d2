//! The targets. Each tells whether it accepted its bytes.

mod bytes;
mod program;

use horq::graph::Shape;
use horq::{Isa, Limits, Macs, Model, Order, Session, SessionOptions, Threads, Values};
use horq_import::fold::{Limits as FoldLimits, fold_with};
use horq_import::onnx::{Options, parse};

/// Values and memory that an input may ask for: a run of it must take neither the fuzzer's time nor its memory.
fn limits() -> Limits {
    Limits::new().value_elements(1 << 12).session_bytes(1 << 24)
}

/// The text of a header, between its length and the data: digest and length are put right, and the data is as long as the header says,
/// all zeros. It is refused or opens.
pub fn header(text: &[u8]) -> bool {
    let mut file = crate::mutate::assemble(text, &[]);
    let end = crate::mutate::data_end(text).filter(|&end| end <= 1 << 16).unwrap_or(0);
    file.resize(file.len() + end, 0);
    crate::mutate::reseal(&mut file);
    Model::from_bytes_with(&file, &limits()).is_ok()
}

/// A whole file, as it is: it is refused or opens, and what opens tells what it holds.
pub fn open(bytes: &[u8]) -> bool {
    let Ok(model) = Model::from_bytes_with(bytes, &limits()) else { return false };
    let _ = model.verify_digest();
    let shapes = model.shapes().len();
    assert_eq!(shapes, model.graph().nodes.len());
    if let Some(golden) = model.golden() {
        assert_eq!(golden.inputs.len(), model.inputs().len());
    }
    true
}

/// A whole file that is run: on two backends, with other threads and batches, the answers or errors are the same, and no answer is NaN.
pub fn run(bytes: &[u8]) -> bool {
    let Ok(model) = Model::from_bytes_with(bytes, &limits()) else { return false };
    answers(&model);
    // Other sizes are refused or run as well.
    let larger = |(_, shape)| match shape {
        Shape::Image { height, width, channels } => Shape::Image { height: height + 1, width: width + 2, channels },
        flat => flat,
    };
    if let Ok(resized) = model.resized(&model.inputs().map(larger).collect::<Vec<_>>()) {
        let _ = Session::new(&resized, SessionOptions::new());
    }
    true
}

/// Runs a model in every way and compares.
fn answers(model: &Model) {
    // Products that take longer than a moment are nothing to fuzz.
    let macs = |session: &Session| session.profile().iter().map(|layer| total(layer.macs)).fold(0, u64::saturating_add);
    let plain = SessionOptions::new().batch(2).isa(Isa::Portable);
    let best = Isa::available().last().unwrap_or(Isa::Portable);
    let Ok(mut session) = Session::new(model, plain) else { return };
    if macs(&session) > 1 << 20 {
        return;
    }
    let expected = answer(&mut session, model);
    let Ok(mut session) = Session::new(model, SessionOptions::new().batch(2).isa(best)) else {
        panic!("{best} refuses what {} runs", Isa::Portable)
    };
    assert!(answer(&mut session, model) == expected, "{best} answers otherwise than {}", Isa::Portable);
    session.set_order(Order::ONE);
    let _ = answer(&mut session, model);
    if macs(&session) > 1 << 14 {
        let options = SessionOptions::new().batch(2).isa(best).threads(Threads::Own(2));
        let Ok(mut session) = Session::new(model, options) else { panic!("threads are refused") };
        assert!(answer(&mut session, model) == expected, "two threads answer otherwise than one");
    }
}

fn total(Macs { bit, binary_weight, codebook, float, int8, .. }: Macs) -> u64 {
    [binary_weight, codebook, float, int8].into_iter().fold(bit, u64::saturating_add)
}

/// The bits of the answers to two samples, or the error's text.
fn answer(session: &mut Session, model: &Model) -> Result<Vec<u32>, String> {
    let value = |i: usize| ((i * 37 + 11) % 64) as f32 / 16.0 - 2.0;
    let inputs: Vec<Vec<f32>> = model.inputs().map(|(_, shape)| (0..2 * shape.len()).map(value).collect()).collect();
    let inputs: Vec<Values<'_>> = inputs.iter().map(|values| Values::F32(values)).collect();
    let mut outputs: Vec<Vec<f32>> = model.outputs().map(|(_, shape)| vec![f32::NAN; 2 * shape.len()]).collect();
    let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
    session.run_many(&inputs, &mut slices).map_err(|error| error.to_string())?;
    let values = outputs.concat();
    assert!(values.iter().all(|value| value.is_finite()), "an answer is no number");
    Ok(values.into_iter().map(f32::to_bits).collect())
}

/// A program of calls to the builder, as Python makes them: each is refused, or the file opens and runs.
pub fn builder(bytes: &[u8]) -> bool {
    let Some(file) = program::file(bytes) else { return false };
    let model = Model::from_bytes(&file).expect("a builder's file opens");
    assert_eq!(model.file(), file, "the file is the bytes");
    if let Ok(model) = Model::from_bytes_with(&file, &limits()) {
        answers(&model);
    }
    true
}

/// A file of inputs of the tool: npy, PNG, IDX, CIFAR-10, each also gzipped.
pub fn inputs(bytes: &[u8]) -> bool {
    horq_tools::read_input(bytes).is_ok()
}

/// Bytes as an ONNX file: they are refused, or become a `.horq` file that opens.
pub fn onnx(bytes: &[u8]) -> bool {
    let mut limits = FoldLimits::default();
    (limits.elements, limits.kept, limits.work, limits.nodes) = (1 << 14, 1 << 16, 1 << 18, 1 << 10);
    let Ok(mut graph) = parse(bytes.to_vec(), None, &Options::default()) else { return false };
    if fold_with(&mut graph, &limits).is_err() {
        return false;
    }
    // A file may ask for values of gigabytes; how fast those are imported is nothing to fuzz.
    let small = |shape: &Vec<usize>| shape.iter().map(|&size| size.max(1)).product::<usize>() <= 1 << 12;
    if !graph.values.iter().filter_map(|value| value.shape.as_ref()).all(small) {
        return false;
    }
    let Ok(imported) = horq_import::import(graph, &horq_import::Options::default()) else { return false };
    Model::from_bytes(&imported.file).expect("the importer's own file opens");
    true
}
