"""Fits what a client waits for its first token beyond the engine's steps, to rows of the fit split alone.

    python bench/fit_front.py SAMPLE.csv [--every 4] [--out src/perdure/twin/front.toml]

SAMPLE.csv is `systems/silicon_sample.csv` of aiconfigurator-core 0.12.0. One row of so many is simulated;
for each generation of software the constants with the least median error are taken.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

from perdure.errors import PerdureError
from perdure.twin.validate_rows import Row, of_split, read_rows, without_duplicates
from perdure.twin.validate_twin_rows import Front, Waited, simulate_row, usable

WAIT_MS = (0, 5, 10, 20, 30, 40, 60, 80, 100)
WAIT_STEPS = (0, 1, 2, 3, 5, 8, 10, 15, 20, 25, 30)
ORDER = ("vllm", "vllm-2025", "trtllm", "trtllm-1.0", "sglang", "sglang-2025")
HEAD = """\
# Written by bench/fit_front.py: what a client waits for its first token beyond the engine's steps, fitted to
# rows of the fit split alone (silicon_sample.csv of aiconfigurator-core 0.12.0); see docs/fidelity.md.
# Settings that the rows do not name, such as how many tokens a server streams at once, are in it.
"""


def main() -> int:
    """Write the constants, and print how many rows they rest on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("src/perdure/twin/front.toml"))
    arguments = parser.parse_args()
    rows = usable(of_split(without_duplicates(read_rows(arguments.sample)), "fit"))
    waited: dict[str, list[tuple[Row, Waited]]] = defaultdict(list)
    for row in rows[:: arguments.every]:
        try:
            waited[row.generation].append((row, simulate_row(row)))
        except PerdureError as error:
            print(f"left out: {row.id}: {error.message}")
    text = HEAD
    for name in ORDER:
        ms, steps = fit(waited[name])
        error = error_of(waited[name], ms, steps)
        print(f"{name}: {len(waited[name])} rows, {ms} ms and {steps} steps: median error {error:.1%}")
        text += f'\n["{name}"]\nwait_ms = {ms}\nwait_steps = {steps}\n'
    arguments.out.write_text(text, encoding="utf-8")
    return 0


def fit(pairs: list[tuple[Row, Waited]]) -> tuple[int, int]:
    """Milliseconds and steps."""
    return min(product(WAIT_MS, WAIT_STEPS), key=lambda pair: error_of(pairs, *pair))


def error_of(pairs: list[tuple[Row, Waited]], ms: int, steps: int) -> float:
    """The median error of the TTFT."""
    front = Front(wait_s=ms * 1e-3, wait_steps=steps)
    return statistics.median(abs(waited.ttft_s(front) / row.ttft_s - 1) for row, waited in pairs)


if __name__ == "__main__":
    sys.exit(main())
