//! 8-bit weights: their packing, and the sums that stand for the activations' zero point.
//!
//! Panels of bytes are `[group][filter / 16][run][run length / 4][16][4] x i8`: a panel row is 64 bytes, of which lane l holds
//! four neighbouring weights of output channel 16 p + l. A run is the part of a window whose activations follow each other
//! in an image of bytes: the taps of a kernel row with all their channels, where there is one group and no horizontal
//! dilation; else the group's channels at one tap. So 7 x 7 taps of 3 channels take 42 panel rows (49 tap by tap). Where a
//! run ends, and past the last filter, bytes are zero.
//!
//! A group of fewer than sixteen filters leaves lanes empty, so a depthwise layer does a sixteenth of the rate.
//!
//! Weights are symmetric, -127 to 127. Without -128, two products of signed bytes fit 16 bits, which the backends that have
//! no dot product of bytes need: no instruction in use here ever saturates.
//!
//! # The arithmetic
//!
//! An activation x is quantized to q = clamp(round(x * (1 / scale)) + zero point, 0, 255), rounding to even, and stands for
//! scale * (q - zero point). An output is alpha * f32(sum of (q - zero point) * w), the sum being an exact integer and f32
//! its nearest value; alpha is usually the activations' scale times the filter's. Kernels sum q * w, where x86 has u8 * i8, or
//! (q - 128) * w with signed bytes elsewhere; what that differs by is a constant of the filter, from which its sum starts. A
//! padded tap has q = zero point, so it adds exactly 0.

use crate::error::Error;
use crate::shape::Geometry;
use crate::simd::LANES;

/// Weights of a lane in a panel row.
pub const QUAD: usize = 4;
/// Bytes of a panel row.
const ROW: usize = LANES * QUAD;
/// The most products that one output may sum, so that an i32 holds it.
pub const MAX_DEPTH: usize = 1 << 16;

/// How the products of an output are cut into runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub count: usize,
    /// Products of a run.
    pub len: usize,
}

impl Runs {
    pub(crate) const fn new(geometry: &Geometry) -> Self {
        let [rows, columns] = geometry.window.kernel;
        if geometry.groups == 1 && (geometry.window.dilation[1] == 1 || columns == 1) {
            Self { count: rows, len: columns * geometry.channels }
        } else {
            Self { count: rows * columns, len: geometry.group_channels() }
        }
    }

    /// Panel rows of a panel.
    pub(crate) const fn rows(self) -> usize {
        self.count * self.len.div_ceil(QUAD)
    }
}

/// Panel rows of one panel.
pub const fn panel_rows(geometry: &Geometry) -> usize {
    Runs::new(geometry).rows()
}

/// Bytes of the panels of all groups.
pub const fn panel_len(geometry: &Geometry) -> usize {
    geometry.groups * geometry.group_panels() * panel_rows(geometry) * ROW
}

/// Checks that a filter sums at most [`MAX_DEPTH`] products.
///
/// # Errors
/// [`Error::Shape`] if it sums more.
pub fn check_depth(geometry: &Geometry) -> Result<(), Error> {
    let depth = geometry.depth();
    if depth <= MAX_DEPTH {
        Ok(())
    } else {
        Err(Error::Shape(format!("an 8-bit filter of {depth} products passes the {MAX_DEPTH} that an i32 holds")))
    }
}

/// Packs weights `[filter][kernel row][kernel column][channel of the group]` into panels.
///
/// # Errors
/// [`Error::Shape`] if `weights` does not hold `filters * taps * channels / groups` values, or if one is -128.
pub fn pack_int8(geometry: &Geometry, weights: &[i8]) -> Result<Vec<i8>, Error> {
    let depth = geometry.depth();
    let wanted = geometry.filters * depth;
    if weights.len() != wanted {
        return Err(Error::Shape(format!("{} 8-bit weights were given, the layer needs {wanted}", weights.len())));
    }
    if let Some(at) = out_of_range(weights) {
        return Err(Error::Shape(format!("weight {at} is -128; 8-bit weights are -127 to 127")));
    }
    let mut panels = vec![0; panel_len(geometry)];
    for filter in 0..geometry.filters {
        for k in 0..depth {
            panels[place(geometry, filter, k)] = weights[filter * depth + k];
        }
    }
    Ok(panels)
}

