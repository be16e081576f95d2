//! Instruction sets: which there are, which this CPU has, which one is used.

use super::{Backend, Op};
use crate::error::Error;

/// A backend of the kernels.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust over the crate `wide`; runs everywhere.
    Portable,
    /// x86-64-v2 (SSSE3 and SSE4.2); popcount by pshufb.
    Sse42,
    /// AVX2 and FMA; popcount by vpshufb.
    Avx2,
    /// AVX-512 F and BW; popcount by vpshufb.
    Avx512Bw,
    /// AVX-512 with VPOPCNTDQ, VBMI and VNNI (Ice Lake, Zen 4 and later).
    Avx512Vpopcnt,
    /// aarch64 NEON.
    Neon,
}

/// What is known of a backend on any CPU.
struct Row {
    isa: Isa,
    name: &'static str,
    /// None for one that runs everywhere.
    arch: Option<&'static str>,
    description: &'static str,
}

const X86: Option<&str> = Some("x86_64");

/// Every backend, worst first, in the order of the enum.
#[rustfmt::skip]
const ROWS: [Row; 6] = [
    Row { isa: Isa::Portable, name: "portable", arch: None, description: "shifts and adds in plain Rust" },
    Row { isa: Isa::Sse42, name: "sse42", arch: X86, description: "PSHUFB tables, 128 bits" },
    Row { isa: Isa::Avx2, name: "avx2", arch: X86, description: "VPSHUFB tables, 256 bits" },
    Row { isa: Isa::Avx512Bw, name: "avx512bw", arch: X86, description: "VPSHUFB tables, 512 bits" },
    Row { isa: Isa::Avx512Vpopcnt, name: "avx512vpopcnt", arch: X86, description: "VPOPCNTD, 512 bits" },
    Row { isa: Isa::Neon, name: "neon", arch: Some("aarch64"), description: "CNT, 128 bits" },
];

impl Isa {
    /// Every backend, on any CPU, worst first.
    pub const ALL: [Self; ROWS.len()] = {
        let mut all = [Self::Portable; ROWS.len()];
        let mut i = 0;
        while i < all.len() {
            assert!(ROWS[i].isa as usize == i, "rows must stand in the order of the enum");
            all[i] = ROWS[i].isa;
            i += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The name that `HORQ_ISA` takes.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it counts bits with, and in vectors of how many bits.
    pub const fn description(self) -> &'static str {
        self.row().description
    }

    /// The architecture that it belongs to, as [`std::env::consts::ARCH`] names it; none for one that runs on any.
    pub const fn arch(self) -> Option<&'static str> {
        self.row().arch
    }

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        super::try_dispatch(self, Nothing).is_some()
    }

    /// Whether this CPU has an instruction for dot products of bytes as wide as this backend's registers (AVX-512 VNNI,
    /// AVX-VNNI, the dot products of Armv8.2). False where the backend is not available.
    pub fn has_dot(self) -> bool {
        super::try_dispatch(self, HasDot) == Some(true)
    }

    /// The backends that this CPU can run, worst first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The backend to use: the one that `HORQ_ISA` names, else the best of this CPU. If `HORQ_REQUIRE_ISA` lists names
    /// (separated by commas), each of them must be available. An empty variable counts as unset.
    ///
    /// # Errors
    /// [`Error::UnknownIsa`], also for a value that is no text, or [`Error::MissingIsa`] if a forced or required one is not
    /// available.
    pub fn from_env() -> Result<Self, Error> {
        let read = |name| {
            // What is no UTF-8 gets replacement characters, which no name has.
            let value = std::env::var_os(name)?.to_string_lossy().into_owned();
            Some(value).filter(|value| !value.trim().is_empty())
        };
        for required in read("HORQ_REQUIRE_ISA").unwrap_or_default().split(',').filter(|name| !name.trim().is_empty()) {
            required.trim().parse::<Self>()?.check()?;
        }
        match read("HORQ_ISA") {
            Some(forced) => forced.trim().parse::<Self>()?.check(),
            None => Ok(Self::available().last().expect("the portable backend is always available")),
        }
    }

    /// This backend, if the CPU can run it.
    ///
    /// # Errors
    /// [`Error::MissingIsa`] if it cannot.
    pub fn check(self) -> Result<Self, Error> {
        if self.is_available() {
            return Ok(self);
        }
        let names: Vec<_> = Self::available().map(Self::name).collect();
        Err(Error::MissingIsa(self.name(), names.join(", ")))
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownIsa(name.into(), Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(unknown)
    }
}

/// Asks nothing of a backend but to be there.
struct Nothing;

impl Op for Nothing {
    type Output = ();

    #[inline(always)]
    fn run<S: Backend>(self, _: S) {}
}

/// Asks a backend for [`Backend::has_dot`].
struct HasDot;

impl Op for HasDot {
    type Output = bool;

    #[inline(always)]
    fn run<S: Backend>(self, simd: S) -> bool {
        simd.has_dot()
    }
}
