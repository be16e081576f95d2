//! Two records side by side: what became faster or slower by more than noise explains.

use crate::report::record::{Record, distinct};
use crate::text;
use horq_probe::display::name;
use std::collections::HashMap;

/// What clocks alone may be wrong by: the two readings of a sample may differ by so much (`docs/measuring.md`).
const CLOCK: f64 = 0.02;
/// For records that do not say their spread.
const UNKNOWN_SPREAD: f64 = 0.1;

/// What the times of one case say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Faster,
    Same,
    Slower,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Same => "same",
            Self::Slower => "slower",
        }
    }
}

/// A case that both records hold.
#[derive(Debug)]
struct Pair<'a> {
    old: &'a Record,
    new: &'a Record,
}

/// Two records, case by case.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pairs: Vec<Pair<'a>>,
    /// Cases of the old record that the new one lacks, and the other way round.
    only: [usize; 2],
    remarks: Vec<String>,
}

/// What makes two results the same case.
type Key<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>, Option<usize>, usize, usize);

fn key(row: &Record) -> Key<'_> {
    let (mode, isa) = (row.mode.as_deref(), row.isa.as_deref());
    (&row.suite, &row.case, &row.engine, isa, mode, row.order, row.threads, row.batch.unwrap_or(1))
}

impl Pair<'_> {
    /// Cycles where both records have them, because the frequency may differ; else nanoseconds.
    fn times(&self) -> [f64; 2] {
        match (self.old.cycles, self.new.cycles) {
            (Some(old), Some(new)) => [old, new],
            _ => [self.old.ns, self.new.ns],
        }
    }

    /// How much longer the new one takes.
    fn change(&self) -> f64 {
        let [old, new] = self.times();
        new / old - 1.0
    }

    fn spreads(&self) -> [f64; 2] {
        [self.old, self.new].map(|row| row.spread.unwrap_or(UNKNOWN_SPREAD))
    }

    /// Each time stands for the interval from the kept sample to the median one. Only where these are further apart than
    /// clocks may be wrong, something has changed.
    fn verdict(&self) -> Verdict {
        let ([old, new], [old_spread, new_spread]) = (self.times(), self.spreads());
        if new > old * (1.0 + old_spread) * (1.0 + CLOCK) {
            Verdict::Slower
        } else if new * (1.0 + new_spread) * (1.0 + CLOCK) < old {
            Verdict::Faster
        } else {
            Verdict::Same
        }
    }
}

impl<'a> Comparison<'a> {
    const HEADER: &'static str = "case | engine | order | mode | isa | before us | now us | change | noise | verdict";

    /// What `say` tells people of the two records; `all` lists what stayed the same, too.
    pub(crate) fn report(&self, all: bool, say: &dyn Fn(&str)) {
        let rows = self.rows(all);
        if !rows.is_empty() {
            say(&text::table("compared", Self::HEADER, rows));
        }
        say(&format!("\n{}", self.summary().join("\n")));
    }

    /// Pairs the results of two records.
    pub(crate) fn new(old: &'a [Record], new: &'a [Record]) -> Self {
        let olds: HashMap<Key<'_>, &Record> = old.iter().map(|row| (key(row), row)).collect();
        let news: HashMap<Key<'_>, &Record> = new.iter().map(|row| (key(row), row)).collect();
        let pairs: Vec<Pair<'_>> =
            new.iter().filter_map(|new| olds.get(&key(new)).map(|old| Pair { old, new })).collect();
        let only = [
            old.iter().filter(|row| !news.contains_key(&key(row))).count(),
            new.iter().filter(|row| !olds.contains_key(&key(row))).count(),
        ];
        let mut comparison = Self { pairs, only, remarks: Vec::new() };
        comparison.remark(old, new);
        comparison
    }

