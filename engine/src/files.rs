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
/// On Linux the temporary file has no name until it is whole, where the file system can do that (`O_TMPFILE`), so a process that
/// is killed while it writes leaves nothing. Elsewhere, and between the last two steps, it can leave a file named `.horq-` and six
/// letters or digits. Nobody reads such a file; it may be removed when no process writes.
///
/// A file larger than the process may write (`RLIMIT_FSIZE`) is an error; the signal `SIGXFSZ` is not raised.
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
    check_size_limit(bytes.len()).map_err(fail("write"))?;
    let fill = |mut file: &File| {
        file.write_all(bytes).map_err(fail("write"))?;
        if let Some(old) = &old {
            keep_owner(file, old);
            file.set_permissions(old.permissions()).map_err(fail("keep the permissions of"))?;
        }
        file.sync_all().map_err(fail("sync"))
    };
    let renamed = |file: tempfile::PersistError<()>| fail("rename the temporary file to")(file.error);
    let builder = builder(old.as_ref());
    let unnamed = unnamed(folder, old.as_ref());
    if let Some(file) = &unnamed {
        fill(file)?;
    }
    match unnamed {
        Some(file) if old.is_none() && link(&file, &target).is_ok() => {}
        Some(file) => match builder.make_in(folder, |path| link(&file, path)) {
            Ok(named) => drop(named.persist(&target).map_err(renamed)?),
            // A system that makes files without a name, but cannot give them one.
            Err(_) => write_named(&builder, folder, &target, fill, fail)?,
        },
        None => write_named(&builder, folder, &target, fill, fail)?,
    }
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

/// The mode of a new file: readable like any, and not by its owner alone as temporary files are. The process's mask still applies.
#[cfg(unix)]
const NEW: u32 = 0o666;

/// What makes temporary files that nobody may read who may not read the one that they replace.
#[cfg_attr(not(unix), allow(unused_variables, reason = "only Unix has modes"))]
fn builder(old: Option<&Metadata>) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".horq-");
    #[cfg(unix)]
    if old.is_none() {
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(NEW));
    }
    builder
}

/// Writes a temporary file that has a name from the start, and renames it.
fn write_named<F: FnOnce(io::Error) -> Error>(
    builder: &tempfile::Builder<'_, '_>,
    folder: &Path,
    target: &Path,
    fill: impl FnOnce(&File) -> Result<(), Error>,
    fail: impl Fn(&'static str) -> F,
) -> Result<(), Error> {
    let file = builder.tempfile_in(folder).map_err(fail("create a temporary file beside"))?;
    fill(file.as_file())?;
    file.persist(target).map_err(|error| fail("rename the temporary file to")(error.error))?;
    Ok(())
}

/// A file without a name, if the system makes one.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path, old: Option<&Metadata>) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let mode = Mode::from_raw_mode(if old.is_none() { NEW } else { 0o600 });
    open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_folder: &Path, _old: Option<&Metadata>) -> Option<File> {
    None
}

/// Gives a file without a name one that nothing has.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, from, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_file: &File, _path: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Refuses what this process may not write, which the system would end it for.
#[cfg(unix)]
fn check_size_limit(bytes: usize) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is written by the call.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
    if known && limit.rlim_cur != libc::RLIM_INFINITY && bytes as u64 > limit.rlim_cur {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_size_limit(_bytes: usize) -> io::Result<()> {
    Ok(())
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
