//! Weights as indices into a codebook: their packing, and the register tile that decodes them.
//!
//! Code panels are `[group][filter / 16][depth / per word][16]` words of 32 bits, the depth running over kernel rows, kernel
//! columns and channels without gaps. A word of lane l holds `32 / bits` codes (10, 8 or 6 for 3, 4 or 5 bits) of output
//! channel 16 p + l, the first in the lowest bits; the two bits that are left at 3 and 5 bits, codes past the depth and
//! lanes past the last filter are zero. No code crosses a word, so a shift and a lookup in a register (vpermps for up to 16
//! entries, vpermt2ps for 32) decode sixteen weights, for all rows of a tile together.

use crate::error::Error;
use crate::shape::Geometry;
use crate::simd::Simd;
use crate::tiles::cover::{Tiled, walk};
use crate::weights::bits::LANES;
use std::ops::RangeInclusive;

/// The bits that a code may have.
pub const CODE_BITS: RangeInclusive<u32> = 3..=5;

/// Codes of a word.
pub const fn codes_of_word(bits: u32) -> usize {
    (32 / bits) as usize
}

/// Words of the code panels of all groups.
///
/// # Errors
/// [`Error::Shape`] if `bits` is not in [`CODE_BITS`].
pub fn panel_len(geometry: &Geometry, bits: u32) -> Result<usize, Error> {
    check_bits(bits)?;
    Ok(geometry.groups * geometry.group_panels() * words(geometry, bits) * LANES)
}

/// Words of one lane.
pub(crate) const fn words(geometry: &Geometry, bits: u32) -> usize {
    geometry.depth().div_ceil(codes_of_word(bits))
}

fn check_bits(bits: u32) -> Result<(), Error> {
    if CODE_BITS.contains(&bits) {
        Ok(())
    } else {
        Err(Error::Shape(format!("codes of {bits} bits are not supported; use 3, 4 or 5")))
    }
}

/// Packs codes `[filter][kernel row][kernel column][channel of the group]` into code panels.
///
/// # Errors
/// [`Error::Shape`] if `bits` is not in [`CODE_BITS`], if `codes` does not hold `filters * taps * channels / groups` values,
/// or if a code does not fit into the bits.
pub fn pack_codes(geometry: &Geometry, bits: u32, codes: &[u8]) -> Result<Vec<u32>, Error> {
    let mut panels = vec![0; panel_len(geometry, bits)?];
    let wanted = geometry.filters * geometry.depth();
    if codes.len() != wanted {
        return Err(Error::Shape(format!("{} codes were given, the layer needs {wanted}", codes.len())));
    }
    if let Some(at) = codes.iter().position(|&code| u32::from(code) >> bits != 0) {
        return Err(Error::Shape(format!("code {} at {at} does not fit into {bits} bits", codes[at])));
    }
    for filter in 0..geometry.filters {
        for k in 0..geometry.depth() {
            let (word, shift) = place(geometry, bits, filter, k);
            panels[word] |= u32::from(codes[filter * geometry.depth() + k]) << shift;
        }
    }
    Ok(panels)
}

/// Unpacks code panels into the order that [`pack_codes`] takes.
///
/// # Errors
/// [`Error::Shape`] if `bits` is not in [`CODE_BITS`] or if `panels` does not hold [`panel_len`] words.
pub fn unpack_codes(geometry: &Geometry, bits: u32, panels: &[u32]) -> Result<Vec<u8>, Error> {
    check_len(geometry, bits, panels)?;
    let mask = (1 << bits) - 1;
    let one = |filter, k| {
        let (word, shift) = place(geometry, bits, filter, k);
        (panels[word] >> shift & mask) as u8
    };
    Ok((0..geometry.filters).flat_map(|filter| (0..geometry.depth()).map(move |k| one(filter, k))).collect())
}