    /// What makes the two hard to compare.
    fn remark(&mut self, old: &[Record], new: &[Record]) {
        let (Some(old), Some(new)) = (old.first(), new.first()) else { return };
        for (what, old, new) in [("CPU", &old.cpu, &new.cpu), ("clock", &old.clock, &new.clock)] {
            if old != new {
                self.remarks.push(format!("the {what} differs: {}, now {}", name(old), name(new)));
            }
        }
        let mut limits: Vec<f64> =
            self.pairs.iter().filter(|pair| pair.new.engine == "limit").map(Pair::change).collect();
        limits.sort_by(f64::total_cmp);
        if let Some(&change) = limits.get(limits.len() / 2)
            && change.abs() > CLOCK
        {
            let change = signed(change);
            self.remarks.push(format!("the machine's own limits moved by {change}: what is below moved with them"));
        }
    }

    /// Our cases that became slower.
    pub(crate) fn regressions(&self) -> usize {
        self.count(Verdict::Slower)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.pairs.iter().filter(|pair| pair.new.is_ours() && pair.verdict() == verdict).count()
    }

    /// A row for each case of ours, the largest slowdown first, as [`Self::HEADER`] has it; `all` adds those that stayed the same.
    fn rows(&self, all: bool) -> Vec<Vec<String>> {
        let shown = |pair: &&Pair<'_>| pair.new.is_ours() && (all || pair.verdict() != Verdict::Same);
        let mut pairs: Vec<&Pair<'_>> = self.pairs.iter().filter(shown).collect();
        pairs.sort_by(|a, b| b.change().total_cmp(&a.change()));
        let row = |pair: &&Pair<'_>| {
            let Pair { old, new } = *pair;
            let [old_spread, new_spread] = pair.spreads();
            vec![
                format!("{} {}", new.suite, new.case),
                new.engine.clone(),
                text::or_dash(new.order),
                text::or_dash(new.mode.as_ref()),
                text::or_dash(new.isa.as_ref()),
                text::micros(old.ns),
                text::micros(new.ns),
                signed(pair.change()),
                text::percent(Some(old_spread.max(new_spread) + CLOCK)),
                pair.verdict().name().into(),
            ]
        };
        pairs.iter().map(row).collect()
    }

    /// Counts, the mean change of each suite, and remarks.
    fn summary(&self) -> Vec<String> {
        let [faster, same, slower] = [Verdict::Faster, Verdict::Same, Verdict::Slower].map(|v| self.count(v));
        let mut lines = vec![format!("{slower} slower, {faster} faster, {same} the same within noise")];
        let ours = || self.pairs.iter().filter(|pair| pair.new.is_ours());
        for suite in distinct(ours().map(|pair| pair.new), |record| Some(record.suite.as_str())) {
            let of_suite = ours().filter(|pair| pair.new.suite == suite);
            let logs: Vec<f64> = of_suite.map(|pair| (1.0 + pair.change()).ln()).collect();
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp() - 1.0;
            lines.push(format!("{}: {} on the mean of {} cases", name(suite), signed(mean), logs.len()));
        }
        for (count, which) in self.only.iter().zip(["the old record only", "the new results only"]) {
            if *count > 0 {
                lines.push(format!("{count} cases are in {which}"));
            }
        }
        lines.extend(self.remarks.iter().map(|remark| format!("note: {remark}")));
        lines
    }
}

