//! Runs of two programs side by side: which cases became faster or slower, as far as the runs can tell.
//!
//! # Why this is right
//!
//! A machine changes its speed while programs run, and nobody knows when. So nothing is assumed about its noise. Runs come in
//! blocks, each of as many runs of the old program as of the new one in an order drawn at random (`programs.rs`). If the programs
//! are the same, a run takes what its moment gives it, whichever program has that moment, and each of the C(2n, n) orders of a
//! block was as likely as any other. How often a run of the old program took as long as a run of the new one or longer, of the
//! n * n pairs of a block, is the statistic of Mann and Whitney (1947). Under these orders it is distributed as the sizes of
//! partitions that fit into n x n squares ([`ways`]), whatever the noise, and sums over blocks as the convolution. Ties count
//! against a verdict.
//!
//! A case is called slower or faster if its sum is so small that it, or a smaller one, has a probability of at most
//! [`FALSE_ALARM`] / (2 x cases): two verdicts are possible for each case, and by Bonferroni's inequality *any* false one in a
//! whole comparison is then at most as likely as [`FALSE_ALARM`], however the cases hang together. Stopping early because no case
//! can be decided any more ([`Comparison::is_open`]) only ever takes verdicts away.
//!
//! With 3 runs of each a block, up to 3 cases take 3 blocks, 42 cases 4 and 615 cases 5 ([`blocks`]). A single run of each decides
//! nothing.

use crate::data::Numbers;
use crate::report::record::{Record, distinct};
use crate::text;
use horq_probe::display::name;
use std::collections::HashMap;

/// How likely a comparison of a program with itself is to have any verdict but "same".
const FALSE_ALARM: f64 = 0.01;
/// A change smaller than this is the same: what a clock may be wrong by, or where code lies in memory.
const SMALLEST: f64 = 0.02;
/// Pairs of runs that may contradict a verdict, when the number of blocks is chosen: one run may be off a little.
const SLACK: usize = 2;

/// Runs in a random order, of the old program and of the new one: the results of each.
pub(crate) type Block = [Vec<Vec<Record>>; 2];

/// What the times of one case say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Faster,
    Same,
    Slower,
    /// So few runs decide nothing.
    CannotTell,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Same => "same",
            Self::Slower => "slower",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// So many runs of the old program (0) and of the new one (1), every order as likely as any other.
pub(crate) fn shuffled(runs: usize, numbers: &mut Numbers) -> Vec<usize> {
    let mut order: Vec<usize> = (0..2 * runs).map(|run| run % 2).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, numbers.below(last + 1));
    }
    order
}

/// In how many orders of `old` and `new` runs so many pairs have the new run first, for each number of pairs.
fn ways(old: usize, new: usize) -> Vec<f64> {
    // Row by row: of j new runs with i old ones, the last run is a new one, before which no old run may stand behind it, or an
    // old one, which stands behind all j.
    let mut table = vec![vec![1.0]; new + 1];
    for i in 1..=old {
        for j in 1..=new {
            let mut sum = vec![0.0; i * j + 1];
            table[j - 1].iter().enumerate().for_each(|(pairs, ways)| sum[pairs] += ways);
            table[j].iter().enumerate().for_each(|(pairs, ways)| sum[pairs + j] += ways);
            table[j] = sum;
        }
    }
    table.pop().expect("a row for each number of new runs")
}

/// The largest sum over blocks of these sizes that decides a case, if any does.
fn deciding(sizes: impl IntoIterator<Item = [usize; 2]>, cases: usize) -> Option<usize> {
    let mut sums = vec![1.0];
    for [old, new] in sizes {
        let ways = ways(old, new);
        let orders: f64 = ways.iter().sum();
        let mut next = vec![0.0; sums.len() + ways.len() - 1];
        for (i, sum) in sums.iter().enumerate() {
            for (j, ways) in ways.iter().enumerate() {
                next[i + j] += sum * ways / orders;
            }
        }
        sums = next;
    }
    let mut tail = 0.0;
    let likely = |probability: &f64| {
        tail += probability;
        2.0 * cases as f64 * tail > FALSE_ALARM
    };
    sums.iter().position(likely).unwrap_or(0).checked_sub(1)
}

/// How many blocks of so many runs of each program decide that many cases.
pub(crate) fn blocks(runs: usize, cases: usize) -> usize {
    let enough = |&blocks: &usize| deciding((0..blocks).map(|_| [runs; 2]), cases.max(1)) >= Some(SLACK);
    (1..).find(enough).expect("each block makes false alarms less likely")
}

/// A case that all runs hold.
#[derive(Debug)]
struct Pair<'a> {
    record: &'a Record,
    /// For each block what the runs of the old program and of the new one took: cycles where all have them, because the frequency
    /// may differ; else nanoseconds.
    times: Vec<[Vec<f64>; 2]>,
    /// Nanoseconds of the fastest run of each.
    ns: [f64; 2],
    /// The largest spread that a run says of itself.
    spread: Option<f64>,
}

