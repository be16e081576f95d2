//! The papers' curves: speed-up against kernel size, channels and order, with both theoretical models beside them.

use crate::chart::{Figure, Mark, Panel, Scale, Series, Style};
use crate::cli::{Curve, geometry};
use crate::harness::Lab;
use crate::report::crossover::{Contest, Kind};
use crate::report::record::Record;
use crate::suites::conv::{MODES, case, measure, mode_name};
use crate::text;
use crate::variants::Form;
use horq_kernels::{MAX_ORDER, ScaleMode};
use horq_probe::peak::Unit;

/// The image's side and the filters of every curve, unless they are what varies.
const SIDE: usize = 14;
const FILTERS: usize = 256;
/// The order where it does not vary: the paper's second.
const ORDER: usize = 2;

/// Speed-up over one float product a clock when a clock does 64 binary operations, scales counted, quantizing left out
/// (HORQ, section 3): order `order`, `depth` = c w h products an output.
pub(crate) fn paper_model(order: usize, depth: usize) -> f64 {
    let (order, depth) = (order as f64, depth as f64);
    64.0 * depth / (order * depth + 64.0 * (order + 1.0))
}

/// The same with the quantizing of the columns, shared by `filters` outputs.
pub(crate) fn full_model(order: usize, depth: usize, filters: usize) -> f64 {
    let (order, depth, filters) = (order as f64, depth as f64, filters as f64);
    depth * filters / (order * depth * filters / 64.0 + 2.0 * order * depth + (order + 1.0) * filters)
}

impl Curve {
    const fn suite(self) -> &'static str {
        match self {
            Self::Kernel => "curve-kernel",
            Self::Channels => "curve-channels",
            Self::Order => "curve-order",
            Self::Pixels => "curve-pixels",
        }
    }

    /// Values of x.
    fn values(self) -> Vec<usize> {
        match self {
            Self::Kernel => vec![1, 3, 5, 7, 11],
            Self::Channels => vec![3, 16, 32, 64, 128, 256, 512],
            Self::Order => (1..=MAX_ORDER).collect(),
            Self::Pixels => vec![4, 7, 14, 28, 56],
        }
    }

    /// Kernel, channels and order at a value of x.
    const fn at(self, x: usize) -> [usize; 3] {
        match self {
            Self::Kernel => [x, 256, ORDER],
            Self::Channels => [3, x, ORDER],
            Self::Order => [3, 256, x],
            Self::Pixels => [3, 256, ORDER],
        }
    }

    /// The image's side at a value of x.
    const fn side(self, x: usize) -> usize {
        if matches!(self, Self::Pixels) { x } else { SIDE }
    }

    /// The value of x that a record belongs to.
    fn x(self, record: &Record) -> Option<f64> {
        self.values()
            .into_iter()
            .find(|&x| {
                let [kernel, channels, order] = self.at(x);
                let side = self.side(x);
                let shape = record.m == Some(side * side) && record.k == Some(kernel * kernel * channels);
                shape && record.order == Some(order)
            })
            .map(|x| x as f64)
    }

    const fn x_label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel: taps in each direction",
            Self::Channels => "input channels",
            Self::Order => "order: planes of the activations",
            Self::Pixels => "pixels: side of the image",
        }
    }

    const fn x_scale(self) -> Scale {
        match self {
            Self::Channels | Self::Pixels => Scale::Log(2.0),
            _ => Scale::Linear,
        }
    }

    fn title(self) -> String {
        let what = match self {
            Self::Kernel => format!("kernel size (order {ORDER}, 256 channels)"),
            Self::Channels => format!("channels (order {ORDER}, 3\u{d7}3)"),
            Self::Order => "order (3\u{d7}3, 256 channels)".into(),
            Self::Pixels => format!("pixels (order {ORDER}, 3\u{d7}3, 256 channels)"),
        };
        format!("Speed-up of a binary convolution against {what}")
    }
}

