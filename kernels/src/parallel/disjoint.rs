//! Memory that tasks share to write parts of it, each its own.

use std::marker::PhantomData;

/// A slice of which each task writes elements that no other task touches.
///
/// Bounds are asserted in debug builds.
#[derive(Debug)]
pub(crate) struct Disjoint<'a, T> {
    first: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Disjoint<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Disjoint<'_, T> {}

// SAFETY: an exclusive borrow of the slice, whose elements are only touched through `unsafe` methods that demand that nobody
// else touches the same.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// The elements of a slice.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { first: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The first of `len` elements from `at` on, which the caller may touch through the pointer while nobody else does.
    ///
    /// # Safety
    /// The elements must lie in the slice.
    #[inline(always)]
    pub(crate) unsafe fn at(self, at: usize, len: usize) -> *mut T {
        debug_assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "{len} at {at} of {}", self.len);
        // SAFETY: the caller keeps the elements in bounds.
        unsafe { self.first.add(at) }
    }

    /// The `len` elements from `at` on.
    ///
    /// # Safety
    /// The elements must lie in the slice, and nobody else may touch them while the result lives.
    #[inline(always)]
    pub(crate) unsafe fn slice(self, at: usize, len: usize) -> &'a mut [T] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.at(at, len), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 at 3 of 4")]
    #[cfg(debug_assertions)]
    fn bounds_are_asserted() {
        let mut values = [0; 4];
        // SAFETY: the assertion comes before anything else.
        unsafe { Disjoint::new(&mut values).at(3, 2) };
    }
}
