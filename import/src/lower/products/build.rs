//! Products in the engine's operations.

use super::Product;
use super::choose::{Form, zero_point};
use super::sites::{Kind, Site};
use crate::error::Refusal;
use crate::graph::{Node, ValueId};
use crate::layout::View;
use crate::lower::Lowering;
use crate::lower::placed::{Pending, Placed, image};
use crate::recognise::Quantized;
use horq::PlainValues;
use horq::graph::{Op, Shape};
use horq::ops::{
    Add, Affine, Basis, BinaryConv2d, BinaryDense, BinaryWeightConv2d, BinaryWeightDense, Clip, CodebookConv2d,
    CodebookDense, Conv2d, Dense, Int8Conv2d, Int8Dense, Int8Quantize, Pad, Quantizer, Slice, ZeroInsert,
};
use horq::{MIN_HALVING_SCALE, Order, ScaleMode, Window};

fn singles(values: impl IntoIterator<Item = f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

impl Lowering<'_> {
    /// The value times `scale` plus `shift`, as one affine with what was to be done to it before.
    pub(in crate::lower) fn affine_of(
        &mut self,
        value: ValueId,
        scale: f64,
        shift: f64,
        node: &Node,
    ) -> Result<Placed, Refusal> {
        if scale == 1.0 && shift == 0.0 {
            return self.placed(value);
        }
        let key = (value, scale.to_bits(), shift.to_bits());
        if let Some(placed) = self.affines.get(&key) {
            return Ok(placed.clone());
        }
        let placed = if self.needed_once(value) { self.lookup(value)? } else { self.placed(value)? };
        let rank = placed.view.axes.len();
        let mut next = Pending::of_numbers(rank, scale, shift, node);
        next.node.push_str("/input");
        let pending = match placed.pending.clone() {
            Some(before) => before.then(next),
            None => next,
        };
        let done = self.settled(Placed { pending: Some(pending), ..placed })?;
        self.affines.insert(key, done.clone());
        Ok(done)
    }

    pub(in crate::lower) fn product(&mut self, node: &Node, product: Product) -> Result<(), Refusal> {
        let Product { operand, form, site, tap_sums, mut bias, note } = product;
        let mut window = site.window;
        let placed = match &form {
            Form::Binary(Quantized { ratio, shift, .. }, _) => self.affine_of(operand, *ratio, *shift, node)?,
            Form::Int8(quantized, ..) => self.bytes(node, operand, quantized)?,
            _ => self.placed(operand)?,
        };
        let (mut placed, columns, view) = self.on_site(node, placed, &site)?;
        if let Kind::Window { upsampled } = site.kind {
            if upsampled != [1; 2] {
                placed.name = self.emit(node, "/zeros", &[&placed.name], ZeroInsert::new(upsampled))?;
            }
            if node.op == "ConvTranspose" {
                window.padding = turned_padding(node, &window, self.engine_shape(&placed.name).sizes(), &view)?;
            }
        }
        let mut map = None;
        if let Form::Binary(quantized, _) = &form {
            let offset = quantized.center;
            let padded = window.padding != [0; 4];
            if offset != 0.0 && padded {
                if let Some(level) = level_of_zero(quantized) {
                    let [top, left, bottom, right] = window.padding;
                    let pad = Pad::constant([top, left, 0], [bottom, right, 0], vec![level as f32]);
                    placed.name = self.emit(node, "/pad", &[&placed.name], pad)?;
                    window.padding = [0; 4];
                } else {
                    map = Some(self.offsets(node, &placed.name, &tap_sums, window, offset)?);
                }
            }
            if offset != 0.0 && map.is_none() {
                bias.resize(site.filters, 0.0);
                let taps = window.taps();
                for (b, sums) in bias.iter_mut().zip(tap_sums.chunks_exact(taps)) {
                    *b += offset * sums.iter().sum::<f64>();
                }
            }
        }
        let bias = (!bias.is_empty()).then(|| singles(bias));
        let flat = matches!(self.engine_shape(&placed.name), Shape::Flat(_));
        let op = operation(form, &site, window, flat, columns.as_deref(), bias)?;
        let mut name = self.emit_as(&node.name, &node.op, "", &[&placed.name], op, &note)?;
        if let Some(map) = map {
            name = self.emit(node, "/sum", &[&name, &map], Add)?;
        }
        self.place(node, name, view);
        Ok(())
    }

    /// What a constant offset of the activations adds to each value of the result: `offset` times the sum of the weights on valid
    /// taps, which is a convolution of an image of ones.
    fn offsets(
        &mut self,
        node: &Node,
        operand: &str,
        tap_sums: &[f64],
        window: Window,
        offset: f64,
    ) -> Result<String, Refusal> {
        let [height, width, _] = self.engine_shape(operand).sizes();
        let part = self.emit(node, "/pixels", &[operand], Slice::new([0; 3], [height, width, 1]))?;
        let ones = self.emit(node, "/ones", &[&part], Affine::new(vec![0.0], vec![1.0]))?;
        let weights = singles(tap_sums.iter().map(|sum| offset * sum));
        let filters = tap_sums.len() / window.taps();
        let note = "what the offset of the input's levels adds, which padded taps leave out";
        let op = Conv2d::new(window, filters, weights);
        self.emit_as(&node.name, &node.op, "/offset", &[&ones], op, note)
    }

    /// The engine's shape of a value that it has.
    fn engine_shape(&self, name: &str) -> Shape {
        self.builder.shape(name).expect("a value that was added")
    }

    /// The operand as the layer reads it; the logical channel of each channel in memory where their orders differ; and the view of
    /// the result.
    fn on_site(
        &mut self,
        node: &Node,
        placed: Placed,
        site: &Site,
    ) -> Result<(Placed, Option<Vec<usize>>, View), Refusal> {
        let result = self.result_shape(node)?;
        match site.kind {
            Kind::Window { .. } => {
                let spatial: Vec<usize> = (2..placed.view.axes.len()).collect();
                let (rows, columns) = spatial.split_at(spatial.len() - 1);
                let outer = placed.view.sequence(&spatial);
                let in_place = placed
                    .view
                    .innermost(1)
                    .filter(|_| site.groups == 1 && outer.iter().enumerate().all(|(i, &factor)| i == factor));
                let order: Vec<usize> = std::iter::once(0).chain(spatial.iter().copied()).chain([1]).collect();
                let view = View::ordered(result, &order);
                let [h, w, c] = [rows, columns, &[1]].map(|axes| placed.view.size(&placed.view.sequence(axes)));
                let channels = match in_place {
                    Some(channels) => channels,
                    None => {
                        let placed = self.grouped_placed(placed, [rows, columns, &[1]], false)?;
                        return Ok((placed, None, view));
                    }
                };
                let placed = self.reshaped(placed, image(h, w, c))?;
                Ok((placed, permuted(channels), view))
            }
            Kind::Axis { axis, transposed } => {
                let mut placed = placed;
                if placed.view.innermost(axis).is_none() {
                    let inner = placed.view.axes[axis].clone();
                    let outer = (0..placed.view.factors.len()).filter(|factor| !inner.contains(factor));
                    let sequence: Vec<usize> = outer.chain(inner.iter().copied()).collect();
                    let channels = placed.view.size(&inner);
                    let positions = placed.shape.len() / channels;
                    let shape = if positions == 1 { Shape::Flat(channels) } else { image(1, positions, channels) };
                    placed = self.rearranged(placed, &sequence, shape)?;
                }
                let channels = placed.view.innermost(axis).unwrap_or_default();
                let depth = channels.len();
                let positions = placed.shape.len() / depth;
                if placed.shape.sizes()[2] != depth {
                    let shape = if positions == 1 { Shape::Flat(depth) } else { image(1, positions, depth) };
                    placed = self.reshaped(placed, shape)?;
                } else if positions == 1 {
                    placed = self.reshaped(placed, Shape::Flat(depth))?;
                }
                let view = with_filters(&placed.view, axis, site.filters);
                let view = if transposed { view.transposed(&[1, 0]) } else { view };
                let shaped = view.reshaped(result);
                let view =
                    shaped.ok_or_else(|| Refusal::of(node, "its result has a shape that does not follow", ""))?;
                Ok((placed, permuted(channels), view))
            }
        }
    }

    /// The operand of a layer that makes bytes of it.
    fn bytes(&mut self, node: &Node, operand: ValueId, quantized: &Quantized) -> Result<Placed, Refusal> {
        let shift = quantized.shift + quantized.center;
        let noise = 1e-6 * quantized.levels.iter().fold(0.0, |m: f64, l| m.max(l.abs()));
        let mut placed =
            self.affine_of(operand, quantized.ratio, if shift.abs() < noise { 0.0 } else { shift }, node)?;
        let levels = &quantized.levels;
        let own = self.analysis.of(operand).levels.as_ref() == Some(levels);
        if !own && levels.len() < 256 {
            let clip = Clip::new(levels[0] as f32, levels[levels.len() - 1] as f32);
            placed.name = self.emit(node, "/clip", &[&placed.name], clip)?;
        }
        Ok(placed)
    }
}

