//! The border between C and Rust: panics, handles, pointers and text, each in one place.

use std::ffi::{CStr, c_char};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;

use crate::failure::{Failure, Status};

/// Runs the body of a call. A panic in it becomes a status, so nothing unwinds into C.
///
/// What a panic leaves half done is not seen: models never change, and sessions are as good as before.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => failure.keep(),
        Err(panic) => Failure::panic(&*panic).keep(),
    }
}

/// The body of a call that returns a value; `otherwise` where it fails.
pub(crate) fn value_or<T>(otherwise: T, body: impl FnOnce() -> Result<T, Failure>) -> T {
    let mut value = otherwise;
    guard(|| {
        value = body()?;
        Ok(())
    });
    value
}

/// A type that C knows only by its handle.
pub(crate) trait Opaque {
    /// What a handle leads to.
    type Inside;
    /// Its name in C.
    const NAME: &'static str;
    /// What handles of this kind begin with.
    const TAG: u64;
}

/// What a handle leads to in memory.
#[repr(C)]
struct Held<T: Opaque> {
    /// [`Opaque::TAG`] while the handle lives, so that another kind is told, and mostly a freed one, too.
    tag: u64,
    inside: T::Inside,
}

/// Gives the caller a handle to what `make` makes, or NULL.
///
/// # Safety
/// `out` is NULL or valid for a write.
pub(crate) unsafe fn give<T: Opaque>(
    out: *mut *mut T,
    name: &str,
    make: impl FnOnce() -> Result<T::Inside, Failure>,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise is the same.
        unsafe { write(out, name, ptr::null_mut()) }?;
        let inside = make()?;
        let held = Box::into_raw(Box::new(Held::<T> { tag: T::TAG, inside }));
        // SAFETY: as above.
        unsafe { write(out, name, held.cast()) }
    })
}

/// What a handle leads to.
///
/// # Safety
/// `handle` is NULL or a handle of this library that is not freed while the result is used.
pub(crate) unsafe fn at<'a, T: Opaque>(handle: *const T) -> Result<&'a T::Inside, Failure> {
    let held = handle.cast::<Held<T>>();
    if held.is_null() {
        return Err(Failure::input(format!("the {} is NULL", T::NAME)));
    }
    // SAFETY: every handle leads to a `Held`, which begins with the tag.
    if !held.is_aligned() || unsafe { (*held).tag } != T::TAG {
        let name = T::NAME;
        return Err(Failure::input(format!(
            "the {name} is none that can be used: it was freed, or is a handle of another kind"
        )));
    }
    // SAFETY: it is a living handle of this kind.
    Ok(unsafe { &(*held).inside })
}

/// Frees a handle; NULL is none.
///
/// # Safety
/// As [`at`], and no other thread uses the handle.
pub(crate) unsafe fn free<T: Opaque>(handle: *mut T) -> Result<(), Failure> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise is the same.
    unsafe { at(handle) }?;
    let held = handle.cast::<Held<T>>();
    // SAFETY: `give` made it as a box of this type, and it is freed once: a volatile write is not left out.
    let held = unsafe {
        ptr::write_volatile(&raw mut (*held).tag, 0);
        Box::from_raw(held)
    };
    drop(held);
    Ok(())
}

/// Writes a result of a call.
///
/// # Safety
/// `out` is NULL or valid for a write.
pub(crate) unsafe fn write<T>(out: *mut T, name: &str, value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::input(format!("`{name}` is NULL; it is where the result goes")));
    }
    // SAFETY: the caller's promise.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// `len` elements at `data`; NULL is allowed where there are none.
///
/// # Safety
/// `data` is NULL or valid for reads of `len` elements, which nobody writes during `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize, name: &str) -> Result<&'a [T], Failure> {
    span(data, len, name)?;
    // SAFETY: it is not NULL, aligned and not too long; the rest is the caller's promise.
    Ok(if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, len) } })
}

