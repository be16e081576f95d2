//! A file's bytes in shared memory that nobody can change any more: a sealed memfd of Linux.
//!
//! Why not a mapping of the file itself: whoever may write the file can change bytes that were checked, or cut it, which ends
//! every process that reads the rest (SIGBUS). A seal is kept by the kernel, for all processes, until the memory is gone.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::{AsFd, OwnedFd};

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

/// What must not be possible for the bytes to stay as they were checked.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// Bytes of a huge page on x86-64, and on aarch64 with pages of 4 KiB.
const HUGE: usize = 2 << 20;

/// Shared memory that is sealed, and a mapping of it.
pub(crate) struct Sealed {
    mapping: Mmap,
    fd: OwnedFd,
}

impl Sealed {
    /// Shared memory of `len` bytes, which `fill` writes.
    pub(crate) fn new<E: From<Error>>(
        len: usize,
        fill: impl FnOnce(&mut dyn Write) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels from 6.3 on warn of memory that leaves open whether it may be run; older ones do not know the flag.
        let fd = memfd_create("horq-model", flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| memfd_create("horq-model", flags))
            .map_err(Error::from)?;
        let mut file = File::from(fd);
        fill(&mut file)?;
        fcntl_add_seals(&file, SEALS | SealFlags::SEAL).map_err(Error::from)?;
        Ok(Self::map(file.into(), len)?)
    }

    /// Shared memory of another process, or of this one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is none, or not sealed.
    pub(crate) fn received(fd: OwnedFd) -> Result<Self> {
        let refused = |reason| Error::new(ErrorKind::InvalidInput, reason);
        let seals = fcntl_get_seals(&fd).map_err(|_| {
            refused("it is no shared memory that can be sealed (memfd); take it from `Model::shared_fd`")
        })?;
        if !seals.contains(SEALS) {
            return Err(refused(
                "it is not sealed against writing, shrinking and growing, so its bytes may change; take it from \
                 `Model::shared_fd`",
            ));
        }
        let file = File::from(fd);
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
        Self::map(file.into(), len)
    }

    /// Maps what is sealed already.
    fn map(fd: OwnedFd, len: usize) -> Result<Self> {
        // Private, because kernels before 6.7 refuse to map write-sealed memory in common. Pages that are only read are in common
        // all the same.
        // SAFETY: the seals, which `new` has set and `received` has checked, keep everybody from changing a byte or the length.
        let mapping = unsafe { MmapOptions::new().len(len).map_copy_read_only(&fd)? };
        huge_pages(&mapping);
        Ok(Self { mapping, fd })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.mapping
    }

    /// Where to have the same memory from.
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Brings all pages into the page table of this process.
    pub(crate) fn prefault(&self) -> bool {
        self.mapping.advise(Advice::PopulateRead).is_ok()
    }
}

/// Asks for huge pages, and for those of pages that are there already. A system without them refuses, and the memory is as
/// good, only slower.
fn huge_pages(mapping: &Mmap) {
    if mapping.len() < HUGE || mapping.advise(Advice::HugePage).is_err() {
        return;
    }
    let whole = mapping.len() / HUGE * HUGE;
    let start = mapping.as_ptr().cast_mut().cast();
    // SAFETY: the range is a whole number of pages of this mapping, and what it holds does not change.
    unsafe { libc::madvise(start, whole, libc::MADV_COLLAPSE) };
}
