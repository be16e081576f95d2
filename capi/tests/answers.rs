//! The calls of C beside those of Rust: the same bits, and the same refusals.

use std::ffi::{CStr, CString};
use std::ptr;

use horq::graph::Shape;
use horq::ops::{Add, Relu};
use horq::{Builder, Model, Order, RunOptions, Values};
use horq_capi as c;

fn message() -> String {
    // SAFETY: the message is a string of this thread's.
    unsafe { CStr::from_ptr(c::horq_last_error_message()) }.to_str().unwrap().to_owned()
}

/// A session of a bundled model, in Rust and in C.
fn sessions(name: &str, batch: usize, threads: usize) -> (horq::Session, *mut c::Session) {
    let path = format!("{}/../models/{name}", env!("CARGO_MANIFEST_DIR"));
    let model = Model::open(&path).unwrap();
    let mut options = horq::SessionOptions::new().batch(batch);
    options.threads = if threads > 1 { horq::Threads::Own(threads) } else { horq::Threads::Inline };
    let session = horq::Session::new(&model, options).unwrap();
    let path = CString::new(path).unwrap();
    let (mut handle, mut of_c) = (ptr::null_mut(), ptr::null_mut());
    let options = c::SessionOptions {
        struct_size: size_of::<c::SessionOptions>(),
        batch,
        threads,
        isa: ptr::null(),
        order: 0,
        profile: 0,
    };
    // SAFETY: the pointers lead to what they say.
    unsafe {
        assert_eq!(c::horq_model_open(path.as_ptr(), ptr::null(), &mut handle), c::Status::Ok, "{}", message());
        assert_eq!(c::horq_session_new(handle, &options, &mut of_c), c::Status::Ok, "{}", message());
        assert_eq!(c::horq_model_free(handle), c::Status::Ok);
    }
    (session, of_c)
}

#[test]
fn answers_have_the_bits_of_rust() {
    for (name, batch, threads) in [("lenet5.horq", 3, 1), ("mlp.horq", 2, 2), ("vgg-small.horq", 2, 2)] {
        let (mut session, of_c) = sessions(name, batch, threads);
        let (inputs, outputs) = (session.input_len() * batch, session.output_len() * batch);
        let bytes: Vec<u8> = (0..inputs).map(|i| (i * 89 % 251) as u8).collect();
        let values: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        for order in 1..=4 {
            session.set_order(Order::new(order).unwrap());
            let (mut expected, mut found) = (vec![0.0; outputs], vec![1.0f32; outputs]);
            session.run(&values, &mut expected).unwrap();
            // SAFETY: the buffers are as long as they are said to be.
            unsafe {
                assert_eq!(c::horq_session_set_order(of_c, order as u32), c::Status::Ok);
                let status = c::horq_session_run(of_c, values.as_ptr(), inputs, found.as_mut_ptr(), outputs);
                assert_eq!((status, &found), (c::Status::Ok, &expected));
                found.fill(2.0);
                let input = c::Input { data: bytes.as_ptr().cast(), length: inputs, kind: c::HORQ_U8, reserved: 0 };
                let output = c::Output { data: found.as_mut_ptr(), length: outputs };
                let status = c::horq_session_run_with(of_c, &input, 1, &output, 1, ptr::null());
                assert_eq!((status, &found), (c::Status::Ok, &expected));
            }
        }
        // SAFETY: it is freed once.
        assert_eq!(unsafe { c::horq_session_free(of_c) }, c::Status::Ok);
    }
}

