//! What horq was built from and with, for records of measurements; its build script refuses targets that horq cannot run on.

/// The compiler, as `rustc --version` names it.
pub const RUSTC: &str = env!("HORQ_RUSTC");
/// The target triple.
pub const TARGET: &str = env!("HORQ_TARGET");
/// The commit, with `-dirty` where tracked files differed from it, or `unknown`.
pub const COMMIT: &str = env!("HORQ_COMMIT");
