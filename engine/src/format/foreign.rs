//! Files that people take for a model or an input, told by their first bytes.

use super::signatures::{self, SIGNATURES};
use crate::Error;
use crate::error::FileError;

/// How many of a file's first bytes [`FileKind::of`] looks at.
pub const FIRST_BYTES: usize = 512;

/// What a file is, told by its first bytes: for messages that say more than that it cannot be read.
///
/// ```
/// let kind = horq::FileKind::of(b"version https://git-lfs.github.com/spec/v1\n").unwrap();
/// assert_eq!(kind.to_string(), "a Git LFS pointer");
/// assert_eq!(kind.remedy(), Some("fetch what it stands for with `git lfs pull`"));
/// assert_eq!(horq::FileKind::of(&[255; 100]), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind {
    pub(super) name: &'static str,
    pub(super) group: FileGroup,
}

/// What can be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileGroup {
    /// It stands for another file, which has to be fetched, unpacked or copied anew: [`FileKind::remedy`] says how.
    Stand(&'static str),
    /// A `.horq` file or another safetensors file.
    Safetensors,
    /// A network of another program.
    Network,
    /// A network in ONNX.
    Onnx,
    /// Numbers or pictures.
    Data,
    /// Text for people or programs.
    Text,
    /// Anything else.
    Other,
}

impl FileKind {
    /// Tells a file by its first [`FIRST_BYTES`], or by all of them if it has fewer; `None` for what is not known.
    pub fn of(first: &[u8]) -> Option<Self> {
        let first = first.get(..FIRST_BYTES).unwrap_or(first);
        if begins_like_safetensors(first) {
            return Some(Self { name: "a .horq file or another safetensors file", group: FileGroup::Safetensors });
        }
        // Pages often begin with empty lines, and tags come in either case.
        let text = first.trim_ascii_start();
        let begins = |start: &[u8]| text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
        let known = SIGNATURES.iter().find(|signature| signature.starts.iter().any(|start| begins(start)));
        empty(first)
            .or_else(|| known.map(|signature| signature.kind))
            .or_else(|| signatures::archive(first))
            .or_else(|| signatures::inside(first))
            .or_else(|| damaged(first))
            .or_else(|| signatures::text(text))
    }

    /// What can be done with it.
    pub fn group(&self) -> FileGroup {
        self.group
    }

    /// How to come by the file that it stands for, whatever that is; `None` if it stands for no other.
    pub fn remedy(&self) -> Option<&'static str> {
        if let FileGroup::Stand(remedy) = self.group { Some(remedy) } else { None }
    }
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Refuses a file that is empty or known to be something else.
pub(super) fn check(first: &[u8]) -> Result<(), Error> {
    let Some(kind) = FileKind::of(first) else { return Ok(()) };
    let advice = match kind.group {
        FileGroup::Safetensors => return Ok(()),
        FileGroup::Stand(remedy) => remedy,
        FileGroup::Network => "load it where it was made and export it with horq",
        FileGroup::Onnx => "`horq import` or `horq.from_onnx` makes a .horq file of it",
        FileGroup::Data => "give a model here, and this file where inputs are asked for",
        FileGroup::Text => "look into it: in place of a download, servers send what went wrong",
        FileGroup::Other => "check that the path names a .horq file",
    };
    Err(FileError::OtherFormat { found: kind.name, advice }.into())
}

/// Bytes 3 to 8 of a safetensors file of at most 16 MiB of header are zero and a brace, and nothing else's are.
fn begins_like_safetensors(first: &[u8]) -> bool {
    first.get(3..9) == Some(b"\0\0\0\0\0{")
}

fn empty(first: &[u8]) -> Option<FileKind> {
    const AGAIN: FileGroup = FileGroup::Stand("copy or export it again");
    if first.is_empty() {
        return Some(FileKind { name: "empty", group: AGAIN });
    }
    // As of a download that took the room for the file first, or of a file system after a crash.
    let is_zero = first.len() >= 16 && first.iter().all(|&byte| byte == 0);
    is_zero.then_some(FileKind { name: "filled with zeros, as if a copy broke off", group: AGAIN })
}

/// A safetensors file that something changed on its way.
fn damaged(first: &[u8]) -> Option<FileKind> {
    let as_text = FileKind {
        name: "a file that was copied as text, which changes its bytes",
        group: FileGroup::Stand(
            "copy it as binary: FTP in binary mode, Git with `*.horq binary` in .gitattributes, no PowerShell `>`",
        ),
    };
    if first.starts_with(b"{") && first.windows(12).any(|word| word == b"__metadata__") {
        return Some(FileKind {
            name: "a header whose first 8 bytes are lost",
            group: FileGroup::Stand("copy it again from its start"),
        });
    }
    if first.len() > 8 && first[..5] == [0; 5] && first[8] == b'{' {
        return Some(FileKind {
            name: "a file whose length is big-endian",
            group: FileGroup::Stand("write it with horq, whose numbers are little-endian everywhere"),
        });
    }
    let start = first.get(..24).unwrap_or(first);
    let unmarked = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    // A line end of one byte that became two.
    let mut lines = unmarked.to_vec();
    if let Some(place) = lines.windows(2).position(|pair| pair == b"\r\n") {
        lines.remove(place);
    }
    // Each byte above 127 became two bytes of UTF-8, or the three of the character that stands for none.
    let characters = String::from_utf8_lossy(unmarked);
    let bytes: Vec<u8> = characters.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(255)).collect();
    // UTF-16: a zero byte beside each.
    let utf16: Vec<u8> = match start.strip_prefix(b"\xff\xfe") {
        Some(units) => units.iter().copied().step_by(2).collect(),
        None => Vec::new(),
    };
    [unmarked, &lines, &bytes, &utf16].into_iter().any(begins_like_safetensors).then_some(as_text)
}
