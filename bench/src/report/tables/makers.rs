//! What a record says, as tables in Markdown.

use crate::report::crossover::{Contest, Kind, contests};
use crate::report::record::Row;
use crate::text;
use horq::escaped;
use horq_probe::display;

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
fn provenance(row: &Row, what: &str) -> String {
    let rustc = row.rustc.split(" (").next().unwrap_or(&row.rustc);
    let threads = if row.threads == 1 { "one thread".into() } else { format!("{} threads", row.threads) };
    let what = if what.is_empty() { String::new() } else { format!("{what} ") };
    format!("{what}{}, {threads}; commit {}, {rustc}, clock {}, {}.", row.cpu, row.commit, row.clock, row.date)
}

/// The distinct values of a column in the order in which they come.
fn distinct<'a, T: PartialEq>(rows: &[&'a Row], value: impl Fn(&'a Row) -> Option<T>) -> Vec<T> {
    let mut values = Vec::new();
    for found in rows.iter().filter_map(|row| value(row)) {
        if !values.contains(&found) {
            values.push(found);
        }
    }
    values
}

/// Ours on one thread, on the first backend that the suite ran on or the named one.
fn ours<'a>(rows: &'a [Row], suite: &str, isa: Option<&str>) -> Vec<&'a Row> {
    let ours = |row: &&Row| row.suite == suite && row.engine == "horq" && row.threads == 1;
    let Some(first) = rows.iter().find(ours) else { return vec![] };
    let isa = isa.or(first.isa.as_deref());
    rows.iter().filter(ours).filter(|row| row.isa.as_deref() == isa).collect()
}

