//! The values of tensors: what is padding is zero, floats are finite, codes and bytes are in range.

use horq_kernels::MIN_HALVING_SCALE;
use horq_kernels::weights::LANES;
use horq_kernels::weights::bits::dirty_padding;
use horq_kernels::weights::{codes, int8};

use super::content::{Content, TensorSpec, code_bits};
use crate::Error;
use crate::error::TensorError;

/// Floats that are looked at between two branches.
const BLOCK: usize = 4096;

/// Checks the values of a tensor, whose type and shape are right.
pub(crate) fn check_tensor(node: &str, spec: &TensorSpec<'_>, bytes: &[u8]) -> Result<(), Error> {
    let place = Place { node, tensor: spec.name };
    match spec.content {
        Content::BitPanels(geometry) => {
            let panels: &[u32] = bytemuck::cast_slice(bytes);
            match dirty_padding(&geometry, panels) {
                Some(index) => Err(place.dirty(index, panels[index])),
                None => Ok(()),
            }
        }
        Content::CodePanels(geometry, entries) => {
            let (bits, panels): (u32, &[u32]) = (code_bits(entries), bytemuck::cast_slice(bytes));
            let known = "the shape was checked above, and inference has checked the entries";
            if let Some(index) = codes::dirty_padding(&geometry, bits, panels).expect(known) {
                return Err(place.dirty(index, panels[index]));
            }
            match codes::code_beyond(&geometry, bits, panels, entries).expect(known) {
                Some((index, code)) => Err(place.code_beyond(index, code, entries)),
                None => Ok(()),
            }
        }
        Content::Int8Panels(geometry) => {
            let panels: &[i8] = bytemuck::cast_slice(bytes);
            if let Some(index) = int8::dirty_padding(&geometry, panels).expect("the shape was checked above") {
                return Err(place.dirty(index, u32::from(panels[index] as u8)));
            }
            place.check_int8(panels)
        }
        Content::InputScale => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            place.check_zero(values, 1, 0)?;
            place.check_input_scale(values[0])
        }
        Content::FloatPanels(geometry) => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            place.check_finite(values)?;
            let (panel_len, filters) = (geometry.depth() * LANES, geometry.group_filters());
            for (panel, values) in values.chunks_exact(panel_len).enumerate() {
                let used = (filters - panel % geometry.group_panels() * LANES).min(LANES);
                if used == LANES {
                    continue;
                }
                for (row, lanes) in values.chunks_exact(LANES).enumerate() {
                    place.check_zero(lanes, used, panel * panel_len + row * LANES)?;
                }
            }
            Ok(())
        }
        Content::Vector(len) => place.check_vector(bytemuck::cast_slice(bytes), len),
        Content::Table(rows, columns) => place.check_vector(bytemuck::cast_slice(bytes), rows * columns),
        Content::Positive(len) => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            place.check_vector(values, len)?;
            place.check_positive(&values[..len])
        }
        Content::Scales(len) => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            place.check_vector(values, len)?;
            let Some(index) = values[..len].iter().position(|&value| value <= 0.0) else { return Ok(()) };
            let value = values[index];
            Err(place.error(|node, tensor| TensorError::ScaleNotPositive { node, tensor, index, value }))
        }
        Content::HalvingScales(len) => {
            let values: &[f32] = bytemuck::cast_slice(bytes);
            place.check_vector(values, len)?;
            place.check_halving(&values[..len])
        }
    }
}

/// A tensor and the node that names it, for errors about its values.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) node: &'a str,
    pub(crate) tensor: &'a str,
}

impl Place<'_> {
    /// The tensor's error that `error` makes of the names of node and tensor.
    pub(super) fn error(self, error: impl FnOnce(String, String) -> TensorError) -> Error {
        Error::Tensor(error(self.node.into(), self.tensor.into()))
    }

    pub(super) fn code_beyond(self, index: usize, code: u8, entries: usize) -> Error {
        self.error(|node, tensor| TensorError::CodeBeyond { node, tensor, index, code, entries })
    }

    fn dirty(self, index: usize, bits: u32) -> Error {
        self.error(|node, tensor| TensorError::DirtyPadding { node, tensor, index, bits })
    }

    /// Checks that 8-bit weights lie evenly about zero.
    pub(super) fn check_int8(self, weights: &[i8]) -> Result<(), Error> {
        let refuse = |index| Err(self.error(|node, tensor| TensorError::Int8Range { node, tensor, index }));
        int8::out_of_range(weights).map_or(Ok(()), refuse)
    }

    /// Checks that an 8-bit layer can divide by its input's scale.
    pub(super) fn check_input_scale(self, value: f32) -> Result<(), Error> {
        if value.is_sign_positive() && value.is_normal() {
            return Ok(());
        }
        Err(self.error(|node, tensor| TensorError::InputScale { node, tensor, value }))
    }

    /// Checks that every value can be halved once for each order without becoming subnormal.
    pub(super) fn check_halving(self, values: &[f32]) -> Result<(), Error> {
        let Some(index) = values.iter().position(|&value| value < MIN_HALVING_SCALE) else { return Ok(()) };
        let value = values[index];
        Err(self.error(|node, tensor| TensorError::ScaleTooSmall { node, tensor, index, value }))
    }

    /// Checks that an operation can divide by every value.
    pub(super) fn check_positive(self, values: &[f32]) -> Result<(), Error> {
        let Some(index) = values.iter().position(|&value| value <= 0.0) else { return Ok(()) };
        let value = values[index];
        Err(self.error(|node, tensor| TensorError::NotPositive { node, tensor, index, value }))
    }

    pub(super) fn check_finite(self, values: &[f32]) -> Result<(), Error> {
        // A block at a time without an early end, so that a file is searched at the speed of memory.
        let is_finite = |block: &[f32]| block.iter().fold(true, |finite, value| finite & value.is_finite());
        if values.chunks(BLOCK).all(is_finite) {
            return Ok(());
        }
        let Some(index) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
        Err(self.error(|node, tensor| TensorError::NotFinite { node, tensor, index, value: values[index] }))
    }

    /// Checks that from element `used` on all bits are zero; `start` is the place of `values` in the tensor.
    fn check_zero(self, values: &[f32], used: usize, start: usize) -> Result<(), Error> {
        match values[used..].iter().position(|value| value.to_bits() != 0) {
            Some(index) => Err(self.dirty(start + used + index, values[used + index].to_bits())),
            None => Ok(()),
        }
    }

    fn check_vector(self, values: &[f32], len: usize) -> Result<(), Error> {
        self.check_finite(values)?;
        self.check_zero(values, len, 0)
    }
}
