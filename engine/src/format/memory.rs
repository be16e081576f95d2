//! Where the bytes of a file lie: in memory of our own or in a mapping, on a 64-byte boundary either way.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::{ALIGNMENT, Limits};
use crate::Error;

/// One cache line; a slice of these is aligned as the format wants it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; ALIGNMENT]);

/// The smallest page of any system.
const PAGE: usize = 4096;

/// The bytes of a whole file.
pub(crate) enum Memory {
    /// Read or copied.
    Owned { lines: Box<[Line]>, len: usize },
    /// Mapped; pages are aligned far beyond 64 bytes.
    Mapped(memmap2::Mmap),
}

impl Memory {
    /// Copies bytes.
    pub(crate) fn copy(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        check_length(bytes.len() as u64, limits)?;
        let mut lines = zeroed(bytes.len());
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Ok(Self::Owned { lines, len: bytes.len() })
    }

    /// Reads a file, its length checked before any memory is taken.
    pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Self, Error> {
        let (mut file, len) = open(path, limits)?;
        let mut lines = zeroed(len);
        file.read_exact(&mut bytemuck::cast_slice_mut(&mut lines)[..len]).map_err(|source| Error::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        Ok(Self::Owned { lines, len })
    }

    /// Maps a file.
    ///
    /// # Safety
    /// Nobody may change or shorten the file while the mapping lives.
    pub(crate) unsafe fn map(path: &Path, limits: &Limits) -> Result<Self, Error> {
        let (file, _) = open(path, limits)?;
        // SAFETY: the caller keeps the file as it is while the mapping lives.
        let mapping = unsafe { memmap2::Mmap::map(&file) };
        let mapping = mapping.map_err(|source| Error::Io { action: "map", path: path.into(), source })?;
        check_length(mapping.len() as u64, limits)?;
        Ok(Self::Mapped(mapping))
    }

    /// Brings all pages of a mapping into memory and into the page table of this process.
    pub(crate) fn prefault(&self) {
        let Self::Mapped(mapping) = self else { return };
        #[cfg(target_os = "linux")]
        if mapping.advise(memmap2::Advice::PopulateRead).is_ok() {
            return;
        }
        // Before Linux 5.14 and elsewhere: by touching each.
        for page in mapping.chunks(PAGE) {
            std::hint::black_box(page[0]);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned { lines, len } => &bytemuck::cast_slice(lines)[..*len],
            Self::Mapped(mapping) => mapping,
        }
    }
}

fn open(path: &Path, limits: &Limits) -> Result<(File, usize), Error> {
    let fail = |source| Error::Io { action: "open", path: path.into(), source };
    let file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    check_length(length, limits)?;
    Ok((file, length as usize))
}

fn check_length(length: u64, limits: &Limits) -> Result<(), Error> {
    let limit = limits.file_bytes;
    if length > limit { Err(Error::FileTooLong { length, limit }) } else { Ok(()) }
}

/// Zeroed memory for that many bytes, fresh from the allocator (the pages are not touched).
fn zeroed(bytes: usize) -> Box<[Line]> {
    bytemuck::zeroed_slice_box(bytes.div_ceil(ALIGNMENT))
}
