//! Normalisations of constants.

use super::held::float_tensor;
use super::view::View;
use crate::error::Refusal;
use crate::graph::Tensor;
use ndarray::Axis;

/// `BatchNormalization` of a constant.
pub(super) fn batch(view: &View<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let [Some(x), Some(scale), Some(bias), Some(mean), Some(variance)] = inputs else { return None };
    if !x.element.is_float() || x.shape().len() < 2 {
        return None;
    }
    let epsilon = f64::from(view.node.float("epsilon", 1e-5));
    let (scale, bias, mean, variance) = (scale.doubles(), bias.doubles(), mean.doubles(), variance.doubles());
    let mut values = x.doubles();
    for (channel, mut part) in values.axis_iter_mut(Axis(1)).enumerate() {
        let factor = scale[[channel].as_slice()] / (variance[[channel].as_slice()] + epsilon).sqrt();
        let (mean, bias) = (mean[[channel].as_slice()], bias[[channel].as_slice()]);
        part.mapv_inplace(|value| (value - mean) * factor + bias);
    }
    Some(float_tensor(x.element, values))
}

/// `Softmax` or `LogSoftmax` of a constant.
pub(super) fn softmax(view: &View<'_>, x: &Tensor) -> Result<Option<Tensor>, Refusal> {
    if !x.element.is_float() {
        return Ok(None);
    }
    let axis = view.axis(view.node.int("axis", -1), x.shape().len())?;
    let mut values = x.doubles();
    for mut lane in values.lanes_mut(Axis(axis)) {
        let max = lane.fold(f64::NEG_INFINITY, |max, &value| max.max(value));
        let sum: f64 = lane.iter().map(|&value| libm::exp(value - max)).sum();
        match view.node.op.as_str() {
            "Softmax" => lane.mapv_inplace(|value| libm::exp(value - max) / sum),
            _ => lane.mapv_inplace(|value| value - max - libm::log(sum)),
        }
    }
    Ok(Some(float_tensor(x.element, values)))
}
