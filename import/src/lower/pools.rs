//! Pooling.

use super::placed::Placed;
use super::products::window;
use super::{Lowering, Rule};
use crate::error::Refusal;
use crate::graph::Node;
use crate::layout::View;
use horq::PlainValues;
use horq::Window;
use horq::graph::{Op, Shape};
use horq::ops::{AveragePool, GlobalAveragePool, MaxPool, Pad, ReduceMax};

pub(super) const RULES: &[Rule] = &[
    ("AveragePool", |to, node| to.average_pool(node)),
    ("GlobalAveragePool", |to, node| to.global(node, GlobalAveragePool)),
    ("GlobalMaxPool", |to, node| to.global(node, ReduceMax::new([true, true, false]))),
    ("MaxPool", |to, node| to.max_pool(node)),
];

impl Lowering<'_> {
    /// The operand of a pool with its channels inside, and the pool's window as it has to be for the result to have its size.
    fn pooled(&mut self, node: &Node) -> Result<(Placed, Window), Refusal> {
        if node.outputs.iter().skip(1).flatten().any(|id| self.needs.contains_key(id)) {
            return Err(Refusal::of(node, "the places of its largest values are needed", "their values alone work"));
        }
        let input = self.shape(self.operand(node, 0)?)?;
        let result = self.result_shape(node)?;
        let kernel: Vec<usize> =
            node.ints("kernel_shape").unwrap_or(&[]).iter().filter_map(|&k| usize::try_from(k).ok()).collect();
        if !(1..=2).contains(&kernel.len()) || input.len() != kernel.len() + 2 || result.len() != input.len() {
            let reason = format!("its window has {} axes", kernel.len());
            return Err(Refusal::of(node, reason, "one or two work; cut a volume into images"));
        }
        let window = window(node, &kernel, &input[2..], &result[2..])?;
        Ok((self.channels_last(node)?, window))
    }

    /// More padding behind the image, where windows of `ceil_mode` reach past it.
    fn reaching(&self, node: &Node, window: &Window, size: [usize; 2]) -> Result<[usize; 2], Refusal> {
        let result = self.result_shape(node)?;
        let result = if result.len() == 4 { [result[2], result[3]] } else { [1, result[2]] };
        Ok([0, 1].map(|axis| {
            let span = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            let needed = (result[axis].max(1) - 1) * window.stride[axis] + span;
            needed.saturating_sub(size[axis] + window.padding[axis] + window.padding[axis + 2])
        }))
    }

    fn spatial_view(&self, node: &Node) -> Result<View, Refusal> {
        let result = self.result_shape(node)?;
        let order: Vec<usize> = std::iter::once(0).chain(2..result.len()).chain([1]).collect();
        Ok(View::ordered(result, &order))
    }

    fn max_pool(&mut self, node: &Node) -> Result<(), Refusal> {
        let (placed, mut window) = self.pooled(node)?;
        let [height, width, _] = placed.shape.sizes();
        let more = self.reaching(node, &window, [height, width])?;
        window.padding[2] += more[0];
        window.padding[3] += more[1];
        let name = self.emit(node, "", &[&placed.name], MaxPool::new(window))?;
        let view = self.spatial_view(node)?;
        self.place(node, name, view);
        Ok(())
    }

    fn average_pool(&mut self, node: &Node) -> Result<(), Refusal> {
        let (mut placed, mut window) = self.pooled(node)?;
        let [height, width, _] = placed.shape.sizes();
        let more = self.reaching(node, &window, [height, width])?;
        if node.int("count_include_pad", 0) != 0 && window.padding != [0; 4] {
            // The zeros count; what a window of ceil_mode reaches beyond them does not.
            let [top, left, bottom, right] = window.padding;
            let pad = Pad::constant([top, left, 0], [bottom, right, 0], vec![0.0]);
            placed.name = self.emit(node, "/pad", &[&placed.name], pad)?;
            window.padding = [0; 4];
        }
        window.padding[2] += more[0];
        window.padding[3] += more[1];
        let name = self.emit(node, "", &[&placed.name], AveragePool::new(window))?;
        let view = self.spatial_view(node)?;
        self.place(node, name, view);
        Ok(())
    }

    fn global(&mut self, node: &Node, op: impl Into<Op<PlainValues<'static>>>) -> Result<(), Refusal> {
        let placed = self.channels_last(node)?;
        let channels = placed.shape.sizes()[2];
        let name = self.emit(node, "", &[&placed.name], op)?;
        let result = View::row_major(self.result_shape(node)?);
        self.place(node, name, result);
        if let Some(value) = node.output(0) {
            let placed = self.lookup(value)?;
            let flat = self.reshaped(placed, Shape::Flat(channels))?;
            self.values.insert(value, flat);
        }
        Ok(())
    }
}
