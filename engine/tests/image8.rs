//! 8-bit images on binary weights: eight planes of fixed scales give exact integers.

mod common;

use common::{isas, options};
use horq::error::{GraphError, TensorError};
use horq::graph::Shape;
use horq::ops::{Basis, BinaryConv2d, Quantizer};
use horq::{Builder, Error, Model, Padding, Session, Window};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Every byte, as itself and as a fraction, times both signs.
#[test]
fn every_byte_is_exact() {
    for white in [255.0, 1.0, 0.5] {
        let mut builder = Builder::new("x", Shape::Image { height: 16, width: 16, channels: 1 });
        builder.add_image8("odd", "x", white).unwrap();
        let base = Basis::new(&[1.0, -1.0], &[1.0, 1.0]);
        let (window, pad_value, quantize) = (Window::square(1), Padding::ValidTaps, Quantizer::image8());
        let layer = BinaryConv2d::new(window, 2, quantize, &[base]).pad_value(pad_value);
        let model = Model::from_bytes(&builder.add("y", &["odd"], layer).unwrap().to_bytes("y").unwrap()).unwrap();
        let image: Vec<f32> = (0..=255u8).map(|byte| f32::from(byte) / 255.0 * white).collect();
        let expected: Vec<f32> = (0..256).flat_map(|byte| [2 * byte - 255, 255 - 2 * byte]).map(|y| y as f32).collect();
        for isa in isas() {
            assert_eq!(common::run(&mut Session::new(&model, options(1, isa)).unwrap(), &image), expected, "{isa}");
        }
    }
}

/// Whole stems against integer arithmetic, for both meanings of a padded tap.
#[test]
fn stems_on_bytes_are_integer_arithmetic() {
    for (seed, channels, filters, window) in [
        (1, 3, 20, Window::square(7).with_padding(3).with_stride(2)),
        (2, 3, 33, Window::square(3).with_padding(1)),
        (3, 48, 16, Window { dilation: [1, 2], ..Window::square(3) }),
    ] {
        let rng = &mut StdRng::seed_from_u64(seed);
        let (height, width) = (13, 11);
        let image: Vec<u8> = (0..height * width * channels).map(|_| rng.random()).collect();
        let weight: Vec<f32> = (0..filters * window.taps() * channels).map(|_| rng.random_range(-1.0..1.0)).collect();
        let alpha = vec![1.0; filters];
        let [rows, columns] = window.output(height, width).unwrap();
        for (pad_value, padded) in [(Padding::ValidTaps, 0), (Padding::One, 255)] {
            let mut expected = Vec::new();
            for at in 0..rows * columns * filters {
                let (y, x, filter) = (at / filters / columns, at / filters % columns, at % filters);
                let mut sum = 0i64;
                for tap in 0..window.taps() {
                    let (i, j) = (tap / window.kernel[1], tap % window.kernel[1]);
                    let row = (y * window.stride[0] + i * window.dilation[0]).checked_sub(window.padding[0]);
                    let column = (x * window.stride[1] + j * window.dilation[1]).checked_sub(window.padding[1]);
                    for c in 0..channels {
                        let pixel = match (row, column) {
                            (Some(row), Some(column)) if row < height && column < width => {
                                2 * i64::from(image[(row * width + column) * channels + c]) - 255
                            }
                            _ => padded,
                        };
                        let negative = weight[(filter * window.taps() + tap) * channels + c] < 0.0;
                        sum += if negative { -pixel } else { pixel };
                    }
                }
                expected.push(sum as f32);
            }
            let mut builder = Builder::new("x", Shape::Image { height, width, channels });
            builder.add_image8("odd", "x", 255.0).unwrap();
            let (base, quantize) = (Basis::new(&weight, &alpha), Quantizer::image8());
            let layer = BinaryConv2d::new(window, filters, quantize, &[base]).pad_value(pad_value);
            builder.add("y", &["odd"], layer).unwrap();
            let model = Model::from_bytes(&builder.to_bytes("y").unwrap()).unwrap();
            let input: Vec<f32> = image.iter().copied().map(f32::from).collect();
            for isa in isas() {
                let answer = common::run(&mut Session::new(&model, options(1, isa)).unwrap(), &input);
                assert_eq!(answer, expected, "{isa}, {channels} channels, {pad_value:?}");
            }
        }
    }
}

#[test]
fn white_must_be_a_number_to_divide_by() {
    for white in [0.0, f32::NAN, f32::INFINITY, 1e-40] {
        let mut builder = Builder::new("x", Shape::Flat(3));
        let error = builder.add_image8("odd", "x", white).map(drop).unwrap_err();
        assert!(matches!(error, Error::Tensor(TensorError::NotFinite { .. })), "{white}: {error}");
    }
    let error = Builder::new("x", Shape::Flat(3)).add_image8("odd", "z", 255.0).map(drop).unwrap_err();
    assert!(matches!(error, Error::Graph(GraphError::UnknownInput { .. })), "{error}");
}
