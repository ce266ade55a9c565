"""What one chip can do at best, in numbers to calculate with."""

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case
from perdure.errors import BadRequest
from perdure.silicon.rack import bandwidth_figure, scale_up_part


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """Peaks of one chip.

    flops_per_s    by arithmetic, such as `bf16`, without sparsity
    kv_precisions  formats in which it keeps keys and values; None where nobody asked
    launch_s       what starting a kernel costs
    power_w        what it draws at most; None where that is not known
    """

    name: str
    memory_bytes: float
    memory_bytes_per_s: float
    flops_per_s: Mapping[str, float]
    launch_s: float
    kv_precisions: tuple[str, ...] | None = None
    power_w: float | None = None
    idle_power_w: float | None = None

    def peak_flops_per_s(self, arithmetic: str) -> float:
        """Peak of `arithmetic`; raises BadRequest where the chip does not compute in it."""
        if arithmetic not in self.flops_per_s:
            raise BadRequest(
                f"{self.name} does not compute in {arithmetic}; choose a precision that computes in "
                f"{' or '.join(self.flops_per_s)}",
                param="precision",
            )
        return self.flops_per_s[arithmetic]

    def check_kv_precision(self, precision: str) -> None:
        """Raise BadRequest where the chip does not keep keys and values in `precision`."""
        if self.kv_precisions is not None and precision not in self.kv_precisions:
            raise BadRequest(
                f"{self.name} does not keep keys and values in {precision}; it does in "
                f"{' or '.join(self.kv_precisions)}",
                param="precision",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What joins the chips of one scale-up domain: bandwidth per chip and direction, latency of one step."""

    bytes_per_s: float
    step_s: float


def chip_at(entry: Entry, case: Case) -> Chip:
    """The chip that `entry` describes, where its guesses come out as in `case`."""
    power = entry.figures.get("power_w")
    idle_power = entry.figures.get("idle_power_w")
    return Chip(
        name=entry.title,
        memory_bytes=entry.figure("memory_bytes").at(case),
        memory_bytes_per_s=entry.figure("memory_bandwidth_bytes_per_s").at(case),
        flops_per_s={
            precision: entry.figure(f"{precision}_dense_flop_per_s").at(case)
            for precision in entry.precisions
        },
        launch_s=entry.figure("launch_s").at(case),
        kv_precisions=entry.names("kv_precisions") or None,
        power_w=power.at(case) if power else None,
        idle_power_w=idle_power.at(case) if idle_power else None,
    )


def link_at(rack: Entry, chip: Entry, case: Case) -> Link:
    """What joins the chips of one domain of `rack`: one hop through a switch, and the software before it."""
    part = scale_up_part(rack)
    hops = part.figures["path_hops"].mid if "path_hops" in part.figures else 1
    hop_s = part.figures["hop_s"].at(case) if "hop_s" in part.figures else 0.0
    return Link(
        bytes_per_s=bandwidth_figure(part, chip).at(case),
        step_s=hops * hop_s + part.figure("software_s").at(case),
    )
