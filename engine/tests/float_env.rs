//! The same bits whatever floating-point mode the caller's threads are in, and that mode left as it was.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

mod common;

use common::float_mode::{MODES, within};
use common::{Net, assert_same_bits, isas, keep, lenet::lenet, options, random, run};
use horq::graph::Shape;
use horq::ops::{Affine, Basis, BinaryConv2d, BinaryDense, Dense, Int8Quantize, Quantizer, Relu};
use horq::rayon::ThreadPoolBuilder;
use horq::{Model, Order, ScaleMode, Session, Threads};
use std::sync::Arc;

/// Values whose signs, sums and scales depend on denormals.
fn tiny(n: usize) -> Vec<f32> {
    random::values(&mut random::rng(7), n).into_iter().map(|x| x * 1e-38).collect()
}

/// A network that multiplies denormals, with a scale, weights and factors that are denormals themselves.
fn denormals() -> Net {
    let weight = keep(tiny(256 * 64));
    let bases = keep(vec![Basis::new(weight, keep(vec![1e38; 256]))]);
    let quantize = Quantizer::fixed(Order::new(2).unwrap(), &[1e-41, 3e-42]);
    Net::new(Shape::Flat(64))
        .then("binary", BinaryDense::new(256, quantize, bases))
        .then("affine", Affine::new(keep(vec![0.3; 256]), keep(tiny(256))))
        .then("relu", Relu)
        .then("dense", Dense::new(10, keep(random::values(&mut random::rng(3), 2560))))
}

#[test]
fn answers_do_not_depend_on_the_mode_of_the_callers_thread() {
    for (net, input) in [
        (denormals(), tiny(4 * 64)),
        (lenet(ScaleMode::Image, 2), random::values(&mut random::rng(1), 4 * 784)),
        (lenet(ScaleMode::Window, 3), tiny(4 * 784)),
    ] {
        let bytes = net.bytes();
        let mut session = Session::new(&net.model(), options(4, isas()[0])).unwrap();
        let expected = run(&mut session, &input);
        for mode in MODES {
            // Opened, prepared and run in the mode, and each in another one.
            let model = within(mode, || Model::from_bytes(&bytes)).unwrap();
            for isa in isas() {
                let mut session = within(mode, || Session::new(&model, options(4, isa))).unwrap();
                assert_same_bits(&run(&mut session, &input), &expected, &format!("made in mode {}, {isa}", mode.0));
                let answer = within(mode, || run(&mut session, &input));
                assert_same_bits(&answer, &expected, &format!("run in mode {}, {isa}", mode.0));
            }
        }
    }
}

#[test]
fn helpers_and_threads_of_a_pool_compute_in_the_default_mode() {
    // Large enough that it is cut into tasks for all threads.
    let window = horq::Window::square(3).with_padding(1);
    let weight = keep(random::values(&mut random::rng(2), 128 * 9 * 128));
    let bases = keep(vec![Basis::new(weight, keep(vec![1.0; 128]))]);
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    let pad_value = horq::Padding::ValidTaps;
    let net = Net::new(Shape::Image { height: 20, width: 20, channels: 128 })
        .then("conv", BinaryConv2d::new(window, 128, quantize, bases).pad_value(pad_value));
    let (model, input) = (net.model(), tiny(3 * net.input.len()));
    let expected = net.answer(&input, |_, highest| highest);
    let isa = isas()[isas().len() - 1];
    for mode in MODES {
        // A new thread takes over the mode of the one that makes it.
        let pool = within(mode, || ThreadPoolBuilder::new().num_threads(3).build()).unwrap();
        for threads in [Threads::Own(3), Threads::Pool(Arc::new(pool))] {
            for batch in [1, 3] {
                let options = options(batch, isa).threads(threads.clone());
                let mut session = within(mode, || Session::new(&model, options)).unwrap();
                for (input, expected) in input.chunks(batch * 51200).zip(expected.chunks(batch * 51200)) {
                    for _ in 0..3 {
                        assert_same_bits(&run(&mut session, input), expected, &format!("{}, {threads:?}", mode.0));
                        let answer = within(mode, || run(&mut session, input));
                        assert_same_bits(&answer, expected, &format!("run in {}, {threads:?}", mode.0));
                    }
                }
            }
        }
    }
}

#[test]
fn a_builder_writes_the_same_bytes_in_every_mode() {
    let net = denormals();
    let (expected, range) = (net.bytes(), Int8Quantize::of_range(-1e-37, 3e-37));
    for mode in MODES {
        assert!(within(mode, || net.bytes()) == expected, "{}", mode.0);
        assert_eq!(within(mode, || Int8Quantize::of_range(-1e-37, 3e-37)), range, "{}", mode.0);
    }
}
