//! Memory and threads.

use crate::escape::escaped;
use std::time::Duration;

/// What could not be had.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// There is no memory for the file.
    #[error(
        "the file needs {bytes} bytes of memory, which cannot be had; map it, which takes none for weights, or free some"
    )]
    FileMemory {
        /// Bytes of the file; `usize::MAX` if they pass the address space.
        bytes: usize,
    },
    /// A session that would take more than [`crate::Limits::session_bytes`].
    #[error(
        "the session needs {bytes} bytes of memory, more than the limit of {limit}; layer `{}` takes most, {layer_bytes} bytes: make its padding, its image or the batch smaller, or open the model with a higher `Limits::session_bytes` if you trust it",
        escaped(layer)
    )]
    SessionMemory {
        /// Bytes that it would take, with one pass at a time.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
        /// The layer that takes most.
        layer: String,
        /// Bytes of that layer's tables, scratch and values.
        layer_bytes: usize,
    },
    /// An input of bytes whose f32 would take a session past [`crate::Limits::session_bytes`].
    #[error(
        "with the input `{}` as bytes the session needs {bytes} bytes of memory, more than the limit of {limit}; pass it as f32, make the batch smaller, or open the model with a higher `Limits::session_bytes` if you trust it",
        escaped(input)
    )]
    BytesMemory {
        /// The input.
        input: String,
        /// Bytes that it would take.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Memory that cannot be had.
    #[error("{bytes} bytes of memory are needed, which cannot be had; make the batch or the model smaller")]
    Memory {
        /// Bytes of the allocation that failed; `usize::MAX` if they pass the address space.
        bytes: usize,
    },
    /// The operating system refused threads.
    #[error("cannot start {count} threads: {}; ask for fewer", escaped(reason))]
    ThreadPool {
        /// How many were asked for.
        count: usize,
        /// Why they could not be started.
        reason: String,
    },
    /// A session pool all of whose sessions are out.
    #[error(
        "all {sessions} sessions of the pool are in use, and none came back within {waited:?}; try again later, wait longer, or make the pool larger"
    )]
    PoolBusy {
        /// The sessions of the pool.
        sessions: usize,
        /// How long the caller waited for one.
        waited: Duration,
    },
    /// A session with a pool of the caller's, used in a process that was forked after the session was made.
    #[error(
        "the session's thread pool belongs to the parent of this process, and a fork leaves threads behind; make the pool and the session after forking, or use Threads::Own, whose helpers are made anew"
    )]
    PoolLeftBehind,
}
