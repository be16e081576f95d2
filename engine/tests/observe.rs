//! Spans of runs, layers and stages: they nest, they add up to the profile to the nanosecond, and a trace of them is one that viewers read.

mod common;

use common::lenet::lenet;
use common::{Net, isas, keep, options, random, run};
use horq::graph::Shape;
use horq::ops::{Affine, Basis, BinaryConv2d, Exp, Quantizer};
use horq::{Observer, Order, Padding, ScaleMode, Session, SessionOptions, Span, Threads, Trace, Window};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Instant;

/// A thread, whether a span begins there, the span as text, when it began, and when this was.
type Call = (ThreadId, bool, String, Instant, Instant);

/// Keeps what it hears.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Call>>);

impl Observer for Heard {
    fn begin(&self, span: Span<'_>, at: Instant) {
        self.0.lock().unwrap().push((std::thread::current().id(), true, format!("{span:?}"), at, at));
    }

    fn end(&self, span: Span<'_>, begun: Instant, at: Instant) {
        self.0.lock().unwrap().push((std::thread::current().id(), false, format!("{span:?}"), begun, at));
    }
}

/// Wide enough that its layers are cut into tasks.
fn wide() -> Net {
    let window = Window::square(3).with_padding(1);
    let mut net = Net::new(Shape::Image { height: 24, width: 24, channels: 96 });
    for name in ["one", "two"] {
        let weight = keep(random::values(&mut random::rng(2), 96 * 9 * 96));
        let bases = keep(vec![Basis::new(weight, keep(vec![1.0; 96]))]);
        let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
        net = net.then(name, BinaryConv2d::new(window, 96, quantize, bases).pad_value(Padding::ValidTaps));
    }
    net
}

#[test]
fn spans_begin_and_end_in_each_other_on_their_threads() {
    for (net, batch, threads) in
        [(lenet(ScaleMode::Window, 2), 3, 1), (wide(), 1, 3), (wide(), 6, 3), (lenet(ScaleMode::Fixed, 2), 1, 1)]
    {
        let heard = Arc::new(Heard::default());
        let options = options(batch, isas()[0]).threads(Threads::Own(threads)).observer(heard.clone());
        let mut session = Session::new(&net.model(), options).unwrap();
        let input = random::values(&mut random::rng(1), batch * net.input.len());
        run(&mut session, &input);
        run(&mut session, &input[..net.input.len()]);
        let heard = heard.0.lock().unwrap();
        let mut open: Vec<(ThreadId, String, Instant)> = Vec::new();
        for (thread, begins, span, begun, at) in heard.iter() {
            assert!(begun <= at);
            if *begins {
                open.push((*thread, span.clone(), *at));
            } else {
                let place = open.iter().rposition(|(other, ..)| other == thread).expect("a span ends that began");
                assert_eq!(
                    open.remove(place),
                    (*thread, span.clone(), *begun),
                    "the last that began on a thread ends first"
                );
            }
        }
        assert!(open.is_empty(), "{open:?} never ended");
        let count = |kind: &str| heard.iter().filter(|(_, begins, span, ..)| *begins && span.starts_with(kind)).count();
        assert_eq!(count("Run"), 2);
        assert!(count("Layer") >= 2 * session.profile().len() && count("Stage") >= 2 * session.profile().len());
        // The second run is of one sample.
        assert!(heard.iter().any(|(_, _, span, ..)| span.contains("Run { samples: 1 }")));
    }
}

#[test]
fn a_run_that_fails_ends_its_spans() {
    let net = Net::new(Shape::Flat(2)).then("scaled", Affine::new(&[1e30; 2], &[0.0; 2])).then("y", Exp);
    let heard = Arc::new(Heard::default());
    let mut session = Session::new(&net.model(), SessionOptions::new().observer(heard.clone())).unwrap();
    session.run(&[1.0, 2.0], &mut [0.0; 2]).unwrap_err();
    let heard = heard.0.lock().unwrap();
    let begun = heard.iter().filter(|(_, begins, ..)| *begins).count();
    assert!(begun >= 2 && heard.len() == 2 * begun, "{heard:?}");
}

/// An event of a trace.
struct Event {
    kind: String,
    name: String,
    thread: u64,
    begun: u64,
    end: u64,
    layer: Option<String>,
}

