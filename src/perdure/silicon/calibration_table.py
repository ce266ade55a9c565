"""How long a measured kernel takes at sizes between, and a little beyond, those that were timed.

A table holds times on a grid. Between its points the logarithm of the time is linear in the logarithm of each
size, which is exact for a power law and continuous everywhere. Beyond the last point the slope of the last
step goes on, kept between constant and proportional, up to a far point that is added to the grid: what holds
between the points of a table, or of two tables, holds out there as well. Below the first point the time stays
what it is there.
"""

import gzip
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from perdure.errors import CatalogBroken

FOLDER = Path(__file__).parent / "calibrations"
STEPS_PER_OCTAVE = 50
SLOPE_MAX = 1.1  # beyond the table: a little over proportional, as attention over a growing prompt is
FAR_OCTAVES = 10.0  # beyond the last point of each axis lies the far one
TABLE_CELLS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Logarithms (base 2) of nanoseconds on a grid whose axes are logarithms of sizes.

    version  of the software that was timed
    """

    chip: str
    stack: str
    family: str
    variant: str
    version: str
    axes: tuple[tuple[float, ...], ...]
    cells: tuple[float, ...]

    def seconds(self, *sizes: float) -> float:
        """The time at `sizes`, one for each axis."""
        assert len(sizes) == len(self.axes), "one size for each axis"
        places = [
            _place(axis, math.log2(max(size, 1e-9))) for axis, size in zip(self.axes, sizes, strict=True)
        ]
        return 2.0 ** self._log_at(0, 0, places) * 1e-9

    @property
    def least_s(self) -> float:
        """The time of the smallest kernel, as times never fall towards larger ones."""
        return 2.0 ** self.cells[0] * 1e-9

    def _log_at(self, depth: int, offset: int, places: Sequence[tuple[int, float]]) -> float:
        if depth == len(places):
            return self.cells[offset]
        index, share = places[depth]
        stride = math.prod(len(axis) for axis in self.axes[depth + 1 :])
        low = self._log_at(depth + 1, offset + index * stride, places)
        if share == 0.0:
            return low
        high = self._log_at(depth + 1, offset + (index + 1) * stride, places)
        if share <= 1.0:
            return low + share * (high - low)
        width = self.axes[depth][index + 1] - self.axes[depth][index]
        slope = min(max((high - low) / width, 0.0), SLOPE_MAX)
        return high + slope * (share - 1.0) * width


def _place(axis: Sequence[float], at: float) -> tuple[int, float]:
    """The step of `axis` that `at` falls in, and how far into it: 0 to 1, or more beyond the end."""
    if len(axis) == 1 or at <= axis[0]:
        return 0, 0.0
    index = min(bisect_right(axis, at) - 1, len(axis) - 2)
    return index, (at - axis[index]) / (axis[index + 1] - axis[index])


class Tables(Mapping[str, Table]):
    """Tables by `family/variant`, each read the first time that it is asked for."""

    def __init__(self, lines: Mapping[str, str], where: str) -> None:
        self._lines = lines
        self._where = where
        self._read: dict[str, Table] = {}

    def __getitem__(self, key: str) -> Table:
        if key not in self._read:
            self._read[key] = table_from(json.loads(self._lines[key]), self._where)
        return self._read[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


@cache
def tables_of(chip: str, stack: str, path: Path = FOLDER / "nvidia.jsonl.gz") -> Tables:
    """The tables of `stack` on `chip`, by `family/variant`; none where nothing was measured."""
    return Tables(_lines(path).get(f'{{"chip":"{chip}","stack":"{stack}"', {}), str(path))


@cache
def _lines(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Lines of a file by how they start, which is chip and stack, and by family and variant."""
    groups: dict[str, dict[str, str]] = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        start, rest = line.split(',"family":"', 1)
        family, rest = rest.split('","variant":"', 1)
        variant = rest.split('"', 1)[0]
        groups.setdefault(start, {})[f"{family}/{variant}"] = line
    return groups


