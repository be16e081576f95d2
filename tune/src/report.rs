//! What tuning found.

use horq::Points;

use crate::Orders;

/// A mixture, measured and judged as a whole network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// The order of each binary layer.
    pub orders: Orders,
    /// Microseconds of a sample alone.
    pub microseconds: f64,
    /// What the additive model said of it.
    pub predicted: f64,
    /// The share of samples that are right: by the labels, or without them by the highest orders.
    pub accuracy: f64,
    /// Cross-entropy with the labels, or without them the divergence from the highest orders, in nats.
    pub loss: f64,
    /// Whether no other candidate is at least as fast and as good.
    pub is_on_front: bool,
    /// Whether all layers run at one order, or at their highest where that is lower.
    pub is_uniform: bool,
}

/// A pair of points that answers together, as its outputs on the calibration data say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CascadeFigures {
    /// The place of the low point's candidate.
    pub low: usize,
    /// The place of the high point's.
    pub high: usize,
    /// The least margin that stands.
    pub margin: f64,
    /// The share of samples that run again.
    pub share: f64,
    /// Their accuracy together.
    pub accuracy: f64,
    /// The mean microseconds of a sample.
    pub microseconds: f64,
}

/// What tuning found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The binary layers and their highest orders, in the order of execution.
    pub layers: Vec<(String, usize)>,
    /// For each layer and order what it adds to time and loss beside its highest order, the others at theirs.
    pub table: Vec<Vec<[f64; 2]>>,
    /// All mixtures that were measured, from the fastest to the slowest.
    pub candidates: Vec<Candidate>,
    /// The cascades that were looked at: each two of the front, at some shares.
    pub cascades: Vec<CascadeFigures>,
    /// What goes into the file.
    pub points: Points,
    /// Samples that candidates were judged on.
    pub samples: usize,
    /// Whether there were labels.
    pub has_labels: bool,
}

impl Report {
    /// The error of the additive model's times over all candidates: the mean and the largest of |predicted / measured - 1|.
    pub fn additive_error(&self) -> [f64; 2] {
        let errors = self.candidates.iter().map(|one| (one.predicted / one.microseconds - 1.0).abs());
        let count = self.candidates.len().max(1) as f64;
        [errors.clone().sum::<f64>() / count, errors.fold(0.0, f64::max)]
    }
}
