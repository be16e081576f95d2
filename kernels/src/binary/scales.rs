//! The scales of planes: over what they are means.

/// The highest order of residual quantization.
pub const MAX_ORDER: usize = 8;

/// The least b of [`ScaleMode::Halving`]: the scales of all orders are normal f32.
pub const MIN_HALVING_SCALE: f32 = f32::MIN_POSITIVE * 65536.0;

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
    /// Nothing: one constant b of the model, halved from order to order, b_k = b 2^(1-k). Planes are those of [`Self::Fixed`]
    /// with these constants.
    ///
    /// An element is then b 2^(1-K) q for one odd integer q = sum_k 2^(K-k) H_k, |q| < 2^K, and a product of all planes one
    /// integer S = sum q w, exact in an i32: |S| <= (2^K - 1) depth < 2^31 for the depths up to [`crate::MAX_DEPTH`].
    Halving,
}

impl ScaleMode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Window, Self::Image, Self::Fixed, Self::None, Self::Halving];

    /// Its name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Image => "image",
            Self::Fixed => "fixed",
            Self::None => "none",
            Self::Halving => "halving",
        }
    }

    /// Whether the scales are known before the values are: constants of the model, or 1.
    pub const fn is_constant(self) -> bool {
        matches!(self, Self::Fixed | Self::None | Self::Halving)
    }

    /// Whether every window has scales, and with them planes, of its own.
    pub const fn is_per_window(self) -> bool {
        matches!(self, Self::Window)
    }

    /// Whether the constants are part of the model.
    pub const fn has_constants(self) -> bool {
        matches!(self, Self::Fixed | Self::Halving)
    }

    /// Whether each scale is half of the one before, so that products of planes add up as integers.
    pub(crate) const fn halves(self) -> bool {
        matches!(self, Self::Halving)
    }

    /// The scales b_1.. of a mode in which they are constant, of its `constants` in the model: one an order in mode
    /// [`Self::Fixed`], b alone in mode [`Self::Halving`], none in mode [`Self::None`].
    ///
    /// # Panics
    /// If there are too few constants, or b is no scale to halve: NaN, infinite or less than [`MIN_HALVING_SCALE`].
    pub(crate) fn constant_scales(self, constants: &[f32], scales: &mut [f32]) {
        match self {
            Self::Fixed => scales.copy_from_slice(&constants[..scales.len()]),
            Self::Halving => {
                let b = constants[0];
                assert!(b.is_finite() && b >= MIN_HALVING_SCALE, "{b} is no scale to halve");
                let mut factor = 1.0;
                for scale in scales {
                    *scale = b * factor;
                    factor *= 0.5;
                }
            }
            _ => scales.fill(1.0),
        }
    }
}

impl std::fmt::Display for ScaleMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_halve_exactly() {
        for b in [MIN_HALVING_SCALE, 0.3, 1.0, f32::MAX] {
            let mut scales = [0.0; MAX_ORDER];
            ScaleMode::Halving.constant_scales(&[b], &mut scales);
            for (k, scale) in scales.into_iter().enumerate() {
                assert!(
                    scale.is_normal() && f64::from(scale) == f64::from(b) / f64::from(1 << k),
                    "{b} at order {}",
                    k + 1
                );
            }
        }
        assert_eq!(f64::from(MIN_HALVING_SCALE), 2.0f64.powi(-110));
    }
}
