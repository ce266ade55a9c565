"""When programs arrive: renewal laws, a day's swing over them, and the same arrivals faster or slower.

A law gives gaps of mean one; a rate or a span stretches them. The burstiness of real clients is Gamma or
Weibull with a coefficient of variation above one (ServeGen, arXiv 2505.09999).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from perdure.errors import BadRequest
from perdure.traces.programs import Floats, Programs

Law = Literal["poisson", "gamma", "weibull", "uniform"]

LAWS: tuple[Law, ...] = ("poisson", "gamma", "weibull", "uniform")
CV_MIN, CV_MAX = 0.05, 20.0
DAY_S = 86_400.0
DAY_GRID_S = 300.0
SPAN_S_MAX = 10 * 365 * DAY_S
# Ours: the busiest hour has nine times the quietest's load, as consumer services see it. No source.
DIURNAL_SWING = 0.8
PEAK_HOUR = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """How programs arrive.

    cv      standard deviation of the gaps over their mean, for gamma and weibull
    swing   how far the rate goes above and below its mean within a day: 0 not at all, below 1
    """

    law: Law = "poisson"
    cv: float = 1.0
    swing: float = 0.0


def arrivals_at_rate(arrivals: Arrivals, count: int, rate_per_s: float, draws: np.random.Generator) -> Floats:
    """`count` arrivals in order, the first after one gap, `rate_per_s` of them a second in the mean."""
    at_s = np.cumsum(_gaps(arrivals, count, draws)) / rate_per_s
    if arrivals.swing == 0 or count == 0:
        return at_s
    return _swung(at_s, arrivals.swing, span_s=float(at_s[-1]) + DAY_S)


def arrivals_within(arrivals: Arrivals, count: int, span_s: float, draws: np.random.Generator) -> Floats:
    """Exactly `count` arrivals in order within `span_s`.

    For a Poisson process this is exact: given how many there are, they lie like so many uniform draws.
    """
    sums = np.cumsum(_gaps(arrivals, count + 1, draws))
    # The burstiest laws draw gaps of zero: all of them, where there are few.
    at_s = sums[:-1] / (sums[-1] or 1.0) * span_s
    if arrivals.swing == 0 or count == 0:
        return at_s
    # A part of a day has not the day's mean rate: stretch to what the curve holds up to the span's end.
    whole = float(_expected(np.array([span_s]), arrivals.swing)[0])
    return np.minimum(_swung(at_s * (whole / span_s), arrivals.swing, span_s=span_s), span_s)


def scale_arrivals(programs: Programs, factor: float) -> Programs:
    """`programs` arriving `factor` times as fast, each as it was; the cut-off moves along."""
    if not (factor > 0 and math.isfinite(factor)):
        raise BadRequest(f"a rate is scaled by a number above 0, not by {factor}", param="workload")
    end_s = None if programs.end_s is None else programs.end_s / factor
    return replace(programs, arrival_s=programs.arrival_s / factor, end_s=end_s)


def _gaps(arrivals: Arrivals, count: int, draws: np.random.Generator) -> Floats:
    """`count` gaps of mean one."""
    if arrivals.law == "poisson":
        return draws.standard_exponential(count)
    if arrivals.law == "gamma":
        shape = 1.0 / arrivals.cv**2
        return draws.standard_gamma(shape, count) / shape
    if arrivals.law == "weibull":
        shape = _weibull_shape(arrivals.cv)
        return draws.weibull(shape, count) / math.gamma(1.0 + 1.0 / shape)
    return np.ones(count)


def _weibull_shape(cv: float) -> float:
    """The shape whose coefficient of variation is `cv`, which falls as the shape grows."""
    low, high = math.log(0.15), math.log(50.0)
    for _ in range(60):
        middle = (low + high) / 2
        shape = math.exp(middle)
        spread = math.exp(math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)) - 1
        low, high = (middle, high) if spread > cv**2 else (low, middle)
    return math.exp((low + high) / 2)


def _expected(at_s: Floats, swing: float) -> Floats:
    """How much of a steady process of mean rate one the day's curve has let through by `at_s`."""
    turn = 2 * math.pi / DAY_S
    peak = turn * PEAK_HOUR * 3600
    return at_s + swing / turn * (np.sin(turn * at_s - peak) + math.sin(peak))


def _swung(steady_s: Floats, swing: float, *, span_s: float) -> Floats:
    """When arrivals of a steady process come once the rate follows the day; a run starts at midnight."""
    if span_s > SPAN_S_MAX:
        raise BadRequest(
            f"a day's swing is followed for {SPAN_S_MAX / DAY_S:,.0f} days, and the arrivals take "
            f"{span_s / DAY_S:,.0f}; raise rate, or take another arrival",
            param="workload",
        )
    grid_s = np.arange(0.0, span_s + DAY_GRID_S, DAY_GRID_S)
    return np.interp(steady_s, _expected(grid_s, swing), grid_s)
