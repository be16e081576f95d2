//! One arena for all values between layers: blocks that live at different times share memory.

/// f32 values of a cache line; every block starts on one.
const LINE: usize = 16;

/// The memory of one value, as f32 or as packed planes, or of several that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it starts, in f32 values; a multiple of [`LINE`].
    pub(crate) offset: usize,
    /// f32 values (or words) of a whole batch.
    pub(crate) len: usize,
    /// The layer that writes it first.
    pub(crate) first: usize,
    /// The last layer that reads it.
    pub(crate) last: usize,
}

impl Block {
    fn end(&self) -> usize {
        self.offset + self.len.next_multiple_of(LINE)
    }

    fn lives_with(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Sets the offsets so that blocks that live at the same time do not overlap; returns the arena's length, `None` if it
/// passes the address space.
///
/// Greedy by size: the largest block first, each at the lowest offset that is free while it lives. For a chain of layers that
/// is optimal, and for residual networks it is within a few per cent of the bound (the largest sum of blocks alive at once).
pub(super) fn place(blocks: &mut [Block]) -> Option<usize> {
    let total =
        blocks.iter().try_fold(0usize, |sum, block| sum.checked_add(block.len.checked_next_multiple_of(LINE)?))?;
    total.checked_mul(size_of::<f32>()).filter(|&bytes| isize::try_from(bytes).is_ok())?;

    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(blocks[i].len), blocks[i].first));
    for at in 0..order.len() {
        let mine = blocks[order[at]];
        let mut alive: Vec<Block> =
            order[..at].iter().map(|&i| blocks[i]).filter(|other| mine.lives_with(other)).collect();
        alive.sort_by_key(|block| block.offset);
        let mut offset = 0;
        for other in alive {
            if offset + mine.len <= other.offset {
                break;
            }
            offset = offset.max(other.end());
        }
        blocks[order[at]].offset = offset;
    }
    Some(blocks.iter().map(Block::end).max().unwrap_or(0))
}
