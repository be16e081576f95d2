//! Values of the network as values of the engine.

use super::Lowering;
use crate::error::Refusal;
use crate::graph::{Node, ValueId};
use crate::layout::View;
use horq::graph::Shape;
use horq::ops::{Affine, Rearrange};
use ndarray::{ArrayD, Axis, IxDyn};

/// A value of the network in the engine.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The engine's name of it.
    pub(super) name: String,
    /// The engine's shape of it.
    pub(super) shape: Shape,
    /// How its logical axes lie in the engine's memory.
    pub(super) view: View,
    /// What is still to be done to it.
    pub(super) pending: Option<Pending>,
}

/// Scale and shift that no node does yet: x scale + shift, each of a shape that is broadcast to the value's.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) scale: ArrayD<f64>,
    pub(super) shift: ArrayD<f64>,
    /// The node of the network that it was last made of.
    pub(super) node: String,
    pub(super) op: String,
}

impl Pending {
    /// One factor and one summand.
    pub(super) fn of_numbers(rank: usize, scale: f64, shift: f64, node: &Node) -> Self {
        let number = |value| ArrayD::from_elem(IxDyn(&vec![1; rank]), value);
        Self { scale: number(scale), shift: number(shift), node: node.name.clone(), op: node.op.clone() }
    }

    fn is_identity(&self) -> bool {
        self.scale.iter().all(|&s| s == 1.0) && self.shift.iter().all(|&s| s == 0.0)
    }

    /// Whether a constant differs along an axis.
    fn varies(&self, axis: usize) -> bool {
        self.scale.shape()[axis] > 1 || self.shift.shape()[axis] > 1
    }

    /// This and then another.
    pub(super) fn then(self, next: Self) -> Self {
        let scale = &self.scale * &next.scale;
        let shift = &self.shift * &next.scale + &next.shift;
        Self { scale, shift, ..next }
    }
}

/// Scale and shift in f32. Where the affine is 0 at a number that f32 has, it stays 0 there: a sign behind it decides by that.
fn rounded(scale: f64, shift: f64) -> (f32, f32) {
    let zero = -shift / scale;
    let (scale32, zero32) = (scale as f32, zero as f32);
    let exact = zero.is_finite() && (f64::from(zero32) - zero).abs() <= 1e-9 * zero.abs();
    let product = -(zero32 * scale32);
    let near = (f64::from(product) - shift).abs() <= 1e-6 * shift.abs();
    (scale32, if exact && near { product } else { shift as f32 })
}

/// Constants of an affine from which on it matters that most of them repeat others.
const LONG: usize = 4096;
/// As often as that.
const WASTEFUL: usize = 16;

/// A constant with one value where an axis repeats it, as `expand_as` leaves a bias of channels: that of an image's size would
/// otherwise be held for each pixel.
pub(super) fn narrowed(mut numbers: ArrayD<f64>) -> ArrayD<f64> {
    for axis in (0..numbers.ndim()).map(Axis) {
        let mut slices = numbers.axis_iter(axis);
        let first = slices.next();
        if numbers.len_of(axis) > 1 && slices.all(|slice| first.as_ref() == Some(&slice)) {
            numbers.slice_axis_inplace(axis, ndarray::Slice::from(..1));
        }
    }
    numbers
}

/// A shape as numbers: its sizes, and whether it is an image.
fn key_of(shape: Shape) -> [usize; 4] {
    let [height, width, channels] = shape.sizes();
    [height, width, channels, usize::from(matches!(shape, Shape::Image { .. }))]
}

/// An image.
pub(super) fn image(height: usize, width: usize, channels: usize) -> Shape {
    Shape::Image { height, width, channels }
}

impl<'g> Lowering<'g> {
    /// The value with nothing left to be done to it.
    pub(super) fn placed(&mut self, value: ValueId) -> Result<Placed, Refusal> {
        let placed = self.lookup(value)?;
        if placed.pending.is_none() {
            return Ok(placed);
        }
        let done = self.settled(placed)?;
        self.values.insert(value, done.clone());
        Ok(done)
    }

