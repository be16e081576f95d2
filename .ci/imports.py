#!/usr/bin/env python3
"""Checks that imports run downwards.

Each crate's and package's modules stand in a list, ground first (`floors.toml`), and a module may import only those
before it. So there is no circle of imports, and a new module must be given its place.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

NOISE = re.compile(
    r"//[^\n]*|/\*.*?\*/|r(#*)\".*?\"\1|\"(?:\\.|[^\"\\])*\"|'(?:\\[^']+|[^'\\])'", re.DOTALL
)  # comments, strings and characters
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*\{")
PATH = re.compile(r"(?<![\w:$])(crate|super|self)((?:::\w+)*)(::\{)?")
BRACE = re.compile("[{}]")
EXPORT = re.compile(r"\buse\s+([^;]+);")


def closing(text: str, start: int) -> int:
    """Where the brace that opens before `start` closes."""
    depth = 1
    for brace in BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return len(text)


def code(source: str) -> str:
    """Rust without comments, strings and test modules."""
    text = NOISE.sub(lambda match: "" if match[0].startswith("/") else '""', source)
    while found := TESTS.search(text):
        text = text[: found.start()] + text[closing(text, found.end()) + 1 :]
    return text


def leaves(tree: str) -> Iterator[list[str]]:
    """The paths of a use tree: `a::{b, c::d}` is a::b and a::c::d. A name that `as` gives stands last."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if not brace:
        yield [part for part in re.split(r"\s*::\s*|\s+as\s+", tree) if part]
        return
    prefix = [part for part in re.split(r"\s*::\s*", head) if part]
    depth, item = 0, ""
    for letter in rest[: closing(rest, 0)] + ",":
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if item.strip():
                yield from (prefix + leaf for leaf in leaves(item))
            item = ""
        else:
            item += letter


def rust_imports(root: Path) -> Iterator[tuple[str, str, Path]]:
    """(module, module that it names, file) of a crate: every path that begins with `crate`, `super` or `self`."""
    roof = next(path for path in (root / "lib.rs", root / "main.rs") if path.exists())
    modules = {path.stem if path.is_file() else path.name for path in root.iterdir() if path.suffix in ("", ".rs")}
    exported = {}  # what the roof exports by another way than its module
    for tree in EXPORT.findall(code(roof.read_text())):
        for leaf in leaves(tree):
            leaf = leaf[1:] if leaf[0] in ("crate", "self") else leaf
            exported[leaf[-1]] = leaf[0]
    for path in sorted(root.rglob("*.rs")):
        place = list(path.relative_to(root).with_suffix("").parts)
        if place[-1] in ("mod", "lib", "main"):
            place.pop()
        if not place:
            continue
        text = code(path.read_text())
        for found in PATH.finditer(text):
            end = closing(text, found.end()) + 1 if found[3] else found.end()
            for leaf in leaves(text[found.start() : end]):
                base = [] if leaf[0] == "crate" else list(place)
                steps = leaf[1:]
                if leaf[0] == "super":
                    base.pop()
                while steps and steps[0] == "super":
                    base.pop()
                    steps = steps[1:]
                first = (base + steps)[:1]
                if not first or first == ["*"]:
                    continue
                name = first[0] if first[0] in modules else exported.get(first[0])
                if name in modules:
                    yield place[0], name, path


def python_imports(root: Path) -> Iterator[tuple[str, str, Path]]:
    """(module, module that it imports, file) of a package."""
    for path in sorted(root.rglob("*.py")):
        place = list(path.relative_to(root).with_suffix("").parts)
        if place == ["__init__"]:
            continue
        folder = place[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
                names = [name[1:] for name in names if name[0] == root.name]
            elif isinstance(node, ast.ImportFrom):
                module = node.module.split(".") if node.module else []
                if node.level:
                    up = folder[: len(folder) - (node.level - 1)]
                    module = up + module
                elif module[:1] == [root.name]:
                    module = module[1:]
                else:
                    continue
                names = [[*module, alias.name] for alias in node.names]
            else:
                continue
            yield from ((place[0], name[0], path) for name in names if name)


def check(root: Path, floors: list[str]) -> list[str]:
    """What is wrong with a crate (a folder with lib.rs or main.rs) or package, a line each."""
    python = not any((root / name).exists() for name in ("lib.rs", "main.rs"))
    roof = ("__init__", "__main__", "lib", "main", "__pycache__")
    there = {path.stem for path in root.iterdir() if path.is_dir() or path.suffix == (".py" if python else ".rs")}
    there = {name for name in there if name not in roof}
    faults = [f"{root}/{name} stands on no floor: give it a place in .ci/floors.toml" for name in there - {*floors}]
    faults += [f"{root}/{name} stands in .ci/floors.toml and is not there" for name in {*floors} - there]
    height = {name: at for at, name in enumerate(floors)}
    for module, named, path in python_imports(root) if python else rust_imports(root):
        if height.get(named, -1) > height.get(module, len(floors)):
            faults.append(f"{path}: {module} imports {named}, which stands above it")
    return sorted(set(faults))


def main() -> int:
    """Checks all of `floors.toml`; the paths in it start at the repository's root."""
    here = Path(__file__).parent
    crates = tomllib.loads((here / "floors.toml").read_text())
    faults = [fault for root, floors in crates.items() for fault in check(here.parent / root, floors)]
    print("\n".join(faults) or f"imports run downwards in {', '.join(crates)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
