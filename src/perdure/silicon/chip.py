"""What one chip can do at best, in numbers to calculate with."""

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case
from perdure.errors import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """Peaks of one chip.

    flops_per_s  by arithmetic, such as `bf16`, without sparsity
    launch_s     what starting a kernel costs
    """

    name: str
    memory_bytes: float
    memory_bytes_per_s: float
    flops_per_s: Mapping[str, float]
    launch_s: float

    def peak_flops_per_s(self, arithmetic: str) -> float:
        """Peak of `arithmetic`; raises BadRequest where the chip does not compute in it."""
        if arithmetic not in self.flops_per_s:
            raise BadRequest(
                f"{self.name} does not compute in {arithmetic}; choose a precision that computes in "
                f"{' or '.join(self.flops_per_s)}",
                param="precision",
            )
        return self.flops_per_s[arithmetic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What joins the chips of one scale-up domain: bandwidth per chip and direction, latency of one step."""

    bytes_per_s: float
    step_s: float


def chip_at(entry: Entry, case: Case) -> Chip:
    """The chip that `entry` describes, where its guesses come out as in `case`."""
    return Chip(
        name=entry.title,
        memory_bytes=entry.figure("memory_bytes").at(case),
        memory_bytes_per_s=entry.figure("memory_bandwidth_bytes_per_s").at(case),
        flops_per_s={
            precision: entry.figure(f"{precision}_dense_flop_per_s").at(case)
            for precision in entry.precisions
        },
        launch_s=entry.figure("launch_s").at(case),
    )


def link_at(rack: Entry, chip: Entry, case: Case) -> Link:
    """What joins the chips of one domain of `rack`: one hop through a switch, and the software before it."""
    switch_s = rack.figure("switch_s").at(case) if "switch_s" in rack.figures else 0.0
    return Link(
        bytes_per_s=chip.figure("link_bytes_per_s").at(case),
        step_s=switch_s + rack.figure("collective_s").at(case),
    )
