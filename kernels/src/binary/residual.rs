//! The residual quantizer: scales and planes of sign bits (HORQ, section 3.2, equations 3 to 8).
//!
//! On magnitudes the recursion needs no signs: m_0 = |x|; b_k = mean(m_{k-1}); f_k = [m_{k-1} < b_k];
//! m_k = |m_{k-1} - b_k|; and H_{k+1} = H_k xor f_k, where a set bit means -1 and H_1 = \[x < 0\], so sign(0) = +1.
//!
//! Each order is one pass over the inputs that recomputes m from x: k subtractions in registers cost less than a buffer of
//! magnitudes in memory. A mean runs over runs of elements (image rows, or the taps of a window): sixteen lanes, each adding
//! every sixteenth element of the run in order, then the lanes of run after run added up, then the lanes as a tree
//! ([`Simd::sum`]), then one division, so it has the same bits on every backend. Where the scales are such means,
//! [`next_plane`] finds a plane and its scale in one pass; [`pack`] makes all planes at once where the scales are known.

use crate::binary::scales::MAX_ORDER;
use crate::parallel::Disjoint;
use crate::simd::{LANES, Simd, WORD_BITS};

/// |R_k| of sixteen elements, k being the number of `scales`.
#[inline(always)]
fn magnitude<S: Simd, const K: usize>(simd: S, x: S::Floats, scales: &[S::Floats; K]) -> S::Floats {
    let mut m = simd.abs(x);
    for scale in scales {
        m = simd.abs(simd.sub(m, *scale));
    }
    m
}

/// Adds the magnitudes |R_k| of a run of elements to sixteen lanes, starting at lane 0; k is the number of `scales`.
#[inline(always)]
pub(crate) fn add_magnitudes<S: Simd>(simd: S, lanes: S::Floats, run: &[f32], scales: &[f32]) -> S::Floats {
    match *scales {
        [] => add_run(simd, lanes, run, []),
        [a] => add_run(simd, lanes, run, [a]),
        [a, b] => add_run(simd, lanes, run, [a, b]),
        [a, b, c] => add_run(simd, lanes, run, [a, b, c]),
        [a, b, c, d] => add_run(simd, lanes, run, [a, b, c, d]),
        [a, b, c, d, e] => add_run(simd, lanes, run, [a, b, c, d, e]),
        [a, b, c, d, e, f] => add_run(simd, lanes, run, [a, b, c, d, e, f]),
        [a, b, c, d, e, f, g] => add_run(simd, lanes, run, [a, b, c, d, e, f, g]),
        _ => unreachable!("orders end at {MAX_ORDER}"),
    }
}

#[inline(always)]
fn add_run<S: Simd, const K: usize>(simd: S, mut lanes: S::Floats, run: &[f32], scales: [f32; K]) -> S::Floats {
    let scales = scales.map(
        #[inline(always)]
        |scale| simd.splat_float(scale),
    );
    let mut chunks = run.chunks_exact(LANES);
    for chunk in &mut chunks {
        // SAFETY: a chunk holds sixteen values.
        let x = unsafe { simd.load_floats(chunk.as_ptr()) };
        lanes = simd.add(lanes, magnitude(simd, x, &scales));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        // SAFETY: the remainder holds that many values.
        let x = unsafe { simd.load_first(rest.as_ptr(), rest.len()) };
        lanes = simd.add(lanes, simd.keep_first(magnitude(simd, x, &scales), rest.len()));
    }
    lanes
}

/// The scales b_1.. of an image for mode `image`: every order's mean over all values, image row by image row.
///
/// The lanes of each row are summed by themselves and then added up, which keeps the sums of large images precise.
#[inline(always)]
pub(crate) fn image_scales<S: Simd>(simd: S, image: &[f32], row_len: usize, scales: &mut [f32]) {
    for k in 0..scales.len() {
        let mut lanes = simd.splat_float(0.0);
        for row in image.chunks_exact(row_len) {
            let row = add_magnitudes(simd, simd.splat_float(0.0), row, &scales[..k]);
            lanes = simd.add(lanes, row);
        }
        scales[k] = simd.sum(lanes) / image.len() as f32;
    }
}

