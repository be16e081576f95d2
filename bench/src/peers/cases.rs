//! What is compared, and our side of it.

use crate::cli::geometry;
use crate::conv::{self, SHAPES, mode_name};
use crate::data::Numbers;
use crate::forms::Form;
use crate::networks::Network;
use crate::peak::Unit;
use horq::{Model, Order, Session, SessionOptions};
use horq_kernels::{Geometry, Inline, Isa, ScaleMode};
use serde::Serialize;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The orders of every case.
pub(super) const ORDERS: RangeInclusive<usize> = 1..=4;
/// As the peers' own processes do it (`bench/peers/runner.py`).
const WARM_CALLS: usize = 2;
/// A core that has just multiplied floats 512 bits at a time runs slower for some milliseconds; what comes next shall not pay.
const WARM_TIME: Duration = Duration::from_millis(5);
const LEAST_CALLS: usize = 3;

/// First layers of networks: height x width x channels x filters, kernel, stride.
const STEMS: [([usize; 4], usize, usize); 2] = [([32, 32, 3, 128], 3, 1), ([224, 224, 3, 64], 7, 2)];

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
    /// A convolution, padded so that stride 1 keeps the image's size.
    Conv { height: usize, width: usize, channels: usize, filters: usize, kernel: usize, stride: usize },
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
    /// A network's is that of its binary layers.
    pub form: Form,
    /// Multiply-accumulates of a call, each plane's counted.
    pub macs: f64,
    pub run: Box<dyn FnMut() + 'a>,
}

impl Ours<'_> {
    /// Its name in tables.
    pub(super) fn label(&self) -> String {
        match self.form {
            Form::Float => "horq f32".into(),
            Form::Int8 => "horq int8".into(),
            Form::Sign => "horq f32, binary weights".into(),
            Form::Code(bits) => format!("horq f32, codebook of {bits} bits"),
            Form::Binary { order, mode } => format!("horq {}, order {order}", mode_name(mode)),
            Form::Packed { order } => format!("horq packed, order {order}"),
        }
    }
}

impl Case {
    /// All cases, in the order of the tables.
    pub(super) fn all() -> Vec<Self> {
        let layers = SHAPES.map(|shape| Self::conv(shape, 3, 1));
        let product = Kind::Product { rows: 1024, columns: 1024, depth: 1024 };
        let networks =
            [Network::Lenet5, Network::VggSmall, Network::VggSmallInt8, Network::Bireal18, Network::Bireal18Int8];
        let networks = networks.map(Self::network);
        let product = Self { name: "1024x1024x1024".into(), kind: product };
        layers
            .into_iter()
            .chain([product])
            .chain(STEMS.map(|stem| Self::conv(stem.0, stem.1, stem.2)))
            .chain(networks)
            .collect()
    }

    fn conv(shape: [usize; 4], kernel: usize, stride: usize) -> Self {
        let [height, width, channels, filters] = shape;
        let kind = Kind::Conv { height, width, channels, filters, kernel, stride };
        Self { name: conv::case(&geometry(shape, kernel, stride)), kind }
    }

    /// A network as a case.
    pub(super) fn network(network: Network) -> Self {
        Self { name: network.name(), kind: Kind::Network { network } }
    }

