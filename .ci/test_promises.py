"""The check of promises finds what it is for."""

from pathlib import Path

import pytest
from promises import ROOT, check

TABLE = "# x\n\n| promise | page | held by |\n|---|---|---|\n"
ROW = "| It **never** fails. | page.md | a/tests/t.rs::holds, p/test_p.py::test_q, a/tests/alone.rs::main |\n"
RUST = "#[test]\n#[cfg(unix)] // a remark\nfn holds() {}\nfn helper() {}\n#[test]\n#[ignore]\nfn asleep() {}\n"
MANIFEST = '[package]\nname = "a"\n[[test]]\nname = "alone"\nharness = false\n'


def tree(root: Path, row: str) -> Path:
    files = {
        "docs/promises.md": TABLE + row,
        "page.md": "- It never\n  [fails](x.md). Not always.\n",
        "a/Cargo.toml": MANIFEST,
        "a/tests/t.rs": RUST,
        "a/tests/alone.rs": "fn main() {}\n",
        "a/tests/harness.rs": "fn main() {}\n",
        "p/test_p.py": "def test_q():\n    pass\n\n\ndef other():\n    pass\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_true_table_is_fine(tmp_path: Path) -> None:
    assert check(tree(tmp_path, ROW)) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("fails", "works", "does not stand in page.md"),
        ("page.md", "pages.md", "no page"),
        ("::holds", "::held", "no such test"),
        ("::holds", "::helper", "no such test"),
        ("::holds", "::asleep", "no such test"),
        ("t.rs", "u.rs", "no file a/tests/u.rs"),
        ("test_q", "other", "no such test"),
        ("alone.rs", "harness.rs", "no such test"),
        (ROW[ROW.index("a/tests") :], "|\n", "has no test"),
    ],
)
def test_a_row_that_is_not_true_is_a_fault(tmp_path: Path, old: str, new: str, fault: str) -> None:
    faults = check(tree(tmp_path, ROW.replace(old, new)))
    assert any(fault in line for line in faults), faults


def test_an_empty_table_is_a_fault(tmp_path: Path) -> None:
    assert check(tree(tmp_path, ""))


def test_the_table_of_the_repository_is_true() -> None:
    assert check(ROOT) == []
