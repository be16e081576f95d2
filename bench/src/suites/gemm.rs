//! The suite `gemm`: the bare bit product beside the float product of the same shape.

use crate::baselines::{fast_product, scalar_product};
use crate::chart::{Figure, Panel, Scale, Series, Style};
use crate::cli::fits;
use crate::data::{Numbers, zeros};
use crate::harness::Lab;
use crate::report::record::Record;
use crate::text;
use horq_kernels::panel::{LANES, WORD_BITS};
use horq_kernels::{Isa, gemm};
use horq_probe::peak::Unit;

/// M x N x K: four convolutions of well-known networks, a large square, and a batch of one.
pub(crate) const SHAPES: [[usize; 3]; 6] =
    [[192, 256, 2304], [192, 512, 4608], [768, 128, 1152], [3072, 64, 576], [4032, 4032, 4032], [1, 4096, 4096]];

/// The scalar loop runs on as many rows as make so many products, and its time is scaled up.
const SCALAR_PRODUCTS: usize = 2_000_000;

/// Runs the suite.
pub(crate) fn run(lab: &mut Lab, shapes: &[[usize; 3]], order: usize) -> Result<(), String> {
    let mut table = Vec::new();
    for &shape in shapes {
        fits(shape[0] * order, shape[1].max(shape[2]))?;
        let [m, n, k] = shape;
        let case = format!("{m}x{n}x{k}");
        lab.step(&format!("gemm {case}: float"));
        let record = |engine, unit, macs, timing| Record {
            m: Some(m),
            n: Some(n),
            k: Some(k),
            ..Record::new("gemm", case.clone(), engine, unit, macs, timing)
        };
        let macs = m as f64 * n as f64 * k as f64;

        let mut numbers = Numbers::new(1);
        let (a, b, mut c) = (numbers.floats(m * k), numbers.floats(n * k), zeros(m * n));
        let rows = SCALAR_PRODUCTS.div_ceil(n * k).min(m);
        let scalar = lab.time_scalar(&mut || scalar_product(&a[..rows * k], &b, k, &mut c[..rows * n]));
        let scalar = scalar.scale(m as f64 / rows as f64);
        let threads = lab.threads();
        let (float, float_fraction) = lab.time_products(Unit::Float, None, macs, &mut |workers| {
            workers.install(|| fast_product(m, n, k, &a, &b, &mut c, threads))
        });
        drop((a, b, c));
        lab.emit(record("scalar", Unit::Float, macs, scalar))?;
        let float_record = Record {
            threads,
            limit_fraction: float_fraction,
            speedup_scalar: Some(scalar.over(float)),
            ..record("gemm", Unit::Float, macs, float)
        };
        table.push(row(&float_record, lab));
        lab.emit(float_record)?;

        let (words, panels) = (k.div_ceil(WORD_BITS), n.div_ceil(LANES));
        let (rows, weights) = (numbers.words(order * m * words), numbers.words(panels * words * LANES));
        let mut counts = zeros(order * m * panels * LANES);
        for isa in lab.isas_and(&[Isa::Avx2]) {
            lab.step(&format!("gemm {case}: {isa}"));
            let macs = macs * order as f64;
            let (bits, fraction) = lab.time_products(Unit::Bit, Some(isa), macs, &mut |workers| {
                gemm::counts(isa, &rows, words, &weights, &mut counts, workers)
            });
            let record = Record {
                order: Some(order),
                isa: Some(isa),
                threads,
                limit_fraction: fraction,
                speedup_scalar: Some(scalar.over(bits)),
                speedup_float: Some(float.over(bits)),
                ..record("horq", Unit::Bit, macs, bits)
            };
            table.push(row(&record, lab));
            lab.emit(record)?;
        }
    }
    let title = format!("gemm: M x N x K bits, order {order}; f32 by the crate gemm");
    lab.table(&title, &["shape", "engine", "us", "MAC/cycle", "limit", "of limit", "x float", "x scalar"], table);
    Ok(())
}

fn row(record: &Record, lab: &Lab) -> Vec<String> {
    let (engine, peak) = match record.isa {
        Some(isa) => (isa.name(), lab.peaks().of(isa)),
        None => ("f32", lab.peaks().best(Unit::Float)),
    };
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
pub(crate) fn figure(lab: &Lab) -> Option<Figure> {
    let records: Vec<&Record> = lab.records().iter().filter(|r| r.suite == "gemm" && r.engine != "scalar").collect();
    let mut cases: Vec<&str> = records.iter().map(|record| record.case.as_str()).collect();
    cases.dedup();
    let at = |case: &str| cases.iter().position(|&other| other == case).map(|i| i as f64);
    let mut engines: Vec<Option<Isa>> = records.iter().filter(|r| r.isa.is_some()).map(|record| record.isa).collect();
    engines.sort();
    engines.dedup();
    engines.reverse();
    engines.push(None);
    let series = |value: &dyn Fn(&Record) -> Option<f64>| -> Vec<Series> {
        let of = |(color, engine): (usize, &Option<Isa>)| {
            let points = records.iter().filter(|record| record.isa == *engine);
            let points: Vec<_> = points.filter_map(|record| Some((at(&record.case)?, value(record)?))).collect();
            let limit = match engine {
                Some(isa) => lab.peaks().of(*isa),
                None => lab.peaks().best(Unit::Float),
            };
            let limit = limit.map_or(String::new(), |peak| format!(" (limit {:.1} MAC/cycle)", peak.per_cycle()));
            let name = engine.map_or("f32, crate gemm".into(), |isa| format!("bits, {isa}"));
            (!points.is_empty()).then(|| Series { name: name + &limit, points, style: Style::Points, color })
        };
        engines.iter().enumerate().filter_map(of).collect()
    };
    let order = records.iter().find_map(|record| record.order)?;
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
        marks_name: "",
    };
    let of_limit = series(&|record| record.limit_fraction.map(|part| 100.0 * part));
    let speedup = series(&|record| record.speedup_float);
    Some(Figure {
        title: format!("Binary matrix product, order {order}"),
        caption: lab.caption(),
        panels: vec![
            panel("Part of the instruction limit", "measured / limit in registers (%)", Scale::Linear, of_limit),
            panel("Speed-up over the f32 product", "times faster than f32 (crate gemm)", Scale::Log(10.0), speedup),
        ],
    })
}
