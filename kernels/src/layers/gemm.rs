//! The plain bit product: rows of words times bit panels, without scales.

use crate::backends::{Backend, Isa, Op, dispatch};
use crate::parallel::{Disjoint, Grid, Parallel, ROW_GROUP, ROWS};
use crate::shape::Walk;
use crate::simd::LANES;
use crate::tiles::Job;
use crate::tiles::bits::{BitOperands, Results};
use crate::tiles::count::parity;
use std::mem::MaybeUninit;

/// Results of that many bytes are written past the caches. Written through them, each line is first read from memory, and
/// the fetches of rows and panels queue up behind: 80 % of the limit instead of 95 at 4032 x 4032 x 4032 (Golden Cove).
const STREAM_BYTES: usize = 4 << 20;

/// Counts differing bits: `counts[row][16 p + l]` is the number of bits in which row `row` of `rows` (each `words` words)
/// and lane l of panel p differ; the dot product of the signs is the number of bits less twice that.
///
/// Fastest where `panels` and `counts` start on a multiple of 64 bytes.
///
/// # Panics
/// If `words` is zero, if a length does not match (`panels` holds `[panel][word][16]`, `counts` one i32 for each row and
/// panel lane), or if this CPU lacks `isa`.
pub fn counts(isa: Isa, rows: &[u32], words: usize, panels: &[u32], counts: &mut [i32], parallel: &dyn Parallel) {
    assert!(words > 0, "rows need at least one word");
    let (row_count, panel_count) = (rows.len() / words, panels.len() / (words * LANES));
    assert_eq!(rows.len(), row_count * words, "rows must be whole");
    assert_eq!(panels.len(), panel_count * words * LANES, "panels must be whole");
    assert_eq!(counts.len(), row_count * panel_count * LANES, "counts need one value a row and panel lane");
    let group = if row_count == 1 { ROW_GROUP } else { PANELS };
    let work = words * group * 3;
    let grid = Grid::new(parallel, row_count, words * 4, panel_count.div_ceil(group), work);
    let stream = size_of_val(counts) >= STREAM_BYTES;
    let results = Disjoint::new(counts);
    grid.run(|unit, range| {
        let first = unit * group;
        let here = group.min(panel_count - first);
        dispatch(
            isa,
            Counts {
                rows,
                words,
                panels: &panels[first * words * LANES..],
                here,
                range,
                results,
                first,
                panel_count,
                stream,
            },
        );
    });
}

/// One task of [`counts`].
struct Counts<'a> {
    rows: &'a [u32],
    words: usize,
    panels: &'a [u32],
    here: usize,
    range: std::ops::Range<usize>,
    results: Disjoint<'a, i32>,
    first: usize,
    panel_count: usize,
    stream: bool,
}

/// Panels of a task with several rows: each task copies its rows where it counts in the parity basis, which costs as much as
/// counting them against half a panel.
const PANELS: usize = 32;
/// Words of rows and their parities that a task holds: 32 rows of 8192 bits; deeper rows come fewer at a time.
const FOLDED: usize = 2 * 8192;
/// Fewer rows at a time than a tile takes would read the panels too often.
const MIN_FOLDED: usize = 8;

impl Op for Counts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) {
        let stride = self.panel_count * LANES;
        let words = self.words;
        let mut folded = [const { MaybeUninit::uninit() }; FOLDED];
        let most = if S::PARITY { (FOLDED / 2 / words).min(ROWS) } else { 0 };
        let fold = most >= MIN_FOLDED && words >= parity::MIN_WORDS;
        let mut from = self.range.start;
        while from < self.range.end {
            let n = if fold { most } else { ROWS }.min(self.range.end - from);
            let mut rows = &self.rows[from * words..][..n * words];
            let mut walk = Walk::plain(words);
            if fold && n >= parity::MIN_ROWS {
                let (copy, parities) = folded.split_at_mut(rows.len());
                parity::parities(
                    rows,
                    words / 3,
                    parities,
                    #[inline(always)]
                    |to, parity| {
                        to.write(parity);
                    },
                );
                walk = Walk::Straight { len: words, triples: words / 3, parity: rows.len() };
                copy.iter_mut().zip(rows).for_each(|(to, &word)| {
                    to.write(word);
                });
                // SAFETY: every word was just written; `copy` is as long as the rows.
                rows = unsafe { &*(&raw const *copy as *const [u32]) };
            }
            let mut pointers = [std::ptr::null(); ROWS];
            for i in 0..n {
                pointers[i] = rows[i * words..].as_ptr();
            }
            // SAFETY: rows are `words` long and lie in `rows` or `folded`; `panels` holds `here` panels and more; the results
            // of these rows and panels lie in the caller's counts and belong to this task alone.
            let job = unsafe {
                let len = (n - 1) * stride + self.here * LANES;
                let to = self.results.at(from * stride + self.first * LANES, len);
                Job::new(BitOperands {
                    rows: &pointers[..n],
                    walk,
                    panels: self.panels.as_ptr(),
                    panel_count: self.here,
                    results: Results::Counts { to, stride, stream: self.stream },
                })
            };
            simd.bits(&job);
            from += n;
        }
        if self.stream {
            simd.fence();
        }
    }
}
