"""A process that makes pools for a plan: requests on its input, a line for each on its output.

`python -m perdure.twin.plan_worker PID FOLDER`, started by the plan of that process id, and ended with it.
A line says why a pool cannot be; it is empty where the pool lies in the folder.
"""

import pickle
import sys
from pathlib import Path
from typing import cast

from perdure.processes import die_with_parent
from perdure.twin.plan_pools import PoolAsk, make_pool


def main(words: list[str]) -> None:
    """Answer until the input ends."""
    parent_pid, folder = int(words[0]), Path(words[1])
    die_with_parent(parent_pid)
    while True:
        try:
            ask = cast(PoolAsk, pickle.load(sys.stdin.buffer))
        except EOFError:
            return
        reason = make_pool(ask, folder) or ""
        sys.stdout.write(" ".join(reason.split()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
