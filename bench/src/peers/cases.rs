//! What is compared, and our side of it.

use crate::cli::geometry;
use crate::conv::{SHAPES, mode_name};
use crate::data::{Numbers, copied, zeros};
use crate::networks::Network;
use crate::peak::Unit;
use horq::{Model, Session, SessionOptions};
use horq_kernels::{
    BaseRef, BinaryCall, BinaryConv, BinaryInput, BinaryScratch, BinarySpec, Epilogue, FloatCall, FloatConv, Geometry,
    Inline, Isa, Padding, ScaleMode, panel,
};
use serde::Serialize;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The orders of every case.
pub(super) const ORDERS: RangeInclusive<usize> = 1..=4;
/// As the peers' own processes do it (`bench/peers/runner.py`).
const WARM_CALLS: usize = 2;
const LEAST_CALLS: usize = 3;

/// One thing to compute, as the peers are told.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Case {
    pub name: String,
    #[serde(flatten)]
    pub kind: Kind,
}

/// The kinds of cases.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Kind {
    /// A convolution of stride 1 that keeps the image's size.
    Conv { height: usize, width: usize, channels: usize, filters: usize, kernel: usize },
    /// A matrix product with constant weights.
    Product { rows: usize, columns: usize, depth: usize },
    /// A network; theirs have that shape.
    Network {
        #[serde(serialize_with = "network_name")]
        network: Network,
    },
    /// Next to nothing: what it takes to call the engine.
    Empty,
}

/// One of our forms of a case.
pub(super) struct Ours<'a> {
    /// 0 for f32.
    pub order: usize,
    pub mode: Option<ScaleMode>,
    /// Multiply-accumulates of a call, each plane's counted.
    pub macs: f64,
    pub run: Box<dyn FnMut() + 'a>,
}

impl Ours<'_> {
    /// Its name in tables.
    pub(super) fn label(&self) -> String {
        match self.mode {
            None => "horq f32".into(),
            Some(mode) => format!("horq {}, order {}", mode_name(mode), self.order),
        }
    }
}

impl Case {
    /// All cases, in the order of the tables.
    pub(super) fn all() -> Vec<Self> {
        let layers = SHAPES.map(|[height, width, channels, filters]| {
            let kind = Kind::Conv { height, width, channels, filters, kernel: 3 };
            Self { name: format!("{height}x{width}x{channels}x{filters} k3 s1"), kind }
        });
        let product = Kind::Product { rows: 1024, columns: 1024, depth: 1024 };
        let networks = [Network::Lenet5, Network::VggSmall, Network::Bireal18].map(Self::network);
        layers.into_iter().chain([Self { name: "1024x1024x1024".into(), kind: product }]).chain(networks).collect()
    }

    /// A network as a case.
    pub(super) fn network(network: Network) -> Self {
        Self { name: network.name(), kind: Kind::Network { network } }
    }

    /// Our scale modes; crossovers are told of the first. Of a matrix product each row is a sample, whose image is its window.
    pub(super) fn modes(&self) -> &'static [ScaleMode] {
        match self.kind {
            Kind::Conv { .. } => &[ScaleMode::Image, ScaleMode::Window],
            Kind::Product { .. } => &[ScaleMode::Image],
            Kind::Network { .. } => &[ScaleMode::Fixed, ScaleMode::Image],
            Kind::Empty => &[],
        }
    }

    /// What calling an engine takes.
    pub(super) fn empty() -> Self {
        Self { name: "empty".into(), kind: Kind::Empty }
    }

    /// Rows, columns and depth of the product that the case is, at order 1.
    pub(super) fn product(&self) -> Option<[usize; 3]> {
        match self.kind {
            Kind::Conv { height, width, channels, filters, kernel } => {
                Some([height * width, filters, kernel * kernel * channels])
            }
            Kind::Product { rows, columns, depth } => Some([rows, columns, depth]),
            Kind::Network { .. } | Kind::Empty => None,
        }
    }

    /// Our forms of it, ready to run: f32, then each mode and order.
    ///
    /// # Errors
    /// A message if a layer cannot be prepared.
    pub(super) fn ours(&self, isa: Isa) -> Result<Vec<Ours<'static>>, String> {
        let (geometry, samples) = match self.kind {
            Kind::Conv { height, width, channels, filters, kernel } => {
                let shape = [height, width, channels, filters];
                (geometry(shape, kernel, 1), 1)
            }
            Kind::Product { rows, columns, depth } => (Geometry::dense(depth, columns), rows),
            Kind::Network { network } => return networks(isa, network, self.modes()),
            Kind::Empty => return Ok(vec![]),
        };
        let mut ours = vec![float(isa, geometry, samples)?];
        for &mode in self.modes() {
            for order in ORDERS {
                ours.push(binary(isa, geometry, samples, order, mode)?);
            }
        }
        Ok(ours)
    }
}

fn float(isa: Isa, geometry: Geometry, samples: usize) -> Result<Ours<'static>, String> {
    let conv = FloatConv::new(isa, geometry).map_err(|error| error.to_string())?;
    let mut numbers = Numbers::new(2);
    let input = numbers.floats(samples * geometry.input_len());
    let weight = copied(&panel::pack_floats(&geometry, &numbers.floats(geometry.filters * geometry.depth())));
    let mut output = zeros(samples * output_len(&geometry)?);
    let macs = (output.len() * geometry.depth()) as f64;
    let mut scratch = zeros(conv.scratch_len());
    let run = Box::new(move || {
        let epilogue = Epilogue::default();
        let call = FloatCall { input: &input, weight: &weight, epilogue, parallel: &Inline, clock: None };
        conv.run(call, &mut output, &mut scratch);
    });
    Ok(Ours { order: 0, mode: None, macs, run })
}

