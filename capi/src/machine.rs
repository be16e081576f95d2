//! What this library is, and what this CPU is to it.

use std::ffi::{CStr, c_char};
use std::ptr;

use crate::border::{guard, text, value_or, write};
use crate::failure::{Failure, Status};
use horq::selftest::{self, FINGERPRINT, Fingerprint};
use horq::{Isa, Threads};

/// What horq_abi_version() returns for a library that this header fits. Calls, and fields at the end of structs, may be added
/// under the same number.
pub const HORQ_ABI_VERSION: u32 = 1;

/// The version of the binary interface: HORQ_ABI_VERSION of the header that the library was built with. A program whose header has
/// another must not go on.
#[unsafe(no_mangle)]
pub extern "C" fn horq_abi_version() -> u32 {
    HORQ_ABI_VERSION
}

/// The version of the library, such as "0.1.0". It lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn horq_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The backend that a session uses unless its options name one: the one that HORQ_ISA names, else the best of this CPU. It lives as
/// long as the program. NULL, with a message, if HORQ_ISA or HORQ_REQUIRE_ISA names one that this CPU lacks.
#[unsafe(no_mangle)]
pub extern "C" fn horq_isa() -> *const c_char {
    value_or(ptr::null(), || Ok(isa_name(Isa::from_env().map_err(horq::Error::from)?)))
}

/// The number that every backend of every CPU must give in the self-test of this version: 16 hex digits. It lives as long as
/// the program.
#[unsafe(no_mangle)]
pub extern "C" fn horq_fingerprint() -> *const c_char {
    const NUMBER: &[u8; 17] = &with_zero(FINGERPRINT);
    NUMBER.as_ptr().cast()
}

/// Runs the self-test on one backend (NULL for that of horq_isa()) and writes the number that it gives and a zero byte to `number`,
/// 17 bytes. It takes a few tenths of a second.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn horq_selftest_number(isa: *const c_char, number: *mut c_char) -> Status {
    guard(|| {
        let isa = match isa.is_null() {
            true => Isa::from_env(),
            // SAFETY: the contract of all calls.
            false => unsafe { text(isa, "isa") }?.parse().and_then(Isa::check),
        };
        let found = Fingerprint::of(isa.map_err(horq::Error::from)?, Threads::Inline)?.number();
        // SAFETY: as above.
        unsafe { write(number.cast::<[u8; 17]>(), "number", with_zero(&found)) }
    })
}

/// Runs the self-test on every backend of this CPU: HORQ_STATUS_OK if all give the number that they must. HORQ_STATUS_CPU if one does
/// not; the message names it and the first layer that differs. It takes a second or so.
#[unsafe(no_mangle)]
pub extern "C" fn horq_selftest() -> Status {
    guard(|| match selftest::run()?.faults.first() {
        None => Ok(()),
        Some(fault) => Err(Failure::new(Status::Cpu, fault.to_string())),
    })
}

/// The 16 digits of a fingerprint, with a zero byte behind them.
const fn with_zero(number: &str) -> [u8; 17] {
    assert!(number.len() == 16, "a fingerprint has 16 digits");
    let (mut text, mut i) = ([0; 17], 0);
    while i < 16 {
        text[i] = number.as_bytes()[i];
        i += 1;
    }
    text
}

/// The name of a backend with a zero byte behind it.
pub(crate) fn isa_name(isa: Isa) -> *const c_char {
    const NAMES: [&CStr; 6] = [c"portable", c"sse42", c"avx2", c"avx512bw", c"avx512vpopcnt", c"neon"];
    let same = |name: &&&CStr| name.to_bytes() == isa.name().as_bytes();
    NAMES.iter().find(same).map_or(ptr::null(), |name| name.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_its_name() {
        for isa in Isa::ALL {
            assert!(!isa_name(isa).is_null(), "{isa}");
            // SAFETY: the name is a static string.
            assert_eq!(unsafe { CStr::from_ptr(isa_name(isa)) }.to_str(), Ok(isa.name()));
        }
    }
}
