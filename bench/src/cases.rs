//! The layers and products that suites share, and what tables and records call them.

use horq_kernels::{Geometry, MAX_ORDER, ScaleMode, Window};

/// Height x width x channels x filters of the four stages of a residual network.
pub(crate) const SHAPES: [[usize; 4]; 4] = [[56, 56, 64, 64], [28, 28, 128, 128], [14, 14, 256, 256], [7, 7, 512, 512]];

/// Rows, columns and depth of a square product.
pub(crate) const SQUARE: [usize; 3] = [1024; 3];

/// The paper's scales, and the cheap ones.
pub(crate) const MODES: [ScaleMode; 2] = [ScaleMode::Window, ScaleMode::Image];

/// Constants of [`ScaleMode::Fixed`]: what residuals of a normal distribution have for scales. Their values cost nothing.
pub(crate) const FIXED_SCALES: [f32; MAX_ORDER] = [0.80, 0.48, 0.27, 0.17, 0.11, 0.08, 0.06, 0.04];

/// The b of each order of [`ScaleMode::Halving`] that suits a normal distribution best.
pub(crate) const HALVING_SCALES: [f32; MAX_ORDER] = [0.80, 1.00, 1.17, 1.34, 1.51, 1.67, 1.82, 1.97];

/// A layer and how many samples it runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub geometry: Geometry,
    pub samples: usize,
}

impl Layer {
    /// A convolution, height x width x channels x filters, that keeps the image's size at stride 1.
    pub(crate) fn conv([height, width, channels, filters]: [usize; 4], kernel: usize, stride: usize) -> Self {
        let window = Window::square(kernel).with_stride(stride).with_padding(kernel / 2);
        Self { geometry: Geometry { height, width, channels, filters, groups: 1, window }, samples: 1 }
    }

    /// A matrix product of rows x columns x depth: each row is a sample.
    pub(crate) fn product([rows, columns, depth]: [usize; 3]) -> Self {
        Self { geometry: Geometry::dense(depth, columns), samples: rows }
    }

    /// The convolutions of the suite `conv`.
    pub(crate) fn stages() -> Vec<Self> {
        SHAPES.map(|shape| Self::conv(shape, 3, 1)).to_vec()
    }

    /// Its name in tables and records.
    pub(crate) fn name(&self) -> String {
        let Geometry { height, width, channels, filters, window, .. } = self.geometry;
        if self.samples > 1 {
            return format!("{}x{filters}x{channels}", self.samples);
        }
        format!("{height}x{width}x{channels}x{filters} k{} s{}", window.kernel[0], window.stride[0])
    }

    /// Rows, columns and depth of the product that it is.
    ///
    /// # Errors
    /// A message that names the layer if its shape is none, or if its operands do not fit into memory.
    pub(crate) fn sizes(&self) -> Result<[usize; 3], String> {
        let named = |error: String| format!("{}: {error}", self.name());
        let [rows, columns] = self.geometry.validate().map_err(|error| named(error.to_string()))?;
        let sizes = [self.samples * rows * columns, self.geometry.filters, self.geometry.depth()];
        fits(sizes[0], sizes[2]).and(fits(sizes[1], sizes[2])).map_err(named)?;
        Ok(sizes)
    }

    /// Multiply-accumulates of one plane.
    ///
    /// # Errors
    /// As [`Self::sizes`].
    pub(crate) fn macs(&self) -> Result<f64, String> {
        Ok(self.sizes()?.map(|size| size as f64).iter().product())
    }
}

/// Float operands are made for every shape, so it has to fit into memory: 2^28 values, a gigabyte.
pub(crate) fn fits(rows: usize, columns: usize) -> Result<(), String> {
    match rows.checked_mul(columns) {
        Some(values) if values <= 1 << 28 => Ok(()),
        _ => Err(format!("{rows} x {columns} values pass the {} that a benchmark may hold", 1 << 28)),
    }
}
