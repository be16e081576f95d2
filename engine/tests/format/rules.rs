//! One test a rule: a file that breaks it, and the error that says so.

mod file;
mod graph;
mod json;
mod moving;
mod points;
mod steps;
mod tensors;
mod values;

use horq::{Error, Model};

use crate::forge::Forge;
use crate::zoo::{every_op, every_op_input, noise, small};

/// The error about a small model that was changed and sealed again, and its text.
fn refused(change: impl FnOnce(&mut Forge)) -> (Error, String) {
    refused_of(small().to_bytes("logits").unwrap(), change)
}

/// The same for the model with every operation and golden values.
fn refused_full(change: impl FnOnce(&mut Forge)) -> (Error, String) {
    let mut builder = every_op();
    builder.golden(&every_op_input(), &noise(19, 20));
    refused_of(builder.to_bytes("probabilities").unwrap(), change)
}

fn refused_of(file: Vec<u8>, change: impl FnOnce(&mut Forge)) -> (Error, String) {
    let mut forge = Forge::open(&file);
    Model::from_bytes(&forge.seal()).expect("the unchanged model is right");
    change(&mut forge);
    error_of(&forge.seal())
}

fn error_of(file: &[u8]) -> (Error, String) {
    let error = Model::from_bytes(file).expect_err("the file breaks a rule");
    let text = error.to_string();
    assert!(!text.starts_with(char::is_uppercase) && text.len() < 600, "{text}");
    (error, text)
}

/// Asserts that an error is of that variant and that its text names all of these.
macro_rules! assert_refused {
    ($refused:expr, $pattern:pat, $($part:expr),*) => {{
        let (error, text) = $refused;
        assert!(matches!(error, $pattern), "{error:?}");
        $(assert!(text.contains($part), "`{text}` does not name `{}`", $part);)*
    }};
}
use assert_refused;
