//! How kinds of files begin.
//!
//! Sources: the formats' own specifications, and the table of `file` (magic) for those without one.

use super::foreign::{FileGroup, FileKind};

/// How a kind of file begins.
pub(super) struct Signature {
    /// Any of these, letters in either case, behind white space.
    pub(super) starts: &'static [&'static [u8]],
    pub(super) kind: FileKind,
}

const fn of(starts: &'static [&'static [u8]], name: &'static str, group: FileGroup) -> Signature {
    Signature { starts, kind: FileKind { name, group } }
}

const DECOMPRESS: FileGroup = FileGroup::Stand("decompress it first");
const UNPACK: FileGroup = FileGroup::Stand("unpack it first and name the file in it");
const PAGE: FileGroup = FileGroup::Stand("download the file that the page shows; some pages ask to log in first");

pub(super) const SIGNATURES: &[Signature] = &[
    of(
        &[b"version https://git-lfs", b"version https://hawser"],
        "a Git LFS pointer",
        FileGroup::Stand("fetch what it stands for with `git lfs pull`"),
    ),
    of(
        &[b"/annex/objects/", b"../.git/annex/", b".git/annex/"],
        "a git-annex pointer",
        FileGroup::Stand("fetch what it stands for with `git annex get`"),
    ),
    of(
        &[b"outs:\n- md5:", b"outs:\r\n- md5:"],
        "a DVC pointer",
        FileGroup::Stand("fetch what it stands for with `dvc pull`"),
    ),
    of(&[b"<!doctype html", b"<html", b"<head", b"<body"], "a web page", PAGE),
    of(
        &[b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"],
        "a Python pickle, as old .pt and .pth files are",
        FileGroup::Network,
    ),
    of(&[b"\x89HDF\r\n\x1a\n"], "an HDF5 file, as Keras writes them", FileGroup::Network),
    of(&[b"GGUF"], "a GGUF file", FileGroup::Network),
    of(&[b"lmgg", b"tjgg", b"fmgg"], "a GGML file", FileGroup::Network),
    of(&[b"ptrt", b"ftrt"], "a TensorRT engine", FileGroup::Network),
    of(&[b"7767517\n", b"7767517\r\n"], "the layers of an ncnn network", FileGroup::Network),
    of(&[b"\x93NUMPY"], "a NumPy array", FileGroup::Data),
    of(&[b"\x89PNG\r\n\x1a\n"], "a PNG picture", FileGroup::Data),
    of(&[b"\xff\xd8\xff"], "a JPEG picture", FileGroup::Data),
    of(&[b"GIF87a", b"GIF89a"], "a GIF picture", FileGroup::Data),
    of(&[b"II*\0", b"MM\0*"], "a TIFF picture", FileGroup::Data),
    of(&[b"P5\n", b"P6\n", b"P5 ", b"P6 "], "a PNM picture", FileGroup::Data),
    of(&[b"MATLAB 5.0 MAT-file"], "a MATLAB file", FileGroup::Data),
    of(&[b"PAR1"], "a Parquet file", FileGroup::Data),
    of(&[b"ARROW1"], "an Arrow file", FileGroup::Data),
    of(&[b"\x1f\x8b"], "compressed with gzip", DECOMPRESS),
    of(&[b"\x28\xb5\x2f\xfd"], "compressed with zstd", DECOMPRESS),
    of(&[b"\xfd7zXZ\0"], "compressed with xz", DECOMPRESS),
    of(&[b"BZh"], "compressed with bzip2", DECOMPRESS),
    of(&[b"\x04\x22\x4d\x18"], "compressed with lz4", DECOMPRESS),
    of(&[b"\x5d\0\0\x80\0", b"\x5d\0\0\x40\0"], "compressed with lzma", DECOMPRESS),
    of(&[b"7z\xbc\xaf\x27\x1c"], "a 7z archive", UNPACK),
    of(&[b"Rar!\x1a\x07"], "a RAR archive", UNPACK),
    of(&[b"SQLite format 3\0"], "an SQLite database", FileGroup::Other),
    of(&[b"\x7fELF", b"MZ\x90\0", b"\xcf\xfa\xed\xfe"], "a program or a library", FileGroup::Other),
    of(&[b"%PDF-"], "a PDF document", FileGroup::Other),
    of(
        &[b"age-encryption.org/", b"-----BEGIN "],
        "encrypted, a key or a signature",
        FileGroup::Stand("name the file itself, decrypted"),
    ),
];

/// What a zip or tar archive holds, by its first entry's name.
pub(super) fn archive(first: &[u8]) -> Option<FileKind> {
    let made = |name, group| Some(FileKind { name, group });
    if first.get(257..262) == Some(b"ustar") {
        return made("a tar archive", UNPACK);
    }
    if first.starts_with(b"PK\x05\x06") {
        return made("an empty zip archive", UNPACK);
    }
    if !first.starts_with(b"PK\x03\x04") {
        return None;
    }
    let len = first.get(26..28).map_or(0, |len| usize::from(u16::from_le_bytes([len[0], len[1]])));
    let entry = first.get(30..).map(|rest| rest.get(..len).unwrap_or(rest)).unwrap_or_default();
    let is_in = |word: &[u8]| entry.windows(word.len()).any(|found| found == word);
    match entry {
        _ if entry.ends_with(b".horq") => made("a zip archive with a .horq file", UNPACK),
        _ if entry.ends_with(b".npy") => made("a NumPy archive of arrays (.npz)", FileGroup::Data),
        _ if is_in(b"/data.pkl") || is_in(b"/version") || is_in(b"/byteorder") || is_in(b"/.format_version") => {
            made("a PyTorch file (.pt, .pth)", FileGroup::Network)
        }
        b"metadata.json" | b"config.json" | b"model.weights.h5" => made("a Keras file (.keras)", FileGroup::Network),
        _ => made("a zip archive, as PyTorch's .pt and .pth files are", FileGroup::Network),
    }
}

/// Kinds that are told by bytes further inside.
pub(super) fn inside(first: &[u8]) -> Option<FileKind> {
    let made = |name, group| Some(FileKind { name, group });
    match *first {
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => made("a TensorFlow Lite file", FileGroup::Network),
        [_, _, _, _, b'E', b'T', b'1', b'0'..=b'9', ..] => made("an ExecuTorch file", FileGroup::Network),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => made("a WebP picture", FileGroup::Data),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => made("a WAV recording", FileGroup::Data),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => made("a BMP picture", FileGroup::Data),
        [0, 0, 0, _, b'f', b't', b'y', b'p', ..] => made("an HEIC or AVIF picture, or a film", FileGroup::Data),
        [0, 0, 0x08..=0x0e, 1..=4, 0, ..] => made("an IDX file, as those of MNIST", FileGroup::Data),
        // Protocol buffers have no magic number: field 1, the version, then one of the fields that writers put second. In ONNX
        // field 2 is a name; in the others it is a message, which begins with a field.
        [0x08, version @ 1..=0x1f, 0x12, len, next, ..] if len > 0 && !next.is_ascii_graphic() => match version {
            1 => made("a TensorFlow SavedModel or Core ML file", FileGroup::Network),
            _ => made("a Core ML file", FileGroup::Network),
        },
        [0x08, 1..=0x1f, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => made("an ONNX file", FileGroup::Onnx),
        // Field 1, a message that begins with a name.
        [0x0a, len @ 4..=0x7f, 0x0a, name, letter, ..]
            if name > 0 && name < len && (letter.is_ascii_alphabetic() || letter == b'^') =>
        {
            made("a TensorFlow graph", FileGroup::Network)
        }
        _ => None,
    }
}

/// What kind of text it is; `None` for what is none. `text` has no white space at its start.
pub(super) fn text(text: &[u8]) -> Option<FileKind> {
    let made = |name, group| Some(FileKind { name, group });
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return made("text in UTF-16", FileGroup::Text);
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // The last character may be cut.
    let readable = match str::from_utf8(text) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
        Err(_) => return None,
    };
    // A few letters may be anything's.
    let is_text = readable.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b'));
    if !is_text || readable.len() < 5 {
        return None;
    }
    let lower = readable.to_ascii_lowercase();
    match readable.as_bytes()[0] {
        b'<' if lower.contains("<html") || lower.contains("<!doctype html") => made("a web page", PAGE),
        b'<' if lower.contains("<net ") => made("a network of OpenVINO (.xml)", FileGroup::Network),
        b'<' if lower.contains("<error>") || lower.contains("<code>") => {
            made("an error message of a server", FileGroup::Stand("read what it says, and download the file again"))
        }
        b'<' => made("XML text", FileGroup::Text),
        b'{' | b'[' => made("JSON text", FileGroup::Text),
        _ if lower.starts_with("ir_version") => made("an ONNX network as text", FileGroup::Network),
        _ => made("text", FileGroup::Text),
    }
}
