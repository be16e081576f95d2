//! Weights of one bit: their signs.
//!
//! Bit panels are `[group][filter / 16][tap][channel / 32][16]` words of 32 bits; bit j of word w of lane l is the sign of
//! input channel 32 w + j in output channel 16 p + l, 1 where the weight is negative. Padding
//! (channels past the last, filters past the last) is zero.

use crate::shape::Geometry;
use crate::simd::{LANES, WORD_BITS};

/// Whether a value binarizes to -1: sign(0) = sign(-0.0) = +1.
pub fn is_negative(value: f32) -> bool {
    value < 0.0
}

/// Packs the signs of weights `[filter][kernel row][kernel column][channel of the group]` into bit panels.
///
/// # Panics
/// If `weights` does not hold `filters * taps * channels / groups` values.
pub fn pack_bits(geometry: &Geometry, weights: &[f32]) -> Vec<u32> {
    let (taps, channels, words) = (geometry.window.taps(), geometry.group_channels(), geometry.group_words());
    assert_eq!(weights.len(), geometry.filters * taps * channels, "weights of the wrong length");
    let mut panels = vec![0u32; geometry.bit_panel_len()];
    for filter in 0..geometry.filters {
        let [panel, lane] = geometry.lane(filter);
        for tap in 0..taps {
            for channel in 0..channels {
                if is_negative(weights[(filter * taps + tap) * channels + channel]) {
                    let row = (panel * taps + tap) * words + channel / WORD_BITS;
                    panels[row * LANES + lane] |= 1 << (channel % WORD_BITS);
                }
            }
        }
    }
    panels
}

/// Unpacks bit panels to +1 and -1 in the order that [`pack_bits`] takes.
///
/// # Panics
/// If `panels` does not hold [`Geometry::bit_panel_len`] words.
pub fn unpack_bits(geometry: &Geometry, panels: &[u32]) -> Vec<f32> {
    let (taps, channels, words) = (geometry.window.taps(), geometry.group_channels(), geometry.group_words());
    assert_eq!(panels.len(), geometry.bit_panel_len(), "panels of the wrong length");
    let mut weights = vec![1.0; geometry.filters * taps * channels];
    for filter in 0..geometry.filters {
        let [panel, lane] = geometry.lane(filter);
        for tap in 0..taps {
            for channel in 0..channels {
                let row = (panel * taps + tap) * words + channel / WORD_BITS;
                if panels[row * LANES + lane] >> (channel % WORD_BITS) & 1 == 1 {
                    weights[(filter * taps + tap) * channels + channel] = -1.0;
                }
            }
        }
    }
    weights
}

/// The first bit panel word with a bit set in padding (a channel or filter past the last), if there is one.
///
/// # Panics
/// If `panels` does not hold [`Geometry::bit_panel_len`] words.
pub fn dirty_padding(geometry: &Geometry, panels: &[u32]) -> Option<usize> {
    assert_eq!(panels.len(), geometry.bit_panel_len(), "panels of the wrong length");
    let (words, last_lanes) =
        (geometry.group_words(), geometry.group_filters() - (geometry.group_panels() - 1) * LANES);
    let spare = geometry.group_channels() % WORD_BITS;
    let last_mask = if spare == 0 { u32::MAX } else { (1 << spare) - 1 };
    if spare == 0 && last_lanes == LANES {
        return None;
    }
    let rows_of_panel = geometry.window.taps() * words;
    panels.chunks_exact(LANES).enumerate().find_map(|(row, lanes)| {
        let mask = if row % words == words - 1 { last_mask } else { u32::MAX };
        let used = if row / rows_of_panel % geometry.group_panels() == geometry.group_panels() - 1 {
            last_lanes
        } else {
            LANES
        };
        let dirty =
            lanes.iter().enumerate().find(|&(lane, &word)| if lane < used { word & !mask != 0 } else { word != 0 });
        dirty.map(|(lane, _)| row * LANES + lane)
    })
}
