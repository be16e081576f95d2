//! A warm run allocates nothing, and a session does not copy its weights.

mod common;

use common::lenet::{lenet, tuned};
use common::random::MODES;
use common::{Net, isas, options, random, run};
use horq::graph::Shape;
use horq::ops::{
    Add, ArgMax, Basis, BinaryDense, Conv2d, Dense, Embedding, FakeQuantize, Flatten, GlobalAveragePool, GroupNorm,
    LayerNorm, LogSoftmax, Lrn, MatMul, MultiThreshold, Quantizer, RmsNorm, Sign, TopK,
};
use horq::{CancelToken, Model, Order, RunOptions, ScaleMode, Session, SessionOptions, Values};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

/// Counts what the current thread asks of the allocator.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    CALLS.set(CALLS.get() + 1);
    BYTES.set(BYTES.get() + bytes);
}

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0);
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(vec![1u8; 10]));
    assert_eq!(CALLS.get(), before + 2);
}

#[test]
fn ten_thousand_warm_runs_allocate_nothing() {
    for mode in MODES {
        for profile in [false, true] {
            let net = lenet(mode, 2);
            let mut session = Session::new(&net.model(), SessionOptions::new().profile(profile)).unwrap();
            let input = random::values(&mut random::rng(1), session.input_len());
            let mut output = vec![0.0; session.output_len()];
            session.run(&input, &mut output).unwrap();
            let before = CALLS.get();
            for round in 0..10_000 {
                session.set_order(Order::new(1 + round % 2).unwrap());
                session.run(&input, &mut output).unwrap();
            }
            assert_eq!(CALLS.get() - before, 0, "{mode:?}, profile {profile}: calls of the allocator");
        }
    }
}

#[test]
fn runs_that_may_be_called_off_allocate_nothing() {
    let net = lenet(ScaleMode::Image, 2);
    let mut session = Session::new(&net.model(), SessionOptions::new()).unwrap();
    let input = random::values(&mut random::rng(1), session.input_len());
    let mut output = vec![0.0; session.output_len()];
    session.run(&input, &mut output).unwrap();
    let (token, never) = (CancelToken::new(), || false);
    let options = RunOptions::new().cancel(&token).timeout(Duration::from_secs(1000)).poll(Duration::ZERO, &never);
    let before = CALLS.get();
    for _ in 0..1000 {
        session.run_with(&input, &mut output, &options).unwrap();
    }
    assert_eq!(CALLS.get() - before, 0, "calls of the allocator");
}

#[test]
fn points_and_runs_within_a_deadline_allocate_nothing() {
    let mut session = Session::new(&tuned(ScaleMode::Image), SessionOptions::new()).unwrap();
    session.calibrate(Duration::from_millis(20)).unwrap();
    let input = random::values(&mut random::rng(1), session.input_len());
    let mut output = vec![0.0; session.output_len()];
    session.run(&input, &mut output).unwrap();
    let hour = RunOptions::new().timeout(Duration::from_secs(3600));
    let before = CALLS.get();
    // More than the runs that are remembered, so that the window wraps.
    for round in 0..1000 {
        session.set_point(["fast", "exact"][round % 2]).unwrap();
        session.run(&input, &mut output).unwrap();
        let options = if round % 3 == 0 { hour.point("fast") } else { hour };
        session.run_within(&input, &mut output, &options).unwrap();
    }
    assert_eq!(CALLS.get() - before, 0, "calls of the allocator");
}

#[test]
fn no_operation_allocates_on_any_instruction_set() {
    for seed in 0..60 {
        let net = random::net(seed, true);
        let model = net.model();
        for isa in isas() {
            let mut session = Session::new(&model, options(3, isa)).unwrap();
            let input = random::values(&mut random::rng(seed), 3 * net.input.len());
            let mut output = run(&mut session, &input);
            let before = CALLS.get();
            for samples in [1, 3] {
                let (input_len, output_len) = (samples * session.input_len(), samples * session.output_len());
                session.run(&input[..input_len], &mut output[..output_len]).unwrap();
            }
            assert_eq!(CALLS.get() - before, 0, "seed {seed}, {isa}");
        }
    }
}

#[test]
fn runs_of_several_inputs_and_outputs_and_of_bytes_allocate_nothing() {
    let shape = Shape::Image { height: 8, width: 8, channels: 3 };
    let mut builder = horq::Builder::new("x", shape);
    builder.add_input("z", Shape::Flat(3)).unwrap();
    let weight = random::values(&mut random::rng(4), 81);
    builder.add("conv", &["x"], Conv2d::new(horq::Window::square(3).with_padding(1), 3, &weight)).unwrap();
    builder.add("mean", &["conv"], GlobalAveragePool).unwrap().add("sum", &["mean", "z"], Add).unwrap();
    builder.add("flat", &["conv"], Flatten).unwrap();
    let model = Model::from_bytes(&builder.to_bytes_many(&["sum", "conv", "flat"]).unwrap()).unwrap();
    for profile in [false, true] {
        let mut session = Session::new(&model, SessionOptions::new().batch(5).profile(profile)).unwrap();
        let (bytes, floats) = (vec![7_u8; 5 * shape.len()], vec![0.5; 5 * shape.len()]);
        let z = [1.0; 15];
        let mut outputs = [vec![0.0; 15], vec![0.0; 5 * 192], vec![0.0; 5 * 192]];
        let mut run = |session: &mut Session, samples: usize, x: Values<'_>| {
            let [sum, conv, flat] = &mut outputs;
            let mut outputs = [(sum, 3), (conv, 192), (flat, 192)].map(|(output, len)| &mut output[..samples * len]);
            session.run_many(&[x, Values::F32(&z[..samples * 3])], &mut outputs).unwrap();
        };
        run(&mut session, 1, Values::U8(&bytes[..shape.len()]));
        let before = CALLS.get();
        for round in 0..10_000 {
            let samples = 1 + round % 5;
            run(&mut session, samples, Values::U8(&bytes[..samples * shape.len()]));
            run(&mut session, samples, Values::F32(&floats[..samples * shape.len()]));
        }
        assert_eq!(CALLS.get() - before, 0, "profile {profile}: calls of the allocator");
    }
}

