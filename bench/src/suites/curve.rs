//! The papers' curves: speed-up against kernel size, channels and order, with both theoretical models beside them.

use crate::cases::{Layer, MODES};
use crate::chart::{Figure, Mark, Panel, Scale, Series, Style, crossing};
use crate::harness::Harness;
use crate::measure::{self, Case};
use crate::report::crossover::{Contest, Kind};
use crate::report::record::Record;
use crate::text;
use crate::variants::Variant;
use clap::ValueEnum;
use horq_kernels::{Isa, ScaleMode};
use horq_probe::peak::Unit;

/// The image's side, channels and filters of every curve, and the order (the paper's second), unless they are what varies.
const SIDE: usize = 14;
const CHANNELS: usize = 256;
const FILTERS: usize = 256;
const ORDER: usize = 2;

/// What a curve runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Curve {
    /// 1x1 to 11x11
    Kernel,
    /// 3 to 512 input channels
    Channels,
    /// 1 to 8 planes
    Order,
    /// Images of 4x4 to 56x56
    Pixels,
}

/// Speed-up over one float product a clock when a clock does 64 binary operations, scales counted, quantizing left out
/// (HORQ, section 3): order `order`, `depth` = c w h products an output.
fn paper_model(order: usize, depth: usize) -> f64 {
    let (order, depth) = (order as f64, depth as f64);
    64.0 * depth / (order * depth + 64.0 * (order + 1.0))
}

/// The speed-up of [`paper_model`] with the quantizing of the columns counted, which `filters` outputs share.
fn full_model(order: usize, depth: usize, filters: usize) -> f64 {
    let (order, depth, filters) = (order as f64, depth as f64, filters as f64);
    depth * filters / (order * depth * filters / 64.0 + 2.0 * order * depth + (order + 1.0) * filters)
}

impl Curve {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Kernel, Self::Channels, Self::Order, Self::Pixels];

    const fn suite(self) -> &'static str {
        ["curve-kernel", "curve-channels", "curve-order", "curve-pixels"][self as usize]
    }

    /// What varies, and its unit.
    const fn x_label(self) -> [&'static str; 2] {
        match self {
            Self::Kernel => ["kernel", "taps in each direction"],
            Self::Channels => ["channels", "of the input"],
            Self::Order => ["order", "planes of the activations"],
            Self::Pixels => ["pixels", "side of the image"],
        }
    }

    const fn x_scale(self) -> Scale {
        if matches!(self, Self::Channels | Self::Pixels) { Scale::Log(2.0) } else { Scale::Linear }
    }

    const fn values(self) -> &'static [usize] {
        match self {
            Self::Kernel => &[1, 3, 5, 7, 11],
            Self::Channels => &[3, 16, 32, 64, 128, 256, 512],
            Self::Order => &[1, 2, 3, 4, 5, 6, 7, 8],
            Self::Pixels => &[4, 7, 14, 28, 56],
        }
    }

    /// The paper's scales and the cheap ones; over the order also constants, free ones and those that halve.
    const fn modes(self) -> &'static [ScaleMode] {
        const ORDERS: [ScaleMode; 4] = [ScaleMode::Window, ScaleMode::Image, ScaleMode::Fixed, ScaleMode::Halving];
        if matches!(self, Self::Order) { &ORDERS } else { &MODES }
    }

    /// The layer and its order at a value of x.
    fn at(self, x: usize) -> (Layer, usize) {
        let (side, kernel, channels, order) = match self {
            Self::Kernel => (SIDE, x, CHANNELS, ORDER),
            Self::Channels => (SIDE, 3, x, ORDER),
            Self::Order => (SIDE, 3, CHANNELS, x),
            Self::Pixels => (x, 3, CHANNELS, ORDER),
        };
        (Layer::conv([side, side, channels, FILTERS], kernel, 1), order)
    }

    /// A value at every x.
    fn points(self, value: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        self.values().iter().map(|&x| (x as f64, value(x))).collect()
    }

    /// The binary layers that were measured for this curve, with their x.
    fn records(self, harness: &Harness) -> Vec<(f64, &Record)> {
        let x = |record: &Record| {
            let here = |&&x: &&usize| self.at(x).1 == record.order.unwrap_or(0) && self.at(x).0.name() == record.case;
            self.values().iter().find(here).map(|&x| x as f64)
        };
        let of_suite = harness.records.iter().filter(|record| record.suite == self.suite());
        of_suite.filter_map(|record| Some((x(record)?, record))).collect()
    }

    fn title(self) -> String {
        let what = match self {
            Self::Kernel => format!("kernel size (order {ORDER}, {CHANNELS} channels)"),
            Self::Channels => format!("channels (order {ORDER}, 3\u{d7}3)"),
            Self::Order => format!("order (3\u{d7}3, {CHANNELS} channels)"),
            Self::Pixels => format!("pixels (order {ORDER}, 3\u{d7}3, {CHANNELS} channels)"),
        };
        format!("Speed-up of a binary convolution against {what}")
    }

    /// A panel whose x is this curve's.
    fn panel(self, title: &str, y_label: &str, y_scale: Scale, series: Vec<Series>) -> Panel {
        Panel {
            title: title.into(),
            x_label: self.x_label().join(": "),
            y_label: y_label.into(),
            x_scale: self.x_scale(),
            y_scale,
            x_ticks: self.values().iter().map(|&x| (x as f64, x.to_string())).collect(),
            series,
            marks: vec![],
            marks_name: String::new(),
        }
    }
}

