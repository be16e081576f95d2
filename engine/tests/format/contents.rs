//! What a file holds: conformity with safetensors, alignment, determinism, and that it says what was put in.

use horq::error::{FileError, GraphError, InputError, TensorError};
use horq::graph::{Op, Shape};
use horq::ops::{Affine, AffineByOrder, CodebookDense, Dense, Int8Dense, Int8Quantize, MaxPool, Prelu, Relu};
use horq::{Builder, Error, Limits, Model, Padding, PlainValues, ScaleMode, Window};
use safetensors::SafeTensors;

use crate::forge::{Forge, data_start};
use crate::zoo::{every_op, every_op_input, noise, packed, small};

/// The model with every operation, golden values and notes. The answer is made up: nothing here runs the model.
fn full() -> Builder {
    let mut builder = every_op();
    builder.golden(&every_op_input(), &noise(19, 20)).note("accuracy", "99 %").note("licence", "MIT \"or\" Apache-2.0");
    builder
}

#[test]
fn a_file_is_a_conforming_safetensors_file_on_64_byte_boundaries() {
    let bytes = full().to_bytes("probabilities").unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(data_start(&bytes) % 64, 0);
    assert!(parsed.len() > 20);
    for (name, view) in parsed.tensors() {
        let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!((offset % 64, view.data().len() % 64), (0, 0), "{name}");
        match view.dtype() {
            safetensors::Dtype::F32 => assert_eq!(bytemuck::cast_slice::<f32, u8>(model.f32s(&name)), view.data()),
            _ => assert_eq!(bytemuck::cast_slice::<u32, u8>(model.u32s(&name)), view.data()),
        }
    }
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    assert_eq!(full().to_bytes("probabilities").unwrap(), full().to_bytes("probabilities").unwrap());
    let mut noted = small();
    noted.note("b", "2").note("a", "1");
    let mut reordered = small();
    reordered.note("a", "1").note("b", "2");
    assert_eq!(noted.to_bytes("logits").unwrap(), reordered.to_bytes("logits").unwrap());
}

#[test]
fn a_model_says_what_was_put_in() {
    let bytes = full().producer("a trainer 1.2").to_bytes("probabilities").unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    model.verify_digest().unwrap();
    assert_eq!(model.producer(), "a trainer 1.2");
    assert_eq!(model.version(), (1, 0));
    assert_eq!(model.notes()["accuracy"], "99 %");
    assert_eq!(model.notes()["licence"], "MIT \"or\" Apache-2.0");
    assert_eq!(model.file_len(), bytes.len());
    assert_eq!(model.input_shape(), Shape::Image { height: 9, width: 7, channels: 5 });
    assert_eq!(model.output_shape(), Shape::Flat(10));
    let golden = model.golden().unwrap();
    assert_eq!((golden.samples, golden.input(), golden.output()), (2, &every_op_input()[..], &noise(19, 20)[..]));

    let nodes = &model.graph().nodes;
    let shapes: Vec<_> = nodes.iter().map(|node| node.name.as_str()).zip(model.shapes().iter().copied()).collect();
    let image = |height, width, channels| Shape::Image { height, width, channels };
    assert_eq!(
        shapes,
        [
            ("stem", image(9, 7, 18)),
            ("norm", image(9, 7, 18)),
            ("act", image(9, 7, 18)),
            ("grouped", image(9, 7, 20)),
            ("two_bases", image(9, 7, 18)),
            ("sum", image(9, 7, 18)),
            ("by_order", image(9, 7, 18)),
            ("max", image(4, 3, 18)),
            ("mean", image(4, 3, 18)),
            ("both", image(4, 3, 36)),
            ("relu", image(4, 3, 36)),
            ("channels", Shape::Flat(36)),
            ("pixels", Shape::Flat(216)),
            ("features", Shape::Flat(252)),
            ("hidden", Shape::Flat(33)),
            ("signs", Shape::Flat(17)),
            ("logits", Shape::Flat(10)),
            ("probabilities", Shape::Flat(10)),
        ]
    );
    let Op::BinaryConv2d(conv) = &nodes[4].op else { panic!("{:?}", nodes[4]) };
    let (quantizer, bases) = (&conv.weights.quantizer, &conv.weights.bases);
    assert_eq!((conv.layout.pad_value, quantizer.order, quantizer.mode), (Padding::One, 2, ScaleMode::Fixed));
    assert_eq!(&model.f32s(quantizer.scales.as_ref().unwrap())[..3], [0.95, 0.42, 0.0]);
    assert_eq!(bases.len(), 2);
}

/// The shape and values of a tensor in plain order.
fn plain(model: &Model, tensor: &str) -> (Vec<usize>, PlainValues<'static>) {
    let plain = model.plain(tensor).unwrap_or_else(|| panic!("no tensor {tensor}"));
    (plain.shape, plain.values)
}

