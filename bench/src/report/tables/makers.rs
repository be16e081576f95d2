//! What a record says, as tables in Markdown.

use crate::report::crossover::{Contest, Kind, Rival, contests};
use crate::report::record::{Record, distinct};
use crate::text;
use horq::escaped;
use horq_probe::display;
use horq_probe::peak::Unit;

/// A table and the line below it.
pub(super) struct Markdown {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    below: String,
}

impl Markdown {
    /// With empty lines around it.
    pub(super) fn text(&self) -> String {
        // Nothing in a record may end a cell, a line or a table.
        let cell = |text: &String| display::name(text).replace('|', "\\|");
        let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
        let rule: Vec<String> = self.header.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("\n{}{}{rows}\n{}\n", line(&self.header), line(&rule), escaped(&self.below))
    }
}

/// On what a row was measured.
fn provenance(row: &Record, what: &str) -> String {
    let rustc = row.compiler();
    let threads = if row.threads == 1 { "one thread".into() } else { format!("{} threads", row.threads) };
    let what = if what.is_empty() { String::new() } else { format!("{what} ") };
    format!("{what}{}, {threads}; commit {}, {rustc}, clock {}, {}.", row.cpu, row.commit, row.clock, row.date)
}

/// Ours on one thread, on the first backend that the suite ran on or the named one.
fn ours<'a>(rows: &'a [Record], suite: &str, isa: Option<&str>) -> Vec<&'a Record> {
    let ours = |row: &&Record| row.suite == suite && row.engine == "horq" && row.threads == 1;
    let Some(first) = rows.iter().find(ours) else { return vec![] };
    let isa = isa.or(first.isa.as_deref());
    rows.iter().filter(ours).filter(|row| row.isa.as_deref() == isa).collect()
}

