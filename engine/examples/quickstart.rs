//! Makes a small binary network, runs it, and turns the dial between accuracy and latency.
//!
//! `cargo run --release --example quickstart`

use horq::graph::Shape;
use horq::ops::{Basis, BinaryConv2d, GlobalAveragePool, Quantizer};
use horq::{Builder, Error, Model, Order, ScaleMode, Session, SessionOptions, Window};

fn main() -> Result<(), Error> {
    // A model usually comes from `Model::open("model.horq")?`. This one has 64 filters of 3x3 over 32 channels.
    let weight: Vec<f32> = (0..64 * 9 * 32).map(|i| (i as f32 * 0.7).sin()).collect();
    let bases = [Basis::new(&weight, &[0.637; 64])]; // mean |sin| = 2 / pi
    let quantize = Quantizer::new(Order::new(4)?, ScaleMode::Window);
    let window = Window::square(3).with_padding(1);
    let conv = BinaryConv2d::new(window, 64, quantize, &bases);
    let mut builder = Builder::new("image", Shape::Image { height: 16, width: 16, channels: 32 });
    builder.add("conv", &["image"], conv)?.add("answer", &["conv"], GlobalAveragePool)?;
    let model = Model::from_bytes(&builder.to_bytes("answer")?)?;

    // The session holds everything that a run needs; `run` itself allocates nothing.
    let mut session = Session::new(&model, SessionOptions::new())?;
    let image: Vec<f32> = (0..session.input_len()).map(|i| (i as f32 * 0.3).cos()).collect();
    let mut answer = vec![0.0; session.output_len()];

    for order in 1..=4 {
        session.set_order(Order::new(order)?);
        session.run(&image, &mut answer)?;
        println!("order {order}: {:8.4} {:8.4} {:8.4} ... on {}", answer[0], answer[1], answer[2], session.isa());
    }
    Ok(())
}
