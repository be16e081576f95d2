//! What follows from a graph: the shape of each value and the layout of each tensor, with checked sizes, in one place.

use horq_kernels::codebook::{CODE_BITS, codes_of_word};
use horq_kernels::int8;
use horq_kernels::panel::LANES;
use horq_kernels::{Geometry, MAX_ORDER, ScaleMode, Window};

use super::{AffineRow, Base, Graph, Node, Op, Quantizer, Shape};
use crate::Error;
use crate::format::{Limits, MAX_BASES, MAX_CODEBOOK_ENTRIES, MAX_NAME_BYTES};

/// A tensor that a node names, as the graph implies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it holds.
    pub content: Content,
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bit panels, U32 `[groups * panels, taps, words, 16]`.
    BitPanels(Geometry),
    /// Float panels, F32 `[groups * panels, depth, 16]`.
    FloatPanels(Geometry),
    /// Code panels, U32 `[groups * panels, words, 16]`, of a codebook with that many entries.
    CodePanels(Geometry, usize),
    /// 8-bit panels, I8 `[groups * panels, rows, 16, 4]`.
    Int8Panels(Geometry),
    /// The scale of an 8-bit layer's input: one float and zeros up to 16, F32.
    InputScale,
    /// That many floats and zeros up to the next multiple of 16, F32.
    Vector(usize),
    /// The same, every one of them positive.
    Scales(usize),
}

impl Content {
    /// The tensor's shape in the file.
    pub fn shape(&self) -> Vec<usize> {
        match *self {
            Self::BitPanels(g) => vec![g.groups * g.group_panels(), g.window.taps(), g.group_words(), LANES],
            Self::FloatPanels(g) => vec![g.groups * g.group_panels(), g.depth(), LANES],
            Self::CodePanels(g, entries) => {
                let words = g.depth().div_ceil(codes_of_word(code_bits(entries)));
                vec![g.groups * g.group_panels(), words, LANES]
            }
            Self::Int8Panels(g) => vec![g.groups * g.group_panels(), int8::panel_rows(&g), LANES, int8::QUAD],
            Self::InputScale => vec![LANES],
            Self::Vector(n) | Self::Scales(n) => vec![n.next_multiple_of(LANES)],
        }
    }
}

/// Whether an 8-bit layer can divide by that scale.
pub(crate) fn is_input_scale(scale: f32) -> bool {
    scale.is_sign_positive() && scale.is_normal()
}

/// Bits of a code into a codebook of that many entries: 3 for up to 8, 4 for up to 16, 5 for more.
pub(crate) fn code_bits(entries: usize) -> u32 {
    let least = usize::BITS - entries.saturating_sub(1).leading_zeros();
    least.clamp(*CODE_BITS.start(), *CODE_BITS.end())
}