    /// Our scale modes; crossovers are told of the first. Of a matrix product each row is a sample, whose image is its window.
    pub(super) fn modes(&self) -> &'static [ScaleMode] {
        match self.kind {
            // A binary network's first layer is not binary.
            Kind::Conv { channels: 1..8, .. } => &[],
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
            Kind::Conv { height, width, channels, filters, kernel, stride } => {
                Some([height.div_ceil(stride) * width.div_ceil(stride), filters, kernel * kernel * channels])
            }
            Kind::Product { rows, columns, depth } => Some([rows, columns, depth]),
            Kind::Network { .. } | Kind::Empty => None,
        }
    }

    /// Our forms of it, ready to run: f32 activations, then each mode and order.
    ///
    /// # Errors
    /// A message if a layer cannot be prepared.
    pub(super) fn ours(&self, isa: Isa) -> Result<Vec<Ours<'static>>, String> {
        let (geometry, samples) = match self.kind {
            Kind::Conv { height, width, channels, filters, kernel, stride } => {
                let shape = [height, width, channels, filters];
                (geometry(shape, kernel, stride), 1)
            }
            Kind::Product { rows, columns, depth } => (Geometry::dense(depth, columns), rows),
            Kind::Network { network } => return networks(isa, network, self.modes()),
            Kind::Empty => return Ok(vec![]),
        };
        let binary = self.modes().iter().flat_map(|&mode| ORDERS.map(move |order| Form::Binary { order, mode }));
        // First layers keep their weights, or 8 bits of them.
        let floats = if self.modes().is_empty() { &Form::PLAIN[..2] } else { &Form::PLAIN[..] };
        floats.iter().copied().chain(binary).map(|form| layer(form, isa, geometry, samples)).collect()
    }
}

/// A layer in that form, on the caller's thread.
fn layer(form: Form, isa: Isa, geometry: Geometry, samples: usize) -> Result<Ours<'static>, String> {
    let mut work = form.prepare(isa, geometry, samples)?;
    Ok(Ours { form, macs: form.macs(&geometry, samples)?, run: Box::new(move || work(&Inline, None)) })
}

/// A network in each mode and order: sessions of one model a mode.
fn networks(isa: Isa, network: Network, modes: &[ScaleMode]) -> Result<Vec<Ours<'static>>, String> {
    let mut ours = Vec::new();
    for &mode in modes {
        let model = model(network, mode)?;
        for order in ORDERS {
            let options = SessionOptions::new().isa(isa).order(Order::new(order).map_err(|error| error.to_string())?);
            let mut session = Session::new(&model, options).map_err(|error| error.to_string())?;
            let products = |layer: &horq::LayerProfile| layer.macs.bit + layer.macs.int8 + layer.macs.float;
            let macs = session.profile().iter().map(|layer| products(layer) as f64).sum();
            let input = Numbers::new(3).floats(session.input_len());
            let mut output: Vec<f32> = vec![0.0; session.output_len()];
            let run = Box::new(move || session.run(&input, &mut output).expect("the input is finite"));
            ours.push(Ours { form: Form::Binary { order, mode }, macs, run });
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

/// What the peers call it: how our float ends are stored is nothing to them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn network_name<S: serde::Serializer>(network: &Network, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(network.name().trim_end_matches("-int8"))
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
    let warm = Instant::now();
    (0..WARM_CALLS).for_each(|_| run());
    while warm.elapsed() < WARM_TIME {
        run();
    }
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
        assert_eq!((&told[6]["kernel"], &told[6]["stride"]), (&7.into(), &2.into()));
        assert_eq!((&told[8]["kind"], &told[8]["network"]), (&"network".into(), &"vgg-small".into()));
        assert_eq!(Case::all()[6].product(), Some([112 * 112, 64, 147]));
        assert_eq!((&told[9]["name"], &told[9]["network"]), (&"vgg-small-int8".into(), &"vgg-small".into()));
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
        let case = Case::conv([5, 4, 9, 7], 3, 1);
        let mut ours = case.ours(Isa::Portable).unwrap();
        assert_eq!(ours.len(), 6 + 2 * ORDERS.count());
        let labels: Vec<String> = ours.iter().map(Ours::label).collect();
        assert_eq!((labels[0].as_str(), labels[13].as_str()), ("horq f32", "horq window, order 4"));
        assert_eq!(
            (labels[2].as_str(), labels[5].as_str()),
            ("horq f32, codebook of 5 bits", "horq f32, binary weights")
        );
        for form in &mut ours {
            assert!(sample(&mut form.run, Duration::ZERO).len() >= LEAST_CALLS);
        }
        assert_eq!((case.name.as_str(), case.product()), ("5x4x9x7 k3 s1", Some([20, 7, 81])));
    }
}
