//! Several inputs and outputs, intermediate values as outputs, inputs of bytes, and other sizes.

mod common;

use common::{Net, assert_same_bits, isas, keep, options, random};
use horq::error::{GraphError, InputError, ResourceError};
use horq::graph::Shape;
use horq::ops::{
    Add, Affine, Basis, BinaryConv2d, Concat, Conv2d, Dense, Flatten, GlobalAveragePool, MaxPool, Quantizer, Relu,
};
use horq::{Builder, Error, Limits, Model, Order, ScaleMode, Session, SessionOptions, Threads, Values, Window};

const IMAGE: Shape = Shape::Image { height: 6, width: 5, channels: 3 };

/// Two images and a vector come in; an image in the middle, its vector and the end go out.
fn branches() -> (Net, [(&'static str, Shape); 2], [&'static str; 4]) {
    let mut rng = random::rng(7);
    let mut values = |n| keep(random::values(&mut rng, n));
    let same = Window::square(3).with_padding(1);
    let base = Basis::new(values(3 * 27), keep(vec![0.5, 0.25, 1.5]));
    let net = Net::new(IMAGE)
        .node("conv", &["x"], Conv2d::new(same, 3, values(3 * 27)))
        .node("sum", &["conv", "second"], Add)
        .node("norm", &["sum"], Affine::new(values(3), values(3)))
        .node("binary", &["norm"], BinaryConv2d::new(same, 3, Quantizer::new(Order::MAX, ScaleMode::Image), [base]))
        .node("act", &["binary"], Relu)
        .node("flat", &["norm"], Flatten)
        .node("mean", &["act"], GlobalAveragePool)
        .node("all", &["mean", "vector"], Concat)
        .node("end", &["all"], Dense::new(4, values(4 * 5)));
    (net, [("second", IMAGE), ("vector", Shape::Flat(2))], ["end", "norm", "flat", "act"])
}

fn model((net, inputs, outputs): &(Net, [(&str, Shape); 2], [&str; 4])) -> Model {
    Model::from_bytes(&net.builder_with(inputs).to_bytes_many(outputs).unwrap()).unwrap()
}

/// Runs a session and gives the answers of each output.
fn run_many(session: &mut Session, inputs: &[Values<'_>]) -> Result<Vec<Vec<f32>>, Error> {
    let samples = inputs[0].len() / session.input_lens()[0];
    let mut outputs: Vec<Vec<f32>> = session.output_lens().iter().map(|len| vec![f32::NAN; samples * len]).collect();
    session.run_many(inputs, &mut outputs.iter_mut().map(|output| &mut output[..]).collect::<Vec<_>>())?;
    Ok(outputs)
}

fn floats(inputs: &[Vec<f32>]) -> Vec<Values<'_>> {
    inputs.iter().map(|values| Values::F32(values)).collect()
}

/// As many samples for each input of the model.
fn samples(model: &Model, samples: usize) -> Vec<Vec<f32>> {
    let values = |(i, (_, shape)): (usize, (&str, Shape))| {
        random::values(&mut random::rng(50 + i as u64), samples * shape.len())
    };
    model.inputs().enumerate().map(values).collect()
}

#[test]
fn branches_answer_as_the_interpreter_does() {
    let made = branches();
    let model = model(&made);
    assert!(model.inputs().eq([("x", IMAGE), made.1[0], made.1[1]]));
    let flat = Shape::Flat(90);
    assert!(model.outputs().eq([("end", Shape::Flat(4)), ("norm", IMAGE), ("flat", flat), ("act", IMAGE)]));
    assert_eq!((model.input_shape(), model.output_shape()), (IMAGE, Shape::Flat(4)));
    assert_eq!((model.graph().input().name.as_str(), model.graph().output()), ("x", "end"));
    let inputs = samples(&model, 5);
    let given: Vec<_> = model.inputs().zip(&inputs).map(|((name, shape), values)| (name, shape, &values[..])).collect();
    let expected = made.0.values(&given, |_, highest| highest);
    for isa in isas() {
        for batch in [5, 64] {
            let mut session = Session::new(&model, options(batch, isa)).unwrap();
            for (output, name) in run_many(&mut session, &floats(&inputs)).unwrap().iter().zip(made.2) {
                assert_same_bits(output, &expected[name].1, &format!("{name}, batch {batch}, {isa}"));
            }
        }
    }
}

/// Every node of random networks is an output; fusing, planes and aliases have to give way.
#[test]
fn every_value_of_a_network_can_be_an_output() {
    for seed in 0..80 {
        let net = random::net(seed, true);
        let mut outputs: Vec<&str> = net.nodes.iter().map(|(name, ..)| name.as_str()).collect();
        if seed % 2 == 1 {
            outputs.reverse();
        }
        let model = Model::from_bytes(&net.builder().to_bytes_many(&outputs).unwrap()).unwrap();
        let input = random::values(&mut random::rng(seed), 3 * net.input.len());
        let expected = net.values(&[("x", net.input, &input)], |_, highest| highest);
        for isa in isas() {
            let mut session = Session::new(&model, options(3, isa)).unwrap();
            let answers = run_many(&mut session, &[Values::F32(&input)]).unwrap();
            for (answer, name) in answers.iter().zip(&outputs) {
                let is_softmax = net.nodes.iter().any(|(node, _, op)| node == name && op.kind() == "softmax");
                if !is_softmax {
                    assert_same_bits(answer, &expected[*name].1, &format!("seed {seed}, {name}, {isa}"));
                }
            }
        }
    }
}

#[test]
fn threads_and_batches_change_nothing() {
    let model = model(&branches());
    let inputs = samples(&model, 37);
    let expected = {
        let mut session = Session::new(&model, SessionOptions::new()).unwrap();
        let mut all: Vec<Vec<f32>> = vec![Vec::new(); 4];
        for sample in 0..37 {
            let of = |(values, len): (&Vec<f32>, &usize)| values[sample * len..][..*len].to_vec();
            let one: Vec<Vec<f32>> = inputs.iter().zip(session.input_lens()).map(of).collect();
            let answers = run_many(&mut session, &floats(&one)).unwrap();
            all.iter_mut().zip(answers).for_each(|(all, answer)| all.extend(answer));
        }
        all
    };
    for threads in [Threads::Inline, Threads::Own(2), Threads::Own(3)] {
        for batch in [37, 100] {
            let options = SessionOptions::new().batch(batch).threads(threads.clone());
            let mut session = Session::new(&model, options).unwrap();
            for (answer, expected) in run_many(&mut session, &floats(&inputs)).unwrap().iter().zip(&expected) {
                assert_same_bits(answer, expected, &format!("{threads:?}, batch {batch}"));
            }
        }
    }
}

/// Enough work that passes run side by side, each on a thread of its own.
#[test]
fn passes_side_by_side_cut_every_output() {
    let shape = Shape::Image { height: 32, width: 32, channels: 16 };
    let weight = keep(random::values(&mut random::rng(3), 16 * 144));
    let same = Window::square(3).with_padding(1);
    let net = Net::new(shape)
        .node("first", &["x"], Conv2d::new(same, 16, weight))
        .node("second", &["first"], Conv2d::new(same, 16, weight))
        .node("mean", &["second"], GlobalAveragePool)
        .node("sum", &["mean", "vector"], Add);
    let file = net.builder_with(&[("vector", Shape::Flat(16))]).to_bytes_many(&["sum", "first"]).unwrap();
    let model = Model::from_bytes(&file).unwrap();
    let inputs = samples(&model, 11);
    let bytes: Vec<u8> = (0..11 * shape.len()).map(|i| (i * 7) as u8).collect();
    for first in [Values::F32(&inputs[0]), Values::U8(&bytes)] {
        let given = [first, Values::F32(&inputs[1])];
        let answers = [Threads::Inline, Threads::Own(2), Threads::Own(4)].map(|threads| {
            let mut session = Session::new(&model, SessionOptions::new().batch(11).threads(threads)).unwrap();
            run_many(&mut session, &given).unwrap()
        });
        assert!(answers[0].iter().flatten().all(|value| value.is_finite()));
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
}

#[test]
fn bytes_are_numbers_from_0_to_255() {
    let made = branches();
    let model = model(&made);
    let bytes: Vec<Vec<u8>> =
        model.inputs().map(|(_, shape)| (0..9 * shape.len()).map(|i| i as u8).collect()).collect();
    let values: Vec<Vec<f32>> = bytes.iter().map(|bytes| bytes.iter().map(|&byte| byte.into()).collect()).collect();
    for threads in [Threads::Inline, Threads::Own(2)] {
        let mut session = Session::new(&model, SessionOptions::new().batch(9).threads(threads)).unwrap();
        let expected = run_many(&mut session, &floats(&values)).unwrap();
        for which in 0..8 {
            let choose = |i: usize| if which >> i & 1 == 1 { Values::U8(&bytes[i]) } else { Values::F32(&values[i]) };
            let given: Vec<Values<'_>> = (0..3).map(choose).collect();
            assert_eq!(run_many(&mut session, &given).unwrap(), expected, "bytes of {which:b}");
        }
    }
}

#[test]
fn the_memory_for_bytes_is_counted() {
    let file = Builder::new("x", Shape::Flat(5000)).add("y", &["x"], Relu).unwrap().to_bytes("y").unwrap();
    let model = Model::from_bytes(&file).unwrap();
    let mut session = Session::new(&model, SessionOptions::new().batch(3)).unwrap();
    let before = session.memory_bytes();
    let bytes = vec![9; 15_000];
    run_many(&mut session, &[Values::U8(&bytes)]).unwrap();
    let after = session.memory_bytes();
    assert_eq!(after - before, 60_000_usize.next_multiple_of(4096));
    run_many(&mut session, &[Values::U8(&bytes)]).unwrap();
    assert_eq!(session.memory_bytes(), after);

    let limited = |limit| {
        let model = Model::from_bytes_with(&file, &Limits::new().session_bytes(limit)).unwrap();
        let mut session = Session::new(&model, SessionOptions::new().batch(3)).unwrap();
        run_many(&mut session, &[Values::U8(&bytes)]).map(|answers| answers[0][0])
    };
    assert_eq!(limited(after).unwrap(), 9.0);
    let error = limited(after - 1).unwrap_err();
    assert!(matches!(error, Error::Resource(ResourceError::BytesMemory { .. })), "{error:?}");
    assert!(error.to_string().contains("the input `x` as bytes"), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let model = model(&branches());
    let mut session = Session::new(&model, SessionOptions::new().batch(2)).unwrap();
    let inputs = samples(&model, 2);
    let given = floats(&inputs);
    let error = session.run(&inputs[0], &mut [0.0; 8]).unwrap_err();
    assert!(
        matches!(&error, Error::Input(InputError::ValueCount { kind: "input", found: 1, expected: 3, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("x, second, vector"), "{error}");
    let mut end = [0.0; 8];
    let error = session.run_many(&given, &mut [&mut end]).unwrap_err();
    assert!(matches!(&error, Error::Input(InputError::ValueCount { kind: "output", found: 1, .. })), "{error:?}");
    assert!(error.to_string().contains("end, norm, flat, act"), "{error}");

    let error = run_many(&mut session, &[given[0], Values::F32(&inputs[1][..90]), given[2]]).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::SamplesDiffer { samples: 1, expected: 2, .. })), "{error:?}");
    assert!(error.to_string().contains("`second` has 1 samples, but `x` has 2"), "{error}");
    let error = run_many(&mut session, &[given[0], given[1], Values::U8(&[1; 5])]).unwrap_err();
    assert!(
        matches!(&error, Error::Input(InputError::InputLength { input, sample: 2, .. }) if input == "vector"),
        "{error:?}"
    );

    let mut outputs = [vec![0.0; 8], vec![0.0; 180], vec![0.0; 179], vec![0.0; 180]];
    let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
    let error = session.run_many(&given, &mut slices).unwrap_err();
    assert!(
        matches!(&error, Error::Input(InputError::OutputLength { output, found: 179, .. }) if output == "flat"),
        "{error:?}"
    );

    let mut vector = inputs[2].clone();
    vector[3] = f32::NAN;
    let error = run_many(&mut session, &[given[0], given[1], Values::F32(&vector)]).unwrap_err();
    assert!(error.to_string().contains("value 3 of the input `vector` (in sample 1) is NaN"), "{error}");

    // An intermediate output that overflows is named, not the end.
    let large = vec![f32::MAX; 180];
    let error = run_many(&mut session, &[Values::F32(&large), Values::F32(&large), given[2]]).unwrap_err();
    let Error::Input(InputError::LayerNotFinite { layer, .. }) = &error else { panic!("{error:?}") };
    assert!(["binary", "norm"].contains(&layer.as_str()), "{layer}");
    run_many(&mut session, &given).unwrap();
}

#[test]
fn a_builder_refuses_inputs_and_outputs_by_name() {
    let mut builder = Builder::new("x", Shape::Flat(2));
    for (name, shape) in [("x", Shape::Flat(2)), ("", Shape::Flat(2)), ("y", Shape::Flat(0))] {
        builder.add_input(name, shape).map(drop).unwrap_err();
    }
    builder.add("a", &["x"], Relu).unwrap().add("b", &["a"], Relu).unwrap();
    let taken = builder.add_input("a", Shape::Flat(2)).map(drop).unwrap_err();
    assert!(matches!(taken, Error::Graph(GraphError::DuplicateName { .. })), "{taken:?}");
    let refused = |outputs: &[&str]| builder.to_bytes_many(outputs).unwrap_err();
    assert!(matches!(refused(&[]), Error::Graph(GraphError::OutputLimit { count: 0, .. })));
    assert!(matches!(refused(&["b", "x"]), Error::Graph(GraphError::UnknownOutput { .. })));
    assert!(matches!(refused(&["b", "b"]), Error::Graph(GraphError::DuplicateOutput { .. })));
    builder.to_bytes_many(&["b", "a"]).unwrap();
    builder.add_input("late", Shape::Flat(2)).unwrap();
    let unread = builder.to_bytes_many(&["b", "a"]).unwrap_err();
    assert!(matches!(&unread, Error::Graph(GraphError::UnreadInput { input }) if input == "late"), "{unread:?}");
    builder.add("c", &["a", "late"], Add).unwrap();
    builder.golden_many(&[&[1.0, 2.0], &[3.0, 4.0]], &[&[4.0, 6.0]]);
    let fewer = builder.to_bytes_many(&["c", "b"]).unwrap_err();
    assert!(
        matches!(fewer, Error::Input(InputError::ValueCount { kind: "golden output", found: 1, expected: 2, .. })),
        "{fewer:?}"
    );
    builder.golden_many(&[&[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0]], &[&[4.0, 6.0], &[1.0, 2.0]]);
    let longer = builder.to_bytes_many(&["c", "b"]).unwrap_err();
    assert!(
        matches!(&longer, Error::Input(InputError::GoldenLength { value, found: 4, samples: 1, .. }) if value == "late"),
        "{longer:?}"
    );
}

#[test]
fn golden_values_are_kept_of_every_input_and_output() {
    let (net, inputs, outputs) = branches();
    let mut builder = net.builder_with(&inputs);
    let values = |seed, len| random::values(&mut random::rng(seed), len);
    let given = [values(1, 180), values(2, 180), values(3, 4)];
    let answers = [values(4, 8), values(5, 180), values(6, 180), values(7, 180)];
    builder.golden_many(
        &given.iter().map(|values| &values[..]).collect::<Vec<_>>(),
        &answers.iter().map(|values| &values[..]).collect::<Vec<_>>(),
    );
    let model = Model::from_bytes(&builder.to_bytes_many(&outputs).unwrap()).unwrap();
    let golden = model.golden().unwrap();
    assert_eq!(golden.samples, 2);
    assert!(golden.inputs.iter().zip(&given).all(|(found, given)| found == given) && golden.inputs.len() == 3);
    assert!(golden.outputs.iter().zip(&answers).all(|(found, given)| found == given) && golden.outputs.len() == 4);
    assert_eq!((golden.input(), golden.output()), (&given[0][..], &answers[0][..]));
}

/// A network for any size of image, with layers that know sizes in every way: padding, strides, pools, planes.
fn sizeless(height: usize, width: usize) -> Net {
    let mut rng = random::rng(11);
    let mut values = |n| keep(random::values(&mut rng, n));
    let same = Window::square(3).with_padding(1);
    let fixed = || Quantizer::fixed(Order::new(2).unwrap(), keep(vec![0.5_f32, 0.25]) as &[f32]);
    let base = |weight| Basis::new(weight, keep(vec![0.1; 20]));
    Net::new(Shape::Image { height, width, channels: 4 })
        .then("stem", Conv2d::new(same, 20, values(20 * 36)))
        .then("first", BinaryConv2d::new(same, 20, fixed(), [base(values(20 * 180))]))
        .then("second", BinaryConv2d::new(same, 20, fixed(), [base(values(20 * 180))]))
        .then("pool", MaxPool::new(Window::square(2).with_stride(2)))
        .then("depthwise", Conv2d::new(same, 20, values(20 * 9)).groups(20))
        .then("mean", GlobalAveragePool)
        .then("end", Dense::new(3, values(60)))
}

#[test]
fn a_model_of_another_size_is_the_same_network() {
    let model = sizeless(8, 8).model();
    let original = random::values(&mut random::rng(1), model.input_shape().len());
    let expected = common::run(&mut Session::new(&model, SessionOptions::new()).unwrap(), &original);
    for (height, width) in [(8, 8), (16, 10), (5, 31), (2, 2)] {
        let net = sizeless(height, width);
        let resized = model.resized(&[net.input]).unwrap();
        assert_eq!((resized.input_shape(), resized.digest()), (net.input, model.digest()));
        assert!(resized.golden().is_none());
        assert_eq!(resized.shapes(), net.model().shapes());
        assert_eq!(
            resized.u32s("first.weight.0").as_ptr(),
            model.u32s("first.weight.0").as_ptr(),
            "shared, not copied"
        );
        let input = random::values(&mut random::rng(2), 2 * net.input.len());
        let mut session = Session::new(&resized, SessionOptions::new().batch(2)).unwrap();
        assert_same_bits(
            &common::run(&mut session, &input),
            &net.answer(&input, |_, highest| highest),
            &format!("{height} x {width}"),
        );
        let back = resized.resized(&[model.input_shape()]).unwrap();
        assert_same_bits(
            &common::run(&mut Session::new(&back, SessionOptions::new()).unwrap(), &original),
            &expected,
            "back again",
        );
    }
}

#[test]
fn the_first_node_that_cannot_follow_is_named() {
    let model = sizeless(8, 8).model();
    let image = |height, width, channels| Shape::Image { height, width, channels };
    let refused = |shapes: &[Shape]| model.resized(shapes).unwrap_err();
    let count = refused(&[]);
    assert!(matches!(count, Error::Input(InputError::ShapeCount { found: 0, expected: 1 })), "{count:?}");
    let small = refused(&[image(1, 1, 4)]);
    assert!(matches!(&small, Error::Graph(GraphError::Geometry { node, .. }) if node == "pool"), "{small:?}");
    let channels = refused(&[image(8, 8, 5)]);
    assert!(matches!(&channels, Error::Graph(GraphError::Resized { node, .. }) if node == "stem"), "{channels:?}");
    for text in ["`stem`", "8x8x5", "`stem.weight`", "8x8x4"] {
        assert!(channels.to_string().contains(text), "{channels}");
    }
    let rank = refused(&[Shape::Flat(256)]);
    assert!(matches!(rank, Error::Graph(GraphError::Rank { .. })), "{rank:?}");
    let none = refused(&[image(0, 8, 4)]);
    assert!(matches!(none, Error::Graph(GraphError::ValueSize { .. })), "{none:?}");

    let flat =
        Net::new(image(2, 2, 2)).then("flat", Flatten).then("act", Relu).then("end", Dense::new(1, keep(vec![1.0; 8])));
    let model = flat.model();
    let error = model.resized(&[image(2, 3, 2)]).unwrap_err();
    assert!(matches!(&error, Error::Graph(GraphError::Resized { node, .. }) if node == "end"), "{error:?}");
    model.resized(&[image(1, 4, 2)]).unwrap(); // the vector is as long, so its values have other places

    // The limits with which the model was opened hold.
    let limits = Limits::new().value_elements(2000);
    let bounded = Model::from_bytes_with(&sizeless(8, 8).bytes(), &limits).unwrap();
    let large = bounded.resized(&[image(30, 30, 4)]).unwrap_err();
    assert!(matches!(large, Error::Graph(GraphError::ValueSize { .. })), "{large:?}");
}
