//! The operations of a graph, with names of tensors in a [`Graph`](crate::graph::Graph) and with values in a
//! [`Builder`](crate::Builder).

// Everything that the engine knows of an operation stands in the file of its family. The list at the end of this file makes
// the enumeration `Op`, the table of names, the parser and the dispatch. An operation that is listed there must implement `Body`
// (its fields) and `Operation` (its shape, its tensors and its role in a session), or `Bare` for both if it has no fields. Their
// methods have no defaults, so nothing of it can be forgotten.

mod adaptive_pool;
mod affine;
mod binary;
mod binary_weight;
mod codebook;
mod context;
mod elementwise;
mod embedding;
mod epilogue;
mod fields;
mod float;
mod inputs;
mod int8;
mod layer;
mod layout;
mod matmul;
mod norm;
mod pointwise;
mod pool;
mod product;
mod quantize;
mod rank;
mod rearrange;
mod reduce;
mod resize;
mod select;
mod shape;

pub use adaptive_pool::{AdaptiveAveragePool, AdaptiveMaxPool, AdaptivePool};
pub use affine::{Affine, AffineByOrder};
pub use binary::{Basis, Binary, BinaryConv2d, BinaryDense, Quantizer};
pub use binary_weight::{BinaryWeight, BinaryWeightConv2d, BinaryWeightDense};
pub use codebook::{Codebook, CodebookConv2d, CodebookDense};
pub(crate) use context::{Context, Reader};
pub use elementwise::{Add, Clip, HardSwish, Prelu, Relu, Softmax};
pub use embedding::Embedding;
pub(crate) use epilogue::{MAX_STEPS, StepSpec};
pub use fields::Fields;
pub use float::{Conv2d, Dense, Float};
pub(crate) use inputs::Inputs;
pub use int8::{Int8, Int8Conv2d, Int8Dense, Int8Quantize};
pub(crate) use layer::{Call, Callers, Compute, Layer, LayerError, Operands};
pub use layout::{Flat, SignPadded, Sliding};
pub use matmul::MatMul;
pub use norm::{GroupNorm, LayerNorm, LogSoftmax, Lrn, RmsNorm};
pub use pointwise::{Elu, Power};
pub use pool::{AveragePool, GlobalAveragePool, MaxPool, Pool};
pub(crate) use product::Product;
pub use product::Weighted;
pub use quantize::{FakeQuantize, MultiThreshold, Sign};
pub use rank::{ArgMax, TopK};
pub use rearrange::Rearrange;
pub use reduce::{Reduce, ReduceL2, ReduceMax, ReduceMean, ReduceMin, ReduceProduct, ReduceSum};
pub use resize::{MAX_RESIZED, Resize, ResizeMode};
pub use select::{Gather, Pad, Slice, ZeroInsert};
pub use shape::{Concat, Flatten, Join};

pub use horq_plain::rearrange::MAX_AXES;
pub use horq_plain::resize::{Coordinates, Outside, Rounding};
pub use horq_plain::select::Border;

pub use horq_plain::pointwise::{
    Abs, BroadcastAdd, Ceil, Cos, Divide, Equal, Erf, Exp, Floor, Gelu, GeluTanh, Greater, Less, Log, Maximum, Minimum,
    Mish, Multiply, Reciprocal, Round, Sigmoid, Silu, Sin, Softplus, Sqrt, Subtract, Tanh, Where,
};

use horq_kernels::{BinarySpec, Geometry, Memory, ScaleMode, Window};
use serde::Serialize;

use crate::Error;
use crate::macs::Macs;
use crate::shape::Shape;
use crate::tensor::TensorSpec;

/// The fields of an operation, `T` standing for a tensor: its name in a graph, its values in a [`crate::Builder`].
trait Body<T>: Sized {
    /// The same operation with other tensors.
    type With<U>;

    /// Reads the fields.
    fn parse<F: Fields<T>>(fields: &F) -> Result<Self, F::Error>;

    /// Puts what `f` makes of each tensor in its place. `f` gets the tensor's role, by which a builder names it: the field, for
    /// a list the key and the place in the list (`weight.0`).
    fn map<U>(self, f: &mut impl FnMut(&str, T) -> U) -> Self::With<U>;
}

