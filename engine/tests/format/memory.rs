//! An allocator that counts and may say no, for the tests that bound memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What opening a file may take beyond the file's size.
pub(crate) const MEGABYTE: usize = 1 << 20;

/// From how many bytes on an allocation is one that [`refusing`] counts.
const LARGE: usize = 64 << 10;

/// The system's allocator, counting what the current thread holds and has held at most.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// Large allocations to grant before one is refused.
    static GRANTS: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Whether this is the allocation to refuse.
fn refused(bytes: usize) -> bool {
    let grants = GRANTS.get();
    if bytes >= LARGE && grants < usize::MAX {
        GRANTS.set(grants.wrapping_sub(1));
    }
    bytes >= LARGE && grants == 0
}

fn count(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if refused(size) {
            return std::ptr::null_mut();
        }
        // Old and new block exist together while the system moves one.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` held at once beyond what was held before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

/// Runs `work`, whose large allocation number `grants`, counted from 0, is refused.
pub(crate) fn refusing<T>(grants: usize, work: impl FnOnce() -> T) -> T {
    GRANTS.set(grants);
    let result = work();
    GRANTS.set(usize::MAX);
    result
}
