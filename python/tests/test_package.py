"""What `import horq` brings, and which packages it and its tests need."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import horq

ROOT = Path(horq.__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"


def python(code, **environment):
    """What a fresh Python prints."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment or None)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_names_are_listed_and_pytorch_waits_for_the_first_of_them():
    code = "import horq; names = dir(horq); print('torch' in sys.modules, set(horq.__all__) <= set(names))"
    assert python(code) == "False True"
    assert {"nn", "export", "convert", "fold", "restore", "Model", "Error"} <= set(dir(horq))
    code = "import horq; print(horq.nn.HorqLinear.__name__, horq.convert.__name__, horq.export.__name__)"
    assert python(code) == "HorqLinear convert export"
    for name in horq.__all__:
        assert getattr(horq, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'gelu'"):
        horq.gelu  # noqa: B018


def test_without_pytorch_the_rest_works_and_the_error_says_what_is_missing():
    code = """
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'torch':
            raise ModuleNotFoundError(f'No module named {name!r}', name='torch')
sys.meta_path.insert(0, Without())
import horq
horq.Builder('x', (4,))
for name in ('nn', 'export', 'convert', 'restore'):
    try:
        getattr(horq, name)
    except ModuleNotFoundError as error:
        print(error)
"""
    lines = python(code).splitlines()
    assert len(lines) == 4
    assert all("needs PyTorch, which is not installed; install it: pip install torch" in line for line in lines)


def third_party(folder):
    """The packages that the code of a folder imports, anywhere in it."""
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    own = {"horq", *(file.stem for file in folder.glob("*.py"))}
    return names - set(sys.stdlib_module_names) - own


def packages(lines):
    return {line.split(">")[0] for line in lines}


def test_the_project_names_every_package_that_it_and_its_tests_import():
    project = tomllib.loads(PROJECT.read_text())["project"]
    needed, extras = packages(project["dependencies"]), project["optional-dependencies"]
    wheel, experiments = third_party(ROOT / "horq"), third_party(ROOT / "experiments") - {"experiments"}
    assert wheel <= needed | packages(extras["train"])
    assert wheel | experiments <= needed | packages(extras["experiments"]) | packages(extras["roads"])
    test = packages(extras["test"])
    assert wheel | experiments | third_party(ROOT / "tests") - {"experiments"} | {"pytest"} <= needed | test


def test_the_wheel_holds_the_package_alone():
    """maturin packs the folders in python-packages and what include names; of the package every file is code."""
    rules = tomllib.loads(PROJECT.read_text())["tool"]["maturin"]
    assert (rules["module-name"], rules["python-source"], rules["python-packages"]) == ("horq._core", ".", ["horq"])
    assert "include" not in rules
    packed = [file for file in (ROOT / "horq").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert {file.suffix for file in packed} <= {".py", ".pyi", ".typed", ".so", ".pyd"}
    assert "experiments" not in third_party(ROOT / "horq")


@pytest.mark.parametrize("page", ["README.md", "../README.md"])
def test_the_pages_install_what_the_tests_need(page):
    text = (ROOT / page).read_text()
    assert "pip install maturin" in text
    assert "maturin develop --release --manifest-path python/Cargo.toml --extras" in text
