//! Packed planes that a layer hands to the binary layer that reads it, with no f32 between them.
//!
//! Where the reader's scales are constants ([`ScaleMode::is_constant`]), a value can be quantized as soon as
//! it is finished, in registers: the writer's epilogue stores sign bits where the reader's windows expect them. The bits are
//! those that the reader's own quantizer would find.

use crate::binary::scales::MAX_ORDER;
use crate::binary::scales::ScaleMode;
use crate::binary::spec::BinarySpec;
use crate::parallel::Disjoint;
use crate::shape::Starts;
use crate::simd::{LANES, Simd, WORD_BITS};
use pulp::bytemuck::cast_slice_mut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Where the planes of a binary layer's input lie: word w of pixel (y, x) in plane k of sample s is at
/// s * sample + k * plane + first + y * row + x * pixel + w.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneLayout {
    pub(crate) sample: usize,
    pub(crate) plane: usize,
    pub(crate) first: usize,
    pub(crate) row: usize,
    pub(crate) pixel: usize,
    /// The reader's mode.
    mode: ScaleMode,
    /// Rows, columns and channels of the value that is packed.
    shape: [usize; 3],
    len: usize,
    /// Whether there are bits that no pixel writes; they must be zero.
    gaps: bool,
}

impl PlaneLayout {
    /// The planes that all windows of a layer share.
    pub(crate) fn shared(spec: &BinarySpec) -> Self {
        let geometry = &spec.geometry;
        let [top, left, bottom, right] = geometry.window.padding;
        let pixel = geometry.groups * geometry.group_words();
        let row = (geometry.width + left + right) * pixel;
        let image = (geometry.height + top + bottom) * row;
        // The samples of a matrix product are the rows of one tile: plane by plane, sample by sample.
        let (sample, plane) =
            if spec.is_flat() { (pixel, spec.max_batch * pixel) } else { (spec.max_order * image, image) };
        Self {
            sample,
            plane,
            first: top * row + left * pixel,
            row,
            pixel,
            mode: spec.mode,
            shape: [geometry.height, geometry.width, geometry.channels],
            len: spec.max_order * spec.max_batch * image,
            gaps: geometry.window.padding != [0; 4] || !geometry.channels.is_multiple_of(WORD_BITS),
        }
    }

    /// The layout in which a layer takes planes from the one before it; none where its scales depend on the values, or where
    /// groups begin inside a word.
    pub fn new(spec: &BinarySpec) -> Option<Self> {
        let geometry = &spec.geometry;
        let whole = geometry.groups == 1 || geometry.group_channels().is_multiple_of(WORD_BITS);
        (spec.mode.is_constant() && whole).then(|| Self::shared(spec))
    }

    /// This layout for an image of `height` x `width` x `channels` whose values in order are the layer's input; none where
    /// its pixels do not fill their words, or where the layer reads an image of its own.
    pub fn unflattened(self, [height, width, channels]: [usize; 3]) -> Option<Self> {
        let same = self.shape == [1, 1, height * width * channels] && channels.is_multiple_of(WORD_BITS);
        let pixel = channels / WORD_BITS;
        same.then_some(Self { row: width * pixel, pixel, shape: [height, width, channels], ..self })
    }

    /// Words of the planes of all samples.
    #[expect(clippy::len_without_is_empty, reason = "a layer has at least one channel")]
    pub const fn len(&self) -> usize {
        self.len
    }
}

/// The planes that a layer's output goes to.
#[derive(Debug)]
pub struct PackInto<'a> {
    layout: PlaneLayout,
    /// Sixteenths of the channels of each pixel: the halves of the words, the low one first on the targets that there are.
    halves: Disjoint<'a, u16>,
    scales: [f32; MAX_ORDER],
    order: usize,
    overflow: AtomicBool,
}

