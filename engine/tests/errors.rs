//! What a session refuses, and that its words help.

mod common;

use common::{Net, PlainOp, isas, keep, lenet::lenet, quantizer, random, run};
use horq::error::{CpuError, ErrorKind, FileError, InputError, ResourceError, TensorError};
use horq::graph::Shape;
use horq::ops::{
    Add, Affine, AveragePool, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, CodebookConv2d, Concat, Conv2d,
    Dense, Flatten, GlobalAveragePool, Int8Conv2d, Int8Quantize, MaxPool, Prelu, Quantizer, Relu, Softmax,
};
use horq::{
    Builder, Error, Isa, Model, Order, Padding, PlainValues, ScaleMode, Session, SessionOptions, Threads, Window,
    escaped,
};

fn session(net: &Net) -> Session {
    Session::new(&net.model(), SessionOptions::new().batch(4)).unwrap()
}

fn dense(filters: usize, weight: &'static [f32]) -> Dense<PlainValues<'static>> {
    Dense::new(filters, weight)
}

#[test]
fn lengths_are_checked_and_both_numbers_told() {
    let mut session = session(&lenet(ScaleMode::Image, 2));
    let mut output = [0.0; 40];
    for found in [0, 1, 783, 785, 5 * 784] {
        let error = session.run(&vec![0.0; found], &mut output[..10]).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::InputLength { sample: 784, batch: 4, .. })), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("{found} values")) && text.contains("1 to 4 samples of 784"), "{text}");
    }
    for found in [0, 9, 11, 20] {
        let error = session.run(&[0.0; 3 * 784], &mut output[..found]).unwrap_err();
        assert!(
            matches!(error, Error::Input(InputError::OutputLength { expected: 30, samples: 3, sample: 10, .. })),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(&format!("{found} values")) && text.contains("30"), "{text}");
    }
    session.run(&[0.0; 3 * 784], &mut output[..30]).unwrap();
}

