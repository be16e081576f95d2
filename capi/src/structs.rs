//! The structs of options, which begin with their size, and how versions of them go together.

use std::ffi::c_char;

use crate::border::{at, text};
use crate::cancel::CancelToken;
use crate::clock::{HORQ_FOREVER, after, at as instant_at};
use crate::failure::Failure;
use horq::{Isa, Order, Threads};

/// What a model may ask for; 0 in a field is the format's own limit. Those of the file can be lowered, not raised.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// sizeof(horq_limits).
    pub struct_size: usize,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the header. Opening takes the file's size and at most 32 bytes for each byte of the header.
    pub header_bytes: usize,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Elements of any value of one sample.
    pub value_elements: usize,
    /// Bytes that one session may take beside the file: 4 GiB by default. May be raised.
    pub session_bytes: usize,
}

/// How a session is made; 0 in a field is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// sizeof(horq_session_options).
    pub struct_size: usize,
    /// The most samples of one run; 1 by default.
    pub batch: usize,
    /// Threads that work on a run, the caller's among them; 1 by default, which is best for small networks and for services that
    /// keep their cores busy with many sessions.
    pub threads: usize,
    /// The backend: "portable", "sse42", "avx2", "avx512bw", "avx512vpopcnt", "neon". NULL for the one that HORQ_ISA names,
    /// else the best of this CPU.
    pub isa: *const c_char,
    /// The order of all binary layers, 1 to 8, or their highest where that is lower; by default each layer's highest.
    pub order: u32,
    /// Other than 0 to measure where the time goes, for horq_session_profile_json.
    pub profile: u32,
}

/// What may end a run early, and where errors count samples from. Start with HORQ_RUN_OPTIONS_INIT: 0 ns are no time at all.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// sizeof(horq_run_options).
    pub struct_size: usize,
    /// Nanoseconds that the run may take from now on; HORQ_FOREVER for no limit.
    pub timeout_ns: u64,
    /// When the run must end, on the clock of horq_now_ns(); HORQ_FOREVER for no limit. The earlier of the two counts.
    pub deadline_ns: u64,
    /// Ends the run when it is cancelled; or NULL. It may be freed meanwhile.
    pub cancel: *const CancelToken,
    /// The number that errors give the first sample; for a batch in parts.
    pub first_sample: usize,
}

/// The shape of one sample's value, the batch left out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// 1 for a vector, 3 for an image.
    pub rank: usize,
    /// Of a vector its length; of an image its height, width and channels.
    pub sizes: [usize; 3],
}

/// An input or an output of a model.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ValueInfo {
    /// sizeof(horq_value_info).
    pub struct_size: usize,
    /// Its name: UTF-8 as the file has it, with a zero byte behind it. It lives as long as the model's handle.
    pub name: *const c_char,
    /// Bytes of the name, the zero byte left out.
    pub name_length: usize,
    /// Values of one sample: the product of its sizes.
    pub length: usize,
    /// Its shape, the batch left out.
    pub shape: Shape,
}

/// What a session is and takes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SessionInfo {
    /// sizeof(horq_session_info).
    pub struct_size: usize,
    /// The most samples of one run.
    pub batch: usize,
    /// Inputs and outputs of a run.
    pub input_count: usize,
    /// See input_count.
    pub output_count: usize,
    /// Bytes that count against session_bytes of horq_limits.
    pub memory_bytes: usize,
    /// The backend in use; lives as long as the program.
    pub isa: *const c_char,
    /// The highest order of any binary layer at present, and the highest that the model holds; 0 without binary layers.
    pub order: u32,
    /// See order.
    pub max_order: u32,
}

/// A struct that begins with its size.
///
/// # Safety
/// It is `repr(C)`, begins with a `usize`, its size, and every pattern of bits is a value of it.
pub(crate) unsafe trait Versioned: Copy {
    /// Its name in C.
    const NAME: &'static str;
    /// Its size in the first version that had it.
    const FIRST: usize;
    /// The value in which each field has its default.
    const DEFAULT: Self;
}