/// Unpacks panels into the order that [`pack_int8`] takes.
///
/// # Errors
/// [`Error::Shape`] if `panels` does not hold [`panel_len`] bytes.
pub fn unpack_int8(geometry: &Geometry, panels: &[i8]) -> Result<Vec<i8>, Error> {
    check_len(geometry, panels)?;
    let one = |filter, k| panels[place(geometry, filter, k)];
    Ok((0..geometry.filters).flat_map(|filter| (0..geometry.depth()).map(move |k| one(filter, k))).collect())
}

/// The first byte that is not zero where there is no weight, if there is one.
///
/// # Errors
/// As [`unpack_int8`].
pub fn dirty_padding(geometry: &Geometry, panels: &[i8]) -> Result<Option<usize>, Error> {
    check_len(geometry, panels)?;
    let runs = Runs::new(geometry);
    let last_lanes = geometry.group_filters() - (geometry.group_panels() - 1) * LANES;
    if last_lanes == LANES && runs.len.is_multiple_of(QUAD) {
        return Ok(None);
    }
    let rows_of_run = runs.len.div_ceil(QUAD);
    let dirty = |(row, bytes): (usize, &[i8])| {
        let panel = row / runs.rows() % geometry.group_panels();
        let lanes = if panel == geometry.group_panels() - 1 { last_lanes } else { LANES };
        let used = QUAD.min(runs.len - row % rows_of_run * QUAD);
        let spare = |&at: &usize| at / QUAD >= lanes || at % QUAD >= used;
        (0..ROW).filter(spare).find(|&at| bytes[at] != 0).map(|at| row * ROW + at)
    };
    Ok(panels.chunks_exact(ROW).enumerate().find_map(dirty))
}

/// The first byte that is -128, if there is one.
pub fn out_of_range(panels: &[i8]) -> Option<usize> {
    // Without an early end, so that a file is searched at the speed of memory.
    let found = panels.iter().fold(false, |found, &weight| found | (weight == i8::MIN));
    if found { panels.iter().position(|&weight| weight == i8::MIN) } else { None }
}

/// `factor` times the sum of each padded filter's weights.
pub(crate) fn weight_sums(geometry: &Geometry, panels: &[i8], factor: i32) -> impl Iterator<Item = i32> {
    let panel = move |panel: &[i8]| {
        let mut sums = [0i32; LANES];
        for row in panel.as_chunks::<ROW>().0 {
            for (sum, quad) in sums.iter_mut().zip(row.as_chunks::<QUAD>().0) {
                *sum += quad.iter().map(|&weight| i32::from(weight)).sum::<i32>();
            }
        }
        sums.map(|sum| sum * factor)
    };
    panels.chunks_exact(Runs::new(geometry).rows() * ROW).flat_map(panel)
}

fn check_len(geometry: &Geometry, panels: &[i8]) -> Result<(), Error> {
    let wanted = panel_len(geometry);
    if panels.len() == wanted {
        Ok(())
    } else {
        Err(Error::Shape(format!("{} bytes of 8-bit panels were given, the layer needs {wanted}", panels.len())))
    }
}

/// The byte of product `k` of a filter.
fn place(geometry: &Geometry, filter: usize, k: usize) -> usize {
    let runs = Runs::new(geometry);
    let [panel, lane] = geometry.lane(filter);
    let row = panel * runs.rows() + k / runs.len * runs.len.div_ceil(QUAD) + k % runs.len / QUAD;
    row * ROW + lane * QUAD + k % runs.len % QUAD
}
