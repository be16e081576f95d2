//! Layers measured in many ways, in turns: the scalar loop, the crate `gemm`, and variants of ours.

use crate::baselines::{fast_product, im2col, scalar_conv};
use crate::cases::Layer;
use crate::harness::Harness;
use crate::report::record::Record;
use crate::rounds::{Point, Rounds};
use crate::variants::{Operands, Scratch, Variant};
use horq_kernels::{Isa, Parallel, StageClock};
use horq_probe::peak::Unit;
use std::rc::Rc;

/// A layer on a backend, and what runs.
pub(crate) struct Case {
    pub layer: Layer,
    pub isa: Isa,
    pub variants: Vec<Variant>,
    /// Whether the papers' scalar loop runs, too.
    pub scalar: bool,
}

/// Times each layer as the scalar loop, as the fastest float product there is, and in each variant; all of them take turns. Emits
/// all records, and gives those of the variants, a list for each case.
///
/// # Errors
/// A message if a shape is none, does not fit, or a line cannot be written.
pub(crate) fn layers(harness: &mut Harness, suite: &str, cases: &[Case]) -> Result<Vec<Vec<Record>>, String> {
    let operands = Operands::of_layers(cases.iter().map(|case| &case.layer), true)?;
    let mut points = Vec::new();
    for case in cases {
        case.points(&operands, &mut points)?;
    }
    harness.take_turns(suite, &mut points);
    let mut points = points.into_iter();
    cases.iter().map(|case| case.emit(harness, suite, &mut points)).collect()
}

impl Case {
    /// Adds its points: the scalar loop if it runs, the float product, each variant.
    fn points(&self, operands: &Rc<Operands>, points: &mut Vec<Point<'static>>) -> Result<(), String> {
        let Layer { geometry, samples } = self.layer;
        let (name, sizes) = (self.layer.name(), self.layer.sizes()?);
        let lens = [samples * geometry.input_len(), sizes[1] * sizes[2]];
        let label = |what: &str| format!("{name} {}: {what}", self.isa);
        if self.scalar {
            // One row in the middle of the image stands for all of them.
            let row = self.scalar_row()?;
            let operands = operands.clone();
            points.push(Point::new(label("scalar loop"), None, None, move |_, _| {
                let output = &mut operands.scratch.borrow_mut().output;
                scalar_conv(&geometry, &operands.input[..lens[0]], &operands.weights[..lens[1]], row.clone(), output);
            }));
        }
        let floats = operands.clone();
        points.push(Point::new(label("float"), Some(Unit::Float), None, move |workers, _| {
            let Operands { input, weights, scratch } = &*floats;
            let Scratch { unfolded, output } = &mut *scratch.borrow_mut();
            let (input, weights, threads) = (&input[..lens[0]], &weights[..lens[1]], workers.threads());
            // Rows of a product lie as they are needed.
            let unfolded = (samples == 1).then(|| &mut unfolded[..sizes[0] * sizes[2]]);
            workers.install(|| match unfolded {
                Some(unfolded) => {
                    im2col(&geometry, input, unfolded);
                    fast_product(sizes, unfolded, weights, output, threads);
                }
                None => fast_product(sizes, input, weights, output, threads),
            });
        }));
        for variant in &self.variants {
            let mut run = variant.prepare(self.isa, &self.layer, operands)?;
            let (label, unit) = (label(&variant.label()), Some(variant.unit()));
            let point = Point::new(label, unit, Some(self.isa), move |workers, clock| run(workers, clock));
            points.push(point.with_tables(variant.tables(self.isa, &self.layer)));
        }
        Ok(())
    }

    /// The pixels that the scalar loop computes.
    fn scalar_row(&self) -> Result<std::ops::Range<usize>, String> {
        let [rows, columns] = self.layer.geometry.validate().map_err(|error| error.to_string())?;
        Ok(rows / 2 * columns..(rows / 2 + 1) * columns)
    }

    /// Takes its points, which have been measured, and emits their records.
    fn emit(
        &self,
        harness: &mut Harness,
        suite: &str,
        points: &mut impl Iterator<Item = Point<'static>>,
    ) -> Result<Vec<Record>, String> {
        let (name, sizes, macs) = (self.layer.name(), self.layer.sizes()?, self.layer.macs()?);
        let threads = harness.threads();
        let record = |engine: &str, unit, macs, rounds: &Rounds| Record {
            threads,
            ..Record::of_rounds(suite, &name, engine, unit, macs, rounds).of_product(sizes)
        };
        let mut point = || points.next().expect("every case has its points");
        let mut slow = None;
        if self.scalar {
            let rows = sizes[0] as f64 / self.scalar_row()?.len() as f64;
            let rounds = point().rounds.scale(rows);
            harness.emit(Record { threads: 1, ..record("scalar", Unit::Float, macs, &rounds) })?;
            slow = Some(rounds);
        }
        let over_scalar = |rounds: &Rounds| slow.as_ref().map(|slow| slow.over(rounds));
        let mut float = point().rounds;
        let engine = if self.layer.samples == 1 { "im2col+gemm" } else { "gemm" };
        let by_crate = record(engine, Unit::Float, macs, &float).faster_than(over_scalar(&float), None);
        let limit_fraction = harness.fraction(Unit::Float, None, macs, &float);
        harness.emit(Record { limit_fraction, ..by_crate })?;

        let mut records = Vec::new();
        for variant in &self.variants {
            let Point { rounds, tables, mut work, .. } = point();
            let (unit, macs) = (variant.unit(), variant.macs(&self.layer)?);
            if *variant == Variant::Float {
                float = float.min(rounds.clone());
            }
            let limit_fraction = match tables {
                Some(order) => harness.fraction_of_tables(self.isa, order, macs, &rounds),
                None => harness.fraction(unit, Some(self.isa), macs, &rounds),
            };
            let record = record(variant.engine(), unit, macs, &rounds)
                .faster_than(over_scalar(&rounds), Some(float.over(&rounds)))
                .on(self.isa)
                .with_order(variant.order(), variant.mode());
            let record = Record { limit_fraction, ..record };
            let record = match unit {
                Unit::Bit => staged(record, &mut |clock| work(&harness.workers, Some(clock))),
                _ => record,
            };
            records.push(record.clone());
            harness.emit(record)?;
        }
        Ok(records)
    }
}

/// The record with its time by stage. Reading the clock between stages costs time, so the shares come from runs of their own.
fn staged(record: Record, run: &mut dyn FnMut(&StageClock)) -> Record {
    let clock = StageClock::default();
    (0..3).for_each(|_| run(&clock));
    let [quantize, bits, epilogue, _] = clock.nanoseconds().map(|ns| ns as f64);
    let total = (quantize + bits + epilogue).max(1.0);
    let [quantize, bits, epilogue] = [quantize, bits, epilogue].map(|ns| Some((ns / total * record.ns).round()));
    Record { quantize, bits, epilogue, ..record }
}
