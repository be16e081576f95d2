//! Draws handwritten-looking digits as MNIST has them: 28x28 grey pixels, white ink on black, the digit scaled into a box
//! of 20x20 and moved until its centre of mass lies in the middle.
//!
//! Each digit is a skeleton of a few pen strokes through control points. A hand of its own (slant, tilt, proportions,
//! pen width, a shaky point here and there) comes from a seed, so the same seed draws the same digits everywhere.

/// Rows and columns of a drawn digit.
pub(crate) const SIZE: usize = 28;

/// The box into which the ink is scaled, in pixels.
const BOX: f64 = 20.0;

/// Curve pieces between two control points; at 20 pixels a piece is shorter than a pixel.
const PIECES: usize = 12;

type Point = [f64; 2];

/// A pen stroke: control points (right, down) in a unit square. A point given twice is a corner.
type Stroke = &'static [Point];

/// The ways to write each digit.
#[rustfmt::skip] // One stroke a line or two, not one point.
const GLYPHS: [&[&[Stroke]]; 10] = [
    &[
        &[&[[0.56, 0.0], [0.28, 0.12], [0.12, 0.5], [0.22, 0.86], [0.48, 1.0], [0.76, 0.86], [0.88, 0.5],
          [0.76, 0.12], [0.5, 0.0]]],
        &[&[[0.62, 0.04], [0.34, 0.06], [0.16, 0.34], [0.16, 0.7], [0.4, 0.98], [0.7, 0.9], [0.84, 0.6], [0.8, 0.2],
          [0.52, 0.02]]],
    ],
    &[
        &[&[[0.5, 0.0], [0.5, 0.35], [0.5, 0.7], [0.5, 1.0]]],
        &[&[[0.38, 0.2], [0.5, 0.08], [0.54, 0.0], [0.54, 0.0], [0.53, 0.5], [0.52, 1.0]]],
    ],
    &[
        &[&[[0.14, 0.22], [0.36, 0.02], [0.68, 0.06], [0.76, 0.3], [0.52, 0.64], [0.12, 0.98], [0.12, 0.98],
          [0.5, 0.97], [0.9, 0.98]]],
        &[&[[0.16, 0.18], [0.42, 0.0], [0.74, 0.12], [0.7, 0.42], [0.42, 0.8], [0.18, 0.96], [0.14, 0.82],
          [0.34, 0.78], [0.6, 0.94], [0.92, 0.96]]],
    ],
    &[
        &[&[[0.16, 0.12], [0.44, 0.0], [0.74, 0.1], [0.72, 0.34], [0.4, 0.47], [0.4, 0.47], [0.76, 0.58],
          [0.8, 0.84], [0.48, 1.0], [0.12, 0.9]]],
        &[&[[0.2, 0.06], [0.56, 0.02], [0.78, 0.16], [0.66, 0.38], [0.42, 0.46], [0.7, 0.54], [0.8, 0.78],
          [0.54, 0.99], [0.14, 0.94]]],
    ],
    &[
        &[
            &[[0.2, 0.02], [0.16, 0.28], [0.12, 0.52], [0.12, 0.52], [0.5, 0.54], [0.88, 0.5]],
            &[[0.76, 0.04], [0.72, 0.5], [0.68, 1.0]],
        ],
        &[
            &[[0.24, 0.0], [0.14, 0.34], [0.24, 0.54], [0.52, 0.52], [0.74, 0.4]],
            &[[0.8, 0.0], [0.76, 0.4], [0.7, 1.0]],
        ],
    ],
    &[
        &[
            &[[0.32, 0.04], [0.28, 0.24], [0.24, 0.46], [0.24, 0.46], [0.54, 0.4], [0.78, 0.58], [0.72, 0.88],
              [0.42, 1.0], [0.12, 0.9]],
            &[[0.32, 0.04], [0.58, 0.04], [0.86, 0.0]],
        ],
        &[&[[0.84, 0.02], [0.56, 0.04], [0.32, 0.06], [0.32, 0.06], [0.22, 0.44], [0.22, 0.44], [0.6, 0.42],
          [0.76, 0.66], [0.6, 0.94], [0.14, 0.98]]],
    ],
    &[
        &[&[[0.66, 0.0], [0.36, 0.24], [0.16, 0.62], [0.26, 0.94], [0.58, 0.98], [0.76, 0.76], [0.6, 0.56],
          [0.32, 0.64], [0.2, 0.82]]],
        &[&[[0.56, 0.0], [0.28, 0.36], [0.18, 0.72], [0.36, 0.98], [0.68, 0.92], [0.74, 0.66], [0.5, 0.56],
          [0.24, 0.74]]],
    ],
    &[
        &[&[[0.12, 0.06], [0.48, 0.06], [0.84, 0.03], [0.84, 0.03], [0.64, 0.4], [0.48, 0.7], [0.4, 1.0]]],
        &[&[[0.14, 0.16], [0.18, 0.05], [0.5, 0.06], [0.82, 0.04], [0.82, 0.04], [0.7, 0.36], [0.52, 0.66],
          [0.44, 1.0]]],
    ],
    &[
        &[&[[0.72, 0.12], [0.5, 0.0], [0.26, 0.16], [0.4, 0.42], [0.68, 0.64], [0.68, 0.9], [0.44, 1.0],
          [0.24, 0.84], [0.38, 0.58], [0.68, 0.34], [0.72, 0.12]]],
        &[
            &[[0.5, 0.0], [0.28, 0.1], [0.28, 0.36], [0.5, 0.47], [0.72, 0.34], [0.72, 0.1], [0.5, 0.0]],
            &[[0.5, 0.47], [0.24, 0.62], [0.24, 0.88], [0.5, 1.0], [0.76, 0.88], [0.76, 0.62], [0.5, 0.47]],
        ],
    ],
    &[
        &[&[[0.74, 0.2], [0.52, 0.0], [0.24, 0.16], [0.28, 0.42], [0.54, 0.46], [0.74, 0.22], [0.74, 0.22],
          [0.7, 0.6], [0.62, 1.0]]],
        &[&[[0.72, 0.1], [0.44, 0.02], [0.22, 0.24], [0.36, 0.46], [0.62, 0.38], [0.74, 0.1], [0.74, 0.1],
          [0.74, 0.5], [0.7, 1.0]]],
    ],
];

