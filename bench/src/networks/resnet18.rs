//! Binary networks of ResNet-18's shape at 224x224: Bi-Real-Net-18 (Liu et al., ECCV 2018), whose every 3x3 convolution has a
//! shortcut of its own, and the same with the shifts and PReLUs of ReActNet (Liu et al., ECCV 2020).

use super::draft::{Draft, Drawn};
use horq::graph::Shape;
use horq::ops::{AveragePool, GlobalAveragePool, MaxPool};
use horq::{Padding, Window};

pub(super) const INPUT: Shape = Shape::Image { height: 224, width: 224, channels: 3 };

/// What stands around a binary convolution.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Nothing but the quantizer: Bi-Real-Net.
    None,
    /// A shift before the quantizer (RSign), and shift, PReLU, shift after the shortcut (RPReLU): ReActNet.
    ShiftedPrelu,
}

pub(super) fn draw(draft: Draft, activation: Activation) -> Drawn {
    let halve = |kernel, padding| Window::square(kernel).with_stride(2).with_padding(padding);
    let mut draft =
        draft.conv("stem", halve(7, 3), 64, 1)?.norm("stem.norm")?.then("stem.pool", MaxPool::new(halve(3, 1)))?;
    for (stage, filters) in [64, 128, 256, 512].into_iter().enumerate() {
        for layer in 0..4 {
            draft = block(draft, &format!("{}.{}", stage + 1, layer + 1), filters, activation)?;
        }
    }
    draft.then("pool", GlobalAveragePool)?.dense("classes", 1000)
}

/// One binary convolution and its shortcut, which halves the image where the channels grow.
///
/// The shortcut comes last, so that the sum is a step of the binary convolution's epilogue.
fn block(draft: Draft, name: &str, filters: usize, activation: Activation) -> Drawn {
    let part = |part: &str| format!("{name}.{part}");
    let input = draft.end();
    let halves = draft.channels() != filters;
    let mut draft = match activation {
        Activation::None => draft,
        Activation::ShiftedPrelu => draft.shift(&part("before"))?,
    };
    let window = Window::square(3).with_padding(1).with_stride(if halves { 2 } else { 1 });
    draft = draft.binary(&part("conv"), window, filters, Padding::ValidTaps)?.norm(&part("norm"))?;
    let sum = draft.end();
    let shortcut = if halves {
        draft = draft
            .from(&input)
            .then(&part("half"), AveragePool::new(Window::square(2).with_stride(2)))?
            .conv(&part("widen"), Window::square(1), filters, 1)?
            .norm(&part("widen.norm"))?;
        draft.end()
    } else {
        input
    };
    draft = draft.from(&sum).add(&part("sum"), &shortcut)?;
    match activation {
        Activation::None => Ok(draft),
        Activation::ShiftedPrelu => draft.shift(&part("shift"))?.prelu(&part("prelu"))?.shift(&part("after")),
    }
}
