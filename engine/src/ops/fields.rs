//! Where the fields of an operation come from.

use horq_kernels::Window;
use serde::de::DeserializeOwned;

use crate::shape::Shape;

/// Fields by name: the JSON of a file, whose tensors are names, or what a caller of a builder gives, whose tensors are values.
/// `docs/format.md` lists the fields of each operation.
///
/// A default is for builders, whose callers may leave the field out. In a file every field stands.
///
/// # Errors
/// Each method fails if the field is missing and neither optional nor has a default, or if it is of another kind.
pub trait Fields<T> {
    /// What is wrong with a field.
    type Error;

    /// A whole number.
    fn count(&self, name: &'static str, default: Option<usize>) -> Result<usize, Self::Error>;

    /// So many whole numbers.
    fn counts<const N: usize>(
        &self,
        name: &'static str,
        default: Option<[usize; N]>,
    ) -> Result<[usize; N], Self::Error>
    where
        [usize; N]: DeserializeOwned;

    /// Any number of whole numbers.
    fn list(&self, name: &'static str) -> Result<Vec<usize>, Self::Error>;

    /// The shape of a value: one size or three.
    fn shape(&self, name: &'static str) -> Result<Shape, Self::Error>;

    /// A whole number from 0 to 255.
    fn byte(&self, name: &'static str) -> Result<u8, Self::Error>;

    /// One of the words of an enumeration.
    fn word<W: DeserializeOwned>(&self, name: &'static str) -> Result<W, Self::Error>;

    /// One of the words of an enumeration, which need not be there.
    fn optional_word<W: DeserializeOwned>(&self, name: &'static str) -> Result<Option<W>, Self::Error>;

    /// A text.
    fn text(&self, name: &'static str) -> Result<String, Self::Error>;

    /// A tensor.
    fn tensor(&self, name: &'static str) -> Result<T, Self::Error>;

    /// A tensor of one value.
    fn scalar(&self, name: &'static str) -> Result<T, Self::Error>;

    /// A tensor of one value that need not be there.
    fn optional_scalar(&self, name: &'static str) -> Result<Option<T>, Self::Error>;

    /// How many values a tensor has, where they are at hand.
    fn len_of(&self, tensor: &T) -> Option<usize>;

    /// A tensor that need not be there.
    fn optional_tensor(&self, name: &'static str) -> Result<Option<T>, Self::Error>;

    /// A list of pairs of tensors, whose names in each element of the list are `keys`.
    fn pairs(&self, name: &'static str, keys: [&'static str; 2]) -> Result<Vec<[T; 2]>, Self::Error>;
}

/// The fields of a window.
pub(super) fn window<T, F: Fields<T>>(fields: &F) -> Result<Window, F::Error> {
    Ok(Window {
        kernel: fields.counts("kernel", None)?,
        stride: fields.counts("stride", Some([1; 2]))?,
        dilation: fields.counts("dilation", Some([1; 2]))?,
        padding: fields.counts("padding", Some([0; 4]))?,
    })
}
