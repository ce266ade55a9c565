"""How many joules chips take for a batch, from how busy they are, and what those cost."""

from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure
from perdure.silicon.chip import Chip
from perdure.silicon.ranges import Draw, drawn_figure
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Electricity:
    """What a chip's joule costs where it stands: the price at the meter, and what cooling adds."""

    usd_per_kwh: Figure
    pue: Figure

    def usd_per_j(self, draw: Draw) -> float:
        """Dollars a joule in one draw of the guesses."""
        return drawn_figure(self.usd_per_kwh, draw).mid * drawn_figure(self.pue, draw).mid / JOULES_PER_KWH


def electricity_at(site: Entry) -> Electricity:
    """What electricity costs at a site of the catalogue."""
    return Electricity(usd_per_kwh=site.figure("electricity_usd_per_kwh"), pue=site.figure("pue_ratio"))
