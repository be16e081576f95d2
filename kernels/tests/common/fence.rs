//! Memory that ends where the mapped pages end: whoever reads or writes past the last element dies on the spot.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The most guard bytes before the first element.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xa5;

thread_local! {
    /// Mapped regions (start, length) that nobody uses now.
    static FREE: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

/// A slice whose last element is the last of a page before an inaccessible one, with guard bytes before the first.
pub struct Fenced<T> {
    start: usize,
    region: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Copy + Default> Fenced<T> {
    /// `len` elements of `fill`.
    pub fn new(len: usize, fill: T) -> Self {
        let bytes = len * size_of::<T>();
        let (start, region) = take(bytes + GUARD);
        // SAFETY: the region is mapped and this value's own.
        unsafe { std::ptr::write_bytes((start + region - bytes - GUARD) as *mut u8, GUARD_BYTE, GUARD) };
        let this = Self { start, region, len, element: PhantomData };
        for i in 0..len {
            // SAFETY: the element lies in the region.
            unsafe { this.first().add(i).write(fill) };
        }
        this
    }

    /// A copy of some elements.
    pub fn of(values: &[T]) -> Self {
        let mut this = Self::new(values.len(), T::default());
        this.copy_from_slice(values);
        this
    }

    /// Panics if something was written before the first element.
    pub fn check(&self, name: &str) {
        // SAFETY: the guard bytes lie in the region and were written by `new`.
        let guard = unsafe { std::slice::from_raw_parts(self.first().cast::<u8>().sub(GUARD), GUARD) };
        assert!(guard.iter().all(|&byte| byte == GUARD_BYTE), "written before the start of `{name}`");
    }
}

impl<T> Fenced<T> {
    fn first(&self) -> *mut T {
        (self.start + self.region - self.len * size_of::<T>()) as *mut T
    }
}

impl<T> Deref for Fenced<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements up to the region's end are mapped, written by `new`, aligned (a page's end is) and its own.
        unsafe { std::slice::from_raw_parts(self.first(), self.len) }
    }
}

impl<T> DerefMut for Fenced<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first(), self.len) }
    }
}

impl<T> Drop for Fenced<T> {
    fn drop(&mut self) {
        FREE.with_borrow_mut(|free| free.push((self.start, self.region)));
    }
}

/// The smallest free region of at least `bytes`, or a new one.
fn take(bytes: usize) -> (usize, usize) {
    FREE.with_borrow_mut(|free| {
        let fits = free.iter().enumerate().filter(|(_, (_, region))| *region >= bytes);
        match fits.min_by_key(|(_, (_, region))| *region).map(|(i, _)| i) {
            Some(i) => free.swap_remove(i),
            None => map(bytes.next_power_of_two().max(64 << 10)),
        }
    })
}

/// Maps a region of at least `bytes` with an inaccessible page behind it; it lives as long as the process.
#[cfg(all(unix, not(miri)))]
fn map(bytes: usize) -> (usize, usize) {
    // SAFETY: an anonymous mapping at an address of the system's choice, of which the last page is made inaccessible.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let bytes = bytes.next_multiple_of(page);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        let start = libc::mmap(std::ptr::null_mut(), bytes + page, access, kind, -1, 0);
        assert_ne!(start, libc::MAP_FAILED, "mmap of {bytes} bytes");
        assert_eq!(libc::mprotect(start.byte_add(bytes), page, libc::PROT_NONE), 0, "mprotect");
        (start as usize, bytes)
    }
}

/// Where pages cannot be protected this way, memory without a fence behind it. Miri sees the bounds itself.
#[cfg(any(not(unix), miri))]
fn map(bytes: usize) -> (usize, usize) {
    (Box::leak(vec![0u64; bytes.div_ceil(8)].into_boxed_slice()).as_mut_ptr() as usize, bytes.next_multiple_of(8))
}
