//! Axes in another order.

use horq_kernels::{Runner, by_line};
use std::ops::Range;

/// The most axes of a rearrangement.
pub const MAX_AXES: usize = 16;
/// Rows and columns of the blocks in which a matrix is transposed: each side is a cache line.
const BLOCK: usize = 16;

/// One axis of the result, or several that move together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    size: usize,
    /// Values of the source from one place to the next.
    stride: usize,
}

/// An order of axes, those merged that move together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rearrangement {
    /// Those of the result, outermost first; at least one. One of them has stride 1.
    axes: Vec<Axis>,
    /// Values of a sample.
    len: usize,
}

impl Rearrangement {
    /// Axis i of the result is axis `order[i]` of the source, whose axes have these sizes, outermost first. None if `order`
    /// does not name each axis once, a size is 0, there are more than [`MAX_AXES`], or the sizes' product passes the address space.
    pub fn new(sizes: &[usize], order: &[usize]) -> Option<Self> {
        let mut named = [false; MAX_AXES];
        for &axis in order {
            let named = named.get_mut(axis).filter(|named| axis < sizes.len() && !**named)?;
            *named = true;
        }
        if order.len() != sizes.len() || sizes.len() > MAX_AXES || sizes.contains(&0) {
            return None;
        }
        let len = sizes.iter().try_fold(1_usize, |len, &size| len.checked_mul(size))?;
        isize::try_from(len).ok()?;
        let mut strides = [1; MAX_AXES];
        for axis in (1..sizes.len()).rev() {
            strides[axis - 1] = strides[axis] * sizes[axis];
        }
        let mut axes: Vec<Axis> = Vec::new();
        for &axis in order.iter().filter(|&&axis| sizes[axis] > 1) {
            let next = Axis { size: sizes[axis], stride: strides[axis] };
            match axes.last_mut() {
                Some(last) if last.stride == next.size * next.stride => {
                    *last = Axis { size: last.size * next.size, stride: next.stride };
                }
                _ => axes.push(next),
            }
        }
        if axes.is_empty() {
            axes.push(Axis { size: 1, stride: 1 });
        }
        Some(Self { axes, len })
    }

    /// Whether every value stays where it is.
    pub fn is_identity(&self) -> bool {
        self.axes.len() == 1
    }

    /// Values of a sample.
    #[expect(clippy::len_without_is_empty, reason = "no size is 0")]
    pub const fn len(&self) -> usize {
        self.len
    }
}

/// Writes the values of each sample in another order.
///
/// # Panics
/// If a length is not that of a whole number of samples, the same in both.
pub fn rearrange<'a>(runner: impl Into<Runner<'a>>, to: &Rearrangement, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len(), "lengths of input and output");
    assert_eq!(input.len() % to.len, 0, "input is a whole number of samples");
    let rows = to.axes[0].size;
    let row = to.len / rows;
    by_line(
        runner.into(),
        row,
        output,
        1,
        #[inline(always)]
        |at, mut output| {
            let (mut line, end) = (at.start / row, at.end / row);
            while line < end {
                let (sample, first) = (line / rows, line % rows);
                let n = (rows - first).min(end - line);
                let (y, rest) = output.split_at_mut(n * row);
                part(&to.axes, &input[sample * to.len..][..to.len], first..first + n, y);
                (line, output) = (line + n, rest);
            }
        },
    );
}

/// The part `rows` of the outermost axis of one sample.
#[inline(always)]
fn part(axes: &[Axis], x: &[f32], rows: Range<usize>, y: &mut [f32]) {
    let Some((&last, outer)) = axes.split_last() else { return };
    // The source's innermost axis, which is walked beside the result's.
    let unit = axes.iter().position(|axis| axis.stride == 1).unwrap_or(axes.len() - 1);
    let first = rows.start * axes[0].stride;
    let mut sizes = [1; MAX_AXES];
    for (size, axis) in sizes.iter_mut().zip(axes) {
        *size = axis.size;
    }
    sizes[0] = rows.len();
    if last.stride == 1 {
        let run = sizes[axes.len() - 1];
        walk(outer, &sizes, |from, to| {
            y[to * run..][..run].copy_from_slice(&x[first + from..][..run]);
        });
        return;
    }
    // From one place of the unit axis to the next in the result.
    let pitch: usize = sizes[unit + 1..axes.len()].iter().product();
    let lanes = sizes[unit];
    sizes[unit] = 1;
    let inner: usize = sizes[unit + 1..axes.len() - 1].iter().product();
    walk(outer, &sizes, |from, at| {
        let to = (at / inner * lanes * inner + at % inner) * last.size;
        transpose(&x[first + from..], last.stride, &mut y[to..], pitch, [lanes, last.size]);
    });
}

/// Calls `each` for all places along the `outer` axes of `sizes`, with where the place lies in the source and with its number.
#[inline(always)]
fn walk(outer: &[Axis], sizes: &[usize; MAX_AXES], mut each: impl FnMut(usize, usize)) {
    let places: usize = sizes[..outer.len()].iter().product();
    let (mut at, mut from) = ([0; MAX_AXES], 0);
    for number in 0..places {
        each(from, number);
        for axis in (0..outer.len()).rev() {
            at[axis] += 1;
            from += outer[axis].stride;
            if at[axis] < sizes[axis] {
                break;
            }
            from -= at[axis] * outer[axis].stride;
            at[axis] = 0;
        }
    }
}

/// y[a pitch + b] = x[b stride + a] for all a and b below `sizes`.
#[inline(always)]
fn transpose(x: &[f32], stride: usize, y: &mut [f32], pitch: usize, [lanes, columns]: [usize; 2]) {
    for a in (0..lanes).step_by(BLOCK) {
        let lanes = a..lanes.min(a + BLOCK);
        for b in (0..columns).step_by(BLOCK) {
            let columns = b..columns.min(b + BLOCK);
            if lanes.len() == BLOCK && columns.len() == BLOCK {
                let mut block = [[0.0; BLOCK]; BLOCK];
                for (b, row) in columns.clone().zip(&mut block) {
                    row.copy_from_slice(&x[b * stride + a..][..BLOCK]);
                }
                for (i, a) in lanes.clone().enumerate() {
                    let y = &mut y[a * pitch + b..][..BLOCK];
                    for (y, row) in y.iter_mut().zip(&block) {
                        *y = row[i];
                    }
                }
                continue;
            }
            for a in lanes.clone() {
                let y = &mut y[a * pitch..][columns.clone()];
                for (b, y) in columns.clone().zip(y) {
                    *y = x[b * stride + a];
                }
            }
        }
    }
}
