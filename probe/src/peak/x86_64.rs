//! Loops of x86-64 instructions that touch nothing but registers (and, for the loads, one line of the first-level cache).
//!
//! | instructions of 512 bits a cycle | Golden Cove | Zen 5 |
//! |---|---|---|
//! | logic, add | 2 | 4 |
//! | vpopcnt | 1 | 2 |
//! | vpshufb | 1 | 2 |
//! | FMA, vpdpbusd | 2 | 2 |
//! | loads | 2 | 2 |

use super::{Limit, Unit};
use horq_kernels::Isa;
use std::arch::asm;
use std::arch::is_x86_feature_detected as has;

#[repr(align(64))]
struct Line([u8; 64]);
static LINE: Line = Line([0; 64]);

/// A function that runs a loop body `n` times. The body is assembler text, and the assembler's own `.rept` and `.irp` unroll
/// it, so that no compiler reorders, merges or drops what is measured.
macro_rules! spin {
    ($name:ident, [$($setup:literal),*], $body:literal, [$($finish:literal),*]) => {
        /// # Safety
        /// The CPU has the instructions.
        unsafe fn $name(n: u64) {
            // SAFETY: reads one line of a static, writes only registers that are declared, and ends after `n` rounds; that
            // the CPU has the instructions is the caller's promise.
            unsafe {
                asm!(
                    $($setup,)* "2:", $body, "dec {n}", "jnz 2b", $($finish,)*
                    n = inout(reg) n.max(1) => _, in("rsi") LINE.0.as_ptr(),
                    out("rax") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                    out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                    out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
                    out("zmm30") _, out("zmm31") _, options(readonly, nostack)
                );
            }
        }
    };
}

/// Zeros everywhere: a not-a-number or a denormal left in a register could slow float arithmetic down.
macro_rules! spin512 {
    ($name:ident, $body:literal) => {
        spin!(
            $name,
            [
                "vzeroall",
                ".irp i, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
                "vpxord zmm\\i, zmm\\i, zmm\\i",
                ".endr"
            ],
            $body,
            ["vzeroupper"]
        );
    };
}

macro_rules! spin256 {
    ($name:ident, $body:literal) => {
        spin!($name, ["vzeroall"], $body, ["vzeroupper"]);
    };
}

