//! The tensors of a file, by name.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::Dtype;

use super::Memory;

/// The bytes of a file and the places of its tensors.
pub(crate) struct Tensors {
    memory: Memory,
    /// Where the data starts in the file.
    data_start: usize,
    /// Type and place of each tensor, its bytes counted from the start of the data.
    places: HashMap<String, (Dtype, Range<usize>)>,
    /// Whether all values were checked. Two threads may find that they were not, and both check them.
    checked: AtomicBool,
}

impl Tensors {
    pub(crate) fn new(memory: Memory, data_start: usize, places: HashMap<String, (Dtype, Range<usize>)>) -> Self {
        Self { memory, data_start, places, checked: AtomicBool::new(false) }
    }

    /// Checks all values by `check`, unless that was done.
    pub(crate) fn check_once<E>(&self, check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if !self.checked.load(Ordering::Acquire) {
            check()?;
            self.checked.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The memory of the file.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The values of a float tensor; panics if there is none of that name.
    pub(crate) fn f32s(&self, name: &str) -> &[f32] {
        bytemuck::cast_slice(self.typed(name, Dtype::F32))
    }

    /// The words of a tensor of bit or code panels; panics if there is none of that name.
    pub(crate) fn u32s(&self, name: &str) -> &[u32] {
        bytemuck::cast_slice(self.typed(name, Dtype::U32))
    }

    /// The bytes of a tensor of 8-bit panels; panics if there is none of that name.
    pub(crate) fn i8s(&self, name: &str) -> &[i8] {
        bytemuck::cast_slice(self.typed(name, Dtype::I8))
    }

    fn typed(&self, name: &str, expected: Dtype) -> &[u8] {
        match self.places.get(name) {
            Some((dtype, _)) if *dtype == expected => self.bytes(name),
            _ => panic!("the model has no {expected} tensor `{name}`; take names from its graph"),
        }
    }

    /// The bytes of a tensor that is there.
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        &self.data()[self.places[name].1.clone()]
    }

    /// The bytes of all tensors.
    pub(crate) fn data(&self) -> &[u8] {
        &self.memory.bytes()[self.data_start..]
    }

    /// Bytes of the file up to its data.
    pub(crate) fn data_start(&self) -> usize {
        self.data_start
    }

    /// The file's bytes.
    pub(crate) fn file(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// Brings all pages of a mapped file into memory.
    pub(crate) fn prefault(&self) {
        self.memory.prefault();
    }
}

/// The elements of a tensor to be written; a whole number of lines.
#[derive(Clone, Debug)]
pub(crate) enum TensorData {
    F32(Vec<f32>),
    U32(Vec<u32>),
    I8(Vec<i8>),
}

impl TensorData {
    pub(crate) fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::U32(_) => "U32",
            Self::I8(_) => "I8",
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::U32(words) => bytemuck::cast_slice(words),
            Self::I8(bytes) => bytemuck::cast_slice(bytes),
        }
    }
}
