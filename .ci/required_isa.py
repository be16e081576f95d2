#!/usr/bin/env python3
"""Which backends this CPU must be able to run, by what the operating system says of it.

The gate demands these of the tests (HORQ_REQUIRE_ISA), so that a detection of ours that breaks fails instead of leaving
kernels untested. It asks the system and not the project for that reason.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

# Worst first, by architecture: the flags of /proc/cpuinfo that a backend's instructions have.
BACKENDS = {
    "x86_64": {
        "portable": [],
        "sse42": ["ssse3", "sse4_2", "popcnt"],
        "avx2": ["avx", "avx2", "fma", "popcnt"],
        "avx512bw": ["avx512f", "avx512bw", "fma"],
        "avx512vpopcnt": ["avx512f", "avx512bw", "avx512_vpopcntdq", "avx512vbmi", "avx512_vnni", "fma"],
    },
    "aarch64": {"portable": [], "neon": ["asimd"]},
}
NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def required(machine: str, flags: set[str]) -> tuple[list[str], list[str]]:
    """The backends that a CPU of that architecture and those flags must run, and those that it cannot."""
    backends = BACKENDS.get(machine, {"portable": []})
    runs = [name for name, needs in backends.items() if flags.issuperset(needs)]
    return runs, [name for name in backends if name not in runs]


def flags_of_cpuinfo(text: str) -> set[str]:
    """The flags that every core of /proc/cpuinfo has."""
    cores = [
        set(value.split())
        for key, _, value in (line.partition(":") for line in text.splitlines())
        if key.strip() in ("flags", "Features")
    ]
    if not cores:
        raise SystemExit("/proc/cpuinfo lists no flags; set HORQ_REQUIRE_ISA to what this CPU has")
    return set.intersection(*cores)


def flags_of_macos() -> set[str]:
    """The same in Linux's words; every Mac with an Arm CPU has NEON."""
    names = "machdep.cpu.features", "machdep.cpu.leaf7_features"
    said = subprocess.run(["sysctl", "-n", *names], capture_output=True, text=True, check=False).stdout.lower().split()
    linux = {"sse4.2": "sse4_2", "avx1.0": "avx", "avx512vpopcntdq": "avx512_vpopcntdq"}
    return {"asimd", *(linux.get(flag, flag) for flag in said)}


def main() -> None:
    machine = platform.machine().lower()
    machine = NAMES.get(machine, machine)
    cpuinfo = Path("/proc/cpuinfo")
    flags = flags_of_macos() if platform.system() == "Darwin" else flags_of_cpuinfo(cpuinfo.read_text())
    runs, missing = required(machine, flags)
    if missing:
        print(
            f"!!! NOT TESTED HERE, ONLY COMPILED: {', '.join(missing)}; this CPU has no such instructions !!!",
            file=sys.stderr,
        )
    print(",".join(runs))


if __name__ == "__main__":
    main()