/// No struct of this library will be larger. What announces more was not initialised.
const LARGEST: usize = 4096;

/// The size that a caller's struct announces.
///
/// # Safety
/// `from` leads to a size, and to as many bytes as that says.
unsafe fn announced<T: Versioned>(from: *const T) -> Result<usize, Failure> {
    // SAFETY: the caller's promise.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    if !(T::FIRST..=LARGEST).contains(&size) {
        let (name, first) = (T::NAME, T::FIRST);
        let macro_name = name.to_uppercase();
        return Err(Failure::input(format!(
            "the struct_size of a {name} is {size}, but the struct has at least {first} bytes; start it with {macro_name}_INIT"
        )));
    }
    Ok(size)
}

/// The options that a caller gives; the defaults for NULL and for fields that the caller's header does not have.
///
/// # Safety
/// `from` is NULL or leads to a size, and to as many bytes as that says.
pub(crate) unsafe fn read<T: Versioned>(from: *const T) -> Result<T, Failure> {
    let mut value = T::DEFAULT;
    if from.is_null() {
        return Ok(value);
    }
    // SAFETY: the caller's promise is the same.
    let size = unsafe { announced(from) }?;
    // SAFETY: both have as many bytes, and any bytes are a value.
    unsafe { (&raw mut value).cast::<u8>().copy_from_nonoverlapping(from.cast(), size.min(size_of::<T>())) };
    // SAFETY: `from` leads to that many bytes.
    let newer = (size_of::<T>()..size).any(|i| unsafe { from.cast::<u8>().add(i).read() } != 0);
    if newer {
        let (name, own) = (T::NAME, size_of::<T>());
        return Err(Failure::input(format!(
            "a {name} of {size} bytes asks for what this library does not know, which has {own}: the program was built with the \
             header of a newer one; install that library, or leave the newer fields zero"
        )));
    }
    Ok(value)
}

/// Fills a struct of a caller's: as many fields as its header has, and zeros where it has more than this library.
///
/// # Safety
/// `to` is NULL or leads to a size, and to as many bytes as that says, which may be written.
pub(crate) unsafe fn fill<T: Versioned>(to: *mut T, name: &str, value: T) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::input(format!("`{name}` is NULL; it is where the result goes")));
    }
    // SAFETY: the caller's promise is the same.
    let size = unsafe { announced(to.cast_const()) }?;
    let (own, after) = (size_of::<T>(), size_of::<usize>());
    // SAFETY: both have as many bytes; the size at the front stays what the caller's header says.
    unsafe {
        let (from, to) = ((&raw const value).cast::<u8>(), to.cast::<u8>());
        to.add(after).copy_from_nonoverlapping(from.add(after), size.min(own) - after);
        to.add(own.min(size)).write_bytes(0, size.saturating_sub(own));
    }
    Ok(())
}

/// Says which structs begin with their size, and what their fields are by default.
macro_rules! versioned {
    ($($kind:ident, $name:literal, { $($field:ident: $default:expr),* };)*) => {$(
        // SAFETY: it is `repr(C)`, begins with its size, and has numbers and pointers alone.
        unsafe impl Versioned for $kind {
            const NAME: &'static str = $name;
            const FIRST: usize = size_of::<$kind>();
            const DEFAULT: Self = Self { struct_size: size_of::<Self>(), $($field: $default),* };
        }
    )*};
}

// A field that is added later stands at the end, has 0 as its default, and `FIRST` stays the size before it.
versioned! {
    Limits, "horq_limits", { file_bytes: 0, header_bytes: 0, nodes: 0, value_elements: 0, session_bytes: 0 };
    SessionOptions, "horq_session_options", { batch: 0, threads: 0, isa: std::ptr::null(), order: 0, profile: 0 };
    RunOptions, "horq_run_options", {
        timeout_ns: HORQ_FOREVER, deadline_ns: HORQ_FOREVER, cancel: std::ptr::null(), first_sample: 0
    };
    ValueInfo, "horq_value_info", { name: std::ptr::null(), name_length: 0, length: 0, shape: Shape { rank: 0, sizes: [0; 3] } };
    SessionInfo, "horq_session_info", {
        batch: 0, input_count: 0, output_count: 0, memory_bytes: 0, isa: std::ptr::null(), order: 0, max_order: 0
    };
}