/// Two programs, case by case.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pairs: Vec<Pair<'a>>,
    /// The largest sum of contradicting pairs that decides a case.
    deciding: Option<usize>,
    /// Runs of each.
    runs: [usize; 2],
    /// Cases that some run of the old or the new program lacks.
    only: [usize; 2],
    remarks: Vec<String>,
}

/// What makes two results the same case.
type Key<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>, Option<usize>, usize, usize);

fn key(row: &Record) -> Key<'_> {
    let (mode, isa) = (row.mode.as_deref(), row.isa.as_deref());
    (&row.suite, &row.case, &row.engine, isa, mode, row.order, row.threads, row.batch.unwrap_or(1))
}

impl<'a> Pair<'a> {
    /// The results of one case, run by run; none if a run lacks it.
    fn new(
        record: &'a Record,
        found: impl Fn(usize, usize, usize) -> Option<&'a Record>,
        sizes: &[[usize; 2]],
    ) -> Option<Self> {
        let of_side = |block: usize, side: usize| (0..sizes[block][side]).map(move |run| (block, side, run));
        let all = || (0..sizes.len()).flat_map(|block| [0, 1].map(|side| of_side(block, side))).flatten();
        let rows: Vec<(usize, &Record)> =
            all().map(|(b, side, run)| Some((side, found(b, side, run)?))).collect::<Option<_>>()?;
        let counted = rows.iter().all(|(_, row)| row.cycles.is_some());
        let time = |row: &Record| row.cycles.filter(|_| counted).unwrap_or(row.ns);
        let times = (0..sizes.len()).map(|block| {
            [0, 1].map(|side| of_side(block, side).filter_map(|(b, s, run)| found(b, s, run)).map(time).collect())
        });
        let fastest = |side| rows.iter().filter(|row| row.0 == side).map(|row| row.1.ns).fold(f64::INFINITY, f64::min);
        let spread = rows.iter().filter_map(|(_, row)| row.spread).reduce(f64::max);
        Some(Self { record, times: times.collect(), ns: [fastest(0), fastest(1)], spread })
    }

    /// How much longer the new program takes: the median of the quotients within blocks (Hodges and Lehmann, 1963).
    fn change(&self) -> f64 {
        let within = |[old, new]: &[Vec<f64>; 2]| {
            new.iter().flat_map(|new| old.iter().map(move |old| new / old)).collect::<Vec<_>>()
        };
        let mut quotients: Vec<f64> = self.times.iter().flat_map(within).collect();
        quotients.sort_by(f64::total_cmp);
        let middle = quotients.len() / 2;
        (quotients[middle] + quotients[quotients.len() - 1 - middle]) / 2.0 - 1.0
    }

    /// Pairs of runs that contradict `Slower`, and those that contradict `Faster`.
    fn contradictions(&self) -> [usize; 2] {
        let count = |contradicts: fn(f64, f64) -> bool| {
            let of_block = |[old, new]: &[Vec<f64>; 2]| -> usize {
                new.iter().map(|&new| old.iter().filter(|&&old| contradicts(old, new)).count()).sum()
            };
            self.times.iter().map(of_block).sum()
        };
        [count(|old, new| old >= new), count(|old, new| new >= old)]
    }

    fn verdict(&self, deciding: Option<usize>) -> Verdict {
        let (Some(deciding), [slower, faster]) = (deciding, self.contradictions()) else { return Verdict::CannotTell };
        match self.change() {
            change if slower <= deciding && change > SMALLEST => Verdict::Slower,
            change if faster <= deciding && -change > SMALLEST => Verdict::Faster,
            _ => Verdict::Same,
        }
    }

    /// How far the middle half of one program's runs reaches; of a single run what it says of itself.
    fn noise(&self) -> Option<f64> {
        let apart = |side: usize| {
            let mut times: Vec<f64> = self.times.iter().flat_map(|block| block[side].iter().copied()).collect();
            times.sort_by(f64::total_cmp);
            let quarter = times.len() / 4;
            (times.len() > 1).then(|| times[times.len() - 1 - quarter] / times[quarter] - 1.0)
        };
        apart(0).into_iter().chain(apart(1)).reduce(f64::max).or(self.spread)
    }
}

impl<'a> Comparison<'a> {
    const HEADER: &'static str = "case | engine | order | mode | isa | before us | now us | change | noise | verdict";

    /// What `say` tells people of the two; `all` lists what stayed the same, too.
    pub(crate) fn report(&self, all: bool, say: &dyn Fn(&str)) {
        let rows = self.rows(all);
        if !rows.is_empty() {
            say(&text::table("compared", Self::HEADER, rows));
        }
        say(&format!("\n{}", self.summary().join("\n")));
    }

