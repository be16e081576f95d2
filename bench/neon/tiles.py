"""Counts the instructions of the NEON bit tiles, and says what two cores make of them, on paper.

  cargo rustc --release -p horq-kernels --lib --target aarch64-unknown-linux-gnu -- --emit asm -C codegen-units=1
  python3 bench/neon/tiles.py target/aarch64-unknown-linux-gnu/release/deps/horq_kernels-*.s

Every innermost loop that counts bits is a tile's inner loop. A weight register that it loads meets every activation
that it broadcasts, 128 binary products each. A core's bound is its busiest unit: vector pipes, load pipes, decoder.
Latencies are no bound: a tile of four rows or panels has sixteen independent sums.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

VECTORS = re.compile(r"[^,\[]*\bv\d+\.|\b[qd]\d+\b")
KINDS = ["ldp q", "ldr q", "ld1r", "dup", "eor", "cnt", "add", "mov", "other vector", "scalar"]


@dataclass
class Core:
    """What a core does in a cycle."""

    name: str
    vector: int
    load: int
    decode: int
    one_pipe_widens: bool
    """Whether UADALP has one pipe alone."""
    moves_are_free: bool
    """Whether copies of registers end at the renaming."""


# Cortex-A76: "Arm Cortex-A76 Software Optimization Guide" (PJDOC-466751330-7215), pipelines and ASIMD instructions: two
# vector pipes, UADALP on one of them, two loads, four instructions decoded; LD1R takes a load and a vector pipe.
# M1: Dougall Johnson, "Apple Microarchitecture Research: M1/A14 P-core (Firestorm)", instruction tables: four vector
# pipes, three loads, eight decoded; LD1R likewise two operations.
CORES = [Core("Cortex-A76", 2, 2, 4, True, False), Core("Apple M1", 4, 3, 8, False, True)]


@dataclass
class Loop:
    """An innermost loop."""

    function: str
    counts: Counter = field(default_factory=Counter)

    @property
    def loads(self) -> int:
        """Registers of weights; a single register is one that had no place and comes back from the stack."""
        return 2 * self.counts["ldp q"]

    @property
    def broadcasts(self) -> int:
        return self.counts["ld1r"] + self.counts["dup"]

    @property
    def products(self) -> int:
        return 128 * self.loads * self.broadcasts

    def cycles(self, core: Core) -> dict[str, float]:
        c = self.counts
        vector = sum(c[kind] for kind in ("eor", "cnt", "add", "ld1r", "dup", "other vector"))
        vector += 0 if core.moves_are_free else c["mov"]
        return {
            "vector pipes": vector / core.vector,
            "load pipes": (self.loads + c["ldr q"] + c["ld1r"]) / core.load,
            "decoder": sum(c.values()) / core.decode,
        }


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
    return mnemonic if mnemonic in ("eor", "cnt", "add", "dup", "mov") else "other vector"


def loops(assembly: str) -> list[Loop]:
    """The innermost loops that count bits: bodies of backward branches with no backward branch inside."""
    found = []
    for function, lines, labels in functions(assembly):
        spans = []
        for end, (mnemonic, operands) in enumerate(lines):
            target = re.search(r"(\.L[\w.$]+)$", operands)
            if mnemonic.startswith(("b", "cb", "tb")) and target and labels.get(target[1], end + 1) <= end:
                spans.append((labels[target[1]], end))
        for start, end in spans:
            inside = any((start, end) != other and start <= other[0] and other[1] <= end for other in spans)
            body = lines[start : end + 1]
            if not inside and any(mnemonic == "cnt" for mnemonic, _ in body):
                found.append(Loop(function, Counter(kind(mnemonic, operands) for mnemonic, operands in body)))
    return found


def functions(assembly: str):
    """The name, instructions and labels (as positions among them) of each function."""
    name, lines, labels = "", [], {}
    for line in assembly.splitlines():
        text = line.split("//")[0].strip()
        label = re.match(r"([\w.$]+):$", text)
        if label and not label[1].startswith(".L"):
            yield name, lines, labels
            name, lines, labels = label[1], [], {}
        elif label:
            labels[label[1]] = len(lines)
        elif text and not text.startswith("."):
            mnemonic, _, operands = text.partition("\t")
            lines.append((mnemonic, operands))
    yield name, lines, labels


FLUSH = 31
"""Words that byte counters hold before they are widened (`Simd::FLUSH`)."""


def main():
    found = [loop for path in sys.argv[1:] for loop in loops(Path(path).read_text())]
    found = [loop for loop in found if loop.products]
    if not found:
        sys.exit("no loop that counts bits: is this the assembly of horq-kernels for aarch64?")
    instances = Counter(tuple(sorted(loop.counts.items())) for loop in found)
    for counts, times in sorted(
        instances.items(), key=lambda item: (-Loop("", Counter(dict(item[0]))).products, -item[1])
    ):
        loop = Loop("", Counter(dict(counts)))
        print(f"\n{loop.broadcasts} rows x {loop.loads // 4} panels, {loop.products} products a round ({times} times)")
        print("  " + ", ".join(f"{loop.counts[kind]} {kind}" for kind in KINDS if loop.counts[kind]))
        for core in CORES:
            report(loop, core)


def report(loop: Loop, core: Core):
    """Prints the bound of the loop, and of the loop with the widening of its byte counters."""
    busy = loop.cycles(core)
    unit = max(busy, key=busy.get)
    # A UADDLP and a UADALP for each sum.
    sums = loop.counts["add"]
    widening = max(2 * sums / core.vector, sums if core.one_pipe_widens else 0) / FLUSH
    plain = 128 * core.vector / 3
    inner, whole = loop.products / busy[unit], loop.products / (busy[unit] + widening)
    print(
        f"  {core.name}: {busy[unit]:.1f} cycles ({unit}), {inner:.0f} bMAC/cycle, {inner / plain:.0%} of {plain:.0f};",
        end="",
    )
    print(f" with widening {whole:.0f}, {whole / plain:.0%}")


if __name__ == "__main__":
    main()
