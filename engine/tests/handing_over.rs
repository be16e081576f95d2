//! A model of how a session's own threads hand work over, sleep and wake: the code of `src/threads/workers.rs` itself, on threads of
//! `shuttle`, which chooses whose step comes next. A schedule in which a task is lost, done twice, or nobody wakes fails, and is printed so
//! that it can be run again. Shuttle takes all steps one after another, so orders of memory are for ThreadSanitizer (`.ci/tsan`).

// The code under test is the crate's, in which more of it is used.
#[path = "../src/threads"]
mod threads {
    #[allow(dead_code, reason = "the model uses a part of it")]
    mod workers;

    /// The model's process is never forked.
    mod forks {
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Process;

        impl Process {
            pub(crate) fn current() -> std::io::Result<Self> {
                Ok(Self)
            }

            pub(crate) fn is_current(self) -> bool {
                true
            }
        }
    }

    /// The parts that shuttle schedules.
    mod sync {
        pub(super) use shuttle::hint::spin_loop;
        use shuttle::rand::Rng;
        pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
        pub(super) use shuttle::sync::{Arc, Mutex};
        use std::time::Duration;
        pub(super) use thread::JoinHandle;

        /// Threads that sleep until somebody wakes them. Shuttle's own wake of themselves at times, as threads may, so that nobody
        /// would see that a helper was not woken.
        pub(super) mod thread {
            use shuttle::sync::{Arc, Condvar, Mutex};
            pub(in super::super) use shuttle::thread::yield_now;
            use std::cell::RefCell;
            use std::sync::PoisonError;

            #[derive(Default)]
            pub(in super::super) struct Token(Mutex<bool>, Condvar);

            shuttle::thread_local! {
                static OWN: RefCell<Option<Arc<Token>>> = RefCell::new(None);
            }

            impl Token {
                pub(in super::super) fn unpark(&self) {
                    *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    self.1.notify_one();
                }
            }

            pub(in super::super) fn park() {
                let token = OWN.with(|own| own.borrow().clone()).expect("a helper");
                let mut there = token.0.lock().unwrap_or_else(PoisonError::into_inner);
                while !*there {
                    there = token.1.wait(there).unwrap_or_else(PoisonError::into_inner);
                }
                *there = false;
            }

            pub(in super::super) struct JoinHandle<T>(shuttle::thread::JoinHandle<T>, Arc<Token>);

            impl<T> JoinHandle<T> {
                pub(in super::super) fn thread(&self) -> &Token {
                    &self.1
                }

                pub(in super::super) fn join(self) -> std::thread::Result<T> {
                    self.0.join()
                }
            }

            pub(in super::super) struct Builder;

            impl Builder {
                pub(in super::super) fn new() -> Self {
                    Self
                }

                pub(in super::super) fn name(self, _: String) -> Self {
                    self
                }

                pub(in super::super) fn spawn<T: Send + 'static>(
                    self,
                    body: impl FnOnce() -> T + Send + 'static,
                ) -> std::io::Result<JoinHandle<T>> {
                    let token = Arc::new(Token::default());
                    let own = token.clone();
                    let thread = shuttle::thread::spawn(move || {
                        OWN.with(|place| *place.borrow_mut() = Some(own));
                        body()
                    });
                    Ok(JoinHandle(thread, token))
                }
            }

            /// Enough for all, so that helpers have patience.
            pub(in super::super) fn available_parallelism() -> std::io::Result<std::num::NonZero<usize>> {
                Ok(std::num::NonZero::<usize>::MAX)
            }
        }

        /// A time of which nobody knows how long ago it was.
        #[derive(Clone, Copy)]
        pub(super) struct Instant;

        impl Instant {
            pub(super) fn now() -> Self {
                Self
            }

            pub(super) fn elapsed(self) -> Duration {
                if shuttle::rand::thread_rng().gen_bool(0.5) { Duration::ZERO } else { Duration::from_secs(1) }
            }
        }
    }

    pub(crate) use workers::Workers;
}

use horq_kernels::Parallel;
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use threads::Workers;

/// How many schedules of each kind, unless HORQ_TEST_CASES says otherwise.
fn schedules() -> usize {
    std::env::var("HORQ_TEST_CASES").map_or(500, |n| n.parse().expect("HORQ_TEST_CASES is a number"))
}

/// Runs a model under schedules that are random, and under such as find what hangs on few changes of thread.
fn model(body: impl Fn() + Send + Sync + Copy + 'static) {
    fn under(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
        Runner::new(scheduler, Config::new()).run(body);
    }
    under(RandomScheduler::new(schedules()), body);
    under(PctScheduler::new(3, schedules()), body);
}

/// Runs `tasks` tasks and checks that each is done once, before the call returns.
fn round(workers: &Workers, tasks: usize) {
    let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    workers.run(tasks, &|task| {
        runs[task].fetch_add(1, Relaxed);
        shuttle::thread::yield_now();
    });
    assert!(runs.iter().all(|runs| runs.load(Relaxed) == 1), "{runs:?} of {tasks}");
}

#[test]
fn every_task_is_done_once_and_helpers_wake_for_the_next() {
    model(|| {
        let workers = Workers::new(2).unwrap();
        (0..3).for_each(|tasks| round(&workers, tasks + 1));
    });
}

/// Two tasks that wait for each other need both threads, so a helper that fell asleep meanwhile must be woken.
#[test]
fn a_helper_that_sleeps_is_woken() {
    model(|| {
        let workers = Workers::new(2).unwrap();
        for _ in 0..2 {
            // Time to fall asleep in, or to be about to.
            (0..shuttle::rand::thread_rng().gen_range(0..40)).for_each(|_| shuttle::thread::yield_now());
            let met = AtomicUsize::new(0);
            workers.run(2, &|_| {
                met.fetch_add(1, Relaxed);
                while met.load(Relaxed) < 2 {
                    shuttle::thread::yield_now();
                }
            });
        }
    });
}

#[test]
fn three_threads_share_the_tasks() {
    model(|| {
        let workers = Workers::new(3).unwrap();
        round(&workers, 4);
        round(&workers, 2);
    });
}

/// Whether the helpers are asleep, at work or about to sleep when the workers go.
#[test]
fn helpers_end_whatever_they_do() {
    model(|| drop(Workers::new(3).unwrap()));
    model(|| {
        let workers = Workers::new(2).unwrap();
        round(&workers, 2);
    });
}

#[test]
fn a_task_that_cuts_its_work_further_does_it_itself() {
    model(|| {
        let workers = Workers::new(2).unwrap();
        let inner = AtomicUsize::new(0);
        workers.run(2, &|_| workers.run(2, &|_| _ = inner.fetch_add(1, Relaxed)));
        assert_eq!(inner.into_inner(), 4);
    });
}

#[test]
fn a_panic_reaches_the_caller_and_leaves_the_workers_whole() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<Planned>().is_none() {
            hook(info);
        }
    }));
    model(|| {
        let workers = Workers::new(2).unwrap();
        let done = catch_unwind(AssertUnwindSafe(|| {
            workers.run(2, &|task| {
                if task == 1 {
                    std::panic::panic_any(Planned);
                }
            });
        }));
        assert!(done.is_err_and(|panic| panic.is::<Planned>()), "the caller hears of it");
        round(&workers, 2);
    });
}

/// What a task panics with on purpose.
struct Planned;
