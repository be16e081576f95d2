//! Files on disk: reading, mapping without a copy.

use horq::error::FileError;
use horq::ops::Dense;
use horq::{Error, Limits, Model};

use crate::memory::{MEGABYTE, peak};
use crate::zoo::{every_op, noise, small};

#[test]
fn every_way_of_opening_gives_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    every_op().write("probabilities", &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let opened = Model::open(&path).unwrap();
    // SAFETY: nobody changes the file while the test runs.
    let mapped = unsafe { Model::map(&path) }.unwrap();
    for model in [&opened, &mapped, &Model::from_bytes(&bytes).unwrap()] {
        assert_eq!(model.file(), bytes);
        assert_eq!(model.file().as_ptr() as usize % 64, 0);
        assert_eq!(model.graph(), opened.graph());
        assert_eq!(model.digest(), opened.digest());
        model.verify_digest().unwrap();
    }
}

/// Every view of a mapped model lies inside the mapping that the operating system lists for the file.
#[cfg(target_os = "linux")]
#[test]
fn mapped_weights_are_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    every_op().write("probabilities", &path).unwrap();
    // SAFETY: nobody changes the file while the test runs.
    let model = unsafe { Model::map(&path) }.unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(path.to_str().unwrap())).expect("the file is mapped");
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let address = |hex| usize::from_str_radix(hex, 16).unwrap();
    let mapping = address(start)..address(end);
    let mut views = 0;
    for node in &model.graph().nodes {
        let producer = model.graph().nodes.iter().position(|other| other.name == node.inputs[0]);
        let input = producer.map_or(model.input_shape(), |place| model.shapes()[place]);
        for spec in node.op.tensors(input) {
            let bytes: &[u8] = match spec.content {
                horq::graph::Content::BitPanels(_) | horq::graph::Content::CodePanels(..) => {
                    bytemuck::cast_slice(model.u32s(spec.name))
                }
                _ => bytemuck::cast_slice(model.f32s(spec.name)),
            };
            let first = bytes.as_ptr() as usize;
            assert!(mapping.contains(&first) && mapping.contains(&(first + bytes.len() - 1)), "{}", spec.name);
            views += 1;
        }
    }
    assert_eq!(views, safetensors::SafeTensors::deserialize(model.file()).unwrap().len());
}

/// Opening takes the file's size, mapping not even that: less than a megabyte for a file of four.
#[test]
fn a_mapping_takes_no_memory_for_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    let mut builder = horq::Builder::new("x", horq::graph::Shape::Flat(1024));
    let layer = Dense::new(1024, noise(1, 1 << 20));
    builder.add("y", &["x"], layer).unwrap().write("y", &path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    let (model, held) = peak(|| Model::open(&path).unwrap());
    assert!(length > 4 << 20 && held <= length + MEGABYTE, "{held} bytes for {length}");
    drop(model);
    // SAFETY: nobody changes the file while the test runs.
    let (_model, held) = peak(|| unsafe { Model::map(&path) }.unwrap());
    assert!(held < MEGABYTE, "{held}");
}

/// A mapped file that is replaced by another write stays what it was, as `Model::map` promises.
#[cfg(unix)]
#[test]
fn a_mapping_outlives_the_replacement_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.horq");
    small().write("logits", &path).unwrap();
    // SAFETY: the file is only replaced by renaming.
    let model = unsafe { Model::map(&path) }.unwrap();
    every_op().write("probabilities", &path).unwrap();
    model.verify_digest().unwrap();
    assert_ne!(model.digest(), Model::open(&path).unwrap().digest());
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.horq");
    let error = Model::open(&missing).unwrap_err();
    assert!(
        matches!(error, Error::File(FileError::Io { action: "open", .. }))
            && error.to_string().contains("missing.horq"),
        "{error}"
    );
    assert!(matches!(
        small().write("logits", folder.path().join("no/such/folder")),
        Err(Error::File(FileError::Io { .. }))
    ));

    let empty = folder.path().join("empty.horq");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(Model::open(&empty), Err(Error::File(FileError::OtherFormat { found: "empty", .. }))));
    // SAFETY: nobody changes the file while the test runs.
    assert!(matches!(unsafe { Model::map(&empty) }, Err(Error::File(FileError::OtherFormat { found: "empty", .. }))));

    // The length is refused before memory is taken: this file is a terabyte of nothing.
    let sparse = folder.path().join("sparse.horq");
    std::fs::File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(Model::open(&sparse), Err(Error::File(FileError::FileTooLong { .. }))));
    // SAFETY: nobody changes the file while the test runs.
    assert!(matches!(unsafe { Model::map(&sparse) }, Err(Error::File(FileError::FileTooLong { .. }))));
    let small_limit = Limits::new().file_bytes(10);
    std::fs::write(&empty, "eleven byte").unwrap();
    assert!(matches!(
        Model::open_with(&empty, &small_limit),
        Err(Error::File(FileError::FileTooLong { length: 11, limit: 10 }))
    ));
}

/// Sessions share a model between threads.
#[test]
fn a_model_is_send_and_sync() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Model>();
}