fn strings(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// Part of the limit by backend; of a backend without one, products a cycle.
pub(super) fn gemm(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    let first = *ours(rows, "gemm", isa).first()?;
    let main = first.isa.as_deref()?;
    let of_suite =
        |row: &&Record| row.suite == "gemm" && row.engine == "horq" && (row.threads, row.order) == (1, Some(1));
    let all: Vec<&Record> = rows.iter().filter(of_suite).collect();
    let isas = distinct(all.iter().copied(), |row| row.isa.as_deref());
    let bounded = |isa: &str| all.iter().any(|row| row.isa.as_deref() == Some(isa) && row.limit_fraction.is_some());
    let per_cycle = |row: &Record| text::number(row.per_cycle());
    let mut header = strings(&["M x N x K"]);
    header
        .extend(isas.iter().map(|&isa| format!("{isa}, {}", if bounded(isa) { "of its limit" } else { "bMAC/cycle" })));
    header.extend([format!("{main}, bMAC/cycle"), format!("{main}, over the fastest f32")]);
    let table = distinct(all.iter().copied(), |row| Some(row.case.as_str())).into_iter().map(|case| {
        let of = |isa: &str| all.iter().copied().find(|row| row.case == case && row.isa.as_deref() == Some(isa));
        let cell = |isa: &str| match of(isa) {
            Some(row) if !bounded(isa) => per_cycle(row),
            row => text::percent(row.and_then(|row| row.limit_fraction)),
        };
        let mut cells = vec![case.to_owned()];
        cells.extend(isas.iter().map(|&isa| cell(isa)));
        cells.push(text::or_dash(of(main).map(per_cycle)));
        cells.push(times(of(main).and_then(|row| row.speedup_float)));
        cells
    });
    Some(Markdown { rows: table.collect(), header, below: provenance(first, "") })
}

/// Whole layers by order and mode.
pub(super) fn conv(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    let first = *ours(rows, "conv", isa).first()?;
    let of_isa =
        |row: &&Record| row.suite == "conv" && row.unit == Unit::Bit && row.threads == 1 && row.isa == first.isa;
    let ours: Vec<&Record> = rows.iter().filter(of_isa).collect();
    // Planes in and out, and scales that halve by popcount, stand beside the modes.
    fn name(row: &Record) -> Option<&str> {
        match &*row.engine {
            "horq-packed" => Some("packed"),
            "horq-popcount" => Some("halving, popcount"),
            _ => row.mode.as_deref(),
        }
    }
    let modes = distinct(ours.iter().copied(), name);
    let mut header = strings(&["layer (H x W x C x N)", "order"]);
    for mode in &modes {
        header.extend([format!("{mode}, us"), "of the limit".into(), "over f32".into()]);
    }
    let mut table = Vec::new();
    for case in distinct(ours.iter().copied(), |row| Some(row.case.as_str())) {
        let of_case: Vec<&Record> = ours.iter().copied().filter(|row| row.case == case).collect();
        for order in distinct(of_case.iter().copied(), |row| row.order) {
            let mut cells = vec![case.to_owned(), order.to_string()];
            for mode in &modes {
                let mut found = of_case.iter().filter(|row| row.order == Some(order));
                let found = found.find(|row| name(row) == Some(mode));
                cells.push(text::or_dash(found.map(|row| text::micros(row.ns))));
                cells.push(text::percent(found.and_then(|row| row.limit_fraction)));
                cells.push(times(found.and_then(|row| row.speedup_float)));
            }
            table.push(cells);
        }
    }
    let isa = text::or_dash(first.isa.as_ref());
    Some(Markdown { header, rows: table, below: provenance(first, &format!("{isa} on")) })
}

/// Whole networks by order: one image at a time.
pub(super) fn network(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    let ours = ours(rows, "network", isa);
    let of_isa: Vec<&Record> = ours.into_iter().filter(|row| !row.case.contains('/')).collect();
    let first = *of_isa.first()?;
    let orders = distinct(of_isa.iter().copied(), |row| row.order);
    let mut header = strings(&["network", "scales"]);
    header.extend(orders.iter().map(|order| format!("order {order}, ms")));
    header.push("each further order, ms".into());
    let mut table = Vec::new();
    for case in distinct(of_isa.iter().copied(), |row| Some(row.case.as_str())) {
        let of_case: Vec<&Record> = of_isa.iter().copied().filter(|row| row.case == case).collect();
        for mode in distinct(of_case.iter().copied(), |row| row.mode.as_deref()) {
            let at = |order: usize| {
                let mut found = of_case.iter().filter(|row| row.mode.as_deref() == Some(mode));
                found.find(|row| row.order == Some(order)).map(|row| row.ns / 1e6)
            };
            let ends = orders.first().zip(orders.last()).filter(|(first, last)| first < last);
            let step = ends.and_then(|(&a, &b)| Some((at(b)? - at(a)?) / (b - a) as f64));
            let mut cells = strings(&[case, mode]);
            cells.extend(orders.iter().map(|&order| milliseconds(at(order))));
            cells.push(milliseconds(step));
            table.push(cells);
        }
    }
    let isa = text::or_dash(first.isa.as_ref());
    Some(Markdown { header, rows: table, below: provenance(first, &format!("Batch 1, {isa} on")) })
}

/// Cold starts at order 1 in the first mode.
pub(super) fn cold(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    let cold = ours(rows, "cold", isa);
    let first = *cold.first()?;
    let chosen: Vec<&Record> =
        cold.into_iter().filter(|row| (row.order, &row.mode) == (first.order, &first.mode)).collect();
    let header = ["network", "file, MiB", "process start to first answer, ms", "page faults", "resident, MiB"];
    let table = chosen.iter().filter(|row| !row.case.contains('/')).map(|row| {
        vec![
            row.case.clone(),
            text::mebibytes(row.file),
            text::number(Some(row.ns / 1e6)),
            text::or_dash(row.minor_faults),
            text::mebibytes(row.rss),
        ]
    });
    let order = text::or_dash(first.order);
    let below = provenance(first, &format!("Order {order}, {} scales;", first.mode.as_deref().unwrap_or("-")));
    Some(Markdown { header: strings(&header), rows: table.collect(), below })
}

/// A few cases of the suite `peers` for a first page: the first two orders beside the best of the others.
pub(super) fn summary(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    const CASES: [(&str, &str); 6] = [
        ("56x56x64x64 k3 s1", "3x3 convolution, 56x56 pixels, 64 to 64 channels"),
        ("14x14x256x256 k3 s1", "3x3 convolution, 14x14 pixels, 256 to 256 channels"),
        ("1024x1024x1024", "matrix product, 1024 x 1024 x 1024"),
        ("lenet5", "LeNet-5, 28x28 pixels"),
        ("vgg-small-int8", "VGG-small, 32x32 pixels, first and last layer int8"),
        ("bireal18-int8", "Bi-Real-Net-18, 224x224 pixels, first and last layer int8"),
    ];
    let first = *ours(rows, "peers", isa).first()?;
    let contests = contests(rows);
    let row = |(case, name): (&str, &str)| {
        let contest = contests.iter().find(|contest| contest.case == case)?;
        let mut cells = strings(&[name]);
        cells.extend((0..2).map(|order| text::or_dash(contest.ours.get(order).copied().map(text::micros))));
        cells.extend(Kind::ALL.map(|kind| rival(contest.rival(kind))));
        Some(cells)
    };
    let mut header = strings(&["one thread, batch 1", "order 1, us", "order 2, us"]);
    header.extend(Kind::ALL.map(|kind| format!("best {} elsewhere, us", kind.name())));
    let below = provenance(first, &format!("{} on", text::or_dash(first.isa.as_ref())));
    Some(Markdown { header, rows: CASES.into_iter().filter_map(row).collect(), below })
}

/// An engine and its time.
fn rival(rival: Option<&Rival<'_>>) -> String {
    text::or_dash(rival.map(|rival| format!("{} {}", rival.engine, text::micros(rival.ns))))
}

/// Orders beside what a user could pick instead.
pub(super) fn peers(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    const ORDERS: [usize; 2] = [1, 2];
    let first = *ours(rows, "peers", isa).first()?;
    let mut header =
        strings(&["case", "scales", "order 1, us", "order 2, us", "of OpenVINO's binary, order 1", "order 2"]);
    for kind in Kind::ALL {
        header.push(format!("best {}, us", kind.name()));
        header.push("wins from order (even at)".into());
    }
    let binary = |case: &str, order: usize| {
        let of_case = rows.iter().filter(|row| row.suite == "peers" && row.case == case && row.unit == Unit::Bit);
        of_case.filter(|row| row.engine == "openvino").find(|row| row.order == Some(order)).map(|row| row.ns)
    };
    let row = |contest: &Contest<'_>| {
        let ours = |order: usize| contest.ours.get(order - 1).copied();
        let mut cells = strings(&[contest.case, contest.mode]);
        cells.extend(ORDERS.map(|order| text::or_dash(ours(order).map(text::micros))));
        cells
            .extend(ORDERS.map(|order| text::number(ours(order).zip(binary(contest.case, order)).map(|(a, b)| a / b))));
        for kind in Kind::ALL {
            let best = contest.rival(kind);
            cells.push(rival(best));
            cells.push(text::or_dash(best.map(|rival| contest.wins_from(rival))));
        }
        cells
    };
    let rows = contests(rows).iter().map(row).collect();
    Some(Markdown {
        header,
        rows,
        below: provenance(first, &format!("Batch 1, {} on", text::or_dash(first.isa.as_ref()))),
    })
}

