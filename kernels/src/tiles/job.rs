//! Operands that a tile reads and writes through pointers.

use std::ops::Deref;

/// Operands whose contract holds: whoever makes one promises so, and running it is safe.
pub(crate) struct Job<T>(T);

impl<T> Job<T> {
    /// A job on these operands.
    ///
    /// # Safety
    /// What the documentation of `T` demands under "Contract" must hold as long as the job is there.
    #[inline(always)]
    pub(crate) const unsafe fn new(operands: T) -> Self {
        Self(operands)
    }
}

impl<T> Deref for Job<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
