//! Where the words of a row lie.

/// Where the words of a row lie, counted from its first, and in which order they are taken: first `triples` times three, in
/// place of the last of which stands the parity of all three (only for ways of counting that take triples), then the rest one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Walk<'a> {
    /// `len` words one after another; triple t is the words t, `triples` + t and 2 `triples` + t, whose parity lies `parity`
    /// words behind the first of them.
    Straight { len: usize, triples: usize, parity: usize },
    /// At these places. One loop over all of them, whatever the taps: a loop a kernel row, of six words at 64 channels, cost
    /// a fifth of a convolution's time in exits and remainders.
    Places { places: &'a [Place], triples: usize },
}

impl Walk<'_> {
    /// Words one after another, none of them a parity.
    pub(crate) fn plain(len: usize) -> Self {
        Self::Straight { len, triples: 0, parity: 0 }
    }

    /// Words in all.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "asked by backends that count in several ways"))]
    pub(crate) fn len(&self) -> usize {
        match *self {
            Self::Straight { len, .. } => len,
            Self::Places { places, .. } => places.len(),
        }
    }

    /// Triples at its start.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "asked by backends that take triples"))]
    pub(crate) fn triples(&self) -> usize {
        match *self {
            Self::Straight { triples, .. } | Self::Places { triples, .. } => triples,
        }
    }
}

/// Where a word of a row and its panel row lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Words from the first of the row.
    pub at: u32,
    /// Words from the first of the panel: sixteen times the number of the panel row.
    pub weights: u32,
}
