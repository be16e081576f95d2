//! Tensors of every type, as bytes and as fields.

use crate::net::{Net, floats, ints, small};
use horq_import::graph::{Data, ElementType};
use horq_import::onnx::schema::Tensor;

fn raw(code: i32, dims: &[i64], bytes: &[u8]) -> Tensor {
    Tensor { dims: dims.to_vec(), data_type: Some(code), raw_data: Some(bytes.to_vec().into()), ..Tensor::default() }
}

fn read(tensor: Tensor) -> horq_import::graph::Tensor {
    Net::new(13).constant("y", tensor).output("y").value()
}

fn doubles(tensor: Tensor) -> Vec<f64> {
    read(tensor).doubles().into_iter().collect()
}

#[test]
fn every_type_has_its_values() {
    assert_eq!(doubles(raw(1, &[2], &[0, 0, 128, 63, 0, 0, 0, 192])), [1., -2.]);
    assert_eq!(doubles(raw(10, &[2], &[0, 0x3c, 0, 0xc0])), [1., -2.]);
    assert_eq!(doubles(raw(16, &[2], &[0x80, 0x3f, 0, 0xc0])), [1., -2.]);
    assert_eq!(doubles(raw(11, &[1], &1.5f64.to_le_bytes())), [1.5]);
    assert_eq!(doubles(raw(3, &[2], &[255, 127])), [-1., 127.]);
    assert_eq!(doubles(raw(2, &[2], &[255, 127])), [255., 127.]);
    assert_eq!(doubles(raw(5, &[1], &(-300i16).to_le_bytes())), [-300.]);
    assert_eq!(doubles(raw(4, &[1], &65000u16.to_le_bytes())), [65000.]);
    assert_eq!(doubles(raw(6, &[1], &(-70000i32).to_le_bytes())), [-70000.]);
    assert_eq!(doubles(raw(12, &[1], &4_000_000_000u32.to_le_bytes())), [4e9]);
    assert_eq!(doubles(raw(7, &[1], &(-5i64).to_le_bytes())), [-5.]);
    assert_eq!(doubles(raw(13, &[1], &5u64.to_le_bytes())), [5.]);
    assert_eq!(doubles(raw(9, &[3], &[0, 1, 1])), [0., 1., 1.]);
    // Two in a byte, the first in its low half.
    assert_eq!(doubles(raw(22, &[3], &[0x8f, 0x07])), [-1., -8., 7.]);
    assert_eq!(doubles(raw(21, &[3], &[0x8f, 0x07])), [15., 8., 7.]);
    assert_eq!(doubles(small(10, &[2], &[0x3c00, 0xc000])), [1., -2.]);
    assert_eq!(doubles(small(16, &[2], &[0x3f80, 0xc000])), [1., -2.]);
    assert_eq!(doubles(small(3, &[2], &[-1, 127])), [-1., 127.]);
    assert_eq!(doubles(small(9, &[2], &[0, 1])), [0., 1.]);
    let double = Tensor { dims: vec![1], data_type: Some(11), double_data: vec![0.1], ..Tensor::default() };
    assert_eq!(doubles(double), [0.1]);
    let unsigned = Tensor { dims: vec![1], data_type: Some(12), uint64_data: vec![7], ..Tensor::default() };
    let unsigned = read(unsigned);
    assert_eq!((unsigned.element, &unsigned.data), (ElementType::UInt32, &Data::Int(ndarray::arr1(&[7]).into_dyn())));
}

#[test]
fn sizes_are_checked() {
    let refused = |tensor: Tensor, word: &str| {
        let refusals = Net::new(13).constant("weights", tensor).output("weights").refusals();
        assert!(
            refusals.iter().any(|refusal| refusal.place == "weights" && refusal.reason.contains(word)),
            "{refusals:?}"
        );
    };
    refused(raw(1, &[3], &[0; 8]), "8 bytes");
    refused(floats(&[3], &[1., 2.]), "2 stored elements");
    refused(ints(&[]).tap(|tensor| tensor.dims = vec![-1]), "negative");
    refused(ints(&[]).tap(|tensor| tensor.dims = vec![i64::MAX, i64::MAX]), "too many");
    refused(ints(&[]).tap(|tensor| tensor.dims = vec![1; 40]), "40 axes");
    refused(small(3, &[1], &[200]), "200");
    refused(raw(13, &[1], &u64::MAX.to_le_bytes()), "2^63");
    for (code, word) in [(0, "no type"), (8, "texts"), (14, "complex"), (17, "8 bits"), (23, "4 bits"), (99, "99")] {
        refused(raw(code, &[1], &[0]), word);
    }
    assert!(read(ints(&[]).tap(|tensor| tensor.dims = vec![0, i64::from(u32::MAX)])).is_empty());
}

trait Tap: Sized {
    /// The same, changed.
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Tensor {}
