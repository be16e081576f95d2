//! What a caller passes.

use crate::escape::escaped;
use std::time::Duration;

/// What is wrong with an argument or with the values of a run.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Source values of the wrong length.
    #[error("node `{}` takes {expected} values of `{}`, but {found} were given", escaped(node), escaped(source_name))]
    SourceLength {
        /// The node.
        node: String,
        /// Which source.
        source_name: String,
        /// How many it takes.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// Source values of the wrong type.
    #[error(
        "node `{}` takes {expected} values of `{}`, but {found} values were given",
        escaped(node),
        escaped(source_name)
    )]
    SourceKind {
        /// The node.
        node: String,
        /// Which source.
        source_name: String,
        /// The type of an element that it takes.
        expected: &'static str,
        /// The type that was given.
        found: &'static str,
    },
    /// Golden values that are no whole number of samples, or of another number than those of the first input.
    #[error(
        "the golden values of `{}` are {found}, but {samples} samples of {sample} are {}; give every input and output the same whole number of samples, at least one",
        escaped(value),
        samples.saturating_mul(*sample)
    )]
    GoldenLength {
        /// The input or output.
        value: String,
        /// How many values were given.
        found: usize,
        /// Values of one sample.
        sample: usize,
        /// Samples that the first input's values make, at least 1.
        samples: usize,
    },
    /// Another number of slices than the model has inputs or outputs.
    #[error(
        "{found} {kind}s were given, but the model has {expected}: {}; give one for each, in that order",
        escaped(names)
    )]
    ValueCount {
        /// `input`, `output`, `golden input` or `golden output`.
        kind: &'static str,
        /// How many were given.
        found: usize,
        /// How many the model has.
        expected: usize,
        /// Their names.
        names: String,
    },
    /// Another number of shapes than the model has inputs.
    #[error("{found} shapes were given, but the model has {expected} inputs; give one for each")]
    ShapeCount {
        /// How many were given.
        found: usize,
        /// How many inputs the model has.
        expected: usize,
    },
    /// A batch of no samples.
    #[error("a session's batch must be at least 1; it is the most samples of one run")]
    Batch,
    /// A pool of no sessions.
    #[error("a session pool needs at least 1 session; make as many as requests should run at the same time")]
    NoSessions,
    /// A pool of no threads.
    #[error("a pool needs at least 1 thread; `Threads::Inline` uses the caller's")]
    NoThreads,
    /// An input that is no whole number of samples, or more of them than the batch.
    #[error(
        "the input `{}` has {found} values, but must be 1 to {batch} samples of {sample}; pass whole samples, or make the session with a larger batch",
        escaped(input)
    )]
    InputLength {
        /// The input.
        input: String,
        /// Values that were given.
        found: usize,
        /// Values of one sample.
        sample: usize,
        /// The most samples of one run.
        batch: usize,
    },
    /// Two inputs of different numbers of samples.
    #[error(
        "the input `{}` has {samples} samples, but `{}` has {expected}; pass as many of each",
        escaped(input),
        escaped(other)
    )]
    SamplesDiffer {
        /// The input.
        input: String,
        /// Its samples.
        samples: usize,
        /// The first input.
        other: String,
        /// Samples of the first input.
        expected: usize,
    },
    /// An output whose length does not fit the input's.
    #[error(
        "the output `{}` has {found} values, but {samples} samples of {sample} need {expected}; pass a slice of {expected}",
        escaped(output)
    )]
    OutputLength {
        /// The output.
        output: String,
        /// Values that the slice has.
        found: usize,
        /// Values that the input's samples need.
        expected: usize,
        /// Samples of the input.
        samples: usize,
        /// Values of one sample's output.
        sample: usize,
    },
    /// The caller's input holds NaN or infinity.
    #[error(
        "value {index} of the input `{}` (in sample {sample}) is {value}; every value must be finite, so check what prepares the input",
        escaped(input)
    )]
    InputNotFinite {
        /// The name of the graph's input.
        input: String,
        /// The value's place, counted from the first value of the first sample.
        index: usize,
        /// The sample that has it, counted from 0.
        sample: usize,
        /// The value.
        value: f32,
    },
    /// A value became NaN or infinite inside the network.
    #[error(
        "in sample {sample}, {} layer `{}` is NaN or infinite, or its scale overflows; the input is too large for this model, so check how it is prepared",
        place(*index),
        escaped(layer)
    )]
    LayerNotFinite {
        /// The binary layer whose input it is, or the output.
        layer: String,
        /// The sample, counted from 0.
        sample: usize,
        /// The value's place in the layer's input, or in the output, of its sample; none where the value itself is kept nowhere,
        /// as a mean is, or a value that the layer before hands over as signs.
        index: Option<usize>,
    },
    /// A value that an embedding has no row for.
    #[error(
        "in sample {sample}, value {index} that the embedding `{}` reads is {value}; it must be a whole number from 0 to {}, so check how the input is prepared",
        escaped(layer),
        rows - 1
    )]
    EmbeddingRow {
        /// The layer.
        layer: String,
        /// The sample, counted from 0.
        sample: usize,
        /// The value's place in the layer's input, of its sample.
        index: usize,
        /// The value.
        value: f32,
        /// Rows of the table.
        rows: usize,
    },
    /// An order that no layer can run at.
    #[error("an order must be 1 to {limit}, not {order}")]
    OrderRange {
        /// The order asked for.
        order: usize,
        /// The highest order.
        limit: usize,
    },
    /// An order that a layer cannot run at.
    #[error(
        "layer `{}` can run at orders 1 to {limit}, not {order}; export the model with a higher order if you need it",
        escaped(layer)
    )]
    LayerOrder {
        /// The layer.
        layer: String,
        /// The order asked for.
        order: usize,
        /// The highest order that the model holds for it.
        limit: usize,
    },
    /// No operating point of that name.
    #[error(
        "the model has no operating point `{}`; {}",
        escaped(point),
        if known.is_empty() { "it has none at all, so run `horq tune` on it".into() } else { format!("its points are: {}", escaped(known)) }
    )]
    UnknownPoint {
        /// The name asked for.
        point: String,
        /// The names that there are.
        known: String,
    },
    /// No cascade at that place.
    #[error("the model has no cascade {cascade}; it has {count}, counted from 0")]
    UnknownCascade {
        /// The place asked for.
        cascade: usize,
        /// Cascades of the model.
        count: usize,
    },
    /// A call that chooses among operating points, of a model without any.
    #[error("the model has no operating points to choose from; run `horq tune` on it")]
    NoPoints,
    /// A run within a deadline that has none.
    #[error("the run has no deadline; give it one, or make the session with a latency target")]
    NoDeadline,
    /// A run within a deadline before the times of the points are known.
    #[error(
        "how long the operating points take is not known; call `Session::calibrate` first, or make the session with a latency target"
    )]
    NotCalibrated,
    /// A latency target that no operating point reaches.
    #[error(
        "no operating point answers within {target:.1?}: the fastest, `{}`, takes {fastest:.1?} on this machine; give it more time, or tune the model for less",
        escaped(point)
    )]
    LatencyTarget {
        /// The target.
        target: Duration,
        /// The fastest point.
        point: String,
        /// How long it takes.
        fastest: Duration,
    },
    /// No binary layer of that name.
    #[error("the model has no binary layer `{}`; its binary layers are: {}", escaped(layer), escaped(known))]
    UnknownLayer {
        /// The name asked for.
        layer: String,
        /// The names that there are.
        known: String,
    },
}

impl InputError {
    /// The sample whose values are at fault; see [`Error::sample`](crate::Error::sample).
    pub const fn sample(&self) -> Option<usize> {
        match self {
            Self::InputNotFinite { sample, .. }
            | Self::LayerNotFinite { sample, .. }
            | Self::EmbeddingRow { sample, .. } => Some(*sample),
            _ => None,
        }
    }
}

/// Which value it is.
fn place(index: Option<usize>) -> String {
    index.map_or_else(|| "a value of".into(), |index| format!("value {index} of"))
}
