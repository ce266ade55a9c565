"""How a rack is wired, as inline SVG: nodes with their chips, switches above them, networks below."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import ceil, cos, pi, sin, sqrt

from perdure.silicon.rack import Rack, Tier

WIDTH = 1000
MARGIN = 18
DOMAINS_DRAWN_MAX = 4
NODES_DRAWN_MAX = 64
CHIPS_DRAWN_MAX = 16
SWITCH_HEIGHT, SWITCH_GAP, WIRES_HEIGHT = 26, 14, 96
CHIP, CHIP_GAP = 11, 4
BAR_HEIGHT = 34
NARROW = 60


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle with its left upper corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def rack_svg(rack: Rack) -> str:
    """The drawing of `rack`; of many equal domains or nodes only some are drawn, and it says so."""
    inner, *outer = sorted(rack.tiers, key=lambda tier: (tier.role != "scale-up", tier.domain_chips))
    inside = min(inner.domain_chips, rack.chips)
    domains = ceil(rack.chips / inside)
    drawn = min(domains, DOMAINS_DRAWN_MAX)
    panel = (WIDTH - MARGIN * (drawn + 1)) / drawn
    marks: list[str] = []
    bottom = 0.0
    for domain in range(drawn):
        box = _Box(MARGIN + domain * (panel + MARGIN), MARGIN, panel, 0)
        lines, bottom = _domain(rack, inner, box, domain, domains, inside)
        marks += lines
    for tier in outer:
        marks += _bar(tier, bottom + 22, [_middle(panel, domain) for domain in range(drawn)], bottom)
        bottom += 22 + BAR_HEIGHT
    height = bottom + MARGIN
    return (
        f'<svg class="rack" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(rack.name)}: how its chips are wired">{"".join(marks)}</svg>'
    )


def _middle(panel: float, domain: int) -> float:
    return MARGIN + domain * (panel + MARGIN) + panel / 2


def _domain(
    rack: Rack, tier: Tier, box: _Box, domain: int, domains: int, inside: int
) -> tuple[list[str], float]:
    """One domain and where it ends."""
    of = f", domain {domain + 1} of {domains}" if domains > 1 else ""
    title = f"{tier.medium}{of}: {inside:,} chips, {tier.bytes_per_s / 1e9:,.4g} GB/s each way"
    marks = [f'<text class="title" x="{box.x + 12}" y="{box.y + 22}">{escape(title)}</text>']
    top = box.y + 36
    if tier.topology == "mesh":
        lines, bottom = _circle(rack, tier, box, top, inside)
        marks += lines
    else:
        switches = list(_switch_boxes(tier, box, top))
        below = top + (SWITCH_HEIGHT + WIRES_HEIGHT if switches else 8)
        nodes = list(_node_boxes(rack, box, below, inside))
        marks += _wires(switches, nodes)
        marks += _switch_marks(tier, switches)
        marks += _node_marks(rack, nodes, domain * inside // rack.node_chips)
        bottom = max((node.y + node.height for node in nodes), default=below) + 10
        hidden = max(1, inside // rack.node_chips) - len(nodes)
        if hidden > 0:
            marks.append(
                f'<text class="note" x="{box.x + 12}" y="{bottom + 10:.0f}">'
                f"and {hidden:,} more nodes like these</text>"
            )
            bottom += 20
    size = f'width="{box.width:.1f}" height="{bottom - box.y:.1f}"'
    return [f'<rect class="domain" x="{box.x}" y="{box.y}" {size} rx="8"/>', *marks], bottom


def _switch_boxes(tier: Tier, box: _Box, y: float) -> Iterator[_Box]:
    if tier.topology != "switch":
        return
    width = (box.width - 24 - SWITCH_GAP * (tier.rails - 1)) / tier.rails
    width = min(width, 220)
    whole = width * tier.rails + SWITCH_GAP * (tier.rails - 1)
    start = box.x + (box.width - whole) / 2
    for rail in range(tier.rails):
        yield _Box(start + rail * (width + SWITCH_GAP), y, width, SWITCH_HEIGHT)


def _node_boxes(rack: Rack, box: _Box, y: float, inside: int) -> Iterator[_Box]:
    """Nodes in rows under the switches."""
    nodes = min(max(1, inside // rack.node_chips), NODES_DRAWN_MAX)
    width, height = _node_size(rack)
    fitting = max(1, min(nodes, int((box.width - 16) // (width + 8))))
    in_row = ceil(nodes / ceil(nodes / fitting))
    start = box.x + (box.width - in_row * (width + 8) + 8) / 2
    for node in range(nodes):
        row, column = divmod(node, in_row)
        yield _Box(start + column * (width + 8), y + row * (height + 10), width, height)


def _node_size(rack: Rack) -> tuple[float, float]:
    chips = rack.node_chips
    if chips > CHIPS_DRAWN_MAX:
        return 62, 36
    columns, rows = _chip_grid(chips)
    return columns * (CHIP + CHIP_GAP) + CHIP_GAP + 4, rows * (CHIP + CHIP_GAP) + CHIP_GAP + 16


def _chip_grid(chips: int) -> tuple[int, int]:
    columns = chips if chips <= 2 else 4 if chips == 8 else ceil(sqrt(chips))
    return columns, ceil(chips / columns)


def _wires(switches: list[_Box], nodes: list[_Box]) -> Iterator[str]:
    """From every node to every switch; nodes are drawn over the wires of those below them."""
    for node in nodes:
        for switch in switches:
            yield (
                f'<path class="wire" d="M{node.middle:.1f},{node.y:.1f}'
                f'L{switch.middle:.1f},{switch.y + switch.height:.1f}"/>'
            )


def _switch_marks(tier: Tier, switches: list[_Box]) -> Iterator[str]:
    each = tier.bytes_per_s / tier.rails / 1e9
    for rail, box in enumerate(switches):
        label = _rail_label(tier, rail, box)
        yield (
            f"<g><title>{escape(tier.medium)}, rail {rail}: {each:,.4g} GB/s from each chip, each way</title>"
            f'<rect class="switch" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
            f'height="{box.height}" rx="4"/>'
            f'<text class="label" x="{box.middle:.1f}" y="{box.y + 17:.1f}">{label}</text></g>'
        )


def _rail_label(tier: Tier, rail: int, box: _Box) -> str:
    if tier.rails == 1:
        return tier.medium
    if box.width < NARROW:
        return f"{rail}"
    return f"{'switch' if tier.hops <= 1 else 'plane'} {rail}"


def _node_marks(rack: Rack, nodes: list[_Box], first: int) -> Iterator[str]:
    for index, box in enumerate(nodes):
        name = f"node {first + index}"
        yield (
            f"<g><title>{name}: {rack.node_chips} x {escape(rack.chip)}</title>"
            f'<rect class="node" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="4"/>'
            f'<text class="small" x="{box.middle:.1f}" y="{box.y + 11:.1f}">{first + index}</text>'
        )
        if rack.node_chips > CHIPS_DRAWN_MAX:
            at = f'x="{box.middle:.1f}" y="{box.y + 27:.1f}"'
            yield f'<text class="small" {at}>{rack.node_chips} chips</text>'
        else:
            yield from _chip_marks(rack.node_chips, box)
        yield "</g>"


def _chip_marks(chips: int, box: _Box) -> Iterator[str]:
    columns, _ = _chip_grid(chips)
    whole = columns * (CHIP + CHIP_GAP) - CHIP_GAP
    for chip in range(chips):
        row, column = divmod(chip, columns)
        x = box.middle - whole / 2 + column * (CHIP + CHIP_GAP)
        y = box.y + 15 + row * (CHIP + CHIP_GAP)
        yield f'<rect class="chip" x="{x:.1f}" y="{y:.1f}" width="{CHIP}" height="{CHIP}" rx="2"/>'


def _circle(rack: Rack, tier: Tier, box: _Box, top: float, inside: int) -> tuple[list[str], float]:
    """A mesh: chips on a circle with a wire between any two."""
    radius = 130.0
    middle = (box.middle, top + radius + 24)
    places = [
        (middle[0] + radius * sin(2 * pi * chip / inside), middle[1] - radius * cos(2 * pi * chip / inside))
        for chip in range(inside)
    ]
    marks = [
        f'<path class="wire" d="M{x:.1f},{y:.1f}L{other_x:.1f},{other_y:.1f}"/>'
        for first, (x, y) in enumerate(places)
        for other_x, other_y in places[first + 1 :]
    ]
    each = f"{tier.pair_bytes_per_s / 1e9:,.4g} GB/s to each other"
    for chip, (x, y) in enumerate(places):
        marks.append(
            f"<g><title>chip {chip}: {escape(rack.chip)}, {each}</title>"
            f'<circle class="chip" cx="{x:.1f}" cy="{y:.1f}" r="15"/>'
            f'<text class="label light" x="{x:.1f}" y="{y + 4:.1f}">{chip}</text></g>'
        )
    return marks, middle[1] + radius + 30


def _bar(tier: Tier, y: float, above: list[float], bottom: float) -> Iterator[str]:
    """A network that joins all domains."""
    for x in above:
        yield f'<path class="wire trunk" d="M{x:.1f},{bottom:.1f}V{y:.1f}"/>'
    speed = f"{tier.bytes_per_s / 1e9:,.4g} GB/s a chip, each way"
    label = f"{tier.medium}: {speed}; up to {tier.domain_chips:,} chips"
    yield (
        f'<rect class="network" x="{MARGIN}" y="{y:.1f}" width="{WIDTH - 2 * MARGIN}" '
        f'height="{BAR_HEIGHT}" rx="6"/>'
        f'<text class="label" x="{WIDTH / 2}" y="{y + 22:.1f}">{escape(label)}</text>'
    )