/// Runs some curves.
pub(crate) fn run(lab: &mut Lab, curves: &[Curve]) -> Result<(), String> {
    let isa = lab.isas()[0];
    for &which in curves {
        let mut table = Vec::new();
        // Orders share their float times.
        let cases: Vec<([usize; 3], Vec<usize>)> = match which {
            Curve::Order => vec![([SIDE, 3, 256], which.values())],
            _ => {
                let values = which.values().into_iter();
                values.map(|x| ([which.side(x), which.at(x)[0], which.at(x)[1]], vec![ORDER])).collect()
            }
        };
        for ([side, kernel, channels], orders) in cases {
            let geometry = geometry([side, side, channels, FILTERS], kernel, 1);
            let times = measure(lab, which.suite(), &geometry, isa, &orders, &MODES)?;
            for order in orders {
                let x = match which {
                    Curve::Kernel => kernel,
                    Curve::Channels => channels,
                    Curve::Order => order,
                    Curve::Pixels => side,
                };
                let mut row = vec![x.to_string()];
                for mode in MODES {
                    let binary = times.binary.iter().find(|binary| binary.form == Form::Binary { order, mode });
                    row.push(binary.map_or("-".into(), |binary| text::micros(binary.timing.ns)));
                    row.push(text::percent(binary.and_then(|binary| binary.fraction)));
                }
                for over in [times.scalar, times.float] {
                    for mode in MODES {
                        let binary = times.binary.iter().find(|binary| binary.form == Form::Binary { order, mode });
                        row.push(text::number(binary.map(|binary| over.over(binary.timing))));
                    }
                }
                row.push(text::number(Some(paper_model(order, geometry.depth()))));
                row.push(text::number(Some(full_model(order, geometry.depth(), FILTERS))));
                table.push(row);
            }
        }
        let header = [
            which.x_label().split(':').next().unwrap_or_default(),
            "window us",
            "of limit",
            "image us",
            "of limit",
            "x scalar, window",
            "x scalar, image",
            "x float, window",
            "x float, image",
            "model S",
            "model S'",
        ];
        lab.table(&format!("{}: {}", which.suite(), which.title()), &header, table);
        if which == Curve::Order {
            say_steps(lab);
        }
    }
    Ok(())
}

/// What each order adds to the time, and how far the last one lies from the line through the first two.
fn say_steps(lab: &Lab) {
    for mode in MODES {
        let of_mode = lab.records().iter().filter(|r| r.suite == Curve::Order.suite() && r.mode == Some(mode));
        let times: Vec<f64> = of_mode.map(|record| record.ns / 1e3).collect();
        let steps: Vec<String> = times.windows(2).map(|pair| text::number(Some(pair[1] - pair[0]))).collect();
        if let [first, second, .., last] = times[..] {
            let line = first + (second - first) * (times.len() - 1) as f64;
            let off = text::percent(Some(last / line - 1.0));
            let (mode, steps) = (mode_name(mode), steps.join(", "));
            lab.say(&format!(
                "{mode}: us that each further order adds: {steps}; the last lies {off} off the first two's line"
            ));
        }
    }
}

