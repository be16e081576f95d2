//! LeNet-5 in Caffe's form (20, 50, 500, 10), for handwritten digits: float ends, binary between (HORQ, section 4.1).

use super::draft::{Draft, Drawn};
use horq::graph::Shape;
use horq::ops::{Flatten, MaxPool};
use horq::{Padding, Window};

pub(super) const INPUT: Shape = Shape::Image { height: 28, width: 28, channels: 1 };

pub(super) fn draw(draft: Draft) -> Drawn {
    let pool = MaxPool::new(Window::square(2).with_stride(2));
    draft
        .conv("conv1", Window::square(5), 20, 1)?
        .norm("norm1")?
        .prelu("prelu1")?
        .then("pool1", pool)?
        .binary("conv2", Window::square(5), 50, Padding::ValidTaps)?
        .norm("norm2")?
        .prelu("prelu2")?
        .then("pool2", pool)?
        .then("flat", Flatten)?
        .binary_dense("dense3", 500)?
        .norm("norm3")?
        .prelu("prelu3")?
        .dense("dense4", 10)
}
