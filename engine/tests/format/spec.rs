//! The worked examples of `docs/format.md` are what the library does.

use horq::graph::Shape;
use horq::ops::{Basis, BinaryDense, Quantizer};
use horq::{Builder, Model, Order, Session, SessionOptions, Window};
use horq_kernels::Geometry;
use horq_kernels::weights::bits;

use crate::forge::data_start;

const SPEC: &str = include_str!("../../../docs/format.md");

fn example() -> Vec<u8> {
    let mut builder = Builder::new("x", Shape::Flat(3));
    let bases = [Basis::new(&[0.5, -0.25, 1.0, -1.0, -2.0, 0.0], &[0.5, 1.5])];
    let quantize = Quantizer::fixed(Order::new(2).unwrap(), &[1.0, 0.25]);
    builder.add("y", &["x"], BinaryDense::new(2, quantize, &bases)).unwrap();
    builder.producer("example").to_bytes("y").unwrap()
}

#[test]
fn the_example_file_is_the_one_that_is_written() {
    let file = example();
    let start = data_start(&file);
    let header = std::str::from_utf8(&file[8..start]).unwrap().trim_end();
    println!("{} {} {header}", file.len(), start);
    for (i, row) in file[start..].chunks(16).enumerate() {
        println!("{:04x}  {}", start + i * 16, row.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "));
    }
    assert!(SPEC.contains(header), "the header of the example");
    assert!(SPEC.contains(&format!("{} bytes long", file.len())), "the length of the example");
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    for (row, bytes) in file.chunks(16).enumerate().filter(|(row, _)| *row == 0 || row * 16 >= start) {
        if bytes.iter().any(|&byte| byte != 0) {
            let line = format!("{:04x}  {}", row * 16, digits(bytes));
            assert!(SPEC.contains(&line), "the line `{line}` of the example");
        }
    }
}

#[test]
fn the_example_file_gives_the_answer_that_is_stated() {
    let model = Model::from_bytes(&example()).unwrap();
    let mut answer = [0.0; 2];
    Session::new(&model, SessionOptions::new()).unwrap().run(&[2.0, -0.5, 0.25], &mut answer).unwrap();
    assert_eq!(answer, [1.375, 0.375]);
    assert!(SPEC.contains("(2, -0.5, 0.25)") && SPEC.contains("y = (1.375, 0.375)"));
}

#[test]
fn the_example_of_a_bit_is_where_the_packer_puts_it() {
    let geometry = Geometry { height: 8, width: 8, channels: 70, filters: 40, groups: 1, window: Window::square(3) };
    let mut weights = vec![1.0; 40 * 9 * 70];
    weights[(21 * 9 + 5) * 70 + 37] = -1.0;
    let panels = bits::pack_bits(&geometry, &weights);
    let set: Vec<_> = panels.iter().enumerate().filter(|(_, word)| **word != 0).collect();
    assert_eq!(set, [(693, &(1 << 5))]);
    assert!(SPEC.contains("element 693") && SPEC.contains("[3, 9, 3, 16]"));
}
