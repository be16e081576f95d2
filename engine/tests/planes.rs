//! What binary layers hand on: packed planes, and pools that became part of them; against the interpreter in `common`, on
//! every instruction set, to the bit.

mod common;

use common::random::{self, MODES, rng};
use common::{Net, assert_same_bits, check, isas, keep, options, run};
use horq::graph::{Op, Shape};
use horq::ops::{Add, Affine, AffineByOrder, Basis, BinaryConv2d, BinaryDense, Conv2d, Flatten, MaxPool, Relu};
use horq::{Order, Padding, ScaleMode, Session, SessionOptions, Threads, Window};
use rand::Rng;
use std::collections::HashMap;

/// Chains of binary layers with constant scales, between which packed planes travel: with steps and pools between them, at
/// orders of their own, affines by the order of any of them, flattened on the way, in batches and on threads.
#[test]
fn planes_travel_between_binary_layers() {
    let (mut packed, mut pooled, mut by_order) = (0, 0, 0);
    for seed in 0..90 {
        let rng = &mut rng(1000 + seed);
        let mut shape = random::shape(rng);
        let mut net = Net::new(shape);
        for i in 0..rng.random_range(2..6) {
            let modes = [ScaleMode::Fixed, ScaleMode::None, ScaleMode::Halving, ScaleMode::Fixed, ScaleMode::Image];
            let mode = modes[rng.random_range(0..5)];
            let (order, filters) = (rng.random_range(1..=3), random::filters(rng));
            let quantize = random::quantize(rng, mode, order);
            let name = format!("layer {i}");
            if matches!(shape, Shape::Image { .. }) && rng.random_bool(0.2) {
                net = net.then(&format!("flat {i}"), Flatten);
                shape = Shape::Flat(shape.len());
            }
            let layer = match shape {
                Shape::Image { height, width, channels } => {
                    random::binary_conv(rng, [height, width, channels], filters, quantize)
                }
                Shape::Flat(features) => random::binary_dense(rng, features, filters, quantize),
            };
            net = net.then(&name, layer);
            let steps = rng.random_range(0..4);
            for step in 0..steps {
                let layer = match (rng.random_range(0..4), net.builder().shape(net.output()).expect("the node before"))
                {
                    (0, _) => random::affine(rng, filters),
                    (1, _) => random::prelu(rng, filters),
                    (2, Shape::Image { height, width, .. }) => random::max_pool(rng, height, width),
                    _ => Relu.into(),
                };
                let kind = if matches!(layer, Op::MaxPool(_)) { "pool" } else { "step" };
                net = net.then(&format!("{kind} {i}.{step}"), layer);
            }
            shape = net.builder().shape(net.output()).expect("the node just added");
        }
        net = random::some_by_order(rng, net);
        by_order += net.nodes.iter().filter(|(.., layer)| matches!(layer, Op::AffineByOrder(_))).count();
        let (model, samples) = (net.model(), rng.random_range(1..4));
        let input = random::values(rng, samples * net.input.len());
        let layers: Vec<String> = net.nodes.iter().map(|(name, ..)| name.clone()).collect();
        let orders: HashMap<String, usize> =
            layers.iter().map(|name| (name.clone(), rng.random_range(1..=3))).collect();
        let expected = net.answer(&input, |name, highest| highest.min(orders[name]));
        for isa in isas() {
            for threads in [Threads::Inline, Threads::Own(2)] {
                let mut session = Session::new(&model, options(samples, isa).threads(threads)).unwrap();
                for name in layers.iter().filter(|name| name.starts_with("layer")) {
                    let profile = session.profile().iter().find(|layer| layer.name == *name).expect("a layer");
                    let order = orders[name].min(profile.binary.expect("a binary layer").max_order);
                    session.set_layer_order(name, Order::new(order).unwrap()).unwrap();
                }
                packed += session.profile().iter().filter(|layer| layer.packed).count();
                let pools = session.profile().iter().flat_map(|layer| &layer.fused);
                pooled += pools.filter(|name| name.starts_with("pool")).count();
                for what in ["first", "second"] {
                    let answer = run(&mut session, &input);
                    assert_same_bits(&answer, &expected, &format!("seed {seed}, {isa}, {what} run"));
                }
            }
        }
    }
    assert!(packed > 100 && by_order > 20, "{packed} values were packed, {by_order} affines went by an order");
    assert!(pooled >= 20 * isas().len(), "{pooled} pools were fused");
}

