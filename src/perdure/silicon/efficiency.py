"""How calibration enters a price: how many times its floor an operation takes, and who measured that."""

from dataclasses import dataclass
from typing import Protocol

from perdure.catalog.figure import Status
from perdure.silicon.chip import Chip
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What to make of the floor of one operation: `floor * times + launch_s`.

    times     measured / floor, at least 1; equal ends where it was measured, a range where it is a guess
    launch_s  what is added whatever the size; None takes the chip's launch, or the link's steps
    chance    guesses that share this name are right or wrong together
    status    how sure it is; None where nothing is claimed beyond the floor
    source    who measured it, where; for an estimate, the reason
    """

    times: Range
    launch_s: Range | None = None
    status: Status | None
    source: str
    chance: str = ""


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
