//! A node and what is known about its inputs.

use crate::error::Refusal;
use crate::graph::{ElementType, Graph, Node, Tensor};

/// The most elements of a value. It keeps every product of sizes far from overflow.
const MOST_ELEMENTS: usize = 1 << 31;

/// The type and the shape of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) element: ElementType,
    pub(super) shape: Vec<usize>,
}

/// A node whose inputs have shapes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: &'a Node,
}

impl<'a> View<'a> {
    /// A refusal of the node.
    pub(super) fn refuse(&self, reason: impl Into<String>, instead: impl Into<String>) -> Refusal {
        Refusal::of(self.node, reason, instead)
    }

    /// A refusal of what no writer of ONNX should write.
    pub(super) fn broken(&self, reason: impl Into<String>) -> Refusal {
        self.refuse(reason, "the file is broken; export it again")
    }

    /// How many inputs there are, left-out ones at the end not counted.
    pub(super) fn len(&self) -> usize {
        self.node.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Whether an input is there.
    pub(super) fn has(&self, place: usize) -> bool {
        self.node.input(place).is_some()
    }

    /// The shape of an input.
    pub(super) fn shape(&self, place: usize) -> Result<&'a [usize], Refusal> {
        let id = self.node.input(place).ok_or_else(|| self.missing(place))?;
        self.graph.value(id).shape.as_deref().ok_or_else(|| self.broken(format!("its input {place} has no shape")))
    }

    /// The type of an input's elements.
    pub(super) fn element(&self, place: usize) -> Result<ElementType, Refusal> {
        let id = self.node.input(place).ok_or_else(|| self.missing(place))?;
        self.graph.value(id).element.ok_or_else(|| self.broken(format!("its input {place} has no type")))
    }

    /// An input, if it is there and a constant.
    pub(super) fn constant(&self, place: usize) -> Option<&'a Tensor> {
        self.graph.value(self.node.input(place)?).constant.as_deref()
    }

    /// All inputs, if they are constants. A left-out one is none.
    pub(super) fn constants(&self) -> Option<Vec<Option<&'a Tensor>>> {
        let one = |place: usize| match self.has(place) {
            true => self.constant(place).map(Some),
            false => Some(None),
        };
        (0..self.len()).map(one).collect()
    }

    /// An input that must be a constant if it is there.
    pub(super) fn known(&self, place: usize, what: &str) -> Result<Option<&'a Tensor>, Refusal> {
        if !self.has(place) {
            return Ok(None);
        }
        let known = self.constant(place).map(Some);
        known.ok_or_else(|| {
            let instead =
                "a network whose shapes do not depend on what it is given can be had: export it with fixed sizes";
            self.refuse(format!("its {what} depend on the network's input"), instead)
        })
    }

    /// Whole numbers that must be a constant if they are there.
    pub(super) fn ints(&self, place: usize, what: &str) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(tensor) = self.known(place, what)? else { return Ok(None) };
        let values = tensor.whole().ok_or_else(|| self.broken(format!("its {what} are no whole numbers")))?;
        Ok(Some(values.iter().copied().collect()))
    }

    /// Floats that must be a constant if they are there.
    pub(super) fn floats(&self, place: usize, what: &str) -> Result<Option<Vec<f32>>, Refusal> {
        Ok(self.known(place, what)?.map(|tensor| tensor.singles().iter().copied().collect()))
    }

    /// The axis that a number means, which may count from the end.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        let signed = rank as i64;
        let from_start = if axis < 0 { axis.saturating_add(signed) } else { axis };
        if (0..signed).contains(&from_start) {
            return Ok(from_start as usize);
        }
        Err(self.broken(format!("its axis {axis} is none of {rank}")))
    }

    /// Axes, each at most once, in ascending order.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
        let mut axes = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.broken("it names an axis twice"));
        }
        Ok(axes)
    }

    /// A size from a number of the file.
    pub(super) fn size(&self, size: i64) -> Result<usize, Refusal> {
        usize::try_from(size).map_err(|_| self.broken(format!("it asks for the size {size}")))
    }

    /// A shape that is small enough.
    pub(super) fn bounded(&self, shape: Vec<usize>) -> Result<Vec<usize>, Refusal> {
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size.max(1)));
        if shape.len() <= 32 && count.is_some_and(|count| count <= MOST_ELEMENTS) {
            return Ok(shape);
        }
        Err(self.refuse(format!("its result has the shape {shape:?}"), "values of up to 2^31 elements can be had"))
    }

    /// The shape to which shapes broadcast.
    pub(super) fn broadcast<'b>(&self, shapes: impl IntoIterator<Item = &'b [usize]>) -> Result<Vec<usize>, Refusal> {
        let mut result: Vec<usize> = Vec::new();
        for shape in shapes {
            let rank = result.len().max(shape.len());
            let size =
                |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
            result = (0..rank)
                .map(|axis| match (size(&result, axis), size(shape, axis)) {
                    (a, b) if a == b || b == 1 => Ok(a),
                    (1, b) => Ok(b),
                    _ => Err(self.refuse(
                        format!("its inputs of shapes {result:?} and {shape:?} do not go together"),
                        "with a batch of one, no axis may hold the size of the batch: export it with a batch of one",
                    )),
                })
                .collect::<Result<_, _>>()?;
        }
        self.bounded(result)
    }

    fn missing(&self, place: usize) -> Refusal {
        self.broken(format!("its input {place} is left out"))
    }
}
