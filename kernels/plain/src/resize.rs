//! Images of another size, as the operator `Resize` of ONNX and `torch.nn.functional.interpolate` make them.

use crate::select::{Picks, Selection, select};
use horq_kernels::{Runner, by_line};
use serde::{Deserialize, Serialize};

/// Channels that are worked on together.
const LANES: usize = 16;

/// Where a pixel of the output lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// Pixels are squares: u = (X + 1/2) / s - 1/2. What PyTorch does unless it is told otherwise.
    HalfPixel,
    /// The same about the image's middle, which stays the middle where the scale is no ratio of the sizes.
    HalfPixelSymmetric,
    /// As half pixels, but an output of one pixel is the first of the input.
    PytorchHalfPixel,
    /// Pixels are points: u = X / s.
    Asymmetric,
    /// The outermost pixels lie on each other: u = X (n - 1) / (m - 1), m being the output's pixels, or s n where a scale is given.
    AlignCorners,
}

/// Which pixel is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// The nearest one, of two the one before.
    RoundPreferFloor,
    /// The nearest one, of two the one behind.
    RoundPreferCeil,
    /// The one before.
    Floor,
    /// The one behind.
    Ceil,
}

/// What a pixel past the border counts as where a cubic reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// The outermost pixel of the image.
    Edge,
    /// Nothing: the weights of the others are divided by their sum.
    Exclude,
}

/// How pixels are made of others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// Each is the nearest one.
    Nearest(Rounding),
    /// Of two along each axis.
    Linear,
    /// Of four along each axis, by the cubic convolution with that coefficient (Keys, *Cubic convolution interpolation for
    /// digital image processing*, 1981).
    Cubic(f32, Outside),
}

/// One axis of a resized image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Pixels of the input.
    pub from: usize,
    /// Pixels of the output.
    pub to: usize,
    /// s: pixels of the output for one of the input; none where it is `to` / `from`.
    pub scale: Option<f32>,
    /// Where the output's pixels lie.
    pub coordinates: Coordinates,
}

impl Scaling {
    /// Where pixel `at` of the output lies among the input's, at least at -1 and at most at `from`.
    fn place(&self, at: usize) -> f32 {
        let (x, from, to) = (at as f32, self.from as f32, self.to as f32);
        let scale = self.scale.unwrap_or(to / from);
        let place = match self.coordinates {
            Coordinates::AlignCorners | Coordinates::PytorchHalfPixel if self.to == 1 => 0.0,
            Coordinates::AlignCorners => x * (from - 1.0) / (self.scale.map_or(to, |scale| scale * from) - 1.0),
            Coordinates::Asymmetric => x / scale,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let moved = from / 2.0 * (1.0 - to / (scale * from));
                // In f64: what becomes of a place that is a whole number hangs on it.
                (f64::from(moved) + (f64::from(x) + 0.5) / f64::from(scale) - 0.5) as f32
            }
        };
        // A comparison with NaN is false: what a scale beyond all sense makes is a place as well.
        if place >= -1.0 { place.min(from) } else { -1.0 }
    }

    fn nearest(&self, at: usize, rounding: Rounding) -> usize {
        let place = self.place(at);
        let below = place.floor();
        let up = match rounding {
            Rounding::RoundPreferFloor => place - below > 0.5,
            Rounding::RoundPreferCeil => place - below >= 0.5,
            Rounding::Floor => false,
            Rounding::Ceil => place > below,
        };
        self.inside(below as isize + isize::from(up))
    }

    fn linear(&self, at: usize) -> Taps<2> {
        let place = self.place(at).clamp(0.0, (self.from - 1) as f32);
        let below = place.floor();
        let part = place - below;
        Taps { pixels: [0, 1].map(|i| self.inside(below as isize + i)), weights: [1.0 - part, part] }
    }

    fn cubic(&self, at: usize, a: f32, outside: Outside) -> Taps<4> {
        let place = self.place(at);
        let below = place.floor();
        let (a, part) = (f64::from(a), f64::from(place - below));
        let far = |t: f64| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
        let near = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
        let rest = 1.0 - part;
        let mut weights = [far(part + 1.0), near(part), near(rest), far(rest + 1.0)];
        let first = below as isize - 1;
        let pixels = [0, 1, 2, 3].map(|i| self.inside(first + i));
        if outside == Outside::Exclude {
            for (i, weight) in (first..).zip(&mut weights) {
                if !(0..self.from as isize).contains(&i) {
                    *weight = 0.0;
                }
            }
            let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        Taps { pixels, weights: weights.map(|weight| weight as f32) }
    }

    fn inside(&self, pixel: isize) -> usize {
        pixel.clamp(0, self.from as isize - 1) as usize
    }
}

/// The pixels along an axis that one is made of, and how much of each.
#[derive(Clone, Copy, Debug)]
struct Taps<const N: usize> {
    pixels: [usize; N],
    weights: [f32; N],
}

