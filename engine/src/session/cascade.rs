//! Two operating points that answer together.

use super::points::position;
use super::{RunOptions, Session};
use crate::Error;
use crate::error::InputError;

impl Session {
    /// [`Self::run_with`] by a cascade of the model: all samples at its low point, and those again at its high point whose output has a
    /// margin (the highest value less the second highest) below the threshold. Returns how many answered again.
    ///
    /// Each answer is exactly that of its point. `cascade` is the place in [`Points::cascades`](crate::Points::cascades). The session stays at the
    /// point that ran last. On the caller's thread alone a run that succeeds allocates nothing.
    ///
    /// # Errors
    /// As [`Self::run_with`]; [`InputError::UnknownCascade`] if the model has no such cascade. A sample at fault is counted over
    /// the call, and [`RunOptions::point`] is not looked at.
    pub fn run_cascade(
        &mut self,
        cascade: usize,
        input: &[f32],
        output: &mut [f32],
        options: &RunOptions<'_>,
    ) -> Result<usize, Error> {
        let points = self.model.points();
        let count = points.cascades.len();
        let found = points.cascades.get(cascade).ok_or(InputError::UnknownCascade { cascade, count })?;
        let (low, high) = (position(points, &found.low)?, position(points, &found.high)?);
        let margin = found.margin;
        let options = RunOptions { point: None, ..*options };
        self.set_point_at(low);
        self.run_with(input, output, &options)?;
        let [input_len, output_len] = [self.input_len(), self.output_len()];
        let samples = output.len() / output_len;
        let is_close = |output: &[f32], sample: usize| margin_of(&output[sample * output_len..][..output_len]) < margin;
        let (mut again, mut sample) = (0, 0);
        while sample < samples {
            if !is_close(output, sample) {
                sample += 1;
                continue;
            }
            // Neighbours run together.
            let end = (sample + 1..samples).find(|&next| !is_close(output, next)).unwrap_or(samples);
            self.set_point_at(high);
            let part = RunOptions { first_sample: options.first_sample.saturating_add(sample), ..options };
            let (inputs, outputs) = (sample * input_len..end * input_len, sample * output_len..end * output_len);
            self.run_with(&input[inputs], &mut output[outputs], &part)?;
            again += end - sample;
            sample = end;
        }
        Ok(again)
    }
}

/// The highest value less the second highest; infinite if there is one value alone.
fn margin_of(output: &[f32]) -> f64 {
    let (first, second) = output.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), &value| {
        if value > first { (value, first) } else { (first, second.max(value)) }
    });
    f64::from(first) - f64::from(second)
}