impl Op {
    /// The operation's name in the file.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv2d",
            Self::Dense { .. } => "dense",
            Self::BinaryConv2d { .. } => "binary_conv2d",
            Self::BinaryDense { .. } => "binary_dense",
            Self::BinaryWeightConv2d { .. } => "binary_weight_conv2d",
            Self::BinaryWeightDense { .. } => "binary_weight_dense",
            Self::CodebookConv2d { .. } => "codebook_conv2d",
            Self::CodebookDense { .. } => "codebook_dense",
            Self::Int8Conv2d { .. } => "int8_conv2d",
            Self::Int8Dense { .. } => "int8_dense",
            Self::Affine { .. } => "affine",
            Self::AffineByOrder { .. } => "affine_by_order",
            Self::Relu => "relu",
            Self::Prelu { .. } => "prelu",
            Self::MaxPool { .. } => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::GlobalAveragePool => "global_average_pool",
            Self::Add => "add",
            Self::Concat => "concat",
            Self::Flatten => "flatten",
            Self::Softmax => "softmax",
        }
    }

    /// The window of a convolution or pooling.
    pub const fn window(&self) -> Option<&Window> {
        match self {
            Self::Conv2d { window, .. }
            | Self::BinaryConv2d { window, .. }
            | Self::BinaryWeightConv2d { window, .. }
            | Self::CodebookConv2d { window, .. }
            | Self::Int8Conv2d { window, .. }
            | Self::MaxPool { window }
            | Self::AveragePool { window } => Some(window),
            _ => None,
        }
    }

    /// The residual quantizer of a binary layer.
    pub const fn quantizer(&self) -> Option<&Quantizer> {
        match self {
            Self::BinaryConv2d { quantizer, .. } | Self::BinaryDense { quantizer, .. } => Some(quantizer),
            _ => None,
        }
    }

    /// The bias of a convolution or matrix product, if it has one.
    pub(crate) fn bias(&self) -> Option<&str> {
        match self {
            Self::Conv2d { bias, .. }
            | Self::Dense { bias, .. }
            | Self::BinaryConv2d { bias, .. }
            | Self::BinaryDense { bias, .. }
            | Self::BinaryWeightConv2d { bias, .. }
            | Self::BinaryWeightDense { bias, .. }
            | Self::CodebookConv2d { bias, .. }
            | Self::CodebookDense { bias, .. }
            | Self::Int8Conv2d { bias, .. }
            | Self::Int8Dense { bias, .. } => bias.as_deref(),
            _ => None,
        }
    }

    /// The geometry of a convolution or matrix product on an input of that shape; none for other operations.
    pub const fn geometry(&self, input: Shape) -> Option<Geometry> {
        match (self, input) {
            (
                Self::Conv2d { window, filters, groups, .. }
                | Self::BinaryConv2d { window, filters, groups, .. }
                | Self::BinaryWeightConv2d { window, filters, groups, .. }
                | Self::CodebookConv2d { window, filters, groups, .. }
                | Self::Int8Conv2d { window, filters, groups, .. },
                Shape::Image { height, width, channels },
            ) => Some(Geometry { height, width, channels, filters: *filters, groups: *groups, window: *window }),
            (
                Self::Dense { filters, .. }
                | Self::BinaryDense { filters, .. }
                | Self::BinaryWeightDense { filters, .. }
                | Self::CodebookDense { filters, .. }
                | Self::Int8Dense { filters, .. },
                Shape::Flat(features),
            ) => Some(Geometry::dense(features, *filters)),
            _ => None,
        }
    }

    /// The tensors that the operation names, for an input of that shape that [`Graph::shapes`] has accepted.
    pub fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        let spec = |name, content| TensorSpec { name, content };
        let mut tensors = Vec::new();
        match self {
            Self::Conv2d { filters, weight, bias, .. } | Self::Dense { filters, weight, bias } => {
                tensors.extend(self.geometry(input).map(|g| spec(weight, Content::FloatPanels(g.float_layout()))));
                tensors.extend(bias.iter().map(|bias| spec(bias, Content::Vector(*filters))));
            }
            Self::BinaryConv2d { filters, quantizer, bases, bias, .. }
            | Self::BinaryDense { filters, quantizer, bases, bias } => {
                for Base { weight, alpha } in bases {
                    tensors.extend(self.geometry(input).map(|g| spec(weight, Content::BitPanels(g))));
                    tensors.push(spec(alpha, Content::Vector(*filters)));
                }
                tensors.extend(quantizer.scales.iter().map(|name| spec(name, Content::Scales(quantizer.order))));
                tensors.extend(bias.iter().map(|bias| spec(bias, Content::Vector(*filters))));
            }
            Self::BinaryWeightConv2d { filters, weight, alpha, bias, .. }
            | Self::BinaryWeightDense { filters, weight, alpha, bias } => {
                tensors.extend(self.geometry(input).map(|g| spec(weight, Content::BitPanels(g))));
                tensors.push(spec(alpha, Content::Vector(*filters)));
                tensors.extend(bias.iter().map(|bias| spec(bias, Content::Vector(*filters))));
            }
            Self::CodebookConv2d { filters, entries, codes, codebook, bias, .. }
            | Self::CodebookDense { filters, entries, codes, codebook, bias } => {
                tensors.extend(self.geometry(input).map(|g| spec(codes, Content::CodePanels(g, *entries))));
                tensors.push(spec(codebook, Content::Vector(*entries)));
                tensors.extend(bias.iter().map(|bias| spec(bias, Content::Vector(*filters))));
            }
            Self::Int8Conv2d { filters, weight, input_scale, alpha, bias, .. }
            | Self::Int8Dense { filters, weight, input_scale, alpha, bias, .. } => {
                tensors.extend(self.geometry(input).map(|g| spec(weight, Content::Int8Panels(g))));
                tensors.push(spec(input_scale, Content::InputScale));
                tensors.push(spec(alpha, Content::Vector(*filters)));
                tensors.extend(bias.iter().map(|bias| spec(bias, Content::Vector(*filters))));
            }
            Self::Affine { scale, shift } => {
                tensors.push(spec(scale, Content::Vector(input.channels())));
                tensors.push(spec(shift, Content::Vector(input.channels())));
            }
            Self::AffineByOrder { rows, .. } => {
                for AffineRow { scale, shift } in rows {
                    tensors.push(spec(scale, Content::Vector(input.channels())));
                    tensors.push(spec(shift, Content::Vector(input.channels())));
                }
            }
            Self::Prelu { slope } => tensors.push(spec(slope, Content::Vector(input.channels()))),
            _ => {}
        }
        tensors
    }
}

