//! Who hears when a run, a layer and a stage begin and end.

use horq_kernels::{Stage, StageObserver};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A part of a run. Spans nest: stages lie in their layer, layers in their run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Span<'a> {
    /// A call of [`Session::run`](crate::Session::run), on the calling thread.
    Run {
        /// How many samples it is of.
        samples: usize,
    },
    /// A layer for some samples: all of a run, or as many as go through the layers together. It is on the thread that hands its tasks
    /// out: the caller's, one of a pool, or a helper's where samples run side by side.
    Layer {
        /// Its number in [`Session::profile`](crate::Session::profile).
        index: usize,
        /// The name of the node that it computes.
        name: &'a str,
        /// Its operation, as the file names it.
        op: &'static str,
        /// The order that it runs at; none for what is no binary layer.
        order: Option<usize>,
        /// How many samples it is of.
        samples: usize,
    },
    /// A stage of a layer, or a part of one, on the thread that works on it.
    Stage {
        /// The layer's number in [`Session::profile`](crate::Session::profile).
        layer: usize,
        /// Which.
        stage: Stage,
    },
}

/// Hears of each span of a session's runs, on the thread that the span is of: for traces and metrics. [`Trace`](crate::Trace) is one;
/// `engine/examples/tracing.rs` hands the spans to the crate `tracing`.
///
/// A session with an observer measures as one with [`SessionOptions::profile`](crate::SessionOptions::profile), and the times are the same
/// readings of the clock: the layers of the profile are the sums of their spans. Without an observer nothing is called. Calls come within
/// a run, from several threads at once where it has some, so they should be short; one that panics ends the run with its panic.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A span begins.
    fn begin(&self, span: Span<'_>, at: Instant) {
        let _ = (span, at);
    }

    /// The span that began at `begun` ends, also where the run fails within it.
    fn end(&self, span: Span<'_>, begun: Instant, at: Instant);
}

/// Tells of the stages of one layer.
#[derive(Debug)]
pub(crate) struct OfLayer {
    pub(crate) layer: usize,
    pub(crate) observer: Arc<dyn Observer>,
}

impl StageObserver for OfLayer {
    fn begin(&self, stage: Stage, at: Instant) {
        self.observer.begin(Span::Stage { layer: self.layer, stage }, at);
    }

    fn end(&self, stage: Stage, begun: Instant, at: Instant) {
        self.observer.end(Span::Stage { layer: self.layer, stage }, begun, at);
    }
}

/// A span that ends when it is dropped; `done` gets its nanoseconds.
pub(crate) struct Open<'a, F: FnMut(u64)> {
    span: Span<'a>,
    begun: Instant,
    observer: Option<&'a dyn Observer>,
    done: F,
}

impl<'a, F: FnMut(u64)> Open<'a, F> {
    pub(crate) fn new(span: Span<'a>, observer: Option<&'a dyn Observer>, done: F) -> Self {
        let begun = Instant::now();
        if let Some(observer) = observer {
            observer.begin(span, begun);
        }
        Self { span, begun, observer, done }
    }
}

impl<F: FnMut(u64)> Drop for Open<'_, F> {
    fn drop(&mut self) {
        let at = Instant::now();
        (self.done)(at.duration_since(self.begun).as_nanos() as u64);
        if let Some(observer) = self.observer {
            observer.end(self.span, self.begun, at);
        }
    }
}
