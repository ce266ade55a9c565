"""Programs arrive as their law says: at its rate, with its burstiness, within its span, by the hour."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure.errors import BadRequest
from perdure.traces.arrivals import (
    CV_MAX,
    CV_MIN,
    DAY_S,
    LAWS,
    Arrivals,
    arrivals_at_rate,
    arrivals_within,
    scale_arrivals,
)
from perdure.traces.chance import stream
from perdure.traces.workload_text import parse_workload

laws = st.builds(
    Arrivals, law=st.sampled_from(LAWS), cv=st.floats(CV_MIN, CV_MAX), swing=st.sampled_from([0.0, 0.5, 0.9])
)


@settings(max_examples=60)
@example(arrivals=Arrivals(law="gamma", cv=CV_MAX), count=1, span_s=1.0, seed=72)
@example(arrivals=Arrivals(law="gamma", cv=3.3644857394583565), count=15, span_s=1.0, seed=15)
@given(arrivals=laws, count=st.integers(0, 300), span_s=st.floats(1, 40 * DAY_S), seed=st.integers(0, 99))
def test_arrivals_are_in_order_and_within(arrivals: Arrivals, count: int, span_s: float, seed: int) -> None:
    """Law: exactly so many, none before the start, in order; within the span where one was given."""
    within = arrivals_within(arrivals, count, span_s, stream(seed, "test"))
    rated = arrivals_at_rate(arrivals, count, count / span_s + 1e-6, stream(seed, "test"))
    for at_s in (within, rated):
        assert len(at_s) == count
        assert np.isfinite(at_s).all()
        assert (at_s >= 0).all()
        assert (np.diff(at_s) >= 0).all()
    assert (within <= span_s).all()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("swing", [0.0, 0.8])
def test_a_rate_is_kept(law: str, swing: float) -> None:
    """Law: over many days, as many arrive as the rate says."""
    arrivals = Arrivals(law=law, cv=1.5, swing=swing)  # pyright: ignore[reportArgumentType]
    at_s = arrivals_at_rate(arrivals, 40_000, 0.05, stream(3, "test"))
    assert at_s[-1] == pytest.approx(800_000, rel=0.05)


@pytest.mark.parametrize(("law", "cv"), [("gamma", 0.5), ("gamma", 2.0), ("weibull", 0.5), ("weibull", 2.0)])
def test_burstiness_is_what_is_asked_for(law: str, cv: float) -> None:
    """cv: standard deviation of the gaps over their mean."""
    arrivals = Arrivals(law=law, cv=cv)  # pyright: ignore[reportArgumentType]
    gaps = np.diff(arrivals_at_rate(arrivals, 100_000, 1.0, stream(1, "test")))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_poisson_and_uniform_are_the_two_ends() -> None:
    """Gaps of a Poisson process vary as much as they last; uniform ones do not vary."""
    poisson = np.diff(arrivals_at_rate(Arrivals(), 100_000, 2.0, stream(1, "test")))
    assert poisson.std() / poisson.mean() == pytest.approx(1, rel=0.02)
    assert arrivals_at_rate(Arrivals(law="uniform"), 4, 2.0, stream(1, "test")).tolist() == [0.5, 1, 1.5, 2]


def test_starts_within_a_span_are_spread_evenly() -> None:
    """Poisson starts in so many hours lie like uniform draws: each quarter has its share, to three sigmas."""
    at_s = arrivals_within(Arrivals(), 40_000, 100.0, stream(2, "test"))
    quarters = np.histogram(at_s, bins=4, range=(0, 100))[0]
    assert np.abs(quarters - 10_000).max() < 3 * (40_000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("hours", [12, 24, 60])
def test_the_day_swings(hours: int) -> None:
    """arrival=diurnal: an hour has its share of the day's curve, at most 1.8 and at least 0.2 of the mean."""
    programs = parse_workload(
        f"synthetic:requests=200000,rate={200_000 / (hours * 3600)},arrival=diurnal", rng_seed=1
    )
    busiest = np.histogram(programs.arrival_s, bins=24, range=(0, DAY_S))[0][13:17].mean()
    quietest = np.histogram(programs.arrival_s, bins=24, range=(0, DAY_S))[0][1:5].mean()
    if hours >= 24:
        assert busiest / quietest == pytest.approx(9, rel=0.25)
    agents = parse_workload(
        f"agents:programs=3000,preset=codex-swebench-pro,hours={hours},arrival=diurnal", rng_seed=1
    )
    assert agents.arrival_s[-1] <= hours * 3600
    assert (agents.arrival_s == hours * 3600).sum() <= 1
    assert (agents.arrival_s > (hours - 1) * 3600).any()
    counts = np.histogram(agents.arrival_s, bins=hours, range=(0, hours * 3600))[0]
    assert counts[3] * 3 < counts[11]


@given(factor=st.floats(0.01, 100))
def test_a_replay_at_a_scaled_rate_changes_when_and_nothing_else(factor: float) -> None:
    """Law: starts and the cut-off come `factor` times as soon; gaps within sessions stay."""
    programs = parse_workload("agents:programs=5,hours=2", rng_seed=4)
    scaled = scale_arrivals(programs, factor)
    assert scaled.arrival_s * factor == pytest.approx(programs.arrival_s)
    assert scaled.end_s == pytest.approx(7_200 / factor)
    assert scaled.gap_s is programs.gap_s
    assert scaled.new_tokens is programs.new_tokens


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_is_not_scaled_by_nonsense(factor: float) -> None:
    """A factor is a number above zero."""
    with pytest.raises(BadRequest, match="above 0"):
        scale_arrivals(parse_workload("synthetic:requests=1", rng_seed=0), factor)
