//! Files: their bytes, their metadata, and writing them.

use std::path::PathBuf;

use crate::escape::escaped;

/// What is wrong with a file, or keeps it from being read or written.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", escaped(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A descriptor that leads to no shared memory of a model.
    #[error("cannot take the model from shared memory: {source}")]
    SharedMemory {
        /// Why.
        source: std::io::Error,
    },
    /// What lies at a path is nothing that a new file may take the place of; see [`crate::replace_file`].
    #[error("cannot write `{}`: {reason}", escaped(path))]
    NotReplaceable {
        /// The path.
        path: PathBuf,
        /// What it is, and what to do.
        reason: &'static str,
    },
    /// The file is longer than [`crate::Limits::file_bytes`].
    #[error("the file has {length} bytes, more than the limit of {limit}; raise `Limits::file_bytes` if you trust it")]
    FileTooLong {
        /// Bytes of the file.
        length: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file is of another kind.
    #[error("the file is {found}, not a .horq file; {advice}")]
    OtherFormat {
        /// What it is, by its first bytes.
        found: &'static str,
        /// What to do with it.
        advice: &'static str,
    },
    /// The file ends inside its header.
    #[error(
        "the file has {length} bytes, but its header needs {needed}; it was cut off or is no .horq file, so copy or export it again"
    )]
    Truncated {
        /// Bytes of the file.
        length: usize,
        /// Bytes up to the end of the header.
        needed: u64,
    },
    /// The header is longer than [`crate::Limits::header_bytes`].
    #[error(
        "the header has {length} bytes, more than the limit of {limit}; shorten a .horq file's notes or split its model, export any other file with horq"
    )]
    HeaderTooLong {
        /// Bytes of the header.
        length: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// The data does not start on a 64-byte boundary.
    #[error("the data starts at byte {offset}, which is no multiple of 64; pad the header with spaces")]
    DataUnaligned {
        /// Where the data starts.
        offset: usize,
    },
    /// The header is not the JSON that safetensors asks for.
    #[error("not a safetensors file: {}; check that the path names a .horq file and export it again", escaped(reason))]
    NotSafetensors {
        /// What the safetensors parser says.
        reason: String,
    },
    /// The tensors do not fill the data part of the file exactly.
    #[error("the tensors need {expected} bytes of data, but the file holds {found}; {}", length_cause(*expected, *found))]
    DataLength {
        /// Bytes that the header accounts for.
        expected: usize,
        /// Bytes after the header.
        found: usize,
    },
    /// A safetensors file, but not one of this format.
    #[error(
        "the metadata says format {}, not \"horq\"; export the model with horq's exporter or `horq::Builder`",
        escaped(found)
    )]
    NotHorq {
        /// The value of the key `format`, or `nothing`.
        found: String,
    },
    /// A version of the format that this library cannot read.
    #[error(
        "format version \"{}\" is not supported, this library reads {}; update horq or export again",
        escaped(found),
        escaped(supported)
    )]
    Version {
        /// The version of the file.
        found: String,
        /// What can be read.
        supported: String,
    },
    /// A file of a newer minor version that holds what this library does not know.
    #[error(
        "the file has format version {}, newer than {}, and holds what only newer readers know: {}; update horq",
        escaped(found),
        escaped(supported),
        escaped(reason)
    )]
    Newer {
        /// The version of the file.
        found: String,
        /// The newest version that this library knows every part of.
        supported: String,
        /// What is wrong with the file by the rules of that version.
        reason: String,
    },
    /// A key that must be there is not.
    #[error("the metadata lacks the key `{key}`; export the model again")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A key's value does not parse.
    #[error("the metadata key `{key}` is malformed: {}; see docs/format.md", escaped(reason))]
    Malformed {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A node of the graph does not parse.
    #[error(
        "node {index} (`{}`) of the graph is malformed: {}; see docs/format.md for the fields of each operation",
        escaped(node),
        escaped(reason)
    )]
    NodeMalformed {
        /// Its place in the graph, from 0.
        index: usize,
        /// Its name, empty if that is what is wrong.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored digest differs from the bytes: the file was damaged or edited.
    #[error(
        "the {part} was changed after it was written: its sha256 is {}, but the file states {}; copy or export it again",
        escaped(computed),
        escaped(stored)
    )]
    Digest {
        /// `header` or `data`.
        part: &'static str,
        /// The digest in the file.
        stored: String,
        /// The digest of the bytes.
        computed: String,
    },
}

/// Why a file's data may have another length than its header says, and what to do.
fn length_cause(expected: usize, found: usize) -> &'static str {
    if found < expected {
        "a download or copy ended early, so copy or export it again"
    } else {
        "it was extended, or copied as text, which adds bytes to line ends, so copy it again as binary or export it again"
    }
}
