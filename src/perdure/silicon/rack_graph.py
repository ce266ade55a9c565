"""What a rack is wired like: chips, nodes and switches as a graph, and what one failure takes away."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Literal

from perdure.errors import BadRequest
from perdure.silicon.rack import Rack, Tier

VERTICES_MAX = 20_000
EDGES_MAX = 200_000

VertexKind = Literal["chip", "switch", "spine"]


@dataclass(frozen=True, slots=True)
class Vertex:
    """A chip, or a switch of a tier. `node` is the server of a chip, `domain` that of a switch."""

    name: str
    kind: VertexKind
    tier: str = ""
    node: int = 0
    domain: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Joins two vertices. `bytes_per_s` in one direction; `hop_s` is what the switch at its end adds."""

    ends: tuple[str, str]
    tier: str
    bytes_per_s: float
    hop_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Vertices by name, wires, and for each vertex which wires end there."""

    vertices: Mapping[str, Vertex]
    wires: tuple[Wire, ...]
    near: Mapping[str, tuple[int, ...]] = field(repr=False)

    def neighbours(self, name: str, *, tier: str | None = None) -> Iterator[tuple[str, Wire]]:
        """What a wire joins to `name`, of `tier` or of any."""
        for index in self.near[name]:
            wire = self.wires[index]
            if tier is None or wire.tier == tier:
                yield wire.ends[1] if wire.ends[0] == name else wire.ends[0], wire

    def switches_between(self, first: str, second: str, *, tier: str) -> int | None:
        """Switches on the shortest way over `tier`; None where there is no way."""
        reached = {first: 0}
        waiting = deque([first])
        while waiting:
            here = waiting.popleft()
            if here == second:
                return reached[here]
            passed = reached[here] + (1 if self.vertices[here].kind != "chip" else 0)
            if here != first and self.vertices[here].kind == "chip":
                continue
            for other, _ in self.neighbours(here, tier=tier):
                if other not in reached:
                    reached[other] = passed
                    waiting.append(other)
        return None

    def without(self, gone: frozenset[str]) -> "Graph":
        """The graph after the vertices in `gone` have failed."""
        return graph_from(
            [vertex for name, vertex in self.vertices.items() if name not in gone],
            [wire for wire in self.wires if not gone.intersection(wire.ends)],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What one failure takes: chips that are gone, and which share of bandwidth those that stay keep.

    within  how many chips are in what it affects
    """

    what: str
    count: int
    chips_lost: int
    within: int
    bandwidth_left: float


