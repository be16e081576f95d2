//! Where values lie while a session runs.

use crate::shape::Shape;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The caller's input of that number.
    Input(usize),
    /// The caller's output of that number. Other layers may read it as well.
    Output(usize),
    /// The arena, from that f32 on.
    Arena(usize),
    /// The arena, as packed planes of the layer that reads it.
    Planes {
        /// The first word.
        start: usize,
        /// How many words, for a whole batch.
        words: usize,
    },
}

/// Where a value lies and its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) slot: Slot,
    pub(crate) shape: Shape,
}
