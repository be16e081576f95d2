//! Pooling of f32 NHWC values, any number of samples at once.
//!
//! Every operation stands in a fixed order, so all instruction sets give the same bits. NaN is passed on: what reads a NaN
//! gives NaN. The sign of a zero is what the stated operations make of it.

use crate::backends::{Backend, Op, Runner, dispatch};
use crate::error::Error;
use crate::parallel::{Disjoint, Grid, Parallel, Pieces};
use crate::shape::Window;
use crate::simd::{LANES, Simd};
use std::marker::PhantomData;
use std::ops::Range;

/// The shape of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
}

impl PoolShape {
    /// Rows and columns of the output.
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Window::output`] says.
    pub fn output(&self) -> Result<[usize; 2], Error> {
        self.window.output(self.height, self.width)
    }

    /// Values of one sample's input.
    pub const fn input_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// What a pixel of the output costs in vector operations: a load, a comparison and a choice a tap.
    fn pixel_work(&self) -> usize {
        (3 * self.channels.div_ceil(LANES)).saturating_mul(self.window.taps())
    }

    /// The input row or column (`axis` 0 or 1) under a valid tap of output row or column `at`.
    #[inline(always)]
    fn source(&self, axis: usize, at: usize, tap: usize) -> usize {
        at * self.window.stride[axis] + tap * self.window.dilation[axis] - self.window.padding[axis]
    }
}

/// What a pool makes of the values under a window, sixteen channels at a time.
trait Pooling {
    /// Before the first tap.
    fn start<S: Simd>(simd: S) -> S::Floats;
    /// The first value: what [`Self::tap`] makes of [`Self::start`] and it.
    fn first<S: Simd>(simd: S, x: S::Floats) -> S::Floats;
    /// With one more value.
    fn tap<S: Simd>(simd: S, y: S::Floats, x: S::Floats) -> S::Floats;
    /// After all `taps` of them.
    fn end<S: Simd>(simd: S, y: S::Floats, taps: usize) -> S::Floats;
}

/// The largest value, 0 of none.
struct Max;

impl Pooling for Max {
    #[inline(always)]
    fn start<S: Simd>(simd: S) -> S::Floats {
        simd.splat_float(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn first<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
        simd.finite_or_nan(x)
    }

    #[inline(always)]
    fn tap<S: Simd>(simd: S, y: S::Floats, x: S::Floats) -> S::Floats {
        simd.max(y, simd.finite_or_nan(x))
    }

    #[inline(always)]
    fn end<S: Simd>(simd: S, y: S::Floats, taps: usize) -> S::Floats {
        if taps == 0 { simd.splat_float(0.0) } else { y }
    }
}

/// The mean value, 0 of none.
struct Average;

impl Pooling for Average {
    #[inline(always)]
    fn start<S: Simd>(simd: S) -> S::Floats {
        simd.splat_float(0.0)
    }

    /// 0 + -0 is 0.
    #[inline(always)]
    fn first<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
        simd.add(simd.splat_float(0.0), x)
    }

    #[inline(always)]
    fn tap<S: Simd>(simd: S, y: S::Floats, x: S::Floats) -> S::Floats {
        simd.add(y, x)
    }

    #[inline(always)]
    fn end<S: Simd>(simd: S, y: S::Floats, taps: usize) -> S::Floats {
        simd.div(y, simd.splat_float(taps.max(1) as f32))
    }
}

/// Some rows of a pool's output, counted over all samples.
struct Pool<'a, P> {
    shape: &'a PoolShape,
    /// Rows and columns of one sample's output.
    out: [usize; 2],
    input: &'a [f32],
    output: Disjoint<'a, f32>,
    rows: Range<usize>,
    /// Who runs this, and may call it off.
    parallel: &'a dyn Parallel,
    pooling: PhantomData<P>,
}

/// The valid taps of one window.
#[derive(Clone, Copy)]
struct Taps {
    /// The first tap's first channel.
    first: *const f32,
    /// Rows and columns of taps.
    counts: [usize; 2],
    /// Values from a tap to the one below and to the one beside it.
    steps: [usize; 2],
}

/// Cuts a pool's rows into tasks.
#[inline(always)]
fn run<P: Pooling>(runner: Runner<'_>, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    let out = shape.output().expect("a pooling shape that was not checked");
    let [rows, columns] = out;
    assert_eq!(input.len() % shape.input_len(), 0, "input is not a whole number of samples");
    let samples = input.len() / shape.input_len();
    assert_eq!(output.len(), samples * rows * columns * shape.channels, "output length");
    let output = Disjoint::new(output);
    let work = columns.saturating_mul(shape.pixel_work());
    Grid::lines(runner.parallel, samples * rows, work).run(|_, rows| {
        let parallel = runner.parallel;
        dispatch(runner.isa, Pool::<P> { shape, out, input, output, rows, parallel, pooling: PhantomData });
    });
}

impl<P: Pooling> Pool<'_, P> {
    /// `N` vectors of channels of one window; of the last, `n` channels. `K` is the size of a square window whose taps are
    /// all valid, or 0.
    ///
    /// # Safety
    /// `to` must be writable, and every tap readable, for 16 (N - 1) + `n` values.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const K: usize, const N: usize>(simd: S, taps: Taps, to: *mut f32, n: usize) {
        let counts = if K > 0 { [K; 2] } else { taps.counts };
        let mut all = [P::start(simd); N];
        let mut row = taps.first;
        for i in 0..counts[0] {
            let mut tap = row;
            for j in 0..counts[1] {
                let is_first = K > 0 && (i, j) == (0, 0);
                for i in 0..N {
                    let at = tap.wrapping_add(i * LANES);
                    // SAFETY: the caller guarantees the tap.
                    let x = unsafe { if n == LANES { simd.load_floats(at) } else { simd.load_first(at, n) } };
                    all[i] = if is_first { P::first(simd, x) } else { P::tap(simd, all[i], x) };
                }
                tap = tap.wrapping_add(taps.steps[1]);
            }
            row = row.wrapping_add(taps.steps[0]);
        }
        for i in 0..N {
            let y = P::end(simd, all[i], counts[0] * counts[1]);
            // SAFETY: the caller guarantees the target.
            unsafe {
                let to = to.add(i * LANES);
                if n == LANES { simd.store_floats(to, y) } else { simd.store_first(to, y, n) }
            }
        }
    }

    /// One window in all `channels`; `K` as in [`Self::vectors`].
    ///
    /// # Safety
    /// `to` must be writable, and every tap readable, for `channels` values.
    #[inline(always)]
    unsafe fn window<S: Simd, const K: usize>(simd: S, taps: Taps, to: *mut f32, channels: usize) {
        let from = |channel: usize| Taps { first: taps.first.wrapping_add(channel), ..taps };
        let mut c = 0;
        // SAFETY: the channels from c on end at the last.
        unsafe {
            while c + 4 * LANES <= channels {
                Self::vectors::<S, K, 4>(simd, from(c), to.add(c), LANES);
                c += 4 * LANES;
            }
            if c + 2 * LANES <= channels {
                Self::vectors::<S, K, 2>(simd, from(c), to.add(c), LANES);
                c += 2 * LANES;
            }
            if c + LANES <= channels {
                Self::vectors::<S, K, 1>(simd, from(c), to.add(c), LANES);
                c += LANES;
            }
            if c < channels && channels >= LANES {
                // Whole vectors are cheaper than parts of one, and the channels before come out the same again.
                c = channels - LANES;
                Self::vectors::<S, K, 1>(simd, from(c), to.add(c), LANES);
            } else if c < channels {
                Self::vectors::<S, K, 1>(simd, from(c), to.add(c), channels - c);
            }
        }
    }

    /// Windows beside each other whose taps are all valid.
    ///
    /// # Safety
    /// As [`Self::window`] for each of `n` windows, the first at `taps`.
    #[inline(always)]
    unsafe fn inner<S: Simd, const K: usize>(&self, simd: S, mut taps: Taps, mut to: *mut f32, n: usize) {
        let channels = self.shape.channels;
        let step = self.shape.window.stride[1] * channels;
        for _ in 0..n {
            // SAFETY: the caller guarantees the windows.
            unsafe { Self::window::<S, K>(simd, taps, to, channels) };
            taps.first = taps.first.wrapping_add(step);
            to = to.wrapping_add(channels);
        }
    }
}

impl<P: Pooling> Op for Pool<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        let &PoolShape { height, width, channels, window } = self.shape;
        let [out_rows, out_columns] = self.out;
        let steps = [window.dilation[0] * width * channels, window.dilation[1] * channels];
        let inner = window.inner(1, width, out_columns);
        for line in self.rows.clone() {
            let y = line % out_rows;
            let sample = &self.input[line / out_rows * self.shape.input_len()..][..self.shape.input_len()];
            let tap_rows = window.valid_taps(0, height, y);
            let taps = |x: usize| {
                let columns = window.valid_taps(1, width, x);
                let counts = [tap_rows.len(), columns.len()];
                let from = if counts.contains(&0) {
                    0 // a window of nothing but padding reads nothing
                } else {
                    (self.shape.source(0, y, tap_rows.start) * width + self.shape.source(1, x, columns.start))
                        * channels
                };
                Taps { first: sample[from..].as_ptr(), counts, steps }
            };
            for columns in Pieces::new(self.parallel, 0..out_columns, self.shape.pixel_work()) {
                let border = columns.start..inner.start.min(columns.end);
                let border = border.chain(inner.end.max(columns.start)..columns.end);
                let inner = inner.start.max(columns.start)..inner.end.min(columns.end);
                // SAFETY: every valid tap is a pixel of the sample; the pixels written are those of this task's rows, which
                // lie in the output and are nobody else's.
                unsafe {
                    let to = |x: usize| self.output.at((line * out_columns + x) * channels, channels);
                    for x in border {
                        Self::window::<S, 0>(simd, taps(x), to(x), channels);
                    }
                    if !inner.is_empty() {
                        let (first, n) = (taps(inner.start), inner.len());
                        match first.counts {
                            [2, 2] => self.inner::<S, 2>(simd, first, to(inner.start), n),
                            [3, 3] => self.inner::<S, 3>(simd, first, to(inner.start), n),
                            _ => self.inner::<S, 0>(simd, first, to(inner.start), n),
                        }
                    }
                }
            }
        }
    }
}

/// The largest value of each window, padded taps left out; NaN if one is NaN or infinite, the first of equal values (zeros of
/// either sign), and 0 if the window lies in the padding altogether.
///
/// `input` and `output` hold a whole number of samples.
///
/// # Panics
/// If the shape has no output or a length does not match it.
pub fn max_pool<'a>(runner: impl Into<Runner<'a>>, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    run::<Max>(runner.into(), shape, input, output);
}

/// The mean of each window, padded taps left out: the sum over its taps in order, divided by their number; 0 if the window
/// lies in the padding altogether.
///
/// # Panics
/// If the shape has no output or a length does not match it.
pub fn average_pool<'a>(runner: impl Into<Runner<'a>>, shape: &PoolShape, input: &[f32], output: &mut [f32]) {
    run::<Average>(runner.into(), shape, input, output);
}

/// The mean of each channel over the `pixels` of a sample: the sum in the pixels' order, divided by their number.
///
/// # Panics
/// If `output` is not `channels` values for each `pixels * channels` of `input`.
pub fn global_average_pool<'a>(
    runner: impl Into<Runner<'a>>,
    pixels: usize,
    channels: usize,
    input: &[f32],
    output: &mut [f32],
) {
    // One window over an image one pixel high.
    let window = Window { kernel: [1, pixels], ..Window::square(1) };
    run::<Average>(runner.into(), &PoolShape { height: 1, width: pixels, channels, window }, input, output);
}
