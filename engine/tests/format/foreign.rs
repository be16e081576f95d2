//! Files of other kinds, and `.horq` files that something changed on their way: each way to a model says what they are and
//! what to do.

use std::collections::BTreeMap;

use horq::error::FileError;
use horq::{Error, FileGroup, FileKind, Limits, Model};

use crate::forge::{Forge, data_start};
use crate::zoo::small;

/// Bytes, what the message must call them, and what it must advise.
type Case = (Vec<u8>, &'static str, &'static str);

fn padded(first: &[u8]) -> Vec<u8> {
    [first, &[0xf5; 700]].concat()
}

/// A zip archive's first entry: 30 bytes with the name's length, and the name.
fn zip(entry: &str) -> Vec<u8> {
    let mut head = [0; 30];
    head[..4].copy_from_slice(b"PK\x03\x04");
    head[26] = entry.len() as u8;
    padded(&[&head[..], entry.as_bytes()].concat())
}

fn tar() -> Vec<u8> {
    let mut head = vec![0; 1024];
    head[..10].copy_from_slice(b"model.horq");
    head[257..262].copy_from_slice(b"ustar");
    head
}

fn others() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        // What a download leaves in place of the file.
        (vec![], "empty", "again"),
        (vec![0; 100], "filled with zeros", "again"),
        (padded(b"<!DOCTYPE html>\n<html>"), "web page", "download the file that"),
        (padded(b"\n\n  <!doctype HTML>"), "web page", "download the file that"),
        (text("<html lang=\"en\">"), "web page", "download the file that"),
        (text("<?xml version=\"1.0\"?>\n<!DOCTYPE html>\n<html>"), "web page", "download the file that"),
        (text("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>"), "error message of a server", "download"),
        (text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"), "Git LFS", "git lfs pull"),
        (text("/annex/objects/SHA256E-s5--00.horq\n"), "git-annex", "git annex get"),
        (text("../.git/annex/objects/SHA256E-s5--00.horq"), "git-annex", "git annex get"),
        (text("outs:\n- md5: 00\n  size: 5\n"), "DVC", "dvc pull"),
        (text("{\"error\":\"Not found\"}"), "JSON", "look into it"),
        (text("404: Not Found"), "text", "look into it"),
        (text("Größe"), "text", "look into it"),
        (b"\xef\xbb\xbflayers:\n".to_vec(), "text", "look into it"),
        (b"\xff\xfel\0a\0".to_vec(), "UTF-16", "look into it"),
        // Networks of other programs.
        (zip("archive/data.pkl"), "PyTorch", "export it with horq"),
        (zip("net/.format_version"), "PyTorch", "export it with horq"),
        (zip("metadata.json"), "Keras", "export it with horq"),
        (zip("other"), "zip archive, as PyTorch", "export it with horq"),
        (padded(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."), "pickle", "export it with horq"),
        (padded(b"\x80\x05\x95"), "pickle", "export it with horq"),
        (padded(b"\x08\x07\x12\x07pytorch"), "ONNX", "horq import"),
        (padded(b"\x08\x0a:\xff\x01"), "ONNX", "horq.from_onnx"),
        (text("ir_version: 8\n"), "ONNX network as text", "export"),
        (padded(b"\x08\x01\x12\x90\x01\x0a"), "TensorFlow SavedModel", "export"),
        (padded(b"\x08\x04\x12\x10\x0a\x05"), "Core ML", "export"),
        (padded(b"\x0a\x1e\x0a\x05input\x12"), "TensorFlow graph", "export"),
        (padded(b"\x89HDF\r\n\x1a\n"), "HDF5", "export"),
        (padded(b"\x1c\0\0\0TFL3"), "TensorFlow Lite", "export"),
        (padded(b"\x1c\0\0\0ET12"), "ExecuTorch", "export"),
        (padded(b"GGUF\x03\0\0\0"), "GGUF", "export"),
        (text("<?xml version=\"1.0\"?>\n<net name=\"n\" version=\"11\">"), "OpenVINO", "export"),
        (text("7767517\n3 3\n"), "ncnn", "export"),
        // Archives and compressed files, also of a .horq file.
        (zip("model.horq"), "zip archive with a .horq", "unpack"),
        (tar(), "tar archive", "unpack"),
        (padded(b"7z\xbc\xaf\x27\x1c"), "7z", "unpack"),
        (padded(b"\x1f\x8b\x08\0"), "gzip", "decompress"),
        (padded(b"\x28\xb5\x2f\xfd"), "zstd", "decompress"),
        (padded(b"\xfd7zXZ\0"), "xz", "decompress"),
        (padded(b"BZh91AY"), "bzip2", "decompress"),
        (padded(b"\x04\x22\x4d\x18"), "lz4", "decompress"),
        // Inputs where the model is asked for.
        (padded(b"\x93NUMPY\x01\x00v\x00"), "NumPy array", "where inputs are asked for"),
        (zip("arr_0.npy"), "npz", "where inputs are asked for"),
        (padded(b"\x89PNG\r\n\x1a\n"), "PNG", "where inputs are asked for"),
        (padded(b"\xff\xd8\xff\xe0"), "JPEG", "where inputs are asked for"),
        (padded(b"RIFF\0\0\0\0WEBP"), "WebP", "where inputs are asked for"),
        (padded(&[0, 0, 8, 3, 0, 0, 0x27, 0x10]), "IDX", "where inputs are asked for"),
        (padded(b"\x7fELF\x02"), "program", "check that the path"),
        (padded(b"%PDF-1.7"), "PDF", "check that the path"),
        (text("-----BEGIN PGP MESSAGE-----"), "encrypted", "decrypted"),
    ]
}

/// All ways to a model refuse alike.
fn refused(bytes: &[u8]) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    std::fs::write(&path, bytes).unwrap();
    let error = Model::from_bytes(bytes).expect_err("no model");
    let opened = Model::open(&path).expect_err("no model");
    // SAFETY: nobody changes the file while the test runs.
    let mapped = unsafe { Model::map(&path) }.expect_err("no model");
    let shared = Model::open_shared(&path).expect_err("no model");
    assert_eq!([opened, mapped, shared].map(|error| error.to_string()), [(); 3].map(|()| error.to_string()));
    error
}

