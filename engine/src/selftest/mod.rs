//! One number that tells whether a CPU computes what every other one does.
//!
//! The self-test runs the bundled models, a small network for each family of operations, and networks whose sizes reach the
//! loops of the kernels, at every order, and takes the SHA-256 of all bits of all answers. Answers have the same bits
//! everywhere, so that number is the same on every backend, with any threads and in any floating-point mode of the caller:
//! [`FINGERPRINT`] for this version of the engine.
//!
//! ```
//! use horq::selftest::{FINGERPRINT, Fingerprint};
//! use horq::{Isa, Threads};
//!
//! let here = Fingerprint::of(Isa::from_env()?, Threads::Inline)?;
//! assert_eq!(here.number(), FINGERPRINT);
//! # Ok::<(), horq::Error>(())
//! ```

mod cases;
mod locate;
mod networks;
mod noise;

use crate::{Error, Isa, Threads};
use cases::{Case, cases};
use sha2::{Digest, Sha256};

/// What [`Fingerprint::number`] gives on every CPU, for this version of the engine: 16 hex digits.
pub const FINGERPRINT: &str = include_str!("fingerprint.txt").trim_ascii();

/// What one backend answers to everything that the self-test asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    isa: Isa,
    /// A digest for each network, in the order of the cases.
    digests: Vec<[u8; 32]>,
}

impl Fingerprint {
    /// Runs everything on that backend and those threads; takes a few tenths of a second in a release build, and some
    /// megabytes while it runs.
    ///
    /// # Errors
    /// [`CpuError::Kernel`](crate::error::CpuError::Kernel) if this CPU lacks the backend, and what a session needs and cannot have: memory or threads.
    pub fn of(isa: Isa, threads: Threads) -> Result<Self, Error> {
        let digests = cases()?.iter().map(|case| case.digest(isa, &threads)).collect::<Result<_, _>>()?;
        Ok(Self { isa, digests })
    }

    /// The backend that it is of.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number: the first 16 hex digits of the SHA-256 of all answers.
    pub fn number(&self) -> String {
        let whole = self.digests.iter().fold(Sha256::new(), |all, digest| all.chain_update(digest)).finalize();
        whole[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the self-test found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Each backend of this CPU with its number, worst first.
    pub numbers: Vec<(Isa, String)>,
    /// What is wrong, one for each backend with another number than [`FINGERPRINT`].
    pub faults: Vec<Fault>,
}

/// A backend that answers otherwise than all CPUs must.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The backend.
    pub isa: Isa,
    /// Its number.
    pub number: String,
    /// The first network of the self-test that a right backend of this CPU answers otherwise, the order at which it does,
    /// and the first layer that differs; none where no backend of this CPU gives the right number.
    pub place: Option<Place>,
}

/// Where two backends part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The network, as the self-test names it.
    pub network: String,
    /// The order at which its binary layers ran.
    pub order: usize,
    /// The first layer whose values differ; none if each layer alone is right, so that only the planes that pass between
    /// two of them can be wrong.
    pub layer: Option<String>,
    /// The backend whose answer is right.
    pub right: Isa,
}

/// Runs the self-test on every backend of this CPU, each on the calling thread alone; `HORQ_ISA` is not asked. It takes a second or less in a
/// release build on a CPU of today.
///
/// ```
/// let report = horq::selftest::run()?;
/// assert!(report.faults.is_empty(), "{:?}", report.faults);
/// # Ok::<(), horq::Error>(())
/// ```
///
/// # Errors
/// [`Error::Resource`] if memory is missing. That a backend answers otherwise is no error but a [`Fault`] in the report.
pub fn run() -> Result<Report, Error> {
    let cases = cases()?;
    let of = |isa: Isa| -> Result<Fingerprint, Error> {
        let digests = cases.iter().map(|case| case.digest(isa, &Threads::Inline)).collect::<Result<_, _>>()?;
        Ok(Fingerprint { isa, digests })
    };
    let prints: Vec<Fingerprint> = Isa::available().map(of).collect::<Result<_, _>>()?;
    judge(&cases, &prints, FINGERPRINT)
}

/// Compares what the backends answered with the number that they should have.
fn judge(cases: &[Case], prints: &[Fingerprint], expected: &str) -> Result<Report, Error> {
    let numbers: Vec<(Isa, String)> = prints.iter().map(|print| (print.isa, print.number())).collect();
    let right = prints.iter().zip(&numbers).find(|(_, (_, number))| number == expected).map(|(print, _)| print);
    let wrong = prints.iter().zip(&numbers).filter(|(_, (_, number))| number != expected);
    let fault = |(print, (isa, number)): (&Fingerprint, &(Isa, String))| {
        let place = right.map(|right| locate::place(cases, right, print)).transpose()?.flatten();
        Ok(Fault { isa: *isa, number: number.clone(), place })
    };
    Ok(Report { faults: wrong.map(fault).collect::<Result<_, Error>>()?, numbers })
}

impl Fault {
    /// The fault of a backend that gives that number; the report of [`run`] holds them.
    pub fn new(isa: Isa, number: impl Into<String>, place: Option<Place>) -> Self {
        Self { isa, number: number.into(), place }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { isa, number, place } = self;
        write!(f, "{isa} gives {number} and not {FINGERPRINT}")?;
        let Some(Place { network, order, layer, right }) = place else {
            return write!(f, ", and no backend of this CPU gives the right number to compare it with");
        };
        match layer {
            Some(layer) => write!(
                f,
                ": layer `{layer}` of network `{network}` at order {order} is the first that differs from {right}"
            ),
            None => write!(
                f,
                ": network `{network}` at order {order} differs from {right}, but none of its layers alone; the planes that \
                 pass between two of them do"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
