//! Figures of a record of this suite: time by order beside the peers, and where they are even.

use super::ORDERS;
use crate::chart::{Figure, Mark, Panel, Scale, Series, Style};
use crate::report::crossover::{Contest, Kind, contests};
use crate::report::record::{Record, distinct};
use crate::text;
use horq_probe::peak::Unit;

/// Panels of one figure.
const PANELS: usize = 3;

/// A panel a case; `caption` says on what and with what it was measured.
pub(crate) fn figures(rows: &[Record], caption: &[String]) -> Vec<(String, Figure)> {
    let mut lines = vec![
        "Batch 1, one thread, f32 in and out; medians of turns. OpenVINO's orders above 1 are composed.".to_owned(),
    ];
    lines.extend_from_slice(caption);
    let figure = |(number, cases): (usize, &[Contest<'_>])| {
        let title = "Time by order, beside what a user could pick instead".to_owned();
        let panels = cases.iter().map(|contest| panel(contest, rows)).collect();
        (format!("peers-{}", number + 1), Figure { title, caption: lines.clone(), panels })
    };
    // A panel has all modes of a case.
    let mut cases = contests(rows);
    cases.dedup_by_key(|contest| contest.case);
    cases.chunks(PANELS).enumerate().map(figure).collect()
}

/// The lines below the figures of a kept record.
pub(crate) fn caption(rows: &[Record]) -> Vec<String> {
    let Some(row) = rows.first() else { return vec![] };
    vec![format!("{}; commit {}, {}, {}.", row.cpu, row.commit, row.compiler(), row.date)]
}

fn panel(contest: &Contest<'_>, rows: &[Record]) -> Panel {
    let of_case = || rows.iter().filter(|row| row.suite == super::report::SUITE && row.case == contest.case);
    let by_order = |keep: &dyn Fn(&Record) -> bool| -> Vec<(f64, f64)> {
        of_case().filter(|row| keep(row)).filter_map(|row| Some((row.order? as f64, row.ns / 1000.0))).collect()
    };
    let modes = distinct(of_case(), |row| row.mode.as_deref());
    let mut series: Vec<Series> = modes
        .into_iter()
        .enumerate()
        .map(|(color, mode)| {
            let points = by_order(&|row| row.engine == "horq" && row.mode.as_deref() == Some(mode));
            Series::new(format!("horq, {mode}"), points, Style::Measured, color)
        })
        .collect();
    let points = by_order(&|row| row.engine == "openvino" && row.unit == Unit::Bit);
    if !points.is_empty() {
        series.push(Series::new("OpenVINO binary (above 1 composed)", points, Style::Measured, 5));
    }
    let mut marks = Vec::new();
    for rival in &contest.rivals {
        let color = match rival.kind {
            Kind::Int8 => 3,
            Kind::Int8Vectors => 6,
            Kind::Float => 4,
        };
        let points: Vec<(f64, f64)> = ORDERS.map(|order| (order as f64, rival.ns / 1000.0)).collect();
        if let Some((order, true)) = contest.even_at(rival) {
            marks.push(Mark { at: (order, rival.ns / 1000.0), label: text::number(Some(order)) });
        }
        series.push(Series::new(format!("{}: {}", rival.kind.name(), rival.engine), points, Style::Model, color));
    }
    Panel {
        title: contest.case.to_owned(),
        x_label: "order".into(),
        y_label: "us".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Log(10.0),
        x_ticks: ORDERS.map(|order| (order as f64, order.to_string())).collect(),
        series,
        marks,
        marks_name: "even with the dashed line, at this order".into(),
    }
}
