//! Bytes as an ONNX file: they are refused, or become a `.horq` file that opens.

#![no_main]

use horq::{Limits as ModelLimits, Model};
use horq_import::fold::{Limits, fold_with};
use horq_import::onnx::{Options, parse};
use horq_import::import;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut limits = Limits::default();
    (limits.elements, limits.kept, limits.work, limits.nodes) = (1 << 14, 1 << 16, 1 << 20, 1 << 10);
    let Ok(mut graph) = parse(bytes.to_vec(), None, &Options::default()) else { return };
    if fold_with(&mut graph, &limits).is_err() {
        return;
    }
    // A file may ask for values of gigabytes; how fast those are imported is nothing to fuzz.
    let small = |shape: &Vec<usize>| shape.iter().map(|&size| size.max(1)).product::<usize>() <= 1 << 14;
    if !graph.values.iter().filter_map(|value| value.shape.as_ref()).all(small) {
        return;
    }
    if let Ok(imported) = import(graph, &horq_import::Options::default()) {
        Model::from_bytes_with(&imported.file, &ModelLimits::new()).expect("the importer's own file opens");
    }
});
