//! Weights of f32: `[group][filter / 16][tap][channel][16]`, in the geometry of [`Geometry::float_layout`]; zero past the last
//! filter.

use crate::shape::Geometry;
use crate::simd::LANES;

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
        let [panel, lane] = geometry.lane(filter);
        for k in 0..depth {
            panels[(panel * depth + k) * LANES + lane] = weights[filter * depth + k];
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
        let [panel, lane] = geometry.lane(filter);
        for k in 0..depth {
            weights[filter * depth + k] = panels[(panel * depth + k) * LANES + lane];
        }
    }
    weights
}
