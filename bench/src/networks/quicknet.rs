//! QuickNet-small (Larq Compute Engine, Bannink et al., MLSys 2021) at 224x224: sections of four binary 3x3 convolutions of
//! 32, 64, 256 and 512 filters, ReLU before the norm, ones for padding, a shortcut around each; blurring transitions.
//!
//! It differs from the published network (larq-zoo 2) in two ways: the order and the scale mode are free, where QuickNet has one
//! unscaled plane; and the answer is logits, without the softmax. TensorFlow's `same` padding of even sizes is kept.

use super::draft::{Draft, Drawn};
use horq::graph::Shape;
use horq::ops::{GlobalAveragePool, MaxPool, Relu};
use horq::{Padding, Window};

pub(super) const INPUT: Shape = Shape::Image { height: 224, width: 224, channels: 3 };

pub(super) fn draw(draft: Draft) -> Drawn {
    // `same` at stride 2 and even sizes: nothing above and left, one pixel below and right.
    let halve = Window { padding: [0, 0, 1, 1], ..Window::square(3).with_stride(2) };
    let sections = [32, 64, 256, 512];
    let stem = sections[0] / 4;
    let mut draft = draft
        .conv("stem.conv", halve, stem, 1)?
        .norm("stem.norm")?
        .then("stem.relu", Relu)?
        .conv("stem.depthwise", halve, stem, stem)?
        .norm("stem.depthwise.norm")?
        .conv("stem.widen", Window::square(1), sections[0], 1)?
        .norm("stem.widen.norm")?;
    for (section, filters) in sections.into_iter().enumerate() {
        let part = |part: &str| format!("{}.{part}", section + 1);
        if section > 0 {
            draft = draft
                .then(&part("relu"), Relu)?
                .then(&part("pool"), MaxPool::new(Window::square(2)))?
                .blur(&part("blur"))?
                .conv(&part("widen"), Window::square(1), filters, 1)?
                .norm(&part("widen.norm"))?;
        }
        for layer in 1..=4 {
            let part = |part: &str| format!("{}.{layer}.{part}", section + 1);
            let input = draft.end();
            draft = draft
                .binary(&part("conv"), Window::square(3).with_padding(1), filters, Padding::One)?
                .then(&part("relu"), Relu)?
                .norm(&part("norm"))?
                .add(&part("sum"), &input)?;
        }
    }
    draft.then("relu", Relu)?.then("pool", GlobalAveragePool)?.dense("classes", 1000)
}
