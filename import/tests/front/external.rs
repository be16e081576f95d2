//! External data: only files of the model's folder.

use crate::net::{FLOAT, Net};
use horq_import::Error;
use horq_import::onnx::schema::{Entry, Tensor};
use horq_import::onnx::{Options, parse, read};
use std::fs;
use std::path::Path;

fn net(entries: &[(&str, &str)]) -> Net {
    let entry = |&(key, value): &(&str, &str)| Entry { key: Some(key.into()), value: Some(value.into()) };
    let external_data = entries.iter().map(entry).collect();
    let tensor =
        Tensor { dims: vec![2], data_type: Some(FLOAT), data_location: Some(1), external_data, ..Tensor::default() };
    Net::new(13).input("x", &[1, 2]).constant("w", tensor).node("Mul", &["x", "w"], &["y"], &[]).output("y")
}

fn refused(net: &Net, folder: Option<&Path>, word: &str) {
    match parse(net.bytes(), folder, &Options::default()) {
        Err(Error::Refused(refusals)) => {
            assert_eq!((refusals.len(), refusals[0].place.as_str()), (1, "w"));
            assert!(refusals[0].reason.contains(word), "{}", refusals[0]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_files_of_the_folder_are_read() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("model");
    fs::create_dir_all(folder.join("parts")).unwrap();
    let bytes: Vec<u8> = [5.0f32, 1.0, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(outside.path().join("secret"), &bytes).unwrap();
    fs::write(folder.join("parts/weights"), &bytes).unwrap();
    let good = net(&[("location", "parts/weights"), ("offset", "4"), ("length", "8")]);
    fs::write(folder.join("net.onnx"), good.bytes()).unwrap();
    let graph = read(folder.join("net.onnx"), &Options::default()).unwrap();
    let weights = graph.values.iter().find(|value| value.name == "w").unwrap();
    assert_eq!(weights.constant.as_ref().unwrap().singles().as_slice().unwrap(), [1.0, 2.0]);

    let at = |location: &str| net(&[("location", location), ("offset", "4")]);
    let here = Some(folder.as_path());
    refused(&at("../secret"), here, "outside");
    refused(&at("parts/../../secret"), here, "outside");
    refused(&at(outside.path().join("secret").to_str().unwrap()), here, "outside");
    refused(&at("..\\secret"), here, "outside");
    refused(&at(""), here, "outside");
    refused(&at("missing"), here, "cannot be found");
    refused(&at("parts"), here, "no file");
    refused(&at("parts/weights"), None, "another file");
    refused(&net(&[]), here, "no location");
    refused(&net(&[("location", "parts/weights"), ("offset", "8")]), here, "ends after byte 12");
    refused(&net(&[("location", "parts/weights"), ("length", "12")]), here, "12 bytes");
    refused(&net(&[("location", "parts/weights"), ("offset", "-4")]), here, "no number");
    refused(&net(&[("location", "parts/weights"), ("offset", &u64::MAX.to_string())]), here, "ends after");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.join("way")).unwrap();
        refused(&at("link"), here, "outside");
        refused(&at("way/secret"), here, "outside");
        std::os::unix::fs::symlink(folder.join("parts/weights"), folder.join("inside")).unwrap();
        assert!(parse(at("inside").bytes(), here, &Options::default()).is_ok());
    }
}
