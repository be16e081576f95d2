//! Images of quantized activations, in bytes or in 16 bits.

use super::products::{Bytes, Wide};
use super::{Int8Conv, WIDE_SPAN};
use crate::backends::{Backend, Op};
use crate::layers::skeleton::Image;
use crate::parallel::Disjoint;
use crate::shape::Cut;
use crate::simd::LANES;
use crate::weights::int8::QUAD;
use pulp::bytemuck::Pod;
use std::ops::Range;

/// What an image of quantized activations consists of.
pub(super) trait Element: Pod + Send + Sync {
    /// A byte, signed where the element is wider.
    fn new(byte: u8) -> Self;

    /// [`Simd::store_bytes`], as elements.
    ///
    /// # Safety
    /// `to` must be valid for writing sixteen elements.
    ///
    /// [`Simd::store_bytes`]: crate::simd::Simd::store_bytes
    unsafe fn store<S: Backend>(simd: S, to: *mut Self, x: S::Floats, range: [f32; 2], offset: i32);

    /// What a row adds to what a task reads and writes, if it reads `read` bytes itself.
    fn row_bytes(read: usize, filters: usize, panels: usize) -> usize;

    /// The products of an image.
    fn multiply(products: &Bytes<'_>, image: &Image<'_, Self>, output: Disjoint<'_, f32>, cut: Cut<'_>);
}

impl Element for u8 {
    #[inline(always)]
    fn new(byte: u8) -> Self {
        byte
    }

    #[inline(always)]
    unsafe fn store<S: Backend>(simd: S, to: *mut Self, x: S::Floats, range: [f32; 2], offset: i32) {
        // SAFETY: passed on to the caller.
        unsafe { simd.store_bytes(to, x, range, offset) };
    }

    fn row_bytes(read: usize, filters: usize, _panels: usize) -> usize {
        read + filters * size_of::<f32>()
    }

    fn multiply(products: &Bytes<'_>, image: &Image<'_, Self>, output: Disjoint<'_, f32>, cut: Cut<'_>) {
        products.conv.skeleton.multiply(products, image, output, cut);
    }
}

impl Element for i16 {
    #[inline(always)]
    fn new(byte: u8) -> Self {
        Self::from(byte as i8)
    }

    #[inline(always)]
    unsafe fn store<S: Backend>(simd: S, to: *mut Self, x: S::Floats, range: [f32; 2], offset: i32) {
        let mut bytes = [0; LANES];
        // SAFETY: `bytes` has sixteen; the caller guarantees `to`.
        unsafe {
            simd.store_bytes(bytes.as_mut_ptr(), x, range, offset);
            to.cast::<[Self; LANES]>().write_unaligned(bytes.map(Self::new));
        }
    }

    /// A span is read at a time, and a few panels are written.
    fn row_bytes(read: usize, _filters: usize, panels: usize) -> usize {
        read.min(WIDE_SPAN * QUAD * size_of::<Self>()) + panels * LANES * size_of::<f32>()
    }

    fn multiply(products: &Bytes<'_>, image: &Image<'_, Self>, output: Disjoint<'_, f32>, cut: Cut<'_>) {
        products.conv.skeleton.multiply(&Wide(products), image, output, cut);
    }
}

/// Writes `element` to `n` places.
///
/// # Safety
/// `to` must be valid for writing them.
#[inline(always)]
unsafe fn fill<E: Element>(to: *mut E, element: E, n: usize) {
    for i in 0..n {
        // SAFETY: the caller guarantees the places.
        unsafe { to.add(i).write(element) };
    }
}

/// Some lines of padded images, to be quantized; says whether all their values are finite.
pub(super) struct Lines<'a, E> {
    pub conv: &'a Int8Conv,
    pub images: &'a [f32],
    /// Values of an image's row.
    pub row: usize,
    pub lines: Range<usize>,
    /// Lines above the first row.
    pub top: usize,
    /// Elements before the first of a row.
    pub left: usize,
    pub elements: Disjoint<'a, E>,
}

impl<E: Element> Op for Lines<'_, E> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> bool {
        let Self { conv, images, row, left, .. } = self;
        let row_len = conv.skeleton.windows.row_len;
        let zero = E::new(conv.offset as u8);
        let inverse = simd.splat_float(conv.spec.scale.recip());
        let low = -f32::from(conv.spec.zero_point);
        // 0 times a value is 0 unless it is not finite.
        let mut check = simd.splat_float(0.0);
        for line in self.lines {
            // SAFETY: the scratch holds every line of the padded images, and these belong to this task alone; whole rows lie
            // in the images, and what is stored past a row is stored from a buffer of sixteen.
            unsafe {
                let to = self.elements.at(line * row_len, row_len);
                let Some(image) = line.checked_sub(self.top).and_then(|y| images.get(y * row..(y + 1) * row)) else {
                    fill(to, zero, row_len);
                    continue;
                };
                fill(to, zero, left);
                fill(to.add(left + row), zero, row_len - left - row);
                let to = to.add(left);
                let mut at = 0;
                while at < row {
                    let n = LANES.min(row - at);
                    let from = image.as_ptr().add(at);
                    let x = if n == LANES { simd.load_floats(from) } else { simd.load_first(from, n) };
                    check = simd.fma(x, simd.splat_float(0.0), check);
                    let steps = simd.mul(x, inverse);
                    if n == LANES {
                        E::store(simd, to.add(at), steps, [low, low + 255.0], conv.offset);
                    } else {
                        let mut last = [E::zeroed(); LANES];
                        E::store(simd, last.as_mut_ptr(), steps, [low, low + 255.0], conv.offset);
                        std::ptr::copy_nonoverlapping(last.as_ptr(), to.add(at), n);
                    }
                    at += n;
                }
            }
        }
        !simd.sum(check).is_nan()
    }
}
