//! Bytes as a model: opening refuses them or gives a model that a session can run.
//!
//! The header's digest is put right first, or a fuzzer would never come past it.

#![no_main]

use horq::graph::Shape;
use horq::{Limits, Model, Session, SessionOptions, Values};
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
    let inputs: Vec<Vec<f32>> = model.inputs().map(|(_, shape)| vec![0.5; shape.len()]).collect();
    let mut outputs: Vec<Vec<f32>> = model.outputs().map(|(_, shape)| vec![0.0; shape.len()]).collect();
    if let Ok(mut session) = Session::new(&model, SessionOptions::new()) {
        let inputs: Vec<Values<'_>> = inputs.iter().map(|values| Values::F32(values)).collect();
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
        let _ = session.run_many(&inputs, &mut outputs);
    }
    // Other sizes are refused or run as well.
    let larger = |(_, shape)| match shape {
        Shape::Image { height, width, channels } => Shape::Image { height: height + 1, width: width + 2, channels },
        flat => flat,
    };
    if let Ok(resized) = model.resized(&model.inputs().map(larger).collect::<Vec<_>>()) {
        let _ = Session::new(&resized, SessionOptions::new());
    }
});