impl Graph {
    /// The shape of each node's value, in the order of [`Graph::nodes`].
    ///
    /// # Errors
    /// Every rule about names, order and shapes that the graph breaks has an error of its own.
    pub fn shapes(&self, limits: &Limits) -> Result<Vec<Shape>, Error> {
        let nodes = self.nodes.len();
        if nodes == 0 || nodes > limits.nodes {
            return Err(Error::NodeCount { count: nodes, limit: limits.nodes });
        }
        check_name(&self.input.name)?;
        check_size(&self.input.name, self.input.shape, limits)?;
        let mut values = Values::with_capacity(nodes + 1);
        values.insert(&self.input.name, Value { shape: self.input.shape, read: true });
        let mut shapes = Vec::with_capacity(nodes);
        for node in &self.nodes {
            check_name(&node.name)?;
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                let Some(value) = values.get_mut(input.as_str()) else {
                    return Err(Error::UnknownInput { node: node.name.clone(), input: input.clone() });
                };
                value.read = true;
                inputs.push(value.shape);
            }
            let shape = infer(node, &inputs, limits)?;
            if values.insert(&node.name, Value { shape, read: false }).is_some() {
                return Err(Error::DuplicateName { node: node.name.clone() });
            }
            shapes.push(shape);
        }
        self.nodes.iter().try_for_each(|node| self.check_order_of(node))?;
        if self.output == self.input.name || !values.contains_key(self.output.as_str()) {
            return Err(Error::UnknownOutput { output: self.output.clone() });
        }
        match self.nodes.iter().find(|node| node.name != self.output && !values[node.name.as_str()].read) {
            Some(node) => Err(Error::Unread { node: node.name.clone(), output: self.output.clone() }),
            None => Ok(shapes),
        }
    }

    /// What goes by the order of a layer needs such a layer, with as many orders as it has values for.
    fn check_order_of(&self, node: &Node) -> Result<(), Error> {
        let Op::AffineByOrder { order_of, rows } = &node.op else { return Ok(()) };
        check_name(order_of)?;
        let (node, layer) = (node.name.clone(), order_of.clone());
        let named = self.nodes.iter().find(|node| node.name == *order_of);
        match named.and_then(|named| named.op.quantizer()) {
            None => Err(Error::OrderOf { node, layer }),
            Some(Quantizer { order, .. }) if *order == rows.len() => Ok(()),
            Some(Quantizer { order, .. }) => Err(Error::RowsByOrder { node, layer, rows: rows.len(), order: *order }),
        }
    }
}

type Values<'a> = std::collections::HashMap<&'a str, Value>;

struct Value {
    shape: Shape,
    read: bool,
}

/// The shape of one node's value, given the shapes of its inputs.
pub(crate) fn infer(node: &Node, inputs: &[Shape], limits: &Limits) -> Result<Shape, Error> {
    let (name, op) = (&node.name, &node.op);
    let expected = match op {
        Op::Add if inputs.len() != 2 => Some("2"),
        Op::Concat if inputs.len() < 2 => Some("2 or more"),
        Op::Add | Op::Concat => None,
        _ if inputs.len() != 1 => Some("1"),
        _ => None,
    };
    if let Some(expected) = expected {
        return Err(Error::InputCount { node: name.clone(), op: op.kind(), expected, found: inputs.len() });
    }
    let input = inputs[0];
    let rank = |expected| Error::Rank {
        node: name.clone(),
        op: op.kind(),
        expected,
        input: node.inputs[0].clone(),
        shape: input,
    };
    let image = || match input {
        Shape::Image { height, width, channels } => Ok([height, width, channels]),
        Shape::Flat(_) => Err(rank("an image (height, width, channels); place it before the flattening")),
    };
    let misfit = |reason| Error::Geometry { node: name.clone(), op: op.kind(), shape: input, reason };
    let shape = match op {
        Op::Conv2d { filters, .. }
        | Op::BinaryConv2d { filters, .. }
        | Op::BinaryWeightConv2d { filters, .. }
        | Op::CodebookConv2d { filters, .. }
        | Op::Int8Conv2d { filters, .. } => {
            image()?;
            let [height, width] = check_geometry(op, input).map_err(misfit)?;
            Shape::Image { height, width, channels: *filters }
        }
        Op::Dense { filters, .. }
        | Op::BinaryDense { filters, .. }
        | Op::BinaryWeightDense { filters, .. }
        | Op::CodebookDense { filters, .. }
        | Op::Int8Dense { filters, .. } => {
            if let Shape::Image { .. } = input {
                return Err(rank("a vector; put a flatten before it"));
            }
            check_geometry(op, input).map_err(misfit)?;
            Shape::Flat(*filters)
        }
        Op::MaxPool { window } | Op::AveragePool { window } => {
            let [height, width, channels] = image()?;
            check_taps(window, [height, width]).map_err(misfit)?;
            let [height, width] = window.output(height, width).map_err(|error| misfit(error.to_string()))?;
            Shape::Image { height, width, channels }
        }
        Op::GlobalAveragePool => Shape::Flat(image()?[2]),
        Op::Flatten => {
            image()?;
            Shape::Flat(input.len())
        }
        Op::Add | Op::Concat => combine(node, inputs)?,
        Op::Affine { .. } | Op::AffineByOrder { .. } | Op::Relu | Op::Prelu { .. } | Op::Softmax => input,
    };
    check_size(name, shape, limits)?;
    if let Op::BinaryConv2d { quantizer, bases, .. } | Op::BinaryDense { quantizer, bases, .. } = op {
        check_quantizer(name, quantizer, bases.len())?;
    }
    if let Op::CodebookConv2d { entries, .. } | Op::CodebookDense { entries, .. } = op
        && !(1..=MAX_CODEBOOK_ENTRIES).contains(entries)
    {
        return Err(Error::CodebookEntries { node: name.clone(), entries: *entries, limit: MAX_CODEBOOK_ENTRIES });
    }
    Ok(shape)
}

