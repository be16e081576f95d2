//! The floating-point environment around calls: the default inside, the caller's outside, whatever happens.
#![cfg(target_arch = "x86_64")]

use horq_kernels::float_env::{in_callers, in_default};
use std::arch::asm;
use std::panic::{AssertUnwindSafe, catch_unwind};

const DEFAULT: u32 = 0x1f80;
/// Flush-to-zero, rounding up, no trap masked, two flags set.
const HOSTILE: u32 = 0x8000 | 0x4000 | 0x21;

fn read() -> u32 {
    let mut mode = 0;
    // SAFETY: stmxcsr stores 32 bits at that address.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mode) };
    mode
}

fn write(mode: u32) {
    // SAFETY: no arithmetic is done until the default is back.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mode) };
}

/// The registers within and after, called in a hostile mode.
fn observe(around: impl FnOnce(&dyn Fn() -> u32) -> u32) -> (u32, u32) {
    observe_from(HOSTILE, around)
}

/// The same, called in `mode`; the default is put back.
fn observe_from(mode: u32, around: impl FnOnce(&dyn Fn() -> u32) -> u32) -> (u32, u32) {
    write(mode);
    let inside = around(&read);
    let after = read();
    write(DEFAULT);
    (inside, after)
}

#[test]
fn the_default_inside_and_the_callers_outside() {
    assert_eq!(observe(|read| in_default(read)), (DEFAULT, HOSTILE));
    assert_eq!(observe(|read| in_default(|| in_default(read))), (DEFAULT, HOSTILE));
    assert_eq!(observe(|read| in_callers(read)), (HOSTILE, HOSTILE));
    assert_eq!(observe(|read| in_default(|| in_callers(read))), (HOSTILE, HOSTILE));
    assert_eq!(observe(|read| in_default(|| in_callers(|| in_default(read)))), (DEFAULT, HOSTILE));
    // Exceptions inside leave no flag behind, and trap nobody.
    let divided = |read: &dyn Fn() -> u32| in_default(|| read() + (1.0 / std::hint::black_box(0.0f32) < 0.0) as u32);
    assert_eq!(observe(divided), (DEFAULT, HOSTILE));
    assert_eq!(observe_from(DEFAULT, divided), (DEFAULT, DEFAULT));
    // Flags alone change no arithmetic, so they may stay; they are what they were afterwards.
    assert_eq!(observe_from(DEFAULT | 0x20, divided), (DEFAULT | 0x20, DEFAULT | 0x20));
}

#[test]
fn a_panic_gives_the_callers_back() {
    let panics = |read: &dyn Fn() -> u32| {
        let result =
            catch_unwind(AssertUnwindSafe(|| in_default(|| in_callers(|| in_default(|| panic!("as it should"))))));
        assert!(result.is_err());
        read()
    };
    // Unwinding does arithmetic, so nothing traps here.
    write(DEFAULT | 0x8000);
    let after = panics(&read);
    write(DEFAULT);
    assert_eq!(after & !0x3f, DEFAULT | 0x8000);
    assert_eq!(in_default(read), DEFAULT);
}
