//! A fixed number of sessions for any number of threads: nobody waits who need not, nobody starves, and none is lost.

mod common;

use common::lenet::lenet;
use common::random::{rng, values};
use common::{assert_same_bits, run};
use horq::error::{InputError, ResourceError};
use horq::{
    CancelToken, Error, ErrorKind, Model, Order, PooledSession, RunOptions, ScaleMode, Session, SessionOptions,
    SessionPool, Threads,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

fn model() -> Model {
    lenet(ScaleMode::Image, 2).model()
}

fn pool(sessions: usize) -> SessionPool {
    SessionPool::new(&model(), SessionOptions::new(), sessions).unwrap()
}

fn busy(outcome: Result<PooledSession, Error>) -> Duration {
    let error = outcome.expect_err("all sessions are out");
    assert_eq!(error.kind(), ErrorKind::Resource);
    let Error::Resource(ResourceError::PoolBusy { waited, .. }) = error else { panic!("{error}") };
    assert!(error.to_string().starts_with("all "), "{error}");
    waited
}

#[test]
fn as_many_sessions_as_were_asked_for() {
    assert!(matches!(
        SessionPool::new(&model(), SessionOptions::new(), 0).unwrap_err(),
        Error::Input(InputError::NoSessions)
    ));
    let error = SessionPool::new(&model(), SessionOptions::new().batch(0), 2).unwrap_err();
    assert!(matches!(error, Error::Input(InputError::Batch)), "{error}");
    let pool = pool(2);
    let (first, second) = (pool.try_get().unwrap(), pool.try_get().unwrap());
    assert_eq!((pool.sessions(), pool.idle().unwrap(), pool.waiting().unwrap()), (2, 0, 0));
    assert_eq!(busy(pool.try_get()), Duration::ZERO);
    let past = Instant::now() - Duration::from_secs(1);
    assert!(busy(pool.get_deadline(past)) < Duration::from_secs(1));
    let waited = busy(pool.get_timeout(Duration::from_millis(30)));
    assert!(waited >= Duration::from_millis(30), "{waited:?}");
    assert_eq!(pool.waiting().unwrap(), 0, "whoever gave up does not wait");
    drop(first);
    drop(pool.clone().try_get().unwrap());
    drop(second);
    assert_eq!(pool.idle().unwrap(), 2);
    drop(pool.get_timeout(Duration::MAX).unwrap());
}

#[test]
fn answers_are_right_with_more_threads_than_sessions() {
    let pool = pool(2);
    let input = values(&mut rng(1), pool.model().input_shape().len());
    let expected = run(&mut Session::new(pool.model(), SessionOptions::new()).unwrap(), &input);
    let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut session = pool.get().unwrap();
                    most.fetch_max(at_once.fetch_add(1, Relaxed) + 1, Relaxed);
                    assert_same_bits(&run(&mut session, &input), &expected, "in a pool");
                    at_once.fetch_sub(1, Relaxed);
                }
            });
        }
    });
    assert!((1..=2).contains(&most.into_inner()));
    assert_eq!((pool.idle().unwrap(), pool.waiting().unwrap()), (2, 0));
}

/// Runs `others` threads that call `wait`, one after another, while all sessions are out.
fn queue<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    pool: &'env SessionPool,
    others: usize,
    wait: impl Fn(usize) + Send + Copy + 'scope,
) {
    for number in 0..others {
        let before = pool.waiting().unwrap();
        scope.spawn(move || wait(number));
        while pool.waiting().unwrap() == before {
            thread::yield_now();
        }
    }
}

#[test]
fn whoever_waits_longest_is_next_and_nobody_overtakes() {
    let pool = pool(1);
    let session = pool.get().unwrap();
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        queue(scope, &pool, 6, |number| {
            let _session = pool.get_timeout(Duration::from_secs(30)).unwrap();
            busy(pool.try_get());
            order.lock().unwrap().push(number);
        });
        drop(session);
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn one_that_gives_up_holds_nobody_up() {
    let pool = pool(1);
    let session = pool.get().unwrap();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        queue(scope, &pool, 6, |number| {
            let patience = if number % 2 == 0 { Duration::from_millis(400) } else { Duration::from_secs(30) };
            if pool.get_timeout(patience).is_ok() {
                served.fetch_add(1, Relaxed);
            }
        });
        while pool.waiting().unwrap() > 3 {
            thread::yield_now();
        }
        drop(session);
    });
    assert_eq!(served.into_inner(), 3);
    assert_eq!(pool.idle().unwrap(), 1);
}

/// Waiters give up at the very moment at which they get a session: none may be lost.
#[test]
fn sessions_and_patience_that_meet() {
    let pool = pool(2);
    thread::scope(|scope| {
        for thread in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..2000 {
                    let patience = Duration::from_micros((thread * 31 + round * 17) % 60);
                    if let Ok(session) = pool.get_timeout(patience) {
                        thread::sleep(Duration::from_micros(round % 30));
                        drop(session);
                    }
                }
            });
        }
    });
    assert_eq!((pool.idle().unwrap(), pool.waiting().unwrap()), (2, 0));
}

#[test]
fn sessions_come_back_from_panics_errors_and_runs_that_ended() {
    for threads in [Threads::Inline, Threads::Own(2)] {
        let pool = SessionPool::new(&model(), SessionOptions::new().threads(threads), 1).unwrap();
        let input = values(&mut rng(1), pool.model().input_shape().len());
        let expected = run(&mut pool.get().unwrap(), &input);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut session = pool.get().unwrap();
            session.set_order(Order::ONE);
            panic!("as it should");
        }));
        assert!(panicked.is_err());
        assert_same_bits(&run(&mut pool.try_get().unwrap(), &input), &expected, "after a panic, at its own order");

        let mut output = vec![0.0; expected.len()];
        let mut nan = input.clone();
        nan[3] = f32::NAN;
        assert_eq!(pool.try_get().unwrap().run(&nan, &mut output).unwrap_err().sample(), Some(0));
        let token = CancelToken::new();
        token.cancel();
        let options = RunOptions::new().cancel(&token);
        let error = pool.try_get().unwrap().run_with(&input, &mut output, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        // A panic in the middle of a run: the question that it asks.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let ask = || panic!("as it should not");
            let mut session = pool.try_get().unwrap();
            session.run_with(&input, &mut output, &RunOptions::new().poll(Duration::ZERO, &ask))
        }));
        assert!(panicked.is_err());
        let session = thread::spawn({
            let pool = pool.clone();
            move || pool.try_get().unwrap()
        });
        drop(session.join().unwrap()); // given back by another thread than took it
        assert_same_bits(&run(&mut pool.try_get().unwrap(), &input), &expected, "in the end");
    }
}

#[test]
fn sessions_outlive_the_handles() {
    let pool = pool(1);
    let mut session = pool.get().unwrap();
    drop(pool);
    let input = vec![0.5; session.input_len()];
    run(&mut session, &input);
}
