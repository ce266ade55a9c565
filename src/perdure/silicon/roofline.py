"""How long operations take on a chip, at best, and on what they spend it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from perdure.silicon.chip import Chip

Bound = Literal["compute", "memory", "launch", "link"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that one chip computes, `repeats` times over.

    arithmetic  the number format that it computes in, which decides the peak
    """

    name: str
    flops: float
    bytes_moved: float
    arithmetic: str
    repeats: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds by what they went to: each operation counts whole under the slower of compute and memory."""

    compute_s: float = 0.0
    memory_s: float = 0.0
    launch_s: float = 0.0
    link_s: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute_s + self.memory_s + self.launch_s + self.link_s

    @property
    def bound(self) -> Bound:
        """What most of the time went to."""
        return max(self.shares, key=lambda pair: pair[1])[0]

    @property
    def shares(self) -> tuple[tuple[Bound, float], ...]:
        """Seconds by cause, in a fixed order."""
        return (
            ("compute", self.compute_s),
            ("memory", self.memory_s),
            ("launch", self.launch_s),
            ("link", self.link_s),
        )

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            compute_s=self.compute_s + other.compute_s,
            memory_s=self.memory_s + other.memory_s,
            launch_s=self.launch_s + other.launch_s,
            link_s=self.link_s + other.link_s,
        )

    def times(self, factor: float) -> "Spent":
        """The same `factor` times over."""
        return Spent(
            compute_s=self.compute_s * factor,
            memory_s=self.memory_s * factor,
            launch_s=self.launch_s * factor,
            link_s=self.link_s * factor,
        )


def operation_floor(operation: Operation, chip: Chip) -> Spent:
    """Lower bound on the time for `operation`: the slower of compute and memory, plus launch.

    A floor, not a forecast: how far real kernels fall short of it is calibration, which is not in here.
    """
    compute_s = operation.flops / chip.peak_flops_per_s(operation.arithmetic)
    memory_s = operation.bytes_moved / chip.memory_bytes_per_s
    bound_by_compute = compute_s > memory_s
    once = Spent(
        compute_s=compute_s if bound_by_compute else 0.0,
        memory_s=0.0 if bound_by_compute else memory_s,
        launch_s=chip.launch_s,
    )
    return once.times(operation.repeats)


def floor_of(operations: Iterable[Operation], chip: Chip) -> Spent:
    """Lower bound on the time for `operations` one after another."""
    total = Spent()
    for operation in operations:
        total = total + operation_floor(operation, chip)
    return total
