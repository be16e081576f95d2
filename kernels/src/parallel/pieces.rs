//! Work in pieces, between which it can be called off.

use crate::parallel::Parallel;
use std::ops::Range;

/// Tells work under way that nobody waits for it any more.
pub trait Interrupt: Sync {
    /// Whether the work is to end. Once it says so, it says so for the rest of the work, on every thread.
    fn is_raised(&self) -> bool;
}

/// What a piece costs in vector operations: some 50 µs with AVX-512, and 500 µs with the portable backend or where each
/// operation waits for memory.
const PIECE: usize = 1 << 17;
/// Items that fill a tile of any kernel; a piece is made some times as long before it has fewer.
const TILE: usize = 8;
/// How many times as long.
const STRETCH: usize = 4;

/// A range of items, each costing about `work` vector operations, in pieces: one after another until there are none left or
/// the work is called off. One piece where nobody can call it off.
#[derive(Clone)]
pub struct Pieces<'a> {
    interrupt: Option<&'a dyn Interrupt>,
    items: Range<usize>,
    len: usize,
}

impl<'a> Pieces<'a> {
    /// The pieces of `items` under the interrupt of `parallel`.
    #[inline]
    pub fn new(parallel: &'a dyn Parallel, items: Range<usize>, work: usize) -> Self {
        Self::under(parallel.interrupt(), items, work)
    }

    /// Items one by one, until there are none left or the work is called off.
    #[inline]
    pub fn single(parallel: &'a dyn Parallel, items: usize) -> impl Iterator<Item = usize> + 'a {
        Self::new(parallel, 0..items, usize::MAX).flatten()
    }

    #[inline]
    pub(crate) fn under(interrupt: Option<&'a dyn Interrupt>, items: Range<usize>, work: usize) -> Self {
        let len = if interrupt.is_some() { piece_len(work) } else { items.len() };
        Self { interrupt, items, len }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        if self.items.is_empty() || self.interrupt.is_some_and(Interrupt::is_raised) {
            return None;
        }
        let end = self.items.end.min(self.items.start.saturating_add(self.len));
        let piece = self.items.start..end;
        self.items.start = end;
        Some(piece)
    }
}

/// Items of a piece: whole tiles where there is room for one.
fn piece_len(work: usize) -> usize {
    let work = work.max(1);
    match PIECE / work {
        0..TILE => (STRETCH * PIECE / work).clamp(1, TILE),
        // A multiple of the rows of every kernel's tasks, 32 and 40, or of the highest tile.
        len if len >= 160 => len / 160 * 160,
        len => len / TILE * TILE,
    }
}

/// Whether one item of that cost is more than a piece.
pub(crate) fn is_long(work: usize) -> bool {
    work > PIECE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Is raised after so many questions.
    struct After(AtomicUsize);

    impl Interrupt for After {
        fn is_raised(&self) -> bool {
            self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
        }
    }

    #[test]
    fn pieces_cover_the_items_in_order() {
        for work in [0, 1, 500, 20_000, PIECE, 100 * PIECE, usize::MAX] {
            for items in [0..0, 5..6, 3..1000, 7..100_007] {
                let never = After(AtomicUsize::new(usize::MAX));
                let pieces: Vec<_> = Pieces::under(Some(&never), items.clone(), work).collect();
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                assert!(pieces.iter().cloned().flatten().eq(items.clone()), "{work}: {pieces:?}");
                let whole: Vec<_> = Pieces::under(None, items.clone(), work).collect();
                assert_eq!(whole, if items.is_empty() { vec![] } else { vec![items] });
            }
        }
        assert_eq!([1000, PIECE / 8, PIECE / 4, PIECE, 100 * PIECE].map(piece_len), [128, 8, 8, 4, 1]);
    }

    #[test]
    fn they_end_when_the_work_is_called_off() {
        let twice = After(AtomicUsize::new(2));
        assert_eq!(Pieces::under(Some(&twice), 0..100, PIECE).collect::<Vec<_>>(), [0..4, 4..8]);
    }
}
