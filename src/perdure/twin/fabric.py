"""Over which links of a rack KV moves from one replica to another."""

from perdure.errors import BadRequest
from perdure.silicon.price import Machine
from perdure.silicon.rack import Rack, Tier
from perdure.twin.deployment import Deployment
from perdure.twin.pool import Fabric


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


def _bytes_per_s(tier: Tier) -> float:
    """What one chip sends to one other while all of them send."""
    return min(tier.pair_bytes_per_s, tier.loaded_bytes_per_s)
