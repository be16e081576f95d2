//! Convolutions and pools: all attributes made explicit, and the shape that follows.

use super::view::View;
use crate::error::Refusal;
use crate::graph::{Attribute, Node};

/// The window of a node along each axis behind batch and channels.
pub(super) struct Window {
    size: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<(i64, i64)>,
    round_up: bool,
    /// Of a transposed convolution.
    output_padding: Vec<usize>,
}

/// Whether an operation has a window.
pub(super) fn is_windowed(node: &Node) -> bool {
    let windowed = matches!(node.op.as_str(), "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "LpPool");
    node.domain.is_empty() && windowed
}

fn is_convolution(node: &Node) -> bool {
    node.op.starts_with("Conv")
}

impl Window {
    /// What the attributes of a node say, with `auto_pad` and `output_shape` worked out.
    pub(super) fn of(view: &View<'_>) -> Result<Self, Refusal> {
        let shape = view.shape(0)?;
        let node = view.node;
        if shape.len() < 3 {
            return Err(view.broken(format!("its input of shape {shape:?} has no axes to slide along")));
        }
        let axes = shape.len() - 2;
        let given = node.ints("kernel_shape");
        let size = match (given, is_convolution(node)) {
            (Some(sizes), _) => sizes.to_vec(),
            (None, true) => view.shape(1)?.iter().skip(2).map(|&size| size as i64).collect(),
            (None, false) => return Err(view.broken("it has no kernel_shape")),
        };
        let list = |name: &str, values: Option<&[i64]>, default: i64, least: usize| {
            let values = values.map_or_else(|| vec![default; axes], <[i64]>::to_vec);
            let sizes: Option<Vec<usize>> = values
                .iter()
                .map(|&value| usize::try_from(value).ok().filter(|&size| (least..1 << 31).contains(&size)))
                .collect();
            sizes.filter(|sizes| sizes.len() == axes).ok_or_else(|| {
                view.broken(format!(
                    "its {name} {values:?} do not fit an input of {axes} axes behind batch and channels"
                ))
            })
        };
        let size = list("kernel_shape", Some(&size), 1, 1)?;
        if is_convolution(node) && view.shape(1)?.get(2..) != Some(size.as_slice()) {
            return Err(view.broken(format!("its kernel_shape {size:?} is not that of its weights")));
        }
        let mut window = Self {
            strides: list("strides", node.ints("strides"), 1, 1)?,
            dilations: list("dilations", node.ints("dilations"), 1, 1)?,
            pads: vec![(0, 0); axes],
            round_up: node.int("ceil_mode", 0) != 0 && !is_convolution(node),
            output_padding: list("output_padding", node.ints("output_padding"), 0, 0)?,
            size,
        };
        window.pad(view, &shape[2..])?;
        Ok(window)
    }

    /// Works out the pads.
    fn pad(&mut self, view: &View<'_>, sizes: &[usize]) -> Result<(), Refusal> {
        let node = view.node;
        let axes = sizes.len();
        let auto = node.text("auto_pad", "NOTSET");
        let wanted = node.ints("output_shape").filter(|shape| node.op == "ConvTranspose" && !shape.is_empty());
        let total: Vec<i64> = match (auto, wanted) {
            (_, Some(shape)) => {
                // Some writers name batch and channels, too.
                let shape = shape.get(shape.len().wrapping_sub(axes)..).unwrap_or(&[]);
                if shape.len() != axes || shape.iter().any(|&size| !(0..1 << 31).contains(&size)) {
                    return Err(view.broken(format!("its output_shape {shape:?} does not fit")));
                }
                (0..axes).map(|axis| self.unpadded(sizes, axis) - shape[axis]).collect()
            }
            ("SAME_UPPER" | "SAME_LOWER", None) if node.op == "ConvTranspose" => (0..axes)
                .map(|axis| self.unpadded(sizes, axis) - sizes[axis] as i64 * self.strides[axis] as i64)
                .collect(),
            ("SAME_UPPER" | "SAME_LOWER", None) => {
                self.round_up = false;
                let total = |axis: usize| {
                    let (size, stride) = (sizes[axis] as i64, self.strides[axis] as i64);
                    ((size + stride - 1) / stride - 1) * stride + self.extent(axis) - size
                };
                (0..axes).map(total).collect()
            }
            ("VALID", None) => return Ok(()),
            ("NOTSET" | "", None) => {
                let pads = node.ints("pads").map_or_else(|| vec![0; 2 * axes], <[i64]>::to_vec);
                if pads.len() != 2 * axes || pads.iter().any(|pad| pad.unsigned_abs() >= 1 << 31) {
                    return Err(view.broken(format!("its pads {pads:?} do not fit {axes} axes")));
                }
                self.pads = (0..axes).map(|axis| (pads[axis], pads[axis + axes])).collect();
                return Ok(());
            }
            (other, None) => return Err(view.broken(format!("its auto_pad is `{other}`"))),
        };
        if wanted.is_some() {
            // What is wanted beyond the natural size lies at the ends.
            for (padding, total) in self.output_padding.iter_mut().zip(&total) {
                *padding += usize::try_from(-total).unwrap_or(0);
            }
        }
        let lower = auto == "SAME_LOWER";
        self.pads = total
            .into_iter()
            .map(|total| total.max(0))
            .map(|total| if lower { (total - total / 2, total / 2) } else { (total / 2, total - total / 2) })
            .collect();
        Ok(())
    }

    /// How many places of an axis a window covers.
    fn extent(&self, axis: usize) -> i64 {
        (self.size[axis] as i64 - 1) * self.dilations[axis] as i64 + 1
    }

    /// The size of a transposed convolution's result before its pads are cut off.
    fn unpadded(&self, sizes: &[usize], axis: usize) -> i64 {
        self.strides[axis] as i64 * (sizes[axis] as i64 - 1) + self.output_padding[axis] as i64 + self.extent(axis)
    }

    /// The shape of the result.
    pub(super) fn shape(&self, view: &View<'_>) -> Result<Vec<usize>, Refusal> {
        let shape = view.shape(0)?;
        let node = view.node;
        let channels = if is_convolution(node) { channels(view)? } else { shape[1] };
        let mut result = vec![shape[0], channels];
        for (axis, &size) in shape[2..].iter().enumerate() {
            let (before, after) = self.pads[axis];
            let length = if node.op == "ConvTranspose" {
                self.unpadded(&shape[2..], axis) - before - after
            } else {
                let (stride, room) = (self.strides[axis] as i64, size as i64 + before + after - self.extent(axis));
                let count = if self.round_up { room + stride - 1 } else { room }.div_euclid(stride) + 1;
                // A window that starts behind the input would see nothing but pads.
                if self.round_up && (count - 1) * stride >= size as i64 + before { count - 1 } else { count }
            };
            if length < 1 {
                let reason = format!("its window is larger than its input of shape {shape:?}");
                return Err(view.refuse(reason, "give the network a larger input: --input NAME=SHAPE"));
            }
            result.push(length as usize);
        }
        view.bounded(result)
    }

    /// The same node with every attribute written out.
    pub(super) fn node(&self, node: &Node) -> Node {
        let mut node = node.clone();
        let signed = |sizes: &[usize]| Attribute::Ints(sizes.iter().map(|&size| size as i64).collect());
        let pads = self.pads.iter().map(|pad| pad.0).chain(self.pads.iter().map(|pad| pad.1)).collect();
        let mut set = |name: &str, value: Attribute| node.attributes.insert(name.to_owned(), value);
        set("kernel_shape", signed(&self.size));
        set("strides", signed(&self.strides));
        set("dilations", signed(&self.dilations));
        set("pads", Attribute::Ints(pads));
        if node.op == "ConvTranspose" {
            node.attributes.insert("output_padding".into(), signed(&self.output_padding));
        }
        if is_convolution(&node) {
            node.attributes.entry("group".into()).or_insert(Attribute::Int(1));
        } else {
            node.attributes.insert("ceil_mode".into(), Attribute::Int(i64::from(self.round_up)));
        }
        for name in ["auto_pad", "output_shape"] {
            node.attributes.remove(name);
        }
        node
    }
}

/// The channels that a convolution makes.
fn channels(view: &View<'_>) -> Result<usize, Refusal> {
    let (shape, weights) = (view.shape(0)?, view.shape(1)?);
    let group = view.node.int("group", 1);
    let groups = usize::try_from(group).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or_else(|| view.broken(format!("it has {group} groups")))?;
    let (made, read) = match view.node.op.as_str() {
        "ConvTranspose" => (weights[1].saturating_mul(groups), weights[0]),
        _ => (weights[0], weights[1].saturating_mul(groups)),
    };
    if read != shape[1] || weights[0] % groups != 0 {
        let reason = format!(
            "weights of shape {weights:?} in {groups} groups do not fit the {} channels of its input",
            shape[1]
        );
        return Err(view.broken(reason));
    }
    if view.has(2) && view.shape(2)? != [made] {
        return Err(view.broken(format!("its bias of shape {:?} does not fit {made} channels", view.shape(2)?)));
    }
    Ok(made)
}