/// The next plane of `R` runs of equal length: packs plane k + 1, k being the number of `scales` so far, and returns the
/// lanes of sum |R_k| of each run, from which scale k + 1 follows. One pass does both, and the first needs no scale.
///
/// Neighbouring runs keep two chains of additions busy, whose latency would set the pace otherwise.
///
/// # Safety
/// [`PlaneWords::at`] must be allowed for the words of each run, `run.len()` bits rounded up to words, in planes k (counted
/// from 1) and k + 1. All runs must have the length of the first.
#[inline(always)]
pub(crate) unsafe fn next_plane<S: Simd, const R: usize>(
    simd: S,
    runs: [&[f32]; R],
    scales: &[f32],
    planes: [PlaneWords<'_>; R],
) -> [S::Floats; R] {
    // SAFETY: passed on to the caller.
    unsafe {
        match *scales {
            [] => next_of(simd, runs, [], planes),
            [a] => next_of(simd, runs, [a], planes),
            [a, b] => next_of(simd, runs, [a, b], planes),
            [a, b, c] => next_of(simd, runs, [a, b, c], planes),
            [a, b, c, d] => next_of(simd, runs, [a, b, c, d], planes),
            [a, b, c, d, e] => next_of(simd, runs, [a, b, c, d, e], planes),
            [a, b, c, d, e, f] => next_of(simd, runs, [a, b, c, d, e, f], planes),
            [a, b, c, d, e, f, g] => next_of(simd, runs, [a, b, c, d, e, f, g], planes),
            _ => unreachable!("orders end at {MAX_ORDER}"),
        }
    }
}

#[inline(always)]
unsafe fn next_of<S: Simd, const R: usize, const K: usize>(
    simd: S,
    runs: [&[f32]; R],
    scales: [f32; K],
    planes: [PlaneWords<'_>; R],
) -> [S::Floats; R] {
    // SAFETY: passed on to the caller.
    unsafe { next_under(simd, runs, &splats(simd, scales), planes) }
}

/// Each scale in all lanes.
#[inline(always)]
fn splats<S: Simd, const K: usize>(simd: S, scales: [f32; K]) -> [S::Floats; K] {
    let mut splats = [simd.splat_float(0.0); K];
    for k in 0..K {
        splats[k] = simd.splat_float(scales[k]);
    }
    splats
}

/// The valid taps of a window: runs of channels, and where their words go.
#[derive(Clone, Copy)]
pub(crate) struct Taps<'a> {
    /// From the first channel of the first tap on.
    pub values: &'a [f32],
    /// Values of a run.
    pub channels: usize,
    /// Rows and columns of taps.
    pub counts: [usize; 2],
    /// Values from a tap to the one below and to the one beside it.
    pub steps: [usize; 2],
    /// The words of the first tap.
    pub planes: PlaneWords<'a>,
    /// Words from a tap to the one below and to the one beside it.
    pub word_steps: [usize; 2],
}

/// The next plane of a window: packs plane k + 1 of all its taps, k being the number of `scales` so far, and returns the lanes of
/// sum |R_k|, those of tap after tap added up.
///
/// # Safety
/// As [`next_plane`] for the run of every tap.
#[inline(always)]
pub(crate) unsafe fn next_of_taps<S: Simd>(simd: S, taps: Taps<'_>, scales: &[f32]) -> S::Floats {
    // SAFETY: passed on to the caller.
    unsafe {
        match *scales {
            [] => taps_under(simd, taps, []),
            [a] => taps_under(simd, taps, [a]),
            [a, b] => taps_under(simd, taps, [a, b]),
            [a, b, c] => taps_under(simd, taps, [a, b, c]),
            [a, b, c, d] => taps_under(simd, taps, [a, b, c, d]),
            [a, b, c, d, e] => taps_under(simd, taps, [a, b, c, d, e]),
            [a, b, c, d, e, f] => taps_under(simd, taps, [a, b, c, d, e, f]),
            [a, b, c, d, e, f, g] => taps_under(simd, taps, [a, b, c, d, e, f, g]),
            _ => unreachable!("orders end at {MAX_ORDER}"),
        }
    }
}

#[inline(always)]
unsafe fn taps_under<S: Simd, const K: usize>(simd: S, taps: Taps<'_>, scales: [f32; K]) -> S::Floats {
    let constants = splats(simd, scales);
    let mut lanes = simd.splat_float(0.0);
    for i in 0..taps.counts[0] {
        for j in 0..taps.counts[1] {
            let run = &taps.values[i * taps.steps[0] + j * taps.steps[1]..][..taps.channels];
            let planes = taps.planes.skip(i * taps.word_steps[0] + j * taps.word_steps[1]);
            // SAFETY: passed on to the caller.
            let [of_tap] = unsafe { next_under(simd, [run], &constants, [planes]) };
            lanes = simd.add(lanes, of_tap);
        }
    }
    lanes
}

#[inline(always)]
unsafe fn next_under<S: Simd, const R: usize, const K: usize>(
    simd: S,
    runs: [&[f32]; R],
    constants: &[S::Floats; K],
    planes: [PlaneWords<'_>; R],
) -> [S::Floats; R] {
    let mut lanes = [simd.splat_float(0.0); R];
    let len = runs[0].len();
    let (words, rest) = (len / WORD_BITS, len % WORD_BITS);
    for word in 0..words {
        for r in 0..R {
            // SAFETY: the run holds these 32 values; the caller guarantees the planes' words.
            unsafe {
                let x = runs[r].as_ptr().add(word * WORD_BITS);
                let low = next_bits(simd, simd.load_floats(x), constants);
                lanes[r] = simd.add(lanes[r], low.1);
                let high = next_bits(simd, simd.load_floats(x.add(LANES)), constants);
                lanes[r] = simd.add(lanes[r], high.1);
                planes[r].flip(K, word, low.0 | high.0 << LANES);
            }
        }
    }
    if rest > 0 {
        for r in 0..R {
            let mut bits = 0;
            for (half, part) in runs[r][words * WORD_BITS..].chunks(LANES).enumerate() {
                // SAFETY: the part holds that many values.
                let x = unsafe { simd.load_first(part.as_ptr(), part.len()) };
                let (flips, m) = next_bits(simd, x, constants);
                // Zeros behind the last value lie below every scale: neither their bits nor their residuals count.
                bits |= (flips & ((1u32 << part.len()) - 1)) << (half * LANES);
                lanes[r] = simd.add(lanes[r], simd.keep_first(m, part.len()));
            }
            // SAFETY: the caller guarantees the planes' words.
            unsafe { planes[r].flip(K, words, bits) };
        }
    }
    lanes
}

/// Where plane K + 1 of sixteen values differs from plane K (plane 1: from +1), and |R_K|.
#[inline(always)]
fn next_bits<S: Simd, const K: usize>(simd: S, x: S::Floats, scales: &[S::Floats; K]) -> (u32, S::Floats) {
    let mut m = simd.abs(x);
    let mut bits = simd.less(x, simd.splat_float(0.0));
    for k in 0..K {
        bits = simd.less(m, scales[k]);
        m = simd.abs(simd.sub(m, scales[k]));
    }
    (u32::from(bits), m)
}

/// Where packed planes go: word w of plane k at `first + k * plane + w`.
#[derive(Clone, Copy)]
pub(crate) struct PlaneWords<'a> {
    pub words: Disjoint<'a, u32>,
    /// Where the first plane starts.
    pub first: usize,
    /// Words between neighbouring planes.
    pub plane: usize,
}

impl PlaneWords<'_> {
    /// These planes from a later word on.
    #[inline(always)]
    pub(crate) fn skip(self, words: usize) -> Self {
        Self { first: self.first + words, ..self }
    }

    /// A word of plane `k`, counted from 0.
    ///
    /// # Safety
    /// The word must lie in the planes, and nobody else may touch it.
    #[inline(always)]
    pub(crate) unsafe fn at(self, k: usize, word: usize) -> *mut u32 {
        // SAFETY: passed on to the caller.
        unsafe { self.words.at(self.first + k * self.plane + word, 1) }
    }

    /// Plane `k` + 1 at a word: plane `k` with some bits flipped, or these bits where `k` is 0.
    ///
    /// # Safety
    /// As [`Self::at`] for the word of both planes.
    #[inline(always)]
    unsafe fn flip(self, k: usize, word: usize, bits: u32) {
        // SAFETY: the caller guarantees both words.
        unsafe {
            let before = if k == 0 { 0 } else { *self.at(k - 1, word) };
            *self.at(k, word) = before ^ bits;
        }
    }
}