/// `len` elements at `data` to write; NULL is allowed where there are none.
///
/// # Safety
/// `data` is NULL or valid for reads and writes of `len` elements, which nobody else uses during `'a`.
pub(crate) unsafe fn slice_mut<'a, T>(data: *mut T, len: usize, name: &str) -> Result<&'a mut [T], Failure> {
    span(data, len, name)?;
    // SAFETY: it is not NULL, aligned and not too long; the rest is the caller's promise.
    Ok(if len == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(data, len) } })
}

/// The addresses of `len` elements at `data`, if there may be as many.
pub(crate) fn span<T>(data: *const T, len: usize, name: &str) -> Result<Range<usize>, Failure> {
    if len == 0 {
        return Ok(0..0);
    }
    if data.is_null() {
        return Err(Failure::input(format!("`{name}` is NULL, but {len} elements were announced")));
    }
    if !data.is_aligned() {
        let align = align_of::<T>();
        return Err(Failure::input(format!("`{name}` is not aligned: its address must be a multiple of {align}")));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Failure::input(format!("`{name}` has {len} elements, more than any memory holds")));
    }
    let start = data.addr();
    start
        .checked_add(len * size_of::<T>())
        .map(|end| start..end)
        .ok_or_else(|| Failure::input(format!("`{name}` has {len} elements, which go beyond the end of all addresses")))
}

/// Text of a caller's.
///
/// # Safety
/// `text` is NULL or leads to a string that ends with a zero byte, which nobody writes during `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise is the same.
    let bytes = unsafe { bytes(text, name) }?;
    let shown = || horq::escaped(&*String::from_utf8_lossy(bytes)).to_string();
    std::str::from_utf8(bytes).map_err(|_| Failure::input(format!("`{name}` is not UTF-8: `{}`", shown())))
}

/// A path of a caller's: bytes as the system has them on Unix, elsewhere UTF-8.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path, Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: the caller's promise is the same.
        let bytes = unsafe { bytes(path, "path") }?;
        Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    // SAFETY: the caller's promise is the same.
    Ok(Path::new(unsafe { text(path, "path") }?))
}

/// # Safety
/// As [`text`].
unsafe fn bytes<'a>(text: *const c_char, name: &str) -> Result<&'a [u8], Failure> {
    if text.is_null() {
        return Err(Failure::input(format!("`{name}` is NULL")));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Writes text and a zero byte into a buffer of the caller's, and its length to `length`. With a NULL buffer of no capacity only
/// the length is told; a buffer that is too small is refused and gets nothing but a zero byte.
///
/// # Safety
/// `buffer` is NULL or valid for writes of `capacity` bytes; `length` is NULL or valid for a write.
pub(crate) unsafe fn put_text(
    text: &str,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    if !length.is_null() {
        // SAFETY: the caller's promise.
        unsafe { length.write_unaligned(text.len()) };
    }
    if buffer.is_null() && capacity == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise; it is written only.
    let buffer = unsafe { slice_mut(buffer.cast::<u8>(), capacity, "buffer") }?;
    let fits = text.len() < buffer.len();
    if let Some(first) = buffer.first_mut() {
        *first = 0;
    }
    if !fits {
        let needed = text.len() + 1;
        return Err(Failure::input(format!("the text needs {needed} bytes, but `capacity` is {capacity}")));
    }
    buffer[..text.len()].copy_from_slice(text.as_bytes());
    buffer[text.len()] = 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::horq_last_error_message;

    #[test]
    fn a_panic_becomes_a_status_and_a_line() {
        let status = guard(|| panic!("one\nfault"));
        assert_eq!(status, Status::Internal);
        // SAFETY: the message is a string of this thread's.
        let message = unsafe { CStr::from_ptr(horq_last_error_message()) }.to_str().unwrap();
        assert!(message.starts_with("internal error: one\\nfault; please report"), "{message}");
        assert_eq!(value_or(7, || panic!("{}", String::from("a string"))), 7);
        assert_eq!(guard(|| std::panic::panic_any(5)), Status::Internal);
    }
}