#[test]
fn other_files_are_told_what_they_are() {
    for (bytes, found, advice) in others() {
        let error = refused(&bytes);
        let text = error.to_string();
        assert!(matches!(error, Error::File(FileError::OtherFormat { .. })), "{found}: {text}");
        assert!(text.contains(found) && text.contains(advice), "`{text}` does not say `{found}` and `{advice}`");
        assert!(!text.contains("bytes of") && text.len() < 250, "{text}");
    }
}

/// A kind that no other message covers is a message of its own: no two groups of cases are told the same by accident.
#[test]
fn kinds_are_told_apart() {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (bytes, found, _) in others() {
        let kind = FileKind::of(&bytes).expect("a known kind");
        assert!(kind.remedy().is_some() == matches!(kind.group(), FileGroup::Stand(_)), "{kind}");
        names.insert(kind.to_string(), found);
    }
    assert!(names.len() >= 40, "{names:?}");
}

/// What is none of them gets no guess, and no number of 19 digits either.
#[test]
fn what_is_not_known_gets_no_guess() {
    for bytes in [vec![255; 100], (128..228).collect(), b"\x01\x02\x03\x04".repeat(30)] {
        assert_eq!(FileKind::of(&bytes), None);
        let error = refused(&bytes);
        assert!(matches!(error, Error::File(FileError::NotSafetensors { .. })), "{error}");
        assert!(error.to_string().len() < 200 && error.to_string().contains("names a .horq file"), "{error}");
    }
    let safetensors = br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} "#;
    let safetensors = [&(safetensors.len() as u64).to_le_bytes()[..], safetensors, &[0; 4]].concat();
    let error = refused(&safetensors);
    assert!(matches!(error, Error::File(FileError::NotHorq { .. })) && error.to_string().contains("export"), "{error}");
}

