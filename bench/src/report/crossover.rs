//! From which order on other engines win: what a record of the suite `peers` says, case by case.

use crate::chart::{Scale, crossing};
use crate::report::record::{Record, distinct};
use crate::text;
use horq_kernels::ScaleMode;
use horq_probe::peak::Unit;

/// Our orders beside the best of the others on one case.
pub(crate) struct Contest<'a> {
    pub case: &'a str,
    /// The scale mode of our times.
    pub mode: &'a str,
    /// Nanoseconds by order, from 1.
    pub ours: Vec<f64>,
    pub rivals: Vec<Rival<'a>>,
}

/// The fastest engine of a kind.
pub(crate) struct Rival<'a> {
    /// Its kind.
    pub kind: Kind,
    pub engine: &'a str,
    pub ns: f64,
}

/// What a rival computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// int8 by whatever the CPU has.
    Int8,
    /// int8 without matrix units.
    Int8Vectors,
    Float,
}

/// The engine that was told to leave matrix units alone, so that it is a rival of its own kind.
const VECTORS: &str = "-vectors";

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Int8, Self::Int8Vectors, Self::Float];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int8Vectors => "int8 without matrix units",
            Self::Float => "f32",
        }
    }

    fn holds(self, row: &Record) -> bool {
        let vectors = row.engine.ends_with(VECTORS);
        match self {
            Self::Int8 => row.unit == Unit::Int8 && !vectors,
            Self::Int8Vectors => row.unit == Unit::Int8 && vectors,
            Self::Float => row.unit == Unit::Float,
        }
    }
}

/// The scale mode of byte tables.
const HALVING: &str = ScaleMode::Halving.name();

/// All cases of a record that were run in turns, in its order.
pub(crate) fn contests(rows: &[Record]) -> Vec<Contest<'_>> {
    let in_turns = rows.iter().filter(|row| row.suite == "peers" && row.order.is_some() && !row.case.contains('/'));
    let cases = distinct(in_turns, |row| Some(row.case.as_str()));
    cases
        .into_iter()
        .flat_map(|case| modes(rows, case).into_iter().map(move |mode| contest(rows, case, mode)))
        .collect()
}

fn of_case<'a>(rows: &'a [Record], case: &'a str) -> impl Iterator<Item = &'a Record> {
    rows.iter().filter(move |row| row.suite == "peers" && row.case == case)
}

fn binary<'a>(rows: &'a [Record], case: &'a str) -> impl Iterator<Item = &'a Record> {
    of_case(rows, case).filter(|row| row.engine == "horq" && row.order.is_some())
}

/// The first scale mode that a record has of a case, and `halving`, whose cost is another, if it has that.
fn modes<'a>(rows: &'a [Record], case: &'a str) -> Vec<&'a str> {
    let mut modes = distinct(binary(rows, case), |row| row.mode.as_deref()).into_iter();
    let first = modes.next();
    first.into_iter().chain(modes.filter(|&mode| mode == HALVING)).collect()
}

fn contest<'a>(rows: &'a [Record], case: &'a str, mode: &'a str) -> Contest<'a> {
    let of_case = || of_case(rows, case);
    let binary = || binary(rows, case);
    let mut ours: Vec<(usize, f64)> =
        binary().filter(|row| row.mode.as_deref() == Some(mode)).filter_map(|row| Some((row.order?, row.ns))).collect();
    ours.sort_by_key(|&(order, _)| order);
    let rival = |kind: Kind| {
        let of_kind = of_case().filter(|row| !row.is_ours() && kind.holds(row));
        let best = of_kind.min_by(|a, b| a.ns.total_cmp(&b.ns))?;
        Some(Rival { kind, engine: best.engine.trim_end_matches(VECTORS), ns: best.ns })
    };
    let ours = ours.into_iter().map(|(_, ns)| ns).collect();
    Contest { case, mode, ours, rivals: Kind::ALL.into_iter().filter_map(rival).collect() }
}

impl Contest<'_> {
    pub(crate) fn rival(&self, kind: Kind) -> Option<&Rival<'_>> {
        self.rivals.iter().find(|rival| rival.kind == kind)
    }

    /// The order at which ours takes as long, between the orders that were measured; beyond them by the line through the
    /// first and last, which is no measurement: `true` stands for measured.
    pub(crate) fn even_at(&self, rival: &Rival<'_>) -> Option<(f64, bool)> {
        let orders = || (1..).map(|order| order as f64);
        let ours: Vec<(f64, f64)> = orders().zip(self.ours.iter().copied()).collect();
        let level: Vec<(f64, f64)> = ours.iter().map(|&(order, _)| (order, rival.ns)).collect();
        if let Some((order, _)) = crossing(&ours, &level, Scale::Linear) {
            return Some((order, true));
        }
        // Byte tables cost about the same at each of their orders, and popcount takes over behind them: no line goes through both.
        if self.mode == HALVING {
            return None;
        }
        let (&first, &last) = (self.ours.first()?, self.ours.last()?);
        let slope = (last - first) / (self.ours.len() as f64 - 1.0);
        let order = 1.0 + (rival.ns - first) / slope;
        (slope > 0.0 && order > 1.0).then_some((order, false))
    }

    /// From which whole order on the rival wins, and in brackets where they are even, as tables show it.
    pub(crate) fn wins_from(&self, rival: &Rival<'_>) -> String {
        if self.ours.first().is_some_and(|&first| first >= rival.ns) {
            return "1".into();
        }
        let Some((order, measured)) = self.even_at(rival) else {
            return if self.mode == HALVING { format!("none to {}", self.ours.len()) } else { "none".into() };
        };
        let about = if measured { "" } else { "about " };
        format!("{about}{:.0} ({})", order.floor() + 1.0, text::number(Some(order)))
    }
}