fn events(trace: &Trace) -> (Vec<Event>, Value) {
    let document: Value = serde_json::from_str(&trace.to_json()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let nanoseconds = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as u64;
    let all = document["traceEvents"].as_array().unwrap();
    let spans = all.iter().filter(|event| event["ph"] == "X").map(|event| Event {
        kind: text(&event["cat"]),
        name: text(&event["name"]),
        thread: event["tid"].as_u64().unwrap(),
        begun: nanoseconds(&event["ts"]),
        end: nanoseconds(&event["ts"]) + nanoseconds(&event["dur"]),
        layer: event["args"]["layer"].as_str().map(str::to_owned),
    });
    let spans: Vec<Event> = spans.collect();
    let names = all.iter().filter(|event| event["ph"] == "M" && event["name"] == "thread_name").count();
    let threads: std::collections::BTreeSet<u64> = spans.iter().map(|span| span.thread).collect();
    assert_eq!((names, all.len()), (threads.len(), names + spans.len()), "a name for each thread, and nothing else");
    (spans, document)
}

#[test]
fn a_trace_is_valid_and_adds_up_to_the_profile() {
    for (net, batch, threads) in [(lenet(ScaleMode::Image, 2), 2, 1), (wide(), 1, 3), (wide(), 6, 2)] {
        let trace = Arc::new(Trace::new());
        let options = options(batch, isas()[0]).threads(Threads::Own(threads)).observer(trace.clone());
        let mut session = Session::new(&net.model(), options).unwrap();
        let input = random::values(&mut random::rng(1), batch * net.input.len());
        (0..5).for_each(|_| drop(run(&mut session, &input)));
        let (spans, _) = events(&trace);
        assert_eq!((trace.len(), trace.dropped()), (spans.len(), 0));
        let inside = |a: &Event, b: &Event| b.begun <= a.begun && a.end <= b.end;
        let runs: Vec<&Event> = spans.iter().filter(|span| span.kind == "run").collect();
        let layers: Vec<&Event> = spans.iter().filter(|span| span.kind == "layer").collect();
        assert_eq!(runs.len(), 5);
        assert!(layers.iter().all(|layer| runs.iter().filter(|run| inside(layer, run)).count() == 1));
        for stage in spans.iter().filter(|span| span.kind == "stage") {
            let lies_in = |layer: &&&Event| stage.layer.as_deref() == Some(layer.name.as_str()) && inside(stage, layer);
            assert!(layers.iter().any(|layer| lies_in(&layer)), "{} of {:?} lies in no layer", stage.name, stage.layer);
        }
        // On one thread spans lie in each other or apart.
        for (i, a) in spans.iter().enumerate() {
            for b in spans[..i].iter().filter(|b| b.thread == a.thread) {
                assert!(
                    a.end <= b.begun || b.end <= a.begun || inside(a, b) || inside(b, a),
                    "{} and {}",
                    a.name,
                    b.name
                );
            }
        }
        // The same readings of the clock, so the sums are equal to the nanosecond.
        for profile in session.profile() {
            let of_layer = spans.iter().filter(|span| span.kind == "layer" && span.name == profile.name);
            assert_eq!(
                of_layer.map(|span| span.end - span.begun).sum::<u64>(),
                profile.wall_nanoseconds,
                "{}",
                profile.name
            );
            for stage in horq::Stage::ALL {
                let of_stage = spans.iter().filter(|span| {
                    span.kind == "stage" && span.name == stage.name() && span.layer.as_ref() == Some(&profile.name)
                });
                let sum = of_stage.map(|span| span.end - span.begun).sum::<u64>();
                assert_eq!(sum, profile.stage(stage), "{} {}", profile.name, stage.name());
            }
        }
    }
}

#[test]
fn threads_have_tracks_and_names() {
    let (net, trace) = (wide(), Arc::new(Trace::new()));
    let options = SessionOptions::new().batch(12).threads(Threads::Own(3)).observer(trace.clone());
    let mut session = Session::new(&net.model(), options).unwrap();
    let input = random::values(&mut random::rng(1), 12 * net.input.len());
    for _ in 0..50 {
        run(&mut session, &input);
        let (_, document) = events(&trace);
        if document.to_string().contains("\"horq-1\"") {
            return;
        }
    }
    panic!("no helper worked in 50 runs of 12 samples");
}

#[test]
fn a_full_trace_counts_what_it_does_not_keep_and_names_are_escaped() {
    let net = Net::new(Shape::Flat(2)).then("a\"b\\\u{e9}", Exp);
    let trace = Arc::new(Trace::with_limit(4));
    let mut session = Session::new(&net.model(), SessionOptions::new().observer(trace.clone())).unwrap();
    (0..3).for_each(|_| drop(run(&mut session, &[0.5, 0.25])));
    let (spans, document) = events(&trace);
    assert_eq!((spans.len(), trace.len()), (4, 4));
    assert_eq!(document["otherData"]["dropped"].as_u64(), Some(trace.dropped() as u64));
    assert!(trace.dropped() > 0 && !trace.is_empty());
    assert!(spans.iter().any(|span| span.name == "a\"b\\\u{e9}"), "names are exact");
}
