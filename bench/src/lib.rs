//! A clock for machines that others use at the same time, and the limits of such a machine's instructions; the program
//! `horq-bench` (feature `program`, on by default) measures the kernels beside them.

pub mod clock;
pub mod peak;
#[cfg(feature = "show")]
pub mod show;
