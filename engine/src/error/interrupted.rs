//! Runs that were called off.

use crate::escape::escaped;
use std::time::Duration;

/// Why a run ended before its time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interruption {
    /// Its [`CancelToken`](crate::CancelToken) was cancelled, or its caller said so when asked.
    Cancelled,
    /// Its deadline has passed.
    Deadline,
}

/// A run that was called off. Its outputs are unspecified; the session is as good as before, and its next run is exact.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptedError {
    /// Why.
    pub reason: Interruption,
    /// The last layer that the first unfinished samples came through; none if they did not come through any.
    pub layer: Option<String>,
    /// How many samples were finished. Where passes ran side by side, these need not be the first ones.
    pub samples: usize,
    /// How long the fastest operating point is expected to take, where that was more than there was time
    /// ([`Session::run_within`](crate::Session::run_within)).
    pub fastest: Option<Duration>,
}

impl std::fmt::Display for InterruptedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = match self.reason {
            Interruption::Cancelled => "was cancelled",
            Interruption::Deadline => "passed its deadline",
        };
        write!(f, "the run {reason} ")?;
        match &self.layer {
            Some(layer) => write!(f, "after layer `{}`", escaped(layer))?,
            None => f.write_str("before its next samples came through a layer")?,
        }
        write!(f, "; {} samples were finished, and the session can run again", self.samples)?;
        match self.fastest {
            Some(fastest) => write!(f, "; even the fastest operating point takes {fastest:.1?}, so give it more time"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for InterruptedError {}