/// The permutation, unless it is none.
fn permuted(channels: Vec<usize>) -> Option<Vec<usize>> {
    (!channels.iter().enumerate().all(|(i, &channel)| i == channel)).then_some(channels)
}

/// The view of the result of a product along an axis.
fn with_filters(view: &View, axis: usize, filters: usize) -> View {
    let outer = view.factors.len() - view.axes[axis].len();
    let mut result = View { factors: view.factors[..outer].to_vec(), axes: view.axes.clone() };
    result.axes[axis].clear();
    if filters > 1 {
        result.axes[axis].push(outer);
        result.factors.push(filters);
    }
    result
}

/// The padding of the convolution that a transposed one is, on an image of that size that has its zeros already.
fn turned_padding(node: &Node, window: &Window, image: [usize; 3], view: &View) -> Result<[usize; 4], Refusal> {
    let shape = view.shape();
    let result = if shape.len() == 4 { [shape[2], shape[3]] } else { [1, shape[2]] };
    let mut padding = [0; 4];
    for axis in 0..2 {
        let reach = (window.kernel[axis] - 1) * window.dilation[axis];
        let before = reach.checked_sub(window.padding[axis]);
        let after = before.and_then(|before| (result[axis] + reach).checked_sub(image[axis] + before));
        let (Some(before), Some(after)) = (before, after) else {
            return Err(Refusal::of(node, "its pads are wider than its kernel", "cut its result by a Slice instead"));
        };
        (padding[axis], padding[axis + 2]) = (before, after);
    }
    Ok(padding)
}

