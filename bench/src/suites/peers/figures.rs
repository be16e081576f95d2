//! Figures of a record of this suite: time by order beside the peers, and where they are even.

use super::ORDERS;
use crate::chart::{Figure, Mark, Panel, Scale, Series, Style};
use crate::report::crossover::{Contest, Kind, contests};
use crate::report::record::Row;
use crate::text;

/// Panels of one figure.
const PANELS: usize = 3;

/// A panel a case; `caption` says on what and with what it was measured.
pub(crate) fn figures(rows: &[Row], caption: &[String]) -> Vec<(String, Figure)> {
    let mut lines = vec![
        "Batch 1, one thread, f32 in and out; medians of turns. OpenVINO's orders above 1 are composed.".to_owned(),
    ];
    lines.extend_from_slice(caption);
    let panels: Vec<Panel> = contests(rows).iter().map(|contest| panel(contest, rows)).collect();
    let mut figures = Vec::new();
    let mut panels = panels.into_iter().peekable();
    while panels.peek().is_some() {
        let panels: Vec<Panel> = panels.by_ref().take(PANELS).collect();
        let title = "Time by order, beside what a user could pick instead".to_owned();
        figures.push((format!("peers-{}", figures.len() + 1), Figure { title, caption: lines.clone(), panels }));
    }
    figures
}

/// The lines below the figures of a kept record.
pub(crate) fn caption(rows: &[Row]) -> Vec<String> {
    let Some(row) = rows.first() else { return vec![] };
    let rustc = row.rustc.split(" (").next().unwrap_or(&row.rustc);
    vec![format!("{}; commit {}, {rustc}, {}.", row.cpu, row.commit, row.date)]
}

fn panel(contest: &Contest<'_>, rows: &[Row]) -> Panel {
    let of_case = || rows.iter().filter(|row| row.suite == super::report::SUITE && row.case == contest.case);
    let by_order = |keep: &dyn Fn(&Row) -> bool| -> Vec<(f64, f64)> {
        of_case().filter(|row| keep(row)).filter_map(|row| Some((row.order? as f64, row.ns / 1000.0))).collect()
    };
    let mut modes: Vec<&str> = of_case().filter_map(|row| row.mode.as_deref()).collect();
    modes.dedup();
    let mut series: Vec<Series> = modes
        .into_iter()
        .enumerate()
        .map(|(color, mode)| Series {
            name: format!("horq, {mode}"),
            points: by_order(&|row| row.engine == "horq" && row.mode.as_deref() == Some(mode)),
            style: Style::Measured,
            color,
        })
        .collect();
    let points = by_order(&|row| row.engine == "openvino" && row.unit == "bit");
    if !points.is_empty() {
        let name = "OpenVINO binary (above 1 composed)".into();
        series.push(Series { name, points, style: Style::Measured, color: 2 });
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
        series.push(Series {
            name: format!("{}: {}", rival.kind.name(), rival.engine),
            points,
            style: Style::Model,
            color,
        });
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
        marks_name: "even with the dashed line, at this order",
    }
}
