//! The way from a model and data to operating points.

use std::time::Duration;

use horq::{Cascade, Latency, Loss, Model, Order, Point, Points, Session, SessionOptions, Threads};

use crate::Orders;
use crate::judge::{Data, Judged, judge};
use crate::measure::{layers, microseconds};
use crate::report::{Candidate, CascadeFigures, Report};
use crate::search::{front, spread, undominated};

/// What to look for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Threads of the sessions, as the service will have them.
    pub threads: usize,
    /// How many points the file gets at most, those for budgets among them.
    pub points: usize,
    /// A latency to stay within: the best mixture that does becomes a point, and the default one.
    pub latency: Option<Duration>,
    /// A loss to stay within (percentage points of accuracy with labels, nats of divergence without): the fastest mixture that does becomes a point.
    pub loss: Option<f64>,
    /// Samples that the first table is judged on; candidates are judged on all.
    pub table_samples: usize,
    /// Mixtures along the front that are measured as whole networks, uniform orders not counted.
    pub candidates: usize,
    /// How long times are measured, each of the three times that they are.
    pub time: Duration,
    /// The CPU, for the file.
    pub cpu: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            points: 5,
            latency: None,
            loss: None,
            table_samples: 1000,
            candidates: 16,
            time: Duration::from_secs(5),
            cpu: "unknown".into(),
        }
    }
}

/// What tuning is at.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Step {
    /// What is done.
    pub what: &'static str,
    /// How much of it is done.
    pub done: usize,
    /// How much there is.
    pub of: usize,
}

/// Why there are no points.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] horq::Error),
    /// A model with several inputs or outputs.
    #[error("a model with {inputs} inputs and {outputs} outputs cannot be tuned; it must have one of each")]
    Ends {
        /// Its inputs.
        inputs: usize,
        /// Its outputs.
        outputs: usize,
    },
    /// A model without a dial.
    #[error("the model has no binary layer of an order above 1, so there is nothing to choose")]
    NoDial,
    /// No data, or none that fits.
    #[error(
        "the calibration data has {values} values and the model's input {sample}; give a whole number of samples, at least one"
    )]
    Data {
        /// Values of the data.
        values: usize,
        /// Values of a sample.
        sample: usize,
    },
    /// Labels that do not fit.
    #[error(
        "the calibration data has {samples} samples and {labels} labels below {classes}; give each sample one, by the model's outputs"
    )]
    Labels {
        /// Samples of the data.
        samples: usize,
        /// Labels that the model has an output for.
        labels: usize,
        /// Outputs of the model.
        classes: usize,
    },
    /// An option out of its range.
    #[error("{option} must be {range}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it must be.
        range: &'static str,
    },
    /// A latency that no mixture reaches.
    #[error("no mixture answers within {wanted:.1} us: the fastest takes {fastest:.1} us on this machine")]
    Latency {
        /// The budget, in microseconds.
        wanted: f64,
        /// What can be had.
        fastest: f64,
    },
    /// A loss that no mixture stays within.
    #[error("no mixture loses at most {wanted}: the best loses {least:.4}")]
    Loss {
        /// The budget.
        wanted: f64,
        /// What can be had.
        least: f64,
    },
}

