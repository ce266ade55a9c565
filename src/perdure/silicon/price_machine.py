"""Which machine a chip and a rack of the catalogue make, draw by draw, and on which figures it rests."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case, Figure
from perdure.silicon.chip import chip_at
from perdure.silicon.price import Machine
from perdure.silicon.rack import link_figures, rack_at, scale_up_part
from perdure.silicon.ranges import ALL_DRAWS, MID, Draw, drawn_entry

POWERS = ("power_w", "idle_power_w")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A chip, and the rack that joins it to others; None for a chip alone."""

    chip: Entry
    rack: Entry | None = None

    @cached_property
    def mid(self) -> Machine:
        """The machine with every guess at its mid."""
        return machine_at(self.chip, self.rack, MID)

    @cached_property
    def drawn(self) -> tuple[Machine, ...]:
        """The machine in each joint draw of the guesses."""
        return tuple(machine_at(self.chip, self.rack, draw) for draw in ALL_DRAWS)

    def figures(self, arithmetic: Iterable[str], chips: int) -> tuple[Figure, ...]:
        """Every figure that a price in those number formats, over `chips` that are neighbours, rests on."""
        names = (
            "memory_bytes",
            "memory_bandwidth_bytes_per_s",
            *(f"{precision}_dense_flop_per_s" for precision in dict.fromkeys(arithmetic)),
            "launch_s",
        )
        return (*(self.chip.figure(name) for name in names), *self._link_figures(chips))

    @property
    def power_figures(self) -> tuple[Figure, ...]:
        """Every figure that joules rest on, as far as the catalogue has them."""
        return tuple(self.chip.figures[name] for name in POWERS if name in self.chip.figures)

    def _link_figures(self, chips: int) -> tuple[Figure, ...]:
        """Of the fastest tier, and where that does not join them all, of the wider ones."""
        if self.rack is None or chips <= 1:
            return ()
        near = scale_up_part(self.rack)
        inside = near.figure("domain_chips").mid >= chips
        parts = (near,) if inside else self.rack.parts.values()
        figures = [figure for part in parts for figure in link_figures(part, self.chip)]
        return tuple({(figure.owner, figure.name, figure.mid): figure for figure in figures}.values())


def machine_at(chip: Entry, rack: Entry | None, draw: Draw) -> Machine:
    """`chip`, in `rack`, if the guesses of both had come out as in `draw`."""
    drawn = drawn_entry(chip, draw)
    return Machine(
        chip=chip_at(drawn, Case.MID),
        rack=rack_at(drawn_entry(rack, draw), drawn, Case.MID) if rack else None,
        draw=draw,
    )