fn signs(values: &[f32]) -> PlainValues<'static> {
    values.iter().map(|&w| if w < 0.0 { -1.0 } else { 1.0 }).collect::<Vec<f32>>().into()
}

#[test]
fn tensors_unpack_to_what_was_put_in() {
    let model = Model::from_bytes(&full().to_bytes("probabilities").unwrap()).unwrap();
    let floats = |seed, len| PlainValues::from(noise(seed, len));
    assert_eq!(plain(&model, "stem.weight"), (vec![18, 3, 3, 5], floats(1, 18 * 45)));
    assert_eq!(plain(&model, "stem.bias"), (vec![18], floats(2, 18)));
    assert_eq!(plain(&model, "grouped.weight.0"), (vec![20, 3, 3, 9], signs(&noise(6, 20 * 81))));
    assert_eq!(plain(&model, "two_bases.weight.1"), (vec![18, 3, 3, 20], signs(&noise(10, 18 * 180))));
    assert_eq!(plain(&model, "two_bases.scales"), (vec![2], vec![0.95, 0.42].into()));
    assert_eq!(plain(&model, "by_order.shift.3"), (vec![18], floats(47, 18)));
    assert_eq!(plain(&model, "hidden.weight.0"), (vec![33, 1, 1, 252], signs(&noise(12, 33 * 252))));
    assert_eq!(plain(&model, "logits.weight"), (vec![10, 1, 1, 17], floats(16, 170)));

    let model = Model::from_bytes(&packed().to_bytes("logits").unwrap()).unwrap();
    let bytes = noise(31, 37 * 333).iter().map(|w| (w * 127.0) as i8).collect();
    assert_eq!(plain(&model, "bytes.weight"), (vec![37, 3, 3, 37], PlainValues::I8(bytes)));
    assert_eq!(plain(&model, "eight.input_scale"), (vec![1], vec![0.05].into()));
    assert_eq!(plain(&model, "signed.weight"), (vec![18, 3, 3, 37], signs(&noise(21, 18 * 333))));
    let codes = (0..34 * 81).map(|i| (i * 7 % 9) as u8).collect();
    assert_eq!(plain(&model, "nine.codes"), (vec![34, 3, 3, 9], PlainValues::Codes(codes)));
    assert_eq!(plain(&model, "nine.codebook"), (vec![9], floats(24, 9)));
}

#[test]
fn only_names_of_the_graph_have_values_and_shapes() {
    let model = Model::from_bytes(&full().to_bytes("probabilities").unwrap()).unwrap();
    assert_eq!(model.shape("image"), Some(Shape::Image { height: 9, width: 7, channels: 5 }));
    assert_eq!(model.shape("max"), Some(Shape::Image { height: 4, width: 3, channels: 18 }));
    assert_eq!(model.shape("stem.weight"), None);
    assert_eq!(model.plain("stem"), None);
    assert_eq!(model.plain("golden.input"), None);
}

#[test]
fn files_of_a_newer_minor_version_with_keys_unknown_are_read() {
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    forge.metadata.insert("format_version".into(), "1.7".into());
    forge.metadata.insert("something_new".into(), "x".into());
    let model = Model::from_bytes(&forge.seal()).unwrap();
    assert_eq!(model.version(), (1, 7));
}

#[test]
fn any_order_of_header_and_nullable_fields_is_read() {
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    forge.node("binary")["bias"] = serde_json::Value::Null;
    forge.tensors.reverse();
    let model = Model::from_bytes(&forge.seal()).unwrap();
    assert_eq!(model.f32s("stem.bias")[..3], noise(2, 3)[..]);
}

