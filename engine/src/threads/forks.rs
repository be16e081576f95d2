//! Notices that the process was forked: a child has the memory of its parent, but none of its helper threads.

#[cfg(all(unix, not(miri)))]
mod counter {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// Forks between the process that first asked and this one.
    static FORKS: AtomicU64 = AtomicU64::new(0);

    /// # Errors
    /// If the system cannot tell us of forks.
    pub(super) fn watched() -> io::Result<u64> {
        static REGISTERED: OnceLock<i32> = OnceLock::new();
        extern "C" fn in_child() {
            FORKS.fetch_add(1, Relaxed);
        }
        // SAFETY: the handler lives as long as the program and does what a child of many threads may: it adds to an atomic.
        match *REGISTERED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(in_child)) }) {
            0 => Ok(FORKS.load(Relaxed)),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    pub(super) fn now() -> u64 {
        FORKS.load(Relaxed)
    }
}

/// Systems without forks; Miri has none either.
#[cfg(any(not(unix), miri))]
mod counter {
    pub(super) fn watched() -> std::io::Result<u64> {
        Ok(0)
    }

    pub(super) fn now() -> u64 {
        0
    }
}

/// The process in which something was made. Forks by the bare system call, past the C library, go unnoticed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u64);

impl Process {
    /// This one.
    ///
    /// # Errors
    /// If the system cannot tell us of forks.
    pub(crate) fn current() -> std::io::Result<Self> {
        counter::watched().map(Self)
    }

    /// Whether it is the one that calls; costs a load.
    pub(crate) fn is_current(self) -> bool {
        self.0 == counter::now()
    }
}
