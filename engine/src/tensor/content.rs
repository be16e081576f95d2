//! What tensors hold, and how they lie in a file.

use horq_kernels::Geometry;
use horq_kernels::weights::LANES;
use horq_kernels::weights::codes::{CODE_BITS, codes_of_word};
use horq_kernels::weights::int8;
use safetensors::Dtype;

/// A tensor that a node names, as the graph implies it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it holds.
    pub content: Content,
}

impl<'a> TensorSpec<'a> {
    pub(crate) fn new(name: &'a str, content: Content) -> Self {
        Self { name, content }
    }

    /// A vector of that many floats.
    pub(crate) fn vector(name: &'a str, len: usize) -> Self {
        Self::new(name, Content::Vector(len))
    }
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Bit panels, U32 `[groups * panels, taps, words, 16]`.
    BitPanels(Geometry),
    /// Float panels, F32 `[groups * panels, depth, 16]`.
    FloatPanels(Geometry),
    /// Code panels, U32 `[groups * panels, words, 16]`, of a codebook with that many entries.
    CodePanels(Geometry, usize),
    /// 8-bit panels, I8 `[groups * panels, rows, 16, 4]`.
    Int8Panels(Geometry),
    /// The scale of an 8-bit layer's input: one float and zeros up to 16, F32.
    InputScale,
    /// That many floats and zeros up to the next multiple of 16, F32.
    Vector(usize),
    /// That many positive floats and zeros up to the next multiple of 16, F32.
    Scales(usize),
    /// That many floats of at least 2^-110 and zeros up to the next multiple of 16, F32: scales that are halved.
    HalvingScales(usize),
    /// That many floats greater than 0 and zeros up to the next multiple of 16, F32: what an operation divides by.
    Positive(usize),
    /// That many rows of that many floats, one after the other, and zeros up to the next multiple of 16, F32.
    Table(usize, usize),
}

impl Content {
    /// The type of the tensor's elements in the file, and its name there.
    pub(crate) fn dtype(&self) -> (Dtype, &'static str) {
        match self {
            Self::BitPanels(_) | Self::CodePanels(..) => (Dtype::U32, "U32"),
            Self::Int8Panels(_) => (Dtype::I8, "I8"),
            Self::FloatPanels(_)
            | Self::InputScale
            | Self::Vector(_)
            | Self::Scales(_)
            | Self::HalvingScales(_)
            | Self::Positive(_)
            | Self::Table(..) => (Dtype::F32, "F32"),
        }
    }

    /// Whether a tensor of this content holds the same values as one of the other's, in the same places: whether the two are
    /// the same but for the height and width of the image.
    pub(crate) fn is_same_for_another_size(&self, other: &Self) -> bool {
        let sizeless = |content: &Self| {
            let of = |geometry: Geometry| Geometry { height: 1, width: 1, ..geometry };
            match *content {
                Self::BitPanels(geometry) => Self::BitPanels(of(geometry)),
                Self::FloatPanels(geometry) => Self::FloatPanels(of(geometry)),
                Self::CodePanels(geometry, entries) => Self::CodePanels(of(geometry), entries),
                Self::Int8Panels(geometry) => Self::Int8Panels(of(geometry)),
                Self::InputScale
                | Self::Vector(_)
                | Self::Scales(_)
                | Self::HalvingScales(_)
                | Self::Positive(_)
                | Self::Table(..) => *content,
            }
        };
        sizeless(self) == sizeless(other)
    }

    /// The tensor's shape in the file.
    pub fn shape(&self) -> Vec<usize> {
        match *self {
            Self::BitPanels(g) => vec![g.groups * g.group_panels(), g.window.taps(), g.group_words(), LANES],
            Self::FloatPanels(g) => vec![g.groups * g.group_panels(), g.depth(), LANES],
            Self::CodePanels(g, entries) => {
                let words = g.depth().div_ceil(codes_of_word(code_bits(entries)));
                vec![g.groups * g.group_panels(), words, LANES]
            }
            Self::Int8Panels(g) => vec![g.groups * g.group_panels(), int8::panel_rows(&g), LANES, int8::QUAD],
            Self::InputScale => vec![LANES],
            Self::Vector(n) | Self::Scales(n) | Self::HalvingScales(n) | Self::Positive(n) => {
                vec![n.next_multiple_of(LANES)]
            }
            Self::Table(rows, columns) => vec![(rows * columns).next_multiple_of(LANES)],
        }
    }
}

/// Bits of a code into a codebook of that many entries: 3 for up to 8, 4 for up to 16, 5 for more.
pub(crate) fn code_bits(entries: usize) -> u32 {
    let least = usize::BITS - entries.saturating_sub(1).leading_zeros();
    least.clamp(*CODE_BITS.start(), *CODE_BITS.end())
}
