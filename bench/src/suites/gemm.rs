//! The suite `gemm`: the bare bit product beside the float product of the same shape.

use crate::arguments::{order, sizes};
use crate::baselines::{fast_product, scalar_product};
use crate::cases::fits;
use crate::chart::{Figure, Panel, Scale, Series, Style};
use crate::data::{Numbers, zeros};
use crate::harness::Harness;
use crate::report::record::{Record, distinct};
use crate::rounds::{Point, Rounds};
use crate::text;
use crate::variants::Operands;
use clap::Args;
use horq_kernels::weights::{LANES, WORD_BITS};
use horq_kernels::{Aligned, Geometry, Isa, gemm};
use horq_probe::peak::{Peak, Unit};
use std::cell::RefCell;

/// M x N x K: four convolutions of well-known networks, a large square, and a batch of one.
const SHAPES: [[usize; 3]; 6] =
    [[192, 256, 2304], [192, 512, 4608], [768, 128, 1152], [3072, 64, 576], [4032, 4032, 4032], [1, 4096, 4096]];

/// The scalar loop runs on as many rows as make so many products, and its time is scaled up.
const SCALAR_PRODUCTS: usize = 2_000_000;

/// Which products run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Rows x columns x bits, for example 192x256x2304; may be repeated
    #[arg(long = "shape", value_name = "MxNxK", value_parser = shape)]
    pub shapes: Vec<[usize; 3]>,
    /// Planes of the activations
    #[arg(long, default_value_t = 1, value_parser = order)]
    pub order: usize,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { shapes: vec![], order: 1 }
    }
}

fn shape(text: &str) -> Result<[usize; 3], String> {
    let shape = sizes(text, "MxNxK, for example 192x256x2304")?;
    Geometry::dense(shape[2], shape[1]).validate().map_err(|error| error.to_string())?;
    fits(shape[0], shape[1].max(shape[2]))?;
    Ok(shape)
}

/// The packed operands of the bit products, which all shapes share as they share the float ones, and their results.
struct Bits {
    rows: Aligned<u32>,
    weights: Aligned<u32>,
    counts: RefCell<Aligned<i32>>,
}

/// Lengths of the bit operands of a shape: rows of all planes, weights, counts.
fn bit_lens([m, n, k]: [usize; 3], order: usize) -> [usize; 3] {
    let (words, panels) = (k.div_ceil(WORD_BITS), n.div_ceil(LANES));
    [order * m * words, panels * words * LANES, order * m * panels * LANES]
}

/// Runs the suite.
///
/// # Errors
/// A message if the planes of a shape do not fit into memory, or a line cannot be written.
pub(crate) fn run(harness: &mut Harness, arguments: &Arguments) -> Result<(), String> {
    harness.suite("gemm");
    let order = arguments.order;
    let threads = harness.threads();
    let shapes = if arguments.shapes.is_empty() { &SHAPES[..] } else { &arguments.shapes };
    shapes.iter().try_for_each(|&[m, n, k]| fits(m * order, n.max(k)))?;
    let longest = |len: &dyn Fn([usize; 3]) -> usize| shapes.iter().map(|&shape| len(shape)).max().unwrap_or(0);
    let floats =
        Operands::new(longest(&|[m, _, k]| m * k), longest(&|[_, n, k]| n * k), 0, longest(&|[m, n, _]| m * n));
    let mut numbers = Numbers::new(1);
    let [rows, weights, counts] = [0, 1, 2].map(|operand| longest(&|shape| bit_lens(shape, order)[operand]));
    let bits = Bits { rows: numbers.words(rows), weights: numbers.words(weights), counts: RefCell::new(zeros(counts)) };
    let isas = harness.isas_and(&[Isa::Avx2]);
    let scalar_rows = |[m, n, k]: [usize; 3]| SCALAR_PRODUCTS.div_ceil(n * k).min(m);

    let mut points = Vec::new();
    for &shape in shapes {
        let [m, n, k] = shape;
        let label = |what: &str| format!("{m}x{n}x{k}: {what}");
        let (rows, floats) = (scalar_rows(shape), &floats);
        points.push(Point::new(label("scalar loop"), None, None, move |_, _| {
            let output = &mut floats.scratch.borrow_mut().output[..rows * n];
            scalar_product(&floats.input[..rows * k], &floats.weights[..n * k], k, output);
        }));
        points.push(Point::new(label("float"), Some(Unit::Float), None, move |workers, _| {
            let output = &mut floats.scratch.borrow_mut().output[..m * n];
            let (input, weights) = (&floats.input[..m * k], &floats.weights[..n * k]);
            workers.install(|| fast_product(shape, input, weights, output, threads));
        }));
        for &isa in &isas {
            let ([rows, weights, counts], bits) = (bit_lens(shape, order), &bits);
            points.push(Point::new(label(isa.name()), Some(Unit::Bit), Some(isa), move |workers, _| {
                let counts = &mut bits.counts.borrow_mut()[..counts];
                let (rows, weights) = (&bits.rows[..rows], &bits.weights[..weights]);
                gemm::counts(isa, rows, k.div_ceil(WORD_BITS), weights, counts, workers);
            }));
        }
    }
    harness.take_turns("gemm", &mut points);

    let mut table = Vec::new();
    let mut rounds = points.into_iter().map(|point| point.rounds);
    let mut next = || rounds.next().expect("every shape has its points");
    for &shape in shapes {
        let [m, n, k] = shape;
        let case = format!("{m}x{n}x{k}");
        let macs = m as f64 * n as f64 * k as f64;
        let record = |engine: &str, unit, macs, rounds: &Rounds| {
            Record::of_rounds("gemm", &case, engine, unit, macs, rounds).of_product(shape)
        };
        let scalar = next().scale(m as f64 / scalar_rows(shape) as f64);
        harness.emit(record("scalar", Unit::Float, macs, &scalar))?;
        let float = next();
        let limit_fraction = harness.fraction(Unit::Float, None, macs, &float);
        let by_crate = record("gemm", Unit::Float, macs, &float).faster_than(Some(scalar.over(&float)), None);
        let by_crate = Record { threads, limit_fraction, ..by_crate };
        table.push(row(&by_crate, "f32", harness.peaks.best(Unit::Float)));
        harness.emit(by_crate)?;
        for &isa in &isas {
            let (macs, bits) = (macs * order as f64, next());
            let record = record("horq", Unit::Bit, macs, &bits).on(isa);
            let record = record.faster_than(Some(scalar.over(&bits)), Some(float.over(&bits)));
            let limit_fraction = harness.fraction(Unit::Bit, Some(isa), macs, &bits);
            let record = Record { order: Some(order), threads, limit_fraction, ..record };
            table.push(row(&record, isa.name(), harness.peaks.of(isa)));
            harness.emit(record)?;
        }
    }
    let title = format!("gemm: M x N x K bits, order {order}; f32 by the crate gemm");
    harness.table(&title, "shape | engine | us | spread | MAC/cycle | limit | of limit | x float | x scalar", table);
    Ok(())
}

