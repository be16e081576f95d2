//! Windows over images, and the geometry of convolutions.

use crate::error::Error;
use crate::simd::{LANES, WORD_BITS};
use std::ops::Range;

/// The most elements that any buffer of a layer may have; keeps every size and offset far inside `usize` and `i32` counts.
pub const MAX_ELEMENTS: usize = 1 << 31;
/// The most binary products that one output may sum, so that an i32 holds the count and an f32 holds it exactly.
pub const MAX_DEPTH: usize = 1 << 23;

/// How a kernel slides over an image; all pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Window {
    /// Taps of the kernel.
    pub kernel: [usize; 2],
    /// Pixels between neighbouring windows.
    pub stride: [usize; 2],
    /// Pixels between neighbouring taps.
    pub dilation: [usize; 2],
    /// Pixels added at the top, left, bottom and right.
    pub padding: [usize; 4],
}

impl Window {
    /// A square kernel with stride 1, no dilation and no padding.
    pub const fn square(kernel: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [1; 2], dilation: [1; 2], padding: [0; 4] }
    }

    /// This window with that stride in both directions.
    pub const fn with_stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// This window with that padding on all four sides.
    pub const fn with_padding(mut self, padding: usize) -> Self {
        self.padding = [padding; 4];
        self
    }

    /// The number of taps.
    pub const fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// The taps of an axis (0: rows, 1: columns) that fall inside an input of `size` pixels at an output position; they are
    /// neighbours. Empty if the window lies in the padding altogether.
    #[inline(always)]
    pub(crate) fn valid_taps(&self, axis: usize, size: usize, position: usize) -> Range<usize> {
        let (first, dilation) = (position * self.stride[axis], self.dilation[axis]);
        let taps_before = |padded: usize| {
            let pixels = padded.saturating_sub(first);
            // A division costs more than all else here, and dilation is rare.
            (if dilation == 1 { pixels } else { pixels.div_ceil(dilation) }).min(self.kernel[axis])
        };
        taps_before(self.padding[axis])..taps_before(self.padding[axis] + size)
    }

    /// The valid taps of an axis at `outputs` output positions, each with the positions that have them, in order.
    ///
    /// Both ends of a range of valid taps only ever fall from position to position, so equal ranges are neighbours. The end
    /// of a span is found in doubling, then halving steps: there are at most two spans a tap and one, but up to 2^31
    /// positions.
    pub(crate) fn spans(
        self,
        axis: usize,
        size: usize,
        outputs: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut first = 0;
        std::iter::from_fn(move || {
            let taps = (first < outputs).then(|| self.valid_taps(axis, size, first))?;
            let same = |position| position < outputs && self.valid_taps(axis, size, position) == taps;
            let (mut last, mut step) = (first, 1);
            while same(last + step) {
                last += step;
                step *= 2;
            }
            while step > 1 {
                step /= 2;
                if same(last + step) {
                    last += step;
                }
            }
            let positions = first..last + 1;
            first = last + 1;
            Some((taps, positions))
        })
    }

    /// The output positions of an axis, out of `outputs`, whose taps all fall inside an input of `size` pixels.
    #[inline(always)]
    pub(crate) fn inner(&self, axis: usize, size: usize, outputs: usize) -> Range<usize> {
        let (stride, before) = (self.stride[axis], self.padding[axis]);
        let span = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
        let end = (size + before).checked_sub(span).map_or(0, |last| last / stride + 1).min(outputs);
        before.div_ceil(stride).min(end)..end
    }

    /// Rows and columns of the output for an input of `height` x `width`.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size, stride or dilation is zero, if the window does not fit into the padded input, or if a
    /// size, the padded size, or a number of the window passes [`MAX_ELEMENTS`].
    pub fn output(&self, height: usize, width: usize) -> Result<[usize; 2], Error> {
        let mut out = [0; 2];
        for (axis, size) in [height, width].into_iter().enumerate() {
            let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
            if kernel == 0 || stride == 0 || dilation == 0 || size == 0 {
                return Err(Error::Shape("sizes, kernel, stride and dilation must be at least 1".into()));
            }
            // So no product of two of them overflows, whatever they are good for: a stride may step far past the image.
            let [before, after] = [self.padding[axis], self.padding[axis + 2]];
            if let Some(most) =
                [kernel, stride, dilation, before, after].into_iter().max().filter(|&n| n > MAX_ELEMENTS)
            {
                return Err(Error::Shape(format!(
                    "kernel, stride, dilation and padding must be at most {MAX_ELEMENTS}, but one of them is {most}"
                )));
            }
            let span = (kernel - 1).checked_mul(dilation).and_then(|taps| taps.checked_add(1));
            let padded = size.checked_add(before).and_then(|size| size.checked_add(after));
            let (Some(span), Some(padded)) = (span, padded) else {
                return Err(Error::Shape("kernel, dilation or padding overflows".into()));
            };
            if padded > MAX_ELEMENTS || span > padded {
                return Err(Error::Shape(format!(
                    "a window that spans {span} pixels does not fit into {padded} padded pixels"
                )));
            }
            out[axis] = (padded - span) / stride + 1;
        }
        Ok(out)
    }
}

/// What a padded tap of a binary convolution stands for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Padding {
    /// Nothing: it adds exactly 0 to the dot product and is left out of the means. What zero padding means to a float layer.
    ValidTaps,
    /// +1 in every plane.
    One,
}

/// The shape of one convolution: one sample's input, its filters and how they slide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub filters: usize,
    /// Channel groups; divides both channels and filters.
    pub groups: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
}

impl Geometry {
    /// A matrix product: `features` inputs to `filters` outputs for each sample.
    pub const fn dense(features: usize, filters: usize) -> Self {
        Self { height: 1, width: 1, channels: features, filters, groups: 1, window: Window::square(1) }
    }

