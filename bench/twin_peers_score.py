"""What repeated runs come to: medians, how often faster, whether a target is met, and how cost grows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

# Linear within the noise of a shared machine; an n log n law would show 1.08 between 10^4 and 10^7.
EXPONENT_MOST = 1.05

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What we need of one figure of ours."""

    figure: str
    side: Literal["at most", "at least"]
    limit: float

    def met(self, figures: Figures) -> bool | None:
        """Whether `figures` meet it; None where they lack the figure."""
        value = figures.get(self.figure)
        if value is None:
            return None
        return value <= self.limit if self.side == "at most" else value >= self.limit


def medians(runs: Sequence[Figures]) -> dict[str, float]:
    """The median of each figure that every run has; empty without runs."""
    names = [name for name in (runs[0] if runs else ()) if all(name in run for run in runs)]
    return {name: statistics.median(run[name] for run in runs) for name in names}


def with_rates(figures: Figures) -> dict[str, float]:
    """`figures` with calls a second of kernel and of processor time, where both sides are known."""
    found = dict(figures)
    for seconds, rate in (("kernel_s", "calls_per_kernel_s"), ("cpu_s", "calls_per_cpu_s")):
        if figures.get(seconds, 0.0) > 0 and "calls" in figures:
            found[rate] = figures["calls"] / figures[seconds]
    return found


def times_faster(ours: Figures, peer: Figures, figures: Sequence[str]) -> dict[str, float]:
    """How many of our runs fit into one of the peer's, by each of `figures` that both have."""
    return {name: peer[name] / ours[name] for name in figures if name in peer and ours.get(name, 0.0) > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How cost grows with turns: cost ~ turns ** exponent, over all points and between neighbours.

    The steps show what one exponent hides: a fixed cost at the small end, cache misses at the large.
    """

    exponent: float
    steps: tuple[float, ...]

    @property
    def linear(self) -> bool:
        """Whether it grows no faster than linearly: neither altogether nor in the last step."""
        return max(self.exponent, self.steps[-1]) <= EXPONENT_MOST


def growth(turns: Sequence[float], cost_s: Sequence[float]) -> Growth | None:
    """Fitted by least squares on logarithms; None for less than two different sizes."""
    if len(set(turns)) < 2:
        return None
    x, y = [math.log(one) for one in turns], [math.log(one) for one in cost_s]
    points = sorted(zip(x, y, strict=True))
    return Growth(
        exponent=statistics.linear_regression(x, y).slope,
        steps=tuple(
            (after[1] - before[1]) / (after[0] - before[0])
            for before, after in pairwise(points)
            if after[0] > before[0]
        ),
    )
