//! The one layout of weights: panels of sixteen output channels.
//!
//! Bit panels are `[group][filter / 16][tap][channel / 32][16]` words of 32 bits; bit j of word w of lane l is the sign of
//! input channel 32 w + j in output channel 16 p + l, 1 where the weight is negative. A panel row is 64 bytes: one 512-bit
//! register, two of 256 bits, four of 128. The lanes are output channels, so no kernel ever sums across lanes, and the same
//! bytes serve every instruction set. Float panels are the same with one f32 instead of a word for each channel. Padding
//! (channels past the last, filters past the last) is zero.

use crate::shape::Geometry;

/// Output channels of a panel.
pub const LANES: usize = 16;
/// Input channels of a word.
pub const WORD_BITS: usize = 32;

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
        let lane = LaneAt::new(geometry, filter);
        for tap in 0..taps {
            for channel in 0..channels {
                if is_negative(weights[(filter * taps + tap) * channels + channel]) {
                    let row = (lane.panel * taps + tap) * words + channel / WORD_BITS;
                    panels[row * LANES + lane.lane] |= 1 << (channel % WORD_BITS);
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
        let lane = LaneAt::new(geometry, filter);
        for tap in 0..taps {
            for channel in 0..channels {
                let row = (lane.panel * taps + tap) * words + channel / WORD_BITS;
                if panels[row * LANES + lane.lane] >> (channel % WORD_BITS) & 1 == 1 {
                    weights[(filter * taps + tap) * channels + channel] = -1.0;
                }
            }
        }
    }
    weights
}

/// Packs weights `[filter][kernel row][kernel column][channel of the group]` into the float panels of
/// [`Geometry::float_layout`].
///
/// # Panics
/// If `weights` does not hold `filters * taps * channels / groups` values.
pub fn pack_floats(geometry: &Geometry, weights: &[f32]) -> Vec<f32> {
    let geometry = &geometry.float_layout();
    let depth = geometry.depth();
    assert_eq!(weights.len(), geometry.filters * depth, "weights of the wrong length");
    let mut panels = vec![0.0; geometry.float_panel_len()];
    for filter in 0..geometry.filters {
        let lane = LaneAt::new(geometry, filter);
        for k in 0..depth {
            panels[(lane.panel * depth + k) * LANES + lane.lane] = weights[filter * depth + k];
        }
    }
    panels
}

/// Unpacks float panels into the order that [`pack_floats`] takes.
///
/// # Panics
/// If `panels` does not hold as many values as the panels of [`Geometry::float_layout`].
pub fn unpack_floats(geometry: &Geometry, panels: &[f32]) -> Vec<f32> {
    let geometry = &geometry.float_layout();
    let depth = geometry.depth();
    assert_eq!(panels.len(), geometry.float_panel_len(), "panels of the wrong length");
    let mut weights = vec![0.0; geometry.filters * depth];
    for filter in 0..geometry.filters {
        let lane = LaneAt::new(geometry, filter);
        for k in 0..depth {
            weights[filter * depth + k] = panels[(lane.panel * depth + k) * LANES + lane.lane];
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

/// Where a filter stands: which panel (over all groups) and which lane.
struct LaneAt {
    panel: usize,
    lane: usize,
}

impl LaneAt {
    fn new(geometry: &Geometry, filter: usize) -> Self {
        let (group, within) = (filter / geometry.group_filters(), filter % geometry.group_filters());
        Self { panel: group * geometry.group_panels() + within / LANES, lane: within % LANES }
    }
}
