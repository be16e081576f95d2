//! What a file holds, by its header.

use super::header::{Header, head_len};
use super::layout::Layout;
use super::metadata::Metadata;
use crate::Error;
use crate::error::GraphError;
use crate::limits::Limits;
use crate::tensor::headroom;

/// Bytes in memory that are asked for before a byte of a header is read: an honest header takes some 5, a hostile one up to 32.
pub(crate) const BYTES_PER_BYTE: usize = 8;

/// Everything that a header says, checked as far as that goes without the data.
pub(crate) struct Contents {
    pub(crate) metadata: Metadata,
    pub(crate) layout: Layout,
    /// Where the data starts in the file.
    pub(crate) data_start: usize,
}

impl Contents {
    /// Reads the header of a file of `file_len` bytes from its first bytes, up to the data at least.
    pub(crate) fn parse(head: &[u8], file_len: usize, limits: &Limits) -> Result<Self, Error> {
        headroom(head_len(head, file_len, limits)?.saturating_mul(BYTES_PER_BYTE))?;
        let header = Header::parse(head, file_len, limits)?;
        let metadata = Metadata::parse(&header, head, limits)?;
        header.check_alignment()?;
        let layout = Layout::new(&metadata, &header, limits)?;
        metadata.points.check(&metadata.graph).map_err(GraphError::Points)?;
        Ok(Self { metadata, layout, data_start: header.data_start })
    }
}
