"""How many joules chips take for a batch, from how busy they are."""

from perdure.silicon.chip import Chip
from perdure.silicon.roofline import Spent

JOULES_PER_KWH = 3.6e6


def energy_j(spent: Spent, *, chips_busy: float, chip_seconds: float, chip: Chip) -> float | None:
    """Joules of the chips alone: idle power all the time, and the rest of it while they are at their peak.

    `spent` is what one chip does, `chips_busy` how many do as much, `chip_seconds` how long chips are held.
    None where the catalogue lacks the chip's power; where it lacks idle power, all power follows the work.
    """
    if chip.power_w is None:
        return None
    idle_w = chip.idle_power_w or 0.0
    return idle_w * chip_seconds + (chip.power_w - idle_w) * spent.busy_s * chips_busy
