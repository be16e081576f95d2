//! What workers are made of. It stands apart so that a model of them (`tests/handing_over.rs`) can put parts in its place whose
//! order of steps it chooses.

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(super) use std::sync::{Arc, Mutex};
pub(super) use std::thread::{self, JoinHandle};
pub(super) use std::time::Instant;
