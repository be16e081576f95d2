//! A network of LeNet's shape with random weights: float first and last layers, binary ones between.

use super::{Net, keep, quantizer, random};
use horq::graph::Shape;
use horq::ops::{Affine, Basis, BinaryConv2d, BinaryDense, Conv2d, Dense, Flatten, MaxPool, Prelu, Relu, Softmax};
use horq::{Model, Order, Point, Points, ScaleMode, Window};

pub fn lenet(mode: ScaleMode, order: usize) -> Net {
    let rng = &mut random::rng(order as u64);
    let mut uniform =
        |n: usize, limit: f32| keep(random::values(rng, n).into_iter().map(|x| x * limit).collect::<Vec<f32>>());
    let mut base = |filters: usize, depth: usize| {
        let weight = uniform(filters * depth, 1.0);
        keep(vec![Basis::new(weight, keep(vec![1.0 / depth as f32; filters]))])
    };
    let (conv, dense) = (base(50, 20 * 25), base(500, 50 * 16));
    let scales = mode.has_constants().then(|| keep([0.9, 0.5, 0.3, 0.15, 0.1, 0.05, 0.03, 0.01][..order].to_vec()));
    let quantize = quantizer(order, mode, scales);
    let pool = MaxPool::new(Window::square(2).with_stride(2));
    let mut affine = |n| Affine::new(uniform(n, 1.0), uniform(n, 0.3));
    let (norm1, norm2, norm3) = (affine(20), affine(50), affine(500));
    let (first, last) = (uniform(20 * 25, 0.2), uniform(10 * 500, 0.05));
    let slope = uniform(50, 0.2);
    Net::new(Shape::Image { height: 28, width: 28, channels: 1 })
        .then("conv1", Conv2d::new(Window::square(5), 20, first))
        .then("pool1", pool)
        .then("norm1", norm1)
        .then("conv2", BinaryConv2d::new(Window::square(5), 50, quantize.clone(), conv))
        .then("prelu2", Prelu::new(slope))
        .then("pool2", pool)
        .then("norm2", norm2)
        .then("flat", Flatten)
        .then("dense3", BinaryDense::new(500, quantize, dense))
        .then("norm3", norm3)
        .then("relu3", Relu)
        .then("dense4", Dense::new(10, last))
        .then("answer", Softmax)
}

/// LeNet of order 2 with two operating points.
pub fn tuned(mode: ScaleMode) -> Model {
    let points = Points::new([
        Point::new("fast", [("conv2", Order::ONE), ("dense3", Order::ONE)]),
        Point::new("exact", [("conv2", Order::new(2).unwrap())]),
    ]);
    let model = lenet(mode, 2).model();
    Model::from_bytes(&model.to_bytes_with_points(&points).unwrap()).unwrap()
}
