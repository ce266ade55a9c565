"""How long operations take on a chip, at best, and on what they spend it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from perdure.silicon.chip import Chip
from perdure.silicon.shapes import Computation, Shape

Bound = Literal["compute", "memory", "launch", "link", "software"]
BOUNDS: tuple[Bound, ...] = ("compute", "memory", "launch", "link", "software")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A shape that one chip computes or exchanges, `repeats` times over, as `launches` kernels each time.

    repeats  layers that do it
    prompt   which prompt of the batch it belongs to, None for what all sequences share
    alike    how many prompts are like that one; all prompts are dealt out to `ranks` that attend apart
    """

    name: str
    shape: Shape
    repeats: float = 1.0
    launches: int = 1
    prompt: int | None = None
    alike: int = 1
    ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds by what they went to: each operation counts whole under the slower of compute and memory.

    busy_s  seconds that compute or memory would take at its peak: what power follows
    """

    compute_s: float = 0.0
    memory_s: float = 0.0
    launch_s: float = 0.0
    link_s: float = 0.0
    software_s: float = 0.0
    busy_s: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute_s + self.memory_s + self.launch_s + self.link_s + self.software_s

    @property
    def bound(self) -> Bound:
        """What most of the time went to."""
        return max(self.shares, key=lambda pair: pair[1])[0]

    @property
    def shares(self) -> tuple[tuple[Bound, float], ...]:
        """Seconds by cause, in a fixed order."""
        seconds = (self.compute_s, self.memory_s, self.launch_s, self.link_s, self.software_s)
        return tuple(zip(BOUNDS, seconds, strict=True))

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            compute_s=self.compute_s + other.compute_s,
            memory_s=self.memory_s + other.memory_s,
            launch_s=self.launch_s + other.launch_s,
            link_s=self.link_s + other.link_s,
            software_s=self.software_s + other.software_s,
            busy_s=self.busy_s + other.busy_s,
        )

    def times(self, factor: float) -> "Spent":
        """The same `factor` times over."""
        return Spent(
            compute_s=self.compute_s * factor,
            memory_s=self.memory_s * factor,
            launch_s=self.launch_s * factor,
            link_s=self.link_s * factor,
            software_s=self.software_s * factor,
            busy_s=self.busy_s * factor,
        )


def total_of(parts: Iterable[Spent]) -> Spent:
    """One after another."""
    total = Spent()
    for part in parts:
        total = total + part
    return total


def parts_s(shape: Computation, chip: Chip) -> tuple[float, float]:
    """What its arithmetic alone and what its memory alone take at their peaks.

    Raises BadRequest where the chip lacks the arithmetic.
    """
    return shape.flops / chip.peak_flops_per_s(shape.arithmetic), shape.bytes_moved / chip.memory_bytes_per_s


def computation_floor(shape: Computation, chip: Chip, *, times: float = 1.0, launch_s: float) -> Spent:
    """The slower of compute and memory, `times` over, plus launch.

    With `times` at 1 it is a lower bound and no forecast: how far real kernels fall short of it is
    calibration, which is not in here. Raises BadRequest where the chip lacks the arithmetic.
    """
    compute_s, memory_s = parts_s(shape, chip)
    if compute_s > memory_s:
        return Spent(compute_s=compute_s * times, launch_s=launch_s, busy_s=compute_s)
    return Spent(memory_s=memory_s * times, launch_s=launch_s, busy_s=memory_s)
