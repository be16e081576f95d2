//! Axes: which range to show, where to put ticks, where a value lands.

/// How an axis is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Evenly.
    Linear,
    /// By the logarithm, with ticks at powers of that base.
    Log(f64),
}

/// A range of values on a span of the picture.
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Where `low` and `high` land.
    pixels: [f64; 2],
}

impl Axis {
    /// An axis that shows exactly the values of labelled ticks, with some space at the ends.
    pub(super) fn around(scale: Scale, ticks: &[f64], pixels: [f64; 2]) -> Self {
        let (low, high) = range(scale, ticks.iter().copied());
        let (low, high) = match scale {
            Scale::Linear => {
                let space = if high > low { (high - low) * 0.06 } else { 0.5 };
                (low - space, high + space)
            }
            Scale::Log(_) => {
                let space = (high / low).max(4.0).powf(0.06);
                (low / space, high * space)
            }
        };
        Self { scale, low, high, pixels }
    }

    /// An axis that reaches from zero (or, by the logarithm, from a tick) to a tick beyond the highest value.
    pub(super) fn reaching(scale: Scale, values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Self {
        let (low, high) = range(scale, values);
        let (low, high) = match scale {
            Scale::Linear => {
                let step = nice_step(high.max(0.0) - low.min(0.0));
                ((low.min(0.0) / step).floor() * step, (high / step * 1.001).ceil() * step)
            }
            Scale::Log(_) => (down_125(low / 1.1), up_125(high * 1.1)),
        };
        Self { scale, low, high, pixels }
    }

    /// Where a value lands, if it lies on the axis.
    pub(super) fn at(&self, value: f64) -> Option<f64> {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log(_) => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        let inside = (-1e-9..=1.0 + 1e-9).contains(&share);
        inside.then(|| self.pixels[0] + share * (self.pixels[1] - self.pixels[0]))
    }

    /// Where to draw lines, and which of them to label.
    pub(super) fn ticks(&self) -> Vec<(f64, bool)> {
        match self.scale {
            Scale::Linear => {
                let step = nice_step(self.high - self.low);
                let count = ((self.high - self.low) / step).round() as i64;
                (0..=count).map(|i| (self.low + i as f64 * step, true)).collect()
            }
            Scale::Log(_) => {
                let decades = (self.high / self.low).log10();
                let first = self.low.log10().floor() as i32;
                let last = self.high.log10().ceil() as i32;
                let digits = (first..=last).flat_map(|power| (1..10).map(move |digit| (digit, power)));
                let labelled = |digit: i32| digit == 1 || (decades < 3.2 && (digit == 2 || digit == 5));
                digits
                    .map(|(digit, power)| (f64::from(digit) * 10f64.powi(power), labelled(digit)))
                    .filter(|&(value, _)| value >= self.low * 0.999 && value <= self.high * 1.001)
                    .collect()
            }
        }
    }
}

/// A tick's label: no more digits than it needs.
pub(super) fn label(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        let power = value.abs().log10().floor() as i32;
        let digit = value / 10f64.powi(power);
        if (digit - digit.round()).abs() < 1e-6 && power >= 5 {
            return if digit.round() == 1.0 { format!("1e{power}") } else { format!("{digit:.0}e{power}") };
        }
    }
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// The least and the greatest finite value (positive, by the logarithm); something sensible where there is none.
fn range(scale: Scale, values: impl Iterator<Item = f64>) -> (f64, f64) {
    let shown = values.filter(|&value| value.is_finite() && (scale == Scale::Linear || value > 0.0));
    let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high { (1.0, 10.0) } else { (low, high) }
}

/// A step of 1, 2 or 5 times a power of ten that cuts `span` into four to ten pieces.
fn nice_step(span: f64) -> f64 {
    up_125((if span > 0.0 { span } else { 1.0 }) / 8.0)
}

fn up_125(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|&tick| tick >= value * 0.9999)
        .unwrap_or(10.0 * power)
}

fn down_125(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|digit| digit * power).find(|&tick| tick <= value * 1.0001).unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_cover_the_values() {
        let axis = Axis::reaching(Scale::Linear, [3.0, 97.0].into_iter(), [0.0, 100.0]);
        assert_eq!(axis.ticks().first().map(|tick| tick.0), Some(0.0));
        assert_eq!(axis.ticks().last().map(|tick| tick.0), Some(100.0));
        assert_eq!(axis.at(50.0), Some(50.0));
        let axis = Axis::reaching(Scale::Log(10.0), [0.3, 4000.0].into_iter(), [0.0, 100.0]);
        assert!(axis.at(0.3).is_some() && axis.at(4000.0).is_some() && axis.at(0.1).is_none());
    }

    #[test]
    fn labels_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.5, "0.5"), (20.0, "20"), (1000.0, "1000"), (20_000.0, "20000"), (200_000.0, "2e5")]
        {
            assert_eq!(label(value), text);
        }
    }
}
