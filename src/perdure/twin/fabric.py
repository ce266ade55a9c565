"""Over which links of a rack KV moves between replicas, and what the loss of a switch costs them."""

import math
from dataclasses import replace

from perdure.errors import BadRequest
from perdure.models.batch import Batch
from perdure.silicon.price import Machine
from perdure.silicon.rack import Rack, Tier
from perdure.twin.deployment import Deployment
from perdure.twin.pool import Fabric, Rail


def fabric_of(deployment: Deployment, machine: Machine, replicas: int) -> Fabric | None:
    """What joins `replicas` that follow each other; None where they are fewer than two.

    Each chip of a replica sends its part of the KV to one chip of the other, all at the same time.
    """
    if replicas < 2:
        return None
    if machine.rack is None:
        raise BadRequest(
            f"nothing is known of what joins {deployment.chip.title}s, over which KV would move; name a "
            "rack, or leave out prefill= and decode=",
            param="on",
        )
    chips = deployment.chips
    near, far = machine.rack.scale_up, machine.rack.tier_for(replicas * chips)
    if near.domain_chips < 2 * chips:
        near = far  # no two replicas lie in one domain
    return Fabric(
        near_bytes_per_s=_bytes_per_s(near) * chips,
        near_s=near.step_s,
        far_bytes_per_s=_bytes_per_s(far) * chips,
        far_s=far.step_s,
    )


def domain_chips(rack: Rack | None) -> int:
    """Chips that the fastest links join."""
    return 1 if rack is None else rack.scale_up.domain_chips


def node_chips(rack: Rack | None) -> int:
    """Chips in one server."""
    return 1 if rack is None else rack.node_chips


def rails_of(deployment: Deployment, batch: Batch) -> tuple[Rail, ...]:
    """Links that parallel switches carry, and how many times as long `batch` takes without one of those."""
    instance, machine = deployment.instance, deployment.instance.hardware.mid
    if machine.rack is None:
        return ()
    rating = instance.rating(instance.lowering.sums(batch))
    whole_s = rating.spent(machine).seconds
    found: list[Rail] = []
    for tier in machine.rack.tiers:
        if tier.topology != "switch":
            continue
        used = deployment.chips > 1 and tier is machine.rack.tier_for(deployment.chips)
        slowness = math.inf if used else 1.0
        if used and tier.rails > 1:
            slower = replace(tier, bytes_per_s=tier.bytes_per_s * (tier.rails - 1) / tier.rails)
            tiers = tuple(slower if one is tier else one for one in machine.rack.tiers)
            without = replace(machine, rack=replace(machine.rack, tiers=tiers))
            slowness = max(1.0, rating.spent(without).seconds / whole_s)
        found.append(Rail(links=tier.name, domain_chips=tier.domain_chips, slowness=slowness))
    return tuple(found)


def _bytes_per_s(tier: Tier) -> float:
    """What one chip sends to one other while all of them send."""
    return min(tier.pair_bytes_per_s, tier.loaded_bytes_per_s)
