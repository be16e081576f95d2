//! Operating points: mixtures of orders with names, and what each is worth and costs.

use std::collections::BTreeMap;

use crate::Order;
use crate::error::PointsError;
use crate::graph::{Graph, check_name};
use crate::limits::{MAX_CASCADES, MAX_NAME_BYTES, MAX_POINTS};

/// The word that stands for a model's default point wherever the name of a point is asked for. No point has it as its name.
pub const DEFAULT_POINT: &str = "default";

/// The operating points of a model; most models have none.
///
/// ```
/// use horq::graph::Shape;
/// use horq::ops::{Basis, BinaryDense, Quantizer};
/// use horq::{Builder, Model, Order, Point, Points, ScaleMode, Session, SessionOptions};
///
/// let quantizer = Quantizer::new(Order::new(3)?, ScaleMode::Image);
/// let mut builder = Builder::new("x", Shape::Flat(2));
/// builder.add("y", &["x"], BinaryDense::new(1, quantizer, [Basis::new(&[1.0, -1.0], &[0.5])]))?;
/// let model = Model::from_bytes(&builder.to_bytes("y")?)?;
///
/// let fast = Point::new("fast", [("y", Order::ONE)]);
/// let points = Points::new([fast, Point::new("exact", [])]).default_to("fast");
/// let model = Model::from_bytes(&model.to_bytes_with_points(&points)?)?;
/// let mut session = Session::new(&model, SessionOptions::new())?; // at the highest orders, whatever the file's points
/// session.set_point("fast")?;
/// assert_eq!(session.profile()[0].order(), Some(1));
/// # Ok::<(), horq::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Points {
    /// The points, at most [`MAX_POINTS`], in the order of the file.
    pub all: Vec<Point>,
    /// The name of the point that [`DEFAULT_POINT`] stands for.
    pub default: Option<String>,
    /// Pairs of points that answer together, at most [`MAX_CASCADES`].
    pub cascades: Vec<Cascade>,
}

/// An operating point: an order for each binary layer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// Its name, by which [`crate::Session::set_point`] takes it.
    pub name: String,
    /// The order of each binary layer, by the name of its node. Layers that are not named run at their highest.
    pub orders: BTreeMap<String, Order>,
    /// What its answers lose, if it was measured.
    pub loss: Option<Loss>,
    /// How long a sample takes, if it was measured.
    pub latency: Option<Latency>,
}

/// What answers lose against those of each layer at its highest order; below 0 where they are better.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Loss {
    /// The loss, in the unit of the measure.
    pub value: f64,
    /// What it is: `accuracy` (percentage points of samples whose highest output is the label), or `divergence` (mean
    /// Kullback-Leibler divergence of the softmax of the outputs, in nats). Other measures are free text.
    pub measure: String,
    /// The data, for people: which set, and how many samples.
    pub data: String,
}

/// How long one sample takes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Latency {
    /// Microseconds of a sample that runs alone.
    pub microseconds: f64,
    /// Threads of the session.
    pub threads: usize,
    /// The CPU, for people.
    pub cpu: String,
    /// The backend of the kernels, as [`crate::Isa`] names it.
    pub backend: String,
}

/// Two points that answer together: the low one first, and the high one where the margin of the low one's output (its highest
/// value less its second highest) is below a threshold.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Cascade {
    /// The name of the point that answers every sample.
    pub low: String,
    /// The name of the point that answers again.
    pub high: String,
    /// The least margin of an answer that stands, at least 0.
    pub margin: f64,
    /// What the answers of both together lose, if it was measured.
    pub loss: Option<Loss>,
    /// The mean time of a sample, if it was measured.
    pub latency: Option<Latency>,
}

impl Points {
    /// These points, without a default and without cascades.
    pub fn new(points: impl IntoIterator<Item = Point>) -> Self {
        Self { all: points.into_iter().collect(), ..Self::default() }
    }

    /// Sets [`Self::default`].
    pub fn default_to(self, name: &str) -> Self {
        Self { default: Some(name.into()), ..self }
    }

    /// Adds a cascade.
    pub fn cascade(mut self, cascade: Cascade) -> Self {
        self.cascades.push(cascade);
        self
    }

