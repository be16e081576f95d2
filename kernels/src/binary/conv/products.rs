//! The products of a layer: of bits, with parities where they pay, or of tables, cut into tasks.

use super::BinaryConv;
use crate::backends::{Backend, Op, dispatch};
use crate::binary::kernel::BinaryKernel;
use crate::binary::spec::{BinaryCall, Sample};
use crate::binary::tables::TableWeights;
use crate::binary::task::{BinaryTask, RowScales};
use crate::clock::{Stage, timed};
use crate::parallel::{Disjoint, panels_of_task};
use crate::shape::{Blocks, Cut, Walk};
use crate::tiles::count::parity;
use crate::tiles::tables::TABLE_WORDS;
use std::ops::Range;

impl BinaryConv {
    /// Makes the parities of a sample's planes; whether there is a use for them.
    pub(super) fn parities(&self, call: &BinaryCall<'_>, sample: &Sample<'_>, words: &mut [u32]) -> bool {
        let few = self.is_contiguous() && sample.rows * call.order < parity::MIN_ROWS;
        let Some(parity) = self.parity.filter(|_| !few) else { return false };
        let (planes, parities) = words.split_at_mut(parity);
        let plane = self.plane_len();
        let step = if self.is_contiguous() { self.line() / 3 } else { self.windows.parity_step() };
        dispatch(self.isa, Parities { planes: &planes[..plane * call.order], plane, step, parities });
        true
    }

    /// Makes the tables of a sample's planes, strip by strip, and multiplies them.
    pub(super) fn look_up(
        &self,
        call: &BinaryCall<'_>,
        sample: &Sample<'_>,
        planes: &[u32],
        tables: &mut [u32],
        scales: &[f32],
        output: Option<Disjoint<'_, f32>>,
    ) {
        for strip in self.strips(sample, call.parallel.threads()) {
            let words = timed(call.clock, Stage::Bits, || self.build_tables(call, &strip, planes, tables));
            let rows = Rows { words, first_word: strip.words.start, pixels: strip.pixels };
            self.multiply(call, sample, &rows, false, scales, output);
        }
    }

    /// The products of some rows of a sample, of their bits, with parities if `triples`, or of their tables, and what follows them.
    pub(super) fn multiply(
        &self,
        call: &BinaryCall<'_>,
        sample: &Sample<'_>,
        rows: &Rows<'_>,
        triples: bool,
        scales: &[f32],
        output: Option<Disjoint<'_, f32>>,
    ) {
        let geometry = sample.geometry;
        let line = self.line();
        let contiguous = self.is_contiguous();
        let walk = match self.parity {
            Some(parity) if contiguous && triples => Walk::Straight { len: line, triples: line / 3, parity },
            _ if contiguous => Walk::plain(line),
            _ => self.windows.walk(),
        };
        let joined = self.windows.joined().len();
        let windows = rows.pixels.len() * joined;
        // Neighbouring windows share most of what they read.
        let tables = self.tables.as_ref().filter(|_| self.kernel(call.order) == BinaryKernel::Tables);
        let row_words = if tables.is_some() { TABLE_WORDS } else { call.order };
        let read = self.plane_len() * row_words * size_of::<u32>() / self.lines() * geometry.groups;
        // Results count, twice because their lines are fetched and written back: a task writes but some columns of each row,
        // and the next one should find the lines in the L2 cache and the pages in the TLB. In one chunk, rows of 4 KiB also
        // fell into one set of the L1 cache: chunks of 32 rows took 1024 x 1024 x 1024 bits to f32 from 1.7 to 1.4 ms, 2048 x
        // 4096 x 1024 from 22 to 12 and 4032 x 4032 x 4032 from 78 to 68, though panels are loaded more often (Golden Cove).
        let written = output.map_or(0, |_| 2 * geometry.filters * size_of::<f32>());
        let cut = Cut {
            parallel: call.parallel,
            panels: tables.map_or_else(|| panels_of_task(windows * call.order), TableWeights::panels_of_task),
            row_bytes: read + written / joined,
            work: line * if tables.is_some() { 12 } else { call.order * 3 } * call.bases.len(),
            together: tables.map_or(1, TableWeights::panels_together),
        };
        Blocks::new(geometry, windows, cut).joining(joined).run(|mut block| {
            block.rows.start += rows.pixels.start;
            block.rows.end += rows.pixels.start;
            let task = BinaryTask {
                call,
                geometry,
                windows: if contiguous { None } else { Some(&self.windows) },
                walk,
                borders: &self.borders,
                words: rows.words,
                first_word: rows.first_word,
                tables,
                pool: self.spec.pool,
                halves: self.spec.mode.halves(),
                plane: self.plane_len(),
                scales: RowScales { scales, by_window: sample.by_window, lines: self.lines() },
                output,
                first_output: sample.first_output,
                sample: sample.number,
                block,
            };
            dispatch(self.isa, task);
        });
    }
}

/// Some rows of a sample and what their windows are read from.
pub(super) struct Rows<'a> {
    /// Packed planes, or tables.
    pub words: &'a [u32],
    /// The word of a plane whose tables come first.
    pub first_word: usize,
    /// Output pixels, after a pool.
    pub pixels: Range<usize>,
}

impl<'a> Rows<'a> {
    /// All rows, in whole planes.
    pub(super) fn all(sample: &Sample<'_>, words: &'a [u32]) -> Self {
        Self { words, first_word: 0, pixels: 0..sample.rows }
    }
}

/// The parities of planes: `parities` gets, for each of `planes` of `plane` words, what [`parity::parities`] makes of it.
struct Parities<'a> {
    planes: &'a [u32],
    plane: usize,
    step: usize,
    parities: &'a mut [u32],
}

impl Op for Parities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, _: S) {
        for (plane, parities) in self.planes.chunks_exact(self.plane).zip(self.parities.chunks_exact_mut(self.plane)) {
            parity::parities(
                plane,
                self.step,
                parities,
                #[inline(always)]
                |to, parity| *to = parity,
            );
        }
    }
}
