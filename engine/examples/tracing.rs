//! Hands the spans of runs to the crate `tracing`: a span for each run and, in it, one for each layer. `tracing-subscriber`,
//! `tracing-opentelemetry` and others then do with them what they do with a service's other spans.
//!
//!     cargo run -p horq --example tracing

use horq::graph::Shape;
use horq::ops::{Affine, Relu};
use horq::{Builder, Error, Model, Observer, Session, SessionOptions, Span};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tracing::span::EnteredSpan;

/// Enters a span of `tracing` for each run and layer.
#[derive(Debug)]
struct ToTracing;

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<EnteredSpan>> = const { RefCell::new(Vec::new()) };
}

impl Observer for ToTracing {
    fn begin(&self, span: Span<'_>, _: Instant) {
        let span = match span {
            Span::Run { samples } => tracing::info_span!("run", samples),
            Span::Layer { name, op, samples, .. } => tracing::debug_span!("layer", name, op, samples),
            _ => return,
        };
        ENTERED.with_borrow_mut(|entered| entered.push(span.entered()));
    }

    fn end(&self, span: Span<'_>, _: Instant, _: Instant) {
        if matches!(span, Span::Run { .. } | Span::Layer { .. }) {
            ENTERED.with_borrow_mut(|entered| drop(entered.pop()));
        }
    }
}

/// Prints spans as they come, in place of a subscriber of your service.
struct Printing(AtomicU64);

impl tracing::Subscriber for Printing {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        println!("{}: {:?}", span.metadata().name(), span.values());
        tracing::span::Id::from_u64(self.0.fetch_add(1, Relaxed) + 1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, span: &tracing::span::Id) {
        println!("  enter {}", span.into_u64());
    }
    fn exit(&self, span: &tracing::span::Id) {
        println!("  exit {}", span.into_u64());
    }
}

fn main() -> Result<(), Error> {
    let mut builder = Builder::new("x", Shape::Flat(2));
    builder.add("scaled", &["x"], Affine::new(&[2.0; 2], &[0.5; 2]))?.add("y", &["scaled"], Relu)?;
    let model = Model::from_bytes(&builder.to_bytes("y")?)?;
    let mut session = Session::new(&model, SessionOptions::new().observer(Arc::new(ToTracing)))?;
    tracing::subscriber::with_default(Printing(AtomicU64::new(0)), || session.run(&[1.0, -2.0], &mut [0.0; 2]))
}