/// An operation that stands in the list at the end of this file, which implements this and nothing else does.
trait Listed {}

/// What the engine must know of an operation.
trait Operation: Listed {
    /// The shape of its value, given those of its inputs, whose number it checks.
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error>;

    /// The tensors that it names, in the order in which a builder writes them, for a first input of a shape that
    /// [`Self::infer`] has accepted.
    fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>>;

    /// What becomes of it in a session.
    fn role(&self) -> Role<'_>;
}

/// An operation without fields: its [`Body`] and its [`Operation`].
trait Bare: Listed + Default {
    /// [`Operation::infer`].
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error>;
    /// [`Operation::role`].
    fn role(&self) -> Role<'_>;
}

impl<T, B: Bare> Body<T> for B {
    type With<U> = Self;

    fn parse<F: Fields<T>>(_: &F) -> Result<Self, F::Error> {
        Ok(Self::default())
    }

    fn map<U>(self, _: &mut impl FnMut(&str, T) -> U) -> Self {
        self
    }
}

impl<B: Bare> Operation for B {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Shape, Error> {
        Bare::infer(self, inputs)
    }

    fn tensors(&self, _: Shape) -> Vec<TensorSpec<'_>> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Bare::role(self)
    }
}

/// What becomes of an operation in a session.
pub(crate) enum Role<'a> {
    /// A layer whose kernel takes the steps behind it into its epilogue.
    Product(&'a dyn Product),
    /// A step of the epilogue before it, or a layer of its own where there is none.
    Step(StepSpec<'a>),
    /// A pool, which a binary convolution can take into its epilogue if it keeps the largest value.
    Pool { layer: &'a dyn Layer, window: &'a Window, largest: bool },
    /// Nothing: its value is its input's under another name. Where that would turn the caller's input into the caller's
    /// output, the layer copies it.
    Alias(&'a dyn Layer),
    /// A layer of its own.
    Layer(&'a dyn Layer),
}

/// The operations of version 1.0 of the format.
const OF_1_0: [&str; 22] = [
    "conv2d",
    "dense",
    "binary_conv2d",
    "binary_dense",
    "binary_weight_conv2d",
    "binary_weight_dense",
    "codebook_conv2d",
    "codebook_dense",
    "int8_conv2d",
    "int8_dense",
    "affine",
    "affine_by_order",
    "relu",
    "hard_swish",
    "prelu",
    "max_pool",
    "average_pool",
    "global_average_pool",
    "add",
    "concat",
    "flatten",
    "softmax",
];

impl Op {
    /// The shape of the operation's value, given those of its inputs.
    pub(crate) fn infer(&self, node: &str, names: &[String], shapes: &[Shape]) -> Result<Shape, Error> {
        self.operation().infer(&Inputs { node, op: self.kind(), names, shapes })
    }

    /// The tensors that the operation names, for a first input of that shape that [`crate::graph::Graph::shapes`] has accepted,
    /// in the order in which a builder writes them.
    pub fn tensors(&self, input: Shape) -> Vec<TensorSpec<'_>> {
        self.operation().tensors(input)
    }

    /// The minor version of the format that brought the operation, or the scale mode of a binary layer.
    pub(crate) fn minor_version(&self) -> u32 {
        let halves = self.quantizer().is_some_and(|quantizer| quantizer.mode == ScaleMode::Halving);
        u32::from(halves || !OF_1_0.contains(&self.kind()))
    }

    /// What becomes of it in a session.
    pub(crate) fn role(&self) -> Role<'_> {
        self.operation().role()
    }

    fn product(&self) -> Option<&dyn Product> {
        if let Role::Product(product) = self.role() { Some(product) } else { None }
    }

    /// The window of a convolution or pooling.
    pub fn window(&self) -> Option<&Window> {
        match self.role() {
            Role::Product(product) => product.window(),
            Role::Pool { window, .. } => Some(window),
            Role::Step(_) | Role::Alias(_) | Role::Layer(_) => None,
        }
    }

    /// The residual quantizer of a binary layer.
    pub fn quantizer(&self) -> Option<&Quantizer> {
        self.product()?.quantizer()
    }

    /// What a binary layer on an input of that shape is, for so many samples; none for other operations.
    pub(crate) fn binary_spec(&self, input: Shape, max_batch: usize) -> Option<BinarySpec> {
        self.product()?.binary(input, max_batch)
    }

    /// The geometry of a convolution or matrix product on an input of that shape; none for other operations.
    pub fn geometry(&self, input: Shape) -> Option<Geometry> {
        self.product()?.geometry(input).ok()
    }

    /// The multiply-accumulates of one sample, a binary layer at its highest order; padded taps counted. None for what is neither
    /// a convolution nor a matrix product. `input` is the shape of the first input, `output` that of the value.
    pub fn macs(&self, input: Shape, output: Shape) -> Macs {
        let of_product = |product: &dyn Product| {
            let order = product.quantizer().map_or(1, |quantizer| quantizer.order);
            Some(product.macs(product.products(input, output)?).at_order(order))
        };
        self.product().and_then(of_product).unwrap_or_default()
    }

    /// Of an operation that goes by the order of a binary layer: that layer's name, and for how many orders it has values.
    pub(crate) fn order_of(&self) -> Option<(&str, usize)> {
        if let Role::Step(step) = self.role() { step.order_of() } else { None }
    }
}

/// What the layer that `context` describes takes beside its values; allocates nothing of it.
pub(crate) fn memory(context: &Context<'_>) -> Result<Memory, Error> {
    match context.op.role() {
        Role::Product(product) => product.memory(context),
        Role::Pool { layer, .. } | Role::Alias(layer) | Role::Layer(layer) => layer.memory(context),
        Role::Step(_) => Ok(Memory::default()),
    }
}

/// Prepares the layer that `context` describes.
pub(crate) fn prepare(context: &Context<'_>) -> Result<Box<dyn Compute>, Error> {
    match context.op.role() {
        Role::Product(product) => product.prepare(context),
        Role::Step(step) => epilogue::alone(context, &step),
        Role::Pool { layer, .. } | Role::Alias(layer) | Role::Layer(layer) => layer.prepare(context),
    }
}

/// Makes everything that lists all operations.
macro_rules! operations {
    ($($(#[doc = $doc:literal])* $variant:ident($body:ty) = $name:literal,)*) => {
        /// What a node computes, `T` standing for a tensor: its name in a graph, its values in a [`crate::Builder`].
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "op")]
        #[non_exhaustive]
        pub enum Op<T = String> {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant($body),)*
        }

        impl Op {
            /// The names of all operations.
            pub const KINDS: &[&str] = &[$($name),*];

            fn operation(&self) -> &dyn Operation {
                match self {
                    $(Self::$variant(op) => op,)*
                }
            }
        }

        impl<T> Op<T> {
            /// The operation of that name with these fields; none if there is no such operation.
            pub fn parse<F: Fields<T>>(kind: &str, fields: &F) -> Option<Result<Self, F::Error>> {
                match kind {
                    $($name => Some(<$body as Body<T>>::parse(fields).map(Self::$variant)),)*
                    _ => None,
                }
            }

            /// The operation's name in the file.
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// Puts what `f` makes of each tensor and its role (`weight`, `alpha.0`) in the tensor's place.
            pub(crate) fn map<U>(self, mut f: impl FnMut(&str, T) -> U) -> Op<U> {
                match self {
                    $(Self::$variant(op) => Op::$variant(Body::<T>::map(op, &mut f)),)*
                }
            }
        }

        const _: () = {
            type T = String;
            $(impl Listed for $body {})*
        };

        $(impl<T> From<$body> for Op<T> {
            fn from(op: $body) -> Self {
                Self::$variant(op)
            }
        })*
    };
}