def graph_of(rack: Rack) -> Graph:
    """The graph of `rack`. A torus is taken as close to a cube as its number of chips allows.

    Raises BadRequest for more vertices or wires than can be looked at.
    """
    vertices = [Vertex(f"chip {index}", "chip", node=index // rack.node_chips) for index in range(rack.chips)]
    wires: list[Wire] = []
    for tier in rack.tiers:
        switches, more = _tier_graph(rack, tier)
        vertices += switches
        wires += more
        if len(vertices) > VERTICES_MAX or len(wires) > EDGES_MAX:
            raise BadRequest(
                f"{rack.name} has more than {VERTICES_MAX} vertices or {EDGES_MAX} wires; "
                "use its tiers instead of its graph"
            )
    return graph_from(vertices, wires)


def graph_from(vertices: list[Vertex], wires: list[Wire]) -> Graph:
    """A graph of these."""
    near: dict[str, list[int]] = {vertex.name: [] for vertex in vertices}
    for index, wire in enumerate(wires):
        for end in wire.ends:
            near[end].append(index)
    return Graph(
        vertices={vertex.name: vertex for vertex in vertices},
        wires=tuple(wires),
        near={name: tuple(indexes) for name, indexes in near.items()},
    )


def failures_of(rack: Rack) -> list[Failure]:
    """What can fail in `rack`, from the smallest loss to the largest."""
    nodes = -(-rack.chips // rack.node_chips)
    found = [
        Failure(what="chip", count=rack.chips, chips_lost=1, within=rack.chips, bandwidth_left=1.0),
        Failure(what="node", count=nodes, chips_lost=rack.node_chips, within=rack.chips, bandwidth_left=1.0),
    ]
    for tier in rack.tiers:
        if tier.topology == "switch":
            inside = min(tier.domain_chips, rack.chips)
            domains = max(1, rack.chips // inside)
            found.append(
                Failure(
                    what=_rail_name(tier),
                    count=domains * tier.rails,
                    chips_lost=0,
                    within=inside,
                    bandwidth_left=1 - 1 / tier.rails,
                )
            )
    whole = Failure(what="rack", count=1, chips_lost=rack.chips, within=rack.chips, bandwidth_left=0.0)
    return [*found, whole]


def _rail_name(tier: Tier) -> str:
    if tier.rails == 1:
        return tier.name
    return f"{tier.name} {'switch' if tier.hops <= 1 else 'plane'}"


def _tier_graph(rack: Rack, tier: Tier) -> tuple[list[Vertex], list[Wire]]:
    if tier.topology == "mesh":
        return [], list(_mesh(rack, tier))
    if tier.topology == "torus":
        return [], list(_torus(rack, tier))
    if tier.hops > 1:
        return _two_levels(rack, tier)
    return _one_level(rack, tier)


def _one_level(rack: Rack, tier: Tier) -> tuple[list[Vertex], list[Wire]]:
    """Every chip of a domain has a wire to each of its `rails` switches."""
    switches: list[Vertex] = []
    wires: list[Wire] = []
    for domain, chips in enumerate(_domains(rack, tier)):
        for rail in range(tier.rails):
            name = f"{tier.name} {domain}.{rail}"
            switches.append(Vertex(name, "switch", tier=tier.name, domain=domain))
            wires += [_wire(f"chip {chip}", name, tier, tier.bytes_per_s / tier.rails) for chip in chips]
    return switches, wires


def _two_levels(rack: Rack, tier: Tier) -> tuple[list[Vertex], list[Wire]]:
    """A switch of each plane in every node, and one for the plane's second level, whatever it is made of."""
    switches: list[Vertex] = []
    wires: list[Wire] = []
    for domain, chips in enumerate(_domains(rack, tier)):
        nodes = sorted({chip // rack.node_chips for chip in chips})
        for rail in range(tier.rails):
            spine = f"{tier.name} {domain}.{rail} second level"
            switches.append(Vertex(spine, "spine", tier=tier.name, domain=domain))
            for node in nodes:
                leaf = f"{tier.name} {domain}.{rail} node {node}"
                inside = [chip for chip in chips if chip // rack.node_chips == node]
                switches.append(Vertex(leaf, "switch", tier=tier.name, node=node, domain=domain))
                each = tier.bytes_per_s / tier.rails
                wires += [_wire(f"chip {chip}", leaf, tier, each) for chip in inside]
                wires.append(_wire(leaf, spine, tier, each * len(inside) / tier.oversubscription))
    return switches, wires


def _mesh(rack: Rack, tier: Tier) -> Iterator[Wire]:
    for chips in _domains(rack, tier):
        for first in chips:
            for second in range(first + 1, chips.stop):
                yield _wire(f"chip {first}", f"chip {second}", tier, tier.pair_bytes_per_s)


def _torus(rack: Rack, tier: Tier) -> Iterator[Wire]:
    for chips in _domains(rack, tier):
        a, b, c = torus_shape(len(chips))
        for place in range(len(chips)):
            x, y, z = place // (b * c), place // c % b, place % c
            for other in (
                ((x + 1) % a, y, z),
                (x, (y + 1) % b, z),
                (x, y, (z + 1) % c),
            ):
                second = other[0] * b * c + other[1] * c + other[2]
                if second != place:
                    ends = f"chip {chips.start + place}", f"chip {chips.start + second}"
                    yield _wire(*ends, tier, tier.pair_bytes_per_s)


def torus_shape(chips: int) -> tuple[int, int, int]:
    """Three whole sides whose product is `chips`, as equal as can be, the shortest first."""
    divisors = [side for side in range(1, isqrt(chips) + 1) if chips % side == 0]
    shapes = [
        (a, b, chips // (a * b))
        for a in divisors
        for b in divisors
        if a <= b and chips % (a * b) == 0 and b <= chips // (a * b)
    ]
    return min(shapes, key=sum)


def _domains(rack: Rack, tier: Tier) -> Iterator[range]:
    """The chips of this rack that share each domain of `tier`."""
    inside = min(tier.domain_chips, rack.chips)
    for start in range(0, rack.chips, inside):
        yield range(start, min(start + inside, rack.chips))


def _wire(first: str, second: str, tier: Tier, bytes_per_s: float) -> Wire:
    return Wire(ends=(first, second), tier=tier.name, bytes_per_s=bytes_per_s, hop_s=tier.hop_s)
