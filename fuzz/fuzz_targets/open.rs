//! Bytes as a model: opening refuses them or gives a model that a session can run.
//!
//! The header's digest is put right first, or a fuzzer would never come past it.

#![no_main]

use horq::{Limits, Model, Session, SessionOptions};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const KEY: &[u8] = b"\"header_sha256\":\"";

fn reseal(file: &mut [u8]) -> Option<()> {
    let length = u64::from_le_bytes(*file.first_chunk::<8>()?);
    let header = file.get_mut(..usize::try_from(length).ok()?.checked_add(8)?)?;
    let digits = header.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    header.get_mut(digits..digits + 64)?.fill(b'0');
    let digest = format!("{:x}", Sha256::digest(&*header));
    header[digits..digits + 64].copy_from_slice(digest.as_bytes());
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let mut file = bytes.to_vec();
    reseal(&mut file);
    let limits = Limits::new().value_elements(1 << 14).session_bytes(1 << 26);
    let Ok(model) = Model::from_bytes_with(&file, &limits) else { return };
    let input = vec![0.5; model.input_shape().len()];
    let mut output = vec![0.0; model.output_shape().len()];
    if let Ok(mut session) = Session::new(&model, SessionOptions::new()) {
        let _ = session.run(&input, &mut output);
    }
});