/// The first word with a bit set where there is no code, if there is one.
///
/// # Errors
/// As [`unpack_codes`].
pub fn dirty_padding(geometry: &Geometry, bits: u32, panels: &[u32]) -> Result<Option<usize>, Error> {
    check_len(geometry, bits, panels)?;
    let (words, per_word) = (words(geometry, bits), codes_of_word(bits));
    let last_lanes = geometry.group_filters() - (geometry.group_panels() - 1) * LANES;
    let dirty = |at: usize, word: u32| {
        let (row, panel) = (at / LANES % words, at / LANES / words % geometry.group_panels());
        let lanes = if panel == geometry.group_panels() - 1 { last_lanes } else { LANES };
        let codes = if at % LANES < lanes { per_word.min(geometry.depth() - row * per_word) } else { 0 };
        u64::from(word) >> (bits as usize * codes) != 0
    };
    Ok(panels.iter().enumerate().position(|(at, &word)| dirty(at, word)))
}

/// The first word with a code that is `entries` or more, and that code, if there is one.
///
/// # Errors
/// As [`unpack_codes`].
pub fn code_beyond(
    geometry: &Geometry,
    bits: u32,
    panels: &[u32],
    entries: usize,
) -> Result<Option<(usize, u8)>, Error> {
    check_len(geometry, bits, panels)?;
    // Every code is an entry: nothing to look for.
    if entries >= 1 << bits {
        return Ok(None);
    }
    let codes = |word: u32| (0..codes_of_word(bits)).map(move |i| word >> (bits as usize * i) & ((1 << bits) - 1));
    Ok(panels.iter().enumerate().find_map(|(at, &word)| {
        let beyond = codes(word).find(|&code| code as usize >= entries);
        beyond.map(|code| (at, code as u8))
    }))
}

fn check_len(geometry: &Geometry, bits: u32, panels: &[u32]) -> Result<(), Error> {
    let wanted = panel_len(geometry, bits)?;
    if panels.len() == wanted {
        Ok(())
    } else {
        Err(Error::Shape(format!("{} words of code panels were given, the layer needs {wanted}", panels.len())))
    }
}

/// The word and the first bit of code `k` of a filter.
fn place(geometry: &Geometry, bits: u32, filter: usize, k: usize) -> (usize, u32) {
    let (group, within) = (filter / geometry.group_filters(), filter % geometry.group_filters());
    let panel = group * geometry.group_panels() + within / LANES;
    let per_word = codes_of_word(bits);
    let row = panel * words(geometry, bits) + k / per_word;
    (row * LANES + within % LANES, bits * (k % per_word) as u32)
}

/// Some rows of activations times some code panels.
///
/// Whoever makes a job vouches that each row is readable at each offset, that `panels` is readable for `panel_count` whole
/// panels of that depth, `book` for `2^bits` values, and that `sums` is writable for `panel_count * 16` values at each
/// multiple of `stride` up to `rows.len()` and overlaps none of them.
pub(crate) struct CodeJob<'a> {
    /// The first activation of each row.
    pub rows: &'a [*const f32],
    /// Where each activation of a window lies, counted from the row's first; as many as the depth.
    pub offsets: &'a [u32],
    /// The first panel; the others follow it.
    pub panels: *const u32,
    /// How many panels.
    pub panel_count: usize,
    /// What the codes stand for.
    pub book: *const f32,
    /// Bits of a code, 3 to 5.
    pub bits: u32,
    /// `[row][stride]`, of which the first `panel_count * 16` are written.
    pub sums: *mut f32,
    /// Values between the sums of neighbouring rows.
    pub stride: usize,
}

/// Sums a job by fused multiply-adds in the order of the depth, with tiles of `MR` x `NR`, or 1 x `VR` where there is one
/// row.
#[inline(always)]
pub(crate) fn codes<S: Simd, const MR: usize, const NR: usize, const VR: usize>(simd: S, job: &CodeJob<'_>) {
    match job.bits {
        3 => walk::<S, _, MR, NR, MR, 1, VR>(&Codes::<S, 8> { simd, job }),
        4 => walk::<S, _, MR, NR, MR, 1, VR>(&Codes::<S, 16> { simd, job }),
        _ => walk::<S, _, MR, NR, MR, 1, VR>(&Codes::<S, 32> { simd, job }),
    }
}

