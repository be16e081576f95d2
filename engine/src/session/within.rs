//! Runs within a deadline: the best operating point that there is time for.

use super::pace::Pace;
use super::points::position;
use super::{RunOptions, Session};
use crate::error::{InputError, Interruption};
use crate::{Error, Point, Values};
use std::time::{Duration, Instant};

/// How long [`Session::new`] calibrates for [`SessionOptions::latency_target`](crate::SessionOptions::latency_target).
pub(super) const CALIBRATION: Duration = Duration::from_millis(200);
/// The most rounds of a calibration.
const ROUNDS: usize = 64;

/// What answered a run within a deadline.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The operating point that answered, by its place in [`Points::all`](crate::Points::all) of the model.
    pub point: usize,
    /// How long the run was expected to take at most.
    pub expected: Duration,
    /// How long it took.
    pub took: Duration,
    /// How much time there was when it began.
    pub left: Duration,
    /// Whether even the fastest point was expected to take longer than there was time: it ran all the same, and was in time
    /// unless [`Self::is_late`].
    pub is_too_slow: bool,
}

impl Answer {
    /// Whether the answer came after the deadline: by less than a piece of a layer, or the run would have been ended.
    pub fn is_late(&self) -> bool {
        self.took > self.left
    }
}

impl Session {
    /// Measures how long runs take at each operating point, for [`Self::run_within`]: of one sample and of a whole batch, all in
    /// turns, on the model's golden input or on zeros. [`SessionOptions::latency_target`](crate::SessionOptions::latency_target) does this when the session is made.
    ///
    /// It ends after `limit`, or after 64 rounds; the first round is always run to its end. The session is then at the point
    /// that it was at before. What was learned earlier is forgotten.
    ///
    /// # Errors
    /// [`InputError::NoPoints`](crate::error::InputError::NoPoints) if the model has no operating points; as [`Self::run`].
    pub fn calibrate(&mut self, limit: Duration) -> Result<(), Error> {
        let model = self.model.clone();
        let count = model.points().all.len();
        if count == 0 {
            return Err(InputError::NoPoints.into());
        }
        let golden = model.golden();
        let inputs: Vec<Vec<f32>> = self
            .input_lens
            .iter()
            .enumerate()
            .map(|(number, len)| {
                let len = self.batch * len;
                match &golden {
                    Some(golden) => golden.inputs[number].iter().copied().cycle().take(len).collect(),
                    None => vec![0.0; len],
                }
            })
            .collect();
        let mut outputs: Vec<Vec<f32>> = self.output_lens.iter().map(|len| vec![0.0; self.batch * len]).collect();
        let (orders, point) = (self.orders.clone(), self.point);
        let sizes = if self.batch > 1 { vec![1, self.batch] } else { vec![1] };
        let cases: Vec<[usize; 2]> =
            sizes.iter().flat_map(|&samples| (0..count).map(move |point| [point, samples])).collect();
        let mut times = vec![Vec::new(); cases.len()];
        let start = Instant::now();
        let mut measure = || {
            for round in 0..ROUNDS {
                for (&[point, samples], times) in cases.iter().zip(&mut times) {
                    if round > 1 && start.elapsed() > limit {
                        return Ok(());
                    }
                    let part = |values: &Vec<f32>| samples * values.len() / self.batch;
                    let inputs: Vec<Values<'_>> =
                        inputs.iter().map(|values| Values::F32(&values[..part(values)])).collect();
                    let mut outputs: Vec<&mut [f32]> = outputs
                        .iter_mut()
                        .map(|values| {
                            let len = part(values);
                            &mut values[..len]
                        })
                        .collect();
                    self.set_point_at(point);
                    let began = Instant::now();
                    self.run_many(&inputs, &mut outputs)?;
                    let time = began.elapsed().as_nanos() as f64;
                    // The first round warms up; its times count where there are no others.
                    if round == 1 {
                        times.clear();
                    }
                    times.push(time);
                }
                if start.elapsed() > limit {
                    return Ok(());
                }
            }
            Ok(())
        };
        let measured: Result<(), Error> = measure();
        for (layer, order) in orders.into_iter().enumerate() {
            self.set_order_at(layer, order);
        }
        self.point = point;
        measured?;
        let mut medians = vec![0.0; count];
        for (&[point, samples], times) in cases.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            if samples == 1 {
                medians[point] = times[times.len() / 2];
            }
        }
        let mut pace = Pace::new(ranked(&model.points().all, &medians), self.batch);
        for (&[point, samples], times) in cases.iter().zip(&mut times) {
            pace.calibrate(point, samples, times);
        }
        self.pace = Some(pace);
        Ok(())
    }

    /// [`Self::run`] by a deadline, at the best operating point that there is time for.
    ///
    /// The deadline is [`RunOptions::deadline`]; without one it is the session's [`SessionOptions::latency_target`](crate::SessionOptions::latency_target) after
    /// [`RunOptions::arrived`], or after the call. So time that a request has spent in a queue lowers the point, and an idle
    /// service runs the best one that the target allows.
    ///
    /// What a point takes is known from [`Self::calibrate`] and learned from every run since, with what other work on this
    /// machine adds to it at the moment. The best point is the one of the least loss among those that are expected to be in
    /// time; one that is better than that of the run before must leave 2 % of its time. Where even the fastest is expected to
    /// be late it runs, and [`Answer::is_too_slow`] says so. With [`RunOptions::point`] that point runs whatever the
    /// clock says, and the answer depends on the input alone.
    ///
    /// The session stays at the point that ran. On the caller's thread alone a run that succeeds allocates nothing, takes no
    /// lock, and makes no system call but for the clock, which on Linux is none.
    ///
    /// # Errors
    /// As [`Self::run_with`]; a run that passes its deadline ends within a piece of a layer, as
    /// [`Error::Interrupted`], which says how long the fastest point would have taken.
    /// [`InputError::NoDeadline`](crate::error::InputError::NoDeadline) without deadline and target, [`InputError::NotCalibrated`](crate::error::InputError::NotCalibrated) before a calibration,
    /// [`InputError::UnknownPoint`](crate::error::InputError::UnknownPoint).
    pub fn run_within(&mut self, input: &[f32], output: &mut [f32], options: &RunOptions<'_>) -> Result<Answer, Error> {
        self.run_many_within(&[Values::F32(input)], &mut [output], options)
    }

    /// [`Self::run_within`] for a model with any number of inputs and outputs, and for bytes.
    ///
    /// # Errors
    /// As [`Self::run_within`] and [`Self::run_many`].
    pub fn run_many_within(
        &mut self,
        inputs: &[Values<'_>],
        outputs: &mut [&mut [f32]],
        options: &RunOptions<'_>,
    ) -> Result<Answer, Error> {
        let now = Instant::now();
        let fixed = options.point.map(|name| position(self.model.points(), name)).transpose()?;
        let target = self.latency_target.and_then(|target| options.arrived.unwrap_or(now).checked_add(target));
        let deadline = options.deadline.or(target).ok_or(InputError::NoDeadline)?;
        let left = deadline.saturating_duration_since(now);
        let samples = inputs.first().map_or(0, |values| values.len() / self.input_lens[0]).clamp(1, self.batch);
        let pace = self.pace.as_ref().ok_or(InputError::NotCalibrated)?;
        let choice = pace.choose(samples, left.as_nanos() as f64);
        let point = fixed.unwrap_or(choice.point);
        let expected = pace.expected(point, samples);
        self.set_point_at(point);
        let run =
            self.run_many_with(inputs, outputs, &RunOptions { deadline: Some(deadline), point: None, ..*options });
        let took = now.elapsed();
        let nanoseconds = took.as_nanos() as f64;
        let pace = self.pace.as_mut().ok_or(InputError::NotCalibrated)?;
        match run {
            Ok(()) => {
                pace.learn(point, samples, nanoseconds);
                let expected = Duration::from_nanos(expected as u64);
                Ok(Answer { point, expected, took, left, is_too_slow: choice.is_too_slow })
            }
            Err(Error::Interrupted(mut error)) if error.reason == Interruption::Deadline => {
                // It would have taken longer still.
                if nanoseconds > expected {
                    pace.learn(point, samples, nanoseconds);
                }
                if choice.is_too_slow {
                    error.fastest = Some(Duration::from_nanos(choice.expected as u64));
                }
                Err(error.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Calibrates for a target.
    pub(super) fn aim(&mut self, target: Duration) -> Result<(), Error> {
        self.calibrate(CALIBRATION)?;
        self.latency_target = Some(target);
        let pace = self.pace.as_ref().ok_or(InputError::NotCalibrated)?;
        let fastest = pace.fastest(1);
        let base = Duration::from_nanos(pace.base(fastest, 1) as u64);
        if base > target {
            let point = self.model.points().all[fastest].name.clone();
            return Err(InputError::LatencyTarget { target, point, fastest: base }.into());
        }
        Ok(())
    }
}

/// The points from the best to the worst: by loss where the file tells that of all, and else by time, since more work is worth
/// more. Of points of one loss the fastest comes first.
fn ranked(points: &[Point], times: &[f64]) -> Vec<usize> {
    let losses: Option<Vec<f64>> = points.iter().map(|point| Some(point.loss.as_ref()?.value)).collect();
    let mut ranked: Vec<usize> = (0..points.len()).collect();
    match losses {
        Some(losses) => {
            ranked.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]).then(times[a].total_cmp(&times[b])));
        }
        None => ranked.sort_by(|&a, &b| times[b].total_cmp(&times[a])),
    }
    ranked
}