/// Runs some curves.
///
/// # Errors
/// A message if a line cannot be written.
pub(crate) fn run(harness: &mut Harness, curves: &[Curve]) -> Result<(), String> {
    let isa = harness.isas[0];
    for &which in curves {
        harness.suite(which.suite());
        // Orders share their layer and its float times.
        let shared = if which == Curve::Order { which.values().len() } else { 1 };
        let groups: Vec<&[usize]> = which.values().chunks(shared).collect();
        let case = |xs: &&[usize]| {
            let orders = xs.iter().map(|&x| which.at(x).1);
            let of_order = |order| which.modes().iter().map(move |&mode| Variant::Binary { order, mode });
            let variants = [Variant::Float].into_iter().chain(orders.flat_map(of_order)).collect();
            Case { layer: which.at(xs[0]).0, isa, variants, scalar: true }
        };
        let cases: Vec<Case> = groups.iter().map(case).collect();
        let mut table = Vec::new();
        for (records, xs) in measure::layers(harness, which.suite(), &cases)?.iter().zip(groups) {
            // Behind the float convolution, by x and mode.
            let binary = xs.iter().flat_map(|&x| which.modes().iter().map(move |mode| (x, mode)));
            for ((x, mode), record) in binary.zip(&records[1..]) {
                let (layer, order) = which.at(x);
                let depth = layer.geometry.depth();
                let mut row = vec![x.to_string(), mode.name().into(), text::micros(record.ns)];
                row.extend([record.spread, record.limit_fraction].map(text::percent));
                row.extend([record.speedup_scalar, record.speedup_float].map(text::number));
                let models = [paper_model(order, depth), full_model(order, depth, FILTERS)];
                row.extend(models.map(|model| text::number(Some(model))));
                table.push(row);
            }
        }
        let columns = "mode | us | spread | of limit | x scalar | x float | model S | model S'";
        let title = format!("{}: {}", which.suite(), which.title());
        harness.table(&title, &format!("{} | {columns}", which.x_label()[0]), table);
        if which == Curve::Order {
            say_steps(harness);
        }
    }
    Ok(())
}