    /// The value as it is known, with what is left to be done.
    pub(super) fn lookup(&self, value: ValueId) -> Result<Placed, Refusal> {
        self.values.get(&value).cloned().ok_or_else(|| {
            let name = &self.graph.value(value).name;
            match self.graph.value(value).constant {
                Some(_) => Refusal::at(name, "constant", "a constant stands where a computed value is needed", ""),
                None => Refusal::at(name, "value", "what makes it was refused", ""),
            }
        })
    }

    /// Does what is left to be done to a value.
    pub(super) fn settled(&mut self, placed: Placed) -> Result<Placed, Refusal> {
        let Some(pending) = &placed.pending else { return Ok(placed) };
        if pending.is_identity() {
            return Ok(Placed { pending: None, ..placed });
        }
        let (node, op) = (pending.node.clone(), pending.op.clone());
        let (placed, scale, shift) = self.along(placed.clone(), pending)?;
        let name = self.emit_as(&node, &op, "", &[&placed.name], Affine::new(scale, shift), "")?;
        Ok(Placed { name, pending: None, ..placed })
    }

    /// Scale and shift along the innermost axis of the engine, the value under a shape whose innermost axis is that long.
    ///
    /// Constants that differ along outer axes alone would be held for every place inside, so long ones have those axes moved in.
    pub(super) fn along(
        &mut self,
        mut placed: Placed,
        pending: &Pending,
    ) -> Result<(Placed, Vec<f32>, Vec<f32>), Refusal> {
        let view = &placed.view;
        let (varying, even): (Vec<usize>, Vec<usize>) =
            (0..view.factors.len()).partition(|&factor| pending.varies(view.axis_of(factor)));
        let held: usize = varying.first().map_or(1, |&outermost| view.factors[outermost..].iter().product());
        if held >= LONG && held >= WASTEFUL * view.size(&varying) {
            let (len, all) = (view.size(&varying), placed.shape.len());
            placed = Placed { pending: None, ..placed };
            placed = self.rearranged(placed, &[even, varying].concat(), image(1, all / len, len))?;
        }
        let (scale, shift) = vectors(&placed, pending);
        let (len, total) = (scale.len(), placed.shape.len());
        if len == placed.shape.sizes()[2] {
            return Ok((placed, scale, shift));
        }
        let shape = if total == len { Shape::Flat(len) } else { image(1, total / len, len) };
        Ok((self.reshaped(placed, shape)?, scale, shift))
    }

    /// The value under another shape of the engine, in the same memory.
    pub(super) fn reshaped(&mut self, placed: Placed, shape: Shape) -> Result<Placed, Refusal> {
        if placed.shape == shape {
            return Ok(placed);
        }
        let key = (placed.name.clone(), Vec::new(), key_of(shape));
        let name = match self.arranged.get(&key) {
            Some(name) => name.clone(),
            None => {
                let label = format!("{}/as {shape}", placed.name);
                let name = self.emit_as(&label, "Reshape", "", &[&placed.name], Rearrange::reshape(shape), "")?;
                self.arranged.insert(key, name.clone());
                name
            }
        };
        Ok(Placed { name, shape, ..placed })
    }

    /// The value with its factors in that order in memory, under that shape. The factors of the result are numbered by their place.
    pub(super) fn rearranged(&mut self, placed: Placed, sequence: &[usize], shape: Shape) -> Result<Placed, Refusal> {
        debug_assert!(placed.pending.is_none(), "settled before it is moved");
        if placed.view.lies(sequence) {
            return self.reshaped(placed, shape);
        }
        let key = (placed.name.clone(), sequence.to_vec(), key_of(shape));
        let sizes = placed.view.factors.clone();
        let name = match self.arranged.get(&key) {
            Some(name) => name.clone(),
            None => {
                let label = format!("{}/arranged", placed.name);
                let op = Rearrange::new(sizes, sequence.to_vec(), shape);
                let name = self.emit_as(&label, "Transpose", "", &[&placed.name], op, "values move in memory")?;
                self.arranged.insert(key, name.clone());
                name
            }
        };
        Ok(Placed { name, shape, view: placed.view.in_sequence(sequence), pending: None })
    }

