//! Weights as indices into a codebook.
//!
//! Code panels are `[group][filter / 16][depth / per word][16]` words of 32 bits, the depth running over kernel rows, kernel
//! columns and channels without gaps. A word of lane l holds `32 / bits` codes (10, 8 or 6 for 3, 4 or 5 bits) of output
//! channel 16 p + l, the first in the lowest bits; the two bits that are left at 3 and 5 bits, codes past the depth and
//! lanes past the last filter are zero.

use crate::error::Error;
use crate::shape::Geometry;
use crate::simd::LANES;
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
    let [panel, lane] = geometry.lane(filter);
    let per_word = codes_of_word(bits);
    let row = panel * words(geometry, bits) + k / per_word;
    (row * LANES + lane, bits * (k % per_word) as u32)
}
