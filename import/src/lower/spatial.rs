//! Images of another size.

use super::moves::image_axes;
use super::{Lowering, Rule};
use crate::error::Refusal;
use crate::graph::Node;
use crate::layout::View;
use horq::ops::{Coordinates, Outside, Resize, Rounding};

pub(super) const RULES: &[Rule] = &[("Resize", |to, node| to.resize(node)), ("Upsample", |to, node| to.resize(node))];

impl Lowering<'_> {
    fn resize(&mut self, node: &Node) -> Result<(), Refusal> {
        let value = self.operand(node, 0)?;
        let (input, result) = (self.shape(value)?, self.result_shape(node)?);
        let rank = input.len();
        if !(3..=4).contains(&rank)
            || input[..2] != result[..2] && !(rank == 4 && input[0] == result[0] && input[3] == result[3])
        {
            let reason = format!("it makes {result:?} of {input:?}");
            return Err(Refusal::of(node, reason, "rows and columns of an image work"));
        }
        // Channels first, unless those sizes change.
        let spatial: Vec<usize> = if input[..2] == result[..2] { (2..rank).collect() } else { vec![1, 2] };
        let channels = if spatial[0] == 1 { 3 } else { 1 };
        let (rows, columns) = spatial.split_at(spatial.len() - 1);
        let placed = self.grouped(value, [rows, columns, &[channels]], false)?;
        debug_assert!(image_axes(&placed).is_some() || rank == 3);
        let size = [rows.first().map_or(1, |&axis| result[axis]), result[columns[0]]];
        let mut op = match node.text("mode", "nearest") {
            "nearest" => Resize::nearest(size, nearest(node)?),
            "linear" => Resize::linear(size),
            "cubic" => {
                let outside = if node.int("exclude_outside", 0) != 0 { Outside::Exclude } else { Outside::Edge };
                Resize::cubic(size, vec![node.float("cubic_coeff_a", -0.75)], outside)
            }
            other => return Err(Refusal::of(node, format!("its mode is `{other}`"), "nearest, linear and cubic work")),
        };
        if node.int("antialias", 0) != 0 {
            return Err(Refusal::of(node, "it smooths before it shrinks", "antialias = 0 works"));
        }
        op = op.coordinates(coordinates(node)?);
        if let Some(scales) = self.constant(node, 2)?.filter(|scales| scales.len() == rank) {
            let scales: Vec<f64> = scales.iter().copied().collect();
            let scale = [rows.first().map_or(1.0, |&axis| scales[axis]), scales[columns[0]]];
            let before = [rows.first().map_or(1, |&axis| input[axis]), input[columns[0]]];
            if (0..2).any(|i| scale[i] * before[i] as f64 != size[i] as f64) {
                op = op.scale(vec![scale[0] as f32, scale[1] as f32]);
            }
        }
        let name = self.emit(node, "", &[&placed.name], op)?;
        let order: Vec<usize> = std::iter::once(0).chain(spatial.iter().copied()).chain([channels]).collect();
        self.place(node, name, View::ordered(result, &order));
        Ok(())
    }
}

fn nearest(node: &Node) -> Result<Rounding, Refusal> {
    Ok(match node.text("nearest_mode", "round_prefer_floor") {
        "round_prefer_floor" => Rounding::RoundPreferFloor,
        "round_prefer_ceil" => Rounding::RoundPreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(Refusal::of(node, format!("its nearest_mode is `{other}`"), "")),
    })
}

fn coordinates(node: &Node) -> Result<Coordinates, Refusal> {
    Ok(match node.text("coordinate_transformation_mode", "half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        other => {
            let reason = format!("its coordinates are `{other}`");
            return Err(Refusal::of(node, reason, "half_pixel, asymmetric and align_corners work"));
        }
    })
}