impl<'a> PackInto<'a> {
    /// Planes `words`, at the order at which the reader will run, with its constants as [`crate::BinaryCall::scales`] says
    /// (none in mode [`ScaleMode::None`]).
    ///
    /// # Panics
    /// If `words` is shorter than the layout, or there are fewer constants than orders; of [`ScaleMode::Halving`], unless the
    /// first is finite and at least [`crate::MIN_HALVING_SCALE`].
    pub fn new(layout: PlaneLayout, words: &'a mut [u32], order: usize, scales: Option<&[f32]>) -> Self {
        assert!(words.len() >= layout.len, "planes of {} words where {} are needed", words.len(), layout.len);
        let mut constants = [1.0; MAX_ORDER];
        if let Some(scales) = scales {
            layout.mode.constant_scales(scales, &mut constants[..order]);
        }
        if layout.gaps {
            words[..layout.len].fill(0);
        }
        Self {
            layout,
            halves: Disjoint::new(cast_slice_mut(words)),
            scales: constants,
            order,
            overflow: AtomicBool::new(false),
        }
    }

    /// Rows, columns and channels of the value.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.layout.shape
    }

    pub(crate) fn order(&self) -> usize {
        self.order
    }

    /// Whether a value was NaN or infinite.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflow.load(Relaxed)
    }

    /// Where the pixels of a sample lie, from pixel `at` on.
    #[inline(always)]
    pub(crate) fn pixels(&self, sample: usize, at: usize) -> Starts {
        let PlaneLayout { sample: step, first, row, pixel, shape, .. } = self.layout;
        Starts::new(sample * step + first, at, shape[1], [row, pixel])
    }

    /// Where samples of one pixel lie, from sample `at` on.
    #[inline(always)]
    pub(crate) fn samples(&self, at: usize) -> Starts {
        Starts::evenly(at * self.layout.sample + self.layout.first, self.layout.sample)
    }

    /// Where the bits of sixteen channels of a pixel lie in plane `k`, and those of the `n - 1` sixteenths behind them.
    ///
    /// # Safety
    /// `pixel` must be a pixel of the layout and `half` a sixteenth of its channels with as many behind it, which belong to the
    /// caller alone.
    #[inline(always)]
    pub(crate) unsafe fn halves(&self, k: usize, pixel: usize, half: usize, n: usize) -> *mut u16 {
        // SAFETY: the caller guarantees the place.
        unsafe { self.halves.at(2 * (k * self.layout.plane + pixel) + half, n) }
    }

    /// Packs sixteen channels of the pixels `pixels`, of which the first `lanes` count.
    ///
    /// # Safety
    /// As [`Self::halves`] for each pixel.
    #[inline(always)]
    pub(crate) unsafe fn pack<S: Simd, const R: usize>(
        &self,
        simd: S,
        y: &[S::Floats; R],
        pixels: &[usize],
        half: usize,
        lanes: usize,
    ) {
        let (zero, infinity) = (simd.splat_float(0.0), simd.splat_float(f32::INFINITY));
        let lanes = ((1u32 << lanes) - 1) as u16;
        let mut finite = lanes;
        let mut m = [zero; R];
        let mut bits = [0u16; R];
        for r in 0..R {
            m[r] = simd.abs(y[r]);
            finite &= simd.less(m[r], infinity);
            bits[r] = simd.less(y[r], zero) & lanes;
            // SAFETY: passed on to the caller.
            unsafe { *self.halves(0, pixels[r], half, 1) = bits[r] };
        }
        for k in 1..self.order {
            let scale = simd.splat_float(self.scales[k - 1]);
            for r in 0..R {
                bits[r] ^= simd.less(m[r], scale) & lanes;
                m[r] = simd.abs(simd.sub(m[r], scale));
                // SAFETY: passed on to the caller.
                unsafe { *self.halves(k, pixels[r], half, 1) = bits[r] };
            }
        }
        if finite != lanes {
            self.overflow.store(true, Relaxed);
        }
    }

    /// Sixteenths of a value's channels before `channel`, a multiple of sixteen.
    #[inline(always)]
    pub(crate) fn half(channel: usize) -> usize {
        debug_assert!(channel.is_multiple_of(LANES));
        channel / LANES
    }
}
