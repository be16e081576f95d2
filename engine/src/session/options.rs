//! How a session is made.

use crate::{Observer, Order, Threads};
use horq_kernels::Isa;
use std::sync::Arc;
use std::time::Duration;

/// How a session is made; the default is one sample at a time on the caller's thread with the best kernels of this CPU.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The most samples of one run; 1 by default. Memory is taken for those that go through the layers together, some half a
    /// MiB of values, not for all.
    pub batch: usize,
    /// The instruction set of all kernels; by default the one that `HORQ_ISA` names, else the best of this CPU.
    pub isa: Option<Isa>,
    /// Who runs the work; the caller's thread by default.
    pub threads: Threads,
    /// Whether to measure where the time goes; costs two readings of the clock a stage. Off by default.
    pub profile: bool,
    /// The order of all binary layers, as [`crate::Session::set_order`]; by default each layer's highest.
    pub order: Option<Order>,
    /// The model's operating point to begin with, as [`crate::Session::set_point`]; it counts more than [`Self::order`]. By default
    /// none: layers run at their highest orders, also where the model has a default point, for which
    /// [`crate::DEFAULT_POINT`] asks.
    pub point: Option<String>,
    /// How long after it arrives a request is to be answered by [`crate::Session::run_within`]. The session then calibrates when it is
    /// made, for 0.2 s or for two runs of each point and size, whichever is longer, and is refused where the fastest point takes
    /// longer than the target. None by default.
    pub latency_target: Option<Duration>,
    /// Who hears when runs, layers and stages begin and end; a session with an observer measures as with [`Self::profile`]. None by default.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            batch: 1,
            isa: None,
            threads: Threads::Inline,
            profile: false,
            order: None,
            point: None,
            latency_target: None,
            observer: None,
        }
    }
}

impl SessionOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Self::batch`].
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// Sets [`Self::isa`].
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// Sets [`Self::threads`].
    pub fn threads(self, threads: Threads) -> Self {
        Self { threads, ..self }
    }

    /// Sets [`Self::profile`].
    pub fn profile(self, profile: bool) -> Self {
        Self { profile, ..self }
    }

    /// Sets [`Self::order`].
    pub fn order(self, order: Order) -> Self {
        Self { order: Some(order), ..self }
    }

    /// Sets [`Self::point`].
    pub fn point(self, point: &str) -> Self {
        Self { point: Some(point.into()), ..self }
    }

    /// Sets [`Self::latency_target`].
    pub fn latency_target(self, target: Duration) -> Self {
        Self { latency_target: Some(target), ..self }
    }

    /// Sets [`Self::observer`].
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }
}
