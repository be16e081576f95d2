//! Loops of NEON instructions that touch nothing but registers (and, for the loads, one line of the first-level cache).

use super::{Limit, Unit};
use horq_kernels::Isa;
use std::arch::asm;

#[repr(align(64))]
struct Line([u8; 64]);
static LINE: Line = Line([0; 64]);

/// A function that runs a loop body `n` times; the assembler's own `.rept` and `.irp` unroll it.
macro_rules! spin {
    ($name:ident, [$($line:literal),+]) => {
        /// # Safety
        /// The CPU has the instructions.
        unsafe fn $name(n: u64) {
            // SAFETY: reads one line of a static, writes only registers that are declared, and ends after `n` rounds; that
            // the CPU has the instructions is the caller's promise.
            unsafe {
                asm!(
                    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
                    "movi v\\i\\().2d, #0", ".endr",
                    "2:", $($line,)+ "subs {n}, {n}, #1", "b.ne 2b",
                    n = inout(reg) n.max(1) => _, in("x9") LINE.0.as_ptr(),
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                    out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
                    out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
                    out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _, options(readonly, nostack)
                );
            }
        }
    };
}

// 48 words of 128 bits a round.
spin!(
    cnt,
    [
        ".rept 2",
        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23",
        "eor v30.16b, v28.16b, v29.16b",
        "cnt v30.16b, v30.16b",
        "add v\\i\\().16b, v\\i\\().16b, v30.16b",
        ".endr",
        ".endr"
    ]
);
// Byte tables: a lookup and an addition for four activations of all planes and sixteen filters, and 16-bit sums that take the bytes in
// after sixteen, eight, four or two lookups, as many as cannot overflow at the orders up to 2, 3, 4 and 5. 128 lookups a round.
spin!(
    table_of16,
    [
        ".rept 1",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v\\i\\().16b, {{v28.16b}}, v29.16b",
        ".endr",
        ".rept 15",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v1\\i\\().16b, {{v28.16b}}, v29.16b",
        "add v\\i\\().16b, v\\i\\().16b, v1\\i\\().16b",
        ".endr",
        ".endr",
        ".irp i, 0,1,2,3,4,5,6,7",
        "add v30.8h, v30.8h, v\\i\\().8h",
        "usra v31.8h, v\\i\\().8h, #8",
        ".endr",
        ".endr"
    ]
);
spin!(
    table_of8,
    [
        ".rept 2",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v\\i\\().16b, {{v28.16b}}, v29.16b",
        ".endr",
        ".rept 7",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v1\\i\\().16b, {{v28.16b}}, v29.16b",
        "add v\\i\\().16b, v\\i\\().16b, v1\\i\\().16b",
        ".endr",
        ".endr",
        ".irp i, 0,1,2,3,4,5,6,7",
        "add v30.8h, v30.8h, v\\i\\().8h",
        "usra v31.8h, v\\i\\().8h, #8",
        ".endr",
        ".endr"
    ]
);
spin!(
    table_of4,
    [
        ".rept 4",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v\\i\\().16b, {{v28.16b}}, v29.16b",
        ".endr",
        ".rept 3",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v1\\i\\().16b, {{v28.16b}}, v29.16b",
        "add v\\i\\().16b, v\\i\\().16b, v1\\i\\().16b",
        ".endr",
        ".endr",
        ".irp i, 0,1,2,3,4,5,6,7",
        "add v30.8h, v30.8h, v\\i\\().8h",
        "usra v31.8h, v\\i\\().8h, #8",
        ".endr",
        ".endr"
    ]
);
spin!(
    table_of2,
    [
        ".rept 8",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v\\i\\().16b, {{v28.16b}}, v29.16b",
        ".endr",
        ".rept 1",
        ".irp i, 0,1,2,3,4,5,6,7",
        "tbl v1\\i\\().16b, {{v28.16b}}, v29.16b",
        "add v\\i\\().16b, v\\i\\().16b, v1\\i\\().16b",
        ".endr",
        ".endr",
        ".irp i, 0,1,2,3,4,5,6,7",
        "add v30.8h, v30.8h, v\\i\\().8h",
        "usra v31.8h, v\\i\\().8h, #8",
        ".endr",
        ".endr"
    ]
);
spin!(
    fma,
    [
        ".rept 2",
        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23",
        "fmla v\\i\\().4s, v28.4s, v29.4s",
        ".endr",
        ".endr"
    ]
);
spin!(
    scalar_sums,
    [
        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23",
        "fmul s30, s28, s29",
        "fadd s\\i, s\\i, s30",
        ".endr"
    ]
);
spin!(scalar_sum, [".rept 24", "fmul s30, s28, s29", "fadd s0, s0, s30", ".endr"]);
spin!(
    dot,
    [
        ".arch_extension dotprod",
        ".rept 2",
        ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23",
        "sdot v\\i\\().4s, v28.16b, v29.16b",
        ".endr",
        ".endr"
    ]
);
spin!(load, [".rept 4", ".irp i, 0,1,2,3,4,5,6,7", "ldr q\\i, [x9]", ".endr", ".endr"]);

/// The loops that this CPU can run.
pub(super) fn limits() -> Vec<Limit> {
    let all = [
        Limit::bits("eor cnt add, 128 bits", Isa::Neon, 48 * 128, &[cnt]),
        Limit::tables("byte tables, up to order 2, 128 bits", Isa::Neon, [1, 2], 128 * 64, &[table_of16]),
        Limit::tables("byte tables, order 3, 128 bits", Isa::Neon, [3, 3], 128 * 64, &[table_of8]),
        Limit::tables("byte tables, order 4, 128 bits", Isa::Neon, [4, 4], 128 * 64, &[table_of4]),
        Limit::tables("byte tables, order 5, 128 bits", Isa::Neon, [5, 5], 128 * 64, &[table_of2]),
        Limit::other("f32 FMA, 128 bits", Unit::Float, 48 * 4, &[fma]),
        Limit::other("f32 scalar, many sums", Unit::Float, 24, &[scalar_sums]),
        Limit::other("f32 scalar, one sum", Unit::Float, 24, &[scalar_sum]),
        Limit::other("int8 sdot, 128 bits", Unit::Int8, 48 * 16, &[dot])
            .on(std::arch::is_aarch64_feature_detected!("dotprod")),
        Limit::other("loads of 16 bytes", Unit::Load, 32 * 16, &[load]),
    ];
    all.into_iter().filter(|limit| limit.available).collect()
}
