//! Tables of text, and numbers as people read them.

use crate::terminal::Style;
use horq_probe::display::{columns, name, padded, padded_left};

/// Rows under headings; numbers stand to the right. Cells are shown as [`name`] shows them.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

struct Column {
    heading: &'static str,
    right: bool,
}

enum Row {
    Cells(Vec<String>),
    Rule,
}

impl Table {
    /// A table with these headings; one that begins with `>` heads a column of numbers.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        let column = |&heading: &&'static str| match heading.strip_prefix('>') {
            Some(heading) => Column { heading, right: true },
            None => Column { heading, right: false },
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(Row::Cells(cells.iter().map(|cell| name(cell)).collect()));
    }

    /// Adds a line across, before totals.
    pub(crate) fn rule(&mut self) {
        self.rows.push(Row::Rule);
    }

    /// The table as lines of text.
    pub(crate) fn render(&self, style: Style) -> String {
        let cells = self.rows.iter().filter_map(|row| if let Row::Cells(cells) = row { Some(cells) } else { None });
        let mut widths: Vec<usize> = self.columns.iter().map(|column| columns(column.heading)).collect();
        for row in cells {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(columns(cell)));
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = self.columns.iter().zip(&widths).zip(cells).map(|((column, &width), cell)| {
                if column.right { padded_left(cell, width) } else { padded(cell, width) }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let rule: Vec<String> =
            widths.iter().map(|&width| if style.unicode { "─" } else { "-" }.repeat(width)).collect();
        let rule = line(&mut rule.iter().map(String::as_str));
        let mut text = line(&mut self.columns.iter().map(|column| column.heading)) + &rule;
        for row in &self.rows {
            text += &match row {
                Row::Cells(cells) => line(&mut cells.iter().map(String::as_str)),
                Row::Rule => rule.clone(),
            };
        }
        text
    }
}

/// A byte count: "832 B", "12.3 KiB".
pub(crate) fn bytes(count: u64) -> String {
    scaled(count as f64, 1024.0, &["B", "KiB", "MiB", "GiB"])
}

/// A count: "832", "12.3 k", "1.23 G".
pub(crate) fn amount(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// A time from nanoseconds: "832 ns", "12.3 us".
pub(crate) fn time(nanoseconds: f64) -> String {
    scaled(nanoseconds, 1000.0, &["ns", "us", "ms", "s"])
}

/// A share: "12.3 %".
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Three significant digits and a unit.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.5 would round up to 1000.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 && v.fract() == 0.0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", ">size"]);
        table.row(["a".into(), "1".into()]);
        table.rule();
        table.row(["longer".into(), "1234567".into()]);
        let style = Style { unicode: false, color: false, width: 80 };
        let expected = "name       size\n------  -------\na             1\n------  -------\nlonger  1234567\n";
        assert_eq!(table.render(style), expected);
    }

    #[test]
    fn three_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(832), "832 B");
        assert_eq!(bytes(1000), "0.98 KiB");
        assert_eq!(bytes(1 << 20), "1.00 MiB");
        assert_eq!(amount(999_499.0), "999 k");
        assert_eq!(amount(999_600.0), "1.00 M");
        assert_eq!(amount(12.0), "12");
        assert_eq!(time(12_345.0), "12.3 us");
        assert_eq!(percent(0.98765), "98.8 %");
    }
}
