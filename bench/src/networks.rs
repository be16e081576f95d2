//! Networks with random weights, shaped as in the literature: what the engine is measured on beside the trained ones.
//!
//! Speed does not depend on what the weights are, so they are drawn from a fixed seed, the same ones at every order. Batch norms are
//! affine nodes, and a convolution is followed by its norm, activation and shortcut, pooling last, so that the plan makes
//! them its epilogue.

mod draft;
mod lenet5;
mod quicknet;
mod resnet18;
mod vgg_small;

use clap::ValueEnum;
use draft::{Draft, Ends};
use horq::{Builder, Error, ScaleMode};

/// A network that this program can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// LeNet-5 in Caffe's form, 28x28x1
    #[value(name = "lenet5")]
    Lenet5,
    /// VGG-small for CIFAR-10, 32x32x3
    #[value(name = "vgg-small")]
    VggSmall,
    /// The same with its first and last layer in 8 bits
    #[value(name = "vgg-small-int8")]
    VggSmallInt8,
    /// Bi-Real-Net-18, 224x224x3
    #[value(name = "bireal18")]
    Bireal18,
    /// The same with its first layer, shortcuts and classifier in 8 bits
    #[value(name = "bireal18-int8")]
    Bireal18Int8,
    /// Bi-Real-Net-18 with ReActNet's shifts and PReLUs, 224x224x3
    #[value(name = "react18")]
    React18,
    /// QuickNet-small, 224x224x3
    #[value(name = "quicknet-small")]
    QuicknetSmall,
}

impl Network {
    /// Its name on the command line and in records.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no network is hidden");
        value.get_name().to_owned()
    }

    /// The network with binary layers of that order and scale mode, and the name of its output.
    ///
    /// # Errors
    /// If the order is not one that the format holds.
    pub(crate) fn build(self, order: usize, mode: ScaleMode) -> Result<(Builder, String), Error> {
        let ends = match self {
            Self::VggSmallInt8 | Self::Bireal18Int8 => Ends::Int8,
            _ => Ends::Float,
        };
        let draft = |shape| Draft::new(shape, order, mode, ends);
        let draft = match self {
            Self::Lenet5 => lenet5::draw(draft(lenet5::INPUT)),
            Self::VggSmall | Self::VggSmallInt8 => vgg_small::draw(draft(vgg_small::INPUT)),
            Self::Bireal18 | Self::Bireal18Int8 => resnet18::draw(draft(resnet18::INPUT), resnet18::Activation::None),
            Self::React18 => resnet18::draw(draft(resnet18::INPUT), resnet18::Activation::ShiftedPrelu),
            Self::QuicknetSmall => quicknet::draw(draft(quicknet::INPUT)),
        }?;
        Ok(draft.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Numbers;
    use horq::graph::Shape;
    use horq::{Model, Order, Session, SessionOptions};

    fn model(network: Network, order: usize, mode: ScaleMode) -> Model {
        let (builder, output) = network.build(order, mode).unwrap();
        Model::from_bytes(&builder.to_bytes(&output).unwrap()).unwrap()
    }

    fn answer(model: &Model, order: usize) -> Vec<f32> {
        let mut session = Session::new(model, SessionOptions::new().order(Order::new(order).unwrap())).unwrap();
        let input = Numbers::new(3).floats(session.input_len());
        let mut output = vec![0.0; session.output_len()];
        session.run(&input, &mut output).unwrap();
        output
    }

    /// Each order adds planes, so answers differ, and a model made for order K' is the same network as one of order K > K'.
    fn runs_at_every_order(network: Network, input: Shape, classes: usize, mode: ScaleMode) {
        let highest = model(network, 4, mode);
        assert_eq!((highest.input_shape(), highest.output_shape()), (input, Shape::Flat(classes)));
        let mut answers: Vec<Vec<f32>> = Vec::new();
        for order in 1..=4 {
            let output = answer(&highest, order);
            assert!(output.iter().any(|x| x.abs() > 1e-3) && output.iter().all(|x| x.abs() < 1e4), "{output:?}");
            assert!(!answers.contains(&output), "{network:?} {}: order {order} changed nothing", mode.name());
            answers.push(output);
        }
        assert_eq!(answer(&model(network, 2, mode), 2), answers[1], "{network:?} {}", mode.name());
    }

    const PHOTO: Shape = Shape::Image { height: 224, width: 224, channels: 3 };

    #[test]
    fn lenet5_runs_at_every_order_and_mode() {
        for mode in ScaleMode::ALL {
            runs_at_every_order(Network::Lenet5, Shape::Image { height: 28, width: 28, channels: 1 }, 10, mode);
        }
    }

    #[test]
    fn vgg_small_runs_at_every_order() {
        let input = Shape::Image { height: 32, width: 32, channels: 3 };
        runs_at_every_order(Network::VggSmall, input, 10, ScaleMode::Fixed);
    }

    #[test]
    fn bireal18_runs_at_every_order() {
        runs_at_every_order(Network::Bireal18, PHOTO, 1000, ScaleMode::Image);
    }

    #[test]
    fn networks_with_8_bit_ends_run_at_every_order() {
        let input = Shape::Image { height: 32, width: 32, channels: 3 };
        runs_at_every_order(Network::VggSmallInt8, input, 10, ScaleMode::Fixed);
        runs_at_every_order(Network::Bireal18Int8, PHOTO, 1000, ScaleMode::Fixed);
    }

    #[test]
    fn react18_runs_at_every_order() {
        runs_at_every_order(Network::React18, PHOTO, 1000, ScaleMode::Fixed);
    }

    #[test]
    fn quicknet_small_runs_at_every_order() {
        runs_at_every_order(Network::QuicknetSmall, PHOTO, 1000, ScaleMode::Fixed);
    }

    /// What each kernel took into its epilogue, pools behind binary convolutions too. Were a node left over, it would be a layer of
    /// its own.
    #[test]
    fn the_plan_leaves_no_elementwise_layer_behind_a_convolution() {
        for (network, layers) in
            [(Network::Lenet5, 5), (Network::VggSmall, 7), (Network::Bireal18, 26), (Network::QuicknetSmall, 30)]
        {
            let session = Session::new(&model(network, 1, ScaleMode::Fixed), SessionOptions::new()).unwrap();
            let kinds: Vec<&str> = session.profile().iter().map(|layer| layer.op).collect();
            let elementwise = ["affine", "relu", "prelu", "add"];
            assert!(kinds.iter().all(|kind| !elementwise.contains(kind)), "{network:?}: {kinds:?}");
            assert_eq!(kinds.len(), layers, "{network:?}: {kinds:?}");
        }
    }

    #[test]
    fn products_are_those_of_the_literature() {
        let macs = |network| {
            let session = Session::new(&model(network, 1, ScaleMode::None), SessionOptions::new()).unwrap();
            let sum = |f: &dyn Fn(&horq::LayerProfile) -> u64| session.profile().iter().map(f).sum::<u64>();
            (sum(&|layer| layer.macs.bit), sum(&|layer| layer.macs.float))
        };
        assert_eq!(macs(Network::VggSmall), (603_979_776, 3_538_944 + 81_920));
        // The stem, three 1x1 shortcuts and the classifier are float: 1.68e9 and 1.38e8, as Bi-Real-Net's section 4 counts.
        let floats = 112 * 112 * 147 * 64 + 3 * 28 * 28 * 64 * 128 + 512_000;
        assert_eq!(macs(Network::Bireal18), (1_676_279_808, floats));
    }
}
