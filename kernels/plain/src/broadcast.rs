//! Values of several shapes, each axis of which is that of the result or 1.

use crate::pixels::by_row;
use horq_kernels::Runner;

/// Values of a row that are computed at a time. A value that stands for a whole row is copied so many times, so that the loop
/// over them is the same, and vector code, whatever the shapes are.
const CHUNK: usize = 64;

/// How the values of `N` operands lie under those of their result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast<const N: usize> {
    /// The result's axes, neighbours joined where every operand has both of them or neither; the last is a row.
    sizes: [usize; 3],
    /// For each operand, the values between neighbours of each axis: 0 where it has one for all of them.
    strides: [[usize; 3]; N],
    /// Values of a sample of each operand.
    lens: [usize; N],
}

/// Height, width and channels of the result of operands of these shapes; none if they do not go together.
pub fn broadcast_shape(shapes: &[[usize; 3]]) -> Option<[usize; 3]> {
    let mut result = [1; 3];
    for shape in shapes {
        for (size, &of_operand) in result.iter_mut().zip(shape) {
            match *size {
                _ if of_operand == 1 => {}
                1 => *size = of_operand,
                size if size == of_operand => {}
                _ => return None,
            }
        }
    }
    Some(result)
}

impl<const N: usize> Broadcast<N> {
    /// Operands of these heights, widths and channels; none if they do not go together.
    pub fn new(shapes: [[usize; 3]; N]) -> Option<Self> {
        let result = broadcast_shape(&shapes)?;
        let spans = |axis: usize| shapes.map(|shape| shape[axis] == result[axis]);
        // From the channels outwards; `at` is the axis that is being made.
        let (mut sizes, mut strides, mut lens, mut at) = ([1; 3], [[0; 3]; N], [1; N], 2);
        let mut made: Option<[bool; N]> = None;
        for axis in (0..3).rev().filter(|&axis| result[axis] > 1) {
            if made.is_some_and(|made| made != spans(axis)) {
                at -= 1;
            }
            if made != Some(spans(axis)) {
                for i in 0..N {
                    strides[i][at] = if spans(axis)[i] { lens[i] } else { 0 };
                }
            }
            made = Some(spans(axis));
            sizes[at] *= result[axis];
            for i in 0..N {
                lens[i] *= shapes[i][axis];
            }
        }
        Some(Self { sizes, strides, lens })
    }

    /// Whether each operand has a value for each of the result's.
    pub fn is_elementwise(&self) -> bool {
        let len = self.sizes.iter().product();
        self.lens.iter().all(|&of_operand| of_operand == len)
    }
}

/// Makes every value of `output` of those of the inputs that stand for its place. `value` must be `#[inline(always)]`.
///
/// # Panics
/// If a length is not that of the same number of samples.
#[inline(always)]
pub(crate) fn broadcast<const N: usize>(
    runner: Runner<'_>,
    shapes: &Broadcast<N>,
    inputs: [&[f32]; N],
    output: &mut [f32],
    work: usize,
    value: impl Fn([f32; N]) -> f32 + Sync,
) {
    let Broadcast { sizes: [outer, inner, row], strides, lens } = *shapes;
    let samples = output.len() / (outer * inner * row);
    for (input, len) in inputs.iter().zip(lens) {
        assert_eq!(input.len(), samples * len, "an operand holds another number of samples");
    }
    by_row(
        runner,
        row,
        output,
        work,
        #[inline(always)]
        |number, output| {
            let (sample, y, x) = (number / (outer * inner), number / inner % outer, number % inner);
            let mut copies = [[0.0; CHUNK]; N];
            let mut rows = [&[][..]; N];
            for (i, copies) in copies.iter_mut().enumerate() {
                let from = &inputs[i][sample * lens[i] + y * strides[i][0] + x * strides[i][1]..];
                if strides[i][2] == 0 {
                    copies[..row.min(CHUNK)].fill(from[0]);
                    rows[i] = &copies[..];
                } else {
                    rows[i] = &from[..row];
                }
            }
            for (chunk, output) in output.chunks_mut(CHUNK).enumerate() {
                let chunks: [&[f32]; N] = std::array::from_fn(|i| {
                    let first = chunk * CHUNK * strides[i][2];
                    &rows[i][first..first + output.len()]
                });
                for (j, y) in output.iter_mut().enumerate() {
                    *y = value(chunks.map(|chunk| chunk[j]));
                }
            }
        },
    );
}