    /// Pairs the results of all runs. Where blocks were to be more than these, cases are judged by what all of them could have said.
    pub(crate) fn new(blocks: &'a [Block], planned: usize) -> Self {
        let sizes: Vec<[usize; 2]> = blocks.iter().map(|block| [block[0].len(), block[1].len()]).collect();
        let index = |run: &'a Vec<Record>| run.iter().map(|row| (key(row), row)).collect::<HashMap<Key<'_>, &Record>>();
        let runs: Vec<[Vec<HashMap<Key<'_>, &Record>>; 2]> =
            blocks.iter().map(|block| [0, 1].map(|side| block[side].iter().map(index).collect())).collect();
        let first = |side: usize| blocks.first().and_then(|block| block[side].first()).map_or(&[][..], |run| run);
        let pair = |row: &'a Record| {
            let key = key(row);
            Pair::new(row, |block, side, run| runs[block][side][run].get(&key).copied(), &sizes)
        };
        let pairs: Vec<Pair<'_>> = first(1).iter().filter_map(pair).collect();
        let only = [0, 1].map(|side| first(side).len() - pairs.len());
        let cases = pairs.iter().filter(|pair| pair.record.is_ours()).count();
        let count = |side: usize| sizes.iter().map(|size| size[side]).sum();
        let last = sizes.last().copied().unwrap_or_default();
        let further = (sizes.len()..planned).map(|_| last);
        let deciding = deciding(sizes.iter().copied().chain(further), cases);
        let mut comparison = Self { pairs, deciding, runs: [count(0), count(1)], only, remarks: vec![] };
        comparison.remark(first(0), first(1));
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
            self.pairs.iter().filter(|pair| pair.record.engine == "limit").map(Pair::change).collect();
        limits.sort_by(f64::total_cmp);
        if let Some(&change) = limits.get(limits.len() / 2)
            && change.abs() > SMALLEST
        {
            let change = signed(change);
            self.remarks.push(format!("the machine's own limits moved by {change}: what is below moved with them"));
        }
    }

    /// Cases of ours.
    fn ours(&self) -> impl Iterator<Item = &Pair<'a>> {
        self.pairs.iter().filter(|pair| pair.record.is_ours())
    }

    /// How many cases of ours there are.
    pub(crate) fn cases(&self) -> usize {
        self.ours().count()
    }

    /// Whether a case can still be decided by the blocks that were planned.
    pub(crate) fn is_open(&self) -> bool {
        let open = |pair: &Pair<'_>| pair.contradictions().iter().any(|&pairs| Some(pairs) <= self.deciding);
        self.deciding.is_some() && self.ours().any(open)
    }

    /// Our cases that became slower.
    ///
    /// # Errors
    /// A message if so few runs decide nothing.
    pub(crate) fn regressions(&self) -> Result<usize, String> {
        match self.deciding {
            Some(_) => Ok(self.count(Verdict::Slower)),
            None => Err(format!("--fail-on-regression: {}", self.undecided())),
        }
    }

    fn undecided(&self) -> String {
        let ([old, new], cases) = (self.runs, self.cases());
        format!(
            "{old} run(s) of the old and {new} of the new cannot tell a change of {cases} case(s) from noise; \
             `horq-bench compare OLD_PROGRAM NEW_PROGRAM -- SUITE` makes enough of both, in turns"
        )
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.ours().filter(|pair| pair.verdict(self.deciding) == verdict).count()
    }

    /// A row for each case of ours, the largest slowdown first, as [`Self::HEADER`] has it; `all` adds those that stayed the same.
    fn rows(&self, all: bool) -> Vec<Vec<String>> {
        let mut pairs: Vec<&Pair<'_>> =
            self.ours().filter(|pair| all || pair.verdict(self.deciding) != Verdict::Same).collect();
        pairs.sort_by(|a, b| b.change().total_cmp(&a.change()));
        let row = |pair: &&Pair<'_>| {
            let record = pair.record;
            vec![
                format!("{} {}", record.suite, record.case),
                record.engine.clone(),
                text::or_dash(record.order),
                text::or_dash(record.mode.as_ref()),
                text::or_dash(record.isa.as_ref()),
                text::micros(pair.ns[0]),
                text::micros(pair.ns[1]),
                signed(pair.change()),
                text::percent(pair.noise()),
                pair.verdict(self.deciding).name().into(),
            ]
        };
        pairs.iter().map(row).collect()
    }

    /// Counts, the mean change of each suite, and remarks.
    fn summary(&self) -> Vec<String> {
        let [faster, same, slower] = [Verdict::Faster, Verdict::Same, Verdict::Slower].map(|v| self.count(v));
        let mut lines = vec![match self.deciding {
            Some(_) => format!("{slower} slower, {faster} faster, {same} the same within noise"),
            None => format!("no verdict: {}", self.undecided()),
        }];
        for suite in distinct(self.ours().map(|pair| pair.record), |record| Some(record.suite.as_str())) {
            let of_suite = self.ours().filter(|pair| pair.record.suite == suite);
            let logs: Vec<f64> = of_suite.map(|pair| (1.0 + pair.change()).ln()).collect();
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp() - 1.0;
            lines.push(format!("{}: {} on the mean of {} cases", name(suite), signed(mean), logs.len()));
        }
        let mut noise: Vec<f64> = self.ours().filter_map(Pair::noise).collect();
        noise.sort_by(f64::total_cmp);
        if let Some(&middle) = noise.get(noise.len() / 2) {
            let middle = text::percent(Some(middle));
            lines.push(format!("noise is {middle} in the median case: much smaller changes stay hidden"));
        }
        for (count, which) in self.only.iter().zip(["the old results only", "the new results only"]) {
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
mod tests;
