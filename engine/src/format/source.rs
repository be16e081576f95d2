//! A file on disk: opened without waiting for anybody, its header read before memory is taken for the rest.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::header::head_len;
use super::{FIRST_BYTES, check_length};
use crate::Error;
use crate::error::{FileError, ResourceError};
use crate::limits::Limits;
#[cfg(target_os = "linux")]
use crate::tensor::Sealed;
use crate::tensor::{Aligned, Memory, headroom};

/// Bytes of a file that pass through memory of this process on their way into shared memory: few enough to stay in its cache.
#[cfg(target_os = "linux")]
const CHUNK: usize = 256 << 10;

/// A regular file that is open for reading.
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    /// Bytes of the file when it was opened.
    len: usize,
}

impl Source {
    /// Opens a regular file whose length is within the limits.
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self, Error> {
        headroom(path.as_os_str().len())?;
        let fail = |source| Error::File(FileError::Io { action: "open", path: path.into(), source });
        // Looked at before it is opened, since opening a device may set it going and opening a pipe waits for a writer; and
        // once more when it is open, since another may have taken its place.
        std::fs::metadata(path).and_then(regular).map_err(fail)?;
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
        let file = options.open(path).map_err(fail)?;
        let len = file.metadata().and_then(regular).map_err(fail)?.len();
        check_length(len, limits)?;
        let len = usize::try_from(len).map_err(|_| Error::Resource(ResourceError::FileMemory { bytes: usize::MAX }))?;
        Ok(Self { file, path: path.into(), len })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads the bytes up to the data, refusing by the first of them what can be no header.
    pub(crate) fn head(&mut self, limits: &Limits) -> Result<Vec<u8>, Error> {
        let mut head = Vec::with_capacity(FIRST_BYTES);
        self.fill(&mut head, self.len.min(FIRST_BYTES))?;
        let end = head_len(&head, self.len, limits)?;
        let rest = end.saturating_sub(head.len());
        head.try_reserve_exact(rest).map_err(|_| Error::Resource(ResourceError::Memory { bytes: end }))?;
        self.fill(&mut head, rest)?;
        Ok(head)
    }

    /// Reads what follows the head, into memory together with it.
    pub(crate) fn read(mut self, head: &[u8]) -> Result<Memory, Error> {
        let mut memory = Aligned::with_capacity(self.len)?;
        memory.buffer().extend_from_slice(head);
        self.fill(memory.buffer(), self.len.saturating_sub(head.len()))?;
        self.expect_end()?;
        Ok(Memory::Owned(memory))
    }

    /// Checks that nothing follows what was read.
    fn expect_end(&mut self) -> Result<(), Error> {
        match self.file.read(&mut [0]).map_err(|source| self.fail(source))? {
            0 => Ok(()),
            _ => Err(self.changed("longer")),
        }
    }

    /// Copies the file, which begins with `head`, into shared memory that nobody can change.
    #[cfg(target_os = "linux")]
    pub(crate) fn share(mut self, head: &[u8]) -> Result<Memory, Error> {
        let (len, path) = (self.len, self.path.clone());
        let written = Sealed::new(len, |shared| {
            shared.write_all(head).map_err(Share::Write)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(CHUNK).map_err(|_| Share::Read(ResourceError::FileMemory { bytes: len }.into()))?;
            let mut rest = len.saturating_sub(head.len());
            while rest > 0 {
                chunk.clear();
                self.fill(&mut chunk, rest.min(CHUNK)).map_err(Share::Read)?;
                shared.write_all(&chunk).map_err(Share::Write)?;
                rest -= chunk.len();
            }
            self.expect_end().map_err(Share::Read)
        });
        written.map(Memory::Sealed).map_err(|failed| match failed {
            Share::Read(error) => error,
            Share::Write(source) if is_full(&source) => ResourceError::FileMemory { bytes: len }.into(),
            Share::Write(source) => FileError::Io { action: "make shared memory for", path, source }.into(),
        })
    }

    /// Maps the file.
    ///
    /// # Safety
    /// Nobody may change or shorten the file while the mapping lives.
    pub(crate) unsafe fn map(self) -> Result<Memory, Error> {
        // SAFETY: the caller keeps the file as it is while the mapping lives.
        let mapping = unsafe { memmap2::MmapOptions::new().len(self.len).map(&self.file) };
        mapping
            .map(Memory::Mapped)
            .map_err(|source| Error::File(FileError::Io { action: "map", path: self.path, source }))
    }

    /// Reads that many bytes more into a buffer that holds as many.
    fn fill(&mut self, buffer: &mut Vec<u8>, bytes: usize) -> Result<(), Error> {
        let read = (&self.file).take(bytes as u64).read_to_end(buffer).map_err(|source| self.fail(source))?;
        if read < bytes { Err(self.changed("shorter")) } else { Ok(()) }
    }

    fn changed(&self, how: &str) -> Error {
        let reason = format!("it became {how} while it was read; open it again when it is complete");
        self.fail(io::Error::new(ErrorKind::InvalidData, reason))
    }

    fn fail(&self, source: io::Error) -> Error {
        Error::File(FileError::Io { action: "read", path: self.path.clone(), source })
    }
}

/// What fails on the way into shared memory.
#[cfg(target_os = "linux")]
enum Share {
    Read(Error),
    Write(io::Error),
}

#[cfg(target_os = "linux")]
impl From<io::Error> for Share {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Whether the system has no memory left.
#[cfg(target_os = "linux")]
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::StorageFull | ErrorKind::FileTooLarge)
}

