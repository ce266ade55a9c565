"""Costs as functions of one or two sums, piecewise linear between knots, read in well under a microsecond.

Knots lie on every whole number up to a point, and from there a fixed number of them in each octave, so that
the place of a number follows from its floating-point exponent and needs no search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

OCTAVES_MAX = 24  # 16 million: more than any sum of tokens that a table is asked for


@dataclass(frozen=True)
class Grid:
    """Knots from 0 to at least `maximum`: every whole number at first, then `per_octave` (a power of two)."""

    per_octave: int
    maximum: int

    def __post_init__(self) -> None:
        assert self.per_octave > 0, "a grid has knots"
        assert self.per_octave & (self.per_octave - 1) == 0, "the number of knots an octave is a power of two"
        assert 0 < self.maximum <= 2**OCTAVES_MAX, "a table has a limit"

    @property
    def dense(self) -> int:
        """Where whole numbers end."""
        return 2 * self.per_octave

    @cached_property
    def knots(self) -> tuple[float, ...]:
        """All of them, rising; the last is at or beyond the maximum."""
        knots = [float(number) for number in range(self.dense + 1)]
        while knots[-1] < self.maximum:
            start = knots[-1]
            knots += [start * (1 + step / self.per_octave) for step in range(1, self.per_octave + 1)]
        return tuple(knots)

    @cached_property
    def cells(self) -> int:
        """Spaces between knots."""
        return len(self.knots) - 1

    def cell(self, number: float) -> int:
        """Which cell `number` lies in; beyond the last knot, the last one goes on."""
        if number < self.dense:
            return int(number)
        mantissa, exponent = math.frexp(number)
        place = self.offset + exponent * self.per_octave + int(mantissa * self.dense)
        return min(place, self.cells - 1)

    @cached_property
    def offset(self) -> int:
        """What places in octaves are counted from: the cell of a number is this and its place."""
        octave = self.per_octave.bit_length() + 1  # the exponent of the first number that is not dense
        return self.dense - octave * self.per_octave - self.per_octave


@dataclass(frozen=True)
class Curve:
    """A cost that depends on one sum: in cell i it is `base[i] + slope[i] * number`."""

    grid: Grid
    base: list[float]
    slope: list[float]

    def at(self, number: float) -> float:
        """The cost at `number`."""
        cell = self.grid.cell(number)
        return self.base[cell] + self.slope[cell] * number


@dataclass(frozen=True)
class Surface:
    """A cost that depends on two sums: in a cell it is `base + across * x + along * y + both * x * y`.

    Cells of the first sum follow each other in rows of those of the second.
    """

    first: Grid
    second: Grid
    base: list[float]
    across: list[float]
    along: list[float]
    both: list[float]

    def at(self, x: float, y: float) -> float:
        """The cost at the two sums."""
        cell = self.first.cell(x) * self.second.cells + self.second.cell(y)
        return self.base[cell] + self.across[cell] * x + (self.along[cell] + self.both[cell] * x) * y


def curve_through(grid: Grid, values: Sequence[float]) -> Curve:
    """The curve through one value for each knot."""
    knots = grid.knots
    base: list[float] = []
    slope: list[float] = []
    for cell in range(grid.cells):
        rise = (values[cell + 1] - values[cell]) / (knots[cell + 1] - knots[cell])
        slope.append(rise)
        base.append(values[cell] - rise * knots[cell])
    return Curve(grid, base, slope)


def surface_through(first: Grid, second: Grid, values: Sequence[Sequence[float]]) -> Surface:
    """The surface through one value for each pair of knots, bilinear between them."""
    found = Surface(first, second, [], [], [], [])
    for place in range(first.cells):
        strip = strip_through(first.knots[place : place + 2], second, values[place : place + 2])
        for part, more in zip((found.base, found.across, found.along, found.both), strip, strict=True):
            part.extend(more)
    return found


def strip_through(
    ends: Sequence[float], second: Grid, values: Sequence[Sequence[float]]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """One row of a surface's cells, between two knots of its first sum: base, across, along and both."""
    (x0, x1), (low, high) = ends, values
    cells = list(zip(pairwise(second.knots), pairwise(low), pairwise(high), strict=True))
    areas = [(x1 - x0) * (y1 - y0) for (y0, y1), _, _ in cells]
    both = [(v00 - v01 - v10 + v11) for _, (v00, v01), (v10, v11) in cells]
    across = [(v10 - v00) * y1 - (v11 - v01) * y0 for (y0, y1), (v00, v01), (v10, v11) in cells]
    along = [(v01 - v00) * x1 - (v11 - v10) * x0 for _, (v00, v01), (v10, v11) in cells]
    base = [
        (v00 * x1 - v10 * x0) * y1 - (v01 * x1 - v11 * x0) * y0 for (y0, y1), (v00, v01), (v10, v11) in cells
    ]
    scaled = (
        [value / area for value, area in zip(part, areas, strict=True)]
        for part in (base, across, along, both)
    )
    return next(scaled), next(scaled), next(scaled), next(scaled)
