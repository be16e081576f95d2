//! Plain loops over the lines of an output, compiled for each instruction set and cut into tasks.

use crate::backends::{Backend, Op, Runner, dispatch};
use crate::parallel::{Disjoint, Grid};
use crate::simd::LANES;
use std::ops::Range;

/// Cuts `output` into tasks of whole lines of `line` values (the last line may be shorter) and calls `part` with where each task
/// lies, and with its values. `work` is what sixteen values cost in vector operations: it decides whether threads pay.
///
/// `part` is compiled for the instruction set of `runner`, if it is `#[inline(always)]`.
///
/// # Panics
/// If `line` is 0.
#[inline(always)]
pub fn by_line(
    runner: Runner<'_>,
    line: usize,
    output: &mut [f32],
    work: usize,
    part: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let len = output.len();
    let output = Disjoint::new(output);
    let grid = Grid::lines(runner.parallel, len.div_ceil(line), 3 * work * line.div_ceil(LANES));
    grid.run(|_, lines| {
        let at = lines.start * line..len.min(lines.end * line);
        // SAFETY: the lines of a task lie in the output and are no other task's.
        let output = unsafe { output.slice(at.start, at.len()) };
        let part = Loops(
            #[inline(always)]
            || part(at, output),
        );
        dispatch(runner.isa, part);
    });
}

/// Plain loops, as compiled for an instruction set.
struct Loops<F>(F);

impl<F: FnOnce()> Op for Loops<F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, _: S) {
        (self.0)();
    }
}
