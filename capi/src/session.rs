//! Sessions: of the caller's own, and lent by a pool.

use std::ffi::{c_char, c_void};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::border::{Opaque, at, free, give, guard, put_text, slice, text, value_or};
use crate::failure::{Failure, Status};
use crate::machine::isa_name;
use crate::model::Model;
use crate::profile;
use crate::structs::{RunOptions, SessionInfo, SessionOptions, fill};
use crate::values::{HORQ_F32, Input, Output, Slices, check_count};
use horq::{Order, PooledSession, Values};

/// A model made ready to run, with all the memory that it needs. It belongs to one thread at a time.
pub struct Session {
    _private: (),
}

/// What its handle leads to.
pub(crate) struct Held {
    /// Taken for each call, and never waited for.
    state: Mutex<State>,
    input_lens: Vec<usize>,
    output_lens: Vec<usize>,
}

struct State {
    session: Lent,
    slices: Slices,
}

/// A session of the caller's own, or one that goes back to its pool.
enum Lent {
    Own(Box<horq::Session>),
    Pooled(PooledSession),
}

impl Deref for Lent {
    type Target = horq::Session;

    fn deref(&self) -> &horq::Session {
        match self {
            Self::Own(session) => session,
            Self::Pooled(session) => session,
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut horq::Session {
        match self {
            Self::Own(session) => session,
            Self::Pooled(session) => session,
        }
    }
}

impl Opaque for Session {
    type Inside = Held;
    const NAME: &'static str = "horq_session";
    const TAG: u64 = u64::from_be_bytes(*b"horqsess");
}

impl Held {
    /// A session that a pool has lent.
    pub(crate) fn pooled(session: PooledSession) -> Self {
        Self::new(Lent::Pooled(session))
    }

    fn new(session: Lent) -> Self {
        let (input_lens, output_lens) = (session.input_lens().to_vec(), session.output_lens().to_vec());
        let slices = Slices::new(input_lens.len(), output_lens.len());
        Self { state: Mutex::new(State { session, slices }), input_lens, output_lens }
    }

    /// The session, unless another thread has it. A panic leaves it as good as before.
    fn enter(&self) -> Result<MutexGuard<'_, State>, Failure> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                Status::Busy,
                "another thread is using the session; make one for each thread, or take them from a horq_session_pool"
                    .into(),
            )),
        }
    }
}

/// Prepares a model: chooses kernels, plans the memory and allocates it. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_new(
    model: *const Model,
    options: *const SessionOptions,
    session: *mut *mut Session,
) -> Status {
    let make = || {
        // SAFETY: the contract of all calls.
        let (model, options) = unsafe { (at(model)?, SessionOptions::read(options)?) };
        Ok(Held::new(Lent::Own(Box::new(horq::Session::new(&model.model, options)?))))
    };
    // SAFETY: as above.
    unsafe { give(session, "session", make) }
}

/// Answers 1 to `batch` samples of a model with one input and one output. `input` has input_length values, a whole number of samples
/// one after another; `output` has output_length, for as many samples. A run on one thread that succeeds allocates nothing, takes no
/// lock and makes no system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_run(
    session: *mut Session,
    input: *const f32,
    input_length: usize,
    output: *mut f32,
    output_length: usize,
) -> Status {
    let input = Input { data: input.cast::<c_void>(), length: input_length, kind: HORQ_F32, reserved: 0 };
    let output = Output { data: output, length: output_length };
    // SAFETY: the contract of all calls.
    guard(|| unsafe { run(session, &[input], &[output], &horq::RunOptions::new()) })
}

/// Answers samples of a model with any number of inputs and outputs, in the model's order, all of the same number of samples; and
/// ends early where `options` say so. `options` may be NULL. The first run that is given an input as bytes takes memory to widen it.
///
/// A run that is called off or late returns within a millisecond or so, with HORQ_STATUS_CANCELLED or HORQ_STATUS_DEADLINE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_run_with(
    session: *mut Session,
    inputs: *const Input,
    input_count: usize,
    outputs: *const Output,
    output_count: usize,
    options: *const RunOptions,
) -> Status {
    // SAFETY: the contract of all calls; the lists are looked at once their lengths are known to be the model's.
    guard(|| unsafe {
        let held = at(session)?;
        if (input_count, output_count) != (held.input_lens.len(), held.output_lens.len()) {
            let state = held.enter()?;
            let model = state.session.model();
            check_count("input", input_count, model.inputs())?;
            check_count("output", output_count, model.outputs())?;
        }
        let (inputs, outputs) = (slice(inputs, input_count, "inputs")?, slice(outputs, output_count, "outputs")?);
        let ending = RunOptions::read(options)?;
        run(session, inputs, outputs, &ending.options())
    })
}

