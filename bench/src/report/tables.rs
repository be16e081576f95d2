//! Tables of a record in Markdown, and a document whose tables are made from one.
//!
//! A document marks where a table stands; what lies between the marks is written here, never by hand:
//!
//! ```text
//! <!-- bench:gemm from bench/record/<cpu>/<date>.csv -->
//! <!-- bench:end -->
//! ```
//!
//! `conv@avx2` is the table `conv` of a backend other than the record's first. A document may show several records: a table that
//! a record has nothing for, and that names another one, stays as it is.

mod makers;

use crate::output::save;
use crate::report::record::{self, Record};
use horq::escaped;
use makers::Markdown;
use std::fmt::Write;
use std::path::Path;

const START: &str = "<!-- bench:";
const FROM: &str = " from ";
const CLOSE: &str = " -->";
const END: &str = "<!-- bench:end -->";

/// Makes a table of a record, of the named backend rather than the first; none if the record has nothing for it.
type Make = fn(&[Record], Option<&str>) -> Option<Markdown>;

/// The tables by the names that marks use.
const TABLES: [(&str, Make); 8] = [
    ("gemm", makers::gemm),
    ("conv", makers::conv),
    ("network", makers::network),
    ("cold", makers::cold),
    ("weights", makers::weights),
    ("peers", makers::peers),
    ("peers-weights", makers::peers_weights),
    ("summary", makers::summary),
];

/// Rewrites every marked table of the document at `document` from the record at `path`.
///
/// # Errors
/// A message that names the file and what is wrong with its marks or with the record.
pub(crate) fn rewrite(document: &Path, path: &Path) -> Result<(), String> {
    let rows = record::read(path)?;
    let named = |error: String| format!("{}: {error}", escaped(document));
    let old = std::fs::read_to_string(document).map_err(|error| named(format!("cannot be read: {error}")))?;
    let new = filled(&old, &rows, &beside(document, path)).map_err(named)?;
    save(document, new)
}

/// The document with its tables made from `rows`, which `name` says where to find.
fn filled(document: &str, rows: &[Record], name: &str) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), document);
    let (mut marked, mut written) = (0, 0);
    while let Some(start) = rest.find(START) {
        let (before, mark) = rest.split_at(start);
        let (mark, after) = mark.split_once(CLOSE).ok_or("a mark of a table is not closed by `-->`")?;
        let (table, source) = mark[START.len()..].split_once(FROM).unwrap_or((&mark[START.len()..], name));
        let table = table.trim();
        let (kind, isa) = table.split_once('@').map_or((table, None), |(kind, isa)| (kind, Some(isa)));
        let known = || TABLES.map(|(name, _)| name).join(", ");
        let (_, make) = TABLES
            .iter()
            .find(|(name, _)| *name == kind)
            .ok_or_else(|| format!("no table is called `{kind}`; there are {}", known()))?;
        let end = after.find(END).ok_or_else(|| format!("`{END}` is missing behind the table {table}"))?;
        if after[..end].contains(START) {
            return Err(format!("`{END}` is missing behind the table {table}"));
        }
        marked += 1;
        match make(rows, isa) {
            Some(made) => {
                write!(filled, "{before}{START}{table}{FROM}{name}{CLOSE}\n{}\n{END}", made.text()).expect("memory");
                written += 1;
            }
            // Another record's.
            None if source.trim() != name => filled += &rest[..rest.len() - after.len() + end + END.len()],
            None => return Err(format!("{name} holds no results for the table {table}")),
        }
        rest = &after[end + END.len()..];
    }
    match (marked, written) {
        (0, _) => Err(format!("it marks no table; `{START}gemm{CLOSE}` and `{END}` do")),
        (_, 0) => Err(format!("{name} holds no results for any of its tables")),
        _ => Ok(filled + rest),
    }
}

