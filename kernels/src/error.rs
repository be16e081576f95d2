//! The one error of this crate.

/// What a kernel refuses.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A shape that no kernel can run.
    #[error("{0}")]
    Shape(String),
    /// Memory for a layer's tables that cannot be had.
    #[error("{bytes} bytes of memory for a layer's tables cannot be had; make the layer smaller")]
    Memory {
        /// Bytes of the allocation that failed.
        bytes: usize,
    },
    /// An input holds NaN or infinity, or values so large that their mean is infinite.
    #[error(
        "the input is not finite: it holds NaN or infinity, or its mean magnitude overflows; check what feeds this layer"
    )]
    NotFinite,
    /// `HORQ_ISA` or `HORQ_REQUIRE_ISA` (or a call) names an instruction set that does not exist.
    /// The second text lists the names that exist.
    #[error("unknown instruction set `{name}`; the names are {names}", name = .0.escape_debug(), names = .1)]
    UnknownIsa(String, String),
    /// A forced or required instruction set that this CPU lacks.
    #[error(
        "instruction set `{0}` is demanded (HORQ_ISA, HORQ_REQUIRE_ISA or a session option), but this CPU does not have it; it has {1}"
    )]
    MissingIsa(&'static str, String),
}
