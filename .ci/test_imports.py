"""The check of imports finds what it is for."""

from pathlib import Path

import pytest
from imports import check, main

RUST = {
    "lib.rs": "mod ground;\nmod middle;\nmod top;\npub use top::Door;\nuse ground::{Stone, clay::Brick as Tile};\n",
    "ground.rs": '//! See crate::top::Door.\npub struct Stone; // crate::top\nconst TEXT: &str = "crate::top";\n',
    "ground/clay.rs": "use super::Stone;\npub struct Brick;\n",
    "middle/mod.rs": "use crate::{Stone, ground::clay};\nmod inner;\n",
    "middle/inner.rs": "use super::super::ground::Stone;\nuse crate::Tile;\nfn f<'a>(x: &'a str) {}\n",
    "top.rs": "use crate::middle;\npub struct Door;\n#[cfg(test)]\nmod tests { use super::*; }\n",
}
PYTHON = {
    "__init__.py": "from .top import door\n",
    "ground.py": "import numpy\n",
    "middle/__init__.py": "from .inner import x\n",
    "middle/inner.py": "from ..ground import y\nfrom pack import ground\n",
    "top.py": "from . import middle\nimport pack.ground\n",
}
FLOORS = ["ground", "middle", "top"]


def tree(folder: Path, files: dict[str, str], **changed: str) -> Path:
    for name, text in {**files, **{name.replace("__", "/"): text for name, text in changed.items()}}.items():
        path = folder / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "pack"


@pytest.mark.parametrize("files", [RUST, PYTHON], ids=["rust", "python"])
def test_downwards_is_fine(tmp_path: Path, files: dict[str, str]) -> None:
    assert check(tree(tmp_path, files), FLOORS) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ground.rs", "use crate::top::Door;"),
        ("ground.rs", "use crate::Door;"),
        ("ground.rs", "fn f() -> crate::top::Door { todo!() }"),
        ("ground/clay.rs", "use super::super::middle;"),
        ("middle/inner.rs", "use crate::{\n    ground::Stone,\n    top::{Door},\n};"),
        ("middle/mod.rs", "use super::top;"),
    ],
)
def test_upwards_in_rust_is_a_fault(tmp_path: Path, name: str, text: str) -> None:
    root = tree(tmp_path, {**RUST, name: text})
    (fault,) = check(root, FLOORS)
    assert "which stands above it" in fault


@pytest.mark.parametrize(
    "text", ["from . import top", "from .top import door", "import pack.top", "from pack import top"]
)
def test_upwards_in_python_is_a_fault(tmp_path: Path, text: str) -> None:
    (fault,) = check(tree(tmp_path, {**PYTHON, "ground.py": text}), FLOORS)
    assert fault.endswith("ground imports top, which stands above it")


def test_every_module_has_a_floor(tmp_path: Path) -> None:
    root = tree(tmp_path, {**RUST, "attic.rs": ""})
    assert len(check(root, FLOORS)) == 1
    assert len(check(root, [*FLOORS, "attic", "cellar"])) == 1


def test_this_project_has_none() -> None:
    assert main() == 0
