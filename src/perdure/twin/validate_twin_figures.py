"""What is compared of a measured run and its twin: TTFT, TPOT and E2E, and how far they are apart."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perdure.rng import seeded

METRICS = ("ttft_s", "tpot_s", "e2e_s")
SHARES = {"p50": 0.5, "p90": 0.9}
BOOTSTRAPS = 400
CONFIDENCE = 0.95

Times = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What software adds to a step: `step_s` whatever is in it, `sequence_s` for each of its sequences.

    fitted_to  the run that it was fitted to; None as shipped
    """

    step_s: float
    sequence_s: float
    fitted_to: str | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """One run under one overhead.

    measured  seconds, by metric and figure such as `ttft_s.p90`
    errors    the twin's over the measured ones, less 1
    p99       of the 99th percentile: the error, and where it lies in 95 % of resampled sets of the requests
    """

    run: str
    overhead: Overhead
    preemptions: int
    measured: Mapping[str, float]
    errors: Mapping[str, float]
    p99: Mapping[str, tuple[float, float, float]]

    @property
    def worst_ape(self) -> float:
        """The largest error of a mean, median or 90th percentile, without its sign."""
        return max(map(abs, self.errors.values()))

    @property
    def mean_ape(self) -> float:
        """Their mean."""
        return statistics.mean(map(abs, self.errors.values()))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie, linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def figures_of(times: Times) -> dict[str, float]:
    """Mean, median and 90th percentile of each metric."""
    found: dict[str, float] = {}
    for metric in METRICS:
        found[f"{metric}.mean"] = statistics.mean(times[metric])
        found |= {f"{metric}.{name}": quantile(times[metric], share) for name, share in SHARES.items()}
    return found


def p99_of(twin: Sequence[float], measured: Sequence[float]) -> tuple[float, float, float]:
    """Low, value and high of the error of the 99th percentile, by resampling requests, the same in both."""

    def error(places: Sequence[int]) -> float:
        return (
            quantile([twin[place] for place in places], 0.99)
            / quantile([measured[place] for place in places], 0.99)
            - 1
        )

    rng = seeded(0, "bootstrap of measured requests")
    every = range(len(measured))
    errors = [error(rng.choices(every, k=len(measured))) for _ in range(BOOTSTRAPS)]
    beside = (1 - CONFIDENCE) / 2
    return quantile(errors, beside), error(every), quantile(errors, 1 - beside)
