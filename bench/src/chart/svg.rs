//! Draws a figure as SVG text.

use super::axis::{Axis, label};
use super::{Figure, Panel, Series, Style};
use horq::escaped;
use std::fmt::Write;

/// The palette of Okabe and Ito, which colour-blind readers can tell apart; yellow is left out, it vanishes on white.
const PALETTE: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00"];

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 24.0;
const PLOT_HEIGHT: f64 = 380.0;
/// Left of the axes, for the labels of y.
const LEFT: f64 = 68.0;
const RIGHT: f64 = 14.0;
/// Above the axes: the figure's title, then the panel's.
const TOP: f64 = 92.0;
const LEGEND_LINE: f64 = 21.0;
const CAPTION_LINE: f64 = 17.0;

pub(super) fn draw(figure: &Figure) -> String {
    let legend_lines =
        figure.panels.iter().map(|panel| panel.series.len() + usize::from(!panel.marks.is_empty())).max().unwrap_or(0)
            as f64;
    let tick_lines = figure.panels.iter().flat_map(|panel| &panel.x_ticks).map(|tick| tick.1.lines().count()).max();
    let below = 14.0 * tick_lines.unwrap_or(1) as f64 + 46.0;
    let legend_top = TOP + PLOT_HEIGHT + below;
    let caption_top = legend_top + LEGEND_LINE * legend_lines + 18.0;
    let height = caption_top + CAPTION_LINE * figure.caption.len() as f64 + 6.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="'DejaVu Sans', Verdana, sans-serif" font-size="12" fill="#222">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
"##
    );
    text(&mut svg, [WIDTH / 2.0, 38.0], &figure.title, r#"font-size="18" font-weight="bold" text-anchor="middle""#);
    let width = (WIDTH - 2.0 * MARGIN) / figure.panels.len().max(1) as f64;
    for (i, panel) in figure.panels.iter().enumerate() {
        draw_panel(&mut svg, panel, MARGIN + width * i as f64, width, legend_top);
    }
    for (i, line) in figure.caption.iter().enumerate() {
        let at = [MARGIN, caption_top + CAPTION_LINE * i as f64];
        text(&mut svg, at, line, r##"font-size="11" fill="#555""##);
    }
    svg + "</svg>\n"
}

fn draw_panel(svg: &mut String, panel: &Panel, left: f64, width: f64, legend_top: f64) {
    let (x0, x1, y0, y1) = (left + LEFT, left + width - RIGHT, TOP + PLOT_HEIGHT, TOP);
    let x_values: Vec<f64> = panel.x_ticks.iter().map(|tick| tick.0).collect();
    let x = Axis::around(panel.x_scale, &x_values, [x0, x1]);
    let bars = |series: &'_ Series| series.bars.iter().flat_map(|bar| bar.1).collect::<Vec<f64>>();
    let values = panel.series.iter().flat_map(|series| series.points.iter().map(|point| point.1).chain(bars(series)));
    let y = Axis::reaching(panel.y_scale, values, [y0, y1]);

    text(svg, [(x0 + x1) / 2.0, TOP - 14.0], &panel.title, r#"font-size="14" text-anchor="middle""#);
    for (value, labelled) in y.ticks() {
        let Some(at) = y.at(value) else { continue };
        let color = if labelled { "#cfcfcf" } else { "#ececec" };
        line(svg, [x0, at], [x1, at], &format!(r#"stroke="{color}""#));
        if labelled {
            text(svg, [x0 - 7.0, at + 4.0], &label(value), r#"text-anchor="end""#);
        }
    }
    for (value, name) in &panel.x_ticks {
        let Some(at) = x.at(*value) else { continue };
        line(svg, [at, y0], [at, y1], r##"stroke="#ececec""##);
        for (i, name) in name.lines().enumerate() {
            text(svg, [at, y0 + 18.0 + 14.0 * i as f64], name, r#"text-anchor="middle""#);
        }
    }
    let frame = format!(
        r##"<rect x="{x0:.1}" y="{y1:.1}" width="{:.1}" height="{:.1}" fill="none" stroke="#444"/>"##,
        x1 - x0,
        y0 - y1
    );
    svg.push_str(&frame);
    text(svg, [(x0 + x1) / 2.0, legend_top - 22.0], &panel.x_label, r#"text-anchor="middle""#);
    let (turn_x, turn_y) = (left + 14.0, (y0 + y1) / 2.0);
    let turned = format!(r#"text-anchor="middle" transform="rotate(-90 {turn_x:.1} {turn_y:.1})""#);
    text(svg, [turn_x, turn_y], &panel.y_label, &turned);

    for (i, series) in panel.series.iter().enumerate() {
        let points: Vec<[f64; 2]> = series.points.iter().filter_map(|&(px, py)| Some([x.at(px)?, y.at(py)?])).collect();
        for &(at, range) in &series.bars {
            if let (Some(x), [Some(low), Some(high)]) = (x.at(at), range.map(|value| y.at(value))) {
                draw_bar(svg, x, [low, high], series.color);
            }
        }
        draw_series(svg, series, &points);
        let at = legend_top + LEGEND_LINE * i as f64;
        let sample = [[x0, at], [x0 + 15.0, at], [x0 + 30.0, at]];
        draw_series(svg, series, if series.style == Style::Points { &sample[1..2] } else { &sample });
        text(svg, [x0 + 40.0, at + 4.0], &series.name, "");
    }
    for mark in &panel.marks {
        let (Some(px), Some(py)) = (x.at(mark.at.0), y.at(mark.at.1)) else { continue };
        ring(svg, [px, py]);
        // On white, so that no line runs through it.
        let halo = r##"font-size="11" text-anchor="middle" paint-order="stroke" stroke="#fff" stroke-width="3""##;
        text(svg, [px, py - 13.0], &mark.label, halo);
    }
    if !panel.marks.is_empty() {
        let at = legend_top + LEGEND_LINE * panel.series.len() as f64;
        ring(svg, [x0 + 15.0, at]);
        text(svg, [x0 + 40.0, at + 4.0], &panel.marks_name, "");
    }
}

fn ring(svg: &mut String, [x, y]: [f64; 2]) {
    let _ = writeln!(svg, r##"<circle cx="{x:.1}" cy="{y:.1}" r="8" fill="none" stroke="#222" stroke-width="1.6"/>"##);
}

fn draw_series(svg: &mut String, series: &Series, points: &[[f64; 2]]) {
    let color = PALETTE[series.color % PALETTE.len()];
    if series.style != Style::Points && points.len() > 1 {
        let path: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let dash = match series.style {
            Style::Measured | Style::Points => "",
            Style::Model => r#" stroke-dasharray="8 5""#,
            Style::Limit => r#" stroke-dasharray="2 4""#,
        };
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="2"{dash}/>"#,
            path.join(" ")
        );
    }
    if matches!(series.style, Style::Measured | Style::Points) {
        // A sample in the legend shows its mark once, in the middle.
        let marked = if points.len() == 3 && points[0][1] == points[2][1] && points[2][0] - points[0][0] < 31.0 {
            &points[1..2]
        } else {
            points
        };
        marked.iter().for_each(|&point| draw_mark(svg, point, series.color, color));
    }
}

/// From where to where a value was.
fn draw_bar(svg: &mut String, x: f64, [low, high]: [f64; 2], color: usize) {
    let style = format!(r#"stroke="{}" stroke-width="1.5""#, PALETTE[color % PALETTE.len()]);
    line(svg, [x, low], [x, high], &style);
    [low, high].iter().for_each(|&y| line(svg, [x - 5.0, y], [x + 5.0, y], &style));
}

/// Each colour has a shape of its own, for prints without colour.
fn draw_mark(svg: &mut String, [x, y]: [f64; 2], index: usize, color: &str) {
    let _ = match index % 4 {
        0 => writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.5" fill="{color}"/>"#),
        1 => writeln!(svg, r#"<rect x="{:.1}" y="{:.1}" width="8" height="8" fill="{color}"/>"#, x - 4.0, y - 4.0),
        2 => writeln!(svg, r#"<path d="M{x:.1} {:.1} l5 9 h-10 z" fill="{color}"/>"#, y - 5.5),
        _ => writeln!(svg, r#"<path d="M{x:.1} {:.1} l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 z" fill="{color}"/>"#, y - 5.5),
    };
}

fn line(svg: &mut String, from: [f64; 2], to: [f64; 2], style: &str) {
    let _ =
        writeln!(svg, r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" {style}/>"#, from[0], from[1], to[0], to[1]);
}

fn text(svg: &mut String, at: [f64; 2], text: &str, style: &str) {
    let text = escaped(text).to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, r#"<text x="{:.1}" y="{:.1}" {style}>{text}</text>"#, at[0], at[1]);
}
