"""How long chips take to exchange what each of them holds, at best, over the tiers of their rack.

Chips that exchange are neighbours. Where a fast tier joins only some of them, what can be joined there is,
and only the rest goes over the wider tier. A step of latency passes each time that all wait for all.
"""

from dataclasses import dataclass

from perdure.silicon.rack import TORUS_NEIGHBOURS, Rack, Tier
from perdure.silicon.shapes import Exchange, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What an exchange takes: bytes on the wire, and the steps that it waits for."""

    wire_s: float = 0.0
    step_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Both, one after the other."""
        return self.wire_s + self.step_s

    def __add__(self, other: "Wire") -> "Wire":
        return Wire(wire_s=self.wire_s + other.wire_s, step_s=self.step_s + other.step_s)


NOTHING = Wire()


def message_floor(message: Message, rack: Rack) -> Wire:
    """Lower bound on the time for `message`, by the best of all ways over the tiers of `rack`.

    Raises BadRequest where nothing joins so many chips.
    """
    chips = message.chips
    if chips <= 1 or message.message_bytes == 0:
        return NOTHING
    rack.tier_for(chips)
    wide = [tier for tier in rack.tiers if tier.domain_chips >= chips]
    ways = [_exchange(message.family, message.message_bytes, chips, tier) for tier in wide]
    for near in rack.tiers:
        if 1 < near.domain_chips < chips:
            ways += [_two_tiers(message, near, tier) for tier in wide]
    return min(ways, key=lambda wire: wire.seconds)


def stream_s(message: Message, rack: Rack) -> tuple[float, float]:
    """Seconds that its bytes take on the wire where they are many, and one step's latency, in one tier."""
    tier = rack.tier_for(message.chips)
    once_s = message.message_bytes / tier_bytes_per_s(message.family, message.chips, tier)
    others = (message.chips - 1) / message.chips
    passes = {"all_reduce": 2 * others, "p2p": 1.0}.get(message.family, others)
    return passes * once_s, tier.step_s


def tier_bytes_per_s(family: Exchange, chips: int, tier: Tier) -> float:
    """What one chip sends in one direction while `chips` neighbours all exchange over `tier`."""
    if family == "p2p":
        return min(tier.pair_bytes_per_s, tier.loaded_bytes_per_s)
    match tier.topology:
        case "mesh":
            # Only the wires to chips that take part carry anything.
            return tier.loaded_bytes_per_s * (chips - 1) / (tier.domain_chips - 1)
        case "torus":
            return tier.loaded_bytes_per_s * _torus_share(family, chips)
        case "switch" | "host":
            return tier.loaded_bytes_per_s


def _exchange(family: Exchange, size_bytes: float, chips: int, tier: Tier) -> Wire:
    """In one domain of `tier`."""
    if chips <= 1:
        return NOTHING
    once_s = size_bytes / tier_bytes_per_s(family, chips, tier)
    others = (chips - 1) / chips
    step_s = tier.step_s
    match family:
        case "all_reduce":
            # Everyone sends all it has to everyone; or sums are scattered and gathered again.
            one_step = Wire(wire_s=(chips - 1) * once_s, step_s=step_s)
            two_steps = Wire(wire_s=2 * others * once_s, step_s=2 * step_s)
            return min(one_step, two_steps, key=lambda wire: wire.seconds)
        case "all_gather" | "reduce_scatter" | "all_to_all":
            return Wire(wire_s=others * once_s, step_s=step_s)
        case "p2p":
            return Wire(wire_s=once_s, step_s=step_s)


def _two_tiers(message: Message, near: Tier, wide: Tier) -> Wire:
    """Inside each domain of `near` first, between domains over `wide` with what is left."""
    family, size, chips = message.family, message.message_bytes, message.chips
    inside, domains = near.domain_chips, -(-chips // near.domain_chips)
    match family:
        case "all_reduce":
            # Each chip of a domain then speaks for its part with its peers in the others.
            half = _exchange("reduce_scatter", size, inside, near)
            return half + _exchange("all_reduce", size / inside, domains, wide) + half
        case "all_gather" | "reduce_scatter":
            return _exchange(family, size / inside, domains, wide) + _exchange(family, size, inside, near)
        case "all_to_all":
            # Both tiers work at once, each with its share of the receivers.
            near_s = size * (inside - 1) / chips / tier_bytes_per_s(family, inside, near)
            wide_s = size * (chips - inside) / chips / tier_bytes_per_s(family, chips, wide)
            return Wire(wire_s=max(near_s, wide_s), step_s=max(near.step_s, wide.step_s))
        case "p2p":
            return _exchange(family, size, chips, wide)


def _torus_share(family: Exchange, chips: int) -> float:
    """Part of a chip's bandwidth that a cube of `chips` in a torus can use.

    Rings along each side that is longer than one chip use two of the six wires. In an all-to-all every byte
    also crosses, on the mean, a quarter of each side, and takes up that many wires.
    """
    side = chips ** (1 / 3)
    sides_used = 1 if chips <= 2 else 2 if chips <= 4 else 3
    share = 2 * sides_used / TORUS_NEIGHBOURS
    hops = max(1.0, 3 * side / 4) if family == "all_to_all" else 1.0
    return share / hops
