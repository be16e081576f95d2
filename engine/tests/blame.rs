//! Errors about values name the first sample at fault, its layer and its place, whatever the threads and the batch.

mod common;

use common::random::{rng, values};
use common::{Net, keep, options, quantizer};
use horq::error::InputError;
use horq::graph::Shape;
use horq::ops::{Add, Affine, Basis, BinaryDense, Concat, Dense, Embedding, Log, Relu, Sign, Softmax};
use horq::rayon::ThreadPoolBuilder;
use horq::{Builder, Error, Isa, Model, RunOptions, ScaleMode, Session, Threads, Values};
use std::sync::Arc;

/// Every way to run up to `batch` samples, some with passes of other sizes.
fn sessions(model: &Model, batch: usize) -> Vec<Session> {
    let pool = Arc::new(ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    let ways = [Threads::Inline, Threads::Own(2), Threads::Own(3), Threads::Pool(pool)];
    let session = |threads| Session::new(model, options(batch, Isa::Portable).threads(threads)).unwrap();
    ways.into_iter().map(session).collect()
}

/// A network wide enough that passes go side by side, whose samples of zeros have answers.
fn wide() -> Net {
    let weight = keep(values(&mut rng(1), 512 * 1024).into_iter().map(|x| x * 0.01).collect::<Vec<f32>>());
    Net::new(Shape::Flat(512)).then("first", Dense::new(1024, weight))
}

const BATCH: usize = 64;

/// Runs 64 samples of zeros but for `wrong`, each a sample, a place in it and a value; the same error in every way to run.
fn refused(net: &Net, wrong: &[(usize, usize, f32)]) -> InputError {
    let mut found: Option<(String, InputError)> = None;
    for mut session in sessions(&net.model(), BATCH) {
        let len = session.input_len();
        let mut input = vec![0.0; BATCH * len];
        for &(sample, place, value) in wrong {
            input[sample * len + place] = value;
        }
        let mut output = vec![0.0; BATCH * session.output_len()];
        let error = session.run(&input, &mut output).unwrap_err();
        let first = wrong.iter().map(|&(sample, ..)| sample).min();
        assert_eq!(error.sample(), first, "{error} {session:?}");
        // A batch of a caller's own, of which this run is the second part.
        let later = RunOptions::new().first_sample(1000);
        assert_eq!(
            session.run_with(&input, &mut output, &later).unwrap_err().sample(),
            first.map(|first| first + 1000)
        );
        // Without the samples at fault the rest has its answers.
        input.fill(0.0);
        session.run(&input, &mut output).unwrap();
        let text = error.to_string();
        let Error::Input(error) = error else { panic!("{error}") };
        assert_eq!(found.get_or_insert((text.clone(), error)).0, text, "{session:?}");
    }
    found.expect("there are several ways to run").1
}

#[test]
fn a_value_of_an_input() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let error = refused(&wide(), &[(40, 3, f32::NAN), (17, 500, value), (63, 0, f32::NAN)]);
        let text = error.to_string();
        let expected = format!("value {} of the input `x` (in sample 17) is {name};", 17 * 512 + 500);
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn of_several_inputs_the_first_sample() {
    let mut builder = Builder::new("a", Shape::Flat(2));
    builder.add_input("b", Shape::Flat(3)).unwrap().add("y", &["a", "b"], Concat).unwrap();
    let model = Model::from_bytes(&builder.to_bytes("y").unwrap()).unwrap();
    let mut session = Session::new(&model, options(4, Isa::Portable)).unwrap();
    let (mut a, mut b) = ([0.0; 8], [0.0; 12]);
    (a[7], b[4]) = (f32::NAN, f32::INFINITY);
    let error = session.run_many(&[Values::F32(&a), Values::F32(&b)], &mut [&mut [0.0; 20]]).unwrap_err();
    let InputError::InputNotFinite { input, index: 4, sample: 1, .. } = input_error(&error) else { panic!("{error}") };
    assert_eq!(input, "b");
}

fn input_error(error: &Error) -> &InputError {
    let Error::Input(error) = error else { panic!("{error}") };
    error
}

#[test]
fn a_value_that_arises_in_a_layer() {
    let large = || Affine::new(keep(vec![f32::MAX; 1024]), keep(vec![0.0; 1024]));
    let bits = keep(vec![1.0; 1024]);
    let binary = BinaryDense::new(1, quantizer(1, ScaleMode::Image, None), [Basis::new(bits, &[1.0])]);
    let mut weight = vec![0.0; 512 * 1024];
    (weight[0], weight[3 * 512 + 1]) = (1.0, 1.0);
    let net = Net::new(Shape::Flat(512))
        .then("first", Dense::new(1024, keep(weight)))
        .then("signs", Sign)
        .node("large", &["first"], large())
        .node("both", &["large", "signs"], Add)
        .then("binary", binary);
    refused(&net, &[(30, 0, 2.0), (9, 1, -3.0), (50, 0, 9.0)]);
    let error = refused(&net, &[(12, 1, -3.0)]);
    let InputError::LayerNotFinite { layer, sample: 12, index: Some(3) } = &error else { panic!("{error}") };
    assert_eq!(layer, "binary");
    let text = error.to_string();
    assert!(text.starts_with("in sample 12, value 3 of layer `binary` is NaN or infinite"), "{text}");
}

#[test]
fn a_value_of_an_output_and_one_of_a_layer_behind_it() {
    // Layer `log` makes an infinity of 0, which is an output; `signs` refuses an infinity.
    let mut builder = Builder::new("x", Shape::Flat(4));
    builder.add("log", &["x"], Log).unwrap().add("large", &["x"], Affine::new(&[f32::MAX; 4], &[0.0; 4])).unwrap();
    builder.add("signs", &["large"], Sign).unwrap();
    let model = Model::from_bytes(&builder.to_bytes_many(&["log", "signs"]).unwrap()).unwrap();
    for mut session in sessions(&model, BATCH) {
        let mut run = |wrong: &[(usize, f32)]| {
            let mut input = vec![1.0; BATCH * 4];
            wrong.iter().for_each(|&(sample, value)| input[sample * 4 + 2] = value);
            let (mut log, mut signs) = (vec![0.0; BATCH * 4], vec![0.0; BATCH * 4]);
            session.run_many(&[Values::F32(&input)], &mut [&mut log, &mut signs])
        };
        run(&[]).unwrap();
        // The answer of sample 8 is not finite; sample 20 stops the run before all answers are there.
        for (wrong, first, name) in [
            (&[(8, 0.0), (20, 3.0)][..], 8, "log"),
            (&[(20, 0.0), (8, 3.0)], 8, "signs"),
            (&[(63, 0.0)], 63, "log"),
            (&[(0, 3.0)], 0, "signs"),
        ] {
            let error = run(wrong).unwrap_err();
            let InputError::LayerNotFinite { layer, sample, index: Some(2) } = input_error(&error) else {
                panic!("{error}")
            };
            assert_eq!((layer.as_str(), *sample, error.sample()), (name, first, Some(first)), "{error}");
        }
    }
}

#[test]
fn a_number_without_a_row() {
    let table = keep(vec![0.5; 3 * 100]);
    let net = Net::new(Shape::Flat(7)).then("words", Embedding::new(100, table)).then("y", Relu);
    let error = refused(&net, &[(33, 6, 3.0), (5, 4, 1.5), (5, 6, -1.0), (60, 0, 4.0)]);
    let InputError::EmbeddingRow { sample: 5, index: 4, value: 1.5, rows: 3, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().starts_with("in sample 5, value 4 that the embedding `words` reads is 1.5;"), "{error}");
}

#[test]
fn errors_about_something_else_have_no_sample() {
    let model = Net::new(Shape::Flat(4)).then("y", Softmax).model();
    let mut session = Session::new(&model, options(2, Isa::Portable)).unwrap();
    assert_eq!(session.run(&[0.0; 5], &mut [0.0; 4]).unwrap_err().sample(), None);
    assert_eq!(session.run(&[0.0; 12], &mut [0.0; 12]).unwrap_err().sample(), None);
    assert_eq!(Model::from_bytes(b"no model").unwrap_err().sample(), None);
}
