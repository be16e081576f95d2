//! Whole graphs against the interpreter in `common`, on every instruction set, to the bit.

mod common;

use common::random::{self, MODES, rng};
use common::{Net, assert_same_bits, check, floats, isas, keep, options, run};
use horq::graph::{Op, Shape};
use horq::ops::{
    Add, Affine, AveragePool, Basis, BinaryConv2d, Concat, Conv2d, Flatten, GlobalAveragePool, MaxPool, Relu, Softmax,
};
use horq::{Model, Order, ScaleMode, Session, SessionOptions, Threads, Window};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn each_operation_alone() {
    let rng = &mut rng(1);
    for round in 0..40 {
        let samples = 1 + round % 3;
        let (height, width) = (rng.random_range(1..8), rng.random_range(1..8));
        let channels = [1, 3, 16, 31, 32, 33, 48, 64][round % 8];
        let (image, flat) = (Shape::Image { height, width, channels }, Shape::Flat(channels * 3));
        let (filters, order) = (random::filters(rng), 1 + round % 8);
        let pool = random::window(rng, height, width, true);
        let mut layers = vec![
            (image, "conv", random::conv(rng, [height, width, channels], filters)),
            (flat, "dense", random::dense(rng, channels * 3, filters)),
            (image, "packed conv", random::packed_conv(rng, [height, width, channels], filters)),
            (flat, "packed dense", random::packed_dense(rng, channels * 3, filters)),
            (image, "affine", random::affine(rng, channels)),
            (flat, "affine of a vector", random::affine(rng, channels * 3)),
            (image, "relu", Relu.into()),
            (image, "prelu", random::prelu(rng, channels)),
            (image, "max pool", MaxPool::new(pool).into()),
            (image, "average pool", AveragePool::new(pool).into()),
            (image, "global average pool", GlobalAveragePool.into()),
            (image, "flatten", Flatten.into()),
        ];
        for mode in MODES {
            let quantize = random::quantize(rng, mode, order);
            layers.push((
                image,
                "binary conv",
                random::binary_conv(rng, [height, width, channels], filters, quantize.clone()),
            ));
            layers.push((flat, "binary dense", random::binary_dense(rng, channels * 3, filters, quantize)));
        }
        for (shape, what, layer) in layers {
            check(&Net::new(shape).then("y", layer.clone()), samples, &format!("round {round}, {what}: {layer:?}"));
        }
        let two = Net::new(image).then("a", Relu).node("b", &["x"], random::prelu(rng, channels));
        check(&two.clone().node("y", &["a", "b"], Add), samples, "add");
        check(&two.clone().node("y", &["b", "x", "a"], Concat), samples, "concat");
        check(&Net::new(image).node("y", &["x", "x"], Add), samples, "x + x");
    }
}

/// The f32 layers against f64: a sum of n products in f32 with fused steps is off by at most n half-ulps of the sum of
/// magnitudes (n u / (1 - n u), Higham, Accuracy and Stability, section 3.1), the bias adds one rounding.
#[test]
fn float_layers_stay_within_the_bound_of_their_rounding() {
    let rng = &mut rng(2);
    for round in 0..50 {
        let (features, filters) = (rng.random_range(1..400), random::filters(rng));
        let layer = random::dense(rng, features, filters);
        let Op::Dense(dense) = &layer else { panic!("{layer:?}") };
        let (weight, bias) = (floats(&dense.weights.weight).to_vec(), dense.bias.as_ref().map(|b| floats(b).to_vec()));
        let net = Net::new(Shape::Flat(features)).then("y", layer.clone());
        let input = random::values(rng, features);
        for isa in isas() {
            let output = run(&mut Session::new(&net.model(), options(1, isa)).unwrap(), &input);
            for (filter, y) in output.iter().enumerate() {
                let products =
                    input.iter().zip(&weight[filter * features..]).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (sum, magnitude) = products.fold((0.0, 0.0), |(sum, all), p| (sum + p, all + p.abs()));
                let b = bias.as_ref().map_or(0.0, |bias| f64::from(bias[filter]));
                let unit = f64::from(f32::EPSILON) / 2.0;
                let bound = (features + 1) as f64 * unit / (1.0 - (features + 1) as f64 * unit) * (magnitude + b.abs());
                let error = (f64::from(*y) - sum - b).abs();
                assert!(error <= bound, "round {round}, {isa}, filter {filter}: off by {error}, bound {bound}");
            }
        }
    }
}

