//! What a binary layer needs to multiply from byte tables.

use super::BinaryConv;
use crate::backends::dispatch;
use crate::binary::kernel::BinaryKernel;
use crate::binary::spec::{BinaryCall, Sample};
use crate::binary::tables::{ByteLanes, TableWeights};
use crate::error::Error;
use crate::parallel::{Disjoint, Grid};
use crate::shape::MAX_ELEMENTS;
use crate::tiles::tables::{BuildTables, Line, TABLE_WORDS};

/// Words of scratch that may be left out so that tables start on a cache line.
const ALIGNMENT: usize = 15;

impl BinaryConv {
    /// How calls of this order multiply.
    pub fn kernel(&self, order: usize) -> BinaryKernel {
        let wanted = self.forced.unwrap_or_else(|| BinaryKernel::choose(self.isa, &self.spec, order));
        let fits = self.plane_len() <= MAX_ELEMENTS / TABLE_WORDS / 2;
        if fits && wanted.is_possible(self.spec.mode, order) { wanted } else { BinaryKernel::Popcount }
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
        TableWeights::bytes(&self.spec.geometry, dispatch(self.isa, ByteLanes), self.bases)
    }

    /// Prepares the weights that tables take.
    pub(super) fn prepare_tables(&mut self, bases: &[&[u32]]) -> Result<(), Error> {
        if self.takes_tables() {
            let lanes = dispatch(self.isa, ByteLanes);
            self.tables = Some(TableWeights::new(&self.spec.geometry, lanes, self.out[1], bases)?);
        }
        Ok(())
    }

    /// Words of scratch for the tables of a sample.
    pub(super) fn tables_len(&self) -> usize {
        if self.takes_tables() { self.plane_len() * TABLE_WORDS + ALIGNMENT } else { 0 }
    }

    /// Makes the tables of a sample's planes in scratch, and gives them back.
    pub(super) fn build_tables<'a>(
        &self,
        call: &BinaryCall<'_>,
        sample: &Sample<'_>,
        planes: &[u32],
        scratch: &'a mut [u32],
    ) -> &'a [u32] {
        let skipped = scratch.as_ptr().align_offset(size_of::<Line>()).min(ALIGNMENT);
        let plane = self.plane_len();
        // Of a matrix product there may be fewer rows than prepared for.
        let words = if self.is_flat() { sample.rows * self.line() } else { plane };
        let tables = &mut scratch[skipped..][..plane * TABLE_WORDS];
        let shared = Disjoint::new(&mut *tables);
        Grid::lines(call.parallel, words, 8 * call.order).run(|_, words| {
            dispatch(self.isa, BuildTables { planes, plane, order: call.order, words, tables: shared });
        });
        tables
    }
}