/// Draws `digit` (0 to 9) in the hand of `seed`; row-major, 0 is black and 255 is full ink.
pub(crate) fn draw(digit: usize, seed: u64) -> [u8; SIZE * SIZE] {
    let mut random = Random(seed.wrapping_mul(10).wrapping_add(digit as u64));
    let glyph = GLYPHS[digit][random.below(GLYPHS[digit].len())];
    // A leftward tilt is rare in handwriting, a rightward slant is not.
    let slant = random.between(-0.08, 0.32);
    let tilt = random.between(-0.08, 0.08);
    let width = 0.82 * random.between(0.82, 1.12);
    let shake = random.between(0.0, 0.022);
    let pen = random.between(0.95, 1.55);
    // Only operations that IEEE 754 defines to the bit, so that a seed draws the same picture on every machine.
    let (sin, cos) = (tilt, (1.0 - tilt * tilt).sqrt());
    let mut strokes: Vec<Vec<Point>> = glyph
        .iter()
        .map(|stroke| {
            let mut hand: Vec<Point> = Vec::with_capacity(stroke.len());
            for (i, &[x, y]) in stroke.iter().enumerate() {
                // Both halves of a corner shake as one.
                if i > 0 && stroke[i - 1] == [x, y] {
                    hand.push(hand[i - 1]);
                    continue;
                }
                let (x, y) = (x - 0.5 + shake * random.normal(), y - 0.5 + shake * random.normal());
                let x = width * x - slant * y;
                hand.push([cos * x - sin * y, sin * x + cos * y]);
            }
            smooth(&hand)
        })
        .collect();
    fit(&mut strokes, pen);
    let [x, y] = centre_of_mass(&rasterise(&strokes, pen));
    let middle = SIZE as f64 / 2.0;
    strokes.iter_mut().flatten().for_each(|p| *p = [p[0] + middle - x, p[1] + middle - y]);
    rasterise(&strokes, pen)
}

/// A Catmull-Rom spline through the points, as a polyline; equal neighbours make a corner.
fn smooth(points: &[Point]) -> Vec<Point> {
    let at = |i: usize| points[i.min(points.len() - 1)];
    let mut line = vec![at(0)];
    for i in 0..points.len() - 1 {
        if at(i) == at(i + 1) {
            continue;
        }
        let (before, from, to, after) = (at(i.saturating_sub(1)), at(i), at(i + 1), at(i + 2));
        for piece in 1..=PIECES {
            let t = piece as f64 / PIECES as f64;
            line.push(std::array::from_fn(|axis| {
                let (p, a, b, n) = (before[axis], from[axis], to[axis], after[axis]);
                let (slope_a, slope_b) = ((b - p) / 2.0, (n - a) / 2.0);
                a + t
                    * (slope_a
                        + t * (3.0 * (b - a) - 2.0 * slope_a - slope_b + t * (2.0 * (a - b) + slope_a + slope_b)))
            }));
        }
    }
    line
}

