//! The suite `gemm`: the bare bit product beside the float product of the same shape.

use crate::arguments::{order, sizes};
use crate::baselines::{fast_product, scalar_product};
use crate::cases::fits;
use crate::chart::{Figure, Panel, Scale, Series, Style};
use crate::data::{Numbers, zeros};
use crate::harness::Harness;
use crate::report::record::{Record, distinct};
use crate::text;
use clap::Args;
use horq_kernels::weights::{LANES, WORD_BITS};
use horq_kernels::{Geometry, Isa, gemm};
use horq_probe::peak::{Peak, Unit};

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

/// Runs the suite.
///
/// # Errors
/// A message if the planes of a shape do not fit into memory, or a line cannot be written.
pub(crate) fn run(harness: &mut Harness, arguments: &Arguments) -> Result<(), String> {
    harness.suite("gemm");
    let order = arguments.order;
    let threads = harness.threads();
    let mut table = Vec::new();
    for &shape in if arguments.shapes.is_empty() { &SHAPES[..] } else { &arguments.shapes } {
        let [m, n, k] = shape;
        fits(m * order, n.max(k))?;
        let case = format!("{m}x{n}x{k}");
        harness.step(&format!("gemm {case}: float"));
        let record =
            |engine: &str, unit, macs, timing| Record::new("gemm", &case, engine, unit, macs, timing).of_product(shape);
        let macs = m as f64 * n as f64 * k as f64;

        let mut numbers = Numbers::new(1);
        let (a, b, mut c) = (numbers.floats(m * k), numbers.floats(n * k), zeros(m * n));
        let rows = SCALAR_PRODUCTS.div_ceil(n * k).min(m);
        let scalar = harness.time_scalar(&mut || scalar_product(&a[..rows * k], &b, k, &mut c[..rows * n]));
        let scalar = scalar.scale(m as f64 / rows as f64);
        let (float, limit_fraction) = harness.time_products(Unit::Float, None, macs, &mut |workers| {
            workers.install(|| fast_product(shape, &a, &b, &mut c, threads))
        });
        drop((a, b, c));
        harness.emit(record("scalar", Unit::Float, macs, scalar))?;
        let speedup_scalar = Some(scalar.over(float));
        let by_crate = Record { threads, limit_fraction, speedup_scalar, ..record("gemm", Unit::Float, macs, float) };
        table.push(row(&by_crate, "f32", harness.peaks.best(Unit::Float)));
        harness.emit(by_crate)?;

        let (words, panels) = (k.div_ceil(WORD_BITS), n.div_ceil(LANES));
        let (rows, weights) = (numbers.words(order * m * words), numbers.words(panels * words * LANES));
        let mut counts = zeros(order * m * panels * LANES);
        for isa in harness.isas_and(&[Isa::Avx2]) {
            harness.step(&format!("gemm {case}: {isa}"));
            let macs = macs * order as f64;
            let (bits, limit_fraction) = harness.time_products(Unit::Bit, Some(isa), macs, &mut |workers| {
                gemm::counts(isa, &rows, words, &weights, &mut counts, workers)
            });
            let record = Record {
                order: Some(order),
                threads,
                limit_fraction,
                speedup_scalar: Some(scalar.over(bits)),
                speedup_float: Some(float.over(bits)),
                ..record("horq", Unit::Bit, macs, bits).on(isa)
            };
            table.push(row(&record, isa.name(), harness.peaks.of(isa)));
            harness.emit(record)?;
        }
    }
    let title = format!("gemm: M x N x K bits, order {order}; f32 by the crate gemm");
    harness.table(&title, "shape | engine | us | MAC/cycle | limit | of limit | x float | x scalar", table);
    Ok(())
}

fn row(record: &Record, engine: &str, peak: Option<&Peak>) -> Vec<String> {
    vec![
        record.case.clone(),
        engine.into(),
        text::micros(record.ns),
        text::number(record.per_cycle()),
        text::number(peak.map(|peak| peak.per_cycle() * record.threads as f64)),
        text::percent(record.limit_fraction),
        text::number(record.speedup_float),
        text::number(record.speedup_scalar),
    ]
}

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
    let series = |value: &dyn Fn(&Record) -> Option<f64>| -> Vec<Series> {
        let of = |(color, (isa, name, limit)): (usize, &(Option<&str>, String, Option<&Peak>))| {
            let points = records.iter().filter(|record| record.isa.as_deref() == *isa);
            let points: Vec<_> = points.filter_map(|record| Some((at(&record.case)?, value(record)?))).collect();
            let limit = limit.map_or(String::new(), |peak| format!(" (limit {:.1} MAC/cycle)", peak.per_cycle()));
            (!points.is_empty()).then(|| Series { name: format!("{name}{limit}"), points, style: Style::Points, color })
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
    let of_limit = series(&|record| record.limit_fraction.map(|part| 100.0 * part));
    let speedup = series(&|record| record.speedup_float);
    let title = format!("Binary matrix product, order {order}");
    let panels = vec![
        panel("Part of the instruction limit", "measured / limit in registers (%)", Scale::Linear, of_limit),
        panel("Speed-up over the f32 product", "times faster than f32 (crate gemm)", Scale::Log(10.0), speedup),
    ];
    Some(("gemm".to_owned(), Figure { title, caption: harness.caption(), panels }))
}