    /// The point of that name; for [`DEFAULT_POINT`] the default point, if there is one.
    pub fn get(&self, name: &str) -> Option<&Point> {
        self.position(name).map(|index| &self.all[index])
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The place of the point of that name in [`Self::all`], as [`Self::get`] finds it.
    pub fn position(&self, name: &str) -> Option<usize> {
        let name = if name == DEFAULT_POINT { self.default.as_deref()? } else { name };
        self.all.iter().position(|point| point.name == name)
    }

    /// The names, separated by commas, for messages.
    pub(crate) fn names(&self) -> String {
        let mut names: Vec<&str> = self.all.iter().map(|point| point.name.as_str()).collect();
        if self.default.is_some() {
            names.push(DEFAULT_POINT);
        }
        names.join(", ")
    }

    /// Checks the points against the graph that they are of, which is valid.
    pub(crate) fn check(&self, graph: &Graph) -> Result<(), PointsError> {
        let (count, cascades) = (self.all.len(), self.cascades.len());
        if count > MAX_POINTS {
            return Err(PointsError::Count { count, limit: MAX_POINTS });
        }
        if cascades > MAX_CASCADES {
            return Err(PointsError::CascadeCount { count: cascades, limit: MAX_CASCADES });
        }
        for (index, point) in self.all.iter().enumerate() {
            let name = &point.name;
            if name == DEFAULT_POINT || check_name(name).is_err() {
                return Err(PointsError::Name { point: name.chars().take(MAX_NAME_BYTES).collect() });
            }
            if self.all[..index].iter().any(|earlier| earlier.name == *name) {
                return Err(PointsError::Duplicate { point: name.clone() });
            }
            point.check_orders(graph)?;
            check_measured(name, point.loss.as_ref(), point.latency.as_ref())?;
        }
        let exists = |name: &str| self.all.iter().any(|point| point.name == name);
        if let Some(name) = self.default.as_ref().filter(|name| !exists(name)) {
            return Err(PointsError::Default { point: name.clone(), known: self.names() });
        }
        for Cascade { low, high, margin, loss, latency } in &self.cascades {
            if let Some(name) = [low, high].into_iter().find(|name| !exists(name)) {
                return Err(PointsError::CascadePoint { point: name.clone(), known: self.names() });
            }
            if low == high {
                return Err(PointsError::CascadeSame { point: low.clone() });
            }
            if !(margin.is_finite() && *margin >= 0.0) {
                return Err(PointsError::Number { point: low.clone(), field: "margin", value: *margin });
            }
            check_measured(low, loss.as_ref(), latency.as_ref())?;
        }
        Ok(())
    }
}

impl Point {
    /// A point of that name with these orders, of which nothing was measured.
    pub fn new<'a>(name: &str, orders: impl IntoIterator<Item = (&'a str, Order)>) -> Self {
        let orders = orders.into_iter().map(|(layer, order)| (layer.into(), order)).collect();
        Self { name: name.into(), orders, loss: None, latency: None }
    }

    /// Sets [`Self::loss`].
    pub fn loss(self, loss: Loss) -> Self {
        Self { loss: Some(loss), ..self }
    }

    /// Sets [`Self::latency`].
    pub fn latency(self, latency: Latency) -> Self {
        Self { latency: Some(latency), ..self }
    }

    fn check_orders(&self, graph: &Graph) -> Result<(), PointsError> {
        let binary = || graph.nodes.iter().filter_map(|node| Some((&node.name, node.op.quantizer()?.order)));
        for (layer, order) in &self.orders {
            let (point, layer, order) = (self.name.clone(), layer.clone(), order.get());
            match binary().find(|(name, _)| **name == layer) {
                None => {
                    let known = binary().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                    return Err(PointsError::UnknownLayer { point, layer, known });
                }
                Some((_, limit)) if order > limit => {
                    return Err(PointsError::LayerOrder { point, layer, order, limit });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl Loss {
    /// A loss by that measure on that data.
    pub fn new(value: f64, measure: &str, data: &str) -> Self {
        Self { value, measure: measure.into(), data: data.into() }
    }
}

impl Latency {
    /// A latency on that CPU.
    pub fn new(microseconds: f64, threads: usize, cpu: &str, backend: &str) -> Self {
        Self { microseconds, threads, cpu: cpu.into(), backend: backend.into() }
    }
}

impl Cascade {
    /// A cascade of which nothing was measured.
    pub fn new(low: &str, high: &str, margin: f64) -> Self {
        Self { low: low.into(), high: high.into(), margin, loss: None, latency: None }
    }

    /// Sets [`Self::loss`].
    pub fn loss(self, loss: Loss) -> Self {
        Self { loss: Some(loss), ..self }
    }

    /// Sets [`Self::latency`].
    pub fn latency(self, latency: Latency) -> Self {
        Self { latency: Some(latency), ..self }
    }
}

/// Checks the figures of a point.
fn check_measured(point: &str, loss: Option<&Loss>, latency: Option<&Latency>) -> Result<(), PointsError> {
    let number = |field, value| PointsError::Number { point: point.into(), field, value };
    let texts = |texts: &[(&'static str, &String)]| {
        let long = texts.iter().find(|(_, text)| text.len() > MAX_NAME_BYTES);
        long.map_or(Ok(()), |&(field, text)| {
            Err(PointsError::Text { point: point.into(), field, length: text.len(), limit: MAX_NAME_BYTES })
        })
    };
    if let Some(Loss { value, measure, data }) = loss {
        if !value.is_finite() {
            return Err(number("value", *value));
        }
        texts(&[("measure", measure), ("data", data)])?;
    }
    if let Some(Latency { microseconds, threads, cpu, backend }) = latency {
        if !(microseconds.is_finite() && *microseconds > 0.0) {
            return Err(number("microseconds", *microseconds));
        }
        if *threads == 0 {
            return Err(number("threads", 0.0));
        }
        texts(&[("cpu", cpu), ("backend", backend)])?;
    }
    Ok(())
}