#[test]
fn products_of_values_norms_and_steps_allocate_nothing() {
    let net = Net::new(Shape::Image { height: 2, width: 6, channels: 6 })
        .node("scores", &["x", "x"], MatMul::transposed())
        .node("mixed", &["scores", "x"], MatMul::new())
        .then("layer", LayerNorm::new(1e-5))
        .then("groups", GroupNorm::new(3, 1e-5))
        .then("root", RmsNorm::new(1e-5))
        .then("neighbours", Lrn::new(3, 1.0, 0.75, 1.0))
        .then("log", LogSoftmax)
        .then("rounded", FakeQuantize::new(&[0.5], &[0.0], &[-8.0], &[7.0]))
        .then("counted", MultiThreshold::new(1, &[-2.0, -1.0], 1.0, -1.0))
        .then("signs", Sign)
        .then("best", ArgMax)
        .then("rows", Embedding::new(4, vec![0.5; 24]))
        .then("places", TopK::new(2));
    let model = net.model();
    for isa in isas() {
        let mut session = Session::new(&model, options(3, isa)).unwrap();
        let input = random::values(&mut random::rng(3), 3 * net.input.len());
        let mut output = run(&mut session, &input);
        let before = CALLS.get();
        session.run(&input, &mut output).unwrap();
        assert_eq!(CALLS.get() - before, 0, "{isa}");
    }
}

/// Opening by mapping and preparing a session takes a small part of the weights' memory, so it cannot have copied them; and
/// the views lie in the file's mapping.
#[test]
fn a_mapped_models_weights_are_not_copied() {
    let (features, filters) = (8192, 4096);
    let weight = random::values(&mut random::rng(2), features * filters);
    let base = Basis::new(&weight, vec![1.0 / features as f32; filters]);
    let mut builder = horq::Builder::new("x", Shape::Flat(features));
    let quantize = Quantizer::new(Order::new(2).unwrap(), horq::ScaleMode::Image);
    builder.add("binary", &["x"], BinaryDense::new(filters, quantize, [base])).unwrap();
    builder.add("float", &["binary"], Dense::new(256, &weight[..filters * 256])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.horq");
    builder.write("float", &path).unwrap();

    let before = BYTES.get();
    // SAFETY: the file is this test's own and stays as it is.
    let model = unsafe { Model::map(&path) }.unwrap();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    let taken = BYTES.get() - before;
    let weights: usize = session.profile().iter().map(|layer| layer.weight_bytes).sum();
    assert_eq!(weights, features * filters / 8 + filters * 4 + filters * 256 * 4);
    // Room that is asked for and given back counts here, too.
    assert!(taken < weights / 4, "{taken} bytes allocated for {weights} bytes of weights");
    assert!(session.profile().iter().all(|layer| layer.copied_bytes == 0));
    run(&mut session, &vec![1.0; features]);

    if cfg!(target_os = "linux") {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mapping = maps.lines().find(|line| line.ends_with("wide.horq")).expect("the file is mapped");
        let (start, end) = mapping.split_whitespace().next().unwrap().split_once('-').unwrap();
        let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
        let mapping = hex(start)..hex(end);
        let words = model.u32s("binary.weight.0").as_ptr_range();
        assert!(mapping.contains(&(words.start as usize)) && mapping.contains(&(words.end as usize - 1)));
        let floats = model.f32s("float.weight").as_ptr_range();
        assert!(mapping.contains(&(floats.start as usize)) && mapping.contains(&(floats.end as usize - 1)));
    }
}

/// Groups that do not fill their panels need their vectors in another layout; those are copied, the panels are not.
#[test]
fn only_vectors_of_unfilled_groups_are_copied() {
    let window = horq::Window::square(1);
    let bias = [0.5; 24];
    for (groups, copied) in [(1, 0), (2, 2 * 16 * 4), (3, 3 * 16 * 4)] {
        let weight = vec![1.0; 24 * 48 / groups];
        let mut builder = horq::Builder::new("x", Shape::Image { height: 2, width: 2, channels: 48 });
        let conv = Conv2d::new(window, 24, &weight).groups(groups).bias(&bias);
        builder.add("y", &["x"], conv).unwrap();
        let model = Model::from_bytes(&builder.to_bytes("y").unwrap()).unwrap();
        let mut session = Session::new(&model, SessionOptions::new()).unwrap();
        assert_eq!(session.profile()[0].copied_bytes, copied, "{groups} groups");
        assert_eq!(run(&mut session, &[1.0; 4 * 48]), vec![48.0 / groups as f32 + 0.5; 4 * 24]);
    }
}