/// Finds operating points; `progress` hears of each step.
///
/// # Errors
/// A [`TuneError`], which says what was wrong and what can be had.
pub fn tune(
    model: &Model,
    data: Data<'_>,
    options: &Options,
    progress: &mut dyn FnMut(Step),
) -> Result<Report, TuneError> {
    let samples = check(model, data, options)?;
    let threads = || if options.threads == 1 { Threads::Inline } else { Threads::Own(options.threads) };
    let mut single = Session::new(model, SessionOptions::new().threads(threads()))?;
    let mut batched = Session::new(model, SessionOptions::new().threads(threads()).batch(samples.min(32)))?;
    let layers = layers(&single);
    if layers.iter().all(|(_, order)| *order == 1) {
        return Err(TuneError::NoDial);
    }
    let highest: Orders = layers.iter().map(|(_, order)| *order).collect();
    let input_len = single.input_len();
    let sample = &data.inputs[..input_len];

    // Each layer at each order beside the others at their highest.
    let one_lower: Vec<(usize, usize)> =
        layers.iter().enumerate().flat_map(|(layer, (_, most))| (1..*most).map(move |order| (layer, order))).collect();
    let at = |&(layer, order): &(usize, usize)| {
        let mut orders = highest.clone();
        orders[layer] = order;
        orders
    };
    let mixtures: Vec<Orders> = std::iter::once(highest.clone()).chain(one_lower.iter().map(at)).collect();
    progress(Step { what: "timing each layer at each order", done: 0, of: 1 });
    let times = microseconds(&mut single, &layers, &mixtures, sample, options.time)?;
    let few = samples.min(options.table_samples.max(1));
    let part =
        Data { inputs: &data.inputs[..few * input_len], labels: data.labels.map(|labels| &labels[..few]), ..data };
    let mut losses = Vec::with_capacity(mixtures.len());
    let mut reference: Option<Vec<f32>> = None;
    for (done, orders) in mixtures.iter().enumerate() {
        progress(Step { what: "judging each layer at each order", done, of: mixtures.len() });
        let judged = judge(&mut batched, &layers, orders, part, reference.as_deref())?;
        losses.push(judged.loss);
        reference.get_or_insert(judged.outputs);
    }
    let mut table: Vec<Vec<[f64; 2]>> = highest.iter().map(|&most| vec![[0.0, 0.0]; most]).collect();
    for ((&(layer, order), time), loss) in one_lower.iter().zip(&times[1..]).zip(&losses[1..]) {
        table[layer][order - 1] = [time - times[0], loss - losses[0]];
    }
    let guess = |orders: &[usize]| -> [f64; 2] {
        let parts = orders.iter().zip(&table).map(|(&order, layer)| layer[order - 1]);
        parts.fold([times[0], losses[0]], |[time, loss], [more, worse]| [time + more, loss + worse])
    };

    // Candidates along the guide's front, every uniform order, then the neighbours of what turned out best.
    let uniform: Vec<Orders> = (1..=highest.iter().copied().max().unwrap_or(1))
        .map(|order| highest.iter().map(|&most| order.min(most)).collect())
        .collect();
    let mut wanted = uniform.clone();
    let guide = front(&table);
    for guess in spread(&guide, options.candidates, |guess| guess.time) {
        if !wanted.contains(&guess.orders) {
            wanted.push(guess.orders);
        }
    }
    let mut judged: Vec<Judged> = Vec::new();
    let mut whole = None;
    judge_all(&mut batched, &layers, &wanted, data, &highest, &mut whole, &mut judged, progress)?;
    let first_times = microseconds(&mut single, &layers, &wanted, sample, options.time)?;
    let seen: Vec<(usize, [f64; 2])> = (0..wanted.len()).map(|i| (i, [first_times[i], judged[i].loss])).collect();
    for (place, _) in undominated(seen, |(_, figures)| *figures) {
        let orders = wanted[place].clone();
        // One step in one layer, if the guide says that it is no worse than the front there.
        for layer in 0..layers.len() {
            for order in [orders[layer].wrapping_sub(1), orders[layer] + 1] {
                if !(1..=highest[layer]).contains(&order) || wanted.len() >= uniform.len() + 2 * options.candidates {
                    continue;
                }
                let mut near = orders.clone();
                near[layer] = order;
                let [time, loss] = guess(&near);
                let is_promising = !(0..judged.len()).any(|i| first_times[i] < time && judged[i].loss < loss);
                if is_promising && !wanted.contains(&near) {
                    wanted.push(near);
                }
            }
        }
    }
    judge_all(&mut batched, &layers, &wanted, data, &highest, &mut whole, &mut judged, progress)?;
    progress(Step { what: "timing the candidates", done: 0, of: 1 });
    let times = microseconds(&mut single, &layers, &wanted, sample, options.time)?;

    let mut places: Vec<usize> = (0..wanted.len()).collect();
    places.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    let on_front = undominated(places.clone(), |&i| [times[i], judged[i].loss]);
    let candidates: Vec<Candidate> = places
        .iter()
        .map(|&i| Candidate {
            orders: wanted[i].clone(),
            microseconds: times[i],
            predicted: guess(&wanted[i])[0],
            accuracy: judged[i].accuracy,
            loss: judged[i].loss,
            is_on_front: on_front.contains(&i),
            is_uniform: uniform.contains(&wanted[i]),
        })
        .collect();
    let judged: Vec<&Judged> = places.iter().map(|&i| &judged[i]).collect();
    let best = candidates.iter().position(|one| one.orders == highest).unwrap_or(candidates.len() - 1);
    let cascades = cascades(&candidates, &judged, best);
    let mut report = Report {
        layers,
        table,
        candidates,
        cascades,
        points: Points::default(),
        samples,
        has_labels: data.labels.is_some(),
    };
    report.points = points(&report, best, data, options, single.isa().name())?;
    Ok(report)
}

