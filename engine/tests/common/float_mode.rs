//! Floating-point modes that other libraries leave a thread in.

/// A mode by name: the control register of SIMD arithmetic (MXCSR, or FPCR on aarch64).
pub type Mode = (&'static str, u64);

/// Every rounding, both ways of losing denormals, and, on x86-64, traps on every exception.
#[cfg(target_arch = "x86_64")]
pub const MODES: [Mode; 8] = [
    ("flush to zero", 0x9f80),
    ("denormals are zero", 0x1fc0),
    ("both", 0x9fc0),
    ("down", 0x3f80),
    ("up", 0x5f80),
    ("towards zero", 0x7f80),
    ("all exceptions trap", 0x0000),
    ("all of it, flags set", 0x6000 | 0x8040 | 0x1f80 | 0x3f),
];
#[cfg(target_arch = "aarch64")]
pub const MODES: [Mode; 5] = [
    ("flush to zero", 1 << 24),
    ("default NaN", 1 << 25),
    ("up", 1 << 22),
    ("down", 2 << 22),
    ("towards zero, flush to zero", 3 << 22 | 1 << 24),
];

#[cfg(target_arch = "x86_64")]
pub fn read() -> u64 {
    let mut mode = 0u32;
    // SAFETY: stmxcsr stores 32 bits at that address.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode) };
    mode.into()
}

#[cfg(target_arch = "x86_64")]
fn write(mode: u64) {
    let mode = mode as u32;
    // SAFETY: the tests do no arithmetic until they write the former mode back.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode) };
}

#[cfg(target_arch = "aarch64")]
pub fn read() -> u64 {
    let mode;
    // SAFETY: only reads a register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode) };
    mode
}

#[cfg(target_arch = "aarch64")]
fn write(mode: u64) {
    // SAFETY: the tests do no arithmetic until they write the former mode back.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode) };
}

/// Runs `work`, which must do no arithmetic outside of the engine, in a mode; checks that the mode is as it was afterwards.
pub fn within<R>((name, mode): Mode, work: impl FnOnce() -> R) -> R {
    struct Back(u64);
    impl Drop for Back {
        fn drop(&mut self) {
            write(self.0);
        }
    }
    let back = Back(read());
    write(mode);
    let result = work();
    let after = read();
    drop(back);
    assert_eq!(after, mode, "{name}: the caller's mode and flags");
    result
}
