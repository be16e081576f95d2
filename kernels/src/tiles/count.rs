//! Ways of counting the bits of several words together.

#[cfg(target_arch = "x86_64")]
pub(crate) mod carry;
pub(crate) mod parity;