#[test]
fn the_builder_refuses_sources_that_do_not_fit() {
    fn add<'a>(builder: &mut Builder, op: impl Into<Op<PlainValues<'a>>>) -> Error {
        builder.add("y", &["x"], op).map(|_| ()).unwrap_err()
    }
    let mut builder = Builder::new("x", Shape::Flat(4));
    let short = add(&mut builder, Dense::new(2, &[0.0; 7]));
    assert!(
        matches!(&short, Error::Input(InputError::SourceLength { source_name, expected: 8, found: 7, .. }) if source_name == "weight"),
        "{short}"
    );
    let bias = add(&mut builder, Dense::new(2, &[0.0; 8]).bias(&[0.0; 3]));
    assert!(
        matches!(&bias, Error::Input(InputError::SourceLength { source_name, expected: 2, found: 3, .. }) if source_name == "bias"),
        "{bias}"
    );
    let int8 = |weight: &'static [i8], scale| {
        let quantize = Int8Quantize { scale, zero_point: 0 };
        Int8Dense::new(2, quantize, weight, &[1.0; 2])
    };
    let few = add(&mut builder, int8(&[1; 7], 1.0));
    assert!(
        matches!(&few, Error::Input(InputError::SourceLength { source_name, expected: 8, found: 7, .. }) if source_name == "weight"),
        "{few}"
    );
    let extreme = add(&mut builder, int8(&[0, 0, -128, 0, 0, 0, 0, 0], 1.0));
    assert!(matches!(extreme, Error::Tensor(TensorError::Int8Range { index: 2, .. })), "{extreme}");
    let scale = add(&mut builder, int8(&[1; 8], 0.0));
    assert!(matches!(scale, Error::Tensor(TensorError::InputScale { value: 0.0, .. })), "{scale}");
    let row = |scale: &'static [f32]| Affine::new(scale, &[0.0; 4]);
    let nan = [row(&[1.0; 4]), row(&[1.0, f32::NAN, 1.0, 1.0])];
    let nan = add(&mut builder, AffineByOrder::new("z", &nan));
    assert!(
        matches!(&nan, Error::Tensor(TensorError::NotFinite { tensor, index: 1, .. }) if tensor == "y.scale.1"),
        "{nan}"
    );
    let kind = add(&mut builder, Dense::new(2, &[0_i8; 8]));
    assert!(matches!(&kind, Error::Input(InputError::SourceKind { expected: "f32", found: "i8", .. })), "{kind}");
    let codes = |codes: &'static [u8]| CodebookDense::new(2, codes, &[0.5, -0.5]);
    let short = add(&mut builder, codes(&[0; 7]));
    assert!(
        matches!(&short, Error::Input(InputError::SourceLength { source_name, expected: 8, found: 7, .. }) if source_name == "codes"),
        "{short}"
    );
    let beyond = add(&mut builder, codes(&[0, 1, 0, 2, 0, 0, 0, 0]));
    assert!(matches!(beyond, Error::Tensor(TensorError::CodeBeyond { index: 3, code: 2, entries: 2, .. })), "{beyond}");
    let empty = add(&mut builder, CodebookDense::new(2, &[0_u8; 8], &[0.0; 0]));
    assert!(matches!(empty, Error::Graph(GraphError::CodebookEntries { entries: 0, .. })), "{empty}");
    let nan = add(&mut builder, Prelu::new(&[0.0, f32::NAN, 0.0, 0.0]));
    assert!(matches!(nan, Error::Tensor(TensorError::NotFinite { index: 1, .. })), "{nan}");
    let image = add(&mut builder, MaxPool::new(Window::square(2)));
    assert!(matches!(image, Error::Graph(GraphError::Rank { .. })), "{image}");
    // Nothing of the refused nodes is left.
    builder.add("y", &["x"], Relu).unwrap();
    assert_eq!(builder.shape("y"), Some(Shape::Flat(4)));
    let again = builder.add("y", &["x"], Relu).map(|_| ()).unwrap_err();
    assert!(matches!(again, Error::Graph(GraphError::DuplicateName { .. })), "{again}");
    assert!(matches!(builder.to_bytes("z"), Err(Error::Graph(GraphError::UnknownOutput { .. }))));
    for (input, output) in [(4, 3), (3, 4), (0, 0), (8, 4)] {
        builder.golden(&vec![0.0; input], &vec![0.0; output]);
        let error = builder.to_bytes("y").unwrap_err();
        assert!(matches!(error, Error::Input(InputError::GoldenLength { .. })), "{error}");
    }
}

#[test]
fn limits_can_be_lowered_but_not_raised() {
    let bytes = small().to_bytes("logits").unwrap();
    let refused = |limits: Limits| Model::from_bytes_with(&bytes, &limits).unwrap_err();
    let most = Limits::default();
    let file = refused(most.file_bytes(bytes.len() as u64 - 1));
    assert!(matches!(file, Error::File(FileError::FileTooLong { .. })), "{file}");
    let header = refused(most.header_bytes(100));
    assert!(matches!(header, Error::File(FileError::HeaderTooLong { limit: 100, .. })), "{header}");
    let nodes = refused(most.nodes(3));
    assert!(matches!(nodes, Error::Graph(GraphError::NodeCount { count: 4, limit: 3 })), "{nodes}");
    let values = refused(most.value_elements(63));
    assert!(matches!(values, Error::Graph(GraphError::ValueSize { elements: 64, limit: 63, .. })), "{values}");
    let all = Limits::new()
        .file_bytes(u64::MAX)
        .header_bytes(usize::MAX)
        .nodes(usize::MAX)
        .value_elements(usize::MAX)
        .session_bytes(usize::MAX);
    let mut huge = Forge::open(&bytes);
    huge.graph["input"]["shape"] = serde_json::json!([1 << 20, 1 << 20, 2]);
    let error = Model::from_bytes_with(&huge.seal(), &all).unwrap_err();
    assert!(matches!(error, Error::Graph(GraphError::ValueSize { limit: horq::MAX_VALUE_ELEMENTS, .. })), "{error}");
}