/// Packs the planes of a run of channels, one plane a scale, and returns x * 0 summed over the run: NaN in some lane
/// exactly if the run holds NaN or infinity.
///
/// # Safety
/// Each of the planes must be writable for `run.len()` bits rounded up to words.
#[inline(always)]
pub(crate) unsafe fn pack<S: Simd>(simd: S, run: &[f32], scales: &[f32], planes: PlaneWords<'_>) -> S::Floats {
    // SAFETY: passed on to the caller.
    unsafe {
        match *scales {
            [_] => pack_run(simd, run, [], planes),
            [a, _] => pack_run(simd, run, [a], planes),
            [a, b, _] => pack_run(simd, run, [a, b], planes),
            [a, b, c, _] => pack_run(simd, run, [a, b, c], planes),
            [a, b, c, d, _] => pack_run(simd, run, [a, b, c, d], planes),
            [a, b, c, d, e, _] => pack_run(simd, run, [a, b, c, d, e], planes),
            [a, b, c, d, e, f, _] => pack_run(simd, run, [a, b, c, d, e, f], planes),
            [a, b, c, d, e, f, g, _] => pack_run(simd, run, [a, b, c, d, e, f, g], planes),
            _ => unreachable!("orders are 1 to {MAX_ORDER}"),
        }
    }
}

