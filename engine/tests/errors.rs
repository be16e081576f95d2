//! What a session refuses, and that its words help.

mod common;

use common::{Net, lenet::lenet, random, run};
use horq::graph::Shape;
use horq::{BinaryBase, Error, Isa, Layer, Quantize, ScaleMode, Session, SessionOptions, Threads};

fn session(net: &Net) -> Session {
    Session::new(&net.model(), SessionOptions::new().batch(4)).unwrap()
}

fn dense(filters: usize, weight: &'static [f32]) -> Layer<'static> {
    Layer::Dense { filters, weight, bias: None }
}

#[test]
fn lengths_are_checked_and_both_numbers_told() {
    let mut session = session(&lenet(ScaleMode::Image, 2));
    let mut output = [0.0; 40];
    for found in [0, 1, 783, 785, 5 * 784] {
        let error = session.run(&vec![0.0; found], &mut output[..10]).unwrap_err();
        assert!(matches!(error, Error::InputLength { sample: 784, batch: 4, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("{found} values")) && text.contains("1 to 4 samples of 784"), "{text}");
    }
    for found in [0, 9, 11, 20] {
        let error = session.run(&[0.0; 3 * 784], &mut output[..found]).unwrap_err();
        assert!(matches!(error, Error::OutputLength { expected: 30, samples: 3, sample: 10, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("{found} values")) && text.contains("30"), "{text}");
    }
    session.run(&[0.0; 3 * 784], &mut output[..30]).unwrap();
}

#[test]
fn an_input_that_is_not_finite_is_named_and_the_session_lives_on() {
    let float = Net::new(Shape::Flat(3)).then("a", dense(2, &[1.0; 6])).then("b", Layer::Relu);
    for net in [lenet(ScaleMode::Window, 2), lenet(ScaleMode::None, 1), float] {
        let mut session = session(&net);
        let good = random::values(&mut random::rng(1), 4 * session.input_len());
        let expected = run(&mut session, &good);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            for index in [0, 2, good.len() / 2, good.len() - 1] {
                let mut bad = good.clone();
                bad[index] = value;
                let error = session.run(&bad, &mut expected.clone()).unwrap_err();
                let Error::InputNotFinite { input, index: found, .. } = &error else { panic!("{error:?}") };
                assert_eq!((input.as_str(), *found), ("x", index));
                assert!(error.to_string().contains(&format!("value {index} of the input `x`")), "{error}");
            }
        }
        common::assert_same_bits(&run(&mut session, &good), &expected, "after errors");
    }
}

#[test]
fn a_value_that_overflows_inside_names_its_layer() {
    const LARGE: &[f32] = &[f32::MAX; 2];
    let blow_up = Layer::Affine { scale: LARGE, shift: LARGE };
    let bases: &[BinaryBase<'_>] = &[BinaryBase { weight: &[1.0, -1.0], alpha: &[1.0] }];
    let binary = |mode, scales| {
        let quantize = Quantize { order: 2, mode, scales };
        Layer::BinaryDense { filters: 1, quantize, bases, bias: None }
    };
    let layer_of = |net: Net, input: &[f32]| {
        let mut session = session(&net);
        match session.run(input, &mut vec![0.0; session.output_len()]) {
            Err(Error::LayerNotFinite { layer }) => layer,
            other => panic!("{other:?}"),
        }
    };
    for (mode, scales) in [
        (ScaleMode::Window, None),
        (ScaleMode::Image, None),
        (ScaleMode::Fixed, Some(&[1.0, 0.5][..])),
        (ScaleMode::None, None),
    ] {
        let net = Net::new(Shape::Flat(2)).then("blow-up", blow_up).then("binary", binary(mode, scales));
        assert_eq!(layer_of(net, &[2.0, 2.0]), "binary", "{mode:?}");
    }
    // A value that one binary layer hands to the next as planes is refused by the layer that packs it.
    let base: &[BinaryBase<'_>] = &[BinaryBase { weight: &[1.0, -1.0], alpha: &[f32::MAX] }];
    let first = Layer::BinaryDense {
        filters: 1,
        quantize: Quantize { order: 2, mode: ScaleMode::Fixed, scales: Some(&[4.0, 2.0]) },
        bases: base,
        bias: None,
    };
    let of_one: &[BinaryBase<'_>] = &[BinaryBase { weight: &[1.0], alpha: &[1.0] }];
    let quantize = Quantize { order: 2, mode: ScaleMode::None, scales: None };
    let second = Layer::BinaryDense { filters: 1, quantize, bases: of_one, bias: None };
    let chain = Net::new(Shape::Flat(2)).then("first", first).then("second", second);
    assert_eq!(layer_of(chain, &[2.0, -2.0]), "first");
    // Every value is finite, but not their mean.
    let mean = Net::new(Shape::Flat(2)).then("binary", binary(ScaleMode::Image, None));
    assert_eq!(layer_of(mean, &[f32::MAX, f32::MAX]), "binary");
    // A float network is asked for its answer.
    let float = Net::new(Shape::Flat(2)).then("blow-up", blow_up).then("answer", dense(1, &[1.0, 1.0]));
    assert_eq!(layer_of(float, &[2.0, 2.0]), "answer");
}

#[test]
fn options_are_checked() {
    let model = lenet(ScaleMode::Image, 2).model();
    let refusal = |options: SessionOptions| Session::new(&model, options).unwrap_err();
    assert!(matches!(refusal(SessionOptions::new().batch(0)), Error::Batch));
    assert!(matches!(refusal(SessionOptions::new().threads(Threads::Own(0))), Error::NoThreads));
    let many = Threads::Own(usize::MAX);
    assert!(matches!(refusal(SessionOptions::new().threads(many)), Error::ThreadPool { count: usize::MAX, .. }));
    assert!(matches!(refusal(SessionOptions::new().order(0)), Error::LayerOrder { order: 0, limit: 2, .. }));
    if let Some(missing) = Isa::ALL.into_iter().find(|isa| !isa.is_available()) {
        let error = refusal(SessionOptions::new().isa(missing));
        assert!(error.to_string().contains(missing.name()), "{error}");
    }
}

/// Samples go through the layers a few at a time, so the most samples of a run cost nothing.
#[test]
fn a_large_batch_takes_no_memory() {
    let model = lenet(ScaleMode::Image, 2).model();
    let session = |batch| Session::new(&model, SessionOptions::new().batch(batch)).unwrap();
    let (some, all) = (session(1000), session(usize::MAX));
    assert_eq!((some.arena_bytes(), some.scratch_bytes()), (all.arena_bytes(), all.scratch_bytes()));
    assert!(all.arena_bytes() + all.scratch_bytes() < 1 << 20);
}

#[test]
fn the_dial_tells_its_range_and_the_names() {
    let mut session = session(&lenet(ScaleMode::Image, 3));
    for order in [0, 4, 9] {
        let error = session.set_layer_order("conv2", order).unwrap_err();
        assert!(matches!(error, Error::LayerOrder { limit: 3, .. }), "{error:?}");
        assert!(error.to_string().contains("`conv2` can run at orders 1 to 3"), "{error}");
    }
    for name in ["conv1", "pool1", "", "conv9"] {
        let error = session.set_layer_order(name, 1).unwrap_err();
        assert!(error.to_string().contains("conv2, dense3"), "{error}");
    }
    session.set_order(8).unwrap(); // at most what the model holds
    let orders: Vec<usize> = session.profile().iter().filter_map(|layer| layer.order()).collect();
    assert_eq!(orders, [3, 3]);
    session.set_layer_order("conv2", 1).unwrap();
    let orders: Vec<usize> = session.profile().iter().filter_map(|layer| layer.order()).collect();
    assert_eq!(orders, [1, 3]);
}