/// The record's path as it is read from the document's folder.
fn beside(document: &Path, record: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute(document);
    let inside = absolute(record);
    let relative = folder.parent().and_then(|folder| inside.strip_prefix(folder).ok());
    relative.unwrap_or(record).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use horq_probe::peak::Unit;

    fn row(suite: &str, case: &str, order: usize, ns: f64) -> Record {
        Record {
            suite: suite.into(),
            case: case.into(),
            engine: "horq".into(),
            unit: Unit::Bit,
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
            ..Record::default()
        }
    }

    fn rows() -> Vec<Record> {
        let on = |isa: &str, row| Record { isa: Some(isa.into()), ..row };
        let of = |engine: &str, unit, row| Record { engine: engine.into(), unit, ..row };
        let portable = Record { limit_fraction: None, ..row("gemm", "1x2x3", 1, 20.0) };
        vec![
            row("gemm", "1x2x3", 1, 10.0),
            on("sse42", Record { limit_fraction: Some(0.25), ..row("gemm", "1x2x3", 1, 9.0) }),
            on("portable", portable),
            row("conv", "7x7", 1, 2000.0),
            on("sse42", row("conv", "7x7", 1, 8000.0)),
            row("conv", "7x7", 2, 4000.0),
            of("gemm", Unit::Float, row("weights", "7x7", 1, 900.0)),
            of("horq-f32", Unit::Float, row("weights", "7x7", 1, 1000.0)),
            of("horq-sign", Unit::BinaryWeight, row("weights", "7x7", 1, 300.0)),
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
        // A backend without a limit has no column of parts of it.
        assert!(table("gemm").contains("| 1x2x3 | 50.0 % | 25.0 % | 50.0 | 100 | 8.00 x |"), "{}", table("gemm"));
        assert!(table("gemm").contains("| portable, bMAC/cycle | avx2, bMAC/cycle |"), "{}", table("gemm"));
        assert!(table("conv").contains("| 7x7 | 2 | 4.00 | 50.0 % | 8.00 x |"), "{}", table("conv"));
        assert!(table("conv@sse42").contains("| 7x7 | 1 | 8.00 | 50.0 % | 8.00 x |"), "{}", table("conv@sse42"));
        assert!(table("conv@sse42").contains("sse42 on a CPU") && !table("conv").contains("| 8.00 | 50.0 %"));
        let cells = "| 7x7 | gemm 0.90 | 1.00 | 0.90 | - | - | - | - | - | - | - | - | 0.30 | 3.00 |";
        assert!(table("weights").contains(cells), "{}", table("weights"));
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
        for (document, named) in [
            ("<!-- bench:conv --><!-- bench:end -->", "for the table conv"),
            (
                "<!-- bench:gemm --><!-- bench:end --><!-- bench:conv@neon --><!-- bench:end -->",
                "for the table conv@neon",
            ),
            ("<!-- bench:conv from r.csv --><!-- bench:end -->", "for the table conv"),
            ("<!-- bench:conv from other.csv --><!-- bench:end -->", "for any of its tables"),
        ] {
            let error = filled(document, &rows()[..1], "r.csv").unwrap_err();
            assert!(error.contains(&format!("r.csv holds no results {named}")), "{document}: {error}");
        }
    }

    #[test]
    fn tables_of_other_records_stay() {
        let other = format!("{START}conv from other.csv{CLOSE}\nold\n{END}");
        let document = format!("a {other} b {START}gemm{CLOSE}{END} c");
        let made = filled(&document, &rows()[..1], "r.csv").unwrap();
        assert!(made.starts_with(&format!("a {other} b {START}gemm from r.csv{CLOSE}")), "{made}");
        assert!(made.ends_with(&format!("{END} c")), "{made}");
    }

    #[test]
    fn records_inside_the_documents_folder_are_named_from_there() {
        assert_eq!(beside(Path::new("a/README.md"), Path::new("a/b/c.csv")), "b/c.csv");
        assert_eq!(beside(Path::new("README.md"), Path::new("./bench/c.csv")), "bench/c.csv");
        assert_eq!(beside(Path::new("a/README.md"), Path::new("b/c.csv")), "b/c.csv");
    }

    /// Every page that shows tables shows those of the records that it names, and the first page is one of them.
    #[test]
    fn the_pages_show_their_records() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
        let docs = docs.map(|name| format!("docs/{}", name.to_str().unwrap())).filter(|name| name.ends_with(".md"));
        for page in docs.chain(["README.md".to_owned()]) {
            let text = std::fs::read_to_string(root.join(&page)).unwrap();
            let marks = text.split(START).skip(1).map(|mark| mark.split(CLOSE).next().unwrap());
            let mut names: Vec<&str> = marks.filter_map(|mark| Some(mark.split_once(FROM)?.1)).collect();
            names.dedup();
            assert!(page != "README.md" || !names.is_empty(), "{page} has a table whose mark names a record");
            for name in names {
                let rows = record::read(&root.join(name)).unwrap();
                let made = filled(&text, &rows, name).unwrap();
                assert!(made == text, "{page} is not what {name} says: horq-bench tables {name} --document {page}");
            }
        }
    }

    #[test]
    fn the_summary_has_a_row_a_case_that_was_measured() {
        let of = |engine: &str, unit, order, ns| Record {
            engine: engine.into(),
            unit,
            order,
            ..row("peers", "lenet5", 1, ns)
        };
        let rows = [
            of("horq", Unit::Bit, Some(1), 2000.0),
            of("horq", Unit::Bit, Some(2), 4000.0),
            of("litert", Unit::Int8, None, 3000.0),
            of("ncnn", Unit::Float, None, 16000.0),
        ];
        let made = filled(&format!("{START}summary{CLOSE}{END}"), &rows, "r.csv").unwrap();
        let cells = "| LeNet-5, 28x28 pixels | 2.00 | 4.00 | litert 3.00 | - | ncnn 16.0 |";
        assert!(made.contains(cells) && made.matches("\n|").count() == 3, "{made}");
    }
}
