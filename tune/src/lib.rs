//! Finds the operating points of a model: which mixtures of orders are worth their time on this machine.
//!
//! 1. [`measure`]: every binary layer at every order, the others at their highest, as whole networks in turns: what each saves.
//! 2. [`judge`]: the same mixtures on calibration data: what each loses. With labels by cross-entropy, whose noise is a small
//!    part of accuracy's; without by the divergence of the outputs from those of the highest orders.
//! 3. [`search`]: the front of an additive model of both, layer by layer. It is the search's guide and nothing else.
//! 4. Candidates along that front, their neighbours, and every uniform order are measured and judged again as whole networks,
//!    and the front that counts is that of these figures.
//!
//! The additive model's error is in the [`Report`].

pub mod judge;
pub mod measure;
mod report;
pub mod search;
mod tune;

pub use judge::{Data, Judged};
pub use report::{Candidate, Report};
pub use tune::{Options, Step, TuneError, tune};

/// The order of each binary layer, in the order of execution.
pub type Orders = Vec<usize>;
