//! What binary kernels are measured against: the papers' scalar loop, and the fastest float product there is in Rust.

use horq_kernels::Geometry;
use std::ops::Range;

/// The dot product of the papers' baseline, added to `sum`: one product and one sum at a time, first to last.
///
/// Floating-point addition is not associative, so no optimiser may split this sum over vector lanes; and a call of its own
/// for each output keeps it from computing several outputs side by side.
#[inline(never)]
fn scalar_dot(sum: f32, a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(sum, |sum, (a, b)| sum + a * b)
}

/// The scalar loop as a matrix product: `c[row][column] = sum_k a[row][k] b[column][k]`.
pub(crate) fn scalar_product(a: &[f32], b: &[f32], k: usize, c: &mut [f32]) {
    let columns = b.len() / k;
    for (row, c) in a.chunks_exact(k).zip(c.chunks_exact_mut(columns)) {
        for (column, c) in b.chunks_exact(k).zip(c) {
            *c = scalar_dot(0.0, row, column);
        }
    }
}

/// The scalar loop as a convolution, of some output pixels only; weights `[filter][tap][channel]`, one group.
pub(crate) fn scalar_conv(
    geometry: &Geometry,
    input: &[f32],
    weights: &[f32],
    pixels: Range<usize>,
    output: &mut [f32],
) {
    let (channels, depth) = (geometry.channels, geometry.depth());
    for pixel in pixels {
        let output = &mut output[pixel * geometry.filters..][..geometry.filters];
        for (filter, output) in weights.chunks_exact(depth).zip(output) {
            let mut sum = 0.0;
            for (tap, weights) in filter.chunks_exact(channels).enumerate() {
                if let Some(from) = tapped_pixel(geometry, pixel, tap) {
                    sum = scalar_dot(sum, &input[from * channels..][..channels], weights);
                }
            }
            *output = sum;
        }
    }
}

/// Which input pixel a tap of an output pixel falls on; none in the padding.
fn tapped_pixel(geometry: &Geometry, pixel: usize, tap: usize) -> Option<usize> {
    let window = &geometry.window;
    let columns =
        (geometry.width + window.padding[1] + window.padding[3] - (window.kernel[1] - 1) * window.dilation[1] - 1)
            / window.stride[1]
            + 1;
    let along = |axis: usize, position: usize, tap: usize, size: usize| {
        let at = position * window.stride[axis] + tap * window.dilation[axis];
        at.checked_sub(window.padding[axis]).filter(|&at| at < size)
    };
    let row = along(0, pixel / columns, tap / window.kernel[1], geometry.height)?;
    let column = along(1, pixel % columns, tap % window.kernel[1], geometry.width)?;
    Some(row * geometry.width + column)
}

/// The crate `gemm`: `c[m][n] = a[m][k] b[n][k]^T`, on `threads` threads of the current rayon pool.
pub(crate) fn fast_product([m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32], threads: usize) {
    assert!(a.len() >= m * k && b.len() >= n * k && c.len() >= m * n, "operands shorter than the shape");
    let parallel = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    // SAFETY: with these strides every access stays inside m x n, m x k and n x k values, which the slices hold.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        let (n_stride, k_stride) = (n as isize, k as isize);
        #[rustfmt::skip] // one operand a line
        gemm::gemm(
            m, n, k,
            c, 1, n_stride, false,
            a, 1, k_stride,
            b, k_stride, 1,
            0.0, 1.0, false, false, false, parallel,
        );
    }
}

/// Lays every window of an image out as a row, `[pixel][tap][channel]`, zeros in the padding.
pub(crate) fn im2col(geometry: &Geometry, input: &[f32], rows: &mut [f32]) {
    let (channels, taps) = (geometry.channels, geometry.window.taps());
    for (pixel, row) in rows.chunks_exact_mut(geometry.depth()).enumerate() {
        for (tap, row) in (0..taps).zip(row.chunks_exact_mut(channels)) {
            match tapped_pixel(geometry, pixel, tap) {
                Some(from) => row.copy_from_slice(&input[from * channels..][..channels]),
                None => row.fill(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use horq_kernels::Window;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + seed) % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn the_baselines_agree() {
        let (m, n, k) = (5, 7, 33);
        let (a, b) = (values(m * k, 1), values(n * k, 2));
        let (mut slow, mut fast) = (vec![0.0; m * n], vec![1.0; m * n]);
        scalar_product(&a, &b, k, &mut slow);
        fast_product([m, n, k], &a, &b, &mut fast, 1);
        assert_eq!(slow, fast);
        assert_eq!(slow[n + 2], (0..k).map(|i| a[k + i] * b[2 * k + i]).sum::<f32>());
    }

    #[test]
    fn the_convolutions_agree() {
        let window = Window { kernel: [3, 2], stride: [2, 1], dilation: [1, 2], padding: [1, 0, 1, 2] };
        let geometry = Geometry { height: 6, width: 5, channels: 3, filters: 4, groups: 1, window };
        let [rows, columns] = geometry.validate().unwrap();
        let pixels = rows * columns;
        let (input, weights) = (values(geometry.input_len(), 3), values(4 * geometry.depth(), 4));
        let (mut slow, mut fast) = (vec![0.0; pixels * 4], vec![0.0; pixels * 4]);
        scalar_conv(&geometry, &input, &weights, 0..pixels, &mut slow);
        let mut unfolded = vec![9.0; pixels * geometry.depth()];
        im2col(&geometry, &input, &mut unfolded);
        fast_product([pixels, 4, geometry.depth()], &unfolded, &weights, &mut fast, 1);
        assert_eq!(slow, fast);
    }
}
