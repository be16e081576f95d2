//! VGG-small for CIFAR-10 (LQ-Nets, Zhang et al., ECCV 2018): 128-128-M-256-256-M-512-512-M-10, float ends, binary between.

use super::draft::{Draft, Drawn};
use horq::graph::Shape;
use horq::ops::{Flatten, MaxPool};
use horq::{Padding, Window};

pub(super) const INPUT: Shape = Shape::Image { height: 32, width: 32, channels: 3 };

pub(super) fn draw(mut draft: Draft) -> Drawn {
    let window = Window::square(3).with_padding(1);
    for (i, filters) in [128, 128, 256, 256, 512, 512].into_iter().enumerate() {
        let layer = i + 1;
        let name = format!("conv{layer}");
        draft = match layer {
            1 => draft.conv(&name, window, filters, 1)?,
            _ => draft.binary(&name, window, filters, Padding::ValidTaps)?,
        };
        draft = draft.norm(&format!("norm{layer}"))?.prelu(&format!("prelu{layer}"))?;
        if layer % 2 == 0 {
            draft = draft.then(&format!("pool{layer}"), MaxPool::new(Window::square(2).with_stride(2)))?;
        }
    }
    draft.then("flat", Flatten)?.dense("dense7", 10)
}
