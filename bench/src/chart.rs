//! Figures: lines and points over one or more panels, as SVG and PNG.
//!
//! The SVG is written here, and the PNG is that SVG rendered with an embedded font, so both show the same and need nothing
//! from the machine.

mod axis;
mod svg;

pub(crate) use axis::Scale;

use crate::output::save;
use std::path::Path;

/// A figure of panels side by side.
pub(crate) struct Figure {
    /// Stands above the panels.
    pub title: String,
    /// Stands below them: on what this was measured, and how.
    pub caption: Vec<String>,
    /// Left to right.
    pub panels: Vec<Panel>,
}

/// One pair of axes.
pub(crate) struct Panel {
    /// Stands above the axes.
    pub title: String,
    /// Quantity and unit.
    pub x_label: String,
    /// Quantity and unit.
    pub y_label: String,
    /// How x is drawn.
    pub x_scale: Scale,
    /// How y is drawn.
    pub y_scale: Scale,
    /// Where x is labelled; a label may have several lines.
    pub x_ticks: Vec<(f64, String)>,
    /// In the order of the legend.
    pub series: Vec<Series>,
    /// Rings with a label each.
    pub marks: Vec<Mark>,
    /// What the rings mean; stands in the legend if there are any.
    pub marks_name: String,
}

/// One line or set of points.
pub(crate) struct Series {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), by x.
    pub points: Vec<(f64, f64)>,
    /// x, and from where to where a measured y was; may be empty.
    pub bars: Vec<(f64, [f64; 2])>,
    /// How it looks.
    pub style: Style,
    /// Index into the palette.
    pub color: usize,
}

impl Series {
    /// A series without bars.
    pub(crate) fn new(name: impl Into<String>, points: Vec<(f64, f64)>, style: Style, color: usize) -> Self {
        Self { name: name.into(), points, bars: vec![], style, color }
    }
}

/// How a series looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A line with a mark at each point: measured.
    Measured,
    /// Marks alone: measured, at cases without an order of their own.
    Points,
    /// A dashed line: a model.
    Model,
    /// A dotted line: a limit.
    Limit,
}

/// A ring around a point, where two lines cross.
pub(crate) struct Mark {
    /// Where.
    pub at: (f64, f64),
    /// Stands beside it.
    pub label: String,
}

/// Pixels of a PNG for each unit of the SVG: about 200 dots an inch at the width of a page.
const PNG_SCALE: f32 = 2.0;

impl Figure {
    /// Writes `name.svg` and `name.png` into `folder`.
    ///
    /// # Errors
    /// If a file cannot be written; the message names it.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<(), String> {
        let svg = svg::draw(self);
        let png = render(&svg)?;
        for (extension, bytes) in [("svg", svg.as_bytes()), ("png", &png)] {
            let path = folder.join(name).with_extension(extension);
            save(&path, bytes)?;
        }
        Ok(())
    }
}

/// Renders with the embedded font only, whatever fonts the machine has.
fn render(svg: &str) -> Result<Vec<u8>, String> {
    use resvg::{tiny_skia, usvg};
    let mut options = usvg::Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.load_font_data(dejavu::sans::bold().to_vec());
    let tree = usvg::Tree::from_str(svg, &options).map_err(|error| format!("the figure is not valid SVG: {error}"))?;
    let size = tree.size().to_int_size().scale_by(PNG_SCALE).ok_or("the figure has no size")?;
    let mut pixels = tiny_skia::Pixmap::new(size.width(), size.height()).ok_or("the figure has no size")?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| format!("cannot encode the figure: {error}"))
}

/// Where the first line crosses the second, between points that they share, as the figure draws them: straight by that
/// scale of x and the logarithm of y.
pub(crate) fn crossing(first: &[(f64, f64)], second: &[(f64, f64)], scale: Scale) -> Option<(f64, f64)> {
    let [from_x, to_x]: [fn(f64) -> f64; 2] = match scale {
        Scale::Linear => [|x| x, |x| x],
        Scale::Log(_) => [f64::ln, f64::exp],
    };
    let shared = first.iter().filter_map(|&(x, y)| {
        let other = second.iter().find(|other| other.0 == x)?;
        Some((from_x(x), y.ln(), (y / other.1).ln()))
    });
    let shared: Vec<_> = shared.collect();
    shared.windows(2).find_map(|pair| {
        let [(x0, y0, gap0), (x1, y1, gap1)] = [pair[0], pair[1]];
        let share = gap0 / (gap0 - gap1);
        ((gap0 > 0.0) != (gap1 > 0.0)).then(|| (to_x(x0 + (x1 - x0) * share), (y0 + (y1 - y0) * share).exp()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_odd_values_is_drawn() {
        let series = |points: Vec<(f64, f64)>| Series {
            name: "a < b & c".into(),
            bars: points.iter().map(|&(x, y)| (x, [y / 2.0, y * 3.0])).collect(),
            points,
            style: Style::Measured,
            color: 0,
        };
        let panel = |points, y_scale| Panel {
            title: "t".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            x_scale: Scale::Log(2.0),
            y_scale,
            x_ticks: vec![(3.0, "3\nx".into()), (512.0, "512".into())],
            series: vec![series(points)],
            marks: vec![Mark { at: (64.0, 1.0), label: "here".into() }],
            marks_name: "here".into(),
        };
        let panels = vec![
            panel(vec![(3.0, 0.01), (512.0, 5e6)], Scale::Log(10.0)),
            panel(vec![(3.0, 7.0)], Scale::Linear),
            panel(vec![], Scale::Log(10.0)),
            panel(vec![(3.0, f64::NAN), (512.0, 1.0)], Scale::Linear),
        ];
        let svg = svg::draw(&Figure { title: "T".into(), caption: vec!["c".into()], panels });
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let png = render(&svg).unwrap();
        assert_eq!(&png[1..4], b"PNG");
    }

    #[test]
    fn crossings_are_found() {
        let level = [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)];
        let (x, y) = crossing(&[(1.0, 4.0), (2.0, 1.0)], &level, Scale::Linear).unwrap();
        assert!((x - 1.5).abs() < 1e-12 && (y - 2.0).abs() < 1e-12);
        let (x, _) = crossing(&[(1.0, 4.0), (2.0, 1.0)], &level, Scale::Log(2.0)).unwrap();
        assert!((x - 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(crossing(&[(1.0, 4.0), (2.0, 3.0)], &level, Scale::Linear), None);
    }
}