macro_rules! spin128 {
    ($name:ident, $body:literal) => {
        spin!($name, [".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "xorps xmm\\i, xmm\\i", ".endr"], $body, []);
    };
}

// 48 words of 512 bits a round: product after product, and four at a time.
spin512! { vpopcnt_chained, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23
    vpxord zmm30, zmm28, zmm29; vpopcntd zmm30, zmm30; vpaddd zmm\i, zmm\i, zmm30; .endr; .endr
" }
spin512! { vpopcnt_staged, r"
    .rept 12; .irp i, 16,17,18,19
    vpxord zmm\i, zmm28, zmm29; .endr
    .irp i, 16,17,18,19
    vpopcntd zmm\i, zmm\i; .endr
    vpaddd zmm0, zmm0, zmm16; vpaddd zmm1, zmm1, zmm17; vpaddd zmm2, zmm2, zmm18; vpaddd zmm3, zmm3, zmm19; .endr
" }
// The parity basis: three words for two popcounts; 48 words a round.
spin512! { parity, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7
    vpxord zmm24, zmm28, zmm31; vpxord zmm25, zmm29, zmm31; vpxord zmm26, zmm30, zmm31
    vpternlogd zmm24, zmm25, zmm26, 0xd4; vpopcntd zmm26, zmm26; vpopcntd zmm24, zmm24
    vpaddd zmm\i, zmm\i, zmm26; vpaddd zmm1\i, zmm1\i, zmm24; .endr; .endr
" }
// 24 words of 512 bits a round.
spin512! { vpshufb512_chained, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11
    vpxord zmm24, zmm28, zmm29; vpsrlw zmm25, zmm24, 4; vpandd zmm24, zmm24, zmm31
    vpandd zmm25, zmm25, zmm31; vpshufb zmm24, zmm30, zmm24; vpshufb zmm25, zmm30, zmm25
    vpaddb zmm24, zmm24, zmm25; vpaddb zmm\i, zmm\i, zmm24; .endr; .endr
" }
spin512! { vpshufb512_staged, r"
    .rept 6; .irp i, 16,17,18,19
    vpxord zmm\i, zmm28, zmm29; .endr
    vpsrlw zmm20, zmm16, 4; vpsrlw zmm21, zmm17, 4; vpsrlw zmm22, zmm18, 4; vpsrlw zmm23, zmm19, 4
    .irp i, 16,17,18,19,20,21,22,23
    vpandd zmm\i, zmm\i, zmm31; vpshufb zmm\i, zmm30, zmm\i; .endr
    vpaddb zmm16, zmm16, zmm20; vpaddb zmm17, zmm17, zmm21; vpaddb zmm18, zmm18, zmm22
    vpaddb zmm19, zmm19, zmm23; vpaddb zmm0, zmm0, zmm16; vpaddb zmm1, zmm1, zmm17; vpaddb zmm2, zmm2, zmm18
    vpaddb zmm3, zmm3, zmm19; .endr
" }
// 16 words of 256 bits a round.
spin256! { vpshufb256_chained, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7
    vpxor ymm8, ymm12, ymm13; vpsrlw ymm9, ymm8, 4; vpand ymm8, ymm8, ymm15; vpand ymm9, ymm9, ymm15
    vpshufb ymm8, ymm14, ymm8; vpshufb ymm9, ymm14, ymm9; vpaddb ymm8, ymm8, ymm9; vpaddb ymm\i, ymm\i, ymm8; .endr; .endr
" }
spin256! { vpshufb256_staged, r"
    .rept 8
    vpxor ymm8, ymm12, ymm13; vpxor ymm9, ymm12, ymm13; vpsrlw ymm10, ymm8, 4; vpsrlw ymm11, ymm9, 4
    .irp i, 8,9,10,11
    vpand ymm\i, ymm\i, ymm15; vpshufb ymm\i, ymm14, ymm\i; .endr
    vpaddb ymm8, ymm8, ymm10; vpaddb ymm9, ymm9, ymm11; vpaddb ymm0, ymm0, ymm8; vpaddb ymm1, ymm1, ymm9; .endr
" }
// 16 words of 128 bits a round, with the copies that two-operand instructions need.
spin128! { pshufb128, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7
    movdqa xmm8, xmm12; pxor xmm8, xmm13; movdqa xmm9, xmm8; psrlw xmm9, 4; pand xmm8, xmm15
    pand xmm9, xmm15; movdqa xmm10, xmm14; pshufb xmm10, xmm8; movdqa xmm11, xmm14; pshufb xmm11, xmm9
    paddb xmm10, xmm11; paddb xmm\i, xmm10; .endr; .endr
" }
// Byte tables: a lookup and an addition for four activations of all planes and a byte of filters, and 16-bit sums that take the
// bytes in after sixteen, eight, four or two lookups, as many as cannot overflow at the orders up to 2, 3, 4 and 5. 128 lookups a
// round, in four sums of bytes.
spin512! { table512_of16, r"
    .rept 2; .irp i, 0,1,2,3
    vpshufb zmm\i, zmm8, zmm9; .endr
    .rept 15; .irp i, 0,1,2,3
    vpshufb zmm1\i, zmm8, zmm9; vpaddb zmm\i, zmm\i, zmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw zmm1\i, zmm\i, 8; vpaddw zmm14, zmm14, zmm\i; vpaddw zmm15, zmm15, zmm1\i; .endr; .endr
" }
spin512! { table512_of8, r"
    .rept 4; .irp i, 0,1,2,3
    vpshufb zmm\i, zmm8, zmm9; .endr
    .rept 7; .irp i, 0,1,2,3
    vpshufb zmm1\i, zmm8, zmm9; vpaddb zmm\i, zmm\i, zmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw zmm1\i, zmm\i, 8; vpaddw zmm14, zmm14, zmm\i; vpaddw zmm15, zmm15, zmm1\i; .endr; .endr
" }
spin512! { table512_of4, r"
    .rept 8; .irp i, 0,1,2,3
    vpshufb zmm\i, zmm8, zmm9; .endr
    .rept 3; .irp i, 0,1,2,3
    vpshufb zmm1\i, zmm8, zmm9; vpaddb zmm\i, zmm\i, zmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw zmm1\i, zmm\i, 8; vpaddw zmm14, zmm14, zmm\i; vpaddw zmm15, zmm15, zmm1\i; .endr; .endr
" }
spin512! { table512_of2, r"
    .rept 16; .irp i, 0,1,2,3
    vpshufb zmm\i, zmm8, zmm9; .endr
    .rept 1; .irp i, 0,1,2,3
    vpshufb zmm1\i, zmm8, zmm9; vpaddb zmm\i, zmm\i, zmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw zmm1\i, zmm\i, 8; vpaddw zmm14, zmm14, zmm\i; vpaddw zmm15, zmm15, zmm1\i; .endr; .endr
" }
// The same with 64 entries: a lookup for sixteen activations of all planes and sixteen filters, and a dot product that adds its
// bytes to 32 bits. 96 lookups a round, in sixteen sums.
spin512! { table512_dots, r"
    .rept 6; .irp i, 0,1,2,3,4,5
    vpermb zmm2\i, zmm30, zmm31; .endr
    .irp i, 0,1,2,3,4,5
    vpdpbusd zmm\i, zmm2\i, zmm29; .endr
    .irp i, 0,1,2,3,4
    vpermb zmm2\i, zmm30, zmm31; .endr
    .irp i, 0,1,2,3,4
    vpdpbusd zmm1\i, zmm2\i, zmm29; .endr
    .irp i, 0,1,2,3,4
    vpermb zmm2\i, zmm30, zmm31; .endr
    .irp i, 0,1,2,3,4
    vpdpbusd zmm1\i, zmm2\i, zmm28; .endr
    .endr
" }
spin256! { table256_of16, r"
    .rept 2; .irp i, 0,1,2,3
    vpshufb ymm\i, ymm8, ymm9; .endr
    .rept 15; .irp i, 0,1,2,3
    vpshufb ymm1\i, ymm8, ymm9; vpaddb ymm\i, ymm\i, ymm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw ymm1\i, ymm\i, 8; vpaddw ymm14, ymm14, ymm\i; vpaddw ymm15, ymm15, ymm1\i; .endr; .endr
" }
spin256! { table256_of8, r"
    .rept 4; .irp i, 0,1,2,3
    vpshufb ymm\i, ymm8, ymm9; .endr
    .rept 7; .irp i, 0,1,2,3
    vpshufb ymm1\i, ymm8, ymm9; vpaddb ymm\i, ymm\i, ymm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw ymm1\i, ymm\i, 8; vpaddw ymm14, ymm14, ymm\i; vpaddw ymm15, ymm15, ymm1\i; .endr; .endr
" }
spin256! { table256_of4, r"
    .rept 8; .irp i, 0,1,2,3
    vpshufb ymm\i, ymm8, ymm9; .endr
    .rept 3; .irp i, 0,1,2,3
    vpshufb ymm1\i, ymm8, ymm9; vpaddb ymm\i, ymm\i, ymm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw ymm1\i, ymm\i, 8; vpaddw ymm14, ymm14, ymm\i; vpaddw ymm15, ymm15, ymm1\i; .endr; .endr
" }
spin256! { table256_of2, r"
    .rept 16; .irp i, 0,1,2,3
    vpshufb ymm\i, ymm8, ymm9; .endr
    .rept 1; .irp i, 0,1,2,3
    vpshufb ymm1\i, ymm8, ymm9; vpaddb ymm\i, ymm\i, ymm1\i; .endr; .endr
    .irp i, 0,1,2,3
    vpsrlw ymm1\i, ymm\i, 8; vpaddw ymm14, ymm14, ymm\i; vpaddw ymm15, ymm15, ymm1\i; .endr; .endr
" }
spin128! { table128_of16, r"
    .rept 2; .irp i, 0,1,2,3
    movdqa xmm\i, xmm8; pshufb xmm\i, xmm9; .endr
    .rept 15; .irp i, 0,1,2,3
    movdqa xmm1\i, xmm8; pshufb xmm1\i, xmm9; paddb xmm\i, xmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    movdqa xmm1\i, xmm\i; psrlw xmm1\i, 8; paddw xmm14, xmm\i; paddw xmm15, xmm1\i; .endr; .endr
" }
spin128! { table128_of8, r"
    .rept 4; .irp i, 0,1,2,3
    movdqa xmm\i, xmm8; pshufb xmm\i, xmm9; .endr
    .rept 7; .irp i, 0,1,2,3
    movdqa xmm1\i, xmm8; pshufb xmm1\i, xmm9; paddb xmm\i, xmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    movdqa xmm1\i, xmm\i; psrlw xmm1\i, 8; paddw xmm14, xmm\i; paddw xmm15, xmm1\i; .endr; .endr
" }
spin128! { table128_of4, r"
    .rept 8; .irp i, 0,1,2,3
    movdqa xmm\i, xmm8; pshufb xmm\i, xmm9; .endr
    .rept 3; .irp i, 0,1,2,3
    movdqa xmm1\i, xmm8; pshufb xmm1\i, xmm9; paddb xmm\i, xmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    movdqa xmm1\i, xmm\i; psrlw xmm1\i, 8; paddw xmm14, xmm\i; paddw xmm15, xmm1\i; .endr; .endr
" }
spin128! { table128_of2, r"
    .rept 16; .irp i, 0,1,2,3
    movdqa xmm\i, xmm8; pshufb xmm\i, xmm9; .endr
    .rept 1; .irp i, 0,1,2,3
    movdqa xmm1\i, xmm8; pshufb xmm1\i, xmm9; paddb xmm\i, xmm1\i; .endr; .endr
    .irp i, 0,1,2,3
    movdqa xmm1\i, xmm\i; psrlw xmm1\i, 8; paddw xmm14, xmm\i; paddw xmm15, xmm1\i; .endr; .endr
" }
spin512! { fma512, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23
    vfmadd231ps zmm\i, zmm28, zmm29; .endr; .endr
" }
spin256! { fma256, r"
    .rept 4; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11
    vfmadd231ps ymm\i, ymm12, ymm13; .endr; .endr
" }
spin128! { scalar_sums, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11
    movaps xmm13, xmm14; mulss xmm13, xmm15; addss xmm\i, xmm13; .endr; .endr
" }
spin128! { scalar_sum, r"
    .rept 24
    movaps xmm13, xmm14; mulss xmm13, xmm15; addss xmm0, xmm13; .endr
" }
spin512! { vpdpbusd512, r"
    .rept 2; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23
    vpdpbusd zmm\i, zmm28, zmm29; .endr; .endr
" }
spin256! { vpdpbusd256, r"
    .rept 4; .irp i, 0,1,2,3,4,5,6,7,8,9,10,11
    {{vex}} vpdpbusd ymm\i, ymm12, ymm13; .endr; .endr
" }
// Tables of signed sums: six lookups and multiply-adds for a word of 32 weights in each of sixteen lanes; 8 words a round.
spin512! { tables512, r"
    .rept 8; .irp i, 16,17
    vpermi2ps zmm\i, zmm28, zmm29; .endr
    .irp i, 18,19,20,21
    vpermps zmm\i, zmm28, zmm29; .endr
    vfmadd231ps zmm0, zmm16, zmm30; vfmadd231ps zmm1, zmm17, zmm30; vfmadd231ps zmm2, zmm18, zmm30
    vfmadd231ps zmm3, zmm19, zmm30; vfmadd231ps zmm4, zmm20, zmm30; vfmadd231ps zmm5, zmm21, zmm30; .endr
" }
spin512! { tables512_in_turns, r"
    .rept 8
    vpermi2ps zmm16, zmm28, zmm29; vfmadd231ps zmm0, zmm24, zmm30; vpermi2ps zmm17, zmm28, zmm29
    vfmadd231ps zmm1, zmm25, zmm30
    .irp i, 18,19,20,21
    vpermps zmm\i, zmm28, zmm29; vfmadd231ps zmm2, zmm\i, zmm30; .endr; .endr
" }
// The same with tables of eight sums: twelve lookups and additions for a word in each of eight lanes; 8 words a round.
spin256! { tables256, r"
    .rept 16; .irp i, 6,7,8,9,10,11
    vpermps ymm\i, ymm12, ymm13; .endr
    vaddps ymm0, ymm0, ymm6; vaddps ymm1, ymm1, ymm7; vaddps ymm2, ymm2, ymm8; vaddps ymm3, ymm3, ymm9
    vaddps ymm4, ymm4, ymm10; vaddps ymm5, ymm5, ymm11; .endr
" }
spin512! { load512, r".rept 4; .irp i, 0,1,2,3,4,5,6,7; vmovdqa64 zmm\i, [rsi]; .endr; .endr" }
spin256! { load256, r".rept 4; .irp i, 0,1,2,3,4,5,6,7; vmovdqa ymm\i, [rsi]; .endr; .endr" }

/// The loops that this CPU can run.
pub(super) fn limits() -> Vec<Limit> {
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512vl");
    let all = [
        Limit::bits("xor vpopcntd vpaddd, 512 bits", Isa::Avx512Vpopcnt, 48 * 512, &[vpopcnt_chained, vpopcnt_staged])
            .on(avx512 && has!("avx512vpopcntdq")),
        Limit::other("parity basis, 512 bits", Unit::Bit, 48 * 512, &[parity]).on(avx512 && has!("avx512vpopcntdq")),
        Limit::bits(
            "xor, vpshufb popcount, 512 bits",
            Isa::Avx512Bw,
            24 * 512,
            &[vpshufb512_chained, vpshufb512_staged],
        )
        .on(avx512),
        Limit::bits("xor, vpshufb popcount, 256 bits", Isa::Avx2, 16 * 256, &[vpshufb256_chained, vpshufb256_staged])
            .on(has!("avx2")),
        Limit::bits("xor, pshufb popcount, 128 bits", Isa::Sse42, 16 * 128, &[pshufb128]).on(has!("ssse3")),
        Limit::own(
            "tables of signed sums, 512 bits",
            Unit::BinaryWeight,
            Isa::Avx512Vpopcnt,
            8 * 512,
            &[tables512, tables512_in_turns],
        )
        .on(avx512 && has!("avx512vpopcntdq")),
        Limit::own(
            "tables of signed sums, 512 bits, avx512bw",
            Unit::BinaryWeight,
            Isa::Avx512Bw,
            8 * 512,
            &[tables512, tables512_in_turns],
        )
        .on(avx512),
        Limit::own("tables of signed sums, 256 bits", Unit::BinaryWeight, Isa::Avx2, 8 * 256, &[tables256])
            .on(has!("avx2")),
        Limit::tables("byte tables, up to order 2, 512 bits", Isa::Avx512Bw, [1, 2], 128 * 256, &[table512_of16])
            .on(avx512),
        Limit::tables("byte tables, order 3, 512 bits", Isa::Avx512Bw, [3, 3], 128 * 256, &[table512_of8]).on(avx512),
        Limit::tables("byte tables, order 4, 512 bits", Isa::Avx512Bw, [4, 4], 128 * 256, &[table512_of4]).on(avx512),
        Limit::tables("byte tables, order 5, 512 bits", Isa::Avx512Bw, [5, 5], 128 * 256, &[table512_of2]).on(avx512),
        Limit::tables("vpermb vpdpbusd, 512 bits", Isa::Avx512Vpopcnt, [1, 6], 96 * 256, &[table512_dots])
            .on(avx512 && has!("avx512vbmi") && has!("avx512vnni") && has!("avx512vpopcntdq")),
        Limit::tables("byte tables, up to order 2, 256 bits", Isa::Avx2, [1, 2], 128 * 128, &[table256_of16])
            .on(has!("avx2")),
        Limit::tables("byte tables, order 3, 256 bits", Isa::Avx2, [3, 3], 128 * 128, &[table256_of8]).on(has!("avx2")),
        Limit::tables("byte tables, order 4, 256 bits", Isa::Avx2, [4, 4], 128 * 128, &[table256_of4]).on(has!("avx2")),
        Limit::tables("byte tables, order 5, 256 bits", Isa::Avx2, [5, 5], 128 * 128, &[table256_of2]).on(has!("avx2")),
        Limit::tables("byte tables, up to order 2, 128 bits", Isa::Sse42, [1, 2], 128 * 64, &[table128_of16])
            .on(has!("ssse3")),
        Limit::tables("byte tables, order 3, 128 bits", Isa::Sse42, [3, 3], 128 * 64, &[table128_of8])
            .on(has!("ssse3")),
        Limit::tables("byte tables, order 4, 128 bits", Isa::Sse42, [4, 4], 128 * 64, &[table128_of4])
            .on(has!("ssse3")),
        Limit::tables("byte tables, order 5, 128 bits", Isa::Sse42, [5, 5], 128 * 64, &[table128_of2])
            .on(has!("ssse3")),
        Limit::other("f32 FMA, 512 bits", Unit::Float, 48 * 16, &[fma512]).on(avx512),
        Limit::own("f32 FMA, 256 bits", Unit::Float, Isa::Avx2, 48 * 8, &[fma256]).on(has!("avx2") && has!("fma")),
        Limit::other("f32 scalar, many sums", Unit::Float, 24, &[scalar_sums]),
        Limit::other("f32 scalar, one sum", Unit::Float, 24, &[scalar_sum]),
        Limit::other("int8 vpdpbusd, 512 bits", Unit::Int8, 48 * 64, &[vpdpbusd512]).on(avx512 && has!("avx512vnni")),
        Limit::own("int8 vpdpbusd, 256 bits", Unit::Int8, Isa::Avx2, 48 * 32, &[vpdpbusd256]).on(has!("avxvnni")),
        Limit::other("loads of 64 bytes", Unit::Load, 32 * 64, &[load512]).on(avx512),
        Limit::other("loads of 32 bytes", Unit::Load, 32 * 32, &[load256]).on(has!("avx2")),
    ];
    all.into_iter().filter(|limit| limit.available).collect()
}
