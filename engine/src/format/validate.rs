//! The one validator of tensors: what the graph implies against what the file holds.

use std::collections::HashMap;
use std::ops::Range;

use horq_kernels::panel::{LANES, dirty_padding};
use horq_kernels::{codebook, int8};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::header::Header;
use super::{GoldenRef, Limits};
use crate::Error;
use crate::graph::{Content, Graph, Shape, TensorSpec, code_bits, is_input_scale};

/// The name that errors about golden tensors give in place of a node's.
const GOLDEN_NODE: &str = "golden";

/// What validation finds out.
pub(crate) struct Checked {
    /// The shape of each node's value.
    pub(crate) shapes: Vec<Shape>,
    /// The shape of the output.
    pub(crate) output: Shape,
    /// Where each tensor lies in the data.
    pub(crate) tensors: HashMap<String, (Dtype, Range<usize>)>,
}

/// Checks the graph, and that the file holds exactly its tensors, each with the layout and the values it must have.
pub(crate) fn check_tensors(
    graph: &Graph,
    golden: Option<&GoldenRef>,
    header: &Header,
    data: &[u8],
    limits: &Limits,
) -> Result<Checked, Error> {
    let shapes = graph.shapes(limits)?;
    let values: HashMap<&str, Shape> = std::iter::once((graph.input.name.as_str(), graph.input.shape))
        .chain(graph.nodes.iter().map(|node| node.name.as_str()).zip(shapes.iter().copied()))
        .collect();
    let output = values[graph.output.as_str()];
    let mut named: HashMap<&str, &str> = HashMap::new();
    for node in &graph.nodes {
        for spec in node.op.tensors(values[node.inputs[0].as_str()]) {
            check_tensor(&node.name, &spec, header, data, &mut named)?;
        }
    }
    if let Some(golden) = golden {
        let length = |shape: Shape| golden.samples.checked_mul(shape.len()).filter(|&n| n <= header.data_len);
        let (Some(input_len), Some(output_len)) = (length(graph.input.shape), length(output)) else {
            let reason = format!("{} samples are more than the file can hold", golden.samples);
            return Err(Error::Malformed { key: "golden", reason });
        };
        if golden.samples == 0 {
            return Err(Error::Malformed { key: "golden", reason: "it must have at least one sample".into() });
        }
        for (name, len) in [(&golden.input, input_len), (&golden.output, output_len)] {
            let spec = TensorSpec { name, content: Content::Vector(len) };
            check_tensor(GOLDEN_NODE, &spec, header, data, &mut named)?;
        }
    }
    let mut tensors = HashMap::with_capacity(named.len());
    for tensor in header.tensor_names() {
        match header.tensor(&tensor) {
            Some(info) if named.contains_key(tensor.as_str()) => {
                tensors.insert(tensor, (info.dtype, info.data_offsets.0..info.data_offsets.1))
            }
            _ => return Err(Error::TensorUnknown { tensor }),
        };
    }
    Ok(Checked { shapes, output, tensors })
}

