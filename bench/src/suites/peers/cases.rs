//! What is compared, and our side of it.

use crate::cases::{Layer, SQUARE};
use crate::data::Numbers;
use crate::networks::Network;
use crate::variants::{Operands, Variant};
use horq::{Model, Order, Session, SessionOptions};
use horq_kernels::{Geometry, Inline, Isa, ScaleMode};
use horq_probe::peak::Unit;
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

/// One of our variants of a case.
pub(super) struct Ours {
    /// A network's is that of its binary layers.
    pub variant: Variant,
    /// Multiply-accumulates of a call, each plane's counted.
    pub macs: f64,
    pub run: Box<dyn FnMut()>,
}

impl Case {
    /// All cases, in the order of the tables.
    pub(super) fn all() -> Vec<Self> {
        let stages = Layer::stages().into_iter().map(Self::conv);
        let [rows, columns, depth] = SQUARE;
        let kind = Kind::Product { rows, columns, depth };
        let product = Self { name: Layer::product(SQUARE).name(), kind };
        let stems = STEMS.map(|(shape, kernel, stride)| Self::conv(Layer::conv(shape, kernel, stride)));
        let networks =
            [Network::Lenet5, Network::VggSmall, Network::VggSmallInt8, Network::Bireal18, Network::Bireal18Int8];
        stages.chain([product]).chain(stems).chain(networks.map(Self::network)).collect()
    }

    fn conv(layer: Layer) -> Self {
        let Geometry { height, width, channels, filters, window, .. } = layer.geometry;
        let (kernel, stride) = (window.kernel[0], window.stride[0]);
        Self { name: layer.name(), kind: Kind::Conv { height, width, channels, filters, kernel, stride } }
    }

    /// A network as a case.
    pub(super) fn network(network: Network) -> Self {
        Self { name: network.name(), kind: Kind::Network { network } }
    }

    /// Our scale modes; the table of crossovers has the first. Of a matrix product each row is a sample, whose image is its window.
    pub(super) fn modes(&self) -> &'static [ScaleMode] {
        match self.kind {
            // A binary network's first layer is not binary.
            Kind::Conv { channels: 1..8, .. } => &[],
            Kind::Conv { .. } => &[ScaleMode::Image, ScaleMode::Window, ScaleMode::Halving],
            Kind::Product { .. } => &[ScaleMode::Image, ScaleMode::Halving],
            Kind::Network { .. } => &[ScaleMode::Fixed, ScaleMode::Halving, ScaleMode::Image],
            Kind::Empty => &[],
        }
    }

    /// What calling an engine takes.
    pub(super) fn empty() -> Self {
        Self { name: "empty".into(), kind: Kind::Empty }
    }

    /// The layer that the case is, if it is one.
    pub(super) fn layer(&self) -> Option<Layer> {
        match self.kind {
            Kind::Conv { height, width, channels, filters, kernel, stride } => {
                Some(Layer::conv([height, width, channels, filters], kernel, stride))
            }
            Kind::Product { rows, columns, depth } => Some(Layer::product([rows, columns, depth])),
            Kind::Network { .. } | Kind::Empty => None,
        }
    }

    /// Our variants of it, ready to run: f32 activations, then each mode and order.
    ///
    /// # Errors
    /// A message if a layer cannot be prepared.
    pub(super) fn ours(&self, isa: Isa) -> Result<Vec<Ours>, String> {
        if let Kind::Network { network } = self.kind {
            return networks(isa, network, self.modes());
        }
        let Some(layer) = self.layer() else { return Ok(vec![]) };
        let binary = self.modes().iter().flat_map(|&mode| ORDERS.map(move |order| Variant::Binary { order, mode }));
        // First layers keep their weights, or 8 bits of them.
        let plain = if self.modes().is_empty() { &Variant::PLAIN[..2] } else { &Variant::PLAIN[..] };
        let operands = Operands::of_layers(&[layer], false)?;
        let ours = |variant: Variant| {
            let mut work = variant.prepare(isa, &layer, &operands)?;
            Ok(Ours { variant, macs: variant.macs(&layer)?, run: Box::new(move || work(&Inline, None)) })
        };
        plain.iter().copied().chain(binary).map(ours).collect()
    }
}

/// A network in each mode and order: sessions of one model a mode.
fn networks(isa: Isa, network: Network, modes: &[ScaleMode]) -> Result<Vec<Ours>, String> {
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
            ours.push(Ours { variant: Variant::Binary { order, mode }, macs, run });
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
        assert_eq!(Case::all()[6].layer().unwrap().sizes(), Ok([112 * 112, 64, 147]));
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
    fn our_variants_run_and_are_timed() {
        let case = Case::conv(Layer::conv([5, 4, 9, 7], 3, 1));
        let mut ours = case.ours(Isa::Portable).unwrap();
        assert_eq!(ours.len(), 6 + 3 * ORDERS.count());
        let label = |index: usize| ours[index].variant.label();
        assert_eq!([label(0), label(13), label(17)], ["f32", "window, order 4", "halving, order 4"]);
        assert_eq!([label(2), label(5)], ["f32, codebook of 5 bits", "f32, binary weights"]);
        for variant in &mut ours {
            assert!(sample(&mut variant.run, Duration::ZERO).len() >= LEAST_CALLS);
        }
        assert_eq!((case.name.as_str(), case.layer().unwrap().sizes()), ("5x4x9x7 k3 s1", Ok([20, 7, 81])));
    }
}
