//! The ways to a model: a file that is read, shared or mapped, memory that another process shares, and bytes.

use std::path::Path;

use super::Model;
use crate::Error;
#[cfg(target_os = "linux")]
use crate::error::FileError;
use crate::format::{Contents, Source, check_length};
use crate::limits::Limits;
use crate::tensor::Memory;
#[cfg(target_os = "linux")]
use crate::tensor::Sealed;

impl Model {
    /// Reads a file into memory and validates it.
    ///
    /// The path must lead to a regular file; pipes, sockets and devices are refused without waiting for them, and what comes
    /// from one is for [`Self::from_bytes`]. The header is checked before memory is taken for the data. A file must not be
    /// written while it is read: that its length changes is noticed, that its data changes only by [`Self::verify_digest`].
    ///
    /// # Errors
    /// [`FileError::Io`](crate::error::FileError::Io) if the file cannot be read, [`ResourceError::FileMemory`](crate::error::ResourceError::FileMemory) if there is no memory for it, else the rule of the
    /// format that it breaks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &Limits::default())
    }

    /// [`Self::open`] with limits of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        let limits = limits.clamped();
        let mut source = Source::open(path.as_ref(), &limits)?;
        let head = source.head(&limits)?;
        let contents = Contents::parse(&head, source.len(), &limits)?;
        Self::checked(contents, source.read(&head)?, &limits)
    }

    /// Reads a file into shared memory that nobody can change any more, and validates it: as safe as [`Self::open`], and other
    /// processes can use the same memory. A forked child does; any other process makes its model by [`Self::from_shared_fd`]
    /// of [`Self::shared_fd`].
    ///
    /// The memory is a sealed memfd of Linux, on huge pages where the system grants them. Elsewhere this is [`Self::open`].
    ///
    /// ```
    /// # use horq::graph::Shape;
    /// # use horq::ops::Relu;
    /// # use horq::{Builder, Model};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("model.horq");
    /// # Builder::new("x", Shape::Flat(4)).add("y", &["x"], Relu)?.write("y", &path)?;
    /// let model = Model::open_shared(&path)?;
    /// # #[cfg(target_os = "linux")]
    /// if let Some(fd) = model.shared_fd() {
    ///     let same = Model::from_shared_fd(fd)?; // in any process that has the descriptor
    ///     assert_eq!(same.digest(), model.digest());
    /// }
    /// # Ok::<(), horq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::open`]; [`FileError::Io`](crate::error::FileError::Io) if the system makes no shared memory.
    pub fn open_shared(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_shared_with(path, &Limits::default())
    }

    /// [`Self::open_shared`] with limits of the caller's.
    ///
    /// # Errors
    /// As [`Self::open_shared`].
    pub fn open_shared_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        #[cfg(target_os = "linux")]
        {
            let limits = limits.clamped();
            let mut source = Source::open(path.as_ref(), &limits)?;
            let head = source.head(&limits)?;
            let contents = Contents::parse(&head, source.len(), &limits)?;
            Self::checked(contents, source.share(&head)?, &limits)
        }
        #[cfg(not(target_os = "linux"))]
        Self::open_with(path, limits)
    }

    /// The shared memory of a model that [`Self::open_shared`] or [`Self::from_shared_fd`] made; `None` for any other.
    ///
    /// The descriptor is closed on `exec`: give a program that is to be started a duplicate without that flag.
    #[cfg(target_os = "linux")]
    pub fn shared_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match self.0.tensors.memory() {
            Memory::Sealed(sealed) => Some(sealed.fd()),
            _ => None,
        }
    }

    /// The model in the shared memory of another process ([`Self::shared_fd`]), without a copy. The descriptor is duplicated.
    ///
    /// The memory is refused unless it is sealed against writing, shrinking and growing, so its bytes cannot change after they
    /// were checked, whoever made it. Values are checked as those of [`Self::map`] are: by the first session or by
    /// [`Self::check`].
    ///
    /// # Errors
    /// [`FileError::SharedMemory`](crate::error::FileError::SharedMemory) for what is no sealed memory, else as [`Self::map`].
    #[cfg(target_os = "linux")]
    pub fn from_shared_fd(fd: impl std::os::fd::AsFd) -> Result<Self, Error> {
        Self::from_shared_fd_with(fd, &Limits::default())
    }

    /// [`Self::from_shared_fd`] with limits of the caller's.
    ///
    /// # Errors
    /// As [`Self::from_shared_fd`].
    #[cfg(target_os = "linux")]
    pub fn from_shared_fd_with(fd: impl std::os::fd::AsFd, limits: &Limits) -> Result<Self, Error> {
        let limits = limits.clamped();
        let fail = |source| Error::File(FileError::SharedMemory { source });
        let fd = fd.as_fd().try_clone_to_owned().map_err(fail)?;
        let sealed = Sealed::received(fd).map_err(fail)?;
        check_length(sealed.bytes().len() as u64, &limits)?;
        let contents = Contents::parse(sealed.bytes(), sealed.bytes().len(), &limits)?;
        Self::new(contents, Memory::Sealed(sealed), &limits)
    }

    /// Maps a file. No weight is copied: every view lies in the mapping, and processes that map the same file share its
    /// memory.
    ///
    /// The header, the graph and all sizes are validated here, which takes milliseconds for a file of any length. What the
    /// weights hold (that floats are finite, codes in range, padding zero) is checked before anything is computed with it: by the
    /// first [`Session`](crate::Session) of the model, or by [`Self::check`].
    ///
    /// ```
    /// use horq::graph::Shape;
    /// use horq::ops::Relu;
    /// use horq::{Builder, Model};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("model.horq");
    /// Builder::new("x", Shape::Flat(4)).add("y", &["x"], Relu)?.write("y", &path)?;
    /// // SAFETY: nobody changes the file; `Builder::write` puts a new one in its place.
    /// let model = unsafe { Model::map(&path)? };
    /// model.prefault(); // reads the pages now, so that no run waits for one
    /// assert_eq!(model.output_shape(), Shape::Flat(4));
    /// # Ok::<(), horq::Error>(())
    /// ```
    ///
    /// # Safety
    /// Nobody may change or shorten the file while the model or a clone of it lives: its views are borrowed slices of the
    /// mapping. A file that is only ever replaced by renaming, as [`crate::Builder::write`] does, is safe.
    ///
    /// Where a file may change, [`Self::open_shared`] is the way to one copy for many processes.
    ///
    /// # Errors
    /// As [`Self::open`], but for the values of tensors.
    pub unsafe fn map(path: impl AsRef<Path>) -> Result<Self, Error> {
        // SAFETY: the caller's promise is the same.
        unsafe { Self::map_with(path, &Limits::default()) }
    }

    /// [`Self::map`] with limits of the caller's.
    ///
    /// # Safety
    /// As [`Self::map`].
    ///
    /// # Errors
    /// As [`Self::map`].
    pub unsafe fn map_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        let limits = limits.clamped();
        let mut source = Source::open(path.as_ref(), &limits)?;
        let contents = Contents::parse(&source.head(&limits)?, source.len(), &limits)?;
        // SAFETY: the caller's promise is the same.
        let memory = unsafe { source.map()? };
        Self::new(contents, memory, &limits)
    }

    /// Copies a file's bytes into aligned memory and validates them.
    ///
    /// # Errors
    /// [`ResourceError::FileMemory`](crate::error::ResourceError::FileMemory) if there is no memory for the copy, else the rule of the format that they break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &Limits::default())
    }

    /// [`Self::from_bytes`] with limits of the caller's.
    ///
    /// # Errors
    /// As [`Self::from_bytes`].
    pub fn from_bytes_with(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let limits = limits.clamped();
        check_length(bytes.len() as u64, &limits)?;
        let contents = Contents::parse(bytes, bytes.len(), &limits)?;
        Self::checked(contents, Memory::copy(bytes)?, &limits)
    }
}
