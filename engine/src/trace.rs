//! Traces that Perfetto and Chrome show.

use crate::observe::{Observer, Span};
use horq_kernels::Stage;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

/// Keeps the spans of a session's runs, and writes them as a trace: one track for each thread, with runs, layers and stages in each other.
///
/// ```
/// use horq::graph::Shape;
/// use horq::ops::Relu;
/// use horq::{Builder, Model, Session, SessionOptions, Trace};
/// use std::sync::Arc;
///
/// let file = Builder::new("x", Shape::Flat(2)).add("y", &["x"], Relu)?.to_bytes("y")?;
/// let trace = Arc::new(Trace::new());
/// let mut session = Session::new(&Model::from_bytes(&file)?, SessionOptions::new().observer(trace.clone()))?;
/// session.run(&[1.0, -2.0], &mut [0.0; 2])?;
/// assert!(trace.to_json().contains("traceEvents")); // a file for https://ui.perfetto.dev
/// # Ok::<(), horq::Error>(())
/// ```
#[derive(Debug)]
pub struct Trace {
    origin: Instant,
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<Event>,
    dropped: usize,
    /// The number of each thread in the trace.
    threads: HashMap<ThreadId, usize>,
    /// The threads' names.
    names: Vec<String>,
    /// The name of each layer.
    layers: Vec<String>,
}

#[derive(Debug)]
struct Event {
    thread: usize,
    begun: Instant,
    at: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Run { samples: usize },
    Layer { index: usize, op: &'static str, order: Option<usize>, samples: usize },
    Stage { layer: usize, stage: Stage },
}

/// Spans that a trace keeps: some 100 MB of them, which viewers can still show.
const LIMIT: usize = 1 << 20;

impl Trace {
    /// An empty trace, whose time starts now. It keeps about a million spans.
    pub fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    /// A trace that keeps at most so many spans; it counts what comes after them.
    pub fn with_limit(limit: usize) -> Self {
        Self { origin: Instant::now(), limit, kept: Mutex::default() }
    }

    /// How many spans it holds.
    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many spans came after the limit and were not kept.
    pub fn dropped(&self) -> usize {
        self.lock().dropped
    }

    /// The trace in Chrome's event format, one complete event (`"ph": "X"`) for each span, with times in microseconds since the trace was
    /// made. Perfetto (<https://ui.perfetto.dev>) and `chrome://tracing` open it.
    pub fn to_json(&self) -> String {
        let kept = self.lock();
        let nanoseconds = |at: Instant| at.saturating_duration_since(self.origin).as_nanos();
        // Whole nanoseconds, so that no rounding lets a span end behind the one that it lies in.
        let micros = |ns: u128| ns as f64 / 1000.0;
        let mut events: Vec<serde_json::Value> = Vec::with_capacity(kept.events.len() + kept.names.len());
        for (thread, name) in kept.names.iter().enumerate() {
            events.push(json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": thread, "args": { "name": name } }));
        }
        for Event { thread, begun, at, what } in &kept.events {
            let (begun, at) = (nanoseconds(*begun), nanoseconds(*at));
            let layer = |index: usize| kept.layers.get(index).map_or("", String::as_str);
            let (kind, name, args) = match *what {
                What::Run { samples } => ("run", "run", json!({ "samples": samples })),
                What::Layer { index, op, order, samples } => {
                    ("layer", layer(index), json!({ "index": index, "op": op, "order": order, "samples": samples }))
                }
                What::Stage { layer: index, stage } => ("stage", stage.name(), json!({ "layer": layer(index) })),
            };
            events.push(json!({
                "ph": "X", "cat": kind, "name": name, "pid": 1, "tid": thread, "ts": micros(begun),
                "dur": micros(at - begun), "args": args,
            }));
        }
        let document = json!({
            "traceEvents": events, "displayTimeUnit": "ns", "otherData": { "producer": "horq", "dropped": kept.dropped },
        });
        document.to_string()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Trace {
    fn end(&self, span: Span<'_>, begun: Instant, at: Instant) {
        let thread = thread::current();
        let mut kept = self.lock();
        let kept = &mut *kept;
        if kept.events.len() >= self.limit {
            kept.dropped += 1;
            return;
        }
        let what = match span {
            Span::Run { samples } => What::Run { samples },
            Span::Layer { index, name, op, order, samples } => {
                if kept.layers.len() <= index {
                    kept.layers.resize(index + 1, String::new());
                }
                if kept.layers[index].is_empty() {
                    kept.layers[index] = name.into();
                }
                What::Layer { index, op, order, samples }
            }
            Span::Stage { layer, stage } => What::Stage { layer, stage },
        };
        let number = *kept.threads.entry(thread.id()).or_insert_with(|| {
            let number = kept.names.len();
            kept.names.push(thread.name().map_or_else(|| format!("thread {number}"), str::to_owned));
            number
        });
        kept.events.push(Event { thread: number, begun, at, what });
    }
}
