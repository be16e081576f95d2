//! From a folded graph to a `.horq` file and a report.

use crate::error::{Error, Refusal};
use crate::fold::fold;
use crate::graph::Graph;
pub use crate::lower::{Golden, Port, operations};
use crate::lower::{Settings, lower};
use crate::recognise::analyse;
use crate::report::Report;
use crate::simplify::{straight_through, xnor_products};
use horq::Model;
use std::collections::BTreeMap;

/// How to import.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Whether inputs and outputs keep the order of the network's axes: images with their channels first are then turned inside.
    /// Otherwise they have them last, as the engine reads images fastest.
    pub same_layout: bool,
    /// Notes for the file, by key.
    pub notes: BTreeMap<String, String>,
    /// What the file names as its producer; horq itself if nothing is given.
    pub producer: Option<String>,
    /// Values for a self-test.
    pub golden: Option<Golden>,
}

/// A network that has come in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The `.horq` file.
    pub file: Vec<u8>,
    /// What became of it.
    pub report: Report,
    /// Its inputs, in order.
    pub inputs: Vec<Port>,
    /// Its answers, in order.
    pub outputs: Vec<Port>,
}

/// Makes a file of a graph. Detours of training code are taken out first, then constants are computed ([`fold`]).
///
/// The file's notes `onnx.inputs` and `onnx.outputs` say how the network's values lie in the file's, as JSON of [`Port`]s.
///
/// # Errors
/// [`Error::Refused`] with everything in the network that cannot be had.
pub fn import(mut graph: Graph, options: &Options) -> Result<Imported, Error> {
    straight_through(&mut graph);
    fold(&mut graph)?;
    xnor_products(&mut graph);
    let analysis = analyse(&mut graph);
    let settings = Settings {
        same_layout: options.same_layout,
        notes: &options.notes,
        producer: options.producer.as_deref(),
        golden: options.golden.as_ref(),
    };
    let lowered = lower(&graph, &analysis, &settings)?;
    let model = Model::from_bytes(&lowered.file);
    let model = model.map_err(|error| Refusal::at("", "model", format!("the engine refuses it: {error}"), ""))?;
    let report = Report::new(&model, &lowered);
    Ok(Imported { file: lowered.file, report, inputs: lowered.inputs, outputs: lowered.outputs })
}
