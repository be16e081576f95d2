//! What happens to a row of sums before it is stored: bias, affine, activation, residual add.

/// One step on the values of a row, applied in the order of [`Epilogue::steps`], each operation rounded on its own.
///
/// Vectors hold one value a filter, laid out as [`crate::Geometry::pad_filters`] says.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// y + bias.
    Bias(&'a [f32]),
    /// y * scale + shift, rounded after the product and after the sum.
    Affine {
        /// Factor of each filter.
        scale: &'a [f32],
        /// Summand of each filter.
        shift: &'a [f32],
    },
    /// max(y, 0).
    Relu,
    /// y where y >= 0, else y * slope.
    Prelu(&'a [f32]),
    /// y plus another value of the output's shape (all samples of the call, unpadded NHWC).
    Add(&'a [f32]),
}

/// The steps of a layer's epilogue; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// The steps, first to last.
    pub steps: &'a [Step<'a>],
}
