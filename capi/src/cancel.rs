//! Cancel tokens.

use crate::border::{Opaque, at, free, give, guard, value_or};
use crate::failure::Status;

/// Calls runs off: all those that were given it in their horq_run_options, on any thread, under way or not begun. It stays
/// cancelled, so a request gets a token of its own.
pub struct CancelToken {
    _private: (),
}

impl Opaque for CancelToken {
    type Inside = horq::CancelToken;
    const NAME: &'static str = "horq_cancel_token";
    const TAG: u64 = u64::from_be_bytes(*b"horqcanc");
}

/// Makes a token that nobody has cancelled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_cancel_token_new(token: *mut *mut CancelToken) -> Status {
    // SAFETY: the contract of all calls.
    unsafe { give(token, "token", || Ok(horq::CancelToken::new())) }
}

/// Calls all runs with this token off; they end within a millisecond or so. One atomic store, so a signal handler may do it with
/// a token that is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_cancel_token_cancel(token: *const CancelToken) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        unsafe { at(token) }?.cancel();
        Ok(())
    })
}

/// Whether the token was cancelled; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_cancel_token_is_cancelled(token: *const CancelToken) -> bool {
    // SAFETY: the contract of all calls.
    value_or(false, || Ok(unsafe { at(token) }?.is_cancelled()))
}

/// Frees a token. Runs that have it go on, and end when it was cancelled before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_cancel_token_free(token: *mut CancelToken) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { free(token) })
}
