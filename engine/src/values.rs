//! The values that a caller gives a session.

use std::ops::Range;

/// The values of one input of a run: its samples one after another, NHWC, unpadded.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values<'a> {
    /// As the network computes with them.
    F32(&'a [f32]),
    /// Bytes, which stand for 0 to 255: the pixels of an image as decoders give them. A session makes f32 of them in memory
    /// of its own, as many samples at a time as it works on.
    U8(&'a [u8]),
}

impl Values<'_> {
    /// Those of that range.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn slice(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::U8(values) => Self::U8(&values[range]),
        }
    }

    /// How many values there are, of all samples.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a [u8]> for Values<'a> {
    fn from(values: &'a [u8]) -> Self {
        Self::U8(values)
    }
}
