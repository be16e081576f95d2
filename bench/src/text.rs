//! Tables and the numbers in them.

use comfy_table::{CellAlignment, Table, presets};
use horq::escaped;
use horq_probe::display::name;

/// A table under its title: the first column to the left, numbers to the right. `header` names the columns, with ` | ` between.
/// Names may come from outside.
pub(crate) fn table(title: &str, header: &str, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.split(" | ").map(name));
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| name(cell))));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{}\n{}", escaped(title), table.trim_fmt())
}

/// A value as it prints; a dash where there is none.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

/// Three or four digits; a dash where there is no value.
pub(crate) fn number(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        None => "-".into(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// Nanoseconds in microseconds.
pub(crate) fn micros(ns: f64) -> String {
    number(Some(ns / 1000.0))
}

/// Bytes in MiB.
pub(crate) fn mebibytes(bytes: Option<usize>) -> String {
    number(bytes.map(|bytes| bytes as f64 / 1024.0 / 1024.0))
}

/// A part in percent.
pub(crate) fn percent(part: Option<f64>) -> String {
    or_dash(part.map(|part| format!("{:.1} %", 100.0 * part)))
}