/// What each order adds to the time, and how far the last one lies from the line through the first two.
fn say_steps(harness: &Harness) {
    for mode in Curve::Order.modes().iter().map(|mode| mode.name()) {
        let records = Curve::Order.records(harness).into_iter().filter(|(_, r)| r.mode.as_deref() == Some(mode));
        let times: Vec<f64> = records.map(|(_, record)| record.ns / 1e3).collect();
        let steps: Vec<String> = times.windows(2).map(|pair| text::number(Some(pair[1] - pair[0]))).collect();
        if steps.is_empty() {
            continue;
        }
        let mut said = format!("{mode}: us that each further order adds: {}", steps.join(", "));
        // Where orders cost about the same there is no line.
        if let [first, second, .., last] = times[..]
            && second > 1.5 * first
        {
            let line = first + (second - first) * (times.len() - 1) as f64;
            said += &format!("; the last lies {} off the first two's line", text::percent(Some(last / line - 1.0)));
        }
        harness.say(&said);
    }
}

/// A value of the records in a mode, by x.
fn by_x<T>(records: &[(f64, &Record)], mode: ScaleMode, value: impl Fn(&Record) -> Option<T>) -> Vec<(f64, T)> {
    let of_mode = records.iter().filter(|(_, record)| record.mode.as_deref() == Some(mode.name()));
    of_mode.filter_map(|&(x, record)| Some((x, value(record)?))).collect()
}

/// A mode's place in the palette.
const fn color(mode: ScaleMode) -> usize {
    match mode {
        ScaleMode::Window => 0,
        ScaleMode::Image => 1,
        ScaleMode::Halving => 6,
        _ => 5,
    }
}

/// A value of the records and its range over the rounds, a line a mode that was measured.
fn measured(
    records: &[(f64, &Record)],
    name: &str,
    value: impl Fn(&Record) -> Option<f64>,
    range: impl Fn(&Record) -> Option<[f64; 2]>,
) -> Vec<Series> {
    let line = |mode: ScaleMode| {
        let (points, bars) = (by_x(records, mode, &value), by_x(records, mode, &range));
        let name = format!("{name}, {} scales", mode.name());
        (!points.is_empty()).then(|| Series { bars, ..Series::new(name, points, Style::Measured, color(mode)) })
    };
    Curve::Order.modes().iter().filter_map(|&mode| line(mode)).collect()
}

