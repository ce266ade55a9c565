"""How a quantity of agents is spread: its quantiles, and a log-normal piece between each two of them.

Published tables of agent workloads are quantiles; a law made of them keeps each exactly, and its tails end
where its least and largest are said to be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from perdure.errors import CatalogBroken
from perdure.traces.programs import Floats

# Where the least and the largest lie: one draw in ten thousand is beyond.
END_SHARE = 1e-4


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles by the share of draws below them, ascending, all above zero."""

    quantiles: tuple[tuple[float, float], ...]

    def at(self, scores: Floats) -> Floats:
        """The values at normal scores: 0 gives the median, 1.2816 the p90."""
        known = [NormalDist().inv_cdf(share) for share, _ in self.quantiles]
        return np.exp(np.interp(scores, known, np.log([value for _, value in self.quantiles])))

    def times(self, factor: float) -> "Spread":
        """The same law of values `factor` times as large."""
        return Spread(tuple((share, value * factor) for share, value in self.quantiles))


def read_spread(place: str, table: Mapping[str, object]) -> Spread:
    """The law that a table such as `{min = 1, p50 = 43, p90 = 146, max = 1200}` gives."""
    found: list[tuple[float, float]] = []
    for key, value in table.items():
        if key == "source":
            continue
        if not isinstance(value, int | float) or value <= 0:
            raise CatalogBroken(f"{place}: {key} is {value!r}; a quantile is a number above zero")
        found.append((_share(place, key), float(value)))
    found.sort()
    values = [value for _, value in found]
    if not found or values != sorted(values):
        raise CatalogBroken(f"{place}: quantiles do not ascend: {values}")
    return Spread(tuple(found))


def coupled(shared: Floats, own: Floats, correlation: float | Floats) -> Floats:
    """Normal scores that follow `shared` so closely, and are normal again."""
    return correlation * shared + np.sqrt(1.0 - correlation**2) * own


def _share(place: str, key: str) -> float:
    if key in ("min", "max"):
        return END_SHARE if key == "min" else 1.0 - END_SHARE
    if not (key.startswith("p") and key[1:].replace(".", "", 1).isdecimal() and 0 < float(key[1:]) < 100):
        raise CatalogBroken(f"{place}: {key!r} is no quantile; write min, p50, p99.9 or max")
    return float(key[1:]) / 100
