//! Helpers of a session look for work for a moment after a run, then sleep: an idle session takes no processor time. The only test of its
//! program, for what it measures is the process's.
#![cfg(unix)]

mod common;

use common::{Net, keep, options, random, run};
use horq::graph::Shape;
use horq::ops::{Basis, BinaryConv2d, Quantizer};
use horq::{Isa, Order, Padding, ScaleMode, Session, Threads, Window};
use std::time::Duration;

/// Processor time that this process has taken.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a timespec where one is.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn helpers_sleep_after_a_run() {
    let window = Window::square(3).with_padding(1);
    let weight = keep(random::values(&mut random::rng(2), 64 * 9 * 64));
    let bases = keep(vec![Basis::new(weight, keep(vec![1.0; 64]))]);
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    let layer = BinaryConv2d::new(window, 64, quantize, bases).pad_value(Padding::ValidTaps);
    let net = Net::new(Shape::Image { height: 32, width: 32, channels: 64 }).then("conv", layer);
    let input = random::values(&mut random::rng(1), net.input.len());
    let best = Isa::available().last().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    for threads in [2, cores, 8] {
        let mut session = Session::new(&net.model(), options(1, best).threads(Threads::Own(threads))).unwrap();
        for round in 0..3 {
            run(&mut session, &input);
            // What they may take before they sleep: 0.1 ms each, and what it costs to fall asleep, on a busy machine.
            std::thread::sleep(Duration::from_millis(20));
            let before = processor_time();
            std::thread::sleep(Duration::from_millis(300));
            let taken = processor_time() - before;
            println!("{threads} threads, run {round}: {taken:?} of processor time in 300 ms of idleness");
            assert!(
                taken < Duration::from_millis(5),
                "{threads} threads, run {round}: {taken:?} in 300 ms of idleness"
            );
        }
    }
}
