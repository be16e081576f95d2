//! What a binary layer needs to multiply from byte tables.

use super::BinaryConv;
use crate::backends::dispatch;
use crate::binary::kernel::BinaryKernel;
use crate::binary::spec::{BinaryCall, Sample};
use crate::binary::tables::{FormOfTables, TableWeights};
use crate::error::Error;
use crate::parallel::{Disjoint, Grid};
use crate::shape::MAX_ELEMENTS;
use crate::tiles::tables::{BuildTables, Line, TABLE_BYTES, TABLE_WORDS};
use std::ops::Range;

/// Words of scratch that may be left out so that tables start on a cache line.
const ALIGNMENT: usize = 15;
/// Bytes of tables that a thread makes before it multiplies them: half of an L2 cache of 512 KiB, whose other half holds planes,
/// weights and results.
const STRIP_BYTES: usize = 256 << 10;
/// How many times as many rows a strip must have as it shares with the next one, which makes the tables of those again.
const ROWS_OF_SHARED: usize = 4;

/// Some rows of a layer's output and the words of a plane that their windows read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    /// Output pixels, after a pool.
    pub pixels: Range<usize>,
    /// Words of a plane.
    pub words: Range<usize>,
}

impl BinaryConv {
    /// How calls of this order multiply.
    pub fn kernel(&self, order: usize) -> BinaryKernel {
        let wanted = self.forced.unwrap_or_else(|| BinaryKernel::choose(self.isa, &self.spec, order));
        let fits = self.plane_len() <= MAX_ELEMENTS / TABLE_WORDS / 2;
        if fits && wanted.is_possible(self.isa, self.spec.mode, order) { wanted } else { BinaryKernel::Popcount }
    }

    /// Whether calls of any order take tables.
    fn takes_tables(&self) -> bool {
        (1..=self.spec.max_order).any(|order| self.kernel(order) == BinaryKernel::Tables)
    }

    /// Bytes of the weights that tables take.
    pub(super) fn table_weights_bytes(&self) -> usize {
        if !self.takes_tables() {
            return 0;
        }
        TableWeights::bytes(&self.spec.geometry, dispatch(self.isa, FormOfTables), self.bases)
    }

    /// Prepares the weights that tables take.
    pub(super) fn prepare_tables(&mut self, bases: &[&[u32]]) -> Result<(), Error> {
        if self.takes_tables() {
            let form = dispatch(self.isa, FormOfTables);
            self.tables = Some(TableWeights::new(&self.spec.geometry, form, self.out[1], bases)?);
        }
        Ok(())
    }

    /// Words of scratch for the tables of a sample.
    pub(super) fn tables_len(&self) -> usize {
        if self.takes_tables() { self.plane_len() * TABLE_WORDS + ALIGNMENT } else { 0 }
    }

    /// The strips of a sample's output whose tables stay in the L2 caches of so many threads.
    pub(super) fn strips(&self, sample: &Sample<'_>, threads: usize) -> impl Iterator<Item = Strip> {
        let window = self.spec.geometry.window;
        let row_len = if self.is_flat() { 0 } else { self.windows.row_len };
        // Of a matrix product there may be fewer rows than prepared for.
        let whole = Strip { pixels: 0..sample.rows, words: 0..sample.rows * self.line() };
        let [rows, columns] = self.pooled;
        let pooled = if self.spec.pool.is_some() { 2 } else { 1 };
        let step = pooled * window.stride[0];
        // Rows of the padded image under an output row.
        let extent = (pooled - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1;
        let shared = extent.saturating_sub(step);
        let height = if row_len == 0 {
            rows
        } else {
            let fitting = (STRIP_BYTES * threads / (row_len * TABLE_BYTES)).saturating_sub(shared) / step;
            let least = (ROWS_OF_SHARED * shared).div_ceil(step).max(1);
            // Strips of equal height.
            rows.div_ceil(rows.div_ceil(fitting.max(least)))
        };
        (0..rows).step_by(height).map(move |from| {
            if row_len == 0 {
                return whole.clone();
            }
            let to = rows.min(from + height);
            let words = from * step * row_len..((to - 1) * step + extent) * row_len;
            Strip { pixels: from * columns..to * columns, words }
        })
    }

    /// Makes the tables of a strip of planes in scratch, and gives them back.
    pub(super) fn build_tables<'a>(
        &self,
        call: &BinaryCall<'_>,
        strip: &Strip,
        planes: &[u32],
        scratch: &'a mut [u32],
    ) -> &'a [u32] {
        let skipped = scratch.as_ptr().align_offset(size_of::<Line>()).min(ALIGNMENT);
        let (plane, words) = (self.plane_len(), strip.words.len());
        let planes = &planes[strip.words.start..];
        let tables = &mut scratch[skipped..][..words * TABLE_WORDS];
        let shared = Disjoint::new(&mut *tables);
        Grid::lines(call.parallel, words, 8 * call.order).run(|_, words| {
            dispatch(self.isa, BuildTables { planes, plane, order: call.order, words, tables: shared });
        });
        tables
    }
}
