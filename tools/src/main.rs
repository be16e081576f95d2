//! horq
fn main() {}
