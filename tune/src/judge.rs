//! What answers at mixtures of orders are worth.

use horq::{Error, Session};

use crate::measure::set_orders;

/// Calibration data.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// The samples of the model's input, one after another.
    pub inputs: &'a [f32],
    /// The class of each sample, if they are known.
    pub labels: Option<&'a [u8]>,
    /// What the data is, for people.
    pub name: &'a str,
}

/// The answers of one mixture.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The outputs of all samples.
    pub outputs: Vec<f32>,
    /// The share of samples whose highest output is the label; without labels the one of the highest orders.
    pub accuracy: f64,
    /// Mean cross-entropy of the softmax of the outputs with the labels, in nats; without labels the mean Kullback-Leibler divergence of the
    /// highest orders' from it.
    pub loss: f64,
    /// Whether each sample's highest output is the right one.
    pub right: Vec<bool>,
    /// Each sample's highest output less the second highest.
    pub margins: Vec<f64>,
}

/// Runs the data through a session at a mixture; `reference` are the outputs at the highest orders.
///
/// # Errors
/// As [`Session::run`].
pub fn judge(
    session: &mut Session,
    layers: &[(String, usize)],
    orders: &[usize],
    data: Data<'_>,
    reference: Option<&[f32]>,
) -> Result<Judged, Error> {
    set_orders(session, layers, orders)?;
    let (input_len, classes, batch) = (session.input_len(), session.output_len(), session.batch());
    let samples = data.inputs.len() / input_len;
    let mut outputs = vec![0.0; samples * classes];
    for (input, output) in data.inputs.chunks(batch * input_len).zip(outputs.chunks_mut(batch * classes)) {
        session.run(input, output)?;
    }
    let (mut loss, mut right, mut margins) = (0.0, Vec::with_capacity(samples), Vec::with_capacity(samples));
    for (sample, output) in outputs.chunks(classes).enumerate() {
        let theirs = reference.map(|reference| &reference[sample * classes..][..classes]);
        let logs = log_softmax(output);
        let (wanted, part) = match (data.labels, theirs) {
            (Some(labels), _) => (usize::from(labels[sample]), -logs[usize::from(labels[sample])]),
            (None, Some(theirs)) => {
                let of_theirs = log_softmax(theirs);
                (top(theirs), of_theirs.iter().zip(&logs).map(|(p, q)| p.exp() * (p - q)).sum())
            }
            (None, None) => (top(output), 0.0),
        };
        loss += part / samples as f64;
        right.push(top(output) == wanted);
        margins.push(margin(output));
    }
    let accuracy = right.iter().filter(|&&right| right).count() as f64 / samples as f64;
    Ok(Judged { outputs, accuracy, loss, right, margins })
}

/// The place of the highest value; the first of several.
fn top(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The highest value less the second highest; infinite if there is one value.
fn margin(values: &[f32]) -> f64 {
    let (first, second) = values.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), &value| {
        if value > first { (value, first) } else { (first, second.max(value)) }
    });
    f64::from(first - second)
}

fn log_softmax(values: &[f32]) -> Vec<f64> {
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = values.iter().map(|&value| f64::from(value - highest));
    let log_sum = shifted.clone().map(f64::exp).sum::<f64>().ln();
    shifted.map(|value| value - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_tops_and_logarithms() {
        assert_eq!((top(&[1.0, 3.0, 3.0, 2.0]), margin(&[1.0, 3.0, 2.5])), (1, 0.5));
        assert_eq!((margin(&[3.0, 3.0]), margin(&[1.0])), (0.0, f64::INFINITY));
        let logs = log_softmax(&[0.0, 0.0, 1000.0]);
        assert!((logs[2]).abs() < 1e-9 && (logs[0] + 1000.0).abs() < 1e-9);
        let even = log_softmax(&[5.0, 5.0]);
        assert!((even[0] + std::f64::consts::LN_2).abs() < 1e-12);
    }
}