#[test]
fn messages_are_those_of_rust() {
    let (mut session, of_c) = sessions("lenet5.horq", 1, 1);
    let (mut values, mut output) = (vec![0.0; 784], vec![0.0; 10]);
    values[7] = f32::NAN;
    let expected = session.run(&values, &mut output).unwrap_err().to_string();
    // SAFETY: the buffers are as long as they are said to be; the session is freed once.
    unsafe {
        let status = c::horq_session_run(of_c, values.as_ptr(), 784, output.as_mut_ptr(), 10);
        assert_eq!((status, message(), c::horq_last_error_sample()), (c::Status::Input, expected, 0));
        let values = [Values::F32(&values[..784]); 2];
        let expected = session.run_many_with(&values, &mut [&mut output], &RunOptions::new()).unwrap_err().to_string();
        let input = c::Input { data: ptr::null(), length: 0, kind: c::HORQ_F32, reserved: 0 };
        let output = c::Output { data: ptr::null_mut(), length: 0 };
        let status = c::horq_session_run_with(of_c, [input; 2].as_ptr(), 2, &output, 1, ptr::null());
        assert_eq!((status, message()), (c::Status::Input, expected));
        // Another thread has a message of its own.
        std::thread::spawn(|| assert_eq!(message(), "")).join().unwrap();
        assert_eq!(c::horq_session_free(of_c), c::Status::Ok);
    }
}

#[test]
fn several_inputs_and_outputs_and_none_may_overlap() {
    let mut builder = Builder::new("a", Shape::Flat(2));
    builder.add_input("b", Shape::Flat(2)).unwrap();
    builder.add("sum", &["a", "b"], Add).unwrap().add("positive", &["sum"], Relu).unwrap();
    let file = builder.to_bytes_many(&["positive", "sum"]).unwrap();
    let (mut model, mut session) = (ptr::null_mut(), ptr::null_mut());
    let bytes = [7u8, 255];
    // One block for all floats, so that buffers can overlap: a at 0, positive at 2, sum at 4.
    let mut floats = [-9.0f32, 1.0, 5.0, 5.0, 5.0, 5.0];
    // SAFETY: the pointers lead to what they say; buffers that overlap are refused before they are used.
    unsafe {
        assert_eq!(c::horq_model_from_bytes(file.as_ptr(), file.len(), ptr::null(), &mut model), c::Status::Ok);
        assert_eq!((c::horq_model_input_count(model), c::horq_model_output_count(model)), (2, 2));
        assert_eq!(c::horq_session_new(model, ptr::null(), &mut session), c::Status::Ok);
        assert_eq!(c::horq_model_free(model), c::Status::Ok);
        let base = floats.as_mut_ptr();
        let run = |a: usize, positive: usize, sum: usize| {
            let inputs = [
                c::Input { data: base.add(a).cast(), length: 2, kind: c::HORQ_F32, reserved: 0 },
                c::Input { data: bytes.as_ptr().cast(), length: 2, kind: c::HORQ_U8, reserved: 0 },
            ];
            let output = |at: usize| c::Output { data: base.add(at), length: 2 };
            let outputs = [output(positive), output(sum)];
            c::horq_session_run_with(session, inputs.as_ptr(), 2, outputs.as_ptr(), 2, ptr::null())
        };
        assert_eq!(run(0, 2, 4), c::Status::Ok, "{}", message());
        for (a, positive, sum, text) in [
            (0, 2, 3, "two outputs overlap"),
            (0, 3, 2, "two outputs overlap"),
            (0, 4, 4, "two outputs overlap"),
            (0, 1, 4, "input 0 and an output overlap"),
            (0, 4, 1, "input 0 and an output overlap"),
            (4, 2, 4, "input 0 and an output overlap"),
        ] {
            assert_eq!(run(a, positive, sum), c::Status::Input);
            assert!(message().starts_with(text), "{}", message());
        }
        // The one with the higher address may come first.
        assert_eq!(run(0, 4, 2), c::Status::Ok);
        // A session of several is refused where one of each is asked for.
        assert_eq!(c::horq_session_run(session, base, 2, base.add(2), 2), c::Status::Input);
        assert!(message().contains("a, b"), "{}", message());
        assert_eq!(c::horq_session_free(session), c::Status::Ok);
    }
    assert_eq!(floats, [-9.0, 1.0, -2.0, 256.0, 0.0, 256.0]);
}
