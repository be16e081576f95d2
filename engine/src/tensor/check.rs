//! The values of tensors: what is padding is zero, floats are finite, codes and bytes are in range.

use horq_kernels::panel::{LANES, dirty_padding};
use horq_kernels::{codebook, int8};

use super::content::{Content, TensorSpec, code_bits, is_input_scale};
use crate::Error;
use crate::error::TensorError;

/// Checks the values of a tensor, whose type and shape are right.
pub(crate) fn check_tensor(node: &str, spec: &TensorSpec<'_>, bytes: &[u8]) -> Result<(), Error> {
    let fault = Fault { node, tensor: spec.name };
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
                    Err(TensorError::CodeBeyond { node: fault.node(), tensor: fault.tensor(), index, code, entries }
                        .into())
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
                Some(index) => Err(TensorError::Int8Range { node: fault.node(), tensor: fault.tensor(), index }.into()),
                None => Ok(()),
            }
        }
        Content::InputScale => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            fault.check_zero(values, 1, 0)?;
            match values[0] {
                value if is_input_scale(value) => Ok(()),
                value => Err(TensorError::InputScale { node: fault.node(), tensor: fault.tensor(), value }.into()),
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
                Some(index) => Err(TensorError::ScaleNotPositive {
                    node: fault.node(),
                    tensor: fault.tensor(),
                    index,
                    value: values[index],
                }
                .into()),
                None => Ok(()),
            }
        }
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
        Error::Tensor(TensorError::DirtyPadding { node: self.node(), tensor: self.tensor(), index, bits })
    }

    fn check_finite(&self, values: &[f32]) -> Result<(), Error> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                Err(TensorError::NotFinite { node: self.node(), tensor: self.tensor(), index, value: values[index] }
                    .into())
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
