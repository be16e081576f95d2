//! The operating points of a model, and files with other ones.

use std::path::Path;

use super::Model;
use crate::error::GraphError;
use crate::files::replace_file;
use crate::format::with_points;
use crate::{Error, Points};

impl Model {
    /// The operating points that the file names; empty for most models.
    pub fn points(&self) -> &Points {
        &self.0.metadata.points
    }

    /// The file's bytes with these operating points in place of its own; weights, notes and all else are as they were. Without
    /// points the file has none. Of a resized model it is the file, at the file's size.
    ///
    /// # Errors
    /// [`GraphError::Points`](crate::error::GraphError::Points) with the rule that the points break, and
    /// [`FileError::HeaderTooLong`](crate::error::FileError::HeaderTooLong) where they do not fit into a header.
    pub fn to_bytes_with_points(&self, points: &Points) -> Result<Vec<u8>, Error> {
        points.check(self.graph()).map_err(GraphError::Points)?;
        let bytes = with_points(self.file(), self.0.tensors.data_start(), points)?;
        Self::from_bytes_with(&bytes, &self.0.limits)?;
        Ok(bytes)
    }

    /// Writes the file with these operating points, so that whoever opens the path sees the old file or the whole new one.
    /// [`replace_file`](crate::replace_file) does it and says what becomes of links, permissions and devices.
    ///
    /// # Errors
    /// As [`Self::to_bytes_with_points`], and [`FileError::Io`](crate::error::FileError::Io) or [`FileError::NotReplaceable`](crate::error::FileError::NotReplaceable).
    pub fn write_with_points(&self, points: &Points, path: impl AsRef<Path>) -> Result<(), Error> {
        replace_file(path, &self.to_bytes_with_points(points)?)
    }
}
