//! The second operand of a product of two values, as the kernel of float layers reads weights.

use crate::pixels::by_row;
use horq_kernels::Runner;
use horq_kernels::weights::LANES;

/// Values that the panels of a matrix of that many rows and columns take.
pub const fn panels_len(rows: usize, columns: usize) -> usize {
    columns.div_ceil(LANES) * rows * LANES
}

/// Packs a matrix of that many rows as float panels `[column / 16][row][16]`, zeros past the last column. It lies row by row,
/// or column by column if `transposed`.
///
/// # Panics
/// If `matrix` is no whole number of columns, or `panels` has another length than [`panels_len`].
pub fn pack_matrix<'a>(
    runner: impl Into<Runner<'a>>,
    rows: usize,
    transposed: bool,
    matrix: &[f32],
    panels: &mut [f32],
) {
    let columns = matrix.len() / rows;
    assert_eq!(matrix.len(), rows * columns, "the matrix is not whole");
    assert_eq!(panels.len(), panels_len(rows, columns), "panels of another length");
    by_row(
        runner.into(),
        rows * LANES,
        panels,
        2,
        #[inline(always)]
        |number, panel| {
            let first = number * LANES;
            let lanes = LANES.min(columns - first);
            if lanes < LANES {
                panel.fill(0.0);
            }
            if transposed {
                for (lane, column) in matrix[first * rows..].chunks_exact(rows).take(lanes).enumerate() {
                    for (to, &x) in panel.chunks_exact_mut(LANES).zip(column) {
                        to[lane] = x;
                    }
                }
            } else {
                for (to, row) in panel.chunks_exact_mut(LANES).zip(matrix.chunks_exact(columns)) {
                    to[..lanes].copy_from_slice(&row[first..first + lanes]);
                }
            }
        },
    );
}
