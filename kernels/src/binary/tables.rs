//! The weights of a binary layer in the order that byte tables take, and what of the tables each backend does.

use crate::backends::{Backend, Op};
use crate::error::Error;
use crate::memory::{bytes, filled};
use crate::shape::{Geometry, Windows};
use crate::simd::LANES;
use crate::tiles::tables::{BuildTables, Line, byte_panels_len, repack};
use bytemuck::{Zeroable, cast_slice, cast_slice_mut};

/// Panels of a task: as many as fit into a task's buffers beside [`crate::tiles::tables::TABLE_ROWS`] rows. A multiple of every
/// backend's byte rows.
pub(crate) const TABLE_PANELS: usize = 32;
/// Panels of the longest byte row of any backend.
pub(crate) const TABLES_TOGETHER: usize = size_of::<Line>() / LANES;

/// The weights of a layer as tables take them.
#[derive(Debug)]
pub(crate) struct TableWeights {
    /// Where the words of a window lie, in words of planes from its first.
    pub offsets: Vec<u32>,
    /// The byte panels of every basis.
    panels: Vec<Line>,
    /// Lines of a basis.
    of_basis: usize,
}

impl TableWeights {
    /// Bytes of the weights of that many bases.
    pub(crate) fn bytes(geometry: &Geometry, lanes: usize, bases: usize) -> usize {
        let words = geometry.window.taps() * geometry.group_words();
        let lines = byte_panels_len(geometry.groups, geometry.group_panels(), words, lanes).div_ceil(size_of::<Line>());
        bytes::<Line>(&[lines, bases]).saturating_add(bytes::<u32>(&[words]))
    }

    /// Repacks the bit panels of all bases.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for them.
    pub(crate) fn new(geometry: &Geometry, lanes: usize, out_width: usize, bases: &[&[u32]]) -> Result<Self, Error> {
        let mut windows = Windows::new(geometry, geometry.group_words(), out_width);
        windows.list()?;
        let words = windows.offsets.len();
        let of_group = byte_panels_len(1, geometry.group_panels(), words, lanes);
        let of_basis = (of_group * geometry.groups).div_ceil(size_of::<Line>());
        let mut panels = filled(of_basis * bases.len(), Line::zeroed())?;
        for (bits, lines) in bases.iter().zip(panels.chunks_exact_mut(of_basis)) {
            let bits = bits.chunks_exact(geometry.group_panels() * words * LANES);
            for (bits, to) in bits.zip(cast_slice_mut(lines).chunks_exact_mut(of_group)) {
                repack(bits, words, lanes, to);
            }
        }
        Ok(Self { offsets: windows.offsets, panels, of_basis })
    }

    /// The byte panels of a basis.
    #[inline(always)]
    pub(crate) fn basis(&self, basis: usize) -> &[u8] {
        cast_slice(&self.panels[basis * self.of_basis..][..self.of_basis])
    }
}

impl Op for BuildTables<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, _: S) {
        self.build();
    }
}

/// Filters of a byte row.
pub(crate) struct ByteLanes;

impl Op for ByteLanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Backend>(self, _: S) -> usize {
        S::BYTES
    }
}
