//! Sums that only their sign is read of, decided by a comparison of integers.
//!
//! At order 1 a layer's output is y = f(b alpha s) for the integer s = base - 2 c, c being the bits that differ, and f the
//! epilogue. Each step rounds a monotone function, and rounding is monotone, so y is monotone in s: the sign that the next
//! layer packs is `c > t` or its opposite, with t by filter and border class. The thresholds are found by bisection with the
//! very operations of the epilogue, so the bits are the same.
//!
//! Behind a pool the sign is that of f(max of y), f being the steps after it: negative where all y make it so if f rises, and
//! where one does if f falls.

use crate::backends::{Backend, Op};
use crate::binary::borders::Borders;
use crate::error::Error;
use crate::memory::{bytes, filled, with_capacity};
use crate::shape::Geometry;
use crate::simd::{LANES, Simd, WORD_BITS};
use crate::tiles::Step;

/// The thresholds of a layer.
#[derive(Clone, Debug)]
pub struct Thresholds {
    /// `[border class][padded filter]`.
    table: Vec<i32>,
    /// The lanes of each panel in which the sign is set at and below the threshold.
    flips: Vec<u16>,
    /// The lanes of each panel in which one window with the sign set is enough to set it behind a pool.
    any: Vec<u16>,
    filters: usize,
}

impl Thresholds {
    /// Bytes of those of a layer whose table takes `table` bytes.
    pub(crate) fn bytes(geometry: &Geometry, table: usize) -> usize {
        table.saturating_add(2 * bytes::<u16>(&[geometry.padded_filters() / LANES]))
    }

    /// The thresholds of a border class.
    #[inline(always)]
    pub(crate) fn of(&self, class: usize) -> &[i32] {
        &self.table[class * self.filters..][..self.filters]
    }

    /// The lanes to turn round in each panel.
    #[inline(always)]
    pub(crate) fn flips(&self) -> &[u16] {
        &self.flips
    }

    /// The lanes of each panel in which one window under a pool sets the sign; in the others it takes all of them.
    #[inline(always)]
    pub(crate) fn any(&self) -> &[u16] {
        &self.any
    }
}

/// Finds the thresholds of a layer with one weight basis; none where the epilogue is not monotone or a value overflows.
pub(crate) struct FindThresholds<'a> {
    pub geometry: &'a Geometry,
    pub borders: &'a Borders,
    pub scale: f32,
    /// Whether the mode is [`crate::ScaleMode::Halving`], whose factors of the sum are multiplied first.
    pub halves: bool,
    pub alpha: &'a [f32],
    pub steps: &'a [Step<'a>],
    /// [`crate::BinarySpec::pool`].
    pub pool: Option<usize>,
}

impl Op for FindThresholds<'_> {
    type Output = Result<Option<Thresholds>, Error>;

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> Result<Option<Thresholds>, Error> {
        if !self.steps.iter().all(Step::is_monotone) {
            return Ok(None);
        }
        let filters = self.geometry.padded_filters();
        let panels = filters / LANES;
        // Sums lie between these: a window differs in no bit or in all, and padded taps add as much to the base as to the count.
        let depth = (self.geometry.window.taps() * self.geometry.group_words() * WORD_BITS) as i32;
        let table = filled(self.borders.classes() * filters, 0)?;
        let mut found = Thresholds { table, flips: with_capacity(panels)?, any: with_capacity(panels)?, filters };
        for panel in 0..panels {
            let filter = panel * LANES;
            let signs = |s: &[i32; LANES]| self.signs(simd, filter, s);
            let (Some(low), Some(high)) = (signs(&[-depth; LANES]), signs(&[depth; LANES])) else { return Ok(None) };
            // The first sum whose sign is that of the highest, found in all lanes at once; lanes of one sign have none.
            let [mut before, mut first] = [[-depth; LANES], [depth; LANES]];
            while (0..LANES).any(|lane| first[lane] - before[lane] > 1) {
                let mut middle = [0; LANES];
                for lane in 0..LANES {
                    middle[lane] = before[lane] + (first[lane] - before[lane]) / 2;
                }
                let Some(signs) = signs(&middle) else { return Ok(None) };
                for lane in 0..LANES {
                    if (signs ^ high) >> lane & 1 == 0 {
                        first[lane] = middle[lane];
                    } else {
                        before[lane] = middle[lane];
                    }
                }
            }
            let of_group = self.geometry.group_panels();
            let lanes = LANES.min(self.geometry.group_filters() - panel % of_group * LANES);
            for class in 0..self.borders.classes() {
                let bases = &self.borders.of(0, class)[filter..][..LANES];
                // No count is above the thresholds of filters that are only padding: their bits stay zero.
                found.table[class * filters + filter..][lanes..LANES].fill(i32::MAX);
                for lane in 0..lanes {
                    // s >= first where 2 c <= base - first. A sign that never changes has its threshold below every count.
                    let changes = (low ^ high) >> lane & 1 == 1;
                    let threshold = if changes { (bases[lane] - first[lane]).div_euclid(2) } else { -1 };
                    found.table[class * filters + filter + lane] = threshold;
                }
            }
            // Above the threshold the sign is that of the lowest sum.
            found.flips.push(!low & ((1u32 << lanes) - 1) as u16);
            found.any.push(self.falls(filter));
        }
        Ok(Some(found))
    }
}

impl FindThresholds<'_> {
    /// The lanes in which the steps after the pool fall.
    fn falls(&self, filter: usize) -> u16 {
        let mut falls = 0;
        for step in &self.steps[self.pool.unwrap_or(0)..] {
            if let Step::Affine { scale, .. } = step {
                for lane in 0..LANES {
                    falls ^= u16::from(scale[filter + lane] < 0.0) << lane;
                }
            }
        }
        falls
    }

    /// The signs of sixteen filters' outputs at these sums; none if one is not finite.
    #[inline(always)]
    fn signs<S: Simd>(&self, simd: S, filter: usize, sums: &[i32; LANES]) -> Option<u16> {
        // SAFETY: `sums` and the zeros hold sixteen values, alpha and the steps' vectors sixteen from `filter` on.
        unsafe {
            let products = simd.sums(sums.as_ptr(), [0; LANES].as_ptr());
            let (scale, alpha) = (simd.splat_float(self.scale), simd.load_floats(self.alpha.as_ptr().add(filter)));
            let y = if self.halves {
                simd.mul(simd.mul(alpha, scale), products)
            } else {
                simd.mul(alpha, simd.add(simd.splat_float(0.0), simd.mul(scale, products)))
            };
            let mut rows = [y];
            for step in self.steps {
                step.apply(simd, &mut rows, filter, 0, 0, LANES);
            }
            let finite = simd.less(simd.abs(rows[0]), simd.splat_float(f32::INFINITY));
            (finite == u16::MAX).then(|| simd.less(rows[0], simd.splat_float(0.0)))
        }
    }
}
