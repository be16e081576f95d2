//! What the self-test asks: networks, each with its inputs, at each of its orders.

use super::networks::made;
use super::noise::Noise;
use crate::{Error, Isa, Model, Order, Session, SessionOptions, Threads, Values};
use sha2::{Digest, Sha256};

/// A network with its samples.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) model: Model,
    pub(super) samples: usize,
    /// The samples of each input.
    pub(super) inputs: Vec<Vec<f32>>,
}

/// The bundled models, which have samples of their own.
const BUNDLED: [(&str, &[u8]); 3] = [
    ("lenet5", include_bytes!("../../selftest/lenet5.horq")),
    ("mlp", include_bytes!("../../selftest/mlp.horq")),
    ("vgg-small", include_bytes!("../../selftest/vgg-small.horq")),
];

/// A small network for each family of operations, the seeds of the fuzzer: all operations together.
const SEEDS: [(&str, &[u8]); 24] = [
    ("affine_by_order", include_bytes!("../../selftest/seeds/affine_by_order.horq")),
    ("attention", include_bytes!("../../selftest/seeds/attention.horq")),
    ("binary_dense", include_bytes!("../../selftest/seeds/binary_dense.horq")),
    ("binary_fixed", include_bytes!("../../selftest/seeds/binary_fixed.horq")),
    ("binary_halving", include_bytes!("../../selftest/seeds/binary_halving.horq")),
    ("binary_image", include_bytes!("../../selftest/seeds/binary_image.horq")),
    ("binary_none", include_bytes!("../../selftest/seeds/binary_none.horq")),
    ("binary_weight", include_bytes!("../../selftest/seeds/binary_weight.horq")),
    ("binary_window", include_bytes!("../../selftest/seeds/binary_window.horq")),
    ("codebook", include_bytes!("../../selftest/seeds/codebook.horq")),
    ("conv2d", include_bytes!("../../selftest/seeds/conv2d.horq")),
    ("dense", include_bytes!("../../selftest/seeds/dense.horq")),
    ("depthwise", include_bytes!("../../selftest/seeds/depthwise.horq")),
    ("elementwise", include_bytes!("../../selftest/seeds/elementwise.horq")),
    ("functions", include_bytes!("../../selftest/seeds/functions.horq")),
    ("int8", include_bytes!("../../selftest/seeds/int8.horq")),
    ("moving", include_bytes!("../../selftest/seeds/moving.horq")),
    ("norms", include_bytes!("../../selftest/seeds/norms.horq")),
    ("operands", include_bytes!("../../selftest/seeds/operands.horq")),
    ("pools", include_bytes!("../../selftest/seeds/pools.horq")),
    ("several", include_bytes!("../../selftest/seeds/several.horq")),
    ("sizes", include_bytes!("../../selftest/seeds/sizes.horq")),
    ("steps", include_bytes!("../../selftest/seeds/steps.horq")),
    ("wholes", include_bytes!("../../selftest/seeds/wholes.horq")),
];

/// Samples of a network that has none of its own.
const SAMPLES: usize = 4;
/// Samples of a bundled model, at most: they take most of the time of the self-test.
const BUNDLED_SAMPLES: usize = 2;

/// All of them, always in the same order.
pub(super) fn cases() -> Result<Vec<Case>, Error> {
    let files = BUNDLED.iter().chain(&SEEDS).map(|&(name, bytes)| Ok((name.to_owned(), Model::from_bytes(bytes)?)));
    let made = made()?.into_iter().map(|(name, bytes)| Ok((name, Model::from_bytes(&bytes)?)));
    files
        .chain(made)
        .enumerate()
        .map(|(seed, named)| named.map(|(name, model)| Case::new(name, model, seed as u64)))
        .collect()
}

impl Case {
    fn new(name: String, model: Model, seed: u64) -> Self {
        let bundled = BUNDLED.iter().any(|(other, _)| *other == name);
        if let Some(golden) = model.golden().filter(|_| bundled) {
            let samples = golden.samples.min(BUNDLED_SAMPLES);
            let cut = |values: &&[f32]| values[..values.len() / golden.samples * samples].to_vec();
            let inputs = golden.inputs.iter().map(cut).collect();
            return Self { name, samples, inputs, model };
        }
        let mut noise = Noise::new(seed);
        // The last sample is of values next to nothing, where a CPU that flushes denormals shows.
        let input = |len: usize, noise: &mut Noise| {
            let mut values = noise.values(len * (SAMPLES - 1));
            values.extend(noise.tiny(len));
            values
        };
        let inputs = model.inputs().map(|(_, shape)| input(shape.len(), &mut noise)).collect();
        Self { name, samples: SAMPLES, inputs, model }
    }

    /// The highest order of its binary layers; 1 without any.
    pub(super) fn orders(&self) -> usize {
        let quantizers = self.model.graph().nodes.iter().filter_map(|node| node.op.quantizer());
        quantizers.map(|quantizer| quantizer.order).max().unwrap_or(1)
    }

    /// The digest of all answers, at all orders.
    pub(super) fn digest(&self, isa: Isa, threads: &Threads) -> Result<[u8; 32], Error> {
        let mut all = Sha256::new_with_prefix(&self.name);
        let mut session = self.session(&self.model, isa, threads)?;
        for order in 1..=self.orders() {
            for output in self.answers(&mut session, order)? {
                output.iter().for_each(|value| all.update(value.to_bits().to_le_bytes()));
            }
        }
        Ok(all.finalize().into())
    }

    pub(super) fn session(&self, model: &Model, isa: Isa, threads: &Threads) -> Result<Session, Error> {
        Session::new(model, SessionOptions::new().isa(isa).threads(threads.clone()).batch(self.samples))
    }

    /// The values of each output for all samples.
    pub(super) fn answers(&self, session: &mut Session, order: usize) -> Result<Vec<Vec<f32>>, Error> {
        session.set_order(Order::new(order)?);
        let inputs: Vec<Values<'_>> = self.inputs.iter().map(|values| Values::F32(values)).collect();
        let mut outputs: Vec<Vec<f32>> =
            session.output_lens().iter().map(|len| vec![0.0; self.samples * len]).collect();
        session.run_many(&inputs, &mut outputs.iter_mut().map(|output| &mut output[..]).collect::<Vec<_>>())?;
        Ok(outputs)
    }
}
