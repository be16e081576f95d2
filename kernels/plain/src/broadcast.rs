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

#[cfg(test)]
mod tests {
    use super::*;
    use horq_kernels::Isa;

    /// Where the value that stands for a place lies.
    fn index(shape: [usize; 3], place: [usize; 3]) -> usize {
        let [h, w, c] = [0, 1, 2].map(|axis| if shape[axis] == 1 { 0 } else { place[axis] });
        (h * shape[1] + w) * shape[2] + c
    }

    /// Every pair of shapes whose axes are those of the result or 1, for results with and without axes of size 1, and rows longer
    /// than a chunk.
    #[test]
    fn each_place_gets_the_values_that_stand_for_it() {
        for result in [[3, 4, 5], [2, 1, 70], [1, 3, 129], [2, 65, 1], [1, 1, 64], [1, 1, 1]] {
            for ones in 0..64 {
                let shape = |ones: usize| [0, 1, 2].map(|axis| if ones >> axis & 1 == 1 { 1 } else { result[axis] });
                let shapes = [shape(ones % 8), shape(ones / 8)];
                let [height, width, channels] = broadcast_shape(&shapes).unwrap();
                let layout = Broadcast::new(shapes).unwrap();
                let lens = shapes.map(|shape| shape.iter().product::<usize>());
                let inputs = lens.map(|len| (0..2 * len).map(|i| i as f32).collect::<Vec<_>>());
                let len = height * width * channels;
                let mut output = vec![f32::NAN; 2 * len];
                let pair = |[a, b]: [f32; 2]| a * 4096.0 + b;
                broadcast(Isa::Portable.into(), &layout, [&inputs[0], &inputs[1]], &mut output, 1, pair);
                for (i, &y) in output.iter().enumerate() {
                    let place = [i % len / (width * channels), i / channels % width, i % channels];
                    let operand = |n: usize| inputs[n][i / len * lens[n] + index(shapes[n], place)];
                    assert_eq!(y, pair([operand(0), operand(1)]), "{shapes:?}, {i}");
                }
                assert_eq!(layout.is_elementwise(), lens == [len; 2]);
            }
        }
    }

    #[test]
    fn sizes_that_are_neither_equal_nor_one_do_not_go_together() {
        assert_eq!(broadcast_shape(&[[2, 3, 4], [2, 1, 4], [1, 1, 1]]), Some([2, 3, 4]));
        assert_eq!(broadcast_shape(&[[2, 3, 4], [2, 2, 4]]), None);
        assert_eq!(Broadcast::new([[1, 1, 4], [1, 1, 3]]), None);
    }
}
