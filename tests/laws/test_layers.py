"""The house keeps its shape: who may import whom, what a file may be, what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import perdure

PACKAGE = Path(perdure.__file__).parent
ROOT = PACKAGE.parents[1]

# DESIGN: a package imports only packages listed above it; `cli` alone sees all.
LAYERS = (
    ("version",),
    ("units", "errors", "clock", "rng", "processes"),
    ("config",),
    ("compiling_parts",),
    ("compiling",),
    ("catalog",),
    ("silicon",),
    ("models",),
    ("scheduling",),
    ("traces",),
    ("twin",),
    ("dialects",),
    ("engines",),
    ("journal",),
    ("platform",),
    ("agents",),
    ("cli",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))
LINES_MAX = 400


def home(path: Path) -> str:
    """The top-level name inside the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """The top-level names inside the package that a file imports, hidden imports included."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "perdure":
            parts = node.module.split(".")
            names += [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("perdure.")]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_only_what_lies_above_it(path: Path) -> None:
    """A lower layer never reaches up, and a file of the ground floor imports nothing of its own floor."""
    if home(path) in ("__init__", "__main__"):
        return
    here = HEIGHT[home(path)]
    for name in imports(path):
        if name == home(path) and path.parent != PACKAGE:
            continue
        if here == 1 and name == "errors":
            continue
        assert HEIGHT[name] < here, f"{path.relative_to(ROOT)} imports perdure.{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_answers_one_question(path: Path) -> None:
    """Every file begins by saying what it is for, and none is longer than 400 lines."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} does not say what it answers"
    assert text.count("\n") <= LINES_MAX, f"{path.relative_to(ROOT)} is too long"


def test_import_perdure_brings_nothing_along() -> None:
    """`import perdure` loads none of the libraries that cost time; they come with what needs them."""
    heavy = ("aiohttp", "starlette", "uvicorn", "sqlalchemy", "msgspec", "rich", "numpy", "numba", "asyncio")
    code = f"import sys, perdure; print([name for name in {heavy!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["serve", "cost", "estimate", "run"])
def test_a_command_that_must_start_fast_brings_no_compiler(command: str) -> None:
    """`perdure serve` prices calls without numba or numpy; only what simulates imports them."""
    code = (
        f"import sys, perdure.cli.{command}, perdure.models.cost_live, perdure.models.cost_sample; "
        "print([name for name in ('numpy', 'numba', 'llvmlite') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_help_brings_nothing_along() -> None:
    """`perdure --help` imports no command."""
    code = (
        "import sys\nfrom perdure.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith('perdure.cli.')], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "['perdure.cli.main']"
    assert "durable" in ended.stdout


def test_the_default_install_has_no_torch_and_no_cuda() -> None:
    """What `pip install perdure` brings along is small: no torch and no CUDA."""
    locked = (ROOT / "requirements" / "run.lock").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in locked.splitlines() if "==" in line and not line.startswith(" ")}
    assert "starlette" in names
    assert not {name for name in names if name.startswith(("torch", "nvidia", "cuda", "triton"))}


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_a_lock_names_hashes_and_no_index(lock: Path) -> None:
    """Every locked package has hashes, and no address of a package index is in the tree."""
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    packages = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert packages
    assert all(line.rstrip().endswith("\\") for line in packages)


def test_there_is_no_uv_lock() -> None:
    """uv.lock would write the address of a package index into the tree."""
    assert not (ROOT / "uv.lock").exists()
