"""How calibration enters a price: how many times its floor an operation takes, and who measured that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from perdure.catalog.figure import Status
from perdure.silicon.chip import Chip
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.shapes import Shape

# How far kernels fall short of the part that binds them, by what they multiply in: the median of large
# products on six timed chips (aiconfigurator-core 0.12.0). It says how long a part goes on to bind on other
# peaks.
BOUND_TIMES: Mapping[str, float] = MappingProxyType({"bf16": 1.35, "fp8": 1.7, "fp4": 2.5})
BOUND_TIMES_OTHER = 1.35
# How much better or worse kernels may do than those of another format whose timings stand for them.
BORROWED_LOW, BORROWED_HIGH = 0.9, 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A kernel as it was timed on some chip, to be carried over to peaks that are other than that chip's.

    flow_s   what its arithmetic alone would take there at the peak; of a message, its bytes on the wire
    fetch_s  what its memory alone would take there at the peak; of a message, one step's latency
    least_s  what the quickest kernel took: no peak shortens that
    bound_times  how far kernels of its kind fall short of the part that binds them
    """

    seconds: float
    flow_s: float
    fetch_s: float
    least_s: float = 0.0
    bound_times: float = BOUND_TIMES_OTHER

    def carried_s(self, flow_s: float, fetch_s: float) -> float:
        """Its time where the two take `flow_s` and `fetch_s` at their peaks.

        All of it shrinks as much as the part that shrinks most; a part that shrinks less goes on to bind as
        far as it explains the time. So where the parts take more, it never takes less; a larger kernel never
        takes less than a smaller one; and at the peaks of the chip that was timed it takes what it took.
        """
        if flow_s == self.flow_s and fetch_s == self.fetch_s:
            return self.seconds
        by_flow, by_fetch = self.seconds * flow_s / self.flow_s, self.seconds * fetch_s / self.fetch_s
        bound, least_s = self.bound_times, self.least_s
        bound_s = max(min(by_flow, least_s + bound * flow_s), min(by_fetch, least_s + bound * fetch_s))
        return max(min(by_flow, by_fetch), bound_s, least_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What to make of the floor of one operation: `floor * times + launch_s`.

    times     measured / floor on the chip that it was asked for, at least 1; equal ends where it was
              measured, a range where it is a guess
    launch_s  what is added whatever the size; None takes the chip's launch, or the link's steps
    timed     the kernel that `times` rests on: on other peaks than those asked for, its time is carried over,
              and `times` says by how much that is uncertain
    chance    guesses that share this name are right or wrong together
    status    how sure it is; None where nothing is claimed beyond the floor
    source    who measured it, where; for an estimate, the reason
    """

    times: Range
    launch_s: Range | None = None
    timed: Timed | None = None
    status: Status | None
    source: str
    chance: str = ""

    def times_at(self, flow_s: float, fetch_s: float, luck: float | None) -> float:
        """Measured over floor where compute and memory take so long at their peaks."""
        times = self.times.at(luck)
        if self.timed is None:
            return times
        carried = self.timed.carried_s(flow_s, fetch_s) / max(flow_s, fetch_s)
        return max(1.0, carried * times / self.times.mid)


class Efficiency(Protocol):
    """How far real kernels fall short of the roofline.

    `name` is what a result calls it. `factor` answers for every shape, continuously in its sizes, because
    tables interpolate between them; it never fails: what nobody measured is an estimate with its reason.
    `step` is what software spends between two batches: a factor whose `times` is not used. All of it is pure:
    the same question has the same answer.
    """

    @property
    def name(self) -> str: ...

    def factor(self, shape: Shape, chip: Chip) -> Factor: ...

    def step(self, chip: Chip) -> Factor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowing:
    """`lender`, whose timings of the kernels of `family` stand for kernels in a format that nobody timed."""

    lender: Efficiency
    family: str
    reason: str

    @property
    def name(self) -> str:
        """That of the lender."""
        return self.lender.name

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        """The lender's; what was measured there is an estimate here."""
        found = self.lender.factor(shape, chip)
        if shape.family != self.family or found.status is not Status.MEASURED:
            return found
        mid = found.times.mid
        return replace(
            found,
            times=Range(low=max(1.0, mid * BORROWED_LOW), mid=mid, high=mid * BORROWED_HIGH),
            status=Status.ESTIMATE,
            source=f"{self.reason}: {found.source}",
            chance=f"efficiency/{chip.name}",
        )

    def step(self, chip: Chip) -> Factor:
        """The lender's."""
        return self.lender.step(chip)


class Roofline:
    """No calibration: every kernel at the chip's peak. A floor, and named so in every result."""

    name = "uncalibrated: the roofline's floor, not a forecast"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        """Exactly the floor."""
        return _AT_PEAK

    def step(self, chip: Chip) -> Factor:
        """Software takes no time."""
        return _NO_SOFTWARE


_AT_PEAK = Factor(
    times=exactly(1.0), status=Status.PUBLISHED, source="no calibration: every kernel at its peak"
)
_NO_SOFTWARE = Factor(
    times=exactly(1.0),
    launch_s=exactly(0.0),
    status=None,
    source="no calibration: software between batches takes no time",
)
UNCALIBRATED: Efficiency = Roofline()
