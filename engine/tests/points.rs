//! Sessions at operating points, and runs within a deadline.

mod common;

use common::{lenet::lenet, random, run};
use horq::error::{InputError, Interruption};
use horq::{
    Cascade, Error, Loss, Model, Order, Point, Points, RunOptions, ScaleMode, Session, SessionOptions, Threads,
};
use std::time::{Duration, Instant};

fn order(order: usize) -> Order {
    Order::new(order).unwrap()
}

/// LeNet of order 4 with three points.
fn model() -> Model {
    let points = [
        Point::new("fast", [("conv2", order(1)), ("dense3", order(1))]).loss(Loss::new(2.0, "accuracy", "nothing")),
        Point::new("mixed", [("conv2", order(3))]).loss(Loss::new(1.0, "accuracy", "nothing")),
        Point::new("exact", []).loss(Loss::new(0.0, "accuracy", "nothing")),
    ];
    let model = lenet(ScaleMode::Image, 4).model();
    Model::from_bytes(&model.to_bytes_with_points(&Points::new(points).default_to("mixed")).unwrap()).unwrap()
}

fn orders(session: &Session) -> Vec<usize> {
    session.profile().iter().filter_map(|layer| layer.order()).collect()
}

fn input(session: &Session) -> Vec<f32> {
    random::values(&mut random::rng(1), session.input_len())
}

#[test]
fn a_point_is_the_same_as_its_orders() {
    let model = model();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    // Whatever the file's default is, a session begins at the highest orders.
    assert_eq!((session.point(), orders(&session)), (None, vec![4, 4]));
    let input = input(&session);
    let mut by_hand = Session::new(&model, SessionOptions::new()).unwrap();
    let cases = [("fast", [1, 1]), ("exact", [4, 4]), ("mixed", [3, 4]), ("fast", [1, 1]), ("default", [3, 4])];
    for (name, expected) in cases {
        session.set_point(name).unwrap();
        let real = if name == "default" { "mixed" } else { name };
        assert_eq!((session.point(), orders(&session)), (Some(real), expected.to_vec()));
        for (layer, k) in ["conv2", "dense3"].into_iter().zip(expected) {
            by_hand.set_layer_order(layer, order(k)).unwrap();
        }
        assert_eq!(run(&mut session, &input), run(&mut by_hand, &input), "{name}");
    }
    session.set_layer_order("conv2", order(2)).unwrap();
    assert_eq!((session.point(), orders(&session)), (None, vec![2, 4]));
    session.set_point("fast").unwrap();
    session.set_order(Order::MAX);
    assert_eq!((session.point(), orders(&session)), (None, vec![4, 4]));
}

#[test]
fn options_and_runs_can_name_a_point() {
    let model = model();
    let mut session = Session::new(&model, SessionOptions::new().order(order(2)).point("default")).unwrap();
    assert_eq!((session.point(), orders(&session)), (Some("mixed"), vec![3, 4]));
    let (input, mut output) = (input(&session), vec![0.0; session.output_len()]);
    session.run_with(&input, &mut output, &RunOptions::new().point("fast")).unwrap();
    assert_eq!(session.point(), Some("fast"));
    assert_eq!(run(&mut session, &input), output);
}

#[test]
fn points_that_are_not_there_are_refused_with_those_that_are() {
    let model = model();
    let told = |error: Error| {
        assert!(matches!(error, Error::Input(InputError::UnknownPoint { .. })), "{error}");
        let text = error.to_string();
        assert!(text.contains("`slow`") && text.contains("fast, mixed, exact, default"), "{text}");
    };
    told(Session::new(&model, SessionOptions::new().point("slow")).unwrap_err());
    let mut session = Session::new(&model, SessionOptions::new().point("fast")).unwrap();
    told(session.set_point("slow").unwrap_err());
    let (input, mut output) = (input(&session), vec![0.0; session.output_len()]);
    told(session.run_with(&input, &mut output, &RunOptions::new().point("slow")).unwrap_err());
    assert_eq!((session.point(), orders(&session)), (Some("fast"), vec![1, 1]));

    let plain = lenet(ScaleMode::Image, 4).model();
    let mut session = Session::new(&plain, SessionOptions::new()).unwrap();
    let text = session.set_point("default").unwrap_err().to_string();
    assert!(text.contains("`default`") && text.contains("horq tune"), "{text}");
    let error = session.calibrate(Duration::ZERO).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::NoPoints)), "{error}");
    let error = Session::new(&plain, SessionOptions::new().latency_target(Duration::from_secs(1))).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::NoPoints)), "{error}");
}

