//! A session at an operating point.

use super::Session;
use crate::error::InputError;
use crate::{Error, LayerProfile, Model, Points};

/// The order of each layer of a session at each of the model's points; 0 for layers without one.
pub(super) fn orders(model: &Model, profiles: &[LayerProfile]) -> Vec<Vec<usize>> {
    let of_points = model.points().all.iter().map(|point| {
        let order = |profile: &LayerProfile| {
            let highest = profile.binary.map_or(0, |binary| binary.max_order);
            point.orders.get(&profile.name).map_or(highest, |order| order.get())
        };
        profiles.iter().map(order).collect()
    });
    of_points.collect()
}

impl Session {
    /// Runs every binary layer at the order that the model's operating point of that name gives it, and those that it does not
    /// name at their highest. [`DEFAULT_POINT`](crate::DEFAULT_POINT) names the model's default point.
    ///
    /// A session that was made without [`SessionOptions::point`](crate::SessionOptions::point) is at no point: it runs every layer at its highest order, whatever
    /// points the file has. Takes effect with the next run, and allocates nothing.
    ///
    /// # Errors
    /// [`InputError::UnknownPoint`](crate::error::InputError::UnknownPoint), with the names of the points, if the model has none of that name.
    pub fn set_point(&mut self, name: &str) -> Result<(), Error> {
        let index = position(self.model.points(), name)?;
        self.set_point_at(index);
        Ok(())
    }

    /// The name of the operating point that the session is at; none if it was never set to one, or if an order was set since.
    pub fn point(&self) -> Option<&str> {
        self.point.map(|index| self.model.points().all[index].name.as_str())
    }

    pub(super) fn set_point_at(&mut self, index: usize) {
        for layer in 0..self.layers.len() {
            let order = self.point_orders[index][layer];
            if order > 0 && order != self.orders[layer] {
                self.set_order_at(layer, order);
            }
        }
        self.point = Some(index);
    }
}

/// The place of the point of that name.
pub(super) fn position(points: &Points, name: &str) -> Result<usize, Error> {
    let unknown = || InputError::UnknownPoint { point: name.into(), known: points.names() };
    points.position(name).ok_or_else(|| unknown().into())
}
