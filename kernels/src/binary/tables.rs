//! The weights of a binary layer in the order that byte tables take, and what of the tables each backend does.

use crate::backends::{Backend, Op};
use crate::error::Error;
use crate::memory::{bytes, filled};
use crate::parallel::{ROW_GROUP, ROWS};
use crate::shape::{Geometry, Windows};
use crate::simd::LANES;
use crate::tiles::tables::{BuildTables, Line, TableForm, byte_panels_len, repack};
use bytemuck::{Zeroable, cast_slice, cast_slice_mut};

/// The weights of a layer as tables take them.
#[derive(Debug)]
pub(crate) struct TableWeights {
    /// How the backend takes them.
    form: TableForm,
    /// Where the words of a window lie, in words of planes from its first.
    pub offsets: Vec<u32>,
    /// The byte panels of every basis; none where the backend takes bit panels.
    panels: Vec<Line>,
    /// Lines of a basis.
    of_basis: usize,
}

impl TableWeights {
    /// Bytes of the weights of that many bases.
    pub(crate) fn bytes(geometry: &Geometry, form: TableForm, bases: usize) -> usize {
        let words = geometry.window.taps() * geometry.group_words();
        let len = byte_panels_len(geometry.groups, geometry.group_panels(), words, form.lanes);
        let lines = if form.repacked { len.div_ceil(size_of::<Line>()) } else { 0 };
        bytes::<Line>(&[lines, bases]).saturating_add(bytes::<u32>(&[words]))
    }

    /// Repacks the bit panels of all bases, where the backend does not take them as they are.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for them.
    pub(crate) fn new(geometry: &Geometry, form: TableForm, out_width: usize, bases: &[&[u32]]) -> Result<Self, Error> {
        let mut windows = Windows::new(geometry, geometry.group_words(), out_width);
        windows.list()?;
        if !form.repacked {
            return Ok(Self { form, offsets: windows.offsets, panels: Vec::new(), of_basis: 0 });
        }
        let (words, lanes) = (windows.offsets.len(), form.lanes);
        let of_group = byte_panels_len(1, geometry.group_panels(), words, lanes);
        let of_basis = (of_group * geometry.groups).div_ceil(size_of::<Line>());
        let mut panels = filled(of_basis * bases.len(), Line::zeroed())?;
        for (bits, lines) in bases.iter().zip(panels.chunks_exact_mut(of_basis)) {
            let bits = bits.chunks_exact(geometry.group_panels() * words * LANES);
            for (bits, to) in bits.zip(cast_slice_mut(lines).chunks_exact_mut(of_group)) {
                repack(bits, words, lanes, to);
            }
        }
        Ok(Self { form, offsets: windows.offsets, panels, of_basis })
    }

    /// The panels of a basis as the backend takes them, given its bit panels.
    #[inline(always)]
    pub(crate) fn basis<'a>(&'a self, basis: usize, bits: &'a [u32]) -> &'a [u8] {
        if self.form.repacked {
            cast_slice(&self.panels[basis * self.of_basis..][..self.of_basis])
        } else {
            cast_slice(bits)
        }
    }

    /// Panels of a byte row, which no task may cut.
    pub(crate) fn panels_together(&self) -> usize {
        self.form.lanes / LANES
    }

    /// Panels of a task: as many as fit into its buffers beside the rows that the tile takes, a multiple of the byte rows and of the
    /// tile's panels.
    pub(crate) fn panels_of_task(&self) -> usize {
        1 << (ROWS * ROW_GROUP / self.form.rows).ilog2()
    }
}

impl Op for BuildTables<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        simd.build_tables(self);
    }
}

/// Asks a backend how it takes tables.
pub(crate) struct FormOfTables;

impl Op for FormOfTables {
    type Output = TableForm;

    #[inline(always)]
    fn run<S: Backend>(self, _: S) -> TableForm {
        S::TABLES
    }
}
