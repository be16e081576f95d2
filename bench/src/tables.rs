//! Tables of a record in Markdown, and a document whose tables are made from one.
//!
//! A document marks where a table stands; what lies between the marks is written here, never by hand:
//!
//! ```text
//! <!-- bench:gemm from bench/record/<cpu>/<date>.csv -->
//! <!-- bench:end -->
//! ```

use crate::record::{self, Row};
use crate::text;
use std::fmt::Write;
use std::path::Path;

const START: &str = "<!-- bench:";
const FROM: &str = " from ";
const CLOSE: &str = " -->";
const END: &str = "<!-- bench:end -->";

/// Makes a table of a record; none if the record has nothing for it.
type Make = fn(&[Row]) -> Option<Markdown>;

/// The tables by the names that marks use.
const TABLES: [(&str, Make); 4] = [("gemm", gemm), ("conv", conv), ("network", network), ("cold", cold)];

/// Rewrites every marked table of the document at `readme` from the record at `path`.
///
/// # Errors
/// A message that names the file and what is wrong with its marks or with the record.
pub(crate) fn rewrite(readme: &Path, path: &Path) -> Result<(), String> {
    let rows = record::read(path)?;
    let named = |error: String| format!("{}: {error}", readme.display());
    let old = std::fs::read_to_string(readme).map_err(|error| named(format!("cannot be read: {error}")))?;
    let new = filled(&old, &rows, &beside(readme, path)).map_err(named)?;
    std::fs::write(readme, new).map_err(|error| named(format!("cannot be written: {error}")))
}

/// The document with its tables made from `rows`, which `name` says where to find.
fn filled(document: &str, rows: &[Row], name: &str) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), document);
    let mut tables = 0;
    while let Some(start) = rest.find(START) {
        let (before, marked) = rest.split_at(start);
        let (mark, after) = marked.split_once(CLOSE).ok_or("a mark of a table is not closed by `-->`")?;
        let table = mark[START.len()..].split(FROM).next().unwrap_or_default().trim();
        let known = || TABLES.map(|(name, _)| name).join(", ");
        let (_, make) = TABLES
            .iter()
            .find(|(name, _)| *name == table)
            .ok_or_else(|| format!("no table is called `{table}`; there are {}", known()))?;
        let end = after.find(END).ok_or_else(|| format!("`{END}` is missing behind the table {table}"))?;
        if after[..end].contains(START) {
            return Err(format!("`{END}` is missing behind the table {table}"));
        }
        let made = make(rows).ok_or_else(|| format!("{name} holds no results for the table {table}"))?;
        write!(filled, "{before}{START}{table}{FROM}{name}{CLOSE}\n{}\n{END}", made.text()).expect("memory");
        rest = &after[end + END.len()..];
        tables += 1;
    }
    if tables == 0 {
        return Err(format!("it marks no table; `{START}gemm{CLOSE}` and `{END}` do"));
    }
    Ok(filled + rest)
}

/// The record's path as it is read from the document's folder.
fn beside(readme: &Path, record: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute(readme);
    let inside = absolute(record);
    let relative = folder.parent().and_then(|folder| inside.strip_prefix(folder).ok());
    relative.unwrap_or(record).to_string_lossy().replace('\\', "/")
}

/// A table and the line below it.
struct Markdown {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    below: String,
}

impl Markdown {
    fn text(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> = self.header.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("\n{}{}{rows}\n{}\n", line(&self.header), line(&rule), self.below)
    }
}

/// On what a row was measured.
fn provenance(row: &Row, what: &str) -> String {
    let rustc = row.rustc.split(" (").next().unwrap_or(&row.rustc);
    let threads = if row.threads == 1 { "one thread".into() } else { format!("{} threads", row.threads) };
    format!("{what} {}, {threads}; commit {}, {rustc}, clock {}, {}.", row.cpu, row.commit, row.clock, row.date)
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

fn ours<'a>(rows: &'a [Row], suite: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.suite == suite && row.engine == "horq" && row.threads == 1).collect()
}