/// What the planes' value is where the activation is 0, if 0 is a level.
fn level_of_zero(quantized: &Quantized) -> Option<f64> {
    let scale = quantized.levels.iter().fold(0.0f64, |m, l| m.max(l.abs()));
    let there = quantized.levels.iter().any(|level| level.abs() <= 1e-6 * scale);
    there.then_some(-quantized.center * quantized.gain)
}

/// The operation, its channels in the order of memory.
fn operation(
    form: Form,
    site: &Site,
    window: Window,
    flat: bool,
    columns: Option<&[usize]>,
    bias: Option<Vec<f32>>,
) -> Result<Op<PlainValues<'static>>, Refusal> {
    let filters = site.filters;
    let groups = site.groups;
    Ok(match form {
        Form::Binary(quantized, bases) => {
            let (scales, gain) = (&quantized.scales, quantized.gain);
            let refused = |error: horq::Error| Refusal::at("", "quantizer", error.to_string(), "");
            let order = Order::new(scales.len()).map_err(refused)?;
            let (quantizer, factor) = match scales[..] {
                [only] => (Quantizer::new(order, ScaleMode::None), only),
                _ => (with_constants(order, singles(scales.iter().copied())), 1.0),
            };
            let bases: Vec<Basis<PlainValues<'static>>> = bases
                .into_iter()
                .map(|base| {
                    Basis::new(taken(base.signs, columns), singles(base.alpha.iter().map(|a| a * factor * gain)))
                })
                .collect();
            if flat {
                BinaryDense::new(filters, quantizer, bases).maybe_bias(bias).into()
            } else {
                BinaryConv2d::new(window, filters, quantizer, bases).groups(groups).maybe_bias(bias).into()
            }
        }
        Form::Int8(quantized, weights, scales) => {
            let step = quantized.step().unwrap_or(1.0);
            let quantize = Int8Quantize { scale: step as f32, zero_point: zero_point(&quantized).unwrap_or(0) };
            let (weights, alpha) = (taken(weights, columns), singles(scales.iter().map(|scale| scale * step)));
            if flat {
                Int8Dense::new(filters, quantize, weights, alpha).maybe_bias(bias).into()
            } else {
                Int8Conv2d::new(window, filters, quantize, weights, alpha).groups(groups).maybe_bias(bias).into()
            }
        }
        Form::BinaryWeight(base) => {
            let (signs, alpha) = (taken(base.signs, columns), singles(base.alpha));
            if flat {
                BinaryWeightDense::new(filters, signs, alpha).maybe_bias(bias).into()
            } else {
                BinaryWeightConv2d::new(window, filters, signs, alpha).groups(groups).maybe_bias(bias).into()
            }
        }
        Form::Codebook(codes, entries) => {
            let codes = taken(codes, columns);
            if flat {
                CodebookDense::new(filters, codes, entries).maybe_bias(bias).into()
            } else {
                CodebookConv2d::new(window, filters, codes, entries).groups(groups).maybe_bias(bias).into()
            }
        }
        Form::Float(weights) => {
            let weights = taken(weights, columns);
            if flat {
                Dense::new(filters, weights).maybe_bias(bias).into()
            } else {
                Conv2d::new(window, filters, weights).groups(groups).maybe_bias(bias).into()
            }
        }
    })
}

/// The quantizer with these scales of planes: one b where each is half of the one before, as those of uniform levels are.
fn with_constants(order: Order, scales: Vec<f32>) -> Quantizer<PlainValues<'static>> {
    let halving = scales[0] >= MIN_HALVING_SCALE && scales.windows(2).all(|pair| pair[0] == 2.0 * pair[1]);
    if halving { Quantizer::halving(order, vec![scales[0]; scales.len()]) } else { Quantizer::fixed(order, scales) }
}

/// Weights with the channels of each tap in the order of memory.
fn taken<T: Copy>(weights: Vec<T>, columns: Option<&[usize]>) -> Vec<T> {
    match columns {
        None => weights,
        Some(columns) => {
            weights.chunks_exact(columns.len()).flat_map(|tap| columns.iter().map(|&column| tap[column])).collect()
        }
    }
}
