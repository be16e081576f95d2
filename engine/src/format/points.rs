//! Operating points as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{self, Counted, Object};
use crate::error::FileError;
use crate::limits::{MAX_CASCADES, MAX_POINTS};
use crate::{Cascade, Error, Latency, Loss, Order, Point, Points};

#[derive(Serialize, Deserialize)]
struct RawLoss {
    value: f64,
    measure: String,
    data: String,
}

#[derive(Serialize, Deserialize)]
struct RawLatency {
    microseconds: f64,
    threads: usize,
    cpu: String,
    backend: String,
}

#[derive(Serialize, Deserialize)]
struct RawPoint {
    name: String,
    orders: Object<BTreeMap<String, usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Object<RawLoss>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Object<RawLatency>>,
}

#[derive(Serialize, Deserialize)]
struct RawCascade {
    low: String,
    high: String,
    margin: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Object<RawLoss>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Object<RawLatency>>,
}

#[derive(Serialize, Deserialize)]
struct RawPoints {
    points: Counted<Object<RawPoint>, MAX_POINTS>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default)]
    cascades: Counted<Object<RawCascade>, MAX_CASCADES>,
}

/// Reads the text of the key. What it means is checked later, against the graph.
pub(super) fn parse(text: &str) -> Result<Points, String> {
    let Object(raw): Object<RawPoints> = json::parse(text)?;
    let RawPoints { points, default, cascades } = raw;
    for (what, count, limit) in [("points", points.count, MAX_POINTS), ("cascades", cascades.count, MAX_CASCADES)] {
        if count > limit {
            return Err(format!("it has {count} {what}; {limit} is the most"));
        }
    }
    let all = points.first.into_iter().map(|Object(point)| point.try_into()).collect::<Result<_, _>>()?;
    Ok(Points { all, default, cascades: cascades.first.into_iter().map(|Object(cascade)| cascade.into()).collect() })
}

/// The text of the key. The points have been checked, so every figure is finite.
pub(super) fn text(points: &Points) -> String {
    let Points { all, default, cascades } = points.clone();
    let points = all.into_iter().map(|point| Object(point.into()));
    let cascades = cascades.into_iter().map(|cascade| Object(cascade.into()));
    json::text(&RawPoints { points: points.collect(), default, cascades: cascades.collect() })
}

impl Points {
    /// Reads the text of a file's key `points`, which docs/format.md specifies.
    ///
    /// # Errors
    /// [`FileError::Malformed`] for text that is no such JSON. What the points mean is checked where they are put into a file.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| FileError::Malformed { key: "points", reason }.into())
    }

    /// The text of the key. Figures that are not finite, which no file has, are written as `null`.
    pub fn to_json(&self) -> String {
        text(self)
    }
}

impl TryFrom<RawPoint> for Point {
    type Error = String;

    fn try_from(RawPoint { name, orders: Object(orders), loss, latency }: RawPoint) -> Result<Self, String> {
        let order = |(layer, order)| match Order::new(order) {
            Ok(order) => Ok((layer, order)),
            Err(error) => Err(json::brief(format_args!("point {name:?}, layer {layer:?}: {error}"))),
        };
        let orders = orders.into_iter().map(order).collect::<Result<_, _>>()?;
        Ok(Self { name, orders, loss: loss.map(Into::into), latency: latency.map(Into::into) })
    }
}

impl From<Point> for RawPoint {
    fn from(Point { name, orders, loss, latency }: Point) -> Self {
        let orders = Object(orders.into_iter().map(|(layer, order)| (layer, order.get())).collect());
        Self { name, orders, loss: loss.map(Into::into), latency: latency.map(Into::into) }
    }
}

impl From<RawCascade> for Cascade {
    fn from(RawCascade { low, high, margin, loss, latency }: RawCascade) -> Self {
        Self { low, high, margin, loss: loss.map(Into::into), latency: latency.map(Into::into) }
    }
}

impl From<Cascade> for RawCascade {
    fn from(Cascade { low, high, margin, loss, latency }: Cascade) -> Self {
        Self { low, high, margin, loss: loss.map(Into::into), latency: latency.map(Into::into) }
    }
}

impl From<Object<RawLoss>> for Loss {
    fn from(Object(RawLoss { value, measure, data }): Object<RawLoss>) -> Self {
        Self { value, measure, data }
    }
}

impl From<Loss> for Object<RawLoss> {
    fn from(Loss { value, measure, data }: Loss) -> Self {
        Self(RawLoss { value, measure, data })
    }
}

impl From<Object<RawLatency>> for Latency {
    fn from(Object(RawLatency { microseconds, threads, cpu, backend }): Object<RawLatency>) -> Self {
        Self { microseconds, threads, cpu, backend }
    }
}

impl From<Latency> for Object<RawLatency> {
    fn from(Latency { microseconds, threads, cpu, backend }: Latency) -> Self {
        Self(RawLatency { microseconds, threads, cpu, backend })
    }
}