impl Limits {
    /// The engine's limits.
    ///
    /// # Safety
    /// As [`read`].
    pub(crate) unsafe fn read(from: *const Self) -> Result<horq::Limits, Failure> {
        // SAFETY: the caller's promise is the same.
        let given = unsafe { read(from) }?;
        let mut limits = horq::Limits::new();
        /// What is given, unless it is 0.
        fn set<T: PartialEq + Default>(limit: &mut T, given: T) {
            if given != T::default() {
                *limit = given;
            }
        }
        set(&mut limits.file_bytes, given.file_bytes);
        set(&mut limits.header_bytes, given.header_bytes);
        set(&mut limits.nodes, given.nodes);
        set(&mut limits.value_elements, given.value_elements);
        set(&mut limits.session_bytes, given.session_bytes);
        Ok(limits)
    }
}

impl SessionOptions {
    /// The engine's options.
    ///
    /// # Safety
    /// As [`read`]; `isa` is NULL or leads to a string.
    pub(crate) unsafe fn read(from: *const Self) -> Result<horq::SessionOptions, Failure> {
        // SAFETY: the caller's promise is the same.
        let given = unsafe { read(from) }?;
        let mut options = horq::SessionOptions::new().batch(given.batch.max(1)).profile(given.profile != 0);
        if given.threads > 1 {
            options.threads = Threads::Own(given.threads);
        }
        if !given.isa.is_null() {
            // SAFETY: the caller's promise is the same.
            let name = unsafe { text(given.isa, "isa") }?;
            options.isa = Some(name.parse().and_then(Isa::check).map_err(horq::Error::from)?);
        }
        options.order = match given.order {
            0 => None,
            order => Some(Order::new(order as usize)?),
        };
        Ok(options)
    }
}

/// What ends a run, with a share of the caller's token: its handle may be freed meanwhile.
pub(crate) struct Ending {
    cancel: Option<horq::CancelToken>,
    deadline: Option<std::time::Instant>,
    first_sample: usize,
}

impl RunOptions {
    /// What the caller wants.
    ///
    /// # Safety
    /// As [`read`]; `cancel` is NULL or a living handle.
    pub(crate) unsafe fn read(from: *const Self) -> Result<Ending, Failure> {
        // SAFETY: the caller's promise is the same.
        let given = unsafe { read(from) }?;
        let cancel = match given.cancel.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { at(given.cancel) }?.clone()),
        };
        let deadline = [after(given.timeout_ns), instant_at(given.deadline_ns)].into_iter().flatten().min();
        Ok(Ending { cancel, deadline, first_sample: given.first_sample })
    }
}

impl Ending {
    /// The engine's options.
    pub(crate) fn options(&self) -> horq::RunOptions<'_> {
        let mut options = horq::RunOptions::new().first_sample(self.first_sample);
        options.cancel = self.cancel.as_ref();
        options.deadline = self.deadline;
        options
    }
}

impl Shape {
    /// The engine's shape.
    pub(crate) fn engine(self) -> Result<horq::graph::Shape, Failure> {
        let [first, width, channels] = self.sizes;
        match self.rank {
            1 => Ok(horq::graph::Shape::Flat(first)),
            3 => Ok(horq::graph::Shape::Image { height: first, width, channels }),
            rank => Err(Failure::input(format!(
                "a shape has the rank 1 (a vector) or 3 (height, width, channels), not {rank}"
            ))),
        }
    }
}

impl From<horq::graph::Shape> for Shape {
    fn from(shape: horq::graph::Shape) -> Self {
        match shape {
            horq::graph::Shape::Flat(length) => Self { rank: 1, sizes: [length, 0, 0] },
            horq::graph::Shape::Image { height, width, channels } => Self { rank: 3, sizes: [height, width, channels] },
        }
    }
}