/// Judges the mixtures that have not been.
#[expect(clippy::too_many_arguments, reason = "what one step of the search hands to the next")]
fn judge_all(
    session: &mut Session,
    layers: &[(String, usize)],
    wanted: &[Orders],
    data: Data<'_>,
    highest: &[usize],
    reference: &mut Option<Vec<f32>>,
    judged: &mut Vec<Judged>,
    progress: &mut dyn FnMut(Step),
) -> Result<(), TuneError> {
    if reference.is_none() && data.labels.is_none() {
        *reference = Some(judge(session, layers, highest, data, None)?.outputs);
    }
    for done in judged.len()..wanted.len() {
        progress(Step { what: "judging the candidates", done, of: wanted.len() });
        judged.push(judge(session, layers, &wanted[done], data, reference.as_deref())?);
    }
    Ok(())
}

/// Checks what was given; the number of samples.
fn check(model: &Model, data: Data<'_>, options: &Options) -> Result<usize, TuneError> {
    let (inputs, outputs) = (model.inputs().len(), model.outputs().len());
    if inputs != 1 || outputs != 1 {
        return Err(TuneError::Ends { inputs, outputs });
    }
    let (values, sample, classes) = (data.inputs.len(), model.input_shape().len(), model.output_shape().len());
    if values == 0 || !values.is_multiple_of(sample) {
        return Err(TuneError::Data { values, sample });
    }
    let samples = values / sample;
    if let Some(labels) = data.labels {
        let known = labels.iter().filter(|&&label| usize::from(label) < classes).count();
        if labels.len() != samples || known != samples {
            return Err(TuneError::Labels { samples, labels: known, classes });
        }
    }
    if !(2..=horq::MAX_POINTS).contains(&options.points) {
        return Err(TuneError::Option { option: "the number of points", range: "2 to 64" });
    }
    if options.loss.is_some_and(|loss| !loss.is_finite()) {
        return Err(TuneError::Option { option: "the loss", range: "a finite number" });
    }
    if options.candidates == 0 {
        return Err(TuneError::Option { option: "the number of candidates", range: "at least 1" });
    }
    Ok(samples)
}

/// What every two candidates of the front, the highest orders among them, do as a cascade, at thresholds that send some shares on.
fn cascades(candidates: &[Candidate], judged: &[&Judged], best: usize) -> Vec<CascadeFigures> {
    const SHARES: [f64; 9] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5];
    let ends: Vec<usize> = (0..candidates.len()).filter(|&i| candidates[i].is_on_front || i == best).collect();
    let mut all = Vec::new();
    for (place, &low) in ends.iter().enumerate() {
        let mut sorted = judged[low].margins.clone();
        sorted.sort_by(f64::total_cmp);
        let margins = SHARES.map(|share| sorted[(share * sorted.len() as f64) as usize]);
        for &high in &ends[place + 1..] {
            all.extend(margins.iter().filter(|margin| margin.is_finite()).map(|&margin| {
                let (mut again, mut right) = (0, 0);
                for (sample, &of_low) in judged[low].margins.iter().enumerate() {
                    let answers = if of_low < margin { high } else { low };
                    again += usize::from(answers == high);
                    right += usize::from(judged[answers].right[sample]);
                }
                let count = sorted.len() as f64;
                let (share, accuracy) = (again as f64 / count, right as f64 / count);
                let microseconds = candidates[low].microseconds + share * candidates[high].microseconds;
                CascadeFigures { low, high, margin, share, accuracy, microseconds }
            }));
        }
    }
    all
}