/// Times against the limit, a panel for each curve that was measured; beside orders the int8 of a record of `peers`.
pub(crate) fn times(harness: &Harness, contests: &[Contest<'_>]) -> Option<(String, Figure)> {
    let layer = Curve::Order.at(ORDER).0.name();
    let contest = contests.iter().find(|contest| contest.case == layer);
    let panel = |which: Curve| {
        let records = which.records(harness);
        let us = |record: &Record| record.ns / 1e3;
        let slowest = |record: &Record| Some([us(record), us(record) * (1.0 + record.spread?)]);
        let mut series = measured(&records, "measured", |record| Some(us(record)), slowest);
        let measured = series.len();
        let points = by_x(&records, ScaleMode::Image, |record| Some(us(record) * record.limit_fraction?));
        series.push(Series::new("the bit products at their limit", points, Style::Limit, 2));
        let mut marks = Vec::new();
        let rivals = [(Kind::Int8, 3), (Kind::Int8Vectors, 4)];
        for (kind, color) in rivals.into_iter().filter(|_| which == Curve::Order) {
            let Some(rival) = contest.and_then(|contest| contest.rival(kind)) else { continue };
            let points = which.points(|_| rival.ns / 1e3);
            let crossed = series[..measured].iter().filter_map(|ours| crossing(&ours.points, &points, which.x_scale()));
            marks.extend(crossed.map(|at| Mark { at, label: text::number(Some(at.0)) }));
            let name = format!("best {} of the record beside: {}", kind.name(), rival.engine);
            series.push(Series::new(name, points, Style::Model, color));
        }
        let y_scale = if which == Curve::Order { Scale::Linear } else { Scale::Log(10.0) };
        let marks_name = "even with int8, at this order".into();
        series.iter().any(|series| !series.points.is_empty()).then(|| Panel {
            marks,
            marks_name,
            ..which.panel(which.x_label()[0], "time of a layer, us", y_scale, series)
        })
    };
    let panels: Vec<Panel> = [Curve::Order, Curve::Channels, Curve::Pixels].into_iter().filter_map(panel).collect();
    if panels.is_empty() {
        return None;
    }
    let mut caption = vec![format!(
        "{SIDE}\u{d7}{SIDE} pixels, {CHANNELS} channels and {FILTERS} filters, 3\u{d7}3, order {ORDER}, but for what varies; \
         whole layers, f32 in and out. What lies above the limit is quantizing, scales and f32 traffic."
    )];
    caption.extend(harness.caption());
    let title = "Time of a binary convolution beside its limit".into();
    Some(("times".to_owned(), Figure { title, caption, panels }))
}

/// The figure of a curve that was measured, and its file's name.
pub(crate) fn figure(harness: &Harness, which: Curve) -> Option<(String, Figure)> {
    let records = which.records(harness);
    let isa: Isa = records.first()?.1.isa.as_deref()?.parse().ok()?;
    let line = |name: &str, color, style, value: &dyn Fn(usize, usize) -> f64| {
        let points = which.points(|x| {
            let (layer, order) = which.at(x);
            value(order, layer.geometry.depth())
        });
        Series::new(name, points, style, color)
    };
    let name = "measured over the scalar loop";
    let mut over_scalar = measured(&records, name, |record| record.speedup_scalar, |record| record.ranges.scalar);
    let name = "model S(K): 64 binary operations a clock, one float MAC";
    over_scalar.push(line(name, 2, Style::Model, &paper_model));
    let with_quantizing = |order, depth| full_model(order, depth, FILTERS);
    over_scalar.push(line("model S'(K): the same with quantizing", 3, Style::Model, &with_quantizing));

    let name = "measured over the fastest f32";
    let mut over_float = measured(&records, name, |record| record.speedup_float, |record| record.ranges.float);
    let measured = over_float.len();
    let mut others = vec![line("the fastest f32 itself", 4, Style::Limit, &|_, _| 1.0)];
    let peaks = &harness.peaks;
    // int8 at the peak of its instruction, over the measured float time: an upper bound of any int8 engine.
    if let Some(int8) = peaks.best(Unit::Int8) {
        let bound = |record: &Record| {
            let macs = record.macs / record.order? as f64 / record.threads as f64;
            Some(1.0 / int8.fraction(macs, record.timing().scale(record.speedup_float?)))
        };
        let (name, points) =
            (format!("bound of int8: {} at its peak", int8.limit.name), by_x(&records, MODES[0], bound));
        others.push(Series::new(name, points, Style::Model, 3));
    }
    let crossed = |other: &Series| {
        let ours = over_float[..measured].iter();
        ours.filter_map(|ours| crossing(&ours.points, &other.points, which.x_scale())).collect::<Vec<_>>()
    };
    let label = |x: f64| if x < 10.0 { format!("{x:.1}") } else { format!("{x:.0}") };
    let marks = others.iter().flat_map(crossed).map(|at| Mark { at, label: label(at.0) }).collect();
    over_float.extend(others);
    if let (Some(bits), Some(float)) = (peaks.of(isa), peaks.best(Unit::Float)) {
        let ratio = bits.over(float);
        let name = format!("ratio of the limits, bits over FMA: {} / K", text::number(Some(ratio)));
        over_float.push(line(&name, 2, Style::Limit, &|order, _| ratio / order as f64));
    }
    let mut caption = vec![format!(
        "{SIDE}\u{d7}{SIDE} pixels, {FILTERS} filters, stride 1, padded; whole layers, f32 in, f32 out (quantizing, bit products, scales). \
         Fastest f32: the better of im2col with the crate gemm and horq's f32 convolution."
    )];
    caption.extend(harness.caption());
    let panel = |title, series| which.panel(title, "speed-up (times)", Scale::Log(10.0), series);
    let at = ["kernel", "number of channels", "order", "side"][which as usize];
    let marks_name = format!("even with f32 or with int8's bound, at this {at}");
    let over_float = panel("Over the fastest float convolution", over_float);
    let panels = vec![panel("Over a scalar float loop", over_scalar), Panel { marks, marks_name, ..over_float }];
    Some((which.suite().to_owned(), Figure { title: which.title(), caption, panels }))
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
}
