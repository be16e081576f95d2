//! Slices of a model's tensors that keep the model alive, so that a layer can hold its weights without copying them.

use super::{Tensors, filled};
use crate::Error;
use horq_kernels::Geometry;
use horq_kernels::weights::LANES;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// A slice into a model's memory.
pub(crate) struct View<T> {
    slice: NonNull<[T]>,
    /// Keeps `slice` alive; the bytes of tensors neither move nor change.
    _tensors: Arc<Tensors>,
}

// SAFETY: a view is a shared slice and an `Arc` of tensors, which is Send and Sync itself.
unsafe impl<T: Sync> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for View<T> {}

impl<T> View<T> {
    /// Borrows one of `tensors` through `tensor`, which can only return memory of theirs or of the program.
    pub(crate) fn new(tensors: &Arc<Tensors>, tensor: impl for<'t> FnOnce(&'t Tensors) -> &'t [T]) -> Self {
        Self { slice: NonNull::from(tensor(tensors)), _tensors: tensors.clone() }
    }
}

impl<T> Deref for View<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the slice was borrowed from the tensors (`new` is generic over the borrow, so it can come from nowhere shorter
        // lived), whose memory is immutable, does not move when the handle does, and lives as long as `_tensors`.
        unsafe { self.slice.as_ref() }
    }
}

/// A vector of per-filter values in the layout of the kernels.
pub(crate) enum PerFilter {
    /// The file's own layout fits: borrowed.
    View(View<f32>),
    /// Groups that do not fill their panels stand apart in the kernels' layout: copied.
    Padded(Vec<f32>),
}

impl PerFilter {
    /// The tensor `name`, laid out for a layer of that geometry.
    pub(crate) fn new(tensors: &Arc<Tensors>, name: &str, geometry: &Geometry) -> Result<Self, Error> {
        let view = View::new(tensors, |tensors| tensors.f32s(name));
        if Self::bytes(geometry) == 0 {
            return Ok(Self::View(view));
        }
        let mut padded = filled(geometry.padded_filters(), 0.0)?;
        geometry.pad_filters_into(&view, &mut padded);
        Ok(Self::Padded(padded))
    }

    /// Bytes that a vector of such a layer takes beside the file's.
    pub(crate) fn bytes(geometry: &Geometry) -> usize {
        let same_layout = geometry.groups == 1 || geometry.group_filters().is_multiple_of(LANES);
        if same_layout { 0 } else { geometry.padded_filters() * size_of::<f32>() }
    }
}

impl Deref for PerFilter {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::View(view) => view,
            Self::Padded(values) => values,
        }
    }
}