fn binary(
    isa: Isa,
    geometry: Geometry,
    samples: usize,
    order: usize,
    mode: ScaleMode,
) -> Result<Ours<'static>, String> {
    let mut numbers = Numbers::new(2);
    let input = numbers.floats(samples * geometry.input_len());
    let panels = copied(&panel::pack_bits(&geometry, &numbers.floats(geometry.filters * geometry.depth())));
    let spec = BinarySpec { geometry, padding: Padding::ValidTaps, mode, max_order: order, max_batch: samples };
    let conv = BinaryConv::new(isa, spec, &[&panels]).map_err(|error| error.to_string())?;
    let (mut words, mut scales) = (zeros(conv.scratch_len().words), zeros(conv.scratch_len().scales));
    let mut output = zeros(samples * output_len(&geometry)?);
    let macs = (output.len() * geometry.depth()) as f64;
    let alpha = geometry.pad_filters(&vec![0.05; geometry.filters]);
    let run = Box::new(move || {
        let call = BinaryCall {
            input: BinaryInput::Values(&input),
            pack: None,
            order,
            scales: &[],
            bases: &[BaseRef { panels: &panels, alpha: &alpha }],
            epilogue: Epilogue::default(),
            parallel: &Inline,
            clock: None,
        };
        conv.run(call, &mut output, BinaryScratch { words: &mut words, scales: &mut scales })
            .expect("the operands are finite");
    });
    Ok(Ours { order, mode: Some(mode), macs: macs * order as f64, run })
}

/// A network in each mode and order: sessions of one model a mode.
fn networks(isa: Isa, network: Network, modes: &[ScaleMode]) -> Result<Vec<Ours<'static>>, String> {
    let mut ours = Vec::new();
    for &mode in modes {
        let model = model(network, mode)?;
        for order in ORDERS {
            let options = SessionOptions::new().isa(isa).order(order);
            let mut session = Session::new(&model, options).map_err(|error| error.to_string())?;
            let macs = session.profile().iter().map(|layer| (layer.bit_macs + layer.float_macs) as f64).sum();
            let input = Numbers::new(3).floats(session.input_len());
            let mut output: Vec<f32> = vec![0.0; session.output_len()];
            let run = Box::new(move || session.run(&input, &mut output).expect("the input is finite"));
            ours.push(Ours { order, mode: Some(mode), macs, run });
        }
    }
    Ok(ours)
}

fn model(network: Network, mode: ScaleMode) -> Result<Model, String> {
    let bytes = network_bytes(network, mode, *ORDERS.end())?;
    Model::from_bytes(&bytes).map_err(|error| error.to_string())
}

/// The file of a network.
///
/// # Errors
/// A message if it cannot be made.
pub(super) fn network_bytes(network: Network, mode: ScaleMode, order: usize) -> Result<Vec<u8>, String> {
    let readable = |error: horq::Error| format!("{}: {error}", network.name());
    let (builder, output) = network.build(order, mode).map_err(readable)?;
    builder.to_bytes(&output).map_err(readable)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn network_name<S: serde::Serializer>(network: &Network, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&network.name())
}

fn output_len(geometry: &Geometry) -> Result<usize, String> {
    let [rows, columns] = geometry.validate().map_err(|error| error.to_string())?;
    Ok(rows * columns * geometry.filters)
}

/// What a peer's variant counts, and its order.
pub(super) fn variant(name: &str) -> (Unit, Option<usize>) {
    match name.strip_prefix("binary") {
        Some(order) => (Unit::Bit, order.parse().ok()),
        None if name == "int8" => (Unit::Int8, None),
        None => (Unit::Float, None),
    }
}

/// Times single calls for about `budget`, as a peer's process does: nanoseconds.
pub(super) fn sample(run: &mut dyn FnMut(), budget: Duration) -> Vec<f64> {
    (0..WARM_CALLS).for_each(|_| run());
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < LEAST_CALLS || start.elapsed() < budget {
        let call = Instant::now();
        run();
        times.push(call.elapsed().as_nanos() as f64);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_told_as_the_scripts_expect() {
        let told: Vec<serde_json::Value> = Case::all().iter().map(|case| serde_json::to_value(case).unwrap()).collect();
        assert_eq!(told[0]["kind"], "conv");
        assert_eq!((&told[0]["height"], &told[0]["filters"], &told[0]["kernel"]), (&56.into(), &64.into(), &3.into()));
        assert_eq!((&told[6]["kind"], &told[6]["network"]), (&"network".into(), &"vgg-small".into()));
        assert_eq!((&told[4]["kind"], &told[4]["depth"]), (&"product".into(), &1024.into()));
        assert_eq!(serde_json::to_value(Case::empty()).unwrap()["kind"], "empty");
    }

    #[test]
    fn variants_are_understood() {
        assert_eq!(variant("binary3"), (Unit::Bit, Some(3)));
        assert_eq!(variant("int8"), (Unit::Int8, None));
        assert_eq!(variant("f32"), (Unit::Float, None));
    }

    #[test]
    fn our_forms_run_and_are_timed() {
        let kind = Kind::Conv { height: 5, width: 4, channels: 3, filters: 7, kernel: 3 };
        let case = Case { name: "small".into(), kind };
        let mut ours = case.ours(Isa::Portable).unwrap();
        assert_eq!(ours.len(), 1 + 2 * ORDERS.count());
        let labels: Vec<String> = ours.iter().map(Ours::label).collect();
        assert_eq!((labels[0].as_str(), labels[8].as_str()), ("horq f32", "horq window, order 4"));
        for form in &mut ours {
            assert!(sample(&mut form.run, Duration::ZERO).len() >= LEAST_CALLS);
        }
        assert_eq!(case.product(), Some([20, 7, 27]));
    }
}
