//! Convolution and matrix product of residual-quantized activations with binary weights.

mod planes;
mod products;
mod tables;

use self::products::Rows;
use crate::backends::{Backend, Isa, Op, dispatch};
use crate::binary::borders::Borders;
use crate::binary::handover::PlaneLayout;
use crate::binary::kernel::BinaryKernel;
use crate::binary::scales::MAX_ORDER;
use crate::binary::spec::{
    BinaryCall, BinaryInput, BinaryMemory, BinaryScratch, BinarySpec, Sample, SampleInput, ScratchLen,
};
use crate::binary::tables::TableWeights;
use crate::binary::thresholds::{FindThresholds, Thresholds};
use crate::clock::{Stage, timed};
use crate::error::Error;
use crate::memory::Memory;
use crate::parallel::{Disjoint, Pieces};
use crate::shape::{Geometry, MAX_ELEMENTS, Window, Windows};
use crate::simd::LANES;
use crate::tiles::count::parity;
use crate::tiles::{Epilogue, Step};

/// Panels from which on the parity basis pays for parities that only one window uses.
const MIN_PANELS: usize = 8;

/// A binary layer prepared for one shape and instruction set. A matrix product is [`Geometry::dense`].
#[derive(Debug)]
pub struct BinaryConv {
    spec: BinarySpec,
    isa: Isa,
    /// Rows and columns of the convolution.
    out: [usize; 2],
    /// Rows and columns of the output, after a pool.
    pooled: [usize; 2],
    windows: Windows,
    borders: Borders,
    bases: usize,
    /// Words from a plane to its parities, where the layer counts triples ([`crate::tiles::count::parity`]).
    parity: Option<usize>,
    /// How calls of all orders multiply if the rule is not asked.
    forced: Option<BinaryKernel>,
    /// The weights for calls that multiply from tables.
    tables: Option<TableWeights>,
}

impl BinaryConv {
    /// Checks the shapes and prepares the tables of the padded borders, for which it reads `bases` once.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size does not fit; [`Error::MissingIsa`] if this CPU lacks `isa`; [`Error::Memory`] if there is
    /// no memory for the tables.
    pub fn new(isa: Isa, spec: BinarySpec, bases: &[&[u32]]) -> Result<Self, Error> {
        Self::with_kernel(isa, spec, bases, None)
    }