/// A job with a codebook of `N` entries.
struct Codes<'a, S, const N: usize> {
    simd: S,
    job: &'a CodeJob<'a>,
}

impl<S: Simd, const N: usize> Tiled<S> for Codes<'_, S, N> {
    #[inline(always)]
    fn vectorize(&self, f: impl FnOnce()) {
        self.simd.vectorize(f);
    }

    #[inline(always)]
    fn rows(&self) -> usize {
        self.job.rows.len()
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        self.job.panel_count
    }

    #[inline(always)]
    fn tile<const MR: usize, const NR: usize>(&self, row: usize, panel: usize) {
        let Self { simd, job } = *self;
        let bits = N.trailing_zeros();
        let words = job.offsets.len().div_ceil(codes_of_word(bits));
        let rows: [*const f32; MR] = std::array::from_fn(
            #[inline(always)]
            |m| job.rows[row + m],
        );
        let mut sums = [[simd.splat_float(0.0); NR]; MR];
        for (word, offsets) in job.offsets.chunks(codes_of_word(bits)).enumerate() {
            let mut codes: [S::Words; NR] = std::array::from_fn(
                #[inline(always)]
                |p| {
                    // SAFETY: `panel + NR <= panel_count`, and a panel has `words` rows.
                    unsafe { simd.load(job.panels.add(((panel + p) * words + word) * LANES)) }
                },
            );
            let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
            // SAFETY: the job vouches for each row at each offset, and for N entries of the book.
            unsafe {
                if offsets.len() == codes_of_word(bits) && last - first == offsets.len() - 1 {
                    let mut here = rows;
                    for m in 0..MR {
                        here[m] = rows[m].add(first);
                    }
                    // Written out: in a loop the row pointers would be loaded again for each code.
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 0, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 1, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 2, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 3, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 4, job.book);
                    code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 5, job.book);
                    if codes_of_word(bits) > 6 {
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 6, job.book);
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 7, job.book);
                    }
                    if codes_of_word(bits) > 8 {
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 8, job.book);
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &here, 9, job.book);
                    }
                } else {
                    for &offset in offsets {
                        code::<S, N, MR, NR>(simd, &mut sums, &mut codes, &rows, offset as usize, job.book);
                    }
                }
            }
        }
        for m in 0..MR {
            for p in 0..NR {
                // SAFETY: the job vouches for the sums of every row and panel.
                unsafe { simd.store_floats(job.sums.add((row + m) * job.stride + (panel + p) * LANES), sums[m][p]) };
            }
        }
    }
}

/// Decodes the lowest code of each lane, shifts it out, and multiplies element `at` of each row by the weights.
///
/// # Safety
/// Each row must be readable at `at`, and `book` for N values.
#[inline(always)]
unsafe fn code<S: Simd, const N: usize, const MR: usize, const NR: usize>(
    simd: S,
    sums: &mut [[S::Floats; NR]; MR],
    codes: &mut [S::Words; NR],
    rows: &[*const f32; MR],
    at: usize,
    book: *const f32,
) {
    // A loop, because `from_fn` of a closure this long is not inlined, and loses the instruction set.
    let mut weights = [simd.splat_float(0.0); NR];
    for p in 0..NR {
        // SAFETY: the caller vouches for the book.
        weights[p] = unsafe { simd.lookup::<N>(book, codes[p]) };
        codes[p] = simd.shift_right(codes[p], N.trailing_zeros());
    }
    for m in 0..MR {
        // SAFETY: the caller vouches for the rows.
        let activation = simd.splat_float(unsafe { *rows[m].add(at) });
        for p in 0..NR {
            sums[m][p] = simd.fma(activation, weights[p], sums[m][p]);
        }
    }
}