/// A model's file whose header is so long that a byte of its length is the one that a text copy changes.
fn with_length_byte(byte: u8) -> Vec<u8> {
    for spaces in 0..80 {
        let mut builder = small();
        builder.note("filler", &"x".repeat(64 * spaces));
        let file = builder.to_bytes("logits").unwrap();
        if file[..2].contains(&byte) {
            return file;
        }
    }
    panic!("no header's length has the byte {byte:#x}");
}

#[test]
fn copies_as_text_are_told() {
    let replaced = |file: &[u8], from: u8, to: &[u8]| -> Vec<u8> {
        file.iter().flat_map(|&byte| if byte == from { to.to_vec() } else { vec![byte] }).collect()
    };
    let to_utf8 = |file: &[u8]| file.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes();
    let utf16 = |file: &[u8]| [b"\xff\xfe".to_vec(), file.iter().flat_map(|&byte| [byte, 0]).collect()].concat();
    let file = small().to_bytes("logits").unwrap();
    let newline = with_length_byte(b'\n');
    for bytes in [
        replaced(&newline, b'\n', b"\r\n"),
        to_utf8(&with_length_byte(0xb8)),
        String::from_utf8_lossy(&with_length_byte(0xb8)).into_owned().into_bytes(),
        [b"\xef\xbb\xbf", &file[..]].concat(),
        utf16(&file),
    ] {
        let text = refused(&bytes).to_string();
        assert!(text.contains("copied as text") && text.contains("binary mode"), "{text}");
    }
    // Where the header stayed whole, the length of the data tells.
    let start = data_start(&file);
    let data = replaced(&file[start..], file[start], &[file[start]; 2]);
    let text = refused(&[&file[..start], &data].concat()).to_string();
    assert!(text.contains("copied as text") && text.contains("again as binary"), "{text}");
}

#[test]
fn damaged_headers_are_told() {
    let file = small().to_bytes("logits").unwrap();
    let mut swapped = file.clone();
    swapped[..8].reverse();
    assert!(refused(&swapped).to_string().contains("big-endian"));
    let text = refused(&file[8..]).to_string();
    assert!(text.contains("first 8 bytes are lost") && text.contains("copy it again"), "{text}");
}

/// A download that ended early, at every place.
#[test]
fn a_file_that_is_cut_says_so_at_every_length() {
    let file = small().to_bytes("logits").unwrap();
    let start = data_start(&file);
    let lengths = (1..start + 8).chain([file.len() - 1]);
    for length in lengths {
        let error = Model::from_bytes(&file[..length]).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::File(FileError::Truncated { .. } | FileError::DataLength { .. })), "{text}");
        assert!(text.contains("copy or export it again"), "{length}: {text}");
    }
    assert!(refused(&file[..file.len() - 1]).to_string().contains("ended early"));
}

/// An operation that this version does not know is no damage where the file says that it is newer.
#[test]
fn a_newer_file_says_to_update() {
    for (version, newer) in [("1.1", false), ("1.2", true), ("1.99", true)] {
        let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
        forge.metadata.insert("format_version".into(), version.into());
        forge.graph["nodes"][0]["op"] = "teleport".into();
        let error = Model::from_bytes(&forge.seal()).unwrap_err();
        assert_eq!(matches!(error, Error::File(FileError::Newer { .. })), newer, "{error}");
        let text = error.to_string();
        assert!(text.contains("teleport") && text.contains("update horq") == newer, "{text}");
    }
    // One that uses nothing new is read.
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    forge.metadata.insert("format_version".into(), "1.99".into());
    assert_eq!(Model::from_bytes(&forge.seal()).unwrap().version(), (1, 99));
    let mut forge = Forge::open(&small().to_bytes("logits").unwrap());
    forge.metadata.insert("format_version".into(), "2.0".into());
    let error = Model::from_bytes_with(&forge.seal(), &Limits::new()).unwrap_err();
    assert!(matches!(error, Error::File(FileError::Version { .. })) && error.to_string().contains("update"), "{error}");
}
