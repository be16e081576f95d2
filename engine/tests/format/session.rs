//! What a session takes: as much as it says and no more, nothing where that is too much, and an error where memory cannot
//! be had. And how long it takes to make one.

use std::path::Path;
use std::time::Duration;

use horq::error::ResourceError;
use horq::graph::{Op, Shape};
use horq::ops::{
    Basis, BinaryConv2d, BinaryWeightConv2d, CodebookConv2d, Conv2d, Int8Conv2d, Int8Quantize, Quantizer, Relu,
};
use horq::{
    Builder, Error, Limits, Model, Order, Padding, PlainValues, ScaleMode, Session, SessionOptions, Threads, Window,
};

use crate::memory::{peak, refusing};
use crate::zoo::{every_op, noise, packed, small};

/// What a session may hold beside what it counts: the plan, names, profiles and options of a few dozen layers, and the room that it
/// asks for and gives back before it makes them.
const SMALL: usize = 192 << 10;

fn limited(bytes: &[u8], session_bytes: usize) -> Model {
    Model::from_bytes_with(bytes, &Limits::new().session_bytes(session_bytes)).unwrap()
}

/// Layers by name on an image of `shape`.
fn layer(op: &str, [height, width, channels]: [usize; 3], window: Window, filters: usize) -> Vec<u8> {
    let depth = window.taps() * channels;
    let (weight, alpha) = (noise(1, filters * depth), noise(2, filters));
    let base = Basis::new(&weight, &alpha);
    let (codes, bytes) = (vec![1_u8; weight.len()], vec![1_i8; weight.len()]);
    let binary = |order, mode, pad_value| {
        BinaryConv2d::new(
            window,
            filters,
            Quantizer::new(Order::new(order).unwrap(), mode),
            std::slice::from_ref(&base),
        )
        .pad_value(pad_value)
    };
    let layer: Op<PlainValues<'_>> = match op {
        "conv2d" => Conv2d::new(window, filters, &weight).into(),
        "codebook" => CodebookConv2d::new(window, filters, &codes, &[0.5, -0.5]).into(),
        "int8" => {
            let quantize = Int8Quantize::of_range(-1.0, 1.0);
            Int8Conv2d::new(window, filters, quantize, &bytes, &alpha).into()
        }
        "binary_weight" => BinaryWeightConv2d::new(window, filters, &weight, &alpha).into(),
        "binary" => binary(8, ScaleMode::None, Padding::ValidTaps).into(),
        "one" => binary(8, ScaleMode::Image, Padding::One).into(),
        "window" => binary(8, ScaleMode::Window, Padding::ValidTaps).into(),
        op => panic!("{op}"),
    };
    let mut builder = Builder::new("x", Shape::Image { height, width, channels });
    builder.add("greedy", &["x"], layer).unwrap();
    builder.add("y", &["greedy"], Relu).unwrap();
    builder.to_bytes("y").unwrap()
}

const OPS: [&str; 7] = ["conv2d", "codebook", "int8", "binary_weight", "binary", "one", "window"];

/// Padding is not in the file, so a kilobyte can ask for gigabytes: that is refused before any of it is taken.
#[test]
fn a_session_past_its_limit_is_refused_before_it_takes_memory() {
    let far = Window { stride: [8191; 2], ..Window::square(1) }.with_padding(4095);
    for op in OPS {
        // The windows of mode `window` have planes of their own, and of binary weights only a strip of the image is there.
        let (window, value_elements) = match op {
            "window" => (Window::square(64).with_padding(63), 1 << 13),
            "binary_weight" => (Window { kernel: [2, 1], dilation: [1000, 1], ..far }, 32),
            _ => (far, 32),
        };
        let file = layer(op, [1, 1, 32], window, 1);
        let limits = Limits::new().value_elements(value_elements).session_bytes(64 << 20);
        let model = Model::from_bytes_with(&file, &limits).unwrap();
        let (made, held) = peak(|| Session::new(&model, SessionOptions::new()));
        let error = made.map(drop).unwrap_err();
        let Error::Resource(ResourceError::SessionMemory { bytes, limit, layer, layer_bytes }) = &error else {
            panic!("{op}: {error}")
        };
        assert!(*limit == 64 << 20 && bytes > limit && layer == "greedy" && layer_bytes <= bytes, "{error:?}");
        let text = error.to_string();
        for part in [&bytes.to_string(), "67108864", "`greedy`", "padding", "Limits::session_bytes"] {
            assert!(text.contains(part), "{op}: `{text}` does not name {part}");
        }
        assert!(held < SMALL, "{op}: {held} bytes were taken to find out that {bytes} are too many");
    }
}