#[test]
fn an_input_that_is_not_finite_is_named_and_the_session_lives_on() {
    let float = Net::new(Shape::Flat(3)).then("a", dense(2, &[1.0; 6])).then("b", Relu);
    for net in [lenet(ScaleMode::Window, 2), lenet(ScaleMode::None, 1), float] {
        let mut session = session(&net);
        let good = random::values(&mut random::rng(1), 4 * session.input_len());
        let expected = run(&mut session, &good);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            for index in [0, 2, good.len() / 2, good.len() - 1] {
                let mut bad = good.clone();
                bad[index] = value;
                let error = session.run(&bad, &mut expected.clone()).unwrap_err();
                let Error::Input(InputError::InputNotFinite { input, index: found, .. }) = &error else {
                    panic!("{error:?}")
                };
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
    let blow_up = || Affine::new(LARGE, LARGE);
    let binary = |mode, scales| BinaryDense::new(1, quantizer(2, mode, scales), [Basis::new(&[1.0, -1.0], &[1.0])]);
    let layer_of = |net: Net, input: &[f32]| {
        let mut session = session(&net);
        match session.run(input, &mut vec![0.0; session.output_len()]) {
            Err(Error::Input(InputError::LayerNotFinite { layer, sample: 0, .. })) => layer,
            other => panic!("{other:?}"),
        }
    };
    for (mode, scales) in [
        (ScaleMode::Window, None),
        (ScaleMode::Image, None),
        (ScaleMode::Fixed, Some(&[1.0, 0.5][..])),
        (ScaleMode::Halving, Some(&[1.0, 0.5][..])),
        (ScaleMode::None, None),
    ] {
        let net = Net::new(Shape::Flat(2)).then("blow-up", blow_up()).then("binary", binary(mode, scales));
        assert_eq!(layer_of(net, &[2.0, 2.0]), "binary", "{mode:?}");
    }
    // A value that one binary layer hands to the next as planes is refused by the layer that packs it.
    let base = [Basis::new(&[1.0, -1.0], &[f32::MAX])];
    let first = BinaryDense::new(1, Quantizer::fixed(Order::new(2).unwrap(), &[4.0, 2.0]), base);
    let of_one = [Basis::new(&[1.0], &[1.0])];
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::None);
    let second = BinaryDense::new(1, quantize, of_one);
    let chain = Net::new(Shape::Flat(2)).then("first", first).then("second", second);
    assert_eq!(layer_of(chain, &[2.0, -2.0]), "first");
    // Every value is finite, but not their mean.
    let mean = Net::new(Shape::Flat(2)).then("binary", binary(ScaleMode::Image, None));
    assert_eq!(layer_of(mean, &[f32::MAX, f32::MAX]), "binary");
    // A float network is asked for its answer.
    let float = Net::new(Shape::Flat(2)).then("blow-up", blow_up()).then("answer", dense(1, &[1.0, 1.0]));
    assert_eq!(layer_of(float, &[2.0, 2.0]), "answer");
}

/// Layers that an image of 4 x 4 pixels with two channels can go through, every pixel being read.
fn every_layer() -> Vec<PlainOp> {
    let window = Window::square(2);
    let (weight, alpha): (&[f32], &[f32]) = (&[0.5; 3 * 4 * 2], &[1.0; 3]);
    let bases = vec![Basis::new(weight, alpha); 2];
    let (filters, groups, pad_value) = (3, 1, Padding::One);
    let mut layers: Vec<PlainOp> = vec![
        Conv2d::new(window, filters, weight).groups(groups).into(),
        BinaryWeightConv2d::new(window, filters, weight, alpha).groups(groups).into(),
        CodebookConv2d::new(window, filters, &[1_u8; 24], &[0.0, 0.25, 1.0]).groups(groups).into(),
        Int8Conv2d::new(window, filters, Int8Quantize { scale: 0.5, zero_point: 3 }, &[1_i8; 24], alpha)
            .groups(groups)
            .into(),
        Affine::new(&[0.0, 1.0], &[0.0; 2]).into(),
        Relu.into(),
        Prelu::new(&[0.0, 0.5]).into(),
        MaxPool::new(window).into(),
        MaxPool::new(Window::square(3)).into(),
        AveragePool::new(window).into(),
        GlobalAveragePool.into(),
        Flatten.into(),
        Softmax.into(),
    ];
    for mode in random::MODES {
        let scales = mode.has_constants().then_some(&[1.0, 0.5][..]);
        for order in [1, 2] {
            let quantize = quantizer(order, mode, scales.map(|scales| &scales[..order]));
            let conv = BinaryConv2d::new(window, filters, quantize, bases.clone());
            layers.push(conv.groups(groups).pad_value(pad_value).into());
        }
    }
    layers
}

#[test]
fn an_infinity_inside_is_never_lost() {
    let image = Shape::Image { height: 4, width: 4, channels: 2 };
    let finish = |net: Net| {
        let features = net.model().output_shape().len();
        let net = if let Shape::Flat(_) = net.model().output_shape() { net } else { net.then("flat", Flatten) };
        net.then("answer", dense(1, keep(vec![1e-30; features])))
    };
    let overflow = || Net::new(image).then("overflow", Affine::new(&[f32::MAX; 2], &[0.0; 2]));
    let mut nets: Vec<Net> = every_layer().into_iter().map(|layer| finish(overflow().then("layer", layer))).collect();
    // The same behind a convolution, where relu and sums are part of its own pass over the values.
    let large = Conv2d::new(Window::square(1), 2, &[f32::MAX; 2]).groups(2);
    let fused = || Net::new(image).then("overflow", large.clone());
    nets.push(finish(fused().then("relu", Relu)));
    nets.push(finish(fused().then("prelu", Prelu::new(&[0.0, 0.5]))));
    nets.push(finish(fused().then("pool", MaxPool::new(Window::square(2)))));
    nets.push(finish(fused().node("sum", &["overflow", "x"], Add).then("relu", Relu)));
    nets.push(finish(fused().node("both", &["x", "overflow"], Concat).then("relu", Relu)));
    for net in nets {
        let (model, name) = (net.model(), format!("{:?}", net.nodes));
        for isa in isas() {
            let mut session = Session::new(&model, SessionOptions::new().isa(isa)).unwrap();
            for value in [2.0, -2.0] {
                for at in 0..image.len() {
                    let mut input = vec![0.0; image.len()];
                    input[at] = value;
                    let error = session.run(&input, &mut [0.0]);
                    assert!(
                        matches!(error, Err(Error::Input(InputError::LayerNotFinite { .. }))),
                        "{isa}, {value} at {at}: {error:?}\n{name}"
                    );
                }
            }
            session.run(&vec![0.0; image.len()], &mut [0.0]).unwrap();
        }
    }
}

#[test]
fn an_infinity_behind_a_binary_layer_is_never_lost() {
    // Sums of four signs times the largest factor overflow where all four agree; both signs of infinity occur.
    for factor in [f32::MAX, -f32::MAX] {
        let alpha = keep(vec![factor; 2]);
        for order in [1, 2] {
            let bases = keep(vec![Basis::new(&[1.0; 8], alpha)]);
            let quantize = Quantizer::fixed(Order::new(order).unwrap(), &[1.0, 0.5][..order]);
            let conv = BinaryConv2d::new(Window::square(1), 2, quantize, bases).pad_value(Padding::One);
            let next = keep(vec![Basis::new(&[1.0, -1.0], &[1.0])]);
            let reader = BinaryConv2d::new(
                Window::square(1),
                1,
                Quantizer::fixed(Order::new(order).unwrap(), &[1.0, 0.5][..order]),
                next,
            )
            .pad_value(Padding::One);
            let start = || Net::new(Shape::Image { height: 2, width: 2, channels: 4 }).then("overflow", conv.clone());
            let pool = MaxPool::new(Window::square(2).with_stride(2));
            let prelu = Prelu::new(&[0.5, 0.25]);
            for (what, net) in [
                ("relu", start().then("relu", Relu)),
                ("pool", start().then("pool", pool)),
                ("pool, relu", start().then("pool", pool).then("relu", Relu)),
                ("relu, pool", start().then("relu", Relu).then("pool", pool)),
                ("hand-over", start().then("reader", reader.clone())),
                ("relu, hand-over", start().then("relu", Relu).then("reader", reader.clone())),
                (
                    "pool, prelu, hand-over",
                    start().then("pool", pool).then("prelu", prelu.clone()).then("reader", reader.clone()),
                ),
            ] {
                let model = net.model();
                for isa in isas() {
                    let mut session = Session::new(&model, SessionOptions::new().isa(isa)).unwrap();
                    let mut output = vec![0.0; session.output_len()];
                    // One pixel overflows, the others are balanced.
                    for at in 0..4 {
                        for sign in [1.0, -1.0] {
                            let mut input = [1.0, -1.0, 1.0, -1.0].repeat(4);
                            input[4 * at..][..4].fill(sign);
                            let error = session.run(&input, &mut output);
                            let lost = !matches!(error, Err(Error::Input(InputError::LayerNotFinite { .. })));
                            assert!(!lost, "{what}, order {order}, factor {factor}, {isa}, pixel {at}: {error:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn options_are_checked() {
    let model = lenet(ScaleMode::Image, 2).model();
    let refusal = |options: SessionOptions| Session::new(&model, options).unwrap_err();
    assert!(matches!(refusal(SessionOptions::new().batch(0)), Error::Input(InputError::Batch)));
    assert!(matches!(refusal(SessionOptions::new().threads(Threads::Own(0))), Error::Input(InputError::NoThreads)));
    let many = Threads::Own(usize::MAX);
    assert!(matches!(
        refusal(SessionOptions::new().threads(many)),
        Error::Resource(ResourceError::ThreadPool { count: usize::MAX, .. })
    ));
    for wrong in [0, 9, usize::MAX] {
        let error = Order::new(wrong).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::OrderRange { order, limit: 8 }) if order == wrong), "{error}");
        assert_eq!(error.kind(), ErrorKind::Input);
    }
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
    for order in [4, 8] {
        let error = session.set_layer_order("conv2", Order::new(order).unwrap()).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::LayerOrder { limit: 3, .. })), "{error:?}");
        assert!(error.to_string().contains("`conv2` can run at orders 1 to 3"), "{error}");
    }
    for name in ["conv1", "pool1", "", "conv9"] {
        let error = session.set_layer_order(name, Order::ONE).unwrap_err();
        assert!(error.to_string().contains("conv2, dense3"), "{error}");
    }
    session.set_order(Order::new(8).unwrap()); // at most what the model holds
    let orders: Vec<usize> = session.profile().iter().filter_map(|layer| layer.order()).collect();
    assert_eq!(orders, [3, 3]);
    session.set_layer_order("conv2", Order::ONE).unwrap();
    let orders: Vec<usize> = session.profile().iter().filter_map(|layer| layer.order()).collect();
    assert_eq!(orders, [1, 3]);
}

/// Errors end in logs, where no name of a file, no argument and no path may forge a line.
#[test]
fn no_error_shows_text_from_outside_as_it_is() {
    const EVIL: &str = "a\u{1b}[2J\r\nINFO all is well\u{202e}\u{9b}\u{feff}\u{2028}";
    const SHOWN: &str = r"a\u{1b}[2J\r\nINFO all is well\u{202e}\u{9b}\u{feff}\u{2028}";
    // Names in files and builders hold no control characters, but the rest.
    const NAME: &str = "name\u{202e}\u{200b}\u{feff}\u{2028}";
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Builder::new("x", Shape::Flat(2));
    builder.add(NAME, &["x"], dense(2, &[1.0; 4])).unwrap();
    let mut session = session(&lenet(ScaleMode::Image, 2));
    let string = || EVIL.to_owned();
    let errors = [
        Model::open(folder.path().join(EVIL)).unwrap_err(),
        builder.write(NAME, folder.path().join(EVIL).join("no folder")).unwrap_err(),
        horq::replace_file(folder.path().join(EVIL).join(".."), b"").unwrap_err(),
        builder.to_bytes(EVIL).unwrap_err(),
        builder.clone().add(EVIL, &["x"], Relu).unwrap_err(),
        builder.clone().add(NAME, &["x"], Relu).unwrap_err(),
        builder.clone().add("y", &[EVIL], Relu).unwrap_err(),
        builder.clone().add("y\u{202e}", &[NAME], dense(2, &[1.0; 5])).unwrap_err(),
        session.set_layer_order(EVIL, Order::ONE).unwrap_err(),
        Error::File(FileError::NotSafetensors { reason: string() }),
        Error::File(FileError::NotHorq { found: string() }),
        Error::File(FileError::Version { found: string(), supported: "1.x".into() }),
        Error::File(FileError::Malformed { key: "graph", reason: string() }),
        Error::File(FileError::NodeMalformed { index: 0, node: string(), reason: string() }),
        Error::Tensor(TensorError::TensorDtype { node: string(), tensor: string(), expected: "F32", found: string() }),
        Error::Tensor(TensorError::TensorShared { first: string(), second: string(), tensor: string() }),
        Error::Cpu(CpuError::Kernel(EVIL.parse::<Isa>().unwrap_err())),
        Error::Cpu(CpuError::LayerKernel { layer: string(), error: EVIL.parse::<Isa>().unwrap_err() }),
    ];
    for error in errors {
        let text = error.to_string();
        assert_eq!(escaped(&text).to_string(), text, "{error:?}");
        assert_eq!(format!("{error:?}"), text, "what `main` prints");
        assert!(
            [SHOWN, "name\\u{202e}", "y\\u{202e}", "a\\u{1b}[2J"].iter().any(|shown| text.contains(shown)),
            "{text}"
        );
    }
    // Letters of any script stay letters.
    let text = builder.add("y", &["größe 漢字 'n'"], Relu).unwrap_err().to_string();
    assert!(text.contains("`größe 漢字 'n'`"), "{text}");
}

/// No variant can forget: what is a string or a path in its fields does not stand in its message by its bare name.
#[test]
fn every_message_escapes_its_strings() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/error");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let source: String = files.collect();
    let mut strings = 0;
    for variant in source.split("#[error(").skip(1).filter(|variant| !variant.starts_with("transparent")) {
        let (message, rest) = variant.split_once(")]").expect("an attribute ends");
        let fields =
            rest.split("},").next().unwrap_or_default().lines().filter_map(|line| line.trim().split_once(": "));
        for (field, kind) in fields.filter(|(_, kind)| matches!(*kind, "String," | "PathBuf,")) {
            assert!(!message.contains(&format!("{{{field}}}")), "{message} shows `{field}`, a {kind} as it is");
            strings += 1;
        }
    }
    assert!(strings >= 70, "{strings} strings found");
}
