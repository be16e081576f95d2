"""Which backends the gate demands of CPUs that it has met and of some that it has not."""

from __future__ import annotations

import pytest
from required_isa import flags_of_cpuinfo, required

# What Linux lists, cut to the flags near those that matter.
NEHALEM = "fpu sse sse2 ht pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
HASWELL = f"{NEHALEM} fma movbe aes xsave avx f16c rdrand bmi1 avx2 bmi2"
ZEN_3 = f"{HASWELL} sse4a misalignsse clflushopt sha_ni vaes vpclmulqdq"
AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"
SKYLAKE_X = f"{HASWELL} {AVX512} mpx"
ZEN_4 = f"{ZEN_3} {AVX512} avx512_bf16 avx512vbmi avx512_vbmi2 gfni avx512_vnni avx512_bitalg avx512_vpopcntdq"
ICE_LAKE = f"{HASWELL} {AVX512} avx512vbmi avx512_vbmi2 gfni avx512_vnni avx512_bitalg avx512_vpopcntdq"
KNIGHTS_MILL = f"{HASWELL} avx512f avx512pf avx512er avx512cd avx512_4vnniw avx512_vpopcntdq"
CORTEX_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"


@pytest.mark.parametrize(
    ("machine", "flags", "runs", "missing"),
    [
        ("x86_64", "fpu sse sse2", "portable", "sse42 avx2 avx512bw avx512vpopcnt"),
        ("x86_64", NEHALEM, "portable sse42", "avx2 avx512bw avx512vpopcnt"),
        ("x86_64", HASWELL, "portable sse42 avx2", "avx512bw avx512vpopcnt"),
        ("x86_64", ZEN_3, "portable sse42 avx2", "avx512bw avx512vpopcnt"),
        ("x86_64", SKYLAKE_X, "portable sse42 avx2 avx512bw", "avx512vpopcnt"),
        ("x86_64", KNIGHTS_MILL, "portable sse42 avx2", "avx512bw avx512vpopcnt"),
        ("x86_64", ICE_LAKE.replace(" avx512vbmi ", " "), "portable sse42 avx2 avx512bw", "avx512vpopcnt"),
        ("x86_64", ZEN_4, "portable sse42 avx2 avx512bw avx512vpopcnt", ""),
        ("x86_64", ICE_LAKE, "portable sse42 avx2 avx512bw avx512vpopcnt", ""),
        ("aarch64", CORTEX_A76, "portable neon", ""),
        ("riscv64", "", "portable", ""),
    ],
)
def test_the_flags_decide(machine: str, flags: str, runs: str, missing: str) -> None:
    assert required(machine, set(flags.split())) == (runs.split(), missing.split())


def test_one_core_that_lacks_a_flag_is_enough() -> None:
    cores = f"processor\t: 0\nflags\t\t: {HASWELL}\nbugs\t\t: avx2\n\nprocessor\t: 1\nflags\t\t: {NEHALEM}\n"
    assert flags_of_cpuinfo(cores) == set(NEHALEM.split())
    assert flags_of_cpuinfo(f"Features\t: {CORTEX_A76}\nCPU part\t: 0xd0b\n") == set(CORTEX_A76.split())


def test_no_flags_is_no_answer() -> None:
    with pytest.raises(SystemExit, match="HORQ_REQUIRE_ISA"):
        flags_of_cpuinfo("processor : 0\n")
