"""Counts the instructions of the NEON bit tiles and what two cores make of them, on paper.

  cargo rustc --release -p horq-kernels --lib --target aarch64-unknown-linux-gnu -- --emit asm -C codegen-units=1
  python3 bench/neon/tiles.py target/aarch64-unknown-linux-gnu/release/deps/horq_kernels-*.s

Every innermost loop that counts bits is a tile's inner loop. A weight register that it loads meets every activation that it
broadcasts, 128 binary products each. A core's bound is its busiest unit: vector pipes, load pipes, decoder. Latencies are no
bound, because a tile has at least sixteen independent sums.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass, field

VECTORS = re.compile(r"[^,\[]*\bv\d+\.|\b[qd]\d+\b")
KINDS = ["ldr q", "ldp q", "ld1r", "eor", "cnt", "add", "uadalp", "dup", "other vector", "scalar"]


@dataclass
class Core:
    """What a core does in a cycle."""

    name: str
    vector: int
    load: int
    decode: int
    only_one: tuple[str, ...] = ()
    """Vector instructions that one pipe alone takes."""


# Cortex-A76: "Arm Cortex-A76 Software Optimization Guide", sections on pipelines and ASIMD instructions: two vector pipes,
# UADALP and shifts on one of them, two load pipes, four instructions decoded; LD1R takes a load and a vector pipe.
# M1: Dougall Johnson's "Apple M1/A14 P-core (Firestorm)" instruction tables: four vector pipes, three loads, eight decoded;
# LD1R likewise two operations.
CORES = [Core("Cortex-A76", 2, 2, 4, ("uadalp",)), Core("Apple M1", 4, 3, 8)]


@dataclass
class Loop:
    """An innermost loop."""

    function: str
    counts: Counter = field(default_factory=Counter)

    @property
    def loads(self) -> int:
        return self.counts["ldr q"] + 2 * self.counts["ldp q"]

    @property
    def broadcasts(self) -> int:
        return self.counts["ld1r"] + self.counts["dup"]

    def products(self, unroll: int) -> int:
        return 128 * self.loads * self.broadcasts // unroll

    def cycles(self, core: Core) -> dict[str, float]:
        c = self.counts
        vector = sum(c[kind] for kind in ("eor", "cnt", "add", "uadalp", "ld1r", "dup", "other vector"))
        busy = {
            "vector pipes": vector / core.vector,
            "load pipes": (self.loads + c["ld1r"]) / core.load,
            "decoder": sum(c.values()) / core.decode,
        }
        for kind in core.only_one:
            busy[kind] = float(c[kind])
        return busy


def kind(mnemonic: str, operands: str) -> str:
    vector = bool(VECTORS.search(operands))
    if mnemonic in ("ldr", "ldur") and re.match(r"q\d", operands):
        return "ldr q"
    if mnemonic == "ldp" and re.match(r"q\d", operands):
        return "ldp q"
    if mnemonic == "ld1r":
        return "ld1r"
    if not vector:
        return "scalar"
    return mnemonic if mnemonic in ("eor", "cnt", "add", "uadalp", "dup") else "other vector"


def loops(assembly: str) -> list[Loop]:
    """The innermost loops that count bits."""
    found, function, lines, labels = [], "", [], {}
    for line in assembly.splitlines():
        text = line.split("//")[0].strip()
        label = re.match(r"([\w.$]+):$", text)
        if label and not label[1].startswith(".L"):
            function, lines, labels = label[1], [], {}
        elif label:
            labels[label[1]] = len(lines)
        elif text and not text.startswith("."):
            mnemonic, _, operands = text.partition("\t")
            lines.append((mnemonic, operands))
            target = re.search(r"(\.L[\w.$]+)$", operands)
            if mnemonic.startswith(("b.", "cb", "tb", "b")) and target and target[1] in labels:
                body = lines[labels[target[1]] :]
                inner = any(
                    (t := re.search(r"(\.L[\w.$]+)$", o)) and m.startswith("b") and labels.get(t[1], -1) > labels[target[1]]
                    for m, o in body[:-1]
                )
                if any(m == "cnt" for m, _ in body) and not inner:
                    found.append(Loop(function, Counter(kind(m, o) for m, o in body)))
    return found


def main():
    unroll = 1
    loops_found = [loop for path in sys.argv[1:] for loop in loops(open(path).read())]
    if not loops_found:
        sys.exit("no loop that counts bits: is this the assembly of horq-kernels for aarch64?")
    seen = []
    for loop in sorted(loops_found, key=lambda loop: -loop.products(unroll)):
        if loop.counts in seen or not loop.products(unroll):
            continue
        seen.append(loop.counts)
        products = loop.products(unroll)
        print(f"\n{loop.broadcasts} rows x {loop.loads // 4} panels, {products} products a round")
        print("  " + ", ".join(f"{loop.counts[kind]} {kind}" for kind in KINDS if loop.counts[kind]))
        for core in CORES:
            busy = loop.cycles(core)
            bound = max(busy, key=busy.get)
            rate, plain = products / busy[bound], 128 * core.vector / 3
            print(f"  {core.name}: {busy[bound]:.1f} cycles ({bound}), {rate:.0f} bMAC/cycle, {rate / plain:.0%} of {plain:.0f}")


if __name__ == "__main__":
    main()
