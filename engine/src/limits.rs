//! The bounds of the format, and those that a caller sets.

/// The newest version of the format, of which this library knows every part. What it writes states the least version that
/// has all that the file uses.
pub const VERSION: (u32, u32) = (1, 1);
/// The data and every tensor start on a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;
/// The most bytes of a file.
pub const MAX_FILE_BYTES: u64 = 1 << 36;
/// The most bytes of a header, its eight length bytes left out.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// The most nodes of a graph.
pub const MAX_NODES: usize = 1 << 12;
/// The most inputs of a graph.
pub const MAX_INPUTS: usize = 1 << 10;
/// The most elements of one sample's value anywhere in a graph.
pub const MAX_VALUE_ELEMENTS: usize = 1 << 28;
/// The most weight bases of a binary layer.
pub const MAX_BASES: usize = 8;
/// The most entries of a codebook.
pub const MAX_CODEBOOK_ENTRIES: usize = 32;
/// The most bytes that a session takes unless its model was opened with another limit: 4 GiB. The memory of a network that
/// keeps images of 3840 x 2160 pixels in 64 channels of f32 is about as large.
pub const SESSION_BYTES: usize = 1 << 32;
/// The most operating points of a model.
pub const MAX_POINTS: usize = 64;
/// The most cascades of a model.
pub const MAX_CASCADES: usize = 16;
/// The most bytes of a name.
pub const MAX_NAME_BYTES: usize = 256;

/// What a reader puts up with; the format's own bounds by default. A caller who opens files of strangers can lower each.
/// Those of the file cannot be raised: larger values count as the constant.
///
/// How long a run takes is not limited here but by [`RunOptions::deadline`](crate::RunOptions::deadline): at most `value_elements` sums of up to [`horq_kernels::MAX_DEPTH`] products a layer,
/// and for a pool as many values a window as the image has pixels. `Session::profile` tells the products of each layer
/// before the first run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the file, at most [`MAX_FILE_BYTES`].
    pub file_bytes: u64,
    /// Bytes of the header, at most [`MAX_HEADER_BYTES`]. Opening takes the file's size and some 5 bytes for each byte of
    /// an honest header, up to 32 for the worst that a stranger can make.
    pub header_bytes: usize,
    /// Nodes of the graph, at most [`MAX_NODES`].
    pub nodes: usize,
    /// Elements of any value of one sample, at most [`MAX_VALUE_ELEMENTS`].
    pub value_elements: usize,
    /// Bytes that one session of the model may take beside the file and its threads' stacks: values between layers, packed
    /// planes, padded copies of images and other scratch, for all samples and passes that are worked on at a time, and the
    /// tables of the layers. [`SESSION_BYTES`] by default; this bound is one of the machine, so it may also be raised. A
    /// small file can ask for much: padding is not in the file. Where passes side by side would take more, a session works on
    /// one pass at a time, with all threads; where that is too much, it is refused before anything is allocated.
    pub session_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// Functions that set a field.
macro_rules! setters {
    ($($field:ident: $kind:ty),*) => {$(
        #[doc = concat!("Sets [`Self::", stringify!($field), "`].")]
        pub const fn $field(self, $field: $kind) -> Self {
            Self { $field, ..self }
        }
    )*};
}

impl Limits {
    /// The format's own bounds, and [`SESSION_BYTES`].
    pub const fn new() -> Self {
        Self {
            file_bytes: MAX_FILE_BYTES,
            header_bytes: MAX_HEADER_BYTES,
            nodes: MAX_NODES,
            value_elements: MAX_VALUE_ELEMENTS,
            session_bytes: SESSION_BYTES,
        }
    }

    setters!(file_bytes: u64, header_bytes: usize, nodes: usize, value_elements: usize, session_bytes: usize);

    /// The limits, none of the file's above the format's.
    pub(crate) fn clamped(self) -> Self {
        let most = Self::default();
        Self {
            file_bytes: self.file_bytes.min(most.file_bytes),
            header_bytes: self.header_bytes.min(most.header_bytes),
            nodes: self.nodes.min(most.nodes),
            value_elements: self.value_elements.min(most.value_elements),
            session_bytes: self.session_bytes,
        }
    }
}
