//! The one error of this crate.

use std::path::PathBuf;

use crate::escaped;
use crate::shape::Shape;

/// What went wrong: one variant for each rule of the format, of the graph and of a session.
///
/// Its text is one line, whatever a file or a path holds: what comes from outside stands in it as [`escaped`] shows it. The
/// fields hold it as it is.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The file as bytes.
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
    /// There is no memory for the file.
    #[error(
        "the file needs {bytes} bytes of memory, which cannot be had; map it, which takes none for weights, or free some"
    )]
    FileMemory {
        /// Bytes of the file; `usize::MAX` if they pass the address space.
        bytes: usize,
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
    #[error(
        "the tensors need {expected} bytes of data, but the file holds {found}; it was cut off or extended, so copy or export it again"
    )]
    DataLength {
        /// Bytes that the header accounts for.
        expected: usize,
        /// Bytes after the header.
        found: usize,
    },

    // The metadata.
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

    // The graph.
    /// More nodes than [`crate::Limits::nodes`], or none.
    #[error("the graph has {count} nodes; it must have 1 to {limit}")]
    NodeCount {
        /// Nodes of the graph.
        count: usize,
        /// Nodes allowed.
        limit: usize,
    },
    /// A name that is empty, too long or holds control characters.
    #[error("{name:?} cannot be a name: {reason}; rename it")]
    Name {
        /// The name, cut off where it is very long.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Two values of one name.
    #[error("the name `{}` is taken by an earlier node or the graph's input; rename one of them", escaped(node))]
    DuplicateName {
        /// The name.
        node: String,
    },
    /// A node reads a value that does not stand before it.
    #[error(
        "node `{}` reads `{}`, which is neither the graph's input nor an earlier node; order the nodes so that each follows what it reads",
        escaped(node),
        escaped(input)
    )]
    UnknownInput {
        /// The reading node.
        node: String,
        /// The value.
        input: String,
    },
    /// A node with the wrong number of inputs.
    #[error("node `{}` ({op}) reads {found} values, but must read {expected}", escaped(node))]
    InputCount {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// How many it must read.
        expected: &'static str,
        /// How many it reads.
        found: usize,
    },
    /// A node's input has the wrong rank.
    #[error(
        "node `{}` ({op}) reads `{}`, which has shape {shape}, but it needs {expected}",
        escaped(node),
        escaped(input)
    )]
    Rank {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What it must read, and how to get there.
        expected: &'static str,
        /// The value it reads.
        input: String,
        /// The value's shape.
        shape: Shape,
    },
    /// Two inputs of a node do not go together.
    #[error("node `{}` ({op}) reads values of shapes {first} and {second}; {rule}", escaped(node))]
    ShapesDiffer {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Shape of its first input.
        first: Shape,
        /// Shape of the input that does not fit it.
        second: Shape,
        /// What would fit.
        rule: &'static str,
    },
    /// A window or convolution that does not fit its input.
    #[error("node `{}` ({op}) does not fit its input of shape {shape}: {}", escaped(node), escaped(reason))]
    Geometry {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Shape of its input.
        shape: Shape,
        /// Which sizes disagree.
        reason: String,
    },
    /// A value of zero elements, or of more than [`crate::Limits::value_elements`].
    #[error("value `{}` of shape {shape} has {elements} elements a sample; it must have 1 to {limit}", escaped(name))]
    ValueSize {
        /// The value's name.
        name: String,
        /// Its shape.
        shape: Shape,
        /// Its elements.
        elements: usize,
        /// Elements allowed.
        limit: usize,
    },
    /// The graph's output is not one of its nodes.
    #[error("the output `{}` is not a node of the graph; name one of its nodes", escaped(output))]
    UnknownOutput {
        /// The name.
        output: String,
    },
    /// A node whose value goes nowhere.
    #[error(
        "nobody reads node `{}` and it is not the output `{}`; remove it or make it the output",
        escaped(node),
        escaped(output)
    )]
    Unread {
        /// The node.
        node: String,
        /// The graph's output.
        output: String,
    },
    /// An order outside 1 to 8.
    #[error("node `{}` has order {order}; it must be 1 to {limit}", escaped(node))]
    Order {
        /// The node.
        node: String,
        /// Its order.
        order: usize,
        /// The highest order allowed.
        limit: usize,
    },
    /// An `affine_by_order` that names no binary layer.
    #[error(
        "node `{}` goes by the order of `{}`, which is no binary layer of the graph; name one",
        escaped(node),
        escaped(layer)
    )]
    OrderOf {
        /// The node.
        node: String,
        /// What it names.
        layer: String,
    },
    /// An `affine_by_order` with rows for other orders than its layer has.
    #[error(
        "node `{}` has {rows} rows, but `{}`, by whose order it goes, has {order} orders; give one row an order",
        escaped(node),
        escaped(layer)
    )]
    RowsByOrder {
        /// The node.
        node: String,
        /// The binary layer.
        layer: String,
        /// The node's rows.
        rows: usize,
        /// The layer's highest order.
        order: usize,
    },
    /// No weight basis, or too many.
    #[error("node `{}` has {count} weight bases; it must have 1 to {limit}", escaped(node))]
    Bases {
        /// The node.
        node: String,
        /// Its bases.
        count: usize,
        /// Bases allowed.
        limit: usize,
    },
    /// A codebook without entries, or with too many.
    #[error("node `{}` has a codebook of {entries} entries; it must have 1 to {limit}", escaped(node))]
    CodebookEntries {
        /// The node.
        node: String,
        /// Its entries.
        entries: usize,
        /// Entries allowed.
        limit: usize,
    },
    /// Mode `fixed` without its constants.
    #[error(
        "node `{}` has scale mode fixed, but names no `scales`; give one positive constant an order",
        escaped(node)
    )]
    ScalesMissing {
        /// The node.
        node: String,
    },
    /// Constants in a mode that has none.
    #[error(
        "node `{}` names the scales `{}`, but only scale mode fixed has any; remove them or change the mode",
        escaped(node),
        escaped(tensor)
    )]
    ScalesUnexpected {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
    },

    // The tensors.
    /// A tensor whose length is no multiple of 64, so that the next one does not start on a boundary.
    #[error("tensor `{}` has {length} bytes, which is no multiple of 64; pad it with zeros", escaped(tensor))]
    TensorLength {
        /// The tensor.
        tensor: String,
        /// Its bytes.
        length: usize,
    },
    /// The graph names a tensor that is not there.
    #[error(
        "node `{}` needs the tensor `{}`, which the file does not hold; export the model again",
        escaped(node),
        escaped(tensor)
    )]
    TensorMissing {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that nothing names.
    #[error("nothing in the graph names the tensor `{}`; remove it or name it", escaped(tensor))]
    TensorUnknown {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that is named twice.
    #[error(
        "nodes `{}` and `{}` both name the tensor `{}`; give each a tensor of its own",
        escaped(first),
        escaped(second),
        escaped(tensor)
    )]
    TensorShared {
        /// The node that names it first.
        first: String,
        /// The node that names it again.
        second: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor of the wrong element type.
    #[error(
        "tensor `{}` of node `{}` has elements of type {}, but must have {expected}",
        escaped(tensor),
        escaped(node),
        escaped(found)
    )]
    TensorDtype {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A tensor of the wrong shape.
    #[error(
        "tensor `{}` of node `{}` has shape {}, but the graph makes it {}; export the model again",
        escaped(tensor),
        escaped(node),
        escaped(found),
        escaped(expected)
    )]
    TensorShape {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The shape that the graph implies.
        expected: String,
        /// The shape in the header.
        found: String,
    },
    /// A float that is NaN or infinite.
    #[error(
        "value {index} of tensor `{}` of node `{}` is {value}; every float of a model must be finite",
        escaped(tensor),
        escaped(node)
    )]
    NotFinite {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A constant of mode `fixed` that is zero or negative.
    #[error(
        "scale {index} of tensor `{}` of node `{}` is {value}; the constants of mode fixed must be positive",
        escaped(tensor),
        escaped(node)
    )]
    ScaleNotPositive {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Padding that is not zero.
    #[error(
        "element {index} of tensor `{}` of node `{}` holds {bits:#010x} where padding must be zero",
        escaped(tensor),
        escaped(node)
    )]
    DirtyPadding {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// The element's bits.
        bits: u32,
    },
    /// A code that names no entry of its codebook.
    #[error(
        "element {index} of tensor `{}` of node `{}` holds code {code}, but the codebook has {entries} entries; codes count from 0",
        escaped(tensor),
        escaped(node)
    )]
    CodeBeyond {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element; of a builder's source the code, of a file's tensor the word.
        index: usize,
        /// The code.
        code: u8,
        /// Entries of the codebook.
        entries: usize,
    },

    /// An 8-bit weight of -128.
    #[error(
        "element {index} of tensor `{}` of node `{}` is -128; 8-bit weights are -127 to 127, scaled alike on both sides",
        escaped(tensor),
        escaped(node)
    )]
    Int8Range {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
    },
    /// An 8-bit layer whose input scale cannot be divided by.
    #[error(
        "the input scale in tensor `{}` of node `{}` is {value:e}; it must be finite and at least 2^-126",
        escaped(tensor),
        escaped(node)
    )]
    InputScale {
        /// The node.
        node: String,
        /// The tensor.
        tensor: String,
        /// The scale.
        value: f32,
    },

    // Building a model.
    /// Source values of the wrong length.
    #[error("node `{}` takes {expected} values of `{}`, but {found} were given", escaped(node), escaped(source_name))]
    SourceLength {
        /// The node.
        node: String,
        /// Which source.
        source_name: String,
        /// How many it takes.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// Source values of the wrong type.
    #[error(
        "node `{}` takes {expected} values of `{}`, but {found} values were given",
        escaped(node),
        escaped(source_name)
    )]
    SourceKind {
        /// The node.
        node: String,
        /// Which source.
        source_name: String,
        /// The type of an element that it takes.
        expected: &'static str,
        /// The type that was given.
        found: &'static str,
    },
    /// Golden input or output that is no whole number of samples, or the two of different numbers.
    #[error(
        "the golden input has {input} values and the golden output {output}, but a sample has {input_len} and {output_len}; give the same whole number of samples, at least one"
    )]
    GoldenLength {
        /// Values of the input.
        input: usize,
        /// Values of the output.
        output: usize,
        /// Values of one sample's input.
        input_len: usize,
        /// Values of one sample's output.
        output_len: usize,
    },

    // A session.
    /// A batch of no samples.
    #[error("a session's batch must be at least 1; it is the most samples of one run")]
    Batch,
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
    /// Memory that cannot be had.
    #[error("{bytes} bytes of memory are needed, which cannot be had; make the batch or the model smaller")]
    Memory {
        /// Bytes of the allocation that failed; `usize::MAX` if they pass the address space.
        bytes: usize,
    },
    /// A pool of no threads.
    #[error("a pool needs at least 1 thread; `Threads::Inline` uses the caller's")]
    NoThreads,
    /// The operating system refused threads.
    #[error("cannot start {count} threads: {}; ask for fewer", escaped(reason))]
    ThreadPool {
        /// How many were asked for.
        count: usize,
        /// Why they could not be started.
        reason: String,
    },
    /// A session with a pool of the caller's, used in a process that was forked after the session was made.
    #[error(
        "the session's thread pool belongs to the parent of this process, and a fork leaves threads behind; make the pool and the session after forking, or use Threads::Own, whose helpers are made anew"
    )]
    PoolLeftBehind,
    /// An input that is no whole number of samples, or more of them than the batch.
    #[error(
        "the input has {found} values, but must be 1 to {batch} samples of {sample}; pass whole samples, or make the session with a larger batch"
    )]
    InputLength {
        /// Values of the input.
        found: usize,
        /// Values of one sample.
        sample: usize,
        /// The most samples of one run.
        batch: usize,
    },
    /// An output whose length does not fit the input's.
    #[error(
        "the output has {found} values, but {samples} samples of {sample} need {expected}; pass a slice of {expected}"
    )]
    OutputLength {
        /// Values of the output.
        found: usize,
        /// Values that the input's samples need.
        expected: usize,
        /// Samples of the input.
        samples: usize,
        /// Values of one sample's output.
        sample: usize,
    },
    /// The caller's input holds NaN or infinity.
    #[error(
        "value {index} of the input `{}` is {value}; every value must be finite, so check what prepares the input",
        escaped(input)
    )]
    InputNotFinite {
        /// The name of the graph's input.
        input: String,
        /// The value's place.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A value became NaN or infinite inside the network.
    #[error(
        "a value of layer `{}` is NaN or infinite, or its scale overflows; the input is too large for this model, so check how it is prepared",
        escaped(layer)
    )]
    LayerNotFinite {
        /// The binary layer whose input it is, or the output.
        layer: String,
    },
    /// An order that no layer can run at.
    #[error("an order must be 1 to {limit}, not {order}")]
    OrderRange {
        /// The order asked for.
        order: usize,
        /// The highest order.
        limit: usize,
    },
    /// An order that a layer cannot run at.
    #[error(
        "layer `{}` can run at orders 1 to {limit}, not {order}; export the model with a higher order if you need it",
        escaped(layer)
    )]
    LayerOrder {
        /// The layer.
        layer: String,
        /// The order asked for.
        order: usize,
        /// The highest order that the model holds for it.
        limit: usize,
    },
    /// No binary layer of that name.
    #[error("the model has no binary layer `{}`; its binary layers are: {}", escaped(layer), escaped(known))]
    UnknownLayer {
        /// The name asked for.
        layer: String,
        /// The names that there are.
        known: String,
    },
    /// No kernel runs a layer.
    #[error("layer `{}` cannot run: {error}", escaped(layer))]
    LayerKernel {
        /// The layer.
        layer: String,
        /// What the kernel says.
        error: horq_kernels::Error,
    },
    /// A kernel refused.
    #[error(transparent)]
    Kernel(#[from] horq_kernels::Error),
}