/// An image of another size, prepared.
#[derive(Clone, Debug)]
pub struct Resizing {
    /// Height, width and channels of the input.
    size: [usize; 3],
    kind: Kind,
}

/// What each row and each column of the output is made of.
#[derive(Clone, Debug)]
enum Kind {
    Nearest(Selection),
    Linear([Vec<Taps<2>>; 2]),
    Cubic([Vec<Taps<4>>; 2]),
}

impl Resizing {
    /// Bytes that one row or column of the output takes here, at most.
    pub const BYTES: usize = size_of::<Taps<4>>();

    /// Rows and columns as `axes` say, each with at least one pixel, of images with so many channels.
    pub fn new(axes: [Scaling; 2], channels: usize, interpolation: Interpolation) -> Self {
        let size = [axes[0].from, axes[1].from, channels];
        let kind = match interpolation {
            Interpolation::Nearest(rounding) => {
                let [rows, columns] =
                    axes.map(|axis| Picks::List((0..axis.to).map(|at| axis.nearest(at, rounding)).collect()));
                Kind::Nearest(Selection::new(size, [rows, columns, Picks::all(channels)]))
            }
            Interpolation::Linear => Kind::Linear(axes.map(|axis| (0..axis.to).map(|at| axis.linear(at)).collect())),
            Interpolation::Cubic(a, outside) => {
                Kind::Cubic(axes.map(|axis| (0..axis.to).map(|at| axis.cubic(at, a, outside)).collect()))
            }
        };
        Self { size, kind }
    }
}

/// Makes images of another size. A pixel is the sum over its rows, first to last, of a row's weight times the sum over its
/// columns, first to last, of a column's weight times a pixel; each sum begins with 0.
///
/// # Panics
/// If a length is not that of a whole number of samples, the same in both.
pub fn resize<'a>(runner: impl Into<Runner<'a>>, resizing: &Resizing, input: &[f32], output: &mut [f32]) {
    let (runner, size) = (runner.into(), resizing.size);
    match &resizing.kind {
        Kind::Nearest(selection) => select(runner, selection, 0.0, input, output),
        Kind::Linear([rows, columns]) => interpolate(runner, size, rows, columns, input, output),
        Kind::Cubic([rows, columns]) => interpolate(runner, size, rows, columns, input, output),
    }
}

fn interpolate<const N: usize>(
    runner: Runner<'_>,
    [height, width, channels]: [usize; 3],
    rows: &[Taps<N>],
    columns: &[Taps<N>],
    input: &[f32],
    output: &mut [f32],
) {
    let (row, line) = (width * channels, columns.len() * channels);
    let (image, out_image) = (height * row, rows.len() * line);
    assert_eq!(input.len() / image, output.len() / out_image, "samples");
    assert_eq!(input.len() % image + output.len() % out_image, 0, "samples are whole");
    by_line(
        runner,
        line,
        output,
        N * N,
        #[inline(always)]
        |at, output| {
            for (number, y) in (at.start / line..).zip(output.chunks_exact_mut(line)) {
                let (sample, down) = (number / rows.len() * height, &rows[number % rows.len()]);
                let x = down.pixels.map(|pixel| &input[(sample + pixel) * row..][..row]);
                for (across, y) in columns.iter().zip(y.chunks_exact_mut(channels)) {
                    let taps = x.map(|x| across.pixels.map(|pixel| &x[pixel * channels..][..channels]));
                    let mut blocks = y.chunks_exact_mut(LANES);
                    for (block, y) in (&mut blocks).enumerate() {
                        let taps = taps.map(|row| row.map(|x| &x[block * LANES..][..LANES]));
                        weigh::<N, LANES>(taps, down, across, y);
                    }
                    let rest = blocks.into_remainder();
                    let first = channels - rest.len();
                    for (i, y) in rest.chunks_exact_mut(1).enumerate() {
                        let taps = taps.map(|row| row.map(|x| &x[first + i..][..1]));
                        weigh::<N, 1>(taps, down, across, y);
                    }
                }
            }
        },
    );
}

/// `L` channels of one pixel.
#[inline(always)]
fn weigh<const N: usize, const L: usize>(taps: [[&[f32]; N]; N], down: &Taps<N>, across: &Taps<N>, y: &mut [f32]) {
    let mut sum = [0.0; L];
    for (row, down) in taps.iter().zip(down.weights) {
        let mut of_row = [0.0; L];
        for (x, across) in row.iter().zip(across.weights) {
            for (sum, x) in of_row.iter_mut().zip(&x[..L]) {
                *sum += across * x;
            }
        }
        for (sum, of_row) in sum.iter_mut().zip(of_row) {
            *sum += down * of_row;
        }
    }
    y.copy_from_slice(&sum);
}
