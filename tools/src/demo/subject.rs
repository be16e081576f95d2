//! What a demonstration shows: a bundled network and pictures for it.

use crate::cli;
use crate::digits::{self, SIZE};
use crate::failure::Failure;
use crate::input::{self, Arrangement, Layout};
use crate::model::classes;
use horq::Model;
use horq::graph::Shape;
use horq_probe::display::{self, columns, padded};
use std::path::Path;

/// LeNet-5 and an MLP, trained on MNIST, and VGG-small, trained on CIFAR-10; their cards lie beside the files in `models/`.
const LENET: &[u8] = include_bytes!("../../models/lenet5.horq");
const MLP: &[u8] = include_bytes!("../../models/mlp.horq");
const VGG: &[u8] = include_bytes!("../../models/vgg-small.horq");

/// Pictures of a batch that are shown at a time.
const SHOWN: usize = 10;
/// Columns of a line below a picture but for the name: the order, the confidence and the time.
const FIGURES: usize = 22;

/// Opens a bundled model.
fn bundled(bytes: &[u8]) -> Result<Model, Failure> {
    Model::from_bytes(bytes).map_err(|error| Failure::Failed(format!("the bundled model: {error}")))
}

/// One picture and what it shows.
pub(super) struct Picture {
    /// Grey pixels, for the terminal.
    pub(super) grey: Vec<u8>,
    /// What the network is fed: values from 0 to 255.
    pub(super) input: Vec<f32>,
    pub(super) class: usize,
}

/// A network and pictures for it.
pub(super) struct Subject {
    pub(super) model: Model,
    pub(super) title: &'static str,
    /// Whence the true class is known.
    pub(super) told: &'static str,
    pub(super) classes: Vec<String>,
    /// Pixels of a side.
    pub(super) size: usize,
    /// Pixels left out on each side of a picture.
    pub(super) margin: usize,
    pub(super) pictures: Vec<Picture>,
    /// What the user may do next.
    pub(super) next: String,
}

impl Subject {
    /// What the arguments ask for.
    pub(super) fn of(args: &cli::Demo) -> Result<Self, Failure> {
        match (&args.batch, args.net) {
            (None, net) => Self::digits(net.unwrap_or(cli::DigitNet::Lenet5), args.seed),
            (Some(path), None) => Self::objects(path, args.seed),
            (Some(_), Some(_)) => {
                Err(Failure::Usage("--net names a network for digits; leave it out to show a CIFAR-10 batch".into()))
            }
        }
    }

    /// Digits that the program draws in the hand of that seed.
    pub(super) fn digits(net: cli::DigitNet, seed: u64) -> Result<Self, Failure> {
        let (bytes, title) = match net {
            cli::DigitNet::Lenet5 => (LENET, "LeNet-5"),
            cli::DigitNet::Mlp => (MLP, "An MLP with three binary layers"),
        };
        let picture = |class| {
            let grey = digits::draw(class, seed).to_vec();
            Picture { input: grey.iter().map(|&ink| ink.into()).collect(), grey, class }
        };
        Ok(Self {
            model: bundled(bytes)?,
            title,
            told: "drawn",
            classes: (0..10).map(|digit| digit.to_string()).collect(),
            size: SIZE,
            margin: 2, // the ink stays inside a box of 20 pixels about the middle
            pictures: (0..10).map(picture).collect(),
            next: format!("`horq demo --seed {}` draws in another hand.", seed.wrapping_add(1)),
        })
    }

    /// Pictures of a CIFAR-10 batch; the seed says which ones.
    fn objects(path: &Path, seed: u64) -> Result<Self, Failure> {
        let array = input::read(path)?;
        let shape = Shape::Image { height: 32, width: 32, channels: 3 };
        let Some(labels) = &array.labels else {
            return Err(Failure::file(path, "is no CIFAR-10 batch; name a file such as test_batch.bin"));
        };
        let layout = Layout::fit(&array, shape, Arrangement::Nchw).map_err(|message| Failure::file(path, message))?;
        let model = bundled(VGG)?;
        let named = |class: usize| classes(&model).map_or(class.to_string(), |names| display::name(names[class]));
        let classes = (0..model.output_shape().len()).map(named).collect();
        let shown = labels.len().min(SHOWN);
        let first = (seed.wrapping_sub(1) as usize).wrapping_mul(shown) % labels.len();
        let picture = |place: usize| {
            let index = (first + place) % labels.len();
            let mut input = vec![0.0; 3 * 32 * 32];
            layout.copy(&array, index, &mut input);
            // Luma of ITU-R BT.601.
            let grey = |pixel: &[f32]| (0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]).round() as u8;
            Picture { grey: input.chunks_exact(3).map(grey).collect(), input, class: labels[index].into() }
        };
        Ok(Self {
            model,
            title: "VGG-small at half width",
            told: "labelled",
            classes,
            size: 32,
            margin: 0,
            pictures: (0..shown).map(picture).collect(),
            next: format!("`--seed {}` shows others.", seed.wrapping_add(1)),
        })
    }

    /// Columns of a class's name and the mark behind it.
    pub(super) fn name_width(&self) -> usize {
        1 + self.classes.iter().map(|class| columns(class)).max().unwrap_or(0)
    }

    /// Columns of a card: of the picture, or of the lines below it.
    pub(super) fn width(&self) -> usize {
        (self.size - 2 * self.margin).max(FIGURES + self.name_width())
    }

    /// The line above the orders.
    pub(super) fn heading(&self) -> String {
        format!("order {}{:>8}{:>8}", padded("is", self.name_width()), "sure", "time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::top1;
    use crate::model::highest_order;
    use horq::{Order, Session, SessionOptions};

    /// The drawn digits are good enough, and the bundled models whole: they read nearly all of them, in a hundred hands.
    #[test]
    fn the_bundled_models_read_what_is_drawn() {
        for (net, least) in [(cli::DigitNet::Lenet5, 970), (cli::DigitNet::Mlp, 900)] {
            let mut right = vec![[0; 10]; 4];
            for seed in 0..100 {
                let subject = Subject::digits(net, seed).unwrap();
                let mut session = Session::new(&subject.model, SessionOptions::new()).unwrap();
                assert_eq!(highest_order(&subject.model), right.len());
                for picture in &subject.pictures {
                    for (order, right) in (1..).zip(&mut right) {
                        session.set_order(Order::new(order).unwrap());
                        let mut output = [0.0; 10];
                        session.run(&picture.input, &mut output).unwrap();
                        right[picture.class] += usize::from(top1(&output) == picture.class);
                    }
                }
            }
            for (right, order) in right.iter().zip(1..) {
                let all: usize = right.iter().sum();
                let fewest = least / 10 - 10;
                assert!(
                    all >= least && right.iter().all(|&right| right >= fewest),
                    "{net:?}, order {order}: {right:?}"
                );
            }
        }
    }
}
