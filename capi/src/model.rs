//! Models.

use std::ffi::{CString, c_char};

use crate::border::{Opaque, at, free, give, guard, path, put_text, slice, text, value_or, write};
use crate::failure::{Failure, Status};
use crate::structs::{Limits, Shape, ValueInfo, fill};

/// A validated file in memory. It never changes; any number of threads may use it, and what is made from it shares its weights.
pub struct Model {
    _private: (),
}

/// What its handle leads to.
pub(crate) struct Held {
    pub(crate) model: horq::Model,
    inputs: Vec<Named>,
    outputs: Vec<Named>,
    digest: CString,
}

/// An input or output, its name with a zero byte behind it.
struct Named {
    name: Vec<u8>,
    shape: horq::graph::Shape,
}

impl Opaque for Model {
    type Inside = Held;
    const NAME: &'static str = "horq_model";
    const TAG: u64 = u64::from_be_bytes(*b"horqmodl");
}

impl Held {
    fn new(model: horq::Model) -> Result<Self, Failure> {
        let named = |(name, shape): (&str, horq::graph::Shape)| Named { name: [name.as_bytes(), &[0]].concat(), shape };
        let (inputs, outputs) = (model.inputs().map(named).collect(), model.outputs().map(named).collect());
        let digest = CString::new(model.digest()).unwrap_or_default();
        Ok(Self { model, inputs, outputs, digest })
    }
}

/// Reads a file into memory and validates it. `limits` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_open(path: *const c_char, limits: *const Limits, model: *mut *mut Model) -> Status {
    // SAFETY: the contract of all calls.
    let open = || unsafe { Held::new(horq::Model::open_with(self::path(path)?, &Limits::read(limits)?)?) };
    // SAFETY: as above.
    unsafe { give(model, "model", open) }
}

/// Reads a file into shared memory that nobody can change any more (a sealed memfd of Linux; elsewhere this is horq_model_open), and
/// validates it. Forked children use the same memory, and any process that gets the descriptor (horq_model_shared_fd). `limits`
/// may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_open_shared(
    path: *const c_char,
    limits: *const Limits,
    model: *mut *mut Model,
) -> Status {
    // SAFETY: the contract of all calls.
    let open = || unsafe { Held::new(horq::Model::open_shared_with(self::path(path)?, &Limits::read(limits)?)?) };
    // SAFETY: as above.
    unsafe { give(model, "model", open) }
}

/// Maps a file: no copy, and processes share its memory. Unsafe, since nobody may change or cut the file while the model or
/// anything made from it lives: answers would change, or the process would be ended (SIGBUS). A file that is only ever replaced
/// by renaming is safe; horq_model_open_shared is the way for all others. The values of weights are checked by the first session
/// or by horq_model_check. `limits` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_map_unsafe(
    path: *const c_char,
    limits: *const Limits,
    model: *mut *mut Model,
) -> Status {
    // SAFETY: the contract of all calls, and that of this one for the file.
    let open = || unsafe { Held::new(horq::Model::map_with(self::path(path)?, &Limits::read(limits)?)?) };
    // SAFETY: the contract of all calls.
    unsafe { give(model, "model", open) }
}

/// Copies the bytes of a file and validates them. `limits` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_from_bytes(
    bytes: *const u8,
    length: usize,
    limits: *const Limits,
    model: *mut *mut Model,
) -> Status {
    let open = || {
        // SAFETY: the contract of all calls.
        let (bytes, limits) = unsafe { (slice(bytes, length, "bytes")?, Limits::read(limits)?) };
        Held::new(horq::Model::from_bytes_with(bytes, &limits)?)
    };
    // SAFETY: as above.
    unsafe { give(model, "model", open) }
}

/// The model in the shared memory of another process, without a copy. `fd` is what horq_model_shared_fd returned there, handed
/// over; it is duplicated, and stays the caller's. Memory that is not sealed is refused. Linux alone. `limits` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_from_shared_fd(fd: i32, limits: *const Limits, model: *mut *mut Model) -> Status {
    // SAFETY: the contract of all calls.
    let open = || from_shared_fd(fd, &unsafe { Limits::read(limits) }?);
    // SAFETY: as above.
    unsafe { give(model, "model", open) }
}

#[cfg(target_os = "linux")]
fn from_shared_fd(fd: i32, limits: &horq::Limits) -> Result<Held, Failure> {
    if fd < 0 {
        return Err(Failure::input(format!("`fd` is {fd}, which is no open file")));
    }
    // SAFETY: it is borrowed for this call; where no file is open under that number, duplicating it is refused by the system.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    Held::new(horq::Model::from_shared_fd_with(fd, limits)?)
}

#[cfg(not(target_os = "linux"))]
fn from_shared_fd(_: i32, _: &horq::Limits) -> Result<Held, Failure> {
    Err(Failure::new(Status::Resource, "this system has no sealed memory; open the file in each process".into()))
}

/// The descriptor of a model's shared memory, which stays the model's; -1 for a model that is in no shared memory. It is closed on
/// exec: give a program that is to be started a duplicate without that flag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_shared_fd(model: *const Model) -> i32 {
    // SAFETY: the contract of all calls.
    value_or(-1, || Ok(shared_fd(&unsafe { at(model) }?.model)))
}

#[cfg(target_os = "linux")]
fn shared_fd(model: &horq::Model) -> i32 {
    use std::os::fd::AsRawFd;
    model.shared_fd().map_or(-1, |fd| fd.as_raw_fd())
}

#[cfg(not(target_os = "linux"))]
fn shared_fd(_: &horq::Model) -> i32 {
    -1
}

