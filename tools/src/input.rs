//! Inputs from files: `.npy` arrays, PNG images, IDX data sets and CIFAR-10 batches (also gzipped), told apart by what is
//! in them.

mod cifar;
mod idx;
mod layout;
mod npy;
mod png;

pub(crate) use layout::{Arrangement, Layout};

use crate::failure::Failure;
use flate2::bufread::MultiGzDecoder;
use horq::{FileGroup, FileKind};
use std::fs::{self, File, FileType};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The most values a file may hold; a header that claims more is refused before anything is read.
const MAX_VALUES: usize = 1 << 31;

/// An array as its file holds it.
#[derive(Debug)]
pub(crate) struct Array {
    /// What the file is, for messages: "an npy array", "a PNG image".
    pub(crate) kind: &'static str,
    /// The size of each axis.
    pub(crate) dims: Vec<usize>,
    /// The distance, in values, between neighbours along each axis.
    pub(crate) strides: Vec<usize>,
    /// All values, in the file's order.
    pub(crate) values: Values,
    /// The class of each sample, where the file holds them beside the values.
    pub(crate) labels: Option<Vec<u8>>,
}

/// The values of an [`Array`].
#[derive(Debug, PartialEq)]
pub(crate) enum Values {
    /// Bytes, as images have them: 0 to 255.
    U8(Vec<u8>),
    /// Single precision.
    F32(Vec<f32>),
}

impl Values {
    /// The values from `start` on, `step` apart, one for each of `out`.
    pub(crate) fn gather(&self, start: usize, step: usize, out: &mut [f32]) {
        match self {
            Self::U8(values) => {
                out.iter_mut().zip(values[start..].iter().step_by(step)).for_each(|(o, &v)| *o = v.into());
            }
            Self::F32(values) => {
                out.iter_mut().zip(values[start..].iter().step_by(step)).for_each(|(o, &v)| *o = v);
            }
        }
    }
}

impl Array {
    /// An array in row-major order.
    fn row_major(kind: &'static str, dims: Vec<usize>, values: Values) -> Self {
        Self { kind, strides: strides(&dims), dims, values, labels: None }
    }

    /// Its sizes as text: "10x28x28".
    pub(crate) fn sizes(&self) -> String {
        sizes(&self.dims)
    }
}

/// Row-major strides; the product of `dims` has been checked.
fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Sizes as text.
pub(crate) fn sizes(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "a single value".into();
    }
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// The number of values that `dims` asks for, if a file may hold that many.
fn count(dims: &[usize]) -> Result<usize, String> {
    dims.iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&count| count <= MAX_VALUES)
        .ok_or_else(|| format!("its header asks for {} values, more than {MAX_VALUES}; split the file", sizes(dims)))
}

/// Exactly `len` bytes, with no more memory than the file really fills.
fn read_exactly(reader: &mut dyn BufRead, len: usize, what: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.take(len as u64).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() < len {
        return Err(format!("is cut short: {what} takes {len} bytes, the file has {}; copy it again", bytes.len()));
    }
    Ok(bytes)
}

/// Refuses bytes after the end of the data.
fn expect_end(reader: &mut dyn BufRead) -> Result<(), String> {
    let rest = reader.fill_buf().map_err(|error| format!("cannot be read: {error}"))?;
    if rest.is_empty() { Ok(()) } else { Err("has bytes after the end of its data; write it again".into()) }
}

/// Opens a file or a pipe for reading; a directory is refused, and a device, which may never end.
fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let fail = |error| Failure::file(path, format_args!("cannot be opened: {error}"));
    let kind = fs::metadata(path).map_err(fail)?.file_type();
    if kind.is_dir() {
        return Err(Failure::file(path, "is a directory; name the files in it"));
    }
    if !kind.is_file() && !is_pipe(kind) {
        return Err(Failure::file(path, "is a device or socket; name a file or a pipe"));
    }
    File::open(path).map(BufReader::new).map_err(fail)
}

#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_pipe(_kind: FileType) -> bool {
    false
}

/// Reads an array or image.
pub(crate) fn read(path: &Path) -> Result<Array, Failure> {
    let mut reader = open(path)?;
    decode(&mut reader, true).map_err(|message| Failure::file(path, message))
}

/// Reads a whole file, gzipped or not.
pub(crate) fn decode(reader: &mut dyn BufRead, unzip: bool) -> Result<Array, String> {
    // A buffer holds at least these few bytes after one read, unless the file is shorter.
    match reader.fill_buf().map_err(|error| format!("cannot be read: {error}"))? {
        [] => Err("is empty; write or copy it again".into()),
        [0x1f, 0x8b, ..] if unzip => decode(&mut BufReader::new(MultiGzDecoder::new(reader)), false),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy::decode(reader),
        [0x89, b'P', b'N', b'G', ..] => png::decode(reader),
        [0, 0, 0x08..=0x0e, ..] => idx::decode(reader),
        start => {
            let kind = FileKind::of(start);
            // A batch may begin with any bytes, so it is told by its length first.
            cifar::decode(reader)?.ok_or_else(|| foreign(kind))
        }
    }
}

/// Why a file is no input.
fn foreign(kind: Option<FileKind>) -> String {
    let Some(kind) = kind else {
        return "is neither an npy array, a PNG image, an IDX file nor a CIFAR-10 batch (plain or gzipped); convert it"
            .into();
    };
    let name = kind.to_string();
    let advice = match kind.group() {
        FileGroup::Stand(remedy) => remedy,
        FileGroup::Safetensors | FileGroup::Network | FileGroup::Onnx => "name the model first and its inputs after it",
        FileGroup::Data if name.contains("npz") => "save each array of it with numpy.save",
        FileGroup::Data if name.ends_with("picture") => "save it as PNG, or its pixels with numpy.save",
        _ => "npy arrays, PNG images, IDX files and CIFAR-10 batches can be read (plain or gzipped): convert it",
    };
    format!("is {name}, which is no input; {advice}")
}

/// Reads labels: an IDX file of one byte a sample, or those of a CIFAR-10 batch.
pub(crate) fn read_labels(path: &Path) -> Result<Vec<u8>, Failure> {
    let array = read(path)?;
    match array {
        Array { labels: Some(labels), .. } => Ok(labels),
        Array { kind: idx::KIND, ref dims, values: Values::U8(labels), .. } if dims.len() == 1 => Ok(labels),
        Array { kind, ref dims, .. } => Err(Failure::file(
            path,
            format_args!(
                "is {kind} of {}, not a list of labels; name the IDX file with one byte a sample, or the CIFAR-10 batch",
                sizes(dims)
            ),
        )),
    }
}