/// Softmax differs from the f64 oracle by its roundings: x - max is off by half an ulp of at most |x - max|, which the
/// exponential turns into a relative error of that size; exp, sum and division add one half-ulp each, the sum one a channel.
#[test]
fn softmax_stays_within_the_bound_of_its_rounding() {
    let rng = &mut rng(3);
    for channels in [1, 2, 10, 16, 33, 1000] {
        let net = Net::new(Shape::Flat(channels)).then("y", Softmax);
        let input: Vec<f32> = (0..channels * 3).map(|_| rng.random_range(-20.0..20.0)).collect();
        let expected = net.answer(&input, |_, highest| highest);
        for isa in isas() {
            let output = run(&mut Session::new(&net.model(), options(3, isa)).unwrap(), &input);
            for (i, (y, expected)) in output.iter().zip(&expected).enumerate() {
                let bound = expected * (40.0 + channels as f32 + 4.0) * f32::EPSILON / 2.0 + f32::MIN_POSITIVE;
                assert!((y - expected).abs() <= bound, "{channels} channels, {isa}, value {i}: {y}, not {expected}");
            }
        }
    }
}

#[test]
fn random_graphs_at_random_orders() {
    let (mut fused, mut shared) = (0, 0);
    for seed in 0..150 {
        let net = random::net(seed, false);
        let model = net.model();
        let rng = &mut rng(seed);
        let samples = rng.random_range(1..4);
        let input = random::values(rng, samples * net.input.len());
        let dial = rng.random_range(1..5usize);
        let expected = net.answer(&input, |_, highest| highest.min(dial));
        for isa in isas() {
            let mut session = Session::new(&model, options(samples, isa).order(Order::new(dial).unwrap())).unwrap();
            assert_same_bits(&run(&mut session, &input), &expected, &format!("seed {seed}, {isa}"));
            assert_same_bits(&run(&mut session, &input), &expected, &format!("seed {seed}, {isa}, once more"));
            fused += session.profile().iter().map(|layer| layer.fused.len()).sum::<usize>();
            shared += usize::from(session.arena_bytes() < session.unshared_bytes());
        }
    }
    assert!(fused > 100 && shared > 50, "the graphs are too plain: {fused} nodes fused, {shared} arenas shared");
}

#[test]
fn a_batch_is_its_samples() {
    for seed in 200..230 {
        let net = random::net(seed, true);
        let model = net.model();
        for isa in isas() {
            let mut many = Session::new(&model, options(5, isa)).unwrap();
            let mut one = Session::new(&model, options(1, isa)).unwrap();
            let input = random::values(&mut rng(seed), 5 * net.input.len());
            let alone: Vec<f32> = input.chunks(net.input.len()).flat_map(|sample| run(&mut one, sample)).collect();
            for samples in [5, 1, 3, 2, 4] {
                let (input, expected) = (&input[..samples * net.input.len()], &alone[..samples * one.output_len()]);
                assert_same_bits(&run(&mut many, input), expected, &format!("seed {seed}, {isa}, {samples} samples"));
            }
        }
    }
}

/// The same network with its binary layers made for a lower order, as an exporter would write it.
fn at_order(net: &Net, order: usize) -> Net {
    let mut net = net.clone();
    for (_, _, layer) in &mut net.nodes {
        let quantizer = match layer {
            Op::BinaryConv2d(op) => &mut op.weights.quantizer,
            Op::BinaryDense(op) => &mut op.weights.quantizer,
            Op::AffineByOrder(op) => {
                op.rows.truncate(order);
                continue;
            }
            _ => continue,
        };
        quantizer.order = quantizer.order.min(order);
        if let Some(scales) = &mut quantizer.scales {
            *scales = floats(scales)[..quantizer.order].to_vec().into();
        }
    }
    net
}

#[test]
fn the_dial_equals_a_model_of_that_order() {
    for seed in 300..330 {
        let net = random::net(seed, true);
        let mut dialled = Session::new(&net.model(), SessionOptions::new()).unwrap();
        let input = random::values(&mut rng(seed), net.input.len());
        for order in [3, 1, 4, 2] {
            let mut exported = Session::new(&at_order(&net, order).model(), SessionOptions::new()).unwrap();
            dialled.set_order(Order::new(order).unwrap());
            let expected = run(&mut exported, &input);
            assert_same_bits(&run(&mut dialled, &input), &expected, &format!("seed {seed}, order {order}"));
            for (a, b) in dialled.profile().iter().zip(exported.profile()) {
                assert_eq!((a.order(), a.macs.bit), (b.order(), b.macs.bit));
            }
        }
    }
}