/// Checks one tensor that a node names. `named` remembers by whom each was named, so each is scanned once.
fn check_tensor<'a>(
    node: &'a str,
    spec: &TensorSpec<'a>,
    header: &Header,
    data: &[u8],
    named: &mut HashMap<&'a str, &'a str>,
) -> Result<(), Error> {
    let fault = Fault { node, tensor: spec.name };
    let Some(entry) = header.tensor(spec.name) else {
        return Err(Error::TensorMissing { node: fault.node(), tensor: fault.tensor() });
    };
    if let Some(first) = named.insert(spec.name, node) {
        return Err(Error::TensorShared { first: first.to_owned(), second: fault.node(), tensor: fault.tensor() });
    }
    check_type(&fault, spec, entry)?;
    let bytes = &data[entry.data_offsets.0..entry.data_offsets.1];
    match spec.content {
        Content::BitPanels(geometry) => {
            let panels: &[u32] = bytemuck::cast_slice(bytes);
            match dirty_padding(&geometry, panels) {
                Some(index) => Err(fault.dirty(index, panels[index])),
                None => Ok(()),
            }
        }
        Content::CodePanels(geometry, entries) => {
            let (bits, panels): (u32, &[u32]) = (code_bits(entries), bytemuck::cast_slice(bytes));
            let known = "the shape was checked above, and inference has checked the entries";
            if let Some(index) = codebook::dirty_padding(&geometry, bits, panels).expect(known) {
                return Err(fault.dirty(index, panels[index]));
            }
            match codebook::code_beyond(&geometry, bits, panels, entries).expect(known) {
                Some((index, code)) => {
                    Err(Error::CodeBeyond { node: fault.node(), tensor: fault.tensor(), index, code, entries })
                }
                None => Ok(()),
            }
        }
        Content::Int8Panels(geometry) => {
            let panels: &[i8] = bytemuck::cast_slice(bytes);
            if let Some(index) = int8::dirty_padding(&geometry, panels).expect("the shape was checked above") {
                return Err(fault.dirty(index, u32::from(panels[index] as u8)));
            }
            match int8::out_of_range(panels) {
                Some(index) => Err(Error::Int8Range { node: fault.node(), tensor: fault.tensor(), index }),
                None => Ok(()),
            }
        }
        Content::InputScale => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            fault.check_zero(values, 1, 0)?;
            match values[0] {
                value if is_input_scale(value) => Ok(()),
                value => Err(Error::InputScale { node: fault.node(), tensor: fault.tensor(), value }),
            }
        }
        Content::FloatPanels(geometry) => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            fault.check_finite(values)?;
            let (panel_len, filters) = (geometry.depth() * LANES, geometry.group_filters());
            for (panel, values) in values.chunks_exact(panel_len).enumerate() {
                let used = (filters - panel % geometry.group_panels() * LANES).min(LANES);
                for (row, lanes) in values.chunks_exact(LANES).enumerate() {
                    fault.check_zero(lanes, used, panel * panel_len + row * LANES)?;
                }
            }
            Ok(())
        }
        Content::Vector(len) => fault.check_vector(bytemuck::cast_slice(bytes), len),
        Content::Scales(len) => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            fault.check_vector(values, len)?;
            match values[..len].iter().position(|&value| value <= 0.0) {
                Some(index) => Err(Error::ScaleNotPositive {
                    node: fault.node(),
                    tensor: fault.tensor(),
                    index,
                    value: values[index],
                }),
                None => Ok(()),
            }
        }
    }
}

fn check_type(fault: &Fault<'_>, spec: &TensorSpec<'_>, entry: &TensorInfo) -> Result<(), Error> {
    let (expected, name) = match spec.content {
        Content::BitPanels(_) | Content::CodePanels(..) => (Dtype::U32, "U32"),
        Content::Int8Panels(_) => (Dtype::I8, "I8"),
        _ => (Dtype::F32, "F32"),
    };
    if entry.dtype != expected {
        return Err(Error::TensorDtype {
            node: fault.node(),
            tensor: fault.tensor(),
            expected: name,
            found: entry.dtype.to_string(),
        });
    }
    let shape = spec.content.shape();
    if entry.shape != shape {
        return Err(Error::TensorShape {
            node: fault.node(),
            tensor: fault.tensor(),
            expected: brief(&shape),
            found: brief(&entry.shape),
        });
    }
    Ok(())
}

/// A shape as text, cut off where a hostile header gives it very many sizes.
fn brief(shape: &[usize]) -> String {
    match shape.get(..8) {
        Some(sizes) if shape.len() > 8 => format!("{sizes:?} and {} sizes more", shape.len() - 8),
        _ => format!("{shape:?}"),
    }
}

/// Whose tensor is being checked.
struct Fault<'a> {
    node: &'a str,
    tensor: &'a str,
}

impl Fault<'_> {
    fn node(&self) -> String {
        self.node.to_owned()
    }

    fn tensor(&self) -> String {
        self.tensor.to_owned()
    }

    fn dirty(&self, index: usize, bits: u32) -> Error {
        Error::DirtyPadding { node: self.node(), tensor: self.tensor(), index, bits }
    }

    fn check_finite(&self, values: &[f32]) -> Result<(), Error> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                Err(Error::NotFinite { node: self.node(), tensor: self.tensor(), index, value: values[index] })
            }
            None => Ok(()),
        }
    }

    /// Checks that from element `used` on all bits are zero; `start` is the place of `values` in the tensor.
    fn check_zero(&self, values: &[f32], used: usize, start: usize) -> Result<(), Error> {
        match values[used..].iter().position(|value| value.to_bits() != 0) {
            Some(index) => Err(self.dirty(start + used + index, values[used + index].to_bits())),
            None => Ok(()),
        }
    }

    fn check_vector(&self, values: &[f32], len: usize) -> Result<(), Error> {
        self.check_finite(values)?;
        self.check_zero(values, len, 0)
    }
}
