"""How the chips of a rack are joined: which ones reach each other, over what, and how fast."""

from dataclasses import dataclass
from typing import Literal, cast

from perdure.catalog.entry import Entry, Part
from perdure.catalog.figure import Case, Figure
from perdure.errors import BadRequest

Role = Literal["scale-up", "scale-out", "host"]
Topology = Literal["switch", "mesh", "torus", "host"]

# What a link takes from its chip where the rack does not say.
_CHIP_LINK: dict[Role, str] = {
    "scale-up": "link_bytes_per_s",
    "scale-out": "scale_out_bytes_per_s",
    "host": "host_link_bytes_per_s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One network of a rack: every `domain_chips` chips that follow each other form a domain of it.

    topology          `switch`: any pair at full bandwidth; `mesh`: a wire to each other chip, among which the
                      bandwidth is shared; `torus`: six neighbours; `host`: through the processor
    rails             parallel switches, each with a share of every chip's bandwidth
    bytes_per_s       of one chip, in one direction, over all rails
    hop_s             what hardware adds to a message at each of `hops` switches
    software_s        what starting one step of a collective costs before that
    oversubscription  how many times more the chips could send than the tier carries; 1 is non-blocking
    """

    name: str
    medium: str
    role: Role
    topology: Topology
    domain_chips: int
    rails: int
    bytes_per_s: float
    hops: int
    hop_s: float
    software_s: float
    oversubscription: float

    @property
    def step_s(self) -> float:
        """Latency of one step of a collective, as software sees it."""
        return self.software_s + self.hops * self.hop_s

    @property
    def pair_bytes_per_s(self) -> float:
        """What one chip can send to one other alone."""
        if self.topology == "mesh":
            return self.bytes_per_s / (self.domain_chips - 1)
        if self.topology == "torus":
            return self.bytes_per_s / TORUS_NEIGHBOURS
        return self.bytes_per_s

    @property
    def loaded_bytes_per_s(self) -> float:
        """What each chip gets where all of them send across the tier at once."""
        return self.bytes_per_s / self.oversubscription


TORUS_NEIGHBOURS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rack:
    """Chips in nodes, and the tiers that join them, the smallest domain first.

    node_chips  chips under one operating system
    """

    name: str
    chip: str
    chips: int
    node_chips: int
    tiers: tuple[Tier, ...]
    power_w: float | None

    def tier_for(self, chips: int) -> Tier:
        """The fastest tier whose domain holds `chips`, which may reach into neighbours of this rack.

        Raises BadRequest where none does.
        """
        fitting = [tier for tier in self.tiers if tier.domain_chips >= chips]
        if not fitting:
            widest = max(tier.domain_chips for tier in self.tiers)
            raise BadRequest(
                f"nothing that we know of {self.name} joins {chips} chips; at most {widest}", param="on"
            )
        return max(fitting, key=lambda tier: tier.bytes_per_s)

    @property
    def scale_up(self) -> Tier:
        """The tier that is fastest for one chip."""
        return max(self.tiers, key=lambda tier: tier.bytes_per_s)


def rack_at(rack: Entry, chip: Entry, case: Case) -> Rack:
    """The rack that `rack` describes, of `chip`s, where guesses come out as in `case`."""
    tiers = [_tier(part, chip, case) for part in rack.parts.values()]
    return Rack(
        name=rack.title,
        chip=chip.title,
        chips=int(rack.figure("rack_chips").mid),
        node_chips=int(rack.figure("node_chips").mid),
        tiers=tuple(sorted(tiers, key=lambda tier: (tier.domain_chips, -tier.bytes_per_s))),
        power_w=rack.figures["power_w"].mid if "power_w" in rack.figures else None,
    )


def link_figures(part: Part, chip: Entry) -> tuple[Figure, ...]:
    """Every figure that one tier rests on: its own, and the chip's bandwidth where it states none."""
    return (
        bandwidth_figure(part, chip),
        *(figure for name, figure in part.figures.items() if name != "bandwidth_bytes_per_s"),
    )


def bandwidth_figure(part: Part, chip: Entry) -> Figure:
    """Bandwidth of one chip in one direction, the tier's own or the chip's."""
    if "bandwidth_bytes_per_s" in part.figures:
        return part.figures["bandwidth_bytes_per_s"]
    return chip.figure(_CHIP_LINK[_role(part)])


def scale_up_part(rack: Entry) -> Part:
    """The part of `rack` that joins its chips most tightly; raises BadRequest where nothing does."""
    for part in rack.parts.values():
        if _role(part) == "scale-up":
            return part
    raise BadRequest(f"{rack.title} has a single chip, which nothing joins to others", param="on")


def _tier(part: Part, chip: Entry, case: Case) -> Tier:
    def number(name: str, absent: float) -> float:
        return part.figures[name].at(case) if name in part.figures else absent

    return Tier(
        name=part.name,
        medium=part.text("medium") or part.name,
        role=_role(part),
        topology=cast("Topology", part.text("topology")),
        domain_chips=int(part.figure("domain_chips").mid),
        rails=int(number("parallel_rails", 1)),
        bytes_per_s=bandwidth_figure(part, chip).at(case),
        hops=int(number("path_hops", 0 if part.text("topology") == "mesh" else 1)),
        hop_s=number("hop_s", 0.0),
        software_s=part.figure("software_s").at(case),
        oversubscription=number("oversubscription_ratio", 1.0),
    )


def _role(part: Part) -> Role:
    return cast("Role", part.text("role"))
