"""Fits what serving software adds to kernels, to rows of the fit split alone, and writes `software.toml`.

    python bench/fit_software.py --sample PATH

A prediction is as good as linear in what is fitted, so each row is predicted once in the middle and once off
it for each setting; the rest is arithmetic (a minute in all). The loss is the mean over cells
(model, chip, precision) of half the median and half the mean of the absolute logarithm of predicted over
measured, with the worst 15 % of a cell left out: rows of one cell differ in what nobody recorded.

What a small kernel takes is one number for the stacks that are Python between kernels, one for TensorRT-LLM,
which fuses and overlaps more: the one at which models that are left out of the rest of the fit are predicted
best, as it must hold for models that nobody measured. All else is fitted for each generation of a stack.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from perdure.silicon.calibration_software import PATH, Software, software_of
from perdure.twin.validate_launch import launch_of
from perdure.twin.validate_predict import ACCEPTED as ACCEPTED_NOW
from perdure.twin.validate_predict import SPECULATIVE, predict
from perdure.twin.validate_rows import Row, read_rows, without_duplicates

ROWS_PER_CELL_MIN = 5
WORST_LEFT_OUT = 0.15
KERNELS_S = tuple(us * 1e-6 for us in (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6))
KERNELS_SLOW_S = tuple(us * 1e-6 for us in range(100, 300, 10))
STEPS_S = tuple(us * 1e-6 for us in (0, 100, 200, 300, 400, 500, 700, 1000, 1400, 2000, 2800))
SEQUENCES_S = tuple(us * 1e-6 for us in (0, 2, 5, 10, 15, 20, 25, 30, 40))
PREFILL_TIMES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2.0, 2.3, 2.6)
ACCEPTED = tuple(percent / 100 for percent in range(30, 91, 2))
# Off the middle by so much, to see how a prediction moves.
MIDDLE = {"step_s": 5e-4, "kernel_s": 3e-6, "sequence_s": 1e-5, "prefill_times": 1.1}
OFF = {"step_s": 2e-4, "kernel_s": 1e-6, "sequence_s": 5e-6, "prefill_times": 0.1}
# Stacks that share the cost of a small kernel; of these generations each model is left out in turn.
FAMILIES = {
    "python": ("vllm", "vllm-2025", "sglang", "sglang-2025"),
    "trtllm": ("trtllm", "trtllm-1.0"),
    "slow": ("trtllm-1.3.0rc1",),
}
GENERATIONS = {
    "vllm": "MiniMax-M2.5 and gpt-oss-120b rows of 2026",
    "vllm-2025": "Llama-3.1-70B and gpt-oss-120b rows of 2025",
    "trtllm": "Llama-3.1-70B and gpt-oss-120b rows",
    "trtllm-1.0": "Llama-3.1-8B rows of TensorRT-LLM 1.0.0rc3",
    "sglang": "DeepSeek-R1 rows of 2026",
    SPECULATIVE: "DeepSeek-R1 rows of 2026 with two guesses a step",
    "sglang-2025": "DeepSeek-R1 and Llama-3.1-8B rows of 2025",
    "trtllm-1.3.0rc1": "DeepSeek-R1 and gpt-oss-120b rows, several servers of 1.3.0rc1 behind one address",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Rows of one model, chip and precision: what moves their predictions, over what was measured."""

    model: str
    base: np.ndarray
    slopes: np.ndarray

    def losses(self, settings: np.ndarray) -> np.ndarray:
        """For each row of `settings` (in the order of `MIDDLE`), the loss: see the top of this file."""
        ratios = np.maximum(self.base[None, :] + settings @ self.slopes.T, 1e-3)
        errors = np.sort(np.abs(np.log(ratios)), axis=1)
        kept = errors[:, : max(1, round(errors.shape[1] * (1 - WORST_LEFT_OUT)))]
        return (np.median(kept, axis=1) + kept.mean(axis=1)) / 2


def main() -> int:
    """Fit every generation and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sample", type=Path, required=True)
    arguments = parser.parse_args()
    rows = without_duplicates(read_rows(arguments.sample))
    groups = {
        name: cells_of(row for row in rows if usable(row) and row.generation == name)
        for name in GENERATIONS
        if name != SPECULATIVE
    }
    found: dict[str, Software] = {}
    for names in FAMILIES.values():
        found |= fitted({name: groups[name] for name in names})
    guessing = [row for row in rows if row.split == "fit" and row.backend == "sglang" and guesses(row)]
    found[SPECULATIVE] = speculating(guessing, found["sglang"])
    PATH.write_text(toml_of([found[name] for name in GENERATIONS]), encoding="utf-8")
    return 0


def usable(row: Row) -> bool:
    """Whether anything may be fitted to `row`.

    Left out, besides what is held out, incomplete or disaggregated: speculation; TensorRT-LLM's DeepSeek,
    whose mixtures ran on a different kernel in each setting; Llama-3.1-8B under vLLM 0.12, whose tokens take
    less time than its prompts; DeepSeek on B300, whose prompts take seven times their kernels; 512 clients of
    gpt-oss on H100, which the server did not let in.
    """
    if row.split != "fit" or row.lacks or row.disaggregated or guesses(row):
        return False
    if row.version == "1.3.0rc1":
        return row.replicas > 1
    odd = {("DeepSeek-V3", "trtllm"), ("Llama-3.1-8B", "vllm"), ("DeepSeek-V3", "b300_sxm")}
    if {(row.model, row.backend), (row.model, row.system)} & odd:
        return False
    return not (row.system == "h100_sxm" and row.generation == "vllm-2025" and row.concurrency == 512)


def guesses(row: Row) -> bool:
    """Whether it ran with speculation."""
    return launch_of(row).draft_tokens > 0


def cells_of(rows: Iterable[Row]) -> list[Cell]:
    """The rows of each model, chip and precision; those of which there are few stand aside."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.system, row.precision].append(row)
    return [cell_of(group) for _, group in sorted(groups.items()) if len(group) >= ROWS_PER_CELL_MIN]


