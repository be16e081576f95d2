//! Instruction sets: which there are, which this CPU has, which one is used.

use crate::error::Error;
use crate::layers::int8::HasDot;
use crate::simd;

/// A backend of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust over the crate `wide`; runs everywhere.
    Portable,
    /// x86-64-v2 (SSSE3 and SSE4.2); popcount by pshufb.
    Popcnt,
    /// AVX2 and FMA; popcount by vpshufb.
    Avx2,
    /// AVX-512 F and BW; popcount by vpshufb.
    Avx512Bw,
    /// AVX-512 with VPOPCNTDQ.
    Avx512Vpopcnt,
    /// aarch64 NEON.
    Neon,
}

impl Isa {
    /// Every backend, on any CPU, worst first.
    pub const ALL: [Self; 6] =
        [Self::Portable, Self::Popcnt, Self::Avx2, Self::Avx512Bw, Self::Avx512Vpopcnt, Self::Neon];

    /// The name that `HORQ_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Popcnt => "popcnt",
            Self::Avx2 => "avx2",
            Self::Avx512Bw => "avx512bw",
            Self::Avx512Vpopcnt => "avx512vpopcnt",
            Self::Neon => "neon",
        }
    }

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        simd::is_available(self)
    }

    /// Whether this CPU has an instruction for dot products of bytes as wide as this backend's registers (AVX-512 VNNI,
    /// AVX-VNNI, the dot products of Armv8.2). False where the backend is not available.
    pub fn has_dot(self) -> bool {
        self.is_available() && simd::dispatch(self, HasDot)
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
        Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| Error::UnknownIsa(name.into()))
    }
}
