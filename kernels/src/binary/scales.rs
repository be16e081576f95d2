//! The scales of planes: over what they are means.

/// The highest order of residual quantization.
pub const MAX_ORDER: usize = 8;

/// Over what the scale b_k of a plane is the mean of |R_{k-1}| (HORQ, section 3; `docs/format.md`).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ScaleMode {
    /// One receptive field, valid taps only: the paper's column scale.
    Window,
    /// The whole input of one sample.
    Image,
    /// Nothing: constants of the model, one an order.
    Fixed,
    /// No scale: every b_k is 1 (the released XNOR-Net code, BNN).
    None,
}

impl ScaleMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Window, Self::Image, Self::Fixed, Self::None];

    /// Its name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Image => "image",
            Self::Fixed => "fixed",
            Self::None => "none",
        }
    }

    /// Whether the scales are known before the values are: constants of the model, or 1.
    pub const fn is_constant(self) -> bool {
        matches!(self, Self::Fixed | Self::None)
    }

    /// Whether every window has scales, and with them planes, of its own.
    pub const fn is_per_window(self) -> bool {
        matches!(self, Self::Window)
    }

    /// Whether the constants are part of the model.
    pub const fn has_constants(self) -> bool {
        matches!(self, Self::Fixed)
    }
}

impl std::fmt::Display for ScaleMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
