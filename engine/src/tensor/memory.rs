//! Where the bytes of a file lie: in memory of our own or in a mapping, on a 64-byte boundary either way.

use crate::Error;
use crate::error::ResourceError;
use crate::limits::ALIGNMENT;

/// The smallest page of any system.
const PAGE: usize = 4096;

/// Checks that memory is left for what is small: names, lists and boxes, on whose lack Rust ends the process.
///
/// `bytes` are those whose number follows from a file; [`HEADROOM`](horq_kernels::HEADROOM) comes on top. Another thread may take
/// the memory meanwhile: this makes an error likely, not certain, where several threads run out of memory at once.
pub(crate) fn headroom(bytes: usize) -> Result<(), Error> {
    let bytes = bytes.saturating_add(horq_kernels::HEADROOM);
    if horq_kernels::is_left(bytes) { Ok(()) } else { Err(Error::Resource(ResourceError::Memory { bytes })) }
}

/// The bytes of a whole file.
pub(crate) enum Memory {
    /// Read or copied.
    Owned(Aligned),
    /// Mapped; pages are aligned far beyond 64 bytes.
    Mapped(memmap2::Mmap),
    /// In shared memory that nobody can change.
    #[cfg(target_os = "linux")]
    Sealed(super::sealed::Sealed),
}

impl Memory {
    /// Copies bytes.
    pub(crate) fn copy(bytes: &[u8]) -> Result<Self, Error> {
        let mut memory = Aligned::with_capacity(bytes.len())?;
        memory.buffer.extend_from_slice(bytes);
        Ok(Self::Owned(memory))
    }

    /// Brings all pages of a mapping into memory and into the page table of this process.
    pub(crate) fn prefault(&self) {
        let is_there = match self {
            Self::Owned(_) => true,
            #[cfg(target_os = "linux")]
            Self::Mapped(mapping) => mapping.advise(memmap2::Advice::PopulateRead).is_ok(),
            #[cfg(not(target_os = "linux"))]
            Self::Mapped(_) => false,
            #[cfg(target_os = "linux")]
            Self::Sealed(sealed) => sealed.prefault(),
        };
        if is_there {
            return;
        }
        // Before Linux 5.14 and elsewhere: by touching each.
        for page in self.bytes().chunks(PAGE) {
            std::hint::black_box(page[0]);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(memory) => memory.bytes(),
            Self::Mapped(mapping) => mapping,
            #[cfg(target_os = "linux")]
            Self::Sealed(sealed) => sealed.bytes(),
        }
    }
}

/// Bytes that begin on a 64-byte boundary.
pub(crate) struct Aligned {
    /// Some bytes up to the boundary, then the content.
    buffer: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Nothing yet, with room for that many bytes; no page of it is touched.
    pub(crate) fn with_capacity(bytes: usize) -> Result<Self, Error> {
        let mut buffer: Vec<u8> = Vec::new();
        let refused = |_| Error::Resource(ResourceError::FileMemory { bytes });
        buffer.try_reserve_exact(bytes.saturating_add(ALIGNMENT - 1)).map_err(refused)?;
        headroom(0)?;
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        buffer.resize(start, 0);
        Ok(Self { buffer, start })
    }

    /// Where content is added. It must stay within the capacity: memory that moves may lose the boundary.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}
