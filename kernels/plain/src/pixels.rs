//! How the plain loops are cut into tasks: by values, and by rows of values.

use horq_kernels::{Runner, by_line};

/// Values of a task's line where rows do not matter: a whole number of cache lines.
const LINE: usize = 256;

/// Makes every value of `output` of the values that stand in its place in the inputs. `work` is what sixteen values cost in
/// vector operations. `value` must be `#[inline(always)]`.
///
/// # Panics
/// If an input has another length than `output`.
#[inline(always)]
pub(crate) fn by_value<const N: usize>(
    runner: Runner<'_>,
    inputs: [&[f32]; N],
    output: &mut [f32],
    work: usize,
    value: impl Fn([f32; N]) -> f32 + Sync,
) {
    assert!(inputs.iter().all(|input| input.len() == output.len()), "lengths of inputs and output differ");
    by_line(
        runner,
        LINE,
        output,
        work,
        #[inline(always)]
        |at, output| {
            let inputs = inputs.map(|input| &input[at.clone()]);
            for (i, y) in output.iter_mut().enumerate() {
                *y = value(inputs.map(|input| input[i]));
            }
        },
    );
}

/// Calls `each` with the number of every row of `row` values of `output`, counted over all samples, and with the row. `work` is
/// what sixteen of its values cost in vector operations. `each` must be `#[inline(always)]`.
///
/// # Panics
/// If `output` is no whole number of rows.
#[inline(always)]
pub(crate) fn by_row(
    runner: Runner<'_>,
    row: usize,
    output: &mut [f32],
    work: usize,
    each: impl Fn(usize, &mut [f32]) + Sync,
) {
    assert_eq!(output.len() % row, 0, "output is not a whole number of rows");
    by_line(
        runner,
        row,
        output,
        work,
        #[inline(always)]
        |at, output| {
            for (number, y) in (at.start / row..).zip(output.chunks_exact_mut(row)) {
                each(number, y);
            }
        },
    );
}
