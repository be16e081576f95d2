//! Session pools.

use crate::border::{Opaque, at, free, give, guard, value_or, write};
use crate::clock::{after, at as instant_at};
use crate::failure::Status;
use crate::model::Model;
use crate::session::{Held, Session};
use crate::structs::SessionOptions;
use horq::{PooledSession, SessionPool as Pool};

/// A fixed number of sessions over one model, lent one by one to any number of threads.
pub struct SessionPool {
    _private: (),
}

impl Opaque for SessionPool {
    type Inside = Pool;
    const NAME: &'static str = "horq_session_pool";
    const TAG: u64 = u64::from_be_bytes(*b"horqpool");
}

/// Makes `sessions` sessions of a model, all alike. `options` may be NULL; with several threads each session has threads of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_pool_new(
    model: *const Model,
    options: *const SessionOptions,
    sessions: usize,
    pool: *mut *mut SessionPool,
) -> Status {
    let make = || {
        // SAFETY: the contract of all calls.
        let (model, options) = unsafe { (at(model)?, SessionOptions::read(options)?) };
        Ok(Pool::new(&model.model, options, sessions)?)
    };
    // SAFETY: as above.
    unsafe { give(pool, "pool", make) }
}

/// Takes a session, waiting at most that long for one: 0 not at all, HORQ_FOREVER as long as it takes. HORQ_STATUS_BUSY if none came
/// back. Those who wait are served in the order in which they came. horq_session_free gives the session back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_pool_get(
    pool: *const SessionPool,
    timeout_ns: u64,
    session: *mut *mut Session,
) -> Status {
    // SAFETY: the contract of all calls.
    unsafe {
        take(pool, session, |pool| match (timeout_ns, after(timeout_ns)) {
            (0, _) => pool.try_get(),
            (_, Some(deadline)) => pool.get_deadline(deadline),
            (_, None) => pool.get(),
        })
    }
}

/// Takes a session, waiting for one until that time on the clock of horq_now_ns() at most; the same deadline is then the run's.
/// HORQ_STATUS_BUSY if none came back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_pool_get_until(
    pool: *const SessionPool,
    deadline_ns: u64,
    session: *mut *mut Session,
) -> Status {
    // SAFETY: the contract of all calls.
    unsafe {
        take(pool, session, |pool| match instant_at(deadline_ns) {
            Some(deadline) => pool.get_deadline(deadline),
            None => pool.get(),
        })
    }
}

/// # Safety
/// The contract of all calls.
unsafe fn take(
    pool: *const SessionPool,
    session: *mut *mut Session,
    get: impl FnOnce(&Pool) -> Result<PooledSession, horq::Error>,
) -> Status {
    // SAFETY: the caller's promise is the same.
    unsafe { give(session, "session", || Ok(Held::pooled(get(at(pool)?)?))) }
}

/// Tells how many sessions nobody has at this moment and how many callers wait for one: figures for a display, old when they are
/// read. `idle` and `waiting` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_pool_state(
    pool: *const SessionPool,
    idle: *mut usize,
    waiting: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        let pool = unsafe { at(pool) }?;
        for (place, figure) in [(idle, pool.idle()?), (waiting, pool.waiting()?)] {
            if !place.is_null() {
                // SAFETY: as above.
                unsafe { write(place, "idle", figure) }?;
            }
        }
        Ok(())
    })
}

/// The sessions of the pool, lent ones among them; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_pool_sessions(pool: *const SessionPool) -> usize {
    // SAFETY: the contract of all calls.
    value_or(0, || Ok(unsafe { at(pool) }?.sessions()))
}

/// Frees a pool. Sessions that are out go on and are freed when they are given back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_pool_free(pool: *mut SessionPool) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { free(pool) })
}