/// Refuses what is no regular file: a pipe may never end, and nothing but a file can be read from its start by all who
/// open it.
fn regular(metadata: Metadata) -> io::Result<Metadata> {
    let found = metadata.file_type();
    if found.is_file() {
        return Ok(metadata);
    }
    let (kind, advice) = match found.is_dir() {
        true => (ErrorKind::IsADirectory, "name the .horq file in it"),
        false => {
            (ErrorKind::InvalidInput, "name a regular file, or read the bytes and give them to `Model::from_bytes`")
        }
    };
    Err(io::Error::new(kind, format!("it is {}; {advice}", describe(found))))
}

#[cfg(unix)]
fn describe(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match found {
        _ if found.is_dir() => "a directory",
        _ if found.is_fifo() => "a pipe",
        _ if found.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn describe(found: FileType) -> &'static str {
    if found.is_dir() { "a directory" } else { "no regular file" }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::limits::ALIGNMENT;

    /// A file whose header is 56 braces and spaces, and 960 bytes of data.
    fn file() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [&56_u64.to_le_bytes()[..], b"{}", &[b' '; 54], &[7; 960]].concat();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_in_two_parts() {
        let file = file();
        let mut source = Source::open(file.path(), &Limits::default()).unwrap();
        let head = source.head(&Limits::default()).unwrap();
        assert_eq!((head.len(), source.len()), (FIRST_BYTES, 1024));
        let memory = source.read(&head).unwrap();
        assert_eq!(memory.bytes(), std::fs::read(file.path()).unwrap());
        assert!(
            memory.bytes().as_ptr().cast::<u64>().is_aligned()
                && memory.bytes().as_ptr().addr().is_multiple_of(ALIGNMENT)
        );
    }

    #[test]
    fn a_file_that_changes_its_length_meanwhile_is_an_error() {
        for (length, how) in [(1000, "shorter"), (1025, "longer"), (512, "shorter"), (10, "shorter")] {
            let file = file();
            let mut source = Source::open(file.path(), &Limits::default()).unwrap();
            let head = source.head(&Limits::default()).unwrap();
            file.as_file().set_len(length).unwrap();
            let error = source.read(&head).err().expect("it changed").to_string();
            assert!(error.contains(&format!("it became {how}")) && error.contains("again"), "{error}");
        }
        let file = file();
        let mut source = Source::open(file.path(), &Limits::default()).unwrap();
        file.as_file().set_len(40).unwrap();
        let error = source.head(&Limits::default()).unwrap_err().to_string();
        assert!(error.contains("it became shorter"), "{error}");
    }
}