#[test]
fn each_layer_has_its_own_dial() {
    let rng = &mut rng(4);
    for mode in MODES {
        let mut binary = |filters| {
            let quantize = random::quantize(rng, mode, 4);
            random::binary_conv(rng, [9, 9, 16], filters, quantize)
        };
        let (first, second) = (binary(16), binary(16));
        let pool = GlobalAveragePool;
        let net = Net::new(Shape::Image { height: 9, width: 9, channels: 16 })
            .then("first", first)
            .node("second", &["x"], second)
            .node("p", &["first"], pool)
            .node("q", &["second"], pool)
            .node("y", &["p", "q"], Concat);
        let input = random::values(rng, net.input.len());
        let mut session = Session::new(&net.model(), SessionOptions::new()).unwrap();
        for (a, b) in [(1, 4), (4, 1), (3, 2), (4, 4), (1, 1)] {
            session.set_layer_order("first", Order::new(a).unwrap()).unwrap();
            session.set_layer_order("second", Order::new(b).unwrap()).unwrap();
            let expected = net.answer(&input, |name, _| if name == "first" { a } else { b });
            assert_same_bits(&run(&mut session, &input), &expected, &format!("{mode:?}, orders {a} and {b}"));
        }
    }
}

/// Rows and columns of [`wide_net`]: large enough for its layers to be cut.
const SIDE: usize = 14;

/// Convolutions large enough to be cut, with layers between them that are not.
fn wide_net(mode: ScaleMode) -> Net {
    let rng = &mut rng(5);
    let window = Window::square(3).with_padding(1);
    let mut conv = || {
        let base = |_| Basis::new(keep(random::values(rng, 64 * 9 * 64)), &[0.01; 64]);
        let bases = keep([0, 1].map(base).to_vec());
        let (quantize, bias) = (random::quantize(rng, mode, 3), Some(keep(random::values(rng, 64))));
        BinaryConv2d::new(window, 64, quantize, bases).maybe_bias(bias)
    };
    let (a, b) = (conv(), conv());
    let weight = keep(random::values(rng, 32 * 9 * 64).iter().map(|w| w / 24.0).collect());
    Net::new(Shape::Image { height: SIDE, width: SIDE, channels: 64 })
        .then("a", a)
        .then("affine", random::affine(rng, 64))
        .node("b", &["affine"], b)
        .node("sum", &["b", "affine"], Add)
        .then("prelu", random::prelu(rng, 64))
        .then("float", Conv2d::new(window, 32, weight))
        .then("pool", GlobalAveragePool)
        .then("dense", random::dense(rng, 32, 10))
        .then("y", Softmax)
}

#[test]
fn threads_do_not_change_a_bit() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    for mode in MODES {
        let net = wide_net(mode);
        let model = net.model();
        let input = random::values(&mut rng(6), 2 * net.input.len());
        for isa in isas() {
            let expected = run(&mut Session::new(&model, options(2, isa)).unwrap(), &input);
            let handed_over = Threads::Pool(pool.clone());
            for threads in [Threads::Own(2), Threads::Own(5), handed_over] {
                let what = format!("{mode:?}, {isa}, {threads:?}");
                let mut session = Session::new(&model, options(2, isa).threads(threads)).unwrap();
                for _ in 0..2 {
                    assert_same_bits(&run(&mut session, &input), &expected, &what);
                }
            }
        }
    }
}

/// Samples that do not fit together go one after another or side by side, and the rest of them with all threads.
#[test]
fn passes_do_not_change_a_bit_or_an_error() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    let mut net = wide_net(ScaleMode::Image);
    let affine = net.nodes.iter_mut().find(|(name, ..)| *name == "affine").expect("the net has one");
    affine.2 = Affine::new(&[1e10; 64], &[0.0; 64]).into();
    let (model, len) = (net.model(), net.input.len());
    let input = random::values(&mut rng(7), 8 * len);
    let mut one = Session::new(&model, SessionOptions::new()).unwrap();
    let expected: Vec<f32> = input.chunks(len).flat_map(|sample| run(&mut one, sample)).collect();
    // Sample 5 passes the range of f32 in layer `a`, sample 1 after it: 1 is told, being in an earlier pass.
    let mut wrong = input.clone();
    wrong[5 * len..6 * len].fill(f32::MAX);
    wrong[len..2 * len].iter_mut().for_each(|x| *x *= 1e30);
    let fails = |session: &mut Session, from: usize| {
        let input = &wrong[from * len..];
        session.run(input, &mut vec![0.0; (8 - from) * 10]).unwrap_err().to_string()
    };
    let (first, second) =
        (fails(&mut one_of(&model, 8, Threads::Inline), 0), fails(&mut one_of(&model, 8, Threads::Inline), 2));
    assert_ne!(first, second, "the samples fail alike");
    for threads in [Threads::Inline, Threads::Own(2), Threads::Own(3), Threads::Pool(pool)] {
        let mut session = one_of(&model, 8, threads.clone());
        for samples in [8, 1, 3, 7, 2, 6] {
            let (input, expected) = (&input[..samples * len], &expected[..samples * 10]);
            assert_same_bits(&run(&mut session, input), expected, &format!("{threads:?}, {samples} samples"));
        }
        assert_eq!((fails(&mut session, 0), fails(&mut session, 2)), (first.clone(), second.clone()));
        assert_same_bits(&run(&mut session, &input), &expected, "after an error");
    }
}

