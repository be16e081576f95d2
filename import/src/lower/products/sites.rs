//! Where the filters of a product lie on its operand, and its weights in the engine's order.

use crate::error::Refusal;
use crate::graph::{Graph, Node, ValueId};
use horq::Window;
use ndarray::{ArrayD, Axis, IxDyn};

/// How filters lie on an operand.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) filters: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Windows on an image, or on a signal (one row); so many zeros are put between pixels first.
    Window { upsampled: [usize; 2] },
    /// Every position along the other axes is multiplied: the result has the filters on that axis.
    Axis { axis: usize, transposed: bool },
}

/// A product with constant weights.
pub(super) struct Found {
    pub(super) value: ValueId,
    pub(super) site: Site,
    /// `[filter][kernel row][kernel column][channel of the group]`.
    pub(super) weights: Vec<f32>,
    /// One value a filter; empty if there is none.
    pub(super) bias: Vec<f64>,
}

/// The product that a node is.
pub(super) fn site(graph: &Graph, node: &Node) -> Result<Option<Found>, Refusal> {
    if !node.domain.is_empty() {
        return Ok(None);
    }
    let constant = |place: usize| -> Option<ArrayD<f32>> {
        node.input(place).and_then(|id| graph.value(id).constant.as_ref()).map(|tensor| tensor.singles())
    };
    let computed = |place: usize| node.input(place).filter(|&id| graph.value(id).constant.is_none());
    match node.op.as_str() {
        "Conv" | "ConvTranspose" => {
            let (Some(value), Some(weights)) = (computed(0), constant(1)) else { return Ok(None) };
            let bias = match node.input(2) {
                None => Vec::new(),
                Some(_) => match constant(2) {
                    Some(bias) => bias.iter().map(|&b| b.into()).collect(),
                    None => return Ok(None),
                },
            };
            let window = windows(graph, node, value, &weights)?;
            Ok(Some(convolution(node, value, &weights, bias, window)))
        }
        "Gemm" => {
            let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
            let turned = |place: usize, name: &str| {
                constant(place).map(|w| if node.int(name, 0) != 0 { w.reversed_axes() } else { w })
            };
            let trans_a = node.int("transA", 0) != 0;
            let bias = match node.input(2) {
                None => None,
                Some(_) => match constant(2) {
                    None => return Ok(None),
                    Some(c) => Some(c.mapv(|c| f64::from(c * beta))),
                },
            };
            let (value, weights, kind) = match (computed(0), turned(1, "transB")) {
                (Some(value), Some(w)) => {
                    let axis = if trans_a { 0 } else { 1 };
                    (value, w.reversed_axes(), Kind::Axis { axis, transposed: trans_a })
                }
                _ => match (turned(0, "transA"), computed(1)) {
                    (Some(w), Some(value)) => {
                        let transposed = node.int("transB", 0) != 0;
                        (value, w, Kind::Axis { axis: usize::from(transposed), transposed })
                    }
                    _ => return Ok(None),
                },
            };
            let filters = weights.shape()[0];
            let left = computed(0).is_none();
            let bias = match bias {
                None => Vec::new(),
                Some(c) => match (spread(&c, filters, left), c.iter().all(|&c| c == 0.0)) {
                    (_, true) => Vec::new(),
                    (Some(bias), _) => bias,
                    (None, _) => {
                        let reason = "its third operand differs along both axes";
                        return Err(Refusal::of(node, reason, "write it as a MatMul and an Add"));
                    }
                },
            };
            let weights = weights.mapv(|w| w * alpha);
            Ok(Some(product(value, &weights, bias, kind)))
        }
        "MatMul" => {
            let rank = |id: ValueId| graph.value(id).shape.as_ref().map(Vec::len);
            let matrix = |w: ArrayD<f32>| -> Option<ArrayD<f32>> {
                let mut w = w;
                while w.ndim() > 2 && w.shape()[0] == 1 {
                    w = w.index_axis_move(Axis(0), 0);
                }
                (w.ndim() <= 2).then_some(w)
            };
            if let (Some(value), Some(w)) = (computed(0), constant(1).and_then(matrix)) {
                let Some(rank) = rank(value).filter(|&rank| rank > 0) else { return Ok(None) };
                let w = if w.ndim() == 1 { w.insert_axis(Axis(1)) } else { w };
                return Ok(Some(product(
                    value,
                    &w.reversed_axes(),
                    Vec::new(),
                    Kind::Axis { axis: rank - 1, transposed: false },
                )));
            }
            if let (Some(value), Some(w)) = (computed(1), constant(0).and_then(matrix)) {
                let Some(rank) = rank(value).filter(|&rank| rank > 0) else { return Ok(None) };
                let w = if w.ndim() == 1 { w.insert_axis(Axis(0)) } else { w };
                let axis = rank.saturating_sub(2);
                return Ok(Some(product(value, &w, Vec::new(), Kind::Axis { axis, transposed: false })));
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A third operand of a Gemm as one value a filter: filters are the rows of the result where the weights stand left.
fn spread(c: &ArrayD<f64>, filters: usize, left: bool) -> Option<Vec<f64>> {
    let shape = c.shape();
    let (rows, columns) = match shape {
        [] => (1, 1),
        [n] => (1, *n),
        [m, n] => (*m, *n),
        _ => return None,
    };
    let (along, across) = if left { (rows, columns) } else { (columns, rows) };
    let values: Vec<f64> = c.iter().copied().collect();
    match (along, across) {
        (1, 1) => Some(vec![values[0]; filters]),
        (along, 1) if along == filters => Some(values),
        _ => None,
    }
}

/// A product along an axis, of weights `[filter][feature]`.
fn product(value: ValueId, weights: &ArrayD<f32>, bias: Vec<f64>, kind: Kind) -> Found {
    let site = Site { window: Window::square(1), groups: 1, filters: weights.shape()[0], kind };
    Found { value, site, weights: weights.iter().copied().collect(), bias }
}

/// The window of a convolution before it is turned: `padding` as ONNX gives it.
fn windows(graph: &Graph, node: &Node, value: ValueId, weights: &ArrayD<f32>) -> Result<Window, Refusal> {
    let axes = weights.ndim().saturating_sub(2);
    if !(1..=2).contains(&axes) {
        let reason = format!("its kernel has {axes} axes");
        return Err(Refusal::of(node, reason, "one or two work; cut a volume into images"));
    }
    let kernel: Vec<usize> = weights.shape()[2..].to_vec();
    let input = graph.value(value).shape.clone().unwrap_or_default();
    let output = node.output(0).and_then(|id| graph.value(id).shape.clone()).unwrap_or_default();
    window(node, &kernel, input.get(2..).unwrap_or(&[]), output.get(2..).unwrap_or(&[]))
}

/// A window from the attributes of a node: `kernel` taps along one or two axes, of an operand and a result of these sizes.
pub(in crate::lower) fn window(
    node: &Node,
    kernel: &[usize],
    input: &[usize],
    output: &[usize],
) -> Result<Window, Refusal> {
    let axes = kernel.len();
    let pair = |name: &str| -> Result<Vec<usize>, Refusal> {
        let values = node.ints(name).map_or_else(|| vec![1; axes], <[i64]>::to_vec);
        let sizes: Vec<usize> = values.iter().filter_map(|&n| usize::try_from(n).ok().filter(|&n| n > 0)).collect();
        if sizes.len() != axes {
            return Err(Refusal::of(
                node,
                format!("its `{name}` is {values:?}"),
                "give a positive number for each axis",
            ));
        }
        Ok(sizes)
    };
    let (stride, dilation) = (pair("strides")?, pair("dilations")?);
    let mut pads: Vec<i64> = node.ints("pads").map_or_else(|| vec![0; 2 * axes], <[i64]>::to_vec);
    if pads.len() != 2 * axes || input.len() != axes || output.len() != axes {
        return Err(Refusal::of(node, format!("its `pads` {pads:?} do not fit {axes} axes"), ""));
    }
    let auto = node.text("auto_pad", "NOTSET");
    if auto.starts_with("SAME") && node.op != "ConvTranspose" {
        for axis in 0..axes {
            let span = (kernel[axis] - 1) * dilation[axis] + 1;
            let total = ((output[axis].max(1) - 1) * stride[axis] + span).saturating_sub(input[axis]) as i64;
            let less = total / 2;
            let before = if auto == "SAME_UPPER" { less } else { total - less };
            (pads[axis], pads[axis + axes]) = (before, total - before);
        }
    } else if auto == "VALID" {
        pads.fill(0);
    }
    let pads: Option<Vec<usize>> = pads.iter().map(|&pad| usize::try_from(pad).ok()).collect();
    let Some(pads) = pads else {
        return Err(Refusal::of(node, "its pads are negative", "cut the image by a Slice before it"));
    };
    // A signal is an image of one row.
    let two = |values: &[usize], fill: usize| if axes == 2 { [values[0], values[1]] } else { [fill, values[0]] };
    let [before, after] = [two(&pads[..axes], 0), two(&pads[axes..], 0)];
    Ok(Window {
        kernel: two(kernel, 1),
        stride: two(&stride, 1),
        dilation: two(&dilation, 1),
        padding: [before[0], before[1], after[0], after[1]],
    })
}

fn convolution(node: &Node, value: ValueId, weights: &ArrayD<f32>, bias: Vec<f64>, window: Window) -> Found {
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(1).max(1);
    let mut weights = weights.clone();
    if weights.ndim() == 3 {
        weights = weights.insert_axis(Axis(2));
    }
    if node.op == "Conv" {
        let filters = weights.shape()[0];
        let weights = weights.permuted_axes(IxDyn(&[0, 2, 3, 1])).iter().copied().collect();
        let site = Site { window, groups, filters, kind: Kind::Window { upsampled: [1; 2] } };
        return Found { value, site, weights, bias };
    }
    // The gradient of a convolution: zeros between the pixels, the filters turned by half a turn, inputs and outputs swapped.
    let shape = weights.shape().to_vec();
    let (channels, group_filters) = (shape[0] / groups, shape[1]);
    let (rows, columns) = (shape[2], shape[3]);
    let mut turned = Vec::with_capacity(weights.len());
    for filter in 0..groups * group_filters {
        let (group, own) = (filter / group_filters, filter % group_filters);
        for row in (0..rows).rev() {
            for column in (0..columns).rev() {
                let at = |channel: usize| weights[[group * channels + channel, own, row, column].as_slice()];
                turned.extend((0..channels).map(at));
            }
        }
    }
    let upsampled = window.stride;
    let site = Site {
        window: Window { stride: [1; 2], ..window },
        groups,
        filters: groups * group_filters,
        kind: Kind::Window { upsampled },
    };
    Found { value, site, weights: turned, bias }
}