/// A limit of what a session says it takes is enough, and one byte less is not.
#[test]
fn a_session_takes_what_it_says() {
    let pad = Window::square(3).with_padding(9);
    let mut files = vec![
        every_op().to_bytes("probabilities").unwrap(),
        packed().to_bytes("logits").unwrap(),
        small().to_bytes("logits").unwrap(),
    ];
    files.extend(OPS.map(|op| layer(op, [9, 7, 40], pad, 24)));
    files.extend(OPS.map(|op| layer(op, [9, 7, 3], Window::square(24).with_padding(20), 17)));
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let bundled = ["lenet5", "mlp", "vgg-small"];
    files.extend(bundled.map(|name| std::fs::read(models.join(name).with_extension("horq")).unwrap()));
    for (i, file) in files.iter().enumerate() {
        for options in [
            SessionOptions::new(),
            SessionOptions::new().batch(3),
            SessionOptions::new().batch(64).isa(horq::Isa::Portable),
            SessionOptions::new().batch(64).threads(Threads::Own(2)),
        ] {
            let free = limited(file, usize::MAX);
            let (session, held) = peak(|| Session::new(&free, options.clone()).unwrap());
            let (said, mapped) = (session.memory_bytes(), session.arena_bytes() + session.scratch_bytes());
            assert!(held + mapped <= said + SMALL, "file {i}, {options:?}: {held} and {mapped} bytes, {said} said");
            assert!(said <= 2 * (held + mapped) + SMALL, "file {i}, {options:?}: {held} and {mapped} of {said} said");

            let same = Session::new(&limited(file, said), options.clone()).unwrap();
            assert_eq!(same.memory_bytes(), said, "file {i}, {options:?}");
            // Two passes side by side give way to one at a time; less than that is refused.
            let less = Session::new(&limited(file, said - 1), options.clone());
            match (less, &options.threads) {
                (Ok(less), Threads::Own(_)) => assert!(less.memory_bytes() < said, "file {i}"),
                (less, _) => {
                    let error = less.map(drop).unwrap_err();
                    assert!(
                        matches!(error, Error::Resource(ResourceError::SessionMemory { bytes, .. }) if bytes <= said),
                        "file {i}: {error}"
                    );
                }
            }
        }
    }
}

/// Sessions with less room give the same answers.
#[test]
fn one_pass_at_a_time_gives_the_same_bits() {
    let model = limited(&every_op().to_bytes("probabilities").unwrap(), usize::MAX);
    let input = noise(5, 64 * model.input_shape().len());
    let options = || SessionOptions::new().batch(64).threads(Threads::Own(2));
    let mut wide = Session::new(&model, options()).unwrap();
    let tight = limited(model.file(), wide.memory_bytes() - 1);
    let mut narrow = Session::new(&tight, options()).unwrap();
    assert!(narrow.memory_bytes() < wide.memory_bytes());
    let answer = |session: &mut Session| {
        let mut output = vec![0.0; 64 * session.output_len()];
        session.run(&input, &mut output).unwrap();
        output
    };
    assert_eq!(answer(&mut wide), answer(&mut narrow));
}

/// The allocator says no to each large piece in turn, until there is none that a session asks for.
#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let pad = Window::square(96).with_padding(80);
    let mut files: Vec<(usize, Vec<u8>)> = OPS.map(|op| (1, layer(op, [9, 7, 3], pad, 17))).into();
    // Groups that leave their panels half empty have vectors of their own.
    let mut builder = Builder::new("x", Shape::Image { height: 1, width: 1, channels: 1 << 12 });
    let (filters, weight) = (1 << 13, noise(1, 1 << 13));
    let (window, groups) = (Window::square(1), filters / 2);
    builder
        .add("y", &["x"], BinaryWeightConv2d::new(window, filters, &weight, &weight).groups(groups).bias(&weight))
        .unwrap();
    files.push((2, builder.to_bytes("y").unwrap()));
    for (i, (least, file)) in files.iter().enumerate() {
        let model = limited(file, usize::MAX);
        let mut refused = 0;
        while let Err(error) = refusing(refused, || Session::new(&model, SessionOptions::new())) {
            assert!(
                matches!(error, Error::Resource(ResourceError::Memory { bytes }) if bytes > 0),
                "file {i}: {error}"
            );
            refused += 1;
        }
        assert!(refused >= *least, "file {i}: only {refused} large allocations");
    }
    for refused in 0..2 {
        let mut builder = Builder::new("x", Shape::Flat(1 << 20));
        let error = refusing(refused, || builder.add_image8("y", "x", 255.0).map(drop)).unwrap_err();
        assert!(
            matches!(error, Error::Resource(ResourceError::Memory { bytes: 4194304 | horq_kernels::HEADROOM })),
            "{error}"
        );
    }
}

/// What this thread has had of a processor: unlike the time of day, not more because others work, too.
#[cfg(unix)]
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time to where it is told.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time of day, where the system does not tell that of a thread in the same way.
#[cfg(not(unix))]
fn processor_time() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970")
}

/// Tables of borders, offsets and places are made in time that goes with the file's size: tens of milliseconds here, where
/// a quadratic way takes 7 to 50 seconds, and both some twenty times as long in an emulator.
#[test]
fn a_session_of_a_large_kernel_is_made_at_once() {
    let windows = [
        (Window::square(128).with_padding(127), [1, 1, 1]),
        (
            Window { kernel: [1 << 15, 1], padding: [(1 << 15) - 1, 0, (1 << 15) - 1, 0], ..Window::square(1) },
            [1, 1, 1],
        ),
        (
            Window { kernel: [1, 1 << 15], padding: [0, (1 << 15) - 1, 0, (1 << 15) - 1], ..Window::square(1) },
            [1, 1, 1],
        ),
        (Window { kernel: [2, 2], padding: [1 << 16, 0, 1 << 16, 1], ..Window::square(1) }, [1, 1, 1]),
    ];
    for (window, shape) in windows {
        for op in OPS {
            // The windows of mode `window` have planes of their own, so these would not fit.
            if op == "window" {
                continue;
            }
            let file = layer(op, shape, window, 1);
            let model = limited(&file, usize::MAX);
            let start = processor_time();
            let session = Session::new(&model, SessionOptions::new()).unwrap();
            let taken = processor_time() - start;
            let bound = Duration::from_secs(if cfg!(target_arch = "x86_64") { 4 } else { 60 });
            assert!(taken < bound, "{op}, {window:?}: {taken:?}");
            drop(session);
        }
    }
}
