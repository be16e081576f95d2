//! The C library of horq. `include/horq.h` documents each call; this crate is its other side.
//!
//! # Safety
//! The functions are `unsafe` for Rust, and their one contract is the introduction of the header (`cbindgen.toml`): a pointer is
//! NULL where that is allowed, or leads to as many elements as the call says, alive and not written by others meanwhile; a handle
//! comes from this library and was not freed. What can be told of a broken contract is refused in words, by the module `border`.
#![expect(clippy::missing_safety_doc, reason = "one contract for all calls, which the header's introduction states")]

mod border;
mod cancel;
mod clock;
mod failure;
mod machine;
mod model;
mod pool;
mod profile;
mod session;
mod structs;
mod values;

pub use cancel::*;
pub use clock::*;
pub use failure::*;
pub use machine::*;
pub use model::*;
pub use pool::*;
pub use session::*;
pub use structs::*;
pub use values::*;