/// Behind a fused pool a sum reads values of the pooled size; a second pool is a layer of its own.
#[test]
fn a_sum_and_another_pool_behind_a_pool() {
    let rng = &mut rng(6);
    let pool = MaxPool::new(Window::square(2).with_stride(2));
    for mode in MODES {
        let bases = keep(vec![Basis::new(keep(random::values(rng, 20 * 45)), &[0.02; 20])]);
        let window = Window::square(3).with_padding(1);
        let (quantize, pad_value) = (random::quantize(rng, mode, 2), Padding::ValidTaps);
        let bias: Option<&[f32]> = Some(keep(random::values(rng, 20)));
        let conv = BinaryConv2d::new(window, 20, quantize, bases).pad_value(pad_value).maybe_bias(bias);
        let weight = keep(random::values(rng, 20 * 5));
        let side = Conv2d::new(Window::square(1), 20, weight);
        let net =
            Net::new(Shape::Image { height: 9, width: 8, channels: 5 }).then("side", side).then("small side", pool);
        let net = net.node("conv", &["x"], conv).then("affine", random::affine(rng, 20)).then("pool", pool);
        let net = net.node("sum", &["small side", "pool"], Add).then("again", pool).then("relu", Relu);
        check(&net, 2, &format!("{mode:?}"));
        let session = Session::new(&net.model(), SessionOptions::new()).unwrap();
        let conv = session.profile().iter().find(|layer| layer.name == "conv").unwrap();
        let expected: &[&str] = if mode == ScaleMode::Window { &["affine"] } else { &["affine", "pool", "sum"] };
        assert_eq!(conv.fused, expected, "{mode:?}");
        // Rows 0 to 7 of nine, where the pool is fused.
        let rows = if mode == ScaleMode::Window { 9 } else { 8 };
        assert_eq!(conv.macs.bit, 2 * rows * 8 * 20 * 45, "{mode:?}");
    }
}

/// Order-1 planes are decided by thresholds that were found beforehand, for the affine of order 1: they hold if it goes by
/// one of the two layers beside them, which have order 1 then, but not if by a third.
#[test]
fn an_affine_between_planes_goes_by_any_layer() {
    let rng = &mut rng(5);
    for (round, order_of) in ["first", "second", "third"].repeat(4).into_iter().enumerate() {
        let mut binary = || {
            let modes = [ScaleMode::Fixed, ScaleMode::None, ScaleMode::Halving, ScaleMode::Fixed];
            let quantize = random::quantize(rng, modes[round % 4], 3);
            let base = Basis::new(keep(random::values(rng, 48 * 48)), &[0.02; 48]);
            BinaryDense::new(48, quantize, [base])
        };
        let [first, second, third] = [binary(), binary(), binary()];
        let mut row = |i| {
            let Op::Affine(row) = random::affine(rng, 48) else { panic!("no affine") };
            if i == 0 { row } else { Affine::new(row.shift, row.scale) }
        };
        let affine = AffineByOrder::new(order_of, (0..3).map(&mut row).collect::<Vec<_>>());
        let net = Net::new(Shape::Flat(48)).then("first", first).then("norm", affine);
        let net = net.then("second", second).then("third", third);
        let model = net.model();
        let input = random::values(rng, 48);
        for isa in isas() {
            let mut session = Session::new(&model, options(1, isa)).unwrap();
            for orders in [[1, 1, 1], [1, 1, 2], [1, 1, 3], [2, 1, 1], [1, 3, 1], [3, 2, 1]] {
                let of = |name: &str| orders[["first", "second", "third"].iter().position(|n| *n == name).unwrap()];
                for name in ["first", "second", "third"] {
                    session.set_layer_order(name, Order::new(of(name)).unwrap()).unwrap();
                }
                assert!(session.profile()[0].packed, "the case is about planes");
                let expected = net.answer(&input, |name, _| of(name));
                assert_same_bits(&run(&mut session, &input), &expected, &format!("{order_of}, {isa}, {orders:?}"));
            }
        }
    }
}
