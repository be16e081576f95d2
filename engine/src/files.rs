//! Files that are replaced whole or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::FileError;

/// Links that a path may go through, as Linux has it.
const MAX_LINKS: usize = 40;

/// Puts bytes into a file so that whoever opens the path sees the old file or the whole new one, also after a crash, with a
/// full disk, and where several write at once: then the last one stays. The bytes go to a temporary file in the same folder,
/// which is synced and renamed, and the folder is synced.
///
/// What is there already:
/// - A regular file is replaced and keeps its permissions, and its owner and group where the system allows that (else they
///   are those of this process); access control lists and extended attributes are not kept. Other hard links to it keep
///   the old bytes.
/// - A file that nobody may write (read-only) is refused.
/// - A symbolic link stays, and the file that it names is replaced, or made if there is none.
/// - A folder, device, FIFO or socket is refused; nothing is written to it.
///
/// A process that is killed can leave its temporary file there, named `.horq-` and six letters or digits. Nobody reads such
/// a file; it may be removed when no process writes.
///
/// # Errors
/// [`FileError::NotReplaceable`](crate::error::FileError::NotReplaceable) for what is refused, [`FileError::Io`](crate::error::FileError::Io) for what the system refuses; the old file is as it was.
pub fn replace_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), Error> {
    let path = path.as_ref();
    let fail = |action| move |source| Error::File(FileError::Io { action, path: path.into(), source });
    let old = match fs::metadata(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(fail("look at")(error)),
    };
    if let Some(reason) = old.as_ref().and_then(refusal) {
        return Err(FileError::NotReplaceable { path: path.into(), reason }.into());
    }
    let target = follow(path).map_err(fail("follow the symbolic link"))?;
    let folder = folder(&target);
    let mut file = temporary(folder, old.as_ref()).map_err(fail("create a temporary file beside"))?;
    file.write_all(bytes).map_err(fail("write"))?;
    if let Some(old) = &old {
        keep_owner(file.as_file(), old);
        file.as_file().set_permissions(old.permissions()).map_err(fail("keep the permissions of"))?;
    }
    file.as_file().sync_all().map_err(fail("sync"))?;
    file.persist(&target).map_err(|error| fail("rename the temporary file to")(error.error))?;
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail("sync the folder of"))?;
    Ok(())
}

/// Why what is there may not be replaced, if so.
fn refusal(old: &Metadata) -> Option<&'static str> {
    match old {
        old if old.is_dir() => Some("it is a folder; name a file in it"),
        old if !old.is_file() => {
            Some("it is a device, FIFO or socket, which a file would take the place of; name a file")
        }
        old if old.permissions().readonly() => Some("it is read-only; make it writable or name another file"),
        _ => None,
    }
}

/// The path behind symbolic links, which need not exist.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        // What is no link, or is not there, cannot be read as one.
        let Ok(link) = fs::read_link(&path) else { return Ok(path) };
        path = folder(&path).join(link);
    }
    Err(io::Error::other("too many symbolic links"))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file that nobody may read who may not read the one that it replaces.
#[cfg_attr(not(unix), allow(unused_variables, reason = "only Unix has modes"))]
fn temporary(folder: &Path, old: Option<&Metadata>) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".horq-");
    // Readable like any new file, and not by its owner alone as temporary files are; the process's mask still applies.
    #[cfg(unix)]
    if old.is_none() {
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Gives a file the owner and group of another; where that is not allowed the group alone, or neither.
#[cfg(unix)]
fn keep_owner(file: &File, old: &Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    let group = || fchown(file, None, Some(old.gid()));
    let _ = fchown(file, Some(old.uid()), Some(old.gid())).or_else(|_| group());
}

#[cfg(not(unix))]
fn keep_owner(_file: &File, _old: &Metadata) {}