    /// As [`Self::new`], with calls that multiply in a given way where that is possible, rather than in the fastest: for
    /// measurements and tests.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_kernel(
        isa: Isa,
        spec: BinarySpec,
        bases: &[&[u32]],
        kernel: Option<BinaryKernel>,
    ) -> Result<Self, Error> {
        let mut conv = Self { forced: kernel, ..Self::without_tables(isa, spec, bases.len())? };
        let geometry = &conv.spec.geometry;
        if let Some(panels) = bases.iter().find(|panels| panels.len() != geometry.bit_panel_len()) {
            let (found, wanted) = (panels.len(), geometry.bit_panel_len());
            return Err(Error::Shape(format!(
                "a weight basis holds {found} words of panels, the layer needs {wanted}"
            )));
        }
        conv.borders = Borders::new(isa, geometry, spec.padding, conv.out, bases)?;
        if !conv.is_contiguous() {
            conv.windows.place()?;
        }
        conv.prepare_tables(bases)?;
        Ok(conv)
    }

    /// What a layer with that many weight bases takes, whose input comes as values; allocates nothing of it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn memory(isa: Isa, spec: BinarySpec, bases: usize) -> Result<BinaryMemory, Error> {
        let conv = Self::without_tables(isa, spec, bases)?;
        let [borders, table] = Borders::bytes(&spec.geometry, spec.padding, conv.out, bases);
        let places = if conv.is_contiguous() { 0 } else { conv.windows.places_bytes() };
        let tables = borders.saturating_add(places).saturating_add(conv.table_weights_bytes());
        let of = |ScratchLen { words, scales }| Memory { tables, words, floats: scales };
        let (of_values, of_planes) = (of(conv.scratch_len()), of(conv.scratch_len_of_planes()));
        Ok(BinaryMemory { of_values, of_planes, thresholds: Thresholds::bytes(&spec.geometry, table) })
    }

    /// The layer, all but what lists and weights take memory for.
    fn without_tables(isa: Isa, spec: BinarySpec, bases: usize) -> Result<Self, Error> {
        let geometry = spec.geometry;
        let out = geometry.validate()?;
        let possible = (1..=MAX_ORDER).contains(&spec.max_order) && (1..=MAX_ELEMENTS).contains(&spec.max_batch);
        if !possible || bases == 0 {
            return Err(Error::Shape(format!(
                "order {} (1 to {MAX_ORDER} is possible), batch {} (1 to {MAX_ELEMENTS}) and {bases} weight bases (at least 1) do not make a layer",
                spec.max_order, spec.max_batch,
            )));
        }
        let pooled = spec.output()?;
        let windows = Windows::of_bits(&geometry, out[1], None);
        let isa = isa.check()?;
        let mut conv = Self {
            isa,
            spec,
            out,
            pooled,
            windows,
            borders: Borders::default(),
            bases,
            parity: None,
            forced: None,
            tables: None,
        };
        conv.count_triples();
        if spec.pool.is_some() {
            conv.windows.pool();
        }
        let (lines, words) = (conv.lines().checked_mul(spec.max_order), conv.plane_len().checked_mul(spec.max_order));
        match (lines, words) {
            (Some(lines), Some(words)) if lines.max(words) <= MAX_ELEMENTS => Ok(conv),
            _ => Err(Error::Shape(format!(
                "the planes of {} samples at order {} are too large",
                spec.max_batch, spec.max_order
            ))),
        }
    }

    /// Chooses the parity basis where it wins.
    fn count_triples(&mut self) {
        let geometry = &self.spec.geometry;
        let words = self.plane_len().saturating_mul(self.spec.max_order);
        let fits = words.saturating_mul(2) <= MAX_ELEMENTS;
        let rows = self.lines() * self.spec.max_order;
        if !fits || rows < parity::MIN_ROWS || !dispatch(self.isa, TakesTriples) {
            return;
        }
        let windows = Windows::of_bits(geometry, self.out[1], Some(words));
        let wins = if self.is_contiguous() {
            // Here a parity is made for each tap of each window.
            self.line() >= parity::MIN_WORDS && geometry.group_panels() >= MIN_PANELS
        } else {
            3 * windows.triples() >= parity::MIN_SHARED
        };
        if wins {
            self.parity = Some(words);
            self.windows = windows;
        }
    }

    /// Windows of a sample: all of the convolution, or those that a pool reads.
    pub fn windows(&self) -> usize {
        self.pooled[0] * self.pooled[1] * self.windows.joined().len()
    }

    /// The scratch that [`Self::run`] needs.
    pub fn scratch_len(&self) -> ScratchLen {
        let order = self.spec.max_order;
        let (words, scales) = (self.plane_len() * order, if self.by_window() { self.lines() * order } else { order });
        // Behind the planes and scales: the signs of the pixels, which windows copy, and the lanes of every run.
        let signs = if self.by_window() { self.runs() * self.spec.geometry.group_words() } else { 0 };
        let words = words + self.parity.unwrap_or(0) + signs + self.tables_len();
        ScratchLen { words, scales: scales + self.runs() * LANES }
    }

    /// The thresholds with which [`crate::Packing`] decides an order-1 output by its counts, for a layer with one weight basis whose
    /// first plane has the constant `scale` (b in mode [`ScaleMode::Halving`](crate::ScaleMode::Halving), 1 in mode
    /// [`ScaleMode::None`](crate::ScaleMode::None)); none where the epilogue is not monotone in the sum
    /// (an addend, a negative slope), where a value overflows, or where there are several bases.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for them.
    ///
    /// # Panics
    /// If a vector is too short, or the steps before the layer's pool are not there or add values.
    pub fn thresholds(&self, scale: f32, alpha: &[f32], steps: &[Step<'_>]) -> Result<Option<Thresholds>, Error> {
        let geometry = &self.spec.geometry;
        assert!(alpha.len() >= geometry.padded_filters(), "alpha needs a value a padded filter");
        Epilogue { steps }.check(geometry.padded_filters(), 0);
        self.check_pool(steps);
        let (pool, halves) = (self.spec.pool, self.spec.mode.halves());
        let find = FindThresholds { geometry, borders: &self.borders, scale, halves, alpha, steps, pool };
        if self.spec.mode.is_constant() && self.bases == 1 { dispatch(self.isa, find) } else { Ok(None) }
    }

    /// The scratch that [`Self::run`] needs in calls whose input comes as planes.
    pub fn scratch_len_of_planes(&self) -> ScratchLen {
        // Planes are shared, so those that get parities are copied.
        ScratchLen { words: self.parity.map_or(0, |words| 2 * words) + self.tables_len(), scales: self.spec.max_order }
    }

    /// Computes `output[sample][row][column][filter]`:
    /// y = sum_l alpha_l (sum_k b_k (H_k . B_l)), then the epilogue; each product and sum rounded on its own, in that order; in
    /// mode [`ScaleMode::Halving`](crate::ScaleMode::Halving) y = sum_l (alpha_l b_K) (sum_k 2^(K-k) (H_k . B_l)) with an integer in the last brackets;
    /// where the layer pools ([`BinarySpec::pool`]), rows and columns are those after it.
    /// Where the call packs its output, `output` may be empty.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the input, or an output to be packed, is NaN or infinite; the output is then unspecified.
    ///
    /// # Panics
    /// If a length does not match the spec, the steps before its pool are not there or add values, or b of mode
    /// [`ScaleMode::Halving`](crate::ScaleMode::Halving) is not finite or less than [`crate::MIN_HALVING_SCALE`].
    pub fn run(&self, call: BinaryCall<'_>, output: &mut [f32], scratch: BinaryScratch<'_>) -> Result<(), Error> {
        let geometry = &self.spec.geometry;
        let (input_len, output_len) = (geometry.input_len(), self.pooled[0] * self.pooled[1] * geometry.filters);
        let samples = match call.input {
            BinaryInput::Values(input) => {
                assert!(input.len().is_multiple_of(input_len), "the input must be whole samples");
                input.len() / input_len
            }
            BinaryInput::Planes { words, samples } => {
                let layout = PlaneLayout::new(&self.spec).expect("a layer that takes planes");
                assert!(
                    words.len() >= layout.len(),
                    "planes of {} words where {} are needed",
                    words.len(),
                    layout.len()
                );
                samples
            }
        };
        assert!(
            samples <= self.spec.max_batch,
            "{samples} samples are more than the {} prepared for",
            self.spec.max_batch
        );
        if let Some(pack) = call.pack {
            let shape = [self.pooled[0], self.pooled[1], geometry.filters];
            assert_eq!(pack.into.shape(), shape, "the planes must be those of the layer's output");
            let whole = geometry.groups == 1 || geometry.group_filters().is_multiple_of(LANES);
            assert!(whole, "groups of filters that do not fill panels cannot be packed");
        }
        let values = !output.is_empty() || call.pack.is_none();
        assert!(!values || output.len() == samples * output_len, "the output must match the input's samples");
        assert!((1..=self.spec.max_order).contains(&call.order), "order {} is not prepared", call.order);
        assert_eq!(call.bases.len(), self.bases, "the weight bases must be those of the constructor");
        for base in call.bases {
            assert_eq!(base.panels.len(), geometry.bit_panel_len(), "panels of the wrong length");
            assert!(base.alpha.len() >= geometry.padded_filters(), "alpha needs a value a padded filter");
        }
        call.epilogue.check(geometry.padded_filters(), samples * output_len);
        self.check_pool(call.epilogue.steps);
        let needed = match call.input {
            BinaryInput::Values(_) => self.scratch_len(),
            BinaryInput::Planes { .. } => self.scratch_len_of_planes(),
        };
        assert!(scratch.words.len() >= needed.words && scratch.scales.len() >= needed.scales, "scratch too small");
        let output = values.then(|| Disjoint::new(output));
        if self.is_flat() {
            // One row a sample: the samples become the pixels of an image one pixel high.
            let geometry = Geometry { width: samples, window: Window::square(1), ..*geometry };
            let sample = Sample {
                geometry: &geometry,
                input: match call.input {
                    BinaryInput::Values(input) => SampleInput::Image(input),
                    BinaryInput::Planes { words, .. } => SampleInput::Planes(words),
                },
                rows: samples,
                by_window: self.by_window(),
                first_output: 0,
                number: 0,
            };
            return self.sample(&call, &sample, output, scratch);
        }
        for i in Pieces::single(call.parallel, samples) {
            let sample = Sample {
                geometry,
                input: match call.input {
                    BinaryInput::Values(input) => SampleInput::Image(&input[i * input_len..][..input_len]),
                    BinaryInput::Planes { words, .. } => {
                        SampleInput::Planes(&words[i * self.spec.max_order * self.plane_len()..])
                    }
                },
                rows: self.pooled[0] * self.pooled[1],
                by_window: self.by_window(),
                first_output: i * output_len,
                number: i,
            };
            self.sample(
                &call,
                &sample,
                output,
                BinaryScratch { words: &mut *scratch.words, scales: &mut *scratch.scales },
            )?;
        }
        Ok(())
    }

    /// Panics unless the pool can stand where it does in these steps.
    fn check_pool(&self, steps: &[Step<'_>]) {
        let Some(before) = self.spec.pool else { return };
        let fits = before <= steps.len() && !steps[..before].iter().any(|step| matches!(step, Step::Add(_)));
        assert!(fits, "a pool stands behind {before} of {} steps, none of which adds values", steps.len());
    }

    fn is_flat(&self) -> bool {
        self.spec.is_flat()
    }

    /// Whether each row of the product has its words to itself, one after another.
    fn is_contiguous(&self) -> bool {
        self.by_window() || self.is_flat()
    }

    /// Words of a window in one group.
    fn line(&self) -> usize {
        self.spec.geometry.window.taps() * self.spec.geometry.group_words()
    }

    /// Whether each window has scales of its own; the whole input of a matrix product's sample is one window.
    fn by_window(&self) -> bool {
        self.spec.mode.is_per_window() || !self.spec.mode.is_constant() && self.is_flat()
    }

    /// Windows of a group, all groups, that a call works on at a time.
    fn lines(&self) -> usize {
        let rows = if self.is_flat() { self.spec.max_batch } else { self.out[0] * self.out[1] };
        rows * self.spec.geometry.groups
    }

    /// Runs that have lanes of their own: the groups of each pixel, or the rows of an image whose windows share scales.
    fn runs(&self) -> usize {
        let geometry = &self.spec.geometry;
        let pixels = if self.is_flat() { self.spec.max_batch } else { geometry.height * geometry.width };
        match self.by_window() {
            true => pixels * geometry.groups,
            false if self.spec.mode.is_constant() => 0,
            false => geometry.height,
        }
    }

    /// Words of one plane.
    fn plane_len(&self) -> usize {
        let geometry = &self.spec.geometry;
        if self.is_contiguous() {
            self.lines() * geometry.window.taps() * geometry.group_words()
        } else {
            self.windows.len
        }
    }

    fn sample(
        &self,
        call: &BinaryCall<'_>,
        sample: &Sample<'_>,
        output: Option<Disjoint<'_, f32>>,
        scratch: BinaryScratch<'_>,
    ) -> Result<(), Error> {
        let BinaryScratch { words, scales } = scratch;
        let (words, tables) = words.split_at_mut(words.len() - self.tables_len());
        let takes_tables = self.kernel(call.order) == BinaryKernel::Tables;
        match sample.input {
            SampleInput::Image(image) => {
                timed(call.clock, Stage::Quantize, || {
                    if sample.by_window {
                        self.quantize_windows(call, sample, image, words, scales)
                    } else {
                        self.quantize_image(call, sample, image, words, scales)
                    }
                })?;
                if takes_tables {
                    self.look_up(call, sample, words, tables, scales, output);
                } else {
                    let triples = timed(call.clock, Stage::Bits, || self.parities(call, sample, words));
                    self.multiply(call, sample, &Rows::all(sample, words), triples, scales, output);
                }
            }
            SampleInput::Planes(planes) => {
                self.spec.mode.constant_scales(call.scales, &mut scales[..call.order]);
                if takes_tables {
                    self.look_up(call, sample, planes, tables, scales, output);
                } else if self.parity.is_some() {
                    let triples = timed(call.clock, Stage::Bits, || {
                        let len = self.plane_len() * call.order;
                        words[..len].copy_from_slice(&planes[..len]);
                        self.parities(call, sample, words)
                    });
                    self.multiply(call, sample, &Rows::all(sample, words), triples, scales, output);
                } else {
                    self.multiply(call, sample, &Rows::all(sample, planes), false, scales, output);
                }
            }
        }
        let overflowed = call.pack.is_some_and(|pack| pack.into.overflowed());
        if overflowed { Err(Error::NotFinite) } else { Ok(()) }
    }
}

/// Asks a backend whether it takes triples.
struct TakesTriples;

impl Op for TakesTriples {
    type Output = bool;

    #[inline(always)]
    fn run<S: Backend>(self, _: S) -> bool {
        S::PARITY
    }
}
