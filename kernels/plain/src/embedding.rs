//! Rows of a table.

use crate::pixels::by_row;
use horq_kernels::Runner;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The row of `table` (`rows` of `features` values) that each value of `input` is the number of.
///
/// # Errors
/// The first place in `input` whose value is not a whole number from 0 to `rows` - 1; `output` is then unspecified.
///
/// # Panics
/// If `table` is too short, or `output` does not hold `features` values for each of `input`.
pub fn embedding<'a>(
    runner: impl Into<Runner<'a>>,
    [rows, features]: [usize; 2],
    table: &[f32],
    input: &[f32],
    output: &mut [f32],
) -> Result<(), usize> {
    assert_eq!(output.len(), input.len() * features, "output of another length");
    let (table, wrong) = (&table[..rows * features], AtomicUsize::new(usize::MAX));
    by_row(
        runner.into(),
        features,
        output,
        2,
        #[inline(always)]
        |place, y| {
            let x = input[place];
            // NaN becomes 0, and what is out of range the nearest bound, so neither equals the number.
            let number = x as usize;
            if number as f32 == x && number < rows {
                y.copy_from_slice(&table[number * features..][..features]);
            } else {
                wrong.fetch_min(place, Relaxed);
            }
        },
    );
    match wrong.into_inner() {
        usize::MAX => Ok(()),
        place => Err(place),
    }
}
