//! Values that are picked by their place: parts of an image, images with a border, images pulled apart.

use horq_kernels::{Runner, by_line};
use serde::{Deserialize, Serialize};

/// What a border holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// One value.
    Constant,
    /// The image as in a mirror that stands on its outermost values: `c b | a b c | b a`.
    Reflect,
    /// The outermost value over and over: `a a | a b c | c c`.
    Edge,
    /// The image over and over: `b c | a b c | a b`.
    Wrap,
}

/// Which value along one axis of the input stands at each place along the same axis of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picks {
    /// `len` values from `first` on, each `step` after the one before it.
    Range {
        /// The first one's place.
        first: usize,
        /// From one to the next; negative where they come backwards.
        step: isize,
        /// How many.
        len: usize,
    },
    /// All `size` values with a border.
    Bordered {
        /// Values of the input.
        size: usize,
        /// Places before the first and after the last of them.
        border: [usize; 2],
        /// What stands there.
        kind: Border,
    },
    /// All `size` values with `stride` - 1 places between them that hold none.
    Spread {
        /// Values of the input.
        size: usize,
        /// From one to the next in the output; at least 1.
        stride: usize,
    },
    /// The values at these places.
    List(Vec<usize>),
}

impl Picks {
    /// All `len` values.
    pub const fn all(len: usize) -> Self {
        Self::Range { first: 0, step: 1, len }
    }

    /// Places along the output's axis; saturates where there are more than a number can tell.
    pub fn places(&self) -> usize {
        match *self {
            Self::Range { len, .. } => len,
            Self::Bordered { size, border: [before, after], .. } => before.saturating_add(size).saturating_add(after),
            Self::Spread { size, stride } => (size - 1).saturating_mul(stride).saturating_add(1),
            Self::List(ref places) => places.len(),
        }
    }

    /// What stands at that place of the output: the place of a value of the input, or none; and how many places from
    /// there on hold the values that follow it, or none as well.
    #[inline(always)]
    fn run(&self, at: usize) -> (Option<usize>, usize) {
        match *self {
            Self::Range { first, step: 1, len } => (Some(first + at), len - at),
            Self::Range { first, step, .. } => (Some(first.wrapping_add_signed(step * at as isize)), 1),
            Self::Bordered { border: [before, _], kind: Border::Constant, .. } if at < before => (None, before - at),
            Self::Bordered { size, border: [before, _], .. } if (before..before + size).contains(&at) => {
                (Some(at - before), before + size - at)
            }
            Self::Bordered { size, border: [before, after], kind: Border::Constant } => {
                (None, before + size + after - at)
            }
            Self::Bordered { size, border: [before, _], kind } => (Some(outside(at, before, size, kind)), 1),
            Self::Spread { stride, .. } => match at % stride {
                0 => (Some(at / stride), 1),
                past => (None, (stride - past).min(self.places() - at)),
            },
            Self::List(ref places) => {
                let first = places[at];
                let follow = places[at..].iter().enumerate().take_while(|&(i, &place)| place == first + i);
                (Some(first), follow.count())
            }
        }
    }
}

/// The value that a place of a border repeats, of `size` with `before` places before them.
fn outside(at: usize, before: usize, size: usize, kind: Border) -> usize {
    let at = at as isize - before as isize;
    let last = size as isize - 1;
    (match kind {
        Border::Constant | Border::Edge => at.clamp(0, last),
        Border::Wrap => at.rem_euclid(size as isize),
        Border::Reflect if last == 0 => 0,
        Border::Reflect => {
            let at = at.rem_euclid(2 * last);
            at.min(2 * last - at)
        }
    }) as usize
}

/// What is picked along height, width and channels of images of a size, to make another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Height, width and channels of the input.
    size: [usize; 3],
    picks: [Picks; 3],
    /// Whether every pixel that is picked is picked whole.
    whole: bool,
}

impl Selection {
    /// The picks along each axis of images of `size`.
    ///
    /// # Panics
    /// If something is picked that lies outside of the image.
    pub fn new(size: [usize; 3], picks: [Picks; 3]) -> Self {
        for (size, picks) in size.iter().zip(&picks) {
            let fits = match *picks {
                Picks::Range { len: 0, .. } => true,
                Picks::Range { first, step, len } => {
                    let last = (len as i128 - 1) * step as i128 + first as i128;
                    first < *size && (0..*size as i128).contains(&last)
                }
                Picks::Bordered { size: all, .. } | Picks::Spread { size: all, .. } => all == *size,
                Picks::List(ref places) => places.iter().all(|place| place < size),
            };
            assert!(fits, "{picks:?} of {size} values");
        }
        let whole = picks[2] == Picks::all(size[2]);
        Self { size, picks, whole }
    }

    /// Height, width and channels of the output.
    pub fn output(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.picks[axis].places())
    }
}

/// Writes what is picked; places that hold no value of the input get `fill`.
///
/// # Panics
/// If a length is not that of a whole number of samples, the same in both.
pub fn select<'a>(runner: impl Into<Runner<'a>>, selection: &Selection, fill: f32, input: &[f32], output: &mut [f32]) {
    let Selection { size: [height, width, channels], picks: [rows, columns, values], whole } = selection;
    let [out_height, out_width, out_channels] = selection.output();
    let (row, out_row) = (width * channels, out_width * out_channels);
    assert_eq!(input.len() / (height * row), output.len() / (out_height * out_row), "samples");
    assert_eq!(input.len() % (height * row) + output.len() % (out_height * out_row), 0, "samples are whole");
    by_line(
        runner.into(),
        out_row,
        output,
        1,
        #[inline(always)]
        |at, output| {
            for (line, y) in (at.start / out_row..).zip(output.chunks_exact_mut(out_row)) {
                let Some(from) = rows.run(line % out_height).0 else {
                    y.fill(fill);
                    continue;
                };
                let x = &input[(line / out_height * height + from) * row..][..row];
                if *whole {
                    copy(columns, *channels, fill, x, y);
                    continue;
                }
                for (column, y) in y.chunks_exact_mut(out_channels).enumerate() {
                    match columns.run(column).0 {
                        Some(from) => copy(values, 1, fill, &x[from * channels..][..*channels], y),
                        None => y.fill(fill),
                    }
                }
            }
        },
    );
}

/// Copies what is picked along one axis, each place of which has `unit` values.
#[inline(always)]
fn copy(picks: &Picks, unit: usize, fill: f32, x: &[f32], y: &mut [f32]) {
    let (mut at, places) = (0, y.len() / unit);
    while at < places {
        let (from, n) = picks.run(at);
        let y = &mut y[at * unit..][..n * unit];
        match from {
            Some(from) => y.copy_from_slice(&x[from * unit..][..n * unit]),
            None => y.fill(fill),
        }
        at += n;
    }
}