    /// The value in the order of these axes, as an image of three groups of them; a vector where but one value is outside of the
    /// last group and `flat` is set. All axes larger than 1 are in the groups.
    pub(super) fn grouped(&mut self, value: ValueId, groups: [&[usize]; 3], flat: bool) -> Result<Placed, Refusal> {
        let placed = self.placed(value)?;
        self.grouped_placed(placed, groups, flat)
    }

    /// As [`Self::grouped`].
    pub(super) fn grouped_placed(
        &mut self,
        placed: Placed,
        groups: [&[usize]; 3],
        flat: bool,
    ) -> Result<Placed, Refusal> {
        let view = &placed.view;
        let sequence: Vec<usize> = groups.iter().flat_map(|axes| view.sequence(axes)).collect();
        if sequence.len() != view.factors.len() {
            let reason = format!("it has the shape {:?} where a batch of one is needed", view.shape());
            return Err(Refusal::at(&placed.name, "value's shape", reason, "keep the first axis for the batch"));
        }
        let [h, w, c] = groups.map(|axes| view.size(&view.sequence(axes)));
        let shape = if flat && h == 1 && w == 1 { Shape::Flat(c) } else { image(h, w, c) };
        self.rearranged(placed, &sequence, shape)
    }

    /// Remembers what a node's first result is in the engine.
    pub(super) fn place(&mut self, node: &Node, name: String, view: View) {
        if let Some(value) = node.output(0) {
            self.place_value(value, name, view);
        }
    }

    /// Remembers what a value is in the engine.
    pub(super) fn place_value(&mut self, value: ValueId, name: String, view: View) {
        let shape = self.builder.shape(&name).expect("it was just added");
        debug_assert_eq!(Some(&view.shape()), self.graph.value(value).shape.as_ref(), "{name}");
        debug_assert_eq!(view.factors.iter().product::<usize>(), shape.len(), "{name}");
        self.values.insert(value, Placed { name, shape, view: view.joined(), pending: None });
    }

    /// Remembers a value as another one under a new shape.
    pub(super) fn alias(&mut self, node: &Node, placed: Placed, view: View) {
        if let Some(value) = node.output(0) {
            self.values.insert(value, Placed { view: view.joined(), ..placed });
        }
    }
}

/// Scale and shift along the innermost part of a value's memory: as long as they differ, and at least all channels.
fn vectors(placed: &Placed, pending: &Pending) -> (Vec<f32>, Vec<f32>) {
    let view = &placed.view;
    let axes: Vec<usize> = (0..view.factors.len()).map(|factor| view.axis_of(factor)).collect();
    let outermost = axes.iter().position(|&axis| pending.varies(axis)).unwrap_or(axes.len());
    let inner: usize = view.factors[outermost..].iter().product();
    let channels = placed.shape.sizes()[2];
    let len = if channels.is_multiple_of(inner) { channels } else { inner };
    let mut index = vec![0; view.axes.len()];
    let vector = |place: usize, index: &mut Vec<usize>| {
        let mut parts = vec![0; view.factors.len()];
        let mut rest = place;
        for (part, &size) in parts.iter_mut().zip(&view.factors).rev() {
            (*part, rest) = (rest % size, rest / size);
        }
        for (axis, factors) in view.axes.iter().enumerate() {
            index[axis] = factors.iter().fold(0, |sum, &factor| sum * view.factors[factor] + parts[factor]);
        }
        let at = |array: &ArrayD<f64>| {
            let place: Vec<usize> =
                index.iter().zip(array.shape()).map(|(&i, &size)| if size > 1 { i } else { 0 }).collect();
            array[IxDyn(&place)]
        };
        rounded(at(&pending.scale), at(&pending.shift))
    };
    (0..len).map(|place| vector(place, &mut index)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_affine_keeps_its_zero() {
        for mean in [3.0f64, -7.0, 0.1f32.into()] {
            let scale = 1.0 / 336.301_8f64.sqrt();
            let (a, b) = rounded(scale, -mean * scale);
            assert_eq!(mean as f32 * a + b, 0.0, "{mean}");
        }
        assert_eq!(rounded(0.0, 0.5), (0.0, 0.5));
        assert_eq!(rounded(2.0, -1.0), (2.0, -1.0));
    }
}
