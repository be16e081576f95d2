//! What a binary layer needs to multiply from byte tables.

use super::BinaryConv;
use crate::backends::dispatch;
use crate::binary::kernel::BinaryKernel;
use crate::binary::spec::{BinaryCall, Sample};
use crate::binary::tables::{FormOfTables, TableWeights};
use crate::error::Error;
use crate::parallel::{Disjoint, Grid, ROWS};
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

/// The rows that strips are cut from.
struct Rows {
    /// Words of a plane in a row of the input: of a padded image, or of a matrix product.
    len: usize,
    /// Rows of the input between those of two rows of the output, and those that a row of the output reads.
    step: usize,
    extent: usize,
    /// The fewest rows of a strip.
    least: usize,
    /// Rows of the output.
    count: usize,
    /// Pixels of a row of the output, after a pool.
    pixels: usize,
}

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
        // Of a matrix product a strip is some of its rows, of an image some rows of its output.
        let Rows { len, step, extent, least, count, pixels } = self.rows_of_strips(sample);
        let shared = extent.saturating_sub(step);
        let fitting = (STRIP_BYTES * threads / (len * TABLE_BYTES)).saturating_sub(shared) / step;
        // Strips of equal height.
        let height = count.div_ceil(count.div_ceil(fitting.max(least)).max(1)).max(1);
        (0..count).step_by(height).map(move |from| {
            let to = count.min(from + height);
            Strip { pixels: from * pixels..to * pixels, words: from * step * len..((to - 1) * step + extent) * len }
        })
    }

    /// How the output of a sample is cut into strips.
    fn rows_of_strips(&self, sample: &Sample<'_>) -> Rows {
        if self.is_flat() {
            return Rows { len: self.line(), step: 1, extent: 1, least: ROWS, count: sample.rows, pixels: 1 };
        }
        let window = self.spec.geometry.window;
        let [count, pixels] = self.pooled;
        let pooled = if self.spec.pool.is_some() { 2 } else { 1 };
        let step = pooled * window.stride[0];
        let extent = (pooled - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1;
        let least = (ROWS_OF_SHARED * extent.saturating_sub(step)).div_ceil(step).max(1);
        Rows { len: self.windows.row_len, step, extent, least, count, pixels }
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
