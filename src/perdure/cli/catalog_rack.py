"""How a rack is wired, drawn with characters."""

from collections.abc import Iterator

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case
from perdure.catalog.load import Catalog
from perdure.silicon.rack import Rack, Tier, rack_at
from perdure.silicon.rack_graph import Failure, failures_of

COLUMNS = 78
DOMAINS_DRAWN_MAX = 2
NODES_DRAWN_MAX = 48
CHIPS_DRAWN_MAX = 16


def rack_text(catalog: Catalog, entry: Entry) -> str:
    """The rack: its domains with switches and nodes, what joins them, and what fails together."""
    rack = rack_at(entry, catalog.chip(entry.text("chip") or ""), Case.MID)
    lines = [_title(rack)]
    if when := entry.text("availability"):
        lines.append(when)
    inner, *outer = _inside_out(rack)
    inside = min(inner.domain_chips, rack.chips)
    domains = -(-rack.chips // inside)
    for domain in range(min(domains, DOMAINS_DRAWN_MAX)):
        lines += _domain(rack, inner, domain, domains, inside)
    if domains > DOMAINS_DRAWN_MAX:
        lines.append(f"  and {domains - DOMAINS_DRAWN_MAX} more domains like these")
    for tier in outer:
        lines += _bar(tier)
    lines += ["", "fails together"]
    lines += [
        f"  {failure.count:>6,} x {failure.what:<14} {failure_effect(failure)}"
        for failure in failures_of(rack)
    ]
    if _guessed(entry):
        lines += ["", f"Mid of each guess. Ranges and sources: perdure catalog racks {entry.short_id}"]
    return "\n".join(lines)


def tier_text(tier: Tier) -> str:
    """One tier in a line: how many chips, how fast, how far."""
    latency = f"{tier.step_s * 1e6:.3g} us a step"
    if tier.hop_s:
        latency += f", {tier.hops} hop{'s' if tier.hops != 1 else ''} of {tier.hop_s * 1e9:.0f} ns in it"
    crowd = ""
    if tier.oversubscription > 1:
        crowd = f"; oversubscribed {tier.oversubscription:.2g}:1"
    elif tier.role == "scale-up":
        crowd = "; not oversubscribed"
    speed = f"{tier.bytes_per_s / 1e9:,.4g} GB/s a chip and direction"
    return f"{tier.medium}: {tier.domain_chips:,} chips, {speed}, {_wiring(tier)}; {latency}{crowd}"


def failure_effect(failure: Failure) -> str:
    """What one failure takes away."""
    if failure.chips_lost:
        share = 100 * failure.chips_lost / failure.within
        return (
            f"{failure.chips_lost:,} chip{'s' if failure.chips_lost > 1 else ''} gone, {share:.3g} % of all"
        )
    left = 100 * failure.bandwidth_left
    return f"no chip gone; {failure.within:,} chips keep {left:.3g} % of its bandwidth"


def _title(rack: Rack) -> str:
    nodes = -(-rack.chips // rack.node_chips)
    power = f", {rack.power_w / 1000:g} kW" if rack.power_w else ""
    chips = f"{rack.chips:,} x {rack.chip}" if rack.chips > 1 else rack.chip
    return f"{rack.name}: {chips} in {nodes:,} node{'s' if nodes > 1 else ''} of {rack.node_chips}{power}"


def _inside_out(rack: Rack) -> list[Tier]:
    """The scale-up tier first; of two as wide the faster one."""
    return sorted(rack.tiers, key=lambda tier: (tier.role != "scale-up", tier.domain_chips))


def _domain(rack: Rack, tier: Tier, domain: int, domains: int, inside: int) -> Iterator[str]:
    label = f" {tier.name} domain {domain + 1} of {domains} " if domains > 1 else f" {tier.name} domain "
    yield ""
    yield f"┌{label:─<{COLUMNS}}"
    for line in _wrapped(tier_text(tier)):
        yield f"│ {line}"
    if tier.topology == "switch":
        yield "│"
        yield from (f"│  {line}" for line in _switches(tier))
    first = domain * inside // rack.node_chips
    nodes = max(1, inside // rack.node_chips)
    yield from (f"│  {line}" for line in _nodes(rack, first, nodes))
    yield f"└{'':─<{COLUMNS}}"


def _switches(tier: Tier) -> Iterator[str]:
    each = f"{tier.bytes_per_s / tier.rails / 1e9:,.4g} GB/s"
    cell = max(4, min(6, (COLUMNS - 6) // tier.rails))
    yield "".join(f"[{rail}]".center(cell) for rail in range(tier.rails))
    yield "║".center(cell) * tier.rails
    yield "╩".center(cell, "═") * tier.rails
    if tier.rails == 1:
        yield f"every chip is wired to one switch, by {each}"
    else:
        yield f"every chip is wired to each of {tier.rails} switches, by {each} a wire"


def _nodes(rack: Rack, first: int, nodes: int) -> Iterator[str]:
    """Nodes in rows, each with its chips."""
    drawn = min(nodes, NODES_DRAWN_MAX)
    chips = "■" * rack.node_chips if rack.node_chips <= CHIPS_DRAWN_MAX else f"■ x{rack.node_chips}"
    cells = [f"node {node:>3} {chips}" for node in range(first, first + drawn)]
    in_row = max(1, (COLUMNS - 4) // (max(map(len, cells)) + 3))
    for start in range(0, drawn, in_row):
        yield "   ".join(cells[start : start + in_row])
    if nodes > drawn:
        yield f"and {nodes - drawn:,} more nodes like these"


def _bar(tier: Tier) -> Iterator[str]:
    yield f"{'':═<{COLUMNS + 1}}"
    for line in _wrapped(tier_text(tier)):
        yield f"  {line}"
    yield f"{'':═<{COLUMNS + 1}}"


def _wiring(tier: Tier) -> str:
    match tier.topology:
        case "switch":
            return f"{tier.rails} rails" if tier.rails > 1 else "switched"
        case "mesh":
            return f"a wire of {tier.pair_bytes_per_s / 1e9:,.4g} GB/s to each other"
        case "torus":
            return f"a torus with {tier.pair_bytes_per_s / 1e9:,.4g} GB/s to each of six neighbours"
        case "host":
            return "through the host"


def _wrapped(text: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > COLUMNS - 4:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def _guessed(entry: Entry) -> bool:
    figures = [figure for part in entry.parts.values() for figure in part.figures.values()]
    return any(figure.guessed for figure in (*figures, *entry.figures.values()))