/// Packs the K + 1 planes that K scales decide (the last scale decides none).
#[inline(always)]
unsafe fn pack_run<S: Simd, const K: usize>(
    simd: S,
    run: &[f32],
    scales: [f32; K],
    planes: PlaneWords<'_>,
) -> S::Floats {
    let zero = simd.splat_float(0.0);
    let scales = scales.map(
        #[inline(always)]
        |scale| simd.splat_float(scale),
    );
    // A chain of its own for each half of a word, or the latency of the addition would set the pace.
    let mut poison = [zero; 2];
    let mut words = run.chunks_exact(WORD_BITS);
    for (word, chunk) in (&mut words).enumerate() {
        // SAFETY: a chunk holds two times sixteen values; the caller guarantees this word of every plane.
        unsafe {
            let low = sixteen(simd, simd.load_floats(chunk.as_ptr()), &scales, &mut poison[0]);
            let high = sixteen(simd, simd.load_floats(chunk.as_ptr().add(LANES)), &scales, &mut poison[1]);
            *planes.at(0, word) = low.0 | high.0 << LANES;
            for k in 0..K {
                *planes.at(k + 1, word) = low.1[k] | high.1[k] << LANES;
            }
        }
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let (mut first, mut later) = (0u32, [0u32; K]);
        for (half, part) in rest.chunks(LANES).enumerate() {
            // SAFETY: the part holds that many values.
            let x = unsafe { simd.load_first(part.as_ptr(), part.len()) };
            let bits = sixteen(simd, x, &scales, &mut poison[half]);
            // The zeros behind the last channel lie below every scale; their bits are padding, which is zero.
            let lanes = (1u32 << part.len()) - 1;
            first |= (bits.0 & lanes) << (half * LANES);
            for k in 0..K {
                later[k] |= (bits.1[k] & lanes) << (half * LANES);
            }
        }
        let word = run.len() / WORD_BITS;
        // SAFETY: the caller guarantees this word of every plane.
        unsafe {
            *planes.at(0, word) = first;
            for k in 0..K {
                *planes.at(k + 1, word) = later[k];
            }
        }
    }
    simd.add(poison[0], poison[1])
}

/// The sign bits of sixteen values in the first plane and in the K planes after it; adds x * 0 to `poison`.
#[inline(always)]
fn sixteen<S: Simd, const K: usize>(
    simd: S,
    x: S::Floats,
    scales: &[S::Floats; K],
    poison: &mut S::Floats,
) -> (u32, [u32; K]) {
    let zero = simd.splat_float(0.0);
    *poison = simd.add(*poison, simd.mul(x, zero));
    let first = u32::from(simd.less(x, zero));
    let (mut negative, mut m, mut later) = (first, simd.abs(x), [0; K]);
    for k in 0..K {
        negative ^= u32::from(simd.less(m, scales[k]));
        later[k] = negative;
        m = simd.abs(simd.sub(m, scales[k]));
    }
    (first, later)
}
