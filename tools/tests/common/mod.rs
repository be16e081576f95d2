//! Runs the command and makes the files it reads.

#![allow(dead_code, reason = "each test file uses its own part")]

use horq::graph::Shape;
use horq::ops::{Affine, Basis, BinaryConv2d, BinaryDense, Conv2d, Dense, Flatten, GlobalAveragePool, Quantizer, Relu};
use horq::{Builder, Model, Order, Session, SessionOptions};
use horq_kernels::{Padding, ScaleMode, Window};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Asserts success with nothing on standard error.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Asserts an exit code and one error that holds all the words, and never a panic.
    pub(crate) fn fails(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "`{word}` is missing in: {}", self.err);
        }
    }

    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("one JSON document")
    }
}

/// The command with a known environment.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_horq"));
    command.args(args).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    for name in ["HORQ_ISA", "HORQ_REQUIRE_ISA", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn horq(args: &[&str]) -> Said {
    said(&mut command(args))
}

pub(crate) fn said(command: &mut Command) -> Said {
    let output = command.output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder of test files.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// 2x2 grey pixels to four classes: the answer is the brightest pixel.
    pub(crate) fn brightest(&self) -> String {
        self.write("brightest.horq", &brightest())
    }

    /// 32x32 pixels of three colours to the one there is most of; a note names the classes.
    pub(crate) fn named(&self) -> String {
        let identity: Vec<f32> = (0..9).map(|i| if i % 4 == 0 { 1.0 } else { 0.0 }).collect();
        let mut builder = Builder::new("pixels", Shape::Image { height: 32, width: 32, channels: 3 });
        builder.add("mean", &["pixels"], GlobalAveragePool).unwrap();
        builder.add("colour", &["mean"], Dense::new(3, &identity)).unwrap();
        builder.note("classes", "red, green, blue");
        self.write("named.horq", &builder.to_bytes("colour").unwrap())
    }

    /// A network with every kind of layer that matters here, an example and notes.
    pub(crate) fn network(&self) -> String {
        self.write("network.horq", &network(true))
    }
}

pub(crate) fn brightest() -> Vec<u8> {
    let identity: Vec<f32> = (0..16).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect();
    let mut builder = Builder::new("pixels", Shape::Image { height: 2, width: 2, channels: 1 });
    builder.add("flat", &["pixels"], Flatten).unwrap();
    builder.add("classes", &["flat"], Dense::new(4, &identity)).unwrap();
    builder.to_bytes("classes").unwrap()
}

/// Numbers between -1 and 1.
pub(crate) fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i + 1) as f64 * (0.618_033_988_749_895 + 0.01 * seed as f64)).fract() as f32 * 2.0 - 1.0)
        .collect()
}

/// conv2d 3x3 to 8 channels, affine, relu, binary_conv2d (order 3, window) to 24 channels at stride 2, flatten,
/// binary_dense (order 2, image, two bases) to 40, dense to 5.
pub(crate) fn network_builder() -> Builder {
    let mut builder = Builder::new("image", Shape::Image { height: 8, width: 8, channels: 3 });
    let window = Window::square(3).with_padding(1);
    let conv = Conv2d::new(window, 8, noise(8 * 27, 1)).bias(noise(8, 2));
    builder.add("conv1", &["image"], conv).unwrap();
    builder.add("norm1", &["conv1"], Affine::new(&[0.5; 8], noise(8, 3))).unwrap();
    builder.add("relu1", &["norm1"], Relu).unwrap();
    let base = Basis::new(noise(24 * 72, 4), &[0.1; 24]);
    let quantize = Quantizer::new(Order::new(3).unwrap(), ScaleMode::Window);
    let (window, pad_value) = (window.with_stride(2), Padding::ValidTaps);
    let conv = BinaryConv2d::new(window, 24, quantize, &[base]).pad_value(pad_value);
    builder.add("conv2", &["relu1"], conv).unwrap();
    builder.add("flat", &["conv2"], Flatten).unwrap();
    let weights = [noise(40 * 384, 5), noise(40 * 384, 6)];
    let bases = [&weights[0], &weights[1]].map(|weight| Basis::new(weight, &[0.05; 40]));
    let quantize = Quantizer::new(Order::new(2).unwrap(), ScaleMode::Image);
    let dense = BinaryDense::new(40, quantize, &bases).bias(noise(40, 7));
    builder.add("fc1", &["flat"], dense).unwrap();
    builder.add("fc2", &["fc1"], Dense::new(5, noise(200, 8))).unwrap();
    builder.producer("horq tests").note("accuracy", "none to speak of").note("source", "noise");
    builder
}

pub(crate) fn network(golden: bool) -> Vec<u8> {
    let mut builder = network_builder();
    if golden {
        let input = noise(2 * 192, 9);
        let output = answers(&builder.to_bytes("fc2").unwrap(), &input);
        builder.golden(&input, &output);
    }
    builder.to_bytes("fc2").unwrap()
}

/// What a model answers, by the library.
pub(crate) fn answers(model: &[u8], input: &[f32]) -> Vec<f32> {
    let mut session = Session::new(&Model::from_bytes(model).unwrap(), SessionOptions::new().batch(64)).unwrap();
    let mut output = vec![0.0; input.len() / session.input_len() * session.output_len()];
    session.run(input, &mut output).unwrap();
    output
}

/// The bytes of an npy file.
pub(crate) fn npy(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    header += &" ".repeat(63 - (header.len() + 10) % 64);
    header += "\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn npy_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    npy("<f4", shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

/// The bytes of an IDX file.
pub(crate) fn idx(shape: &[usize], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|&size| bytes.extend((size as u32).to_be_bytes()));
    bytes.extend(data);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The bytes of a PNG image, 8 bits a channel.
pub(crate) fn png(color: png::ColorType, size: [u32; 2], pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size[1], size[0]);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    bytes
}

/// A file of the repository, if the checkout has it.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