/// All contests as a table for people.
pub(crate) fn table(title: &str, contests: &[Contest<'_>]) -> String {
    let orders = contests.iter().map(|contest| contest.ours.len()).max().unwrap_or(0);
    let mut header = "case | mode".to_owned();
    header.extend((1..=orders).map(|order| format!(" | order {order}, us")));
    header.extend(Kind::ALL.map(|kind| format!(" | best {} | us | wins from (even)", kind.name())));
    let row = |contest: &Contest<'_>| {
        let mut row = vec![contest.case.to_owned(), contest.mode.to_owned()];
        row.extend((0..orders).map(|i| text::or_dash(contest.ours.get(i).map(|&ns| text::micros(ns)))));
        for kind in Kind::ALL {
            row.extend(match contest.rival(kind) {
                Some(rival) => [rival.engine.to_owned(), text::micros(rival.ns), contest.wins_from(rival)],
                None => ["-"; 3].map(str::to_owned),
            });
        }
        row
    };
    text::table(title, &header, contests.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &str, unit: Unit, order: Option<usize>, ns: f64) -> Record {
        let mode = order.filter(|_| engine == "horq").map(|_| "image".to_owned());
        Record {
            suite: "peers".into(),
            case: "layer".into(),
            engine: engine.into(),
            unit,
            order,
            mode,
            ns,
            ..Record::default()
        }
    }

    fn rows() -> Vec<Record> {
        vec![
            row("horq-f32", Unit::Float, None, 5.0),
            row("horq", Unit::Bit, Some(1), 10.0),
            row("horq", Unit::Bit, Some(2), 20.0),
            row("horq", Unit::Bit, Some(3), 30.0),
            Record { mode: Some("window".into()), ..row("horq", Unit::Bit, Some(1), 1.0) },
            row("openvino", Unit::Bit, Some(1), 50.0),
            row("openvino", Unit::Int8, None, 26.0),
            row("litert", Unit::Int8, None, 25.0),
            row("openvino-vectors", Unit::Int8, None, 45.0),
            row("ncnn", Unit::Float, None, 8.0),
            Record { case: "layer/cold".into(), ..row("horq", Unit::Bit, Some(1), 1.0) },
        ]
    }

    #[test]
    fn the_best_of_each_kind_is_the_rival() {
        let rows = rows();
        let contests = contests(&rows);
        assert_eq!(contests.len(), 1);
        let contest = &contests[0];
        assert_eq!((contest.case, contest.mode, &contest.ours[..]), ("layer", "image", &[10.0, 20.0, 30.0][..]));
        let rivals: Vec<_> = contest.rivals.iter().map(|rival| (rival.kind, rival.engine, rival.ns)).collect();
        let expected =
            [(Kind::Int8, "litert", 25.0), (Kind::Int8Vectors, "openvino", 45.0), (Kind::Float, "ncnn", 8.0)];
        assert_eq!(rivals, expected);
    }

    #[test]
    fn halving_scales_have_a_contest_of_their_own() {
        let mut rows = rows();
        rows.push(Record { mode: Some(HALVING.into()), ..row("horq", Unit::Bit, Some(1), 9.0) });
        let modes: Vec<_> = contests(&rows).iter().map(|contest| (contest.mode, contest.ours.len())).collect();
        assert_eq!(modes, [("image", 3), (HALVING, 1)]);
    }

    #[test]
    fn where_times_are_even() {
        let rows = rows();
        let contest = &contests(&rows)[0];
        let [int8, vectors, float] = &contest.rivals[..] else { panic!("three rivals") };
        let (order, measured) = contest.even_at(int8).unwrap();
        assert!(measured && order > 2.4 && order < 2.6, "{order}");
        assert!(contest.wins_from(int8).starts_with("3 (2."), "{}", contest.wins_from(int8));
        assert_eq!(contest.even_at(vectors), Some((4.5, false)));
        assert_eq!(contest.wins_from(vectors), "about 5 (4.50)");
        assert_eq!((contest.even_at(float), contest.wins_from(float)), (None, "1".into()));
        let halving = Contest { mode: HALVING, ..contests(&rows).remove(0) };
        assert!(halving.wins_from(int8).starts_with("3 (2."), "{}", halving.wins_from(int8));
        assert_eq!(halving.wins_from(vectors), "none to 3");
        let level = Contest { ours: vec![1.0, 1.0], ..contests(&rows).remove(0) };
        assert_eq!(level.wins_from(int8), "none");
    }
}