    /// Checks every size with checked arithmetic and returns the output's rows and columns.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the sizes that do not fit.
    pub fn validate(&self) -> Result<[usize; 2], Error> {
        let out = self.window.output(self.height, self.width)?;
        if self.groups == 0 || self.channels == 0 || self.filters == 0 {
            return Err(Error::Shape("channels, filters and groups must be at least 1".into()));
        }
        if !self.channels.is_multiple_of(self.groups) || !self.filters.is_multiple_of(self.groups) {
            return Err(Error::Shape(format!(
                "{} groups do not divide {} channels and {} filters",
                self.groups, self.channels, self.filters
            )));
        }
        let product =
            |sizes: &[usize]| sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&n| n <= MAX_ELEMENTS);
        let [top, left, bottom, right] = self.window.padding;
        let padded = |size: usize, unit: usize| {
            (size / self.groups).checked_next_multiple_of(unit).and_then(|padded| padded.checked_mul(self.groups))
        };
        let (Some(channel_bits), Some(lanes)) = (padded(self.channels, WORD_BITS), padded(self.filters, LANES)) else {
            return Err(Error::Shape("channels or filters overflow".into()));
        };
        let taps = self.window.kernel[0].checked_mul(self.window.kernel[1]);
        let depth = taps.and_then(|taps| taps.checked_mul(channel_bits / self.groups));
        let Some(depth) = depth.filter(|&depth| depth <= MAX_DEPTH) else {
            return Err(Error::Shape(format!("a filter sums more than {MAX_DEPTH} products")));
        };
        let fits = product(&[self.height + top + bottom, self.width + left + right, channel_bits]).is_some()
            && product(&[out[0], out[1], lanes]).is_some()
            && product(&[depth, lanes]).is_some();
        if fits { Ok(out) } else { Err(Error::Shape(format!("a buffer of the layer passes {MAX_ELEMENTS} elements"))) }
    }

    /// The valid taps of an axis (0: rows, 1: columns) at an output position.
    #[inline(always)]
    pub(crate) fn valid_taps(&self, axis: usize, position: usize) -> Range<usize> {
        self.window.valid_taps(axis, [self.height, self.width][axis], position)
    }

    /// Whether the layer is one window of one tap on one pixel: a matrix product ([`Self::dense`]), possibly in groups.
    pub(crate) fn is_flat(&self) -> bool {
        [self.height, self.width] == [1; 2] && self.window.kernel == [1; 2] && !self.is_padded()
    }

    /// Whether any tap can be padded.
    pub(crate) fn is_padded(&self) -> bool {
        self.window.padding != [0; 4]
    }

    /// The panel (over all groups) and the lane in which a filter stands.
    pub(crate) const fn lane(&self, filter: usize) -> [usize; 2] {
        let (group, within) = (filter / self.group_filters(), filter % self.group_filters());
        [group * self.group_panels() + within / LANES, within % LANES]
    }

    /// Values of one sample's input.
    pub const fn input_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Input channels of one group.
    pub const fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Output channels of one group.
    pub const fn group_filters(&self) -> usize {
        self.filters / self.groups
    }

    /// Words that hold the bits of one group's channels at one pixel.
    pub const fn group_words(&self) -> usize {
        self.group_channels().div_ceil(WORD_BITS)
    }

    /// Panels of one group.
    pub const fn group_panels(&self) -> usize {
        self.group_filters().div_ceil(LANES)
    }

    /// Products that one output sums when no tap is padded.
    pub const fn depth(&self) -> usize {
        self.window.taps() * self.group_channels()
    }

    /// Words of the bit panels of all groups: `[group][panel][tap][word][lane]`.
    pub const fn bit_panel_len(&self) -> usize {
        self.groups * self.group_panels() * self.window.taps() * self.group_words() * LANES
    }

    /// The geometry after which float panels and the vectors of a float layer are laid out: the layer's own; for a depthwise
    /// one (a group a channel, a filter a group) that of one channel to as many filters, whose weights stand in the same order
    /// and fill whole panels.
    pub const fn float_layout(&self) -> Self {
        if self.is_depthwise() { Self { channels: 1, groups: 1, ..*self } } else { *self }
    }

    /// Whether each channel is convolved by itself.
    pub(crate) const fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels && self.groups == self.filters
    }

    /// Values of the float panels of all groups, `[group][panel][tap][channel][lane]` of [`Self::float_layout`].
    pub const fn float_panel_len(&self) -> usize {
        let layout = self.float_layout();
        layout.groups * layout.group_panels() * layout.depth() * LANES
    }

    /// Length of a vector of per-filter values laid out for the kernels: every group padded to whole panels.
    pub const fn padded_filters(&self) -> usize {
        self.groups * self.group_panels() * LANES
    }

    /// Lays a vector of per-filter values (at least `filters` long) out as [`Self::padded_filters`] says, zeros between.
    pub fn pad_filters(&self, values: &[f32]) -> Vec<f32> {
        let mut padded = vec![0.0; self.padded_filters()];
        self.pad_filters_into(values, &mut padded);
        padded
    }

    /// Lays a vector of per-filter values out in `padded`, which must hold [`Self::padded_filters`] zeros.
    ///
    /// # Panics
    /// If `values` or `padded` is too short.
    pub fn pad_filters_into(&self, values: &[f32], padded: &mut [f32]) {
        for group in 0..self.groups {
            let (to, from, n) =
                (group * self.group_panels() * LANES, group * self.group_filters(), self.group_filters());
            padded[to..to + n].copy_from_slice(&values[from..from + n]);
        }
    }
}