/// A change in percent of time.
fn signed(change: f64) -> String {
    format!("{:+.1} %", 100.0 * change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, cycles: f64, spread: f64) -> Record {
        Record {
            suite: "conv".into(),
            case: case.into(),
            engine: "horq".into(),
            threads: 1,
            cycles: Some(cycles),
            ns: cycles / 3.0,
            spread: Some(spread),
            ..Record::default()
        }
    }

    fn verdict(old: Record, new: Record) -> Verdict {
        Pair { old: &old, new: &new }.verdict()
    }

    #[test]
    fn a_change_beyond_both_intervals_and_the_clock_counts() {
        let old = || row("a", 1000.0, 0.05);
        for (cycles, expected) in [
            (1000.0, Verdict::Same),
            (1070.0, Verdict::Same),
            (1072.0, Verdict::Slower), // 1000 x 1.05 x 1.02 = 1071
            (981.0, Verdict::Same),
            (970.0, Verdict::Faster), // 970 x 1.01 x 1.02 = 999.3
        ] {
            assert_eq!(verdict(old(), row("a", cycles, 0.01)), expected, "{cycles}");
        }
    }

    #[test]
    fn noise_hides_what_it_could_explain() {
        assert_eq!(verdict(row("a", 1000.0, 0.3), row("a", 1250.0, 0.01)), Verdict::Same);
        assert_eq!(verdict(row("a", 1000.0, 0.01), row("a", 800.0, 0.3)), Verdict::Same);
        let silent = |cycles| Record { spread: None, ..row("a", cycles, 0.0) };
        assert_eq!(verdict(silent(1000.0), silent(1100.0)), Verdict::Same);
        assert_eq!(verdict(silent(1000.0), silent(1200.0)), Verdict::Slower);
    }

    #[test]
    fn cycles_count_before_nanoseconds() {
        let at = |cycles, ns| Record { cycles, ns, ..row("a", 0.0, 0.01) };
        assert_eq!(verdict(at(Some(1000.0), 300.0), at(Some(1000.0), 600.0)), Verdict::Same);
        assert_eq!(verdict(at(Some(1000.0), 300.0), at(None, 600.0)), Verdict::Slower);
    }

    #[test]
    fn cases_are_matched_by_all_that_names_them() {
        let with = |change: fn(&mut Record)| {
            let mut row = row("a", 2000.0, 0.01);
            change(&mut row);
            row
        };
        let old = [row("a", 1000.0, 0.01)];
        let different: [fn(&mut Record); 7] = [
            |row| row.suite = "gemm".into(),
            |row| row.case = "b".into(),
            |row| row.engine = "horq-f32".into(),
            |row| row.order = Some(2),
            |row| row.mode = Some("image".into()),
            |row| row.isa = Some("avx2".into()),
            |row| row.batch = Some(8),
        ];
        for change in different {
            let new = [with(change)];
            let comparison = Comparison::new(&old, &new);
            assert_eq!((comparison.pairs.len(), comparison.only), (0, [1, 1]));
        }
        let new = [with(|row| row.batch = Some(1))];
        assert_eq!(Comparison::new(&old, &new).regressions(), 1);
    }

    #[test]
    fn baselines_are_no_regressions_and_moved_limits_are_noted() {
        let limit = |cycles| Record { engine: "limit".into(), ..row("fma", cycles, 0.0) };
        let old = [limit(100.0), row("a", 100.0, 0.0), row("b", 100.0, 0.0), row("c", 100.0, 0.0)];
        let new = [limit(150.0), row("a", 150.0, 0.0), row("b", 50.0, 0.0), row("c", 100.0, 0.0)];
        let comparison = Comparison::new(&old, &new);
        assert_eq!(comparison.regressions(), 1);
        let summary = comparison.summary().join("\n");
        assert!(summary.contains("1 slower, 1 faster, 1 the same"), "{summary}");
        assert!(summary.contains("limits moved by +50.0 %"), "{summary}");
        let rows = comparison.rows(false);
        assert_eq!((rows.len(), rows[0].len()), (2, Comparison::HEADER.split('|').count()));
        assert_eq!((rows[0][0].as_str(), rows[0][9].as_str()), ("conv a", "slower"));
        assert_eq!(comparison.rows(true).len(), 3);
    }

    #[test]
    fn other_machines_are_noted() {
        let old = [Record { cpu: "A".into(), ..row("a", 1.0, 0.0) }];
        let new = [Record { cpu: "B".into(), ..row("a", 1.0, 0.0) }];
        assert!(Comparison::new(&old, &new).summary().join("\n").contains("the CPU differs: A, now B"));
    }
}
