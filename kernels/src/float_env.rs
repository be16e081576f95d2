//! The floating-point environment: rounding direction, treatment of denormals, trapping exceptions.
//!
//! The kernels give the same bits everywhere only in the default environment of IEEE-754: to nearest, ties to even, gradual
//! underflow, no traps. A library beside them may have changed it for the thread (flush-to-zero set by a program built with
//! `-ffast-math`, for example), and a new thread starts with that of the thread that made it. Whoever calls kernels on
//! behalf of others therefore wraps the call in [`in_default`]. Only the registers of SIMD arithmetic matter (MXCSR, FPCR):
//! nothing here uses the x87 unit.

use std::cell::Cell;

/// The control and status registers of SIMD floating-point arithmetic.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod registers {
    use std::arch::asm;

    /// MXCSR: exception flags, their masks, rounding, flush-to-zero, denormals-are-zero.
    pub(super) type Registers = u32;
    /// All exceptions masked, no flag set, to nearest, denormals kept.
    pub(super) const DEFAULT: Registers = 0x1f80;

    /// Whether arithmetic is the same with both: they differ in exception flags at the most.
    #[inline(always)]
    pub(super) fn alike(a: Registers, b: Registers) -> bool {
        (a ^ b) & !0x3f == 0
    }

    #[inline(always)]
    pub(super) fn read() -> Registers {
        let mut registers: Registers = 0;
        // SAFETY: stmxcsr stores 32 bits at the address of a u32.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut registers, options(nostack, preserves_flags)) };
        registers
    }

    /// # Safety
    /// `registers` must be [`DEFAULT`] or what [`read`] returned; code that runs between the two kinds must not mind.
    #[inline(always)]
    pub(super) unsafe fn write(registers: Registers) {
        // SAFETY: ldmxcsr loads 32 bits from the address of a u32; no reserved bit is set in either kind of value.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const registers, options(nostack, preserves_flags)) };
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod registers {
    use std::arch::asm;

    /// FPCR (traps, rounding, flush-to-zero, default NaN) and FPSR (exception flags).
    pub(super) type Registers = (u64, u64);
    /// No traps, to nearest, denormals kept, NaN payloads kept; no flag set.
    pub(super) const DEFAULT: Registers = (0, 0);

    /// Whether arithmetic is the same with both: they differ in exception flags at the most.
    #[inline(always)]
    pub(super) fn alike(a: Registers, b: Registers) -> bool {
        a.0 == b.0
    }

    #[inline(always)]
    pub(super) fn read() -> Registers {
        let (control, status): Registers;
        // SAFETY: both instructions only read a register.
        unsafe {
            asm!("mrs {}, fpcr", "mrs {}, fpsr", out(reg) control, out(reg) status, options(nostack, preserves_flags));
        }
        (control, status)
    }

    /// # Safety
    /// `registers` must be [`DEFAULT`] or what [`read`] returned; code that runs between the two kinds must not mind.
    #[inline(always)]
    pub(super) unsafe fn write((control, status): Registers) {
        // SAFETY: no reserved bit is set in either kind of value.
        unsafe {
            asm!("msr fpcr, {}", "msr fpsr, {}", in(reg) control, in(reg) status, options(nostack, preserves_flags));
        }
    }
}

/// Other architectures run the portable backend in whatever environment they have; Miri has the default one and no other.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod registers {
    pub(super) type Registers = ();
    pub(super) const DEFAULT: Registers = ();

    pub(super) fn alike((): Registers, (): Registers) -> bool {
        true
    }

    pub(super) fn read() -> Registers {}

    /// # Safety
    /// None needed.
    pub(super) unsafe fn write((): Registers) {}
}

use registers::{DEFAULT, Registers, alike, read, write};

thread_local! {
    /// What the thread had when it came into [`in_default`], while it is inside.
    static CALLERS: Cell<Option<Registers>> = const { Cell::new(None) };
}

/// Runs `work` in the default environment; then the calling thread has its own back, exception flags included, also if
/// `work` panics. Costs some nanoseconds, some tens where the caller's mode is another one, and nothing inside itself.
#[inline(always)]
pub fn in_default<R>(work: impl FnOnce() -> R) -> R {
    if CALLERS.get().is_some() {
        return work();
    }
    let callers = read();
    let _back = Switch::new(callers, DEFAULT, Some(callers));
    alone(work)
}

/// Within [`in_default`], runs `work` in the environment that the thread came with: for code that is not ours, such as the
/// tasks of others that a thread pool may run while it waits. Elsewhere just runs it.
pub fn in_callers<R>(work: impl FnOnce() -> R) -> R {
    let Some(callers) = CALLERS.get() else { return work() };
    let _back = Switch::new(read(), callers, None);
    alone(work)
}

/// A call that the compiler neither inlines nor moves arithmetic out of.
#[inline(never)]
fn alone<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Switches back when dropped.
struct Switch {
    registers: Registers,
    callers: Option<Registers>,
}

// A write that changes nothing but flags takes tens of nanoseconds, too, so only what has to change is written.
impl Switch {
    /// Goes from the registers `from` to `to`, with `callers` as what the thread came with.
    #[inline(always)]
    fn new(from: Registers, to: Registers, callers: Option<Registers>) -> Self {
        let back = Self { registers: from, callers: CALLERS.replace(callers) };
        if !alike(from, to) {
            // SAFETY: `to` is the default, which Rust's arithmetic expects, or what a caller's code ran with before.
            unsafe { write(to) };
        }
        back
    }
}

impl Drop for Switch {
    #[inline(always)]
    fn drop(&mut self) {
        CALLERS.set(self.callers);
        if read() != self.registers {
            // SAFETY: as in `new`.
            unsafe { write(self.registers) };
        }
    }
}
