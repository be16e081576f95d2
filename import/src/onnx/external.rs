//! Tensors whose elements lie in a file beside the model.
//!
//! A model may come from anyone, so it must not name files that its reader did not mean to give: only files inside the folder of the
//! model count, after symbolic links are followed. (ONNX's page on the security of external data asks for the same.)

use super::schema;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// A reason, and what to do instead.
type Refused = (String, String);

/// The bytes of such a tensor, of which there must be `len`.
pub(super) fn read(tensor: &schema::Tensor, len: usize, folder: Option<&Path>) -> Result<Vec<u8>, Refused> {
    let entry = |key: &str| {
        let found = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
        found.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
            (format!("the {key} `{text}` of its external data is no number"), "write the file anew".to_owned())
        }),
    };
    let location =
        entry("location").ok_or_else(|| refused("its external data has no location", "write the file anew"))?;
    let folder = folder.ok_or_else(|| {
        let instead = "give the path of the model instead of its bytes, or save it as one file";
        (format!("its elements lie in another file, `{location}`"), instead.to_owned())
    })?;
    let path = inside(folder, location)?;
    let trouble = |error: std::io::Error| {
        let instead = "put the file of external data beside the model";
        (format!("its external data `{location}` cannot be read: {error}"), instead.to_owned())
    };
    let mut file = File::open(&path).map_err(trouble)?;
    let size = file.metadata().map_err(trouble)?.len();
    let offset = number("offset")?.unwrap_or(0);
    let stored = number("length")?.unwrap_or(len as u64);
    if stored != len as u64 {
        return Err((format!("{stored} bytes of external data where {len} are wanted"), "write the file anew".into()));
    }
    if offset.checked_add(stored).is_none_or(|end| end > size) {
        let reason = format!("its external data ends after byte {size} of `{location}`");
        return Err((reason, "the file is cut short; copy it again".into()));
    }
    file.seek(SeekFrom::Start(offset)).map_err(trouble)?;
    let mut bytes = vec![0; len];
    file.read_exact(&mut bytes).map_err(trouble)?;
    Ok(bytes)
}

/// The path of a file inside the folder.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, Refused> {
    let outside = || {
        let reason = format!("its external data `{location}` lies outside of the model's folder");
        (reason, "put the file beside the model and name it without a path".to_owned())
    };
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || location.is_empty() || location.contains(['\\', ':', '\0']) {
        return Err(outside());
    }
    let missing = |error: std::io::Error| {
        let reason = format!("its external data `{location}` cannot be found: {error}");
        (reason, "put the file of external data beside the model".to_owned())
    };
    // An empty parent is that of a bare file name.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let root = folder.canonicalize().map_err(missing)?;
    let path = root.join(location).canonicalize().map_err(missing)?;
    if !path.starts_with(&root) {
        return Err(outside());
    }
    // A pipe or a device would never end.
    if !path.is_file() {
        return Err((format!("its external data `{location}` is no file"), "put the file beside the model".into()));
    }
    Ok(path)
}

fn refused(reason: &str, instead: &str) -> Refused {
    (reason.to_owned(), instead.to_owned())
}
