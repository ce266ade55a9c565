"""How far a chip falls short of its roofline where only a few matrix products were timed: the Zhenwu parts.

Each timed product gives measured over floor on that chip. A product like it, in how many rows it has, takes
the same factor; everything else, and the M890 that was not timed at all, takes the spread of all of them.
"""

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from perdure.catalog.figure import Status
from perdure.silicon.calibration_software import Software
from perdure.silicon.calibration_table import FOLDER
from perdure.silicon.chip import Chip
from perdure.silicon.efficiency import Factor
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.shapes import Gemm, Message, Shape

# `zhenwu-810e` itself; those after it by transfer, as the vendor gives them as multiples of it.
_TIMED = {"zhenwu-810e": "zhenwu-810e", "zhenwu-m890": "zhenwu-810e", "zhenwu-v900": "zhenwu-810e"}
# Peaks against which the rows are read: a little above the best of them.
_PEAKS = {"bf16": 135e12, "int8": 260e12}
_BYTES_PER_S = 2.6e12
_WEIGHT_BYTES = {"bf16": 2.0, "int8": 1.0}
# 384.15 of 400 GB/s between any two M890 (github.com/t-head/sailbandwidth); a copy is the best case.
LINK = Range(low=1.04, mid=1.25, high=2.0)
YOUNG = Range(low=1.0, mid=1.25, high=2.5)  # attention, experts, recurrences: no timing seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Measured over floor, by the logarithm of rows. `own`: of this chip, not carried over."""

    chip: str
    points: tuple[tuple[float, float], ...]
    own: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRows:
    """An efficiency that rests on a few timed products."""

    rows: Rows
    software: Software

    @property
    def name(self) -> str:
        """What a result calls it."""
        carried = "" if self.rows.own else ", carried over"
        return f"matrix products timed on zhenwu-810e{carried}; the rest estimated"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        """What products of as many rows took; a range for all else. Launches and steps are the chip's."""
        del chip
        if isinstance(shape, Message):
            return self._guess(
                LINK, "384 of 400 GB/s measured for a copy; what a collective adds is unmeasured"
            )
        if not isinstance(shape, Gemm):
            return self._guess(YOUNG, "no kernel of this kind was timed on a Zhenwu part")
        times = _between(self.rows.points, math.log2(max(shape.rows, 1.0)))
        wide = 1.15 if self.rows.own else 1.3
        spread = Range(low=max(1.0, times / wide), mid=max(1.0, times), high=times * wide)
        return self._guess(spread, f"products of as many rows on an 810E: {self.rows.source}")

    def step(self, chip: Chip) -> Factor:
        """Software of the stack, which was fitted on NVIDIA parts."""
        del chip
        spread = Range(low=0.5, mid=1.0, high=3.0).times(self.software.step_s)
        return Factor(
            times=exactly(1.0),
            launch_s=spread,
            status=Status.ESTIMATE,
            source=f"as on NVIDIA parts: {self.software.source}",
            chance=f"software/{self.rows.chip}",
        )

    def _guess(self, times: Range, reason: str) -> Factor:
        return Factor(
            times=times, status=Status.ESTIMATE, source=reason, chance=f"efficiency/{self.rows.chip}"
        )


@cache
def measured_rows_of(chip_id: str) -> Rows | None:
    """The timed products that speak for the chip called `chip_id`, or None."""
    timed = _TIMED.get(chip_id)
    if timed is None:
        return None
    record = tomllib.loads((FOLDER / f"{timed}.toml").read_text(encoding="utf-8"))
    points: dict[float, list[float]] = {}
    for row in record["gemm"]:
        points.setdefault(math.log2(row["rows"]), []).append(_times(row))
    means = tuple((at, sum(times) / len(times)) for at, times in sorted(points.items()))
    return Rows(chip=chip_id, points=means, own=timed == chip_id, source=record["source"])


def _times(row: dict[str, Any]) -> float:
    """Measured over floor of one timed product."""
    rows, outputs, inputs = row["rows"], row["outputs"], row["inputs"]
    weight_bytes = _WEIGHT_BYTES[row["arithmetic"]]
    moved = outputs * inputs * weight_bytes + rows * (inputs + outputs) * 2.0
    floor_s = max(2.0 * rows * outputs * inputs / _PEAKS[row["arithmetic"]], moved / _BYTES_PER_S)
    return row["kernel_ms"] * 1e-3 / floor_s


def _between(points: tuple[tuple[float, float], ...], at: float) -> float:
    if at <= points[0][0]:
        return points[0][1]
    for (low, first), (high, second) in pairwise(points):
        if at <= high:
            return first + (second - first) * (at - low) / (high - low)
    return points[-1][1]
