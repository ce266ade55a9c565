"""What is compiled once stays compiled: in the next process, for any policy; no cache is no failure."""

import subprocess
import sys
from pathlib import Path

KERNEL = """
import math

from numba import njit, types

from perdure.scheduling.compiled import ORDER
from perdure.scheduling.facts import Waiting


@njit(types.int64(types.float64[::1], ORDER), cache=True)
def first(attained_s, order):
    best, lowest = 0, math.inf
    for index in range(len(attained_s)):
        waited_s = float(len(attained_s) - index)
        score = order(Waiting(waited_s, 1, 1, 0.0, 0.0, 0, 0.0, attained_s[index], 0.0, 0, 0.0, 0.0, 0))
        if score < lowest:
            best, lowest = index, score
    return best
"""

RUN = """
import sys
import numpy as np
from kernel import first
from perdure.scheduling.compiled import compile_policy
from perdure.scheduling.policies import named
from perdure.scheduling.policy_file import choose_policy

attained_s = np.array([5.0, 3.0, 4.0])
policies = [compile_policy("order", named("order", name)) for name in ("fcfs", "plas")]
policies.append(compile_policy("order", choose_policy("order", sys.argv[1] + ":last").function))
print([first(attained_s, policy) for policy in policies])
compiled = [sum(one.stats.cache_misses.values()) for one in (first, *policies)]
loaded = [sum(one.stats.cache_hits.values()) for one in (first, *policies)]
print(compiled, loaded)
"""

MINE = "def last(call):\n    return call.waited_s\n"


def run(folder: Path, cache: Path, *options: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-W", "error", *options, str(folder / "run.py"), str(folder / "mine.py")],
        env={"NUMBA_CACHE_DIR": str(cache), "HOME": str(folder), "PERDURE_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return ended.stdout.splitlines()


def written(folder: Path) -> Path:
    (folder / "kernel.py").write_text(KERNEL, encoding="utf-8")
    (folder / "run.py").write_text(RUN, encoding="utf-8")
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    return folder


def test_a_kernel_is_compiled_once_for_all_policies(tmp_path: Path) -> None:
    """One compiled kernel takes policies of ours and of the user; a second process compiles nothing."""
    folder = written(tmp_path)
    cache = folder / "cache"
    assert run(folder, cache) == ["[0, 1, 2]", "[1, 1, 1, 1] [0, 0, 0, 0]"]
    assert run(folder, cache) == ["[0, 1, 2]", "[0, 0, 0, 0] [1, 1, 1, 1]"]
    (folder / "mine.py").write_text(MINE.replace("waited_s", "program_attained_s"), encoding="utf-8")
    assert run(folder, cache) == ["[0, 1, 1]", "[0, 0, 0, 1] [1, 1, 1, 0]"]


def test_policies_compile_where_no_cache_can_be_written(tmp_path: Path) -> None:
    """Where no folder can be written a policy is compiled all the same, each time."""
    folder = written(tmp_path)
    blocked = folder / "blocked"
    blocked.write_text("a file where the folder should be", encoding="utf-8")
    code = (
        "from numba import config\n"
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]\n"
        "from perdure.scheduling.compiled import compile_policy\n"
        "from perdure.scheduling.policies import named\n"
        f"config.CACHE_DIR = {str(blocked)!r}\n"
        "from perdure.scheduling.facts import Waiting\n"
        "print(compile_policy('order', named('order', 'fcfs'))(Waiting(2.0, 1, 1)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert ended.stdout.strip() == "-2.0"