operations! {
    /// f32 convolution: y = x * w + bias. Padding contributes zero.
    Conv2d(Conv2d<T>) = "conv2d",
    /// f32 matrix product on a flat value: y = W x + bias.
    Dense(Dense<T>) = "dense",
    /// Convolution of residual-quantized activations with binary weights:
    /// y = sum_l alpha_l * (sum_k b_k (H_k . B_l)) + bias.
    BinaryConv2d(BinaryConv2d<T>) = "binary_conv2d",
    /// Matrix product of a residual-quantized vector with binary weights:
    /// y = sum_l alpha_l * (sum_k b_k (H_k . B_l)) + bias.
    BinaryDense(BinaryDense<T>) = "binary_dense",
    /// Convolution of f32 activations with binary weights (BWN, BWNH): y = alpha * (x . B) + bias. Padding contributes zero.
    BinaryWeightConv2d(BinaryWeightConv2d<T>) = "binary_weight_conv2d",
    /// Matrix product of an f32 vector with binary weights: y = alpha * (x . B) + bias.
    BinaryWeightDense(BinaryWeightDense<T>) = "binary_weight_dense",
    /// f32 convolution whose weights are entries of a codebook (DQC, INQ). Padding contributes zero.
    CodebookConv2d(CodebookConv2d<T>) = "codebook_conv2d",
    /// f32 matrix product whose weights are entries of a codebook.
    CodebookDense(CodebookDense<T>) = "codebook_dense",
    /// Convolution of 8-bit weights and activations quantized to 8 bits: y = alpha * (sum of (q - zero_point) * w) + bias, the
    /// sum being an exact integer. Padding contributes zero.
    Int8Conv2d(Int8Conv2d<T>) = "int8_conv2d",
    /// Matrix product of 8-bit weights and a vector quantized to 8 bits: y = alpha * (sum of (q - zero_point) * w) + bias, the
    /// sum being an exact integer.
    Int8Dense(Int8Dense<T>) = "int8_dense",
    /// y = x * scale + shift by channel, rounded after each step.
    Affine(Affine<T>) = "affine",
    /// An affine for each order of a binary layer, the first of which at its order 1: a batch norm that every order of the
    /// dial has of its own.
    AffineByOrder(AffineByOrder<T>) = "affine_by_order",
    /// y = max(x, 0).
    Relu(Relu) = "relu",
    /// y = x * min(max(x + 3, 0), 6) / 6.
    HardSwish(HardSwish) = "hard_swish",
    /// y = x where x >= 0, else x * slope by channel.
    Prelu(Prelu<T>) = "prelu",
    /// y = min(max(x, low), high).
    Clip(Clip<T>) = "clip",
    /// y = 1 / (1 + e^-x).
    Sigmoid(Sigmoid) = "sigmoid",
    /// The hyperbolic tangent.
    Tanh(Tanh) = "tanh",
    /// y = x / (1 + e^-x).
    Silu(Silu) = "silu",
    /// y = x (1 + erf(x / sqrt 2)) / 2.
    Gelu(Gelu) = "gelu",
    /// y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    GeluTanh(GeluTanh) = "gelu_tanh",
    /// The error function.
    Erf(Erf) = "erf",
    /// y = e^x.
    Exp(Exp) = "exp",
    /// The natural logarithm.
    Log(Log) = "log",
    /// The square root.
    Sqrt(Sqrt) = "sqrt",
    /// y = 1 / x.
    Reciprocal(Reciprocal) = "reciprocal",
    /// y = |x|.
    Abs(Abs) = "abs",
    /// The largest integer that is not above x.
    Floor(Floor) = "floor",
    /// The smallest integer that is not below x.
    Ceil(Ceil) = "ceil",
    /// The nearest integer, ties to even.
    Round(Round) = "round",
    /// y = log(1 + e^x).
    Softplus(Softplus) = "softplus",
    /// y = x tanh(log(1 + e^x)).
    Mish(Mish) = "mish",
    /// The sine of an angle in radians.
    Sin(Sin) = "sin",
    /// The cosine of an angle in radians.
    Cos(Cos) = "cos",
    /// y = x where x >= 0, else alpha (e^x - 1).
    Elu(Elu<T>) = "elu",
    /// x to the power of a constant.
    Power(Power<T>) = "power",
    /// The sum of two values that are broadcast to one shape.
    BroadcastAdd(BroadcastAdd) = "broadcast_add",
    /// The first value minus the second.
    Subtract(Subtract) = "subtract",
    /// The product of two values.
    Multiply(Multiply) = "multiply",
    /// The first value over the second.
    Divide(Divide) = "divide",
    /// The smaller of two values.
    Minimum(Minimum) = "minimum",
    /// The larger of two values.
    Maximum(Maximum) = "maximum",
    /// 1 where the first value is greater than the second, else 0.
    Greater(Greater) = "greater",
    /// 1 where the first value is less than the second, else 0.
    Less(Less) = "less",
    /// 1 where two values are equal, else 0.
    Equal(Equal) = "equal",
    /// The second value where the first is not 0, else the third.
    Where(Where) = "where",
    /// The mean along some axes.
    ReduceMean(ReduceMean) = "reduce_mean",
    /// The sum along some axes.
    ReduceSum(ReduceSum) = "reduce_sum",
    /// The largest value along some axes.
    ReduceMax(ReduceMax) = "reduce_max",
    /// The smallest value along some axes.
    ReduceMin(ReduceMin) = "reduce_min",
    /// The square root of the sum of squares along some axes.
    ReduceL2(ReduceL2) = "reduce_l2",
    /// The product along some axes.
    ReduceProduct(ReduceProduct) = "reduce_product",
    /// The largest value of each window; padded taps are left out.
    MaxPool(MaxPool) = "max_pool",
    /// The mean of each window; padded taps are left out of the mean.
    AveragePool(AveragePool) = "average_pool",
    /// The mean of each channel over the image; the result is flat.
    GlobalAveragePool(GlobalAveragePool) = "global_average_pool",
    /// The sum of two values of one shape.
    Add(Add) = "add",
    /// Channels of two or more images (or vectors) side by side, in the order of the inputs.
    Concat(Concat) = "concat",
    /// An image as a vector, in memory order (height, width, channels).
    Flatten(Flatten) = "flatten",
    /// The values with their axes in another order, under a shape of their own.
    Rearrange(Rearrange) = "rearrange",
    /// Every n-th value from one place to another along each axis.
    Slice(Slice) = "slice",
    /// A border around an image: one value, or the image's own.
    Pad(Pad<T>) = "pad",
    /// Images one below the other or one beside the other, in the order of the inputs.
    Join(Join) = "join",
    /// An image of another size: by its nearest pixels, linear or cubic.
    Resize(Resize<T>) = "resize",
    /// Zeros between the pixels of an image.
    ZeroInsert(ZeroInsert) = "zero_insert",
    /// The mean of each of so many windows that share the image evenly.
    AdaptiveAveragePool(AdaptiveAveragePool) = "adaptive_average_pool",
    /// The largest value of each of so many windows that share the image evenly.
    AdaptiveMaxPool(AdaptiveMaxPool) = "adaptive_max_pool",
    /// The values at given places of an axis.
    Gather(Gather) = "gather",
    /// exp(x - max x) / sum, over the channels of each pixel.
    Softmax(Softmax) = "softmax",
    /// x - max x - log(sum of exp(x - max x)), over the channels of each pixel.
    LogSoftmax(LogSoftmax) = "log_softmax",
    /// The matrix product of two values, each row of an image a matrix.
    MatMul(MatMul) = "matmul",
    /// (x - mean) / sqrt(variance + epsilon) * scale + shift, mean and variance over the channels of each pixel.
    LayerNorm(LayerNorm<T>) = "layer_norm",
    /// (x - mean) / sqrt(variance + epsilon) * scale + shift, mean and variance over a group of channels of all pixels.
    GroupNorm(GroupNorm<T>) = "group_norm",
    /// x / sqrt(mean of squares + epsilon) * scale, over the channels of each pixel.
    RmsNorm(RmsNorm<T>) = "rms_norm",
    /// x / (bias + alpha / size * sum of squares)^beta, over neighbouring channels.
    Lrn(Lrn<T>) = "lrn",
    /// The row of a table that each value is the number of.
    Embedding(Embedding<T>) = "embedding",
    /// 1 where x >= 0, else -1.
    Sign(Sign) = "sign",
    /// The nearest step of a uniform quantizer, as a float.
    FakeQuantize(FakeQuantize<T>) = "fake_quantize",
    /// scale * (number of thresholds that x reaches) + shift.
    MultiThreshold(MultiThreshold<T>) = "multi_threshold",
    /// The place of the largest channel of each pixel.
    ArgMax(ArgMax) = "arg_max",
    /// The places of the largest channels of each pixel, largest first.
    TopK(TopK) = "top_k",
}
