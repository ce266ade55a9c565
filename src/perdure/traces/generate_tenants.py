"""Who runs the programs of a generated workload: tenants, each with a mix of its own.

Clients of a cloud differ in how often they call and how much they send (ServeGen, arXiv 2505.09999, models
each client apart). A mix multiplies the preset's quantities; over all programs together the multipliers are
one in the geometric mean, so that the preset's medians stay about where they are.
"""

from dataclasses import dataclass

import numpy as np

from perdure.traces.chance import stream
from perdure.traces.programs import Floats, Integers

# Standard deviations of the logarithms of multipliers and of rates. Ours: no data set tells tenants apart.
TURNS_SIGMA = 0.4
TOKENS_SIGMA = 0.3
GAP_SIGMA = 0.5
RATE_SIGMA = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """Of each program, its tenant and what its tenant's mix multiplies."""

    tenant: Integers
    turns: Floats
    fresh: Floats
    output: Floats
    gap: Floats


def draw_tenancy(programs: int, *, tenants: int, mixes: int, seed: int) -> Tenancy:
    """A tenant for each program; tenant t has mix t modulo `mixes`. One tenant alone has the preset's."""
    if tenants == 1:
        ones = np.ones(programs)
        return Tenancy(
            tenant=np.zeros(programs, dtype=np.int64), turns=ones, fresh=ones, output=ones, gap=ones
        )
    draws = stream(seed, "agents/tenants")
    mix_of = np.arange(tenants) % mixes
    rates = np.exp(RATE_SIGMA * (draws.standard_normal(mixes)[mix_of] + draws.standard_normal(tenants)))
    shares = rates / rates.sum()
    # The last one's edge is exactly one, whatever the sum rounds to.
    edges = np.append(np.cumsum(shares)[:-1], 1.0)
    tenant = np.searchsorted(edges, stream(seed, "agents/tenant").random(programs), side="right")
    weights = np.bincount(mix_of, weights=shares, minlength=mixes)
    mix = mix_of[tenant]

    def multipliers(sigma: float) -> Floats:
        logs = sigma * draws.standard_normal(mixes)
        return np.exp(logs - logs @ weights)[mix]

    return Tenancy(
        tenant=tenant.astype(np.int64),
        turns=multipliers(TURNS_SIGMA),
        fresh=multipliers(TOKENS_SIGMA),
        output=multipliers(TOKENS_SIGMA),
        gap=multipliers(GAP_SIGMA),
    )