#[test]
fn the_time_that_is_left_chooses_the_point() {
    for threads in [Threads::Inline, Threads::Own(2)] {
        let model = model();
        let mut session = Session::new(&model, SessionOptions::new().batch(3).threads(threads)).unwrap();
        session.set_layer_order("conv2", order(2)).unwrap();
        session.calibrate(Duration::from_millis(50)).unwrap();
        assert_eq!((session.point(), orders(&session)), (None, vec![2, 4]), "calibrating leaves no trace");
        let input: Vec<f32> = input(&session).repeat(3);
        let mut output = vec![0.0; 3 * session.output_len()];
        let hour = RunOptions::new().timeout(Duration::from_secs(3600));
        let answer = session.run_within(&input, &mut output, &hour).unwrap();
        assert_eq!((answer.point, answer.is_too_slow, answer.is_late()), (2, false, false));
        assert!(answer.took < answer.left && answer.expected > Duration::ZERO);
        assert_eq!(session.point(), Some("exact"));
        assert_eq!(run(&mut session, &input), output);

        let soon = RunOptions::new().timeout(Duration::from_micros(1));
        match session.run_within(&input, &mut output, &soon) {
            Ok(answer) => assert!(answer.is_too_slow, "{answer:?}"),
            Err(Error::Interrupted(error)) => {
                assert_eq!(error.reason, Interruption::Deadline);
                assert!(
                    error.fastest.is_some() && error.to_string().contains("fastest operating point takes"),
                    "{error}"
                );
            }
            Err(error) => panic!("{error}"),
        }
        // Which one is the fastest is the clock's to say; `Pace` has tests of the choice.
        assert!(session.point().is_some());
        // A fixed point runs whatever the clock says.
        let answer = session.run_within(&input, &mut output, &hour.point("mixed")).unwrap();
        assert_eq!((answer.point, session.point()), (1, Some("mixed")));
    }
}

#[test]
fn a_target_counts_from_the_arrival() {
    let model = model();
    let target = Duration::from_secs(3600);
    let mut session = Session::new(&model, SessionOptions::new().latency_target(target)).unwrap();
    assert_eq!((session.point(), orders(&session)), (None, vec![4, 4]));
    let (input, mut output) = (input(&session), vec![0.0; session.output_len()]);
    let answer = session.run_within(&input, &mut output, &RunOptions::new()).unwrap();
    assert_eq!((answer.point, answer.left), (2, target));
    let Some(arrived) = Instant::now().checked_sub(Duration::from_secs(100)) else { return };
    let answer = session.run_within(&input, &mut output, &RunOptions::new().arrived(arrived)).unwrap();
    assert!(answer.left <= target - Duration::from_secs(100), "{answer:?}");
    // Without a target there must be a deadline, and times must be known.
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    let error = session.run_within(&input, &mut output, &RunOptions::new()).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::NoDeadline)), "{error}");
    let error = session.run_within(&input, &mut output, &RunOptions::new().timeout(target)).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::NotCalibrated)), "{error}");
}

#[test]
fn a_target_that_nobody_reaches_is_refused_with_what_can_be_had() {
    let error = Session::new(&model(), SessionOptions::new().latency_target(Duration::from_nanos(1))).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Input(InputError::LatencyTarget { .. })), "{text}");
    assert!(text.contains("1.0ns") && text.contains("`fast`"), "{text}");
}

#[test]
fn a_run_past_its_deadline_ends_early_and_the_next_is_exact() {
    let model = model();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    session.calibrate(Duration::ZERO).unwrap();
    let (input, mut output) = (input(&session), vec![0.0; session.output_len()]);
    let past = RunOptions::new().deadline(Instant::now());
    let Err(Error::Interrupted(error)) = session.run_within(&input, &mut output, &past) else { panic!("it is late") };
    assert_eq!((error.reason, error.samples), (Interruption::Deadline, 0));
    let hour = RunOptions::new().timeout(Duration::from_secs(3600)).point("fast");
    session.run_within(&input, &mut output, &hour).unwrap();
    let mut fresh = Session::new(&model, SessionOptions::new().point("fast")).unwrap();
    assert_eq!(run(&mut fresh, &input), output);
}

#[test]
fn a_cascade_answers_again_where_the_margin_is_small() {
    let plain = model();
    let samples = 12;
    let mut session = Session::new(&plain, SessionOptions::new().batch(samples)).unwrap();
    let input = random::values(&mut random::rng(5), samples * session.input_len());
    let answers: Vec<Vec<f32>> = ["fast", "exact"]
        .iter()
        .map(|point| {
            session.set_point(point).unwrap();
            run(&mut session, &input)
        })
        .collect();
    let classes = session.output_len();
    let margin = |output: &[f32]| {
        let mut sorted = output.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        f64::from(sorted[0]) - f64::from(sorted[1])
    };
    let mut margins: Vec<f64> = answers[0].chunks(classes).map(margin).collect();
    margins.sort_by(f64::total_cmp);
    for (threshold, expected) in [(0.0, 0), (margins[5], 5), (f64::MAX, samples)] {
        let points = Points::new(plain.points().all.clone()).cascade(Cascade::new("fast", "exact", threshold));
        let model = Model::from_bytes(&plain.to_bytes_with_points(&points).unwrap()).unwrap();
        let mut session = Session::new(&model, SessionOptions::new().batch(samples)).unwrap();
        let mut output = vec![0.0; samples * classes];
        let again = session.run_cascade(0, &input, &mut output, &RunOptions::new()).unwrap();
        assert_eq!(again, expected);
        let low = answers[0].chunks(classes).zip(answers[1].chunks(classes));
        let wanted: Vec<f32> =
            low.flat_map(|(low, high)| if margin(low) < threshold { high } else { low }).copied().collect();
        assert_eq!(output, wanted, "below {threshold}");
        let error = session.run_cascade(1, &input, &mut output, &RunOptions::new()).unwrap_err();
        assert!(matches!(error, Error::Input(InputError::UnknownCascade { cascade: 1, count: 1 })), "{error}");
    }
}
