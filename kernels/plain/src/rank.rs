//! The places of the largest channels of each pixel.

use crate::quantize::by_pixel;
use horq_kernels::{Error, Pieces, Runner};

/// The places of the `k` largest of each pixel's channels, largest first; of equal values the first place comes first. Zeros of
/// either sign are equal.
///
/// # Errors
/// [`Error::NotFinite`] if a value of `input` is not.
///
/// # Panics
/// If `k` is more than the channels, or `input` and `output` do not hold the same number of pixels of `channels` and `k` values.
pub fn top_k<'a>(
    runner: impl Into<Runner<'a>>,
    channels: usize,
    k: usize,
    input: &[f32],
    output: &mut [f32],
) -> Result<(), Error> {
    let runner = runner.into();
    assert!(k <= channels, "{k} of {channels} channels");
    // Each place costs a look at all channels.
    let work = channels.saturating_mul(2);
    by_pixel(
        runner,
        [channels, k],
        input,
        output,
        work,
        #[inline(always)]
        |x, y| {
            let mut last = (f32::INFINITY, 0);
            for place in Pieces::new(runner.parallel, 0..k, channels).flatten() {
                last = next(x, last);
                y[place] = last.1 as f32;
            }
        },
    )
}

/// The largest value behind `last` in falling order, and its place. Not finite values give some place.
#[inline(always)]
fn next(x: &[f32], last: (f32, usize)) -> (f32, usize) {
    let mut best = (f32::NEG_INFINITY, 0);
    for (place, &x) in x.iter().enumerate() {
        let behind = x < last.0 || x == last.0 && place > last.1;
        if behind && x > best.0 {
            best = (x, place);
        }
    }
    best
}
