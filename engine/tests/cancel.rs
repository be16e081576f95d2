//! Runs that are called off: by a token, by a deadline, or by the caller when asked. They end soon, say how far they came, and leave
//! a session as good as new.

mod common;

use common::random::{rng, values};
use common::{Net, assert_same_bits, isas, keep, options, random, run};
use horq::error::{InterruptedError, Interruption};
use horq::graph::Shape;
use horq::ops::{AveragePool, Conv2d, GlobalAveragePool, Lrn, MaxPool, MultiThreshold, TopK};
use horq::rayon::{ThreadPool, ThreadPoolBuilder};
use horq::{CancelToken, Error, ErrorKind, Isa, Model, RunOptions, Session, SessionOptions, Threads, Values, Window};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// What a run that was called off may take until it ends, on a machine that has other work and without optimisation. The
/// example `interrupt` measures what it does take.
const SOON: Duration = Duration::from_secs(1);

fn pool() -> Arc<ThreadPool> {
    Arc::new(ThreadPoolBuilder::new().num_threads(2).build().unwrap())
}

fn ways() -> [Threads; 3] {
    [Threads::Inline, Threads::Own(2), Threads::Pool(pool())]
}

/// Why a run ended; nothing else may have happened.
fn interrupted(outcome: Result<(), Error>) -> InterruptedError {
    let error = outcome.expect_err("the run was called off");
    assert_eq!((error.kind(), error.sample()), (ErrorKind::Interrupted, None));
    let Error::Interrupted(error) = error else { panic!("{error}") };
    error
}

/// Convolutions of 64 channels on an image of that many rows and columns.
fn convolutions(size: usize) -> Net {
    let weights = keep(values(&mut rng(1), 64 * 64 * 9).into_iter().map(|x| x * 0.05).collect::<Vec<f32>>());
    let conv = || Conv2d::new(Window::square(3).with_padding(1), 64, weights);
    Net::new(Shape::Image { height: size, width: size, channels: 64 }).then("a", conv()).then("b", conv())
}

