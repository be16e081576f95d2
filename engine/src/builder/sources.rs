//! From layers in plain floats to the operations and tensors of a file.

use horq_kernels::Geometry;
use horq_kernels::codebook::pack_codes;
use horq_kernels::int8::{out_of_range, pack_int8};
use horq_kernels::panel::{LANES, pack_bits, pack_floats};

use super::{BinaryBase, Layer, Quantize};
use crate::Error;
use crate::format::TensorData;
use crate::graph::{AffineRow, Base, Op, Quantizer, Shape, code_bits, is_input_scale};
use crate::memory::filled;

/// The operation of a layer. Tensors are named after the node and their role, which no two nodes can share.
pub(super) fn describe(node: &str, layer: &Layer<'_>) -> Op {
    let tensor = |role: &str| format!("{node}.{role}");
    let bias = |bias: Option<&[f32]>| bias.map(|_| tensor("bias"));
    let bases = |bases: &[BinaryBase<'_>]| {
        (0..bases.len())
            .map(|i| Base { weight: tensor(&format!("weight.{i}")), alpha: tensor(&format!("alpha.{i}")) })
            .collect()
    };
    let quantizer = |quantize: Quantize<'_>| Quantizer {
        order: quantize.order,
        mode: quantize.mode,
        scales: quantize.scales.map(|_| tensor("scales")),
    };
    match *layer {
        Layer::Conv2d { window, filters, groups, bias: b, .. } => {
            Op::Conv2d { window, filters, groups, weight: tensor("weight"), bias: bias(b) }
        }
        Layer::Dense { filters, bias: b, .. } => Op::Dense { filters, weight: tensor("weight"), bias: bias(b) },
        Layer::BinaryConv2d { window, filters, groups, pad_value, quantize, bases: l, bias: b } => Op::BinaryConv2d {
            window,
            filters,
            groups,
            pad_value,
            quantizer: quantizer(quantize),
            bases: bases(l),
            bias: bias(b),
        },
        Layer::BinaryDense { filters, quantize, bases: l, bias: b } => {
            Op::BinaryDense { filters, quantizer: quantizer(quantize), bases: bases(l), bias: bias(b) }
        }
        Layer::BinaryWeightConv2d { window, filters, groups, bias: b, .. } => Op::BinaryWeightConv2d {
            window,
            filters,
            groups,
            weight: tensor("weight"),
            alpha: tensor("alpha"),
            bias: bias(b),
        },
        Layer::BinaryWeightDense { filters, bias: b, .. } => {
            Op::BinaryWeightDense { filters, weight: tensor("weight"), alpha: tensor("alpha"), bias: bias(b) }
        }
        Layer::CodebookConv2d { window, filters, groups, codebook, bias: b, .. } => Op::CodebookConv2d {
            window,
            filters,
            groups,
            entries: codebook.len(),
            codes: tensor("codes"),
            codebook: tensor("codebook"),
            bias: bias(b),
        },
        Layer::CodebookDense { filters, codebook, bias: b, .. } => Op::CodebookDense {
            filters,
            entries: codebook.len(),
            codes: tensor("codes"),
            codebook: tensor("codebook"),
            bias: bias(b),
        },
        Layer::Int8Conv2d { window, filters, groups, quantize, bias: b, .. } => Op::Int8Conv2d {
            window,
            filters,
            groups,
            zero_point: quantize.zero_point,
            input_scale: tensor("input_scale"),
            weight: tensor("weight"),
            alpha: tensor("alpha"),
            bias: bias(b),
        },
        Layer::Int8Dense { filters, quantize, bias: b, .. } => Op::Int8Dense {
            filters,
            zero_point: quantize.zero_point,
            input_scale: tensor("input_scale"),
            weight: tensor("weight"),
            alpha: tensor("alpha"),
            bias: bias(b),
        },
        Layer::Affine { .. } => Op::Affine { scale: tensor("scale"), shift: tensor("shift") },
        Layer::AffineByOrder { order_of, rows } => Op::AffineByOrder {
            order_of: order_of.into(),
            rows: (0..rows.len())
                .map(|i| AffineRow { scale: tensor(&format!("scale.{i}")), shift: tensor(&format!("shift.{i}")) })
                .collect(),
        },
        Layer::Relu => Op::Relu,
        Layer::Prelu { .. } => Op::Prelu { slope: tensor("slope") },
        Layer::MaxPool { window } => Op::MaxPool { window },
        Layer::AveragePool { window } => Op::AveragePool { window },
        Layer::GlobalAveragePool => Op::GlobalAveragePool,
        Layer::Add => Op::Add,
        Layer::Concat => Op::Concat,
        Layer::Flatten => Op::Flatten,
        Layer::Softmax => Op::Softmax,
    }
}

/// Checks and packs a layer's values, in the order in which [`Op::tensors`] names them.
pub(super) struct Sources<'a> {
    node: &'a str,
    geometry: Option<Geometry>,
    packed: Vec<TensorData>,
}

impl<'a> Sources<'a> {
    /// Nothing packed yet.
    pub(super) fn new(node: &'a str, geometry: Option<Geometry>) -> Self {
        Self { node, geometry, packed: Vec::new() }
    }

    /// What was packed.
    pub(super) fn finish(self) -> Vec<TensorData> {
        self.packed
    }

