//! The dial: at which order each binary layer runs.

use super::Session;
use crate::error::InputError;
use crate::{Error, LayerProfile, Order};

impl Session {
    /// Runs every binary layer at `order`, or at the highest that the model holds for it where that is lower.
    ///
    /// The planes of a quantizer are greedy, so this is exactly what a model made for that order computes. Costs nothing.
    pub fn set_order(&mut self, order: Order) {
        self.point = None;
        for i in 0..self.layers.len() {
            if let Some(binary) = self.profiles[i].binary {
                self.set_order_at(i, order.get().min(binary.max_order));
            }
        }
    }

    /// Runs the binary layer named `layer` at `order`.
    ///
    /// # Errors
    /// [`InputError::UnknownLayer`](crate::error::InputError::UnknownLayer) if no binary layer has that name; [`InputError::LayerOrder`](crate::error::InputError::LayerOrder) if `order` is above the highest that
    /// the model holds for the layer.
    pub fn set_layer_order(&mut self, layer: &str, order: Order) -> Result<(), Error> {
        let limit =
            |profile: &LayerProfile| profile.binary.filter(|_| profile.name == layer).map(|binary| binary.max_order);
        let Some((i, limit)) = self.profiles.iter().map(limit).enumerate().find_map(|(i, limit)| Some((i, limit?)))
        else {
            let binary = self.profiles.iter().filter(|profile| profile.binary.is_some());
            let names: Vec<&str> = binary.map(|profile| profile.name.as_str()).collect();
            return Err(InputError::UnknownLayer { layer: layer.into(), known: names.join(", ") }.into());
        };
        if order.get() > limit {
            return Err(InputError::LayerOrder { layer: layer.into(), order: order.get(), limit }.into());
        }
        self.point = None;
        self.set_order_at(i, order.get());
        Ok(())
    }

    pub(super) fn set_order_at(&mut self, i: usize, order: usize) {
        let profile = &mut self.profiles[i];
        if let Some(binary) = &mut profile.binary {
            binary.order = order;
            binary.kernel = self.layers[i].layer.binary_kernel(order).unwrap_or(binary.kernel);
        }
        self.orders[i] = order;
        profile.macs = self.layers[i].layer.macs().at_order(order);
    }
}
