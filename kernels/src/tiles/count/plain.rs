//! Counting word by word.

use crate::simd::Simd;
use crate::tiles::count::Count;

/// Counting word by word, as the backend does it.
pub(crate) struct Plain;

impl<S: Simd> Count<S> for Plain {
    type Partial = S::Partial;
    const FLUSH: usize = S::FLUSH;

    #[inline(always)]
    fn none(simd: S) -> S::Partial {
        simd.no_partial()
    }

    #[inline(always)]
    fn single(simd: S, partial: S::Partial, x: S::Words) -> S::Partial {
        simd.count(partial, x)
    }

    #[inline(always)]
    fn flush(simd: S, counts: S::Counts, partial: S::Partial) -> S::Counts {
        simd.flush(counts, partial)
    }
}