fn strings(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// Part of the limit by backend.
fn gemm(rows: &[Row]) -> Option<Markdown> {
    let ours: Vec<&Row> = ours(rows, "gemm").into_iter().filter(|row| row.order == Some(1)).collect();
    let first = *ours.first()?;
    let isas = distinct(&ours, |row| row.isa.as_deref());
    let main = *isas.first()?;
    let mut header = strings(&["M x N x K"]);
    header.extend(isas.iter().map(|isa| format!("{isa}, of its limit")));
    header.extend(strings(&["bMAC/cycle", "over the fastest f32"]));
    let table = distinct(&ours, |row| Some(row.case.as_str())).into_iter().map(|case| {
        let of = |isa: &str| ours.iter().find(|row| row.case == case && row.isa.as_deref() == Some(isa));
        let best = of(main);
        let mut cells = vec![case.to_owned()];
        cells.extend(isas.iter().map(|isa| text::percent(of(isa).and_then(|row| row.limit_fraction))));
        cells.push(text::number(best.and_then(|row| Some(row.macs / row.cycles?))));
        cells.push(times(best.and_then(|row| row.speedup_float)));
        cells
    });
    let below = provenance(first, &format!("The last two columns are {main}'s."));
    Some(Markdown { rows: table.collect(), header, below })
}

/// Whole layers by order and mode, on the best backend.
fn conv(rows: &[Row]) -> Option<Markdown> {
    let ours = ours(rows, "conv");
    let first = *ours.first()?;
    let ours: Vec<&Row> = ours.into_iter().filter(|row| row.isa == first.isa).collect();
    let modes = distinct(&ours, |row| row.mode.as_deref());
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
                let found = found.find(|row| row.mode.as_deref() == Some(mode));
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
fn network(rows: &[Row]) -> Option<Markdown> {
    let whole: Vec<&Row> = ours(rows, "network").into_iter().filter(|row| !row.case.contains('/')).collect();
    let first = *whole.first()?;
    let of_isa: Vec<&Row> = whole.into_iter().filter(|row| row.isa == first.isa).collect();
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
fn cold(rows: &[Row]) -> Option<Markdown> {
    let cold = ours(rows, "cold");
    let first = *cold.first()?;
    let chosen: Vec<&Row> = cold
        .into_iter()
        .filter(|row| (row.order, &row.mode, &row.isa) == (first.order, &first.mode, &first.isa))
        .collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(suite: &str, case: &str, order: usize, ns: f64) -> Row {
        Row {
            suite: suite.into(),
            case: case.into(),
            engine: "horq".into(),
            order: Some(order),
            mode: (suite != "gemm").then(|| "fixed".into()),
            isa: Some("avx2".into()),
            threads: 1,
            cycles: Some(ns * 3.0),
            ns,
            macs: 3000.0,
            limit_fraction: Some(0.5),
            speedup_float: Some(8.0),
            cpu: "a CPU".into(),
            rustc: "rustc 1.95.0 (abc)".into(),
            ..Row::default()
        }
    }

    fn rows() -> Vec<Row> {
        let wide = Row { isa: Some("popcnt".into()), limit_fraction: Some(0.25), ..row("gemm", "1x2x3", 1, 9.0) };
        vec![
            row("gemm", "1x2x3", 1, 10.0),
            wide,
            row("conv", "7x7", 1, 2000.0),
            row("conv", "7x7", 2, 4000.0),
            row("network", "net", 1, 1e6),
            row("network", "net/layer", 1, 5.0),
            row("network", "net", 3, 2e6),
            row("cold", "net", 1, 3e6),
            row("cold", "net/open", 1, 1e6),
        ]
    }

    fn table(name: &str) -> String {
        filled(&format!("{START}{name}{CLOSE}{END}"), &rows(), "r.csv").unwrap()
    }

    #[test]
    fn tables_hold_what_the_rows_say() {
        assert!(table("gemm").contains("| 1x2x3 | 50.0 % | 25.0 % | 100 | 8.00 x |"), "{}", table("gemm"));
        assert!(table("conv").contains("| 7x7 | 2 | 4.00 | 50.0 % | 8.00 x |"), "{}", table("conv"));
        assert!(table("network").contains("| net | fixed | 1.00 | 2.00 | 0.500 |"), "{}", table("network"));
        assert!(!table("network").contains("layer"));
        assert!(table("cold").contains("| net | - | 3.00 | - | - |"), "{}", table("cold"));
        assert!(!table("cold").contains("open"));
        assert!(table("gemm").contains("a CPU, one thread; commit"), "{}", table("gemm"));
    }

    #[test]
    fn only_what_lies_between_marks_changes_and_again_changes_nothing() {
        let document = format!("before\n{START}gemm from old.csv{CLOSE}\nold\n{END}\nafter {START}conv{CLOSE}{END}.");
        let once = filled(&document, &rows(), "new.csv").unwrap();
        assert!(once.starts_with(&format!("before\n{START}gemm from new.csv{CLOSE}\n\n| M x N x K")), "{once}");
        assert!(once.ends_with(&format!("{END}.")) && !once.contains("old"), "{once}");
        assert_eq!(filled(&once, &rows(), "new.csv").unwrap(), once);
    }

    #[test]
    fn documents_and_records_that_do_not_fit_are_refused() {
        for (document, named) in [
            ("nothing", "marks no table"),
            ("<!-- bench:gem --><!-- bench:end -->", "no table is called `gem`; there are gemm"),
            ("<!-- bench:gemm", "not closed"),
            ("<!-- bench:gemm -->", "is missing behind the table gemm"),
            ("<!-- bench:gemm --><!-- bench:conv --><!-- bench:end -->", "is missing behind the table gemm"),
        ] {
            let error = filled(document, &rows(), "r.csv").unwrap_err();
            assert!(error.contains(named), "{document}: {error}");
        }
        let error = filled("<!-- bench:conv --><!-- bench:end -->", &rows()[..1], "r.csv").unwrap_err();
        assert!(error.contains("r.csv holds no results for the table conv"), "{error}");
    }

    #[test]
    fn records_inside_the_documents_folder_are_named_from_there() {
        assert_eq!(beside(Path::new("a/README.md"), Path::new("a/b/c.csv")), "b/c.csv");
        assert_eq!(beside(Path::new("README.md"), Path::new("./bench/c.csv")), "bench/c.csv");
        assert_eq!(beside(Path::new("a/README.md"), Path::new("b/c.csv")), "b/c.csv");
    }

    /// The tables of the README are those of the record that they name.
    #[test]
    fn the_readme_shows_its_record() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        let mark = readme.split(START).nth(1).expect("the README has a table");
        let name = mark.split(CLOSE).next().unwrap().split(FROM).nth(1).expect("the mark names its record");
        let rows = record::read(&root.join(name)).unwrap();
        let made = filled(&readme, &rows, name).unwrap();
        assert!(made == readme, "README.md is not what {name} says: horq-bench tables {name} --readme README.md");
    }
}
