//! How a binary layer multiplies: by popcount or from byte tables.

use crate::backends::{Isa, try_dispatch};
use crate::binary::scales::ScaleMode;
use crate::binary::spec::BinarySpec;
use crate::binary::tables::FormOfTables;

/// How the products of a binary layer are computed; every way gives the same bits.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryKernel {
    /// The differing bits of each plane are counted: work grows with the order.
    Popcount,
    /// Sums of four products of all planes are looked up in tables of sixteen bytes, which are made once a pixel
    /// ([`ScaleMode::Halving`] only, up to order 5, or 6 with AVX-512 VBMI).
    Tables,
}

/// Filters of a group from which on tables, which are made for all of them together, pay at order 2 (Zen 3, AVX2, 64 channels, 3 x 3
/// taps: 0.97 of the time of popcount with 16 filters, 0.80 with 32).
const MIN_FILTERS: usize = 32;

/// Products of an output from which on tables pay at the lowest order at which they do (order 1 on Zen 3, AVX2, 3 x 3 taps: 0.98 of
/// the time of popcount with 64 channels, 0.85 with 128).
const MIN_DEPTH: usize = 9 * 128;

impl BinaryKernel {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Popcount => "popcount",
            Self::Tables => "tables",
        }
    }

    /// Whether layers of a mode can run this way at an order on a backend, which this CPU must have.
    pub(crate) fn is_possible(self, isa: Isa, mode: ScaleMode, order: usize) -> bool {
        match self {
            Self::Popcount => true,
            Self::Tables => {
                mode.halves() && try_dispatch(isa, FormOfTables).is_some_and(|form| order <= form.max_order)
            }
        }
    }

    /// The faster way on a backend, by a rule that was measured where it says so. [`crate::BinaryConv::kernel`] tells what a layer
    /// takes.
    pub fn choose(isa: Isa, spec: &BinarySpec, order: usize) -> Self {
        let from = match isa {
            // Measured on Zen 3, 3 x 3 taps from 28 x 28 x 128 to 7 x 7 x 512: order 2 takes 0.43 to 0.45 of the time of popcount,
            // order 4 0.23 to 0.26.
            // At order 1 they gain 10 to 15 %, which is not worth a copy of the weights where no other order takes one.
            Isa::Avx2 if spec.max_order > 1 && spec.geometry.depth() >= MIN_DEPTH => 1,
            Isa::Avx2 | Isa::Sse42 => 2,
            // By its instructions, not measured: one table lookup stands against the three of a count.
            Isa::Neon => 3,
            // Measured on a Xeon of family 6 model 207 (Golden Cove), from 56 x 56 x 64 on: order 1 takes 1.14 to 1.7 of the time of
            // popcount, order 2 0.56 to 0.65, order 4 0.37 to 0.41.
            Isa::Avx512Bw => 2,
            // Measured there, from 28 x 28 x 128 on: order 2 takes 0.87 to 1.02 of the time of popcount, order 3 0.58 to 0.64, order 4
            // 0.46 to 0.48. 56 x 56 x 64 takes about 1.02, 0.70 and 0.5.
            Isa::Avx512Vpopcnt if spec.geometry.depth() >= MIN_DEPTH => 2,
            Isa::Avx512Vpopcnt => 3,
            // No instruction looks up bytes.
            Isa::Portable => usize::MAX,
        };
        let pays = order >= from && spec.geometry.group_filters() >= MIN_FILTERS;
        if pays && Self::Tables.is_possible(isa, spec.mode, order) { Self::Tables } else { Self::Popcount }
    }
}
