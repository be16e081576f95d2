"""Instruction counts of assembly that was written by hand, and bounds that were worked out by hand."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tiles import CORES, Loop, kind, loops, main

# Two rows times one panel (four registers): a round takes one word of each row and one panel row.
INNER = """
.LBB0_2:
	ldp	q0, q1, [x8, #-32]
	ldp	q2, q3, [x8], #64
	ld1r	{ v4.4s }, [x9], #4
	ld1r	{ v5.4s }, [x10], #4
"""
for register in range(8):
    INNER += f"	eor	v6.16b, v{register % 4}.16b, v{4 + register // 4}.16b\n"
    INNER += "	cnt	v6.16b, v6.16b\n"
    INNER += f"	add	v{16 + register}.16b, v{16 + register}.16b, v6.16b\n"
INNER += "	subs	x11, x11, #1\n	b.ne	.LBB0_2\n"

ASSEMBLY = f"""
	.text
	.globl	tile
tile:                                   // @tile
	.cfi_startproc
	cbz	x11, .LBB0_4
.LBB0_1:                                // an outer loop, which is no tile
	mov	x11, x12
{INNER}
	cnt	v0.16b, v0.16b
	b.lt	.LBB0_1
.LBB0_4:
	ret
sum:
.LBB1_1:                                // counts no bits
	ldr	q0, [x0], #16
	add	v1.4s, v1.4s, v0.4s
	cbnz	x1, .LBB1_1
	ret
"""


def test_kinds_of_instructions():
    assert kind("ldp", "q0, q1, [x8]") == "ldp q"
    assert kind("ldp", "x0, x1, [x8]") == "scalar"
    assert kind("ldur", "q0, [sp, #-16]") == "ldr q"
    assert kind("ld1r", "{ v4.4s }, [x9]") == "ld1r"
    assert kind("eor", "v6.16b, v0.16b, v4.16b") == "eor"
    assert kind("eor", "x0, x1, x2") == "scalar"
    assert kind("uadalp", "v0.8h, v1.16b") == "other vector"


def test_only_innermost_loops_that_count_bits_are_tiles():
    (tile,) = loops(ASSEMBLY)
    assert tile.function == "tile"
    assert tile.counts == {"ldp q": 2, "ld1r": 2, "eor": 8, "cnt": 8, "add": 8, "scalar": 2}
    assert (tile.loads, tile.broadcasts, tile.products) == (4, 2, 1024)


def test_bounds_of_cores():
    (tile,) = loops(ASSEMBLY)
    a76, m1 = CORES
    # Vector: 24 and two broadcasts. Loads: four registers and two broadcasts. Decoded: thirty instructions.
    assert tile.cycles(a76) == {"vector pipes": 26 / 2, "load pipes": 6 / 2, "decoder": 30 / 4}
    assert tile.cycles(m1) == {"vector pipes": 26 / 4, "load pipes": 6 / 3, "decoder": 30 / 8}


def test_copies_cost_where_the_core_makes_them():
    tile = Loop("", loops(ASSEMBLY)[0].counts + Counter(mov=4))
    a76, m1 = CORES
    assert tile.cycles(a76)["vector pipes"] == 30 / 2
    assert tile.cycles(m1)["vector pipes"] == 26 / 4


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "tile.s"
    file.write_text(ASSEMBLY)
    monkeypatch.setattr(sys, "argv", ["tiles.py", str(file)])
    main()
    printed = capsys.readouterr().out
    assert "2 rows x 1 panels, 1024 products a round (1 times)" in printed
    # 1024 / 13 of 2 / 3 * 128; eight sums widen in 8 cycles on the one pipe, every 31 words.
    assert "Cortex-A76: 13.0 cycles (vector pipes), 79 bMAC/cycle, 92% of 85; with widening 77, 91%" in printed
    # 1024 / 6.5 of 4 / 3 * 128; 16 instructions widen on four pipes.
    assert "Apple M1: 6.5 cycles (vector pipes), 158 bMAC/cycle, 92% of 171; with widening 154, 91%" in printed


def test_assembly_without_tiles_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "none.s"
    file.write_text("f:\n\tret\n")
    monkeypatch.setattr(sys, "argv", ["tiles.py", str(file)])
    with pytest.raises(SystemExit, match="no loop that counts bits"):
        main()
