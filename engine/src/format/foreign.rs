//! Files of other kinds that people take for a `.horq` file, by their first bytes.

use crate::Error;
use crate::error::FileError;

/// How a kind of file begins, what it is, and what to do with it.
struct Kind {
    starts: &'static [&'static [u8]],
    found: &'static str,
    advice: &'static str,
}

const DOWNLOAD: &str = "download the file that the page shows";
const DECOMPRESS: &str = "decompress it first";
const EXPORT: &str = "load it where it was made and export it with horq";

const KINDS: &[Kind] = &[
    Kind {
        starts: &[b"version https://git-lfs"],
        found: "a Git LFS pointer",
        advice: "fetch what it stands for with `git lfs pull`",
    },
    Kind { starts: &[b"<!doctype", b"<html", b"<?xml"], found: "a web page", advice: DOWNLOAD },
    Kind { starts: &[b"PK\x03\x04"], found: "a zip archive, as PyTorch's .pt and .pth files are", advice: EXPORT },
    Kind { starts: &[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"], found: "a Python pickle", advice: EXPORT },
    Kind { starts: &[b"\x89HDF"], found: "an HDF5 file, as Keras writes them", advice: EXPORT },
    Kind {
        starts: &[b"\x93NUMPY", b"\x89PNG", b"\xff\xd8\xff"],
        found: "an array or a picture",
        advice: "give a model here, and this file where inputs are asked for",
    },
    Kind { starts: &[b"GGUF"], found: "a GGUF file", advice: EXPORT },
    Kind { starts: &[b"\x1f\x8b"], found: "compressed with gzip", advice: DECOMPRESS },
    Kind { starts: &[b"\x28\xb5\x2f\xfd"], found: "compressed with zstd", advice: DECOMPRESS },
    Kind { starts: &[b"\xfd7zXZ\0"], found: "compressed with xz", advice: DECOMPRESS },
    Kind { starts: &[b"BZh"], found: "compressed with bzip2", advice: DECOMPRESS },
];

/// Refuses a file that is empty or known to be something else. No `.horq` file is: its bytes 3 to 8 are zero and a brace.
pub(super) fn check(first: &[u8]) -> Result<(), Error> {
    let refuse = |found, advice| Err(FileError::OtherFormat { found, advice }.into());
    if first.is_empty() {
        return refuse("empty", "copy or export it again");
    }
    if first.get(3..9) == Some(b"\0\0\0\0\0{") {
        return Ok(());
    }
    // Pages often begin with empty lines, and tags come in either case.
    let text = first.trim_ascii_start();
    let begins = |start: &[u8]| text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    if let Some(kind) = KINDS.iter().find(|kind| kind.starts.iter().any(|start| begins(start))) {
        return refuse(kind.found, kind.advice);
    }
    match *first {
        [b'{', ..] | [b'[', ..] => refuse("JSON text", EXPORT),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => refuse("a TensorFlow Lite file", EXPORT),
        // Protocol buffers have no magic number: field 1, the version, then one of the fields that writers put second.
        [0x08, 1..=0x1f, 0x12 | 0x1a | 0x22 | 0x32 | 0x3a | 0x42, ..] => refuse("an ONNX file", EXPORT),
        _ => Ok(()),
    }
}
