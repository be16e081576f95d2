//! What a call by C costs more than one by Rust: `cargo bench -p horq-capi --bench overhead`.
//!
//! The smallest network there is, two values and a ReLU, is run by `Session::run` and by `horq_session_run` in turns, in rounds of
//! 10,000 calls; the fastest round of each counts.

use std::hint::black_box;
use std::ptr;
use std::time::Instant;

use horq::graph::Shape;
use horq::ops::Relu;
use horq::{Builder, Model, Session, SessionOptions};
use horq_capi as c;

/// The call, as the header declares it.
type Run = unsafe extern "C" fn(*mut c::Session, *const f32, usize, *mut f32, usize) -> c::Status;

const CALLS: usize = 10_000;
const ROUNDS: usize = 200;

fn main() {
    let mut builder = Builder::new("x", Shape::Flat(2));
    let file = builder.add("y", &["x"], Relu).unwrap().to_bytes("y").unwrap();
    let mut session = Session::new(&Model::from_bytes(&file).unwrap(), SessionOptions::new()).unwrap();
    let (mut model, mut of_c) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the pointers lead to what they say.
    unsafe {
        assert_eq!(c::horq_model_from_bytes(file.as_ptr(), file.len(), ptr::null(), &mut model), c::Status::Ok);
        assert_eq!(c::horq_session_new(model, ptr::null(), &mut of_c), c::Status::Ok);
    }
    let (input, mut output) = ([1.0f32, -1.0], [0.0f32; 2]);
    // As a program in C reaches it: by an address that is known only when it runs.
    let call = black_box::<Run>(c::horq_session_run);
    let [mut rust, mut by_c] = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        rust = rust.min(nanoseconds(|| session.run(black_box(&input), black_box(&mut output)).unwrap()));
        by_c = by_c.min(nanoseconds(|| {
            // SAFETY: the buffers have two values each.
            let status = unsafe { call(of_c, black_box(input.as_ptr()), 2, black_box(output.as_mut_ptr()), 2) };
            assert_eq!(status, c::Status::Ok);
        }));
    }
    println!("a run of two values: {rust:.1} ns by Rust, {by_c:.1} ns by C, {:.1} ns more", by_c - rust);
    // SAFETY: each is freed once.
    unsafe {
        assert_eq!(c::horq_session_free(of_c), c::Status::Ok);
        assert_eq!(c::horq_model_free(model), c::Status::Ok);
    }
}

fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..CALLS).for_each(|_| call());
    start.elapsed().as_nanos() as f64 / CALLS as f64
}