def cell_of(rows: Sequence[Row], accepted: float = ACCEPTED_NOW) -> Cell:
    """Each row predicted in the middle and off it."""
    base: list[float] = []
    slopes: list[list[float]] = []
    for row in rows:
        middle = replace(software_of(row.generation), **MIDDLE)
        at_middle = predict(row, middle, accepted).tpot_s
        moved = [
            (predict(row, replace(middle, **{name: MIDDLE[name] + off}), accepted).tpot_s - at_middle) / off
            for name, off in OFF.items()
        ]
        slopes.append([slope / row.tpot_s for slope in moved])
        rest = at_middle - sum(slope * MIDDLE[name] for slope, name in zip(moved, MIDDLE, strict=True))
        base.append(rest / row.tpot_s)
    return Cell(model=rows[0].model, base=np.array(base), slopes=np.array(slopes))


def fitted(groups: dict[str, list[Cell]]) -> dict[str, Software]:
    """Every generation of one family around the cost of a small kernel that carries over best."""
    slow = any(name.endswith("rc1") for name in groups)
    scores = {
        kernel_s: carried_over(groups, kernel_s) for kernel_s in (KERNELS_SLOW_S if slow else KERNELS_S)
    }
    kernel_s = min(scores, key=lambda kernel_s: scores[kernel_s])
    print(", ".join(groups), {f"{1e6 * key:g} us": f"{score:.4f}" for key, score in scores.items()})
    found: dict[str, Software] = {}
    for name, cells in groups.items():
        (step_s, _, sequence_s, prefill_times), loss = best(cells, grid(kernel_s, name))
        found[name] = replace(
            software_of(name),
            step_s=step_s,
            kernel_s=kernel_s,
            sequence_s=sequence_s,
            prefill_times=prefill_times,
        )
        print(f"  {name}: loss {loss:.4f} over {len(cells)} cells", flush=True)
    return found


def carried_over(groups: dict[str, list[Cell]], kernel_s: float) -> float:
    """The mean loss of models that the rest of the fit has not seen; where there is but one, its own."""
    losses: list[float] = []
    for name, cells in groups.items():
        settings = grid(kernel_s, name)
        models = sorted({cell.model for cell in cells})
        for model in models:
            seen = [cell for cell in cells if cell.model != model] if len(models) > 1 else cells
            setting, _ = best(seen, settings)
            left_out = [cell for cell in cells if cell.model == model]
            losses.append(mean_losses(left_out, np.array([setting])).item())
    return float(np.mean(losses))


def grid(kernel_s: float, name: str) -> np.ndarray:
    """Every setting that is tried: rows of step, kernel, sequence and prefill."""
    if name.endswith("rc1"):
        return np.array([(0.0, kernel_s, 0.0, 1.0)])
    return np.array(list(product(STEPS_S, (kernel_s,), SEQUENCES_S, PREFILL_TIMES)))


def best(cells: Sequence[Cell], settings: np.ndarray) -> tuple[tuple[float, ...], float]:
    """The setting with the least loss, and that loss."""
    losses = mean_losses(cells, settings)
    index = int(np.argmin(losses))
    return tuple(settings[index]), float(losses[index])


def mean_losses(cells: Iterable[Cell], settings: np.ndarray) -> np.ndarray:
    """For each setting, over all cells."""
    return np.mean([cell.losses(settings) for cell in cells], axis=0)


def speculating(rows: Sequence[Row], software: Software) -> Software:
    """What fits rows with speculation best; prints the share of guesses that held with it."""
    settings = grid(software.kernel_s, SPECULATIVE)
    tried = [(share, *best([cell_of(rows, share)], settings)) for share in ACCEPTED]
    share, (step_s, _, sequence_s, prefill_times), loss = min(tried, key=lambda each: each[2])
    print(f"  {SPECULATIVE}: loss {loss:.4f} over {len(rows)} rows, with {share:.2f} accepted")
    return replace(
        software_of(SPECULATIVE),
        step_s=step_s,
        kernel_s=software.kernel_s,
        sequence_s=sequence_s,
        prefill_times=prefill_times,
    )


def toml_of(found: Iterable[Software]) -> str:
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


if __name__ == "__main__":
    sys.exit(main())