fn strings(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// Part of the limit by backend; of a backend without one, products a cycle.
pub(super) fn gemm(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    let first = *ours(rows, "gemm", isa).first()?;
    let main = first.isa.as_deref()?;
    let of_suite = |row: &&Row| row.suite == "gemm" && row.engine == "horq" && (row.threads, row.order) == (1, Some(1));
    let all: Vec<&Row> = rows.iter().filter(of_suite).collect();
    let isas = distinct(&all, |row| row.isa.as_deref());
    let bounded = |isa: &str| all.iter().any(|row| row.isa.as_deref() == Some(isa) && row.limit_fraction.is_some());
    let per_cycle = |row: &Row| text::number(row.cycles.map(|cycles| row.macs / cycles));
    let mut header = strings(&["M x N x K"]);
    header
        .extend(isas.iter().map(|&isa| format!("{isa}, {}", if bounded(isa) { "of its limit" } else { "bMAC/cycle" })));
    header.extend([format!("{main}, bMAC/cycle"), format!("{main}, over the fastest f32")]);
    let table = distinct(&all, |row| Some(row.case.as_str())).into_iter().map(|case| {
        let of = |isa: &str| all.iter().copied().find(|row| row.case == case && row.isa.as_deref() == Some(isa));
        let cell = |isa: &str| match of(isa) {
            Some(row) if !bounded(isa) => per_cycle(row),
            row => text::percent(row.and_then(|row| row.limit_fraction)),
        };
        let mut cells = vec![case.to_owned()];
        cells.extend(isas.iter().map(|&isa| cell(isa)));
        cells.push(of(main).map_or("-".into(), per_cycle));
        cells.push(times(of(main).and_then(|row| row.speedup_float)));
        cells
    });
    Some(Markdown { rows: table.collect(), header, below: provenance(first, "") })
}

/// Whole layers by order and mode.
pub(super) fn conv(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    let first = *ours(rows, "conv", isa).first()?;
    let of_isa = |row: &&Row| row.suite == "conv" && row.unit == "bit" && row.threads == 1 && row.isa == first.isa;
    let ours: Vec<&Row> = rows.iter().filter(of_isa).collect();
    // Planes on both sides stand beside the modes.
    fn name(row: &Row) -> Option<&str> {
        if row.engine == "horq-packed" { Some("packed") } else { row.mode.as_deref() }
    }
    let modes = distinct(&ours, name);
    let mut header = strings(&["layer (H x W x C x N)", "order"]);
    for mode in &modes {
        header.extend([format!("{mode}, us"), "of the limit".into(), "over f32".into()]);
    }
    let mut table = Vec::new();
    for case in distinct(&ours, |row| Some(row.case.as_str())) {
        let of_case: Vec<&Row> = ours.iter().copied().filter(|row| row.case == case).collect();
        for order in distinct(&of_case, |row| row.order) {
            let mut cells = vec![case.to_owned(), order.to_string()];
            for mode in &modes {
                let mut found = of_case.iter().filter(|row| row.order == Some(order));
                let found = found.find(|row| name(row) == Some(mode));
                cells.push(found.map_or("-".into(), |row| text::micros(row.ns)));
                cells.push(text::percent(found.and_then(|row| row.limit_fraction)));
                cells.push(times(found.and_then(|row| row.speedup_float)));
            }
            table.push(cells);
        }
    }
    let isa = first.isa.as_deref().unwrap_or("-");
    Some(Markdown { header, rows: table, below: provenance(first, &format!("{isa} on")) })
}

/// Whole networks by order: one image at a time.
pub(super) fn network(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    let ours = ours(rows, "network", isa);
    let of_isa: Vec<&Row> = ours.into_iter().filter(|row| !row.case.contains('/')).collect();
    let first = *of_isa.first()?;
    let orders = distinct(&of_isa, |row| row.order);
    let mut header = strings(&["network", "scales"]);
    header.extend(orders.iter().map(|order| format!("order {order}, ms")));
    header.push("each further order, ms".into());
    let mut table = Vec::new();
    for case in distinct(&of_isa, |row| Some(row.case.as_str())) {
        let of_case: Vec<&Row> = of_isa.iter().copied().filter(|row| row.case == case).collect();
        for mode in distinct(&of_case, |row| row.mode.as_deref()) {
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
    let isa = first.isa.as_deref().unwrap_or("-");
    Some(Markdown { header, rows: table, below: provenance(first, &format!("Batch 1, {isa} on")) })
}

/// Cold starts at order 1 in the first mode.
pub(super) fn cold(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    let cold = ours(rows, "cold", isa);
    let first = *cold.first()?;
    let chosen: Vec<&Row> =
        cold.into_iter().filter(|row| (row.order, &row.mode) == (first.order, &first.mode)).collect();
    let header = ["network", "file, MiB", "process start to first answer, ms", "page faults", "resident, MiB"];
    let mebibytes = |bytes: Option<usize>| text::number(bytes.map(|bytes| bytes as f64 / 1024.0 / 1024.0));
    let table = chosen.iter().filter(|row| !row.case.contains('/')).map(|row| {
        vec![
            row.case.clone(),
            mebibytes(row.file),
            text::number(Some(row.ns / 1e6)),
            row.minor_faults.map_or("-".into(), |faults| faults.to_string()),
            mebibytes(row.rss),
        ]
    });
    let order = first.order.map_or("-".into(), |order| order.to_string());
    let below = provenance(first, &format!("Order {order}, {} scales;", first.mode.as_deref().unwrap_or("-")));
    Some(Markdown { header: strings(&header), rows: table.collect(), below })
}

/// Orders beside what a user could pick instead.
pub(super) fn peers(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    const ORDERS: [usize; 2] = [1, 2];
    let first = *ours(rows, "peers", isa).first()?;
    let mut header =
        strings(&["case", "scales", "order 1, us", "order 2, us", "of OpenVINO's binary, order 1", "order 2"]);
    for kind in Kind::ALL {
        header.push(format!("best {}, us", kind.name()));
        header.push("wins from order (even at)".into());
    }
    let binary = |case: &str, order: usize| {
        let of_case = rows.iter().filter(|row| row.suite == "peers" && row.case == case && row.unit == "bit");
        of_case.filter(|row| row.engine == "openvino").find(|row| row.order == Some(order)).map(|row| row.ns)
    };
    let row = |contest: &Contest<'_>| {
        let ours = |order: usize| contest.ours.get(order - 1).copied();
        let mut cells = strings(&[contest.case, contest.mode]);
        cells.extend(ORDERS.map(|order| ours(order).map_or("-".into(), text::micros)));
        cells
            .extend(ORDERS.map(|order| text::number(ours(order).zip(binary(contest.case, order)).map(|(a, b)| a / b))));
        for kind in Kind::ALL {
            let rival = contest.rival(kind);
            cells.push(rival.map_or("-".into(), |rival| format!("{} {}", rival.engine, text::micros(rival.ns))));
            cells.push(rival.map_or("-".into(), |rival| contest.wins_from(rival)));
        }
        cells
    };
    let rows = contests(rows).iter().map(row).collect();
    Some(Markdown {
        header,
        rows,
        below: provenance(first, &format!("Batch 1, {} on", first.isa.as_deref().unwrap_or("-"))),
    })
}

/// Layers of f32 activations by what their weights are, beside f32 by the crate `gemm`.
pub(super) fn weights(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    by_weights(rows, "weights", isa)
}

/// The same beside the fastest f32 of the peers.
pub(super) fn peers_weights(rows: &[Row], isa: Option<&str>) -> Option<Markdown> {
    by_weights(rows, "peers", isa)
}

fn by_weights(rows: &[Row], suite: &str, isa: Option<&str>) -> Option<Markdown> {
    const FORMS: [(&str, &str); 6] = [
        ("horq-f32", "f32"),
        ("horq-int8", "int8"),
        ("horq-code5", "5 bits"),
        ("horq-code4", "4 bits"),
        ("horq-code3", "3 bits"),
        ("horq-sign", "1 bit"),
    ];
    let of_suite: Vec<&Row> = rows.iter().filter(|row| row.suite == suite && row.threads == 1).collect();
    let ours = |row: &&Row| row.engine == "horq-f32" && isa.is_none_or(|isa| row.isa.as_deref() == Some(isa));
    let first = of_suite.iter().copied().find(ours)?;
    let mut header = strings(&["layer", "others' best f32, us"]);
    for (_, weights) in FORMS {
        header.extend([format!("{weights}, us"), "times faster".into()]);
    }
    let row = |case: &str| {
        let of_case = || of_suite.iter().copied().filter(|row| row.case == case);
        let others = of_case().filter(|row| row.unit == "float" && !row.engine.starts_with("horq"));
        let other = others.min_by(|a, b| a.ns.total_cmp(&b.ns));
        let mut cells = vec![case.to_owned()];
        cells.push(other.map_or("-".into(), |other| format!("{} {}", other.engine, text::micros(other.ns))));
        for (engine, _) in FORMS {
            let found = of_case().find(|row| row.engine == engine && row.isa == first.isa);
            cells.push(found.map_or("-".into(), |row| text::micros(row.ns)));
            cells.push(text::number(other.zip(found).map(|(other, row)| row_time(other) / row_time(row))));
        }
        cells
    };
    let of_isa: Vec<&Row> =
        of_suite.iter().copied().filter(|row| row.engine == "horq-f32" && row.isa == first.isa).collect();
    let table = distinct(&of_isa, |row| Some(row.case.as_str())).into_iter().map(row).collect();
    let isa = first.isa.as_deref().unwrap_or("-");
    Some(Markdown { header, rows: table, below: provenance(first, &format!("{isa} on")) })
}

/// Cycles where they are known, because the frequency may have changed in between.
fn row_time(row: &Row) -> f64 {
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
    ratio.map_or("-".into(), |ratio| format!("{} x", text::number(Some(ratio))))
}
