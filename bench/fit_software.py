"""Fits what serving software adds to kernels, to rows of the fit split alone, and writes `software.toml`.

    python bench/fit_software.py [--sample PATH] [--rows-per-cell 10] [--seed 5]

The loss is the mean over cells (model, chip, precision) of half the median and half the mean of the absolute
logarithm of predicted over measured, with the worst 15 % of a cell left out: rows of one cell differ in what
nobody recorded. Left out are TensorRT-LLM's aggregated DeepSeek rows, of which some ran with speculation
and none says so, and Llama-3.1-8B under vLLM 0.12, whose time per token stays below its prompts' own work.
"""

import argparse
import math
import random
import statistics
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from perdure.silicon.calibration_software import PATH, Software, software_of
from perdure.twin.validate_predict import predict
from perdure.twin.validate_rows import Row, read_rows, without_duplicates

ROWS_PER_CELL_MIN = 5
WORST_LEFT_OUT = 0.15
ROUNDS = 2
# One for all stacks: starting a kernel from a captured graph is the chip's doing. The rest is the stack's.
KERNELS_S = tuple(us * 1e-6 for us in (1.5, 2.0, 2.5, 3.0, 3.5))
GRIDS = (
    ("step_s", tuple(us * 1e-6 for us in (0, 200, 400, 700, 1000, 1400, 2000))),
    ("sequence_s", tuple(us * 1e-6 for us in (0, 5, 10, 15, 20, 30))),
    ("prefill_times", (1.0, 1.1, 1.2, 1.3)),
)
GENERATIONS = {
    "vllm": "MiniMax-M2.5 and gpt-oss-120b rows of 2026",
    "vllm-2025": "Llama-3.1-70B and gpt-oss-120b rows of 2025",
    "trtllm": "Llama-3.1-70B and gpt-oss-120b rows",
    "trtllm-1.0": "Llama-3.1-8B rows of TensorRT-LLM 1.0.0rc3",
    "sglang": "DeepSeek-R1 rows of 2026",
    "sglang-2025": "DeepSeek-R1 and Llama-3.1-8B rows of 2025",
}


def main() -> int:
    """Fit every generation and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=Path, required=True)
    parser.add_argument("--rows-per-cell", type=int, default=10)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    rows = [row for row in without_duplicates(read_rows(arguments.sample)) if usable(row)]
    cells = {
        name: cells_of([row for row in rows if row.generation == name], arguments) for name in GENERATIONS
    }
    best = min((fitted_all(kernel_s, cells) for kernel_s in KERNELS_S), key=lambda pair: pair[0])
    PATH.write_text(toml_of(best[1]), encoding="utf-8")
    return 0


def fitted_all(kernel_s: float, cells: dict[str, list[list[Row]]]) -> tuple[float, list[Software]]:
    """Every generation fitted around one cost of a small kernel, and their loss over all cells."""
    found = [
        fitted(replace(software_of(name), kernel_s=kernel_s, prefill_times=1.0), group)
        for name, group in cells.items()
    ]
    losses = [cell_loss(software, cell) for software in found for cell in cells[software.name]]
    print(f"kernel {kernel_s * 1e6:.1f} us: loss {statistics.mean(losses):.4f}", flush=True)
    return statistics.mean(losses), found


def toml_of(found: list[Software]) -> str:
    """As `software_of` reads it."""
    text = "# Written by bench/fit_software.py; split and method in docs/accuracy.md.\n"
    for software in found:
        text += f"""
["{software.name}"]
stack = "{software.stack}"
step_us = {software.step_s * 1e6:g}
kernel_us = {software.kernel_s * 1e6:g}
sequence_us = {software.sequence_s * 1e6:g}
prefill_times = {software.prefill_times:g}
source = "fitted to {GENERATIONS[software.name]}, silicon_sample.csv of aiconfigurator-core 0.12.0"
"""
    return text


def usable(row: Row) -> bool:
    """Whether anything may be fitted to `row`."""
    if row.split != "fit" or row.lacks or row.disaggregated:
        return False
    return (row.model, row.backend) not in (("DeepSeek-V3", "trtllm"), ("Llama-3.1-8B", "vllm"))


def cells_of(rows: list[Row], arguments: argparse.Namespace) -> list[list[Row]]:
    """A few rows of each model, chip and precision."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.system, row.precision].append(row)
    chance = random.Random(arguments.seed)
    most = arguments.rows_per_cell
    return [
        chance.sample(group, most) if len(group) > most else group
        for _, group in sorted(groups.items())
        if len(group) >= ROWS_PER_CELL_MIN
    ]


def fitted(software: Software, cells: list[list[Row]]) -> Software:
    """One setting after another to its best point of a grid, twice round."""
    best = loss(software, cells)
    for _ in range(ROUNDS):
        for name, grid in GRIDS:
            for value in grid:
                tried = replace(software, **{name: value})
                found = loss(tried, cells)
                if found < best - 1e-4:
                    best, software = found, tried
    return software


def loss(software: Software, cells: list[list[Row]]) -> float:
    """See the top of this file."""
    return statistics.mean(cell_loss(software, cell) for cell in cells)


def cell_loss(software: Software, cell: list[Row]) -> float:
    """That of one cell."""
    errors = sorted(abs(math.log(predict(row, software).tpot_s / row.tpot_s)) for row in cell)
    kept = errors[: max(1, round(len(errors) * (1 - WORST_LEFT_OUT)))]
    return (statistics.median(kept) + statistics.mean(kept)) / 2


if __name__ == "__main__":
    sys.exit(main())
