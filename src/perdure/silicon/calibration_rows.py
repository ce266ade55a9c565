"""How far a chip falls short of its roofline where only a few matrix products were timed: the Zhenwu parts.

Each timed product says how far it fell short of the part of the chip that binds it, with few rows the memory,
with many the arithmetic. A product of as many rows falls as far short of each and takes the longer of the
two, so that neither more work nor a slower part ever makes it quicker. Everything else is an estimate.
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
from perdure.silicon.efficiency import Factor, Timed
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.roofline import parts_s
from perdure.silicon.shapes import Gemm, Message, Shape

# `zhenwu-810e` itself; those after it by transfer, as the vendor gives them as multiples of it.
_PARTS = ("zhenwu-810e", "zhenwu-m890", "zhenwu-v900", "zhenwu-j900")
_TIMED: dict[str, str] = dict.fromkeys(_PARTS, "zhenwu-810e")
# Peaks against which the rows are read: a little above the best of them.
_PEAKS = {"bf16": 135e12, "int8": 260e12}
_BYTES_PER_S = 2.6e12
_WEIGHT_BYTES = {"bf16": 2.0, "int8": 1.0}
# 384.15 of 400 GB/s between any two M890 (github.com/t-head/sailbandwidth); a copy is the best case.
LINK = Range(low=1.04, mid=1.25, high=2.0)
YOUNG = Range(low=1.0, mid=1.25, high=2.5)  # attention, experts, recurrences: no timing seen


Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Measured over what the part that binds takes at its peak, by the logarithm of rows.

    memory   of products that memory binds; never falls, as those of more rows read no less
    compute  of products that arithmetic binds
    own      of this chip, not carried over
    """

    chip: str
    memory: Points
    compute: Points
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
        if isinstance(shape, Message):
            return self._guess(
                LINK, "384 of 400 GB/s measured for a copy; what a collective adds is unmeasured"
            )
        if not isinstance(shape, Gemm):
            return self._guess(YOUNG, "no kernel of this kind was timed on a Zhenwu part")
        flow_s, fetch_s = parts_s(shape, chip)
        at = math.log2(max(shape.rows, 1.0))
        seconds = max(flow_s * _between(self.rows.compute, at), fetch_s * _between(self.rows.memory, at))
        times, wide = seconds / max(flow_s, fetch_s), 1.15 if self.rows.own else 1.3
        spread = Range(low=max(1.0, times / wide), mid=times, high=times * wide)
        timed = Timed(seconds=seconds, flow_s=flow_s, fetch_s=fetch_s)
        return self._guess(spread, f"products of as many rows on an 810E: {self.rows.source}", timed)

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

    def _guess(self, times: Range, reason: str, timed: Timed | None = None) -> Factor:
        return Factor(
            times=times,
            timed=timed,
            status=Status.ESTIMATE,
            source=reason,
            chance=f"efficiency/{self.rows.chip}",
        )


@cache
def measured_rows_of(chip_id: str) -> Rows | None:
    """The timed products that speak for the chip called `chip_id`, or None."""
    timed = _TIMED.get(chip_id)
    if timed is None:
        return None
    record = tomllib.loads((FOLDER / f"{timed}.toml").read_text(encoding="utf-8"))
    memory, compute = dict[float, list[float]](), dict[float, list[float]]()
    for row in record["gemm"]:
        flow_s, fetch_s = _parts_s(row)
        points = compute if flow_s > fetch_s else memory
        times = max(1.0, row["kernel_ms"] * 1e-3 / max(flow_s, fetch_s))
        points.setdefault(math.log2(row["rows"]), []).append(times)
    return Rows(
        chip=chip_id,
        memory=_rising(_means(memory)),
        compute=_means(compute),
        own=timed == chip_id,
        source=record["source"],
    )


def _parts_s(row: dict[str, Any]) -> tuple[float, float]:
    """What arithmetic and memory of one timed product take at the peaks that rows are read against."""
    rows, outputs, inputs = row["rows"], row["outputs"], row["inputs"]
    moved = outputs * inputs * _WEIGHT_BYTES[row["arithmetic"]] + rows * (inputs + outputs) * 2.0
    return 2.0 * rows * outputs * inputs / _PEAKS[row["arithmetic"]], moved / _BYTES_PER_S


def _means(points: dict[float, list[float]]) -> Points:
    return tuple((at, sum(times) / len(times)) for at, times in sorted(points.items()))


def _rising(points: Points) -> Points:
    return tuple((at, max(times for before, times in points if before <= at)) for at, _ in points)


def _between(points: Points, at: float) -> float:
    if at <= points[0][0]:
        return points[0][1]
    for (low, first), (high, second) in pairwise(points):
        if at <= high:
            return first + (second - first) * (at - low) / (high - low)
    return points[-1][1]