/// The points of the file: the highest orders, the fastest, those for budgets, and others of the front between them.
fn points(report: &Report, best: usize, data: Data<'_>, options: &Options, backend: &str) -> Result<Points, TuneError> {
    let candidates = &report.candidates;
    let lost = |place: usize| match report.has_labels {
        true => 100.0 * (candidates[best].accuracy - candidates[place].accuracy),
        false => candidates[place].loss,
    };
    let on_front: Vec<usize> = (0..candidates.len()).filter(|&place| candidates[place].is_on_front).collect();
    let time = |place: &usize| candidates[*place].microseconds;
    let mut chosen: Vec<(usize, &str)> = Vec::new();
    let mut default = "exact";
    if let Some(latency) = options.latency {
        let wanted = latency.as_nanos() as f64 / 1000.0;
        let within = on_front.iter().copied().rfind(|place| time(place) <= wanted);
        let fastest = on_front.first().map_or(0.0, time);
        chosen.push((within.ok_or(TuneError::Latency { wanted, fastest })?, "in-time"));
        default = "in-time";
    }
    if let Some(wanted) = options.loss {
        let within = on_front.iter().copied().chain([best]).find(|&place| lost(place) <= wanted);
        let least = on_front.iter().copied().chain([best]).map(lost).fold(f64::INFINITY, f64::min);
        chosen.push((within.ok_or(TuneError::Loss { wanted, least })?, "good-enough"));
        if options.latency.is_none() {
            default = "good-enough";
        }
    }
    chosen.push((best, "exact"));
    chosen.extend(on_front.first().filter(|&&place| place != best).map(|&place| (place, "fast")));
    let names = ["mid-1", "mid-2", "mid-3", "mid-4", "mid-5", "mid-6", "mid-7", "mid-8"];
    let more = options.points.saturating_sub(chosen.len()).min(names.len());
    let between: Vec<usize> =
        on_front.iter().copied().filter(|place| chosen.iter().all(|(other, _)| other != place)).collect();
    // The ends of the front are there already: of a spread over all of it what lies between.
    let spread = spread(&between, more, time);
    chosen.extend(spread.into_iter().zip(names));
    chosen.sort_by(|a, b| time(&a.0).total_cmp(&time(&b.0)));

    let data_text: String = format!("{}, {} samples", data.name, report.samples).chars().take(120).collect();
    let measure = if report.has_labels { "accuracy" } else { "divergence" };
    let latency = |microseconds: f64| Latency::new(microseconds, options.threads, &options.cpu, backend);
    let point = |&(place, name): &(usize, &str)| -> Result<Point, TuneError> {
        let orders = report.layers.iter().zip(&candidates[place].orders);
        let orders = orders.map(|((layer, _), &order)| Ok((layer.as_str(), Order::new(order)?)));
        let orders: Vec<(&str, Order)> = orders.collect::<Result<_, horq::Error>>()?;
        let loss = Loss::new(lost(place), measure, &data_text);
        Ok(Point::new(name, orders).loss(loss).latency(latency(candidates[place].microseconds)))
    };
    let all: Vec<Point> = chosen.iter().map(point).collect::<Result<_, _>>()?;
    let mut points = Points::new(all).default_to(default);
    // The fastest cascade of two points of the file that is as accurate as the highest orders.
    let name_of = |place: usize| chosen.iter().find(|(other, _)| *other == place).map(|(_, name)| *name);
    let as_good = report.cascades.iter().filter(|one| {
        let is_faster = one.microseconds < candidates[best].microseconds;
        let has_names = name_of(one.low).is_some() && name_of(one.high).is_some();
        one.accuracy >= candidates[best].accuracy && is_faster && has_names
    });
    if let Some(one) = as_good.min_by(|a, b| a.microseconds.total_cmp(&b.microseconds))
        && let (Some(low), Some(high)) = (name_of(one.low), name_of(one.high))
    {
        let cascade = Cascade::new(low, high, one.margin).latency(latency(one.microseconds));
        let value = 100.0 * (candidates[best].accuracy - one.accuracy);
        let measure = if report.has_labels { "accuracy" } else { "accuracy against the highest orders" };
        points = points.cascade(cascade.loss(Loss::new(value, measure, &data_text)));
    }
    Ok(points)
}
