//! The calls of C beside those of Rust: the same bits, and the same refusals.

use std::ffi::{CStr, CString};
use std::ptr;

use horq::{Model, Order, RunOptions, Values};
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