fn row(record: &Record, engine: &str, peak: Option<&Peak>) -> Vec<String> {
    vec![
        record.case.clone(),
        engine.into(),
        text::micros(record.ns),
        text::percent(record.spread),
        text::number(record.per_cycle()),
        text::number(peak.map(|peak| peak.per_cycle() * record.threads as f64)),
        text::percent(record.limit_fraction),
        text::number(record.speedup_float),
        text::number(record.speedup_scalar),
    ]
}

/// A value, and from where to where it was.
type Barred = (f64, [f64; 2]);

/// The figure: part of the limit and speed-up, by shape.
pub(crate) fn figure(harness: &Harness) -> Option<(String, Figure)> {
    let of_suite = harness.records.iter().filter(|r| r.suite == "gemm" && r.engine != "scalar");
    let records: Vec<&Record> = of_suite.collect();
    let order = records.iter().find_map(|record| record.order)?;
    let cases = distinct(records.iter().copied(), |record| Some(record.case.as_str()));
    let at = |case: &str| cases.iter().position(|&other| other == case).map(|i| i as f64);
    let bits = Isa::ALL.into_iter().rev().map(|isa| (Some(isa.name()), format!("bits, {isa}"), harness.peaks.of(isa)));
    let float = (None, "f32, crate gemm".to_owned(), harness.peaks.best(Unit::Float));
    let engines: Vec<_> =
        bits.chain([float]).filter(|engine| records.iter().any(|r| r.isa.as_deref() == engine.0)).collect();
    let series = |value: &dyn Fn(&Record) -> Option<Barred>| -> Vec<Series> {
        let of = |(color, (isa, name, limit)): (usize, &(Option<&str>, String, Option<&Peak>))| {
            let points = records.iter().filter(|record| record.isa.as_deref() == *isa);
            let points: Vec<_> = points.filter_map(|record| Some((at(&record.case)?, value(record)?))).collect();
            let bars = points.iter().map(|&(x, (_, bar))| (x, bar)).collect();
            let points: Vec<_> = points.into_iter().map(|(x, (y, _))| (x, y)).collect();
            let limit = limit.map_or(String::new(), |peak| format!(" (limit {:.1} MAC/cycle)", peak.per_cycle()));
            (!points.is_empty()).then(|| Series {
                name: format!("{name}{limit}"),
                points,
                bars,
                style: Style::Points,
                color,
            })
        };
        engines.iter().enumerate().filter_map(of).collect()
    };
    let x_ticks: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(i, case)| (i as f64, case.replacen('x', "\u{d7}", 1).replacen('x', "\n\u{d7}", 1)))
        .collect();
    let panel = |title: &str, y_label: &str, y_scale, series| Panel {
        title: title.into(),
        x_label: "shape: rows \u{d7} columns \u{d7} products".into(),
        y_label: y_label.into(),
        x_scale: Scale::Linear,
        y_scale,
        x_ticks: x_ticks.clone(),
        series,
        marks: vec![],
        marks_name: String::new(),
    };
    let of_limit = series(&|record| {
        let part = 100.0 * record.limit_fraction?;
        Some((part, [part / (1.0 + record.spread?), part]))
    });
    let speedup = series(&|record| Some((record.speedup_float?, record.ranges.float?)));
    let title = format!("Binary matrix product, order {order}");
    let panels = vec![
        panel("Part of the instruction limit", "measured / limit in registers (%)", Scale::Linear, of_limit),
        panel("Speed-up over the f32 product", "times faster than f32 (crate gemm)", Scale::Log(10.0), speedup),
    ];
    Some(("gemm".to_owned(), Figure { title, caption: harness.caption(), panels }))
}
