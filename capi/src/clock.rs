//! The clock of deadlines.

use std::time::{Duration, Instant};

use crate::border::value_or;
use crate::failure::Failure;

/// A time in nanoseconds that never comes: no timeout, no deadline.
pub const HORQ_FOREVER: u64 = u64::MAX;

/// Nanoseconds on the clock that deadlines are told by. On Unix it is CLOCK_MONOTONIC. 0 where it cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn horq_now_ns() -> u64 {
    value_or(0, || now().ok_or_else(|| Failure::input("the system's monotonic clock cannot be read")))
}

#[cfg(unix)]
fn now() -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer leads to a timespec of ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    let seconds = u64::try_from(time.tv_sec).ok().filter(|_| failed == 0)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// Nanoseconds since the first call: this system's own clock is not one that a program could read.
#[cfg(not(unix))]
fn now() -> Option<u64> {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_nanos()).ok()
}

/// The instant at which a time limit ends; none for [`HORQ_FOREVER`] and for what the clock cannot count.
pub(crate) fn after(timeout_ns: u64) -> Option<Instant> {
    (timeout_ns != HORQ_FOREVER).then(|| Instant::now().checked_add(Duration::from_nanos(timeout_ns))).flatten()
}

/// The instant of a time on the clock of [`horq_now_ns`]; none for [`HORQ_FOREVER`].
pub(crate) fn at(deadline_ns: u64) -> Option<Instant> {
    (deadline_ns != HORQ_FOREVER).then(|| after(deadline_ns.saturating_sub(now().unwrap_or(0)))).flatten()
}