#[test]
fn a_run_that_is_called_off_before_it_starts_computes_nothing() {
    let net = convolutions(8);
    let model = net.model();
    let input = values(&mut rng(2), 3 * net.input.len());
    let expected = net.answer(&input, |_, highest| highest);
    for threads in ways() {
        let mut session = Session::new(&model, options(3, Isa::Portable).threads(threads)).unwrap();
        let mut output = vec![7.0; expected.len()];
        let token = CancelToken::new();
        token.cancel();
        token.clone().cancel(); // twice is as good as once
        let past = Instant::now() - Duration::from_secs(1);
        for (options, reason, text) in [
            (RunOptions::new().cancel(&token), Interruption::Cancelled, "the run was cancelled before"),
            (RunOptions::new().deadline(past), Interruption::Deadline, "the run passed its deadline before"),
            (RunOptions::new().timeout(Duration::ZERO), Interruption::Deadline, "the run passed its deadline before"),
            (RunOptions::new().cancel(&token).deadline(past), Interruption::Cancelled, "the run was cancelled before"),
        ] {
            let error = interrupted(session.run_with(&input, &mut output, &options));
            assert_eq!((error.reason, &error.layer, error.samples), (reason, &None, 0));
            assert!(error.to_string().starts_with(text), "{error}");
            assert!(output.iter().all(|&y| y == 7.0), "nothing was written");
        }
        assert_same_bits(&run(&mut session, &input), &expected, "afterwards");
        // Wrong lengths are found first.
        let error = session.run_with(&input[1..], &mut output, &RunOptions::new().cancel(&token)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    }
}

#[test]
fn options_that_end_nothing_change_nothing() {
    let net = convolutions(8);
    let input = values(&mut rng(2), 3 * net.input.len());
    let expected = net.answer(&input, |_, highest| highest);
    let (token, never) = (CancelToken::new(), || false);
    let far = RunOptions::new().cancel(&token).timeout(Duration::from_secs(3600)).poll(Duration::ZERO, &never);
    let endless = RunOptions::new().timeout(Duration::MAX);
    assert_eq!(endless.deadline, None);
    for threads in ways() {
        let mut session = Session::new(&net.model(), options(3, Isa::Portable).threads(threads)).unwrap();
        for options in [RunOptions::new(), far, endless] {
            let mut output = vec![0.0; expected.len()];
            session.run_with(&input, &mut output, &options).unwrap();
            assert_same_bits(&output, &expected, &format!("{options:?}"));
        }
    }
}

/// Every place where a run looks: networks of random layers are called off at the first look, at the second, and so on until one
/// comes through; after each the session answers as ever.
#[test]
fn a_run_can_end_wherever_it_looks() {
    let mut ended = 0;
    for seed in 0..24 {
        let net = random::net(seed, true);
        let model = net.model();
        let input = random::values(&mut random::rng(seed), 3 * net.input.len());
        let isa = isas()[seed as usize % isas().len()];
        let expected = run(&mut Session::new(&model, options(3, isa)).unwrap(), &input);
        for threads in [Threads::Inline, Threads::Own(2)] {
            let mut session = Session::new(&model, options(3, isa).threads(threads)).unwrap();
            let mut output = vec![0.0; expected.len()];
            for end in (1..).map(|i: usize| i + i * i / 16) {
                let looks = AtomicUsize::new(0);
                let ask = || looks.fetch_add(1, Relaxed) + 1 == end;
                let outcome = session.run_with(&input, &mut output, &RunOptions::new().poll(Duration::ZERO, &ask));
                if outcome.is_ok() {
                    assert!(looks.into_inner() < end);
                    assert_same_bits(&output, &expected, &format!("seed {seed}, with looks"));
                    break;
                }
                let error = interrupted(outcome);
                assert_eq!(error.reason, Interruption::Cancelled);
                assert!(error.samples <= 3, "{error}");
                // Layers that were fused have no name of their own.
                let known = |layer: &String| session.profile().iter().any(|profile| profile.name == *layer);
                assert!(error.layer.as_ref().is_none_or(known), "{error}");
                ended += 1;
                if end % 3 == 0 {
                    assert_same_bits(&run(&mut session, &input), &expected, &format!("seed {seed}, ended at {end}"));
                }
            }
        }
    }
    assert!(ended > 500, "only {ended} runs ended");
}

#[test]
fn an_interrupted_run_says_how_far_it_came() {
    // A sample takes more than a slice, so each is a pass of its own: two layers, one look before each.
    let net = convolutions(40);
    let mut session = Session::new(&net.model(), options(4, isas()[0])).unwrap();
    let input = vec![0.5; 4 * net.input.len()];
    let mut output = vec![0.0; 4 * session.output_len()];
    let mut seen: Vec<(Option<String>, usize)> = Vec::new();
    for end in (1..).step_by(7) {
        let looks = AtomicUsize::new(0);
        let ask = || looks.fetch_add(1, Relaxed) + 1 == end;
        let options = RunOptions::new().poll(Duration::ZERO, &ask).first_sample(100);
        let Err(error) = session.run_with(&input, &mut output, &options) else { break };
        let error = interrupted(Err(error));
        let now = (error.layer, error.samples);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        assert!(end < 1000, "{seen:?}");
        if seen.len() == 4 {
            break;
        }
    }
    let a = || Some("a".to_owned());
    assert_eq!(seen, [(None, 100), (a(), 100), (None, 101), (a(), 101)]);
}

/// The time from `call_off`, which runs on another thread after the run has begun, to the end of the run.
fn time_to_end(
    session: &mut Session,
    input: &[f32],
    options: &RunOptions<'_>,
    call_off: impl FnOnce() + Send,
) -> Duration {
    let mut output = vec![0.0; input.len() / session.input_len() * session.output_len()];
    thread::scope(|scope| {
        let caller = scope.spawn(move || {
            thread::sleep(Duration::from_millis(60));
            let now = Instant::now();
            call_off();
            now
        });
        let error = interrupted(session.run_with(input, &mut output, options));
        let end = Instant::now();
        assert_eq!(error.reason, Interruption::Cancelled);
        end.saturating_duration_since(caller.join().unwrap())
    })
}

#[test]
fn another_thread_ends_a_long_layer_and_a_large_batch() {
    // One sample that takes many seconds, and many samples that take none to speak of.
    for (net, samples) in [(convolutions(1024), 1), (convolutions(4), 60_000)] {
        let model = net.model();
        let input = vec![0.5; samples * net.input.len()];
        for threads in ways() {
            let what = format!("{samples} samples, {threads:?}");
            let mut session = Session::new(&model, options(samples, isas()[0]).threads(threads)).unwrap();
            let token = CancelToken::new();
            let took = time_to_end(&mut session, &input, &RunOptions::new().cancel(&token), || token.cancel());
            assert!(took < SOON, "{what}: {took:?}");
            let began = Instant::now();
            let deadline = RunOptions::new().timeout(Duration::from_millis(60));
            let mut output = vec![0.0; samples * session.output_len()];
            let error = interrupted(session.run_with(&input, &mut output, &deadline));
            assert_eq!(error.reason, Interruption::Deadline);
            assert!((Duration::from_millis(60)..SOON).contains(&began.elapsed()), "{what}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn sessions_that_share_a_token_end_together() {
    let net = convolutions(1024);
    let model = net.model();
    let input = &vec![0.5; net.input.len()];
    let token = &CancelToken::new();
    thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let mut session = Session::new(&model, SessionOptions::new()).unwrap();
                scope.spawn(move || {
                    let mut output = vec![0.0; session.output_len()];
                    session.run_with(input, &mut output, &RunOptions::new().cancel(token)).map_err(|error| error.kind())
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        let now = Instant::now();
        token.cancel();
        for run in runs {
            assert_eq!(run.join().unwrap(), Err(ErrorKind::Interrupted));
        }
        assert!(now.elapsed() < SOON, "{:?}", now.elapsed());
    });
}

/// Operations a single line of whose output would take many seconds or hours.
#[test]
fn long_lines_end_as_well() {
    let flat = 1 << 20;
    let image = |size, channels| Shape::Image { height: size, width: size, channels };
    let far = |kernel| Window { kernel: [kernel; 2], ..Window::square(1) };
    let nets = [
        Net::new(Shape::Flat(flat)).then("y", TopK::new(flat / 2)),
        Net::new(Shape::Flat(flat)).then("y", Lrn::new(flat, 1.0, 0.75, 1.0)),
        Net::new(image(2048, 1)).then("y", MaxPool::new(far(1024))),
        Net::new(image(2048, 1)).then("y", AveragePool::new(far(1024))),
        Net::new(image(2048, 1)).then("y", Conv2d::new(far(512), 1, keep(vec![1e-6; 1 << 18]))),
        Net::new(image(512, 16)).then("y", Conv2d::new(far(256), 16, keep(vec![1e-6; 1 << 20])).groups(16)),
        Net::new(Shape::Flat(flat)).then("y", MultiThreshold::new(1, keep(vec![0.5; 1 << 16]), 1.0, 0.0)),
    ];
    for net in nets {
        let mut session = Session::new(&net.model(), SessionOptions::new()).unwrap();
        let input = vec![0.5; net.input.len()];
        let mut output = vec![0.0; session.output_len()];
        let began = Instant::now();
        let late = session.run_with(&input, &mut output, &RunOptions::new().timeout(Duration::from_millis(20)));
        assert_eq!(interrupted(late).reason, Interruption::Deadline);
        assert!(began.elapsed() < SOON, "{:?}: {:?}", net.nodes[0].2.kind(), began.elapsed());
    }
}

#[test]
fn bytes_are_widened_and_inputs_are_searched_under_a_deadline() {
    // Nearly all of the time goes to the 64 MiB of the input.
    let net = Net::new(Shape::Image { height: 4096, width: 4096, channels: 1 }).then("y", GlobalAveragePool);
    let model = net.model();
    let mut session = Session::new(&model, SessionOptions::new()).unwrap();
    let (bytes, floats) = (vec![3_u8; net.input.len()], vec![3.0; net.input.len()]);
    let mut expected = [0.0];
    Session::new(&model, SessionOptions::new()).unwrap().run(&floats, &mut expected).unwrap();
    for input in [Values::U8(&bytes), Values::F32(&floats)] {
        for look in [2, 5] {
            let looks = AtomicUsize::new(0);
            let ask = || looks.fetch_add(1, Relaxed) + 1 == look;
            let options = RunOptions::new().poll(Duration::ZERO, &ask);
            let error = interrupted(session.run_many_with(&[input], &mut [&mut [0.0]], &options));
            assert_eq!((error.layer, error.samples), (None, 0));
        }
        let mut mean = [0.0];
        session.run_many(&[input], &mut [&mut mean]).unwrap();
        assert_eq!(mean, expected);
    }
}

#[test]
fn questions_are_asked_on_the_callers_thread_now_and_then() {
    let net = convolutions(80);
    let model = net.model();
    let input = vec![0.5; net.input.len()];
    for threads in [Threads::Inline, Threads::Own(2)] {
        let mut session = Session::new(&model, options(1, isas()[0]).threads(threads)).unwrap();
        let (me, asked, began) = (thread::current().id(), AtomicUsize::new(0), Instant::now());
        let ask = || {
            assert_eq!(thread::current().id(), me);
            asked.fetch_add(1, Relaxed);
            false
        };
        let mut output = vec![0.0; session.output_len()];
        let every = Duration::from_millis(2);
        session.run_with(&input, &mut output, &RunOptions::new().poll(every, &ask)).unwrap();
        let (asked, most) = (asked.into_inner(), began.elapsed().as_millis() as usize / 2);
        assert!(asked > 0 && asked <= most, "asked {asked} times in {:?}", began.elapsed());
    }
}

#[test]
fn profiles_and_orders_outlive_a_run_that_ended() {
    let net = common::lenet::lenet(horq::ScaleMode::Image, 2);
    let mut session = Session::new(&net.model(), options(2, isas()[0]).profile(true)).unwrap();
    session.set_order(horq::Order::ONE);
    let input = values(&mut rng(5), 2 * net.input.len());
    let expected = run(&mut session, &input);
    session.reset_profile();
    let looks = AtomicUsize::new(0);
    let ask = || looks.fetch_add(1, Relaxed) == 5;
    let mut output = vec![0.0; expected.len()];
    interrupted(session.run_with(&input, &mut output, &RunOptions::new().poll(Duration::ZERO, &ask)));
    assert!(session.profile().iter().all(|layer| layer.runs == 0 && layer.samples == 0));
    assert_same_bits(&run(&mut session, &input), &expected, "at the same order");
    assert!(session.profile().iter().all(|layer| layer.runs == 1 && layer.samples == 2));
}

#[test]
fn a_cancelled_run_in_a_pool_of_one_leaves_the_pool_to_others() {
    let pool = Arc::new(ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let net = convolutions(1024);
    let model: Model = net.model();
    let mut session = Session::new(&model, SessionOptions::new().threads(Threads::Pool(pool.clone()))).unwrap();
    let token = CancelToken::new();
    let input = vec![0.5; net.input.len()];
    let took = time_to_end(&mut session, &input, &RunOptions::new().cancel(&token), || token.cancel());
    assert!(took < SOON, "{took:?}");
    assert_eq!(pool.install(|| 5), 5);
}
