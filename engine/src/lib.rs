//! CPU inference for binary neural networks with high-order residual quantized activations.
//!
//! A binary layer computes with one bit a weight and a few bits an activation: the input x of a layer becomes a sum of K
//! sign vectors, x ~ b_1 H_1 + ... + b_K H_K (HORQ, Li et al., ICCV 2017), and each product with the signs of a filter is
//! an xor and a population count. K is the *order*: 1 is XNOR-Net, higher orders are more exact and cost as much more. The
//! order is a dial: a [`Session`] can run any layer at any order up to the one that the model was made for.
//!
//! # From a file to an answer
//! 1. [`Model::open`] reads a `.horq` file and validates it; [`Model::map`] maps it, and weights are never copied.
//!    A model is immutable and cheap to clone. Files come from the Python package `horq`, or from [`Builder`].
//! 2. [`Session::new`] chooses kernels for this CPU, plans the memory and allocates it.
//! 3. [`Session::run`] answers one or more samples: f32 values, batch first, channels last (NHWC). On one thread it allocates nothing.
//!
//! ```
//! use horq::graph::Shape;
//! use horq::ops::{Basis, BinaryDense, Quantizer};
//! use horq::{Builder, Model, Order, ScaleMode, Session, SessionOptions};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("model.horq");
//! // A model with one binary layer: two filters over four inputs, made for orders up to 2.
//! let weight = [1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0];
//! let quantizer = Quantizer::new(Order::new(2)?, ScaleMode::Image);
//! let mut builder = Builder::new("x", Shape::Flat(4));
//! builder.add("y", &["x"], BinaryDense::new(2, quantizer, [Basis::new(&weight, &[1.0, 0.5])]))?;
//! builder.write("y", &path)?;
//!
//! let model = Model::open(&path)?;
//! let mut session = Session::new(&model, SessionOptions::new())?;
//! let mut output = vec![0.0; session.output_len()];
//!
//! // x = (3, 1, -1, 1): b_1 = 1.5 with signs (+ + - +), then b_2 = 0.75 with signs (+ - + -).
//! session.run(&[3.0, 1.0, -1.0, 1.0], &mut output)?;
//! assert_eq!(output, [1.5 * 4.0 - 0.75 * 2.0, 0.5 * (1.5 * 0.0 - 0.75 * 2.0)]);
//!
//! session.set_order(Order::ONE); // faster, and less exact
//! session.run(&[3.0, 1.0, -1.0, 1.0], &mut output)?;
//! assert_eq!(output, [6.0, 0.0]);
//! # Ok::<(), horq::Error>(())
//! ```
//!
//! # In a service
//! A [`Session`] belongs to one thread at a time and is [`Send`]; many sessions share one [`Model`]. By default a run uses
//! the calling thread and no other; [`Threads`] says how to give it more. [`SessionOptions::profile`] measures where the
//! time of each layer goes. Results are the same bits on every instruction set, with any threads and in any batch.
//!
//! # Errors
//! Every fallible call returns [`Error`], which says what was wrong and what to do, on one line: names and other text from
//! files stand in it as [`escaped`] shows them, so that no file forges a line of a log. NaN and infinity are errors, not
//! results. No file and no input makes this crate panic. [`Error::kind`] tells a bad file from a bad call and from a want of
//! memory or threads; [`error`] lists what each category holds.
//!
//! # Environment
//! `HORQ_ISA` forces an instruction set (`portable`, `sse42`, `avx2`, `avx512bw`, `avx512vpopcnt`, `neon`);
//! `HORQ_REQUIRE_ISA` lists those that must be there. See [`Isa`].

mod builder;
pub mod error;
mod escape;
mod files;
mod format;
pub mod graph;
mod limits;
mod macs;
mod model;
mod observe;
pub mod ops;
mod order;
mod plan;
mod points;
mod profile;
pub mod selftest;
mod session;
mod shape;
mod slot;
mod tensor;
mod threads;
mod trace;
mod values;

pub use builder::Builder;
pub use error::{Error, ErrorKind};
pub use escape::{Escaped, escaped};
pub use files::replace_file;
pub use format::{FIRST_BYTES, FileGroup, FileKind};
pub use horq_kernels::{BinaryKernel, Isa, MAX_ORDER, MIN_HALVING_SCALE, Padding, ScaleMode, Stage, Window};
pub use horq_provenance as provenance;
pub use limits::{
    ALIGNMENT, Limits, MAX_BASES, MAX_CASCADES, MAX_CODEBOOK_ENTRIES, MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_INPUTS,
    MAX_NAME_BYTES, MAX_NODES, MAX_POINTS, MAX_VALUE_ELEMENTS, SESSION_BYTES, VERSION,
};
pub use macs::Macs;
pub use model::{Golden, Model};
pub use observe::{Observer, Span};
pub use order::Order;
pub use points::{Cascade, DEFAULT_POINT, Latency, Loss, Point, Points};
pub use profile::{BinaryProfile, LayerProfile};
#[doc(no_inline)]
pub use rayon;
pub use session::{Answer, CancelToken, Poll, PooledSession, RunOptions, Session, SessionOptions, SessionPool};
pub use tensor::{Plain, PlainValues};
pub use threads::{MAX_THREADS, Threads};
pub use trace::Trace;
pub use values::Values;