/// # Safety
/// The contract of all calls.
unsafe fn run(
    session: *const Session,
    inputs: &[Input],
    outputs: &[Output],
    options: &horq::RunOptions<'_>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise is the same.
    let mut state = unsafe { at(session) }?.enter()?;
    let State { session, slices } = &mut *state;
    let run = |inputs: &[Values<'_>], outputs: &mut [&mut [f32]]| Ok(session.run_many_with(inputs, outputs, options)?);
    // SAFETY: as above.
    unsafe { slices.with(inputs, outputs, run) }
}

/// Runs every binary layer at that order, 1 to 8, or at its highest where that is lower. It takes effect at the next run and costs
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_set_order(session: *mut Session, order: u32) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        let mut state = unsafe { at(session) }?.enter()?;
        state.session.set_order(Order::new(order as usize)?);
        Ok(())
    })
}

/// Runs the binary layer of that name at that order, which the model must hold for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_set_layer_order(
    session: *mut Session,
    layer: *const c_char,
    order: u32,
) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        let (held, layer) = unsafe { (at(session)?, text(layer, "layer")?) };
        Ok(held.enter()?.session.set_layer_order(layer, Order::new(order as usize)?)?)
    })
}

/// Values of one sample of an input, counted from 0; 0 for NULL, and where the model has no such input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_input_length(session: *const Session, index: usize) -> usize {
    // SAFETY: the contract of all calls.
    value_or(0, || length(&unsafe { at(session) }?.input_lens, "input", index))
}

/// Values of one sample of an output, counted from 0; 0 for NULL, and where the model has no such output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_output_length(session: *const Session, index: usize) -> usize {
    // SAFETY: the contract of all calls.
    value_or(0, || length(&unsafe { at(session) }?.output_lens, "output", index))
}

fn length(lens: &[usize], kind: &str, index: usize) -> Result<usize, Failure> {
    let count = lens.len();
    lens.get(index)
        .copied()
        .ok_or_else(|| Failure::input(format!("there is no {kind} {index}: the model has {count}, counted from 0")))
}

/// Tells what a session is and takes. Start `info` with HORQ_SESSION_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_describe(session: *const Session, info: *mut SessionInfo) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        let held = unsafe { at(session) }?;
        let state = held.enter()?;
        let session = &*state.session;
        let binary = || session.profile().iter().filter_map(|layer| layer.binary);
        let about = SessionInfo {
            struct_size: 0,
            batch: session.batch(),
            input_count: held.input_lens.len(),
            output_count: held.output_lens.len(),
            memory_bytes: session.memory_bytes(),
            isa: isa_name(session.isa()),
            order: binary().map(|binary| binary.order).max().unwrap_or(0) as u32,
            max_order: binary().map(|binary| binary.max_order).max().unwrap_or(0) as u32,
        };
        // SAFETY: as above.
        unsafe { fill(info, "info", about) }
    })
}

/// Writes what each layer is and, in a session with `profile`, what it has cost since the last reset, as JSON with a zero byte behind it
/// into a buffer, and its length, the zero byte left out, to `length`. With a NULL buffer and the capacity 0 only the length is told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_profile_json(
    session: *const Session,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        let json = profile::json(&unsafe { at(session) }?.enter()?.session);
        // SAFETY: as above.
        unsafe { put_text(&json, buffer, capacity, length) }
    })
}

/// Forgets the times measured so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_reset_profile(session: *mut Session) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        unsafe { at(session) }?.enter()?.session.reset_profile();
        Ok(())
    })
}

/// Frees a session; one of a pool goes back to it, with the order that the pool's options name. Refused with HORQ_STATUS_BUSY while
/// another thread runs it: then nothing is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_session_free(session: *mut Session) -> Status {
    guard(|| {
        if !session.is_null() {
            // SAFETY: the contract of all calls.
            drop(unsafe { at(session) }?.enter()?);
        }
        // SAFETY: as above.
        unsafe { free(session) }
    })
}