def table_from(record: Mapping[str, Any], where: str) -> Table:
    """The table that one line of a calibration file describes; raises CatalogBroken on a malformed one."""
    axes: list[list[int]] = record["axes"]
    steps: list[int | None] = record["cells"]
    if len(steps) != math.prod(map(len, axes)) or not 0 < len(steps) <= TABLE_CELLS_MAX:
        raise CatalogBroken(f"{where}: {record['family']}/{record['variant']}: cells do not fill the axes")
    if any(later <= earlier for axis in axes for earlier, later in pairwise(axis)):
        raise CatalogBroken(f"{where}: {record['family']}/{record['variant']}: an axis does not rise")
    logs = [None if step is None else step / STEPS_PER_OCTAVE for step in steps]
    log_axes = tuple(tuple(math.log2(point) for point in axis) for axis in axes)
    far_axes, cells = _extended(log_axes, _filled(logs, log_axes))
    return Table(
        chip=record["chip"],
        stack=record["stack"],
        family=record["family"],
        variant=record["variant"],
        version=record["version"],
        axes=far_axes,
        cells=cells,
    )


Axes = tuple[tuple[float, ...], ...]


def _extended(axes: Axes, cells: tuple[float, ...]) -> tuple[Axes, tuple[float, ...]]:
    """The grid with a far point at the end of every axis that has two or more."""
    found = list(axes)
    for depth, axis in enumerate(axes):
        if len(axis) > 1:
            cells = _extended_along(cells, found, depth)
            found[depth] = (*axis, axis[-1] + FAR_OCTAVES)
    shape, strides = _layout(found)
    return tuple(found), _rising(cells, shape, strides)


def _extended_along(cells: Sequence[float], axes: Sequence[Sequence[float]], depth: int) -> tuple[float, ...]:
    """Cells with one more along one axis, where the slope of its last step goes on, within its limits."""
    axis, inner = axes[depth], math.prod(len(other) for other in axes[depth + 1 :])
    block, found = len(axis) * inner, list[float]()
    for start in range(0, len(cells), block):
        before = cells[start + block - 2 * inner : start + block - inner]
        last = cells[start + block - inner : start + block]
        found += cells[start : start + block]
        for low, high in zip(before, last, strict=True):
            slope = min(max((high - low) / (axis[-1] - axis[-2]), 0.0), SLOPE_MAX)
            found.append(high + slope * FAR_OCTAVES)
    return tuple(found)


def _layout(axes: Sequence[Sequence[float]]) -> tuple[list[int], list[int]]:
    """How many points each axis has, and how many cells lie between two neighbours on it."""
    shape = [len(axis) for axis in axes]
    return shape, [math.prod(shape[depth + 1 :]) for depth in range(len(shape))]


def _filled(logs: list[float | None], axes: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Points that did not fit into the measured chip's memory: as the point before, in proportion."""
    shape, strides = _layout(axes)
    for indices in product(*(range(size) for size in shape)):
        offset = sum(index * stride for index, stride in zip(indices, strides, strict=True))
        if logs[offset] is not None:
            continue
        for depth in reversed(range(len(shape))):
            before = logs[offset - strides[depth]] if indices[depth] else None
            if before is not None:
                step = axes[depth][indices[depth]] - axes[depth][indices[depth] - 1]
                logs[offset] = before + step
                break
    known = [log for log in logs if log is not None]
    if not known:
        raise CatalogBroken("a calibration table has no measured cell")
    return _rising([known[0] if log is None else log for log in logs], shape, strides)


def _rising(logs: Sequence[float], shape: Sequence[int], strides: Sequence[int]) -> tuple[float, ...]:
    """Half-way between the least times that never fall towards larger sizes and the greatest such times.

    Timings dip here and there, where a library picks another kernel or by noise; what is priced must not, so
    that more work never costs less.
    """
    above, below = list(logs), list(logs)
    places = list(product(*(range(size) for size in shape)))
    for indices in places:
        offset = sum(index * stride for index, stride in zip(indices, strides, strict=True))
        for index, stride in zip(indices, strides, strict=True):
            if index:
                above[offset] = max(above[offset], above[offset - stride])
    for indices in reversed(places):
        offset = sum(index * stride for index, stride in zip(indices, strides, strict=True))
        for index, stride, size in zip(indices, strides, shape, strict=True):
            if index + 1 < size:
                below[offset] = min(below[offset], below[offset + stride])
    return tuple((high + low) / 2 for high, low in zip(above, below, strict=True))