fn one_of(model: &Model, batch: usize, threads: Threads) -> Session {
    let session = Session::new(model, SessionOptions::new().batch(batch).threads(threads)).unwrap();
    assert!(session.arena_bytes() < 3 << 20, "all samples at a time");
    session
}

/// While the pool is busy with something else, a long run waits for it, and a short one does not: it runs where it is called.
#[test]
fn long_runs_use_the_callers_pool_and_short_ones_do_not() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let session_of = |net: &Net| {
        let options = SessionOptions::new().threads(Threads::Pool(pool.clone()));
        (Session::new(&net.model(), options).unwrap(), vec![0.25; net.input.len()])
    };
    let (mut long, long_input) = session_of(&wide_net(ScaleMode::Image));
    let (mut short, short_input) = session_of(&common::lenet::lenet(ScaleMode::Image, 1));
    let expected = run(&mut long, &long_input);

    let gate = Arc::new(std::sync::RwLock::new(()));
    let closed = gate.write().unwrap();
    for _ in 0..2 {
        let gate = gate.clone();
        pool.spawn(move || drop(gate.read().unwrap()));
    }
    run(&mut short, &short_input); // returns although no thread of the pool is free
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&mut long, &long_input));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished(), "the long run did not wait for the pool");
        drop(closed);
        assert_same_bits(&waiting.join().unwrap(), &expected, "after waiting");
    });
    drop((long, short));
    assert_eq!(Arc::strong_count(&pool), 1, "the sessions gave the pool back");
}

#[test]
fn sessions_of_one_model_run_at_the_same_time() {
    let net = random::net(400, true);
    let model: Model = net.model();
    let input = random::values(&mut rng(8), net.input.len());
    let expected = run(&mut Session::new(&model, SessionOptions::new()).unwrap(), &input);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut session = Session::new(&model, SessionOptions::new()).unwrap();
            let (input, expected) = (&input, &expected);
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_same_bits(&run(&mut session, input), expected, "beside others");
                }
            });
        }
    });
}

#[test]
fn a_profile_adds_up() {
    let net = wide_net(ScaleMode::Window);
    let input = random::values(&mut rng(9), 2 * net.input.len());
    let mut session = Session::new(&net.model(), SessionOptions::new().batch(2).profile(true)).unwrap();
    let mut silent = Session::new(&net.model(), SessionOptions::new().batch(2)).unwrap();
    assert_same_bits(&run(&mut session, &input), &run(&mut silent, &input), "profiling");
    run(&mut session, &input[..net.input.len()]);
    let names: Vec<&str> = session.profile().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "float", "pool", "dense", "y"]);
    assert_eq!(session.profile()[1].fused, ["sum", "prelu"]);
    for layer in session.profile() {
        assert_eq!((layer.runs, layer.samples), (2, 3), "{}", layer.name);
        assert!(layer.nanoseconds.iter().sum::<u64>() <= layer.wall_nanoseconds, "{layer:?}");
        let stages = layer.nanoseconds.map(|nanoseconds| nanoseconds > 0);
        match layer.order() {
            Some(order) => {
                assert_eq!((order, layer.macs.bit as usize), (3, SIDE * SIDE * 64 * 9 * 64 * 2 * 3));
                assert!(stages[0] && stages[1], "{layer:?}");
            }
            None => assert!(stages[3] && layer.macs.bit == 0, "{layer:?}"),
        }
        assert_eq!(layer.copied_bytes, 0);
    }
    let [a, .., dense, _] = session.profile() else { panic!("six layers") };
    assert_eq!(a.weight_bytes, 2 * (64 * 9 * 64 / 8 + 64 * 4) + 3 * 64 * 4);
    assert_eq!(a.activation_bytes, 2 * SIDE * SIDE * 64 * 4);
    assert_eq!(dense.macs.float, 320);
    session.reset_profile();
    assert!(session.profile().iter().all(|layer| layer.runs == 0 && layer.wall_nanoseconds == 0));
    assert!(silent.profile().iter().all(|layer| layer.runs == 0 && layer.nanoseconds == [0; 4]));
}
