"""Which tenant's calls are looked at first: the outermost decision, before any order among calls.

Weighted fair queueing over service received, as VTC does for tokens (arXiv 2401.00588): the tenant with the
lowest score that has a call waiting goes first, ties to the one that stands first.
"""

from typing import NamedTuple

WEIGHT_MIN = 1e-6


class Tenant(NamedTuple):
    """A tenant with a waiting call: engine seconds so far, lifted by `rejoined`, and its weight in shares."""

    service_s: float
    weight: float = 1.0


def weighted_service(tenant: Tenant) -> float:
    """Service per unit of weight; who had least goes first."""
    return tenant.service_s / max(tenant.weight, WEIGHT_MIN)


def rejoined(tenant: Tenant, least_score: float) -> float:
    """The service that a tenant counts as having had when it comes back; the others' lowest is `least_score`.

    Without this lift, a tenant that was away for a day would own the fleet for the next.
    """
    return max(tenant.service_s, least_score * max(tenant.weight, WEIGHT_MIN))