/// Times against the limit, a panel for each curve that was measured; beside orders the int8 of a record of `peers`.
pub(crate) fn times(lab: &Lab, contests: &[Contest<'_>]) -> Option<(String, Figure)> {
    let layer = case(&geometry([SIDE, SIDE, 256, FILTERS], 3, 1));
    let contest = contests.iter().find(|contest| contest.case == layer);
    let panel = |which: Curve| {
        let records =
            lab.records().iter().filter(move |record| record.suite == which.suite() && record.order.is_some());
        let of = |mode: ScaleMode, micros: &dyn Fn(&Record) -> Option<f64>| -> Vec<(f64, f64)> {
            let of_mode = records.clone().filter(|record| record.mode == Some(mode));
            of_mode.filter_map(|record| Some((which.x(record)?, micros(record)?))).collect()
        };
        let measured = MODES.into_iter().enumerate().map(|(color, mode)| Series {
            name: format!("measured, {} scales", mode_name(mode)),
            points: of(mode, &|record| Some(record.ns / 1e3)),
            style: Style::Measured,
            color,
        });
        let limit = Series {
            name: "the bit products at their limit".into(),
            points: of(MODES[1], &|record| Some(record.ns / 1e3 * record.limit_fraction?)),
            style: Style::Limit,
            color: 2,
        };
        let mut series: Vec<Series> = measured.chain([limit]).collect();
        let mut marks = Vec::new();
        let rivals = [(Kind::Int8, 3), (Kind::Int8Vectors, 6)];
        for (kind, color) in rivals.into_iter().filter(|_| which == Curve::Order) {
            let Some(rival) = contest.and_then(|contest| contest.rival(kind)) else { continue };
            let points: Vec<(f64, f64)> = which.values().into_iter().map(|x| (x as f64, rival.ns / 1e3)).collect();
            let crossed = crossing(&series[1].points, &points, which.x_scale());
            marks.extend(crossed.map(|at| Mark { at, label: text::number(Some(at.0)) }));
            let name = format!("best {} of the record beside: {}", kind.name(), rival.engine);
            series.push(Series { name, points, style: Style::Model, color });
        }
        series.iter().any(|series| !series.points.is_empty()).then(|| Panel {
            title: which.x_label().split(':').next().unwrap_or_default().into(),
            x_label: which.x_label().into(),
            y_label: "time of a layer, us".into(),
            x_scale: which.x_scale(),
            y_scale: if which == Curve::Order { Scale::Linear } else { Scale::Log(10.0) },
            x_ticks: which.values().into_iter().map(|x| (x as f64, x.to_string())).collect(),
            series,
            marks,
            marks_name: "image scales are even with int8, at this order",
        })
    };
    let panels: Vec<Panel> = [Curve::Order, Curve::Channels, Curve::Pixels].into_iter().filter_map(panel).collect();
    if panels.is_empty() {
        return None;
    }
    let mut caption = vec![format!(
        "{SIDE}\u{d7}{SIDE} pixels, 256 channels and {FILTERS} filters, 3\u{d7}3, order {ORDER}, but for what varies; \
         whole layers, f32 in and out. What lies above the limit is quantizing, scales and f32 traffic."
    )];
    caption.extend(lab.caption());
    Some((
        "times".to_owned(),
        Figure { title: "Time of a binary convolution beside its limit".into(), caption, panels },
    ))
}

/// The figure of a curve that was measured, and its file's name.
pub(crate) fn figure(lab: &Lab, which: Curve) -> Option<(String, Figure)> {
    let records: Vec<&Record> = lab.records().iter().filter(|record| record.suite == which.suite()).collect();
    let binary: Vec<&Record> = records.iter().copied().filter(|record| record.order.is_some()).collect();
    let isa = binary.first()?.isa?;
    let measured = |mode: ScaleMode, value: &dyn Fn(&Record) -> Option<f64>| -> Vec<(f64, f64)> {
        let of_mode = binary.iter().filter(|record| record.mode == Some(mode));
        of_mode.filter_map(|record| Some((which.x(record)?, value(record)?))).collect()
    };
    let named = |what: &str, mode| format!("measured over {what}, {} scales", mode_name(mode));
    let model = |name: &str, color, value: &dyn Fn(usize, usize) -> f64| Series {
        name: name.into(),
        points: which
            .values()
            .into_iter()
            .map(|x| {
                let [kernel, channels, order] = which.at(x);
                (x as f64, value(order, kernel * kernel * channels))
            })
            .collect(),
        style: Style::Model,
        color,
    };
    let mut over_scalar: Vec<Series> = MODES
        .into_iter()
        .enumerate()
        .map(|(color, mode)| Series {
            name: named("the scalar loop", mode),
            points: measured(mode, &|record| record.speedup_scalar),
            style: Style::Measured,
            color,
        })
        .collect();
    over_scalar.push(model("model S(K): 64 binary operations a clock, one float MAC", 2, &paper_model));
    over_scalar
        .push(model("model S'(K): the same with quantizing", 3, &|order, depth| full_model(order, depth, FILTERS)));

    let mut over_float: Vec<Series> = MODES
        .into_iter()
        .enumerate()
        .map(|(color, mode)| Series {
            name: named("the fastest f32", mode),
            points: measured(mode, &|record| record.speedup_float),
            style: Style::Measured,
            color,
        })
        .collect();
    let [window, image] = [0, 1].map(|mode: usize| over_float[mode].points.clone());
    let level = |name: String, color, style, value: f64| Series {
        name,
        points: which.values().into_iter().map(|x| (x as f64, value)).collect(),
        style,
        color,
    };
    let mut marks = Vec::new();
    let mut cross = |points: &[(f64, f64)], other: &[(f64, f64)]| {
        if let Some(at) = crossing(points, other, which.x_scale()) {
            marks.push(Mark { at, label: if at.0 < 10.0 { format!("{:.1}", at.0) } else { format!("{:.0}", at.0) } });
        }
    };
    let one = level("the fastest f32 itself".into(), 4, Style::Limit, 1.0);
    cross(&window, &one.points);
    cross(&image, &one.points);
    over_float.push(one);
    // int8 at the peak of its instruction, over the measured float time: an upper bound of any int8 engine.
    if let Some(int8) = lab.peaks().best(Unit::Int8) {
        let at = |x: usize| {
            let record = binary.iter().find(|record| which.x(record) == Some(x as f64))?;
            let macs = record.macs / record.order? as f64 / record.threads as f64;
            Some((x as f64, 1.0 / int8.fraction(macs, record.timing().scale(record.speedup_float?))))
        };
        let points: Vec<(f64, f64)> = which.values().into_iter().filter_map(at).collect();
        cross(&window, &points);
        cross(&image, &points);
        let name = format!("bound of int8: {} at its peak", int8.name());
        over_float.push(Series { name, points, style: Style::Model, color: 3 });
    }
    if let (Some(bits), Some(float)) = (lab.peaks().of(isa), lab.peaks().best(Unit::Float)) {
        let ratio = bits.over(float);
        let name = format!("ratio of the limits, bits over FMA: {} / K", text::number(Some(ratio)));
        over_float.push(Series { style: Style::Limit, ..model(&name, 2, &|order, _| ratio / order as f64) });
    }
    let x_ticks: Vec<(f64, String)> = which.values().into_iter().map(|x| (x as f64, x.to_string())).collect();
    let panel = |title: &str, y_label: &str, series, marks| Panel {
        title: title.into(),
        x_label: which.x_label().into(),
        y_label: y_label.into(),
        x_scale: which.x_scale(),
        y_scale: Scale::Log(10.0),
        x_ticks: x_ticks.clone(),
        series,
        marks,
        marks_name: match which {
            Curve::Kernel => "even with f32 or with int8's bound, at this kernel",
            Curve::Channels => "even with f32 or with int8's bound, at so many channels",
            Curve::Order => "even with f32 or with int8's bound, at this order",
            Curve::Pixels => "even with f32 or with int8's bound, at this side",
        },
    };
    let mut caption = vec![format!(
        "{SIDE}\u{d7}{SIDE} pixels, {FILTERS} filters, stride 1, padded; whole layers, f32 in, f32 out (quantizing, bit products, scales). \
         Fastest f32: the better of im2col with the crate gemm and horq's f32 convolution."
    )];
    caption.extend(lab.caption());
    let panels = vec![
        panel("Over a scalar float loop", "speed-up (times)", over_scalar, vec![]),
        panel("Over the fastest float convolution", "speed-up (times)", over_float, marks),
    ];
    Some((which.suite().to_owned(), Figure { title: which.title(), caption, panels }))
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
    fn the_models_give_the_papers_values() {
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 0.05, "{value} {expected}");
        for (order, [s, with_quantizing]) in
            [[60.6, 41.1], [30.7, 20.8], [20.6, 13.9], [15.5, 10.4]].into_iter().enumerate()
        {
            near(paper_model(order + 1, 9 * 256), s);
            near(full_model(order + 1, 9 * 256, 256), with_quantizing);
        }
        for (channels, s) in [(3, 7.0), (16, 19.2), (32, 24.0), (64, 27.4), (128, 29.5), (256, 30.7), (512, 31.3)] {
            near(paper_model(2, 9 * channels), s);
        }
        for (kernel, s) in [(1, 23.3), (3, 30.7), (5, 31.5), (7, 31.8), (11, 31.9)] {
            near(paper_model(2, kernel * kernel * 256), s);
        }
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
