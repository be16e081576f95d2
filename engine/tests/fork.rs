//! Sessions across a fork: the child has no helper threads, and must neither hang nor die of that.
//!
//! A program of its own rather than tests of the harness, whose threads a fork would leave behind, too.

mod common;

#[cfg(unix)]
fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return; // test runners ask for the names of tests; there are none to choose from
    }
    unix::main();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use super::common::{Net, assert_same_bits, keep, random, run};
    use horq::error::ResourceError;
    use horq::graph::Shape;
    use horq::ops::{Basis, BinaryConv2d, Quantizer};
    use horq::rayon::ThreadPoolBuilder;
    use horq::{Error, Order, Padding, ScaleMode, Session, SessionOptions, SessionPool, Threads, Window};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    /// A layer that is worth cutting up for threads.
    fn net() -> Net {
        let weight = keep(random::values(&mut random::rng(2), 128 * 9 * 128));
        let bases = keep(vec![Basis::new(weight, keep(vec![1.0; 128]))]);
        let layer = BinaryConv2d::new(
            Window::square(3).with_padding(1),
            128,
            Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image),
            bases,
        )
        .pad_value(Padding::One);
        Net::new(Shape::Image { height: 20, width: 20, channels: 128 }).then("conv", layer)
    }

    /// Forks; the child does `work` and ends with its answer. Returns how the child ended, as `waitpid` tells.
    fn in_child(work: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child goes on with code that needs no thread but its own, which is what is tested here.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(101);
                std::process::exit(code);
            }
            child => wait(child),
        }
    }

    fn wait(child: libc::pid_t) -> i32 {
        let start = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: `status` is written by the call.
            if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
                return status;
            }
            if start.elapsed() > Duration::from_secs(60) {
                // SAFETY: the child is ours and was not waited for.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the child hangs");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Session pools in the child have all their sessions: those that were idle, those that were out, and those that were out in
    /// threads which the child does not have.
    fn pools(net: &Net, input: &[f32], expected: &[f32], case: &dyn Fn(&str, i32)) {
        let pool = SessionPool::new(&net.model(), SessionOptions::new().threads(Threads::Own(2)), 3).unwrap();
        let right = |session: &mut Session| run(session, input) == expected;
        let all = |pool: &SessionPool| {
            let mut sessions: Vec<_> = (0..3).map(|_| pool.get_timeout(Duration::from_secs(20)).unwrap()).collect();
            pool.try_get().is_err() && sessions.iter_mut().all(|session| right(session))
        };
        case("a pool of idle sessions", in_child(|| i32::from(!all(&pool))));
        let mut kept = pool.get().unwrap();
        let here = in_child(|| {
            let fine = right(&mut kept);
            drop(kept);
            // Whoever had it in the parent gave it back in the child.
            i32::from(!(fine && all(&pool)))
        });
        case("a pool with a session out", here);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        run(&mut pool.get().unwrap(), input);
                    }
                });
            }
            for _ in 0..20 {
                case("a pool whose sessions run", in_child(|| i32::from(!(all(&pool) && all(&pool)))));
            }
            let deep = in_child(|| in_child(|| i32::from(!all(&pool))));
            case("a pool in a grandchild", deep);
            stop.store(true, Relaxed);
        });
        assert!(all(&pool), "the parent goes on");
    }

    /// How many threads this process has.
    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count())
    }

    pub(super) fn main() {
        let net = net();
        let (model, input) = (net.model(), random::values(&mut random::rng(1), net.input.len()));
        let expected = net.answer(&input, |_, highest| highest);
        let session = |threads| {
            let mut session = Session::new(&model, SessionOptions::new().threads(threads)).unwrap();
            assert_same_bits(&run(&mut session, &input), &expected, "warm-up");
            session
        };
        let case = |name: &str, status: i32| {
            println!("fork: {name}: status {status}");
            assert_eq!(status, 0, "{name}");
        };
        let own = || session(Threads::Own(4));

        let (mut kept, dropped) = (own(), own());
        case(
            "dropped in the child",
            in_child(|| {
                drop(dropped);
                0
            }),
        );
        case("left alone", in_child(|| 0));
        let right = |session: &mut Session| i32::from(run(session, &input) != expected);
        case("run in the child, with helpers of its own", {
            in_child(|| {
                let code = right(&mut kept);
                if cfg!(target_os = "linux") && threads() != 4 { 2 } else { code }
            })
        });
        case("run in a grandchild", in_child(|| i32::from(in_child(|| right(&mut kept)) != 0)));
        case("made and dropped in the child", in_child(|| right(&mut own())));
        assert_eq!(right(&mut kept), 0, "the parent goes on");

        // A panic that unwinds through the session is a panic, and no abort.
        let unwinding = own();
        let status = in_child(move || {
            let _held = unwinding;
            std::panic::set_hook(Box::new(|_| ()));
            panic!("as it should")
        });
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 101), "panic in the child");

        // Another thread is in the middle of runs while the process forks.
        let (stop, mut busy) = (AtomicBool::new(false), own());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    run(&mut busy, &input);
                }
            });
            for _ in 0..20 {
                case("beside a running session", in_child(|| right(&mut kept)));
            }
            stop.store(true, Relaxed);
        });

        pools(&net, &input, &expected, &case);

        // A pool of the caller's cannot be made again by us: refused, not hung.
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(2).build().unwrap());
        let mut pooled = session(Threads::Pool(pool));
        case(
            "a pool's session in the child",
            in_child(|| {
                let mut output = vec![0.0; expected.len()];
                let error = pooled.run(&input, &mut output).unwrap_err();
                i32::from(
                    !matches!(error, Error::Resource(ResourceError::PoolLeftBehind))
                        || !error.to_string().contains("after forking"),
                )
            }),
        );
        assert_eq!(right(&mut pooled), 0, "the parent's pool goes on");
        println!("1 passed, 0 failed");
    }
}
