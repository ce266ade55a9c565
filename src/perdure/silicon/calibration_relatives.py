"""Which timed chip stands in for one that nobody timed, and how wrong that may be."""

from dataclasses import dataclass
from functools import cache

from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.errors import NotFound
from perdure.silicon.calibration_table import tables_of
from perdure.silicon.chip import Chip, chip_at
from perdure.silicon.rack import Rack, rack_at
from perdure.silicon.ranges import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOn:
    """Where kernels were timed: a chip with its published peaks, and the node that it sits in."""

    chip: Chip
    rack: Rack | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A timed chip whose kernels fall as far short of its peaks as another chip's may of its own.

    low, high  how much better or worse the other chip's may do: factors of measured over floor
    link       measured over wire time of a message
    """

    timed_id: str
    place: TimedOn
    low: float
    high: float
    link: Range
    reason: str


# The same compiler and kernels on another cut of the silicon; then other makers, whose libraries are younger.
_NEAR, _OTHER_MAKER = (0.85, 1.25), (0.9, 1.8)
_LINK_NEAR, _LINK_OTHER = Range(low=1.05, mid=1.25, high=1.6), Range(low=1.1, mid=1.4, high=2.5)
_MATURE = "a datacentre part with mature NVIDIA kernels"
# All chips of one line rest on one timed chip, so that among them only their own peaks decide.
_RELATIVES: dict[str, tuple[str, bool, str]] = {
    "nvidia-h20": ("nvidia-h200", True, "an H200 with fewer cores"),
    "nvidia-a800": ("nvidia-h100", True, "the generation before the H100"),
    "nvidia-rtx-4090": ("nvidia-h100", True, "NVIDIA kernels of the same years"),
    "nvidia-rtx-pro-6000": ("nvidia-b200", True, "the same generation on another board"),
    "amd-mi300x": ("nvidia-b200", False, _MATURE),
    "amd-mi325x": ("nvidia-b200", False, _MATURE),
    "amd-mi355x": ("nvidia-b200", False, _MATURE),
    "ascend-910b": ("nvidia-b200", False, _MATURE),
    "ascend-910c": ("nvidia-b200", False, _MATURE),
    "ascend-950pr": ("nvidia-b200", False, _MATURE),
    "ascend-950dt": ("nvidia-b200", False, _MATURE),
    "ascend-960": ("nvidia-b200", False, _MATURE),
    "ascend-970": ("nvidia-b200", False, _MATURE),
    "google-tpu-v7": ("nvidia-b200", False, _MATURE),
}


@cache
def timed_on(chip_id: str) -> TimedOn | None:
    """Where the kernels of the chip called `chip_id` were timed; None where they were not."""
    if not tables_of(chip_id, "any"):
        return None
    catalog = load_catalog()
    try:
        entry = catalog.chip(chip_id)
    except NotFound:
        return None
    node = catalog.node_of(entry)
    return TimedOn(chip=chip_at(entry, Case.MID), rack=rack_at(node, entry, Case.MID) if node else None)


def relative_of(chip_id: str) -> Relative | None:
    """The timed chip that stands in for the chip called `chip_id`, or None."""
    if chip_id not in _RELATIVES:
        return None
    timed_id, same_maker, why = _RELATIVES[chip_id]
    place = timed_on(timed_id)
    if place is None:
        return None
    low, high = _NEAR if same_maker else _OTHER_MAKER
    return Relative(
        timed_id=timed_id,
        place=place,
        low=low,
        high=high,
        link=_LINK_NEAR if same_maker else _LINK_OTHER,
        reason=f"{chip_id} was not timed; as {timed_id} ({why}), {low:g} to {high:g} times its shortfall",
    )