/// The same network for inputs of other sizes, one shape an input; the two models share their weights.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_resized(
    model: *const Model,
    shapes: *const Shape,
    count: usize,
    resized: *mut *mut Model,
) -> Status {
    let resize = || {
        // SAFETY: the contract of all calls.
        let (model, shapes) = unsafe { (at(model)?, slice(shapes, count, "shapes")?) };
        let shapes = shapes.iter().map(|shape| shape.engine()).collect::<Result<Vec<_>, _>>()?;
        Held::new(model.model.resized(&shapes)?)
    };
    // SAFETY: as above.
    unsafe { give(resized, "resized", resize) }
}

/// Checks the values of all weights, which reads the whole file once. Only a model that was mapped or came as a descriptor has
/// something left to check, and its first session does it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_check(model: *const Model) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| Ok(unsafe { at(model) }?.model.check()?))
}

/// Reads the pages of a mapped file now, all at once, so that no run waits for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_prefault(model: *const Model) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        unsafe { at(model) }?.model.prefault();
        Ok(())
    })
}

/// Checks the digest of the file's data, which finds accidents: cut copies, failing disks, edits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_verify_digest(model: *const Model) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| Ok(unsafe { at(model) }?.model.verify_digest()?))
}

/// The file's digest, 64 hex digits; lives as long as the handle. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_digest(model: *const Model) -> *const c_char {
    // SAFETY: the contract of all calls.
    value_or(std::ptr::null(), || Ok(unsafe { at(model) }?.digest.as_ptr()))
}

/// How many inputs the model has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_input_count(model: *const Model) -> usize {
    // SAFETY: the contract of all calls.
    value_or(0, || Ok(unsafe { at(model) }?.inputs.len()))
}

/// How many outputs the model has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_output_count(model: *const Model) -> usize {
    // SAFETY: the contract of all calls.
    value_or(0, || Ok(unsafe { at(model) }?.outputs.len()))
}

/// Tells the name and shape of an input, counted from 0. Start `info` with HORQ_VALUE_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_input(model: *const Model, index: usize, info: *mut ValueInfo) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { describe(&at(model)?.inputs, "input", index, info) })
}

/// Tells the name and shape of an output, counted from 0. Start `info` with HORQ_VALUE_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_output(model: *const Model, index: usize, info: *mut ValueInfo) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { describe(&at(model)?.outputs, "output", index, info) })
}

/// # Safety
/// As [`fill`].
unsafe fn describe(values: &[Named], kind: &str, index: usize, info: *mut ValueInfo) -> Result<(), Failure> {
    let Some(Named { name, shape }) = values.get(index) else {
        let count = values.len();
        return Err(Failure::input(format!("there is no {kind} {index}: the model has {count}, counted from 0")));
    };
    let about = ValueInfo {
        struct_size: 0,
        name: name.as_ptr().cast(),
        name_length: name.len() - 1,
        length: shape.len(),
        shape: (*shape).into(),
    };
    // SAFETY: the caller's promise is the same.
    unsafe { fill(info, "info", about) }
}

/// Writes the note of that name and a zero byte into a buffer, and its length, the zero byte left out, to `length`: how inputs are to
/// be prepared (`input`), names of classes. A model without that note is HORQ_STATUS_INPUT, and its message lists those that it has.
/// With a NULL buffer and the capacity 0 only the length is told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_note(
    model: *const Model,
    name: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the contract of all calls.
        let (model, name) = unsafe { (&at(model)?.model, text(name, "name")?) };
        let Some(note) = model.notes().get(name) else {
            let names: Vec<&str> = model.notes().keys().map(String::as_str).collect();
            let (name, names) = (horq::escaped(name), names.join(", "));
            return Err(Failure::input(format!("there is no note `{name}`; the model has: {}", horq::escaped(&names))));
        };
        // SAFETY: as above.
        unsafe { put_text(note, buffer, capacity, length) }
    })
}

/// How many samples with their answers the file carries for a self-test; 0 if none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_golden_samples(model: *const Model) -> usize {
    // SAFETY: the contract of all calls.
    value_or(0, || Ok(unsafe { at(model) }?.model.golden().map_or(0, |golden| golden.samples)))
}

/// Where the file's own samples for an input lie, one after another; they live as long as the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_golden_input(
    model: *const Model,
    index: usize,
    values: *mut *const f32,
    length: *mut usize,
) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { golden(&at(model)?.model, |golden| golden.inputs, index, values, length) })
}

/// Where the answers to the file's own samples lie for an output, as its producer computed them at each layer's highest order;
/// they live as long as the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_golden_output(
    model: *const Model,
    index: usize,
    values: *mut *const f32,
    length: *mut usize,
) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { golden(&at(model)?.model, |golden| golden.outputs, index, values, length) })
}

/// # Safety
/// `values` and `length` are NULL or valid for a write.
unsafe fn golden<'a>(
    model: &'a horq::Model,
    which: impl FnOnce(horq::Golden<'a>) -> Vec<&'a [f32]>,
    index: usize,
    values: *mut *const f32,
    length: *mut usize,
) -> Result<(), Failure> {
    let golden = model.golden().ok_or_else(|| Failure::input("the model's file carries no samples"))?;
    let slices = which(golden);
    let count = slices.len();
    let found = slices.get(index).ok_or_else(|| Failure::input(format!("there is no value {index}, but {count}")))?;
    // SAFETY: the caller's promise is the same.
    unsafe {
        write(values, "values", found.as_ptr())?;
        write(length, "length", found.len())
    }
}

/// Frees a model. Sessions and pools that were made from it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_model_free(model: *mut Model) -> Status {
    // SAFETY: the contract of all calls.
    guard(|| unsafe { free(model) })
}
