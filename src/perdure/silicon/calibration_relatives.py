"""Which timed chip stands in for one that nobody timed, and how wrong that may be."""

from dataclasses import dataclass

from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.errors import NotFound
from perdure.silicon.chip import Chip, chip_at
from perdure.silicon.ranges import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A timed chip whose kernels fall as far short of its peaks as another chip's may of its own.

    low, high  how much better or worse the other chip's may do: factors of measured over floor
    link       measured over wire time of a message
    """

    timed_id: str
    timed: Chip
    low: float
    high: float
    link: Range
    reason: str


# The same compiler and kernels on another cut of the silicon; then other makers, whose libraries are younger.
_NEAR, _OTHER_MAKER = (0.85, 1.25), (0.9, 1.8)
_LINK_NEAR, _LINK_OTHER = Range(low=1.05, mid=1.25, high=1.6), Range(low=1.1, mid=1.4, high=2.5)
_RELATIVES: dict[str, tuple[str, bool, str]] = {
    "nvidia-h20": ("nvidia-h100", True, "an H100 with fewer cores"),
    "nvidia-a800": ("nvidia-h100", True, "the generation before the H100"),
    "nvidia-rtx-4090": ("nvidia-h100", True, "NVIDIA kernels of the same years"),
    "nvidia-rtx-pro-6000": ("nvidia-b200", True, "the same generation on another board"),
    "amd-mi300x": ("nvidia-h200", False, "the NVIDIA part of its class"),
    "amd-mi325x": ("nvidia-h200", False, "the NVIDIA part of its class"),
    "amd-mi355x": ("nvidia-b200", False, "the NVIDIA part of its class"),
    "ascend-910b": ("nvidia-h100", False, "a datacentre part with mature NVIDIA kernels"),
    "ascend-910c": ("nvidia-h100", False, "a datacentre part with mature NVIDIA kernels"),
    "ascend-950pr": ("nvidia-h200", False, "a datacentre part with mature NVIDIA kernels"),
    "ascend-950dt": ("nvidia-h200", False, "a datacentre part with mature NVIDIA kernels"),
    "ascend-960": ("nvidia-b200", False, "a datacentre part with mature NVIDIA kernels"),
    "ascend-970": ("nvidia-b200", False, "a datacentre part with mature NVIDIA kernels"),
    "google-tpu-v7": ("nvidia-b200", False, "a datacentre part with mature NVIDIA kernels"),
}


def relative_of(chip_id: str) -> Relative | None:
    """The timed chip that stands in for the chip called `chip_id`, or None."""
    if chip_id not in _RELATIVES:
        return None
    timed_id, same_maker, why = _RELATIVES[chip_id]
    try:
        entry = load_catalog().chip(timed_id)
    except NotFound:
        return None
    low, high = _NEAR if same_maker else _OTHER_MAKER
    return Relative(
        timed_id=timed_id,
        timed=chip_at(entry, Case.MID),
        low=low,
        high=high,
        link=_LINK_NEAR if same_maker else _LINK_OTHER,
        reason=f"{chip_id} was not timed; as {timed_id} ({why}), {low:g} to {high:g} times its shortfall",
    )