/// Scales the strokes, pen width included, into the box in the middle of the picture.
fn fit(strokes: &mut [Vec<Point>], pen: f64) {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for point in strokes.iter().flatten() {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let scale = (BOX - 2.0 * pen) / (high[0] - low[0]).max(high[1] - low[1]);
    for point in strokes.iter_mut().flatten() {
        *point = std::array::from_fn(|axis| SIZE as f64 / 2.0 + scale * (point[axis] - (low[axis] + high[axis]) / 2.0));
    }
}

/// Ink where the pen, a disc of radius `pen` pixels, has been; its edge is one pixel soft.
fn rasterise(strokes: &[Vec<Point>], pen: f64) -> [u8; SIZE * SIZE] {
    std::array::from_fn(|i| {
        let pixel = [(i % SIZE) as f64 + 0.5, (i / SIZE) as f64 + 0.5];
        let segments = strokes.iter().flat_map(|stroke| stroke.windows(2));
        let distance =
            segments.map(|ends| squared_distance(pixel, ends[0], ends[1])).fold(f64::INFINITY, f64::min).sqrt();
        (255.0 * (pen + 0.5 - distance).clamp(0.0, 1.0)).round() as u8
    })
}

/// The square of a point's distance from a line segment.
fn squared_distance(point: Point, from: Point, to: Point) -> f64 {
    let along = [to[0] - from[0], to[1] - from[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let dot = (point[0] - from[0]) * along[0] + (point[1] - from[1]) * along[1];
    let t = if length > 0.0 { (dot / length).clamp(0.0, 1.0) } else { 0.0 };
    let off = [point[0] - from[0] - t * along[0], point[1] - from[1] - t * along[1]];
    off[0] * off[0] + off[1] * off[1]
}

/// Where the ink balances, in pixels (right, down).
fn centre_of_mass(image: &[u8; SIZE * SIZE]) -> Point {
    let mut sums = [0.0; 3];
    for (i, &ink) in image.iter().enumerate() {
        let ink = f64::from(ink);
        sums[0] += ink * ((i % SIZE) as f64 + 0.5);
        sums[1] += ink * ((i / SIZE) as f64 + 0.5);
        sums[2] += ink;
    }
    [sums[0] / sums[2], sums[1] / sums[2]]
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine and in every version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Nearly standard normal: the sum of twelve uniform values.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.between(0.0, 1.0)).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_is_centred_and_fills_its_box() {
        for digit in 0..10 {
            for seed in 0..200 {
                let image = draw(digit, seed);
                let [x, y] = centre_of_mass(&image);
                assert!((x - 14.0).abs() < 0.2 && (y - 14.0).abs() < 0.2, "{digit} of seed {seed}: {x} {y}");
                let inked = |keep: &dyn Fn(usize) -> usize| {
                    let lines: Vec<usize> = (0..SIZE * SIZE).filter(|&i| image[i] > 60).map(keep).collect();
                    lines.iter().max().unwrap() + 1 - lines.iter().min().unwrap()
                };
                let (columns, rows) = (inked(&|i| i % SIZE), inked(&|i| i / SIZE));
                assert!((18..=22).contains(&rows.max(columns)), "{digit} of seed {seed}: {rows} x {columns}");
                let ink = image.iter().filter(|&&ink| ink > 127).count();
                assert!((25..260).contains(&ink), "{digit} of seed {seed}: {ink} inked pixels");
            }
        }
    }

    #[test]
    fn a_seed_is_a_hand() {
        assert_eq!(draw(5, 7), draw(5, 7));
        for digit in 0..10 {
            assert_ne!(draw(digit, 1), draw(digit, 2), "{digit}");
        }
    }

    /// The nearest mean of other hands already tells most digits apart, so they are drawn distinctly.
    #[test]
    fn digits_differ_more_than_hands() {
        const HANDS: u64 = 60;
        let mut means = vec![[0.0; SIZE * SIZE]; 10];
        for (digit, mean) in means.iter_mut().enumerate() {
            for seed in 0..HANDS {
                let image = draw(digit, seed);
                mean.iter_mut().zip(image).for_each(|(m, ink)| *m += f64::from(ink) / HANDS as f64);
            }
        }
        let (mut right, mut all) = (0, 0);
        for digit in 0..10 {
            for seed in HANDS..2 * HANDS {
                let image = draw(digit, seed);
                let far = |mean: &[f64; SIZE * SIZE]| -> f64 {
                    mean.iter().zip(image).map(|(m, ink)| (m - f64::from(ink)).powi(2)).sum()
                };
                let nearest = (0..10).min_by(|&a, &b| far(&means[a]).total_cmp(&far(&means[b])));
                right += usize::from(nearest == Some(digit));
                all += 1;
            }
        }
        assert!(right * 10 >= all * 9, "{right} of {all}");
    }
}