/// Layers of f32 activations by what their weights are, beside f32 by the crate `gemm`.
pub(super) fn weights(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    by_weights(rows, "weights", isa)
}

/// Layers of f32 activations by what their weights are, beside the fastest f32 of the peers.
pub(super) fn peers_weights(rows: &[Record], isa: Option<&str>) -> Option<Markdown> {
    by_weights(rows, "peers", isa)
}

fn by_weights(rows: &[Record], suite: &str, isa: Option<&str>) -> Option<Markdown> {
    const WEIGHTS: [(&str, &str); 6] = [
        ("horq-f32", "f32"),
        ("horq-int8", "int8"),
        ("horq-code5", "5 bits"),
        ("horq-code4", "4 bits"),
        ("horq-code3", "3 bits"),
        ("horq-sign", "1 bit"),
    ];
    let of_suite: Vec<&Record> = rows.iter().filter(|row| row.suite == suite && row.threads == 1).collect();
    let ours = |row: &&Record| row.engine == "horq-f32" && isa.is_none_or(|isa| row.isa.as_deref() == Some(isa));
    let first = of_suite.iter().copied().find(ours)?;
    let mut header = strings(&["layer", "others' best f32, us"]);
    for (_, weights) in WEIGHTS {
        header.extend([format!("{weights}, us"), "times faster".into()]);
    }
    let row = |case: &str| {
        let of_case = || of_suite.iter().copied().filter(|row| row.case == case);
        let others = of_case().filter(|row| row.unit == Unit::Float && !row.is_ours());
        let other = others.min_by(|a, b| a.ns.total_cmp(&b.ns));
        let mut cells = vec![case.to_owned()];
        cells.push(text::or_dash(other.map(|other| format!("{} {}", other.engine, text::micros(other.ns)))));
        for (engine, _) in WEIGHTS {
            let found = of_case().find(|row| row.engine == engine && row.isa == first.isa);
            cells.push(text::or_dash(found.map(|row| text::micros(row.ns))));
            cells.push(text::number(other.zip(found).map(|(other, row)| row_time(other) / row_time(row))));
        }
        cells
    };
    let of_isa: Vec<&Record> =
        of_suite.iter().copied().filter(|row| row.engine == "horq-f32" && row.isa == first.isa).collect();
    let table = distinct(of_isa.iter().copied(), |row| Some(row.case.as_str())).into_iter().map(row).collect();
    let isa = text::or_dash(first.isa.as_ref());
    Some(Markdown { header, rows: table, below: provenance(first, &format!("{isa} on")) })
}

/// Cycles where they are known, because the frequency may have changed in between.
fn row_time(row: &Record) -> f64 {
    row.cycles.unwrap_or(row.ns)
}

/// Milliseconds to three digits.
fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms < 0.1 => format!("{ms:.4}"),
        Some(ms) if ms < 1.0 => format!("{ms:.3}"),
        ms => text::number(ms),
    }
}

fn times(ratio: Option<f64>) -> String {
    text::or_dash(ratio.map(|ratio| format!("{} x", text::number(Some(ratio)))))
}