    /// Packs what a layer holds.
    pub(super) fn pack(&mut self, layer: &Layer<'_>, input: Shape) -> Result<(), Error> {
        match *layer {
            Layer::Conv2d { filters, weight, bias, .. } | Layer::Dense { filters, weight, bias } => {
                self.weight(weight, |geometry, weight| TensorData::F32(pack_floats(geometry, weight)))?;
                self.bias(bias, filters)
            }
            Layer::BinaryConv2d { filters, quantize, bases, bias, .. }
            | Layer::BinaryDense { filters, quantize, bases, bias } => {
                for base in bases {
                    self.weight(base.weight, |geometry, weight| TensorData::U32(pack_bits(geometry, weight)))?;
                    self.vector("alpha", base.alpha, filters)?;
                }
                if let Some(scales) = quantize.scales {
                    self.vector("scales", scales, quantize.order)?;
                }
                self.bias(bias, filters)
            }
            Layer::BinaryWeightConv2d { filters, base, bias, .. }
            | Layer::BinaryWeightDense { filters, base, bias } => {
                self.weight(base.weight, |geometry, weight| TensorData::U32(pack_bits(geometry, weight)))?;
                self.vector("alpha", base.alpha, filters)?;
                self.bias(bias, filters)
            }
            Layer::CodebookConv2d { filters, codes, codebook, bias, .. }
            | Layer::CodebookDense { filters, codes, codebook, bias } => {
                self.codes(codes, codebook.len())?;
                self.vector("codebook", codebook, codebook.len())?;
                self.bias(bias, filters)
            }
            Layer::Int8Conv2d { filters, quantize, weight, alpha, bias, .. }
            | Layer::Int8Dense { filters, quantize, weight, alpha, bias } => {
                self.int8(weight)?;
                self.input_scale(quantize.scale)?;
                self.vector("alpha", alpha, filters)?;
                self.bias(bias, filters)
            }
            Layer::Affine { scale, shift } => {
                self.vector("scale", scale, input.channels())?;
                self.vector("shift", shift, input.channels())
            }
            Layer::AffineByOrder { rows, .. } => rows.iter().enumerate().try_for_each(|(i, row)| {
                self.vector(&format!("scale.{i}"), row.scale, input.channels())?;
                self.vector(&format!("shift.{i}"), row.shift, input.channels())
            }),
            Layer::Prelu { slope } => self.vector("slope", slope, input.channels()),
            _ => Ok(()),
        }
    }

    fn weight(&mut self, values: &[f32], pack: impl Fn(&Geometry, &[f32]) -> TensorData) -> Result<(), Error> {
        let geometry = self.geometry.expect("inference has given every layer with weights its geometry");
        self.check("weight", values, geometry.filters * geometry.depth())?;
        self.packed.push(pack(&geometry, values));
        Ok(())
    }

    fn codes(&mut self, codes: &[u8], entries: usize) -> Result<(), Error> {
        let geometry = self.geometry.expect("inference has given every layer with weights its geometry");
        let (node, expected, found) = (self.node.to_owned(), geometry.filters * geometry.depth(), codes.len());
        if found != expected {
            return Err(Error::SourceLength { node, source_name: "codes".into(), expected, found });
        }
        if let Some(index) = codes.iter().position(|&code| usize::from(code) >= entries) {
            let tensor = format!("{node}.codes");
            return Err(Error::CodeBeyond { node, tensor, index, code: codes[index], entries });
        }
        let packed = pack_codes(&geometry, code_bits(entries), codes);
        self.packed.push(TensorData::U32(packed.expect("number and size of the codes were just checked")));
        Ok(())
    }

    fn int8(&mut self, weight: &[i8]) -> Result<(), Error> {
        let geometry = self.geometry.expect("inference has given every layer with weights its geometry");
        let (node, expected, found) = (self.node.to_owned(), geometry.filters * geometry.depth(), weight.len());
        if found != expected {
            return Err(Error::SourceLength { node, source_name: "weight".into(), expected, found });
        }
        if let Some(index) = out_of_range(weight) {
            return Err(Error::Int8Range { tensor: format!("{node}.weight"), node, index });
        }
        let packed = pack_int8(&geometry, weight);
        self.packed.push(TensorData::I8(packed.expect("number and range of the weights were just checked")));
        Ok(())
    }

    fn input_scale(&mut self, value: f32) -> Result<(), Error> {
        if !is_input_scale(value) {
            let node = self.node.to_owned();
            return Err(Error::InputScale { tensor: format!("{node}.input_scale"), node, value });
        }
        self.vector("input_scale", &[value], 1)
    }

    fn bias(&mut self, bias: Option<&[f32]>, filters: usize) -> Result<(), Error> {
        bias.map_or(Ok(()), |bias| self.vector("bias", bias, filters))
    }

    fn vector(&mut self, source: &str, values: &[f32], expected: usize) -> Result<(), Error> {
        self.check(source, values, expected)?;
        self.packed.push(TensorData::F32(padded(values)?));
        Ok(())
    }

    fn check(&self, source: &str, values: &[f32], expected: usize) -> Result<(), Error> {
        let (node, found) = (self.node.to_owned(), values.len());
        if found != expected {
            return Err(Error::SourceLength { node, source_name: source.into(), expected, found });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                let tensor = format!("{node}.{source}");
                Err(Error::NotFinite { node, tensor, index, value: values[index] })
            }
            None => Ok(()),
        }
    }
}

/// Values and zeros up to whole lines.
pub(super) fn padded(values: &[f32]) -> Result<Vec<f32>, Error> {
    let mut padded = filled(values.len().next_multiple_of(LANES), 0.0)?;
    padded[..values.len()].copy_from_slice(values);
    Ok(padded)
}