/// The shape of a sum or of values side by side.
fn combine(node: &Node, inputs: &[Shape]) -> Result<Shape, Error> {
    let differ = |second, rule| Error::ShapesDiffer {
        node: node.name.clone(),
        op: node.op.kind(),
        first: inputs[0],
        second,
        rule,
    };
    let mut sum = inputs[0];
    for &next in &inputs[1..] {
        sum = match (&node.op, sum, next) {
            (Op::Add, ..) if inputs[0] == next => next,
            (Op::Add, ..) => return Err(differ(next, "make them equal")),
            (_, Shape::Flat(a), Shape::Flat(b)) => Shape::Flat(a.saturating_add(b)),
            (_, Shape::Image { height, width, channels }, Shape::Image { height: h, width: w, channels: more })
                if (h, w) == (height, width) =>
            {
                Shape::Image { height, width, channels: channels.saturating_add(more) }
            }
            _ => return Err(differ(next, "make height and width equal; only channels may differ")),
        };
    }
    Ok(sum)
}

fn check_geometry(op: &Op, input: Shape) -> Result<[usize; 2], String> {
    let geometry = op.geometry(input).expect("the caller has checked the rank");
    let out = geometry.validate().map_err(|error| error.to_string())?;
    if let Op::Int8Conv2d { .. } | Op::Int8Dense { .. } = op {
        int8::check_depth(&geometry).map_err(|error| error.to_string())?;
    }
    Ok(out)
}

/// Every window of a pooling must hold a pixel of the image: there is no largest value and no mean of nothing.
///
/// No side's padding reaches the window's span, so each window touches the image; and neighbouring taps are no further
/// apart than the image is long, so one tap lands on it.
fn check_taps(window: &Window, size: [usize; 2]) -> Result<(), String> {
    for axis in 0..2 {
        let (kernel, dilation) = (window.kernel[axis], window.dilation[axis]);
        let span = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
        let padding = window.padding[axis].max(window.padding[axis + 2]);
        if padding >= span {
            return Err(format!("padding of {padding} pixels for a window that spans {span} leaves windows empty"));
        }
        if padding > 0 && dilation > size[axis] {
            return Err(format!("a dilation of {dilation} on {} padded pixels leaves windows empty", size[axis]));
        }
    }
    Ok(())
}

fn check_quantizer(node: &str, quantizer: &Quantizer, bases: usize) -> Result<(), Error> {
    let node = node.to_owned();
    if !(1..=MAX_ORDER).contains(&quantizer.order) {
        return Err(Error::Order { node, order: quantizer.order, limit: MAX_ORDER });
    }
    if !(1..=MAX_BASES).contains(&bases) {
        return Err(Error::Bases { node, count: bases, limit: MAX_BASES });
    }
    match (quantizer.mode, &quantizer.scales) {
        (ScaleMode::Fixed, None) => Err(Error::ScalesMissing { node }),
        (ScaleMode::Fixed, Some(_)) | (_, None) => Ok(()),
        (_, Some(tensor)) => Err(Error::ScalesUnexpected { node, tensor: tensor.clone() }),
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "it holds control characters"
    } else {
        return Ok(());
    };
    Err(Error::Name { name: name.chars().take(64).collect(), reason })
}

/// Checks that a value has elements, and no more than allowed.
pub(crate) fn check_size(name: &str, shape: Shape, limits: &Limits) -> Result<(), Error> {
    let (elements, limit) = (shape.len(), limits.value_elements);
    if elements == 0 || elements > limit {
        return Err(Error::ValueSize { name: name.to_owned(), shape, elements, limit });
    }
    Ok(())
}
