"""How code is compiled by numba, and where what was compiled is kept. A server must not import this."""

import hashlib
import shutil
from pathlib import Path
from typing import Any, cast

import numba
from numba import njit  # pyright: ignore[reportUnknownVariableType]

from perdure.compiling_parts import PartCompiler
from perdure.config import read_places, read_twin_debug, writable_folder

# Arrays of records (`numpy.recarray`), whose fields compiled code and Python read alike.
Records = Any

PATTERNS = ("*/*compiled*.py", "twin/kernel*.py", "scheduling/facts.py", "scheduling/fair.py")
FOLDERS_MAX = 4  # of older states of the sources
# Whether compiled code checks itself: every index, and after every event all that must hold of the world.
DEBUG = read_twin_debug()


def _state_of_sources() -> str:
    """What compiled code was made of. Numba itself looks only at the file of the function that is called."""
    here = Path(__file__).parent
    files = [Path(__file__), *(file for pattern in PATTERNS for file in sorted(here.glob(pattern)))]
    stats = [(file.name, file.stat()) for file in files]
    marks = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    return hashlib.sha256("\n".join([numba.__version__, f"debug {DEBUG}", *marks]).encode()).hexdigest()[:16]


def _folder() -> Path:
    """The folder of this state; those of older states than the last few are deleted."""
    above = writable_folder(read_places().compiled_dir)
    folder = above / _state_of_sources()
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        others = sorted(
            (one for one in above.iterdir() if one != folder), key=lambda one: one.stat().st_mtime
        )
        for old in others[:-FOLDERS_MAX]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


FOLDER = _folder()
cast(Any, numba).config.CACHE_DIR = str(FOLDER)

# What Python calls: kept on disk with all that it calls.
compiled = cast(Any, njit)(cache=True, nogil=True, error_model="numpy", boundscheck=DEBUG)
# What only compiled code calls. Without a way in from Python it is compiled in a fraction of the time.
inner = cast(Any, njit)(
    nogil=True,
    error_model="numpy",
    boundscheck=DEBUG,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    pipeline_class=PartCompiler,
)
